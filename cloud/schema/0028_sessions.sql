-- Trading sessions 集中竞价: announcement, declarations in sealed books, clearing runs, publication. Rows are only added; of
-- a session only what its life moves, and only along session_move (the table of cloud/market/session.py).
--
-- Locks, all for a transaction: (42, session) shared by every submit and exclusive for the gate; (43, session) exclusive
-- while declarations get their numbers, so that numbers become visible in their order and who reads by seq misses none.

CREATE TABLE trading_session (
    session_id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_no     text NOT NULL UNIQUE CHECK (session_no ~ '^[A-Z0-9][A-Z0-9-]{3,39}$'),
    title          text NOT NULL CHECK (length(title) BETWEEN 2 AND 200),
    announcement   text NOT NULL CHECK (length(announcement) <= 4000),
    rule_id        text NOT NULL,
    rule_version   integer NOT NULL,
    rule_sha256    text NOT NULL CHECK (length(rule_sha256) = 64),
    rule_body      text NOT NULL,                                   -- so that a run is repeated from the database alone
    product        text NOT NULL CHECK (product IN ('energy', 'energy+env', 'gec')),
    is_sealed      boolean NOT NULL,                                -- nobody but its owner reads a declaration before the gate
    shows_curve    boolean NOT NULL,                                -- the anonymous curve is shown while declarations come in
    period_month   date[] NOT NULL,                                 -- period n is (period_month[n], period_label[n])
    period_label   text[] NOT NULL CHECK (cardinality(period_label) = cardinality(period_month)),
    opens_at       timestamptz NOT NULL,
    freezes_at     timestamptz NOT NULL CHECK (freezes_at > opens_at),
    publishes_at   timestamptz NOT NULL CHECK (publishes_at >= freezes_at),
    rolls_until    timestamptz CHECK (rolls_until > publishes_at),  -- null: no rolling phase follows
    state          text NOT NULL DEFAULT 'drafted',
    gate_at        timestamptz,                                     -- from here on the book is closed for ever
    last_seq       bigint,
    book_sha256    text CHECK (length(book_sha256) = 64),
    final_run      integer,
    drafted_at     timestamptz NOT NULL,
    drafted_by     text NOT NULL,
    CHECK (cardinality(period_label) BETWEEN 1 AND 1152),
    CHECK ((gate_at IS NULL) = (last_seq IS NULL) AND (gate_at IS NULL) = (book_sha256 IS NULL))
);
CREATE INDEX trading_session_state ON trading_session (state, opens_at);

CREATE TABLE session_move (before text NOT NULL, after text NOT NULL, PRIMARY KEY (before, after));
INSERT INTO session_move (before, after) VALUES
    ('drafted', 'announced'), ('drafted', 'dropped'),
    ('announced', 'open'), ('open', 'frozen'),
    ('frozen', 'cleared'), ('cleared', 'cleared'), ('cleared', 'checked'), ('checked', 'cleared'),
    ('checked', 'published'), ('published', 'rolling'), ('published', 'closed'), ('rolling', 'closed'),
    ('announced', 'suspended'), ('open', 'suspended'), ('frozen', 'suspended'), ('cleared', 'suspended'),
    ('checked', 'suspended'),
    ('suspended', 'announced'), ('suspended', 'open'), ('suspended', 'frozen'),
    ('announced', 'cancelled'), ('open', 'cancelled'), ('frozen', 'cancelled'), ('cleared', 'cancelled'),
    ('checked', 'cancelled'), ('suspended', 'cancelled');

CREATE FUNCTION keep_session() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    may_move text[] := ARRAY['state', 'gate_at', 'last_seq', 'book_sha256', 'final_run'];
BEGIN
    IF OLD.state = 'suspended' THEN                                 -- who resumes names new hours
        may_move := may_move || ARRAY['opens_at', 'freezes_at', 'publishes_at', 'rolls_until'];
    END IF;
    IF to_jsonb(NEW) - may_move IS DISTINCT FROM to_jsonb(OLD) - may_move
       OR NOT EXISTS (SELECT FROM session_move WHERE before = OLD.state AND after = NEW.state)
       OR (OLD.gate_at IS NOT NULL AND (NEW.gate_at, NEW.last_seq, NEW.book_sha256)
                                       IS DISTINCT FROM (OLD.gate_at, OLD.last_seq, OLD.book_sha256))
       OR (NEW.gate_at IS NULL AND NEW.state IN ('frozen', 'cleared', 'checked', 'published', 'rolling', 'closed'))
       OR (NEW.gate_at IS NOT NULL AND NEW.state IN ('announced', 'open')) THEN
        RAISE EXCEPTION 'session %: % -> % is no move of a session', OLD.session_id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER moves BEFORE UPDATE ON trading_session FOR EACH ROW EXECUTE FUNCTION keep_session();

CREATE TABLE session_event (                                        -- every move, and what was noted without one
    event_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id     integer NOT NULL REFERENCES trading_session,
    deed           text NOT NULL,
    state          text NOT NULL,                                   -- after the deed
    at             timestamptz NOT NULL,
    actor          text NOT NULL,
    reason         text NOT NULL DEFAULT '' CHECK (length(reason) <= 1000),
    facts          jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX session_event_of ON session_event (session_id, event_id);

-- A declaration is one row of packed arrays: entry i offers quantity_kwh[i] in period[i] at price_ticks[i].
-- What a party declares for a unit and side is the last row of its chain; WITHDRAW ends the chain.
CREATE TABLE bid_event (
    seq            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id     integer NOT NULL REFERENCES trading_session,
    kind           text NOT NULL CHECK (kind IN ('SUBMIT', 'REPLACE', 'WITHDRAW', 'CLOSE')),
    party_id       bigint REFERENCES party,
    unit_id        text,
    side           text CHECK (side IN ('B', 'S')),
    replaces       bigint UNIQUE REFERENCES bid_event,              -- unique: nothing is replaced twice
    period         smallint[] NOT NULL,
    price_ticks    integer[] NOT NULL,
    quantity_kwh   bigint[] NOT NULL,
    margin_fen     bigint NOT NULL CHECK (margin_fen >= 0),
    client_key     uuid,
    content_sha256 bytea NOT NULL CHECK (length(content_sha256) = 32),
    at             timestamptz NOT NULL,
    actor          text NOT NULL,
    CHECK (cardinality(price_ticks) = cardinality(period) AND cardinality(quantity_kwh) = cardinality(period)),
    CHECK ((kind IN ('SUBMIT', 'REPLACE')) = (cardinality(period) > 0)),
    CHECK ((kind IN ('REPLACE', 'WITHDRAW')) = (replaces IS NOT NULL)),
    CHECK ((kind = 'CLOSE') = (party_id IS NULL)),
    CHECK (kind = 'CLOSE' OR (unit_id IS NOT NULL AND side IS NOT NULL AND client_key IS NOT NULL))
);
CREATE UNIQUE INDEX bid_event_client_key ON bid_event (party_id, client_key);
CREATE INDEX bid_event_book ON bid_event (session_id, seq);
CREATE INDEX bid_event_of ON bid_event (session_id, party_id, seq);
CREATE UNIQUE INDEX bid_event_closes_once ON bid_event (session_id) WHERE kind = 'CLOSE';

-- What a party has bound in a session; locked by every submit of that party, so that its limits hold.
CREATE TABLE trading_exposure (
    session_id     integer NOT NULL REFERENCES trading_session,
    party_id       bigint NOT NULL REFERENCES party,
    margin_fen     bigint NOT NULL DEFAULT 0 CHECK (margin_fen >= 0),
    PRIMARY KEY (session_id, party_id)
);

CREATE TABLE bid_refusal (                                          -- leaves no trace in the book; seen by staff as counts
    refusal_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id     integer NOT NULL REFERENCES trading_session,
    party_id       bigint NOT NULL REFERENCES party,
    code           text NOT NULL CHECK (code ~ '^[A-Z_]{2,40}$'),
    place          text NOT NULL DEFAULT '' CHECK (length(place) <= 200),
    at             timestamptz NOT NULL
);
CREATE INDEX bid_refusal_of ON bid_refusal (session_id, refusal_id);

-- Runs. The first is PRE; FINAL rests on a PRE with the cuts of the security check; a sandbox is never published.
CREATE TABLE clearing_run (
    session_id     integer NOT NULL REFERENCES trading_session,
    run_no         integer NOT NULL CHECK (run_no >= 1),
    kind           text NOT NULL CHECK (kind IN ('pre', 'final', 'sandbox')),
    based_on       integer CHECK ((kind = 'final') = (based_on IS NOT NULL)),
    rule_sha256    text NOT NULL CHECK (length(rule_sha256) = 64),
    price_rule     text NOT NULL,
    at_margin      text NOT NULL,
    method         text NOT NULL CHECK (method IN ('uniform', 'pairing')),
    first_seq      bigint NOT NULL,
    last_seq       bigint NOT NULL,
    orders         integer NOT NULL,
    input_sha256   text NOT NULL CHECK (length(input_sha256) = 64),
    result_sha256  text NOT NULL CHECK (length(result_sha256) = 64),
    code_version   text NOT NULL,
    reason         text NOT NULL DEFAULT '' CHECK (length(reason) <= 1000),
    at             timestamptz NOT NULL,
    actor          text NOT NULL,
    PRIMARY KEY (session_id, run_no),
    FOREIGN KEY (session_id, based_on) REFERENCES clearing_run
);
CREATE TABLE clearing_price (
    session_id     integer NOT NULL,
    run_no         integer NOT NULL,
    period         smallint NOT NULL,
    volume_kwh     bigint NOT NULL,
    price_ticks    integer,                                         -- null: no trade
    last_bid_ticks integer,
    last_ask_ticks integer,
    low_ticks      integer,
    high_ticks     integer,
    bid_kwh        bigint NOT NULL,                                 -- declared
    ask_kwh        bigint NOT NULL,
    marginal_ticks integer,                                         -- the marginal price, shown beside the rule's
    PRIMARY KEY (session_id, run_no, period),
    FOREIGN KEY (session_id, run_no) REFERENCES clearing_run
);
CREATE TABLE clearing_fill (                                        -- one row for every declaration of the book, also of zeros
    session_id     integer NOT NULL,
    run_no         integer NOT NULL,
    seq            bigint NOT NULL REFERENCES bid_event,
    party_id       bigint NOT NULL REFERENCES party,
    quantity_kwh   bigint[] NOT NULL,                               -- as the declaration's arrays
    PRIMARY KEY (session_id, run_no, seq),
    FOREIGN KEY (session_id, run_no) REFERENCES clearing_run
);
CREATE TABLE clearing_piece (                                       -- who sells how much to whom
    session_id     integer NOT NULL,
    run_no         integer NOT NULL,
    piece_no       integer NOT NULL,
    period         smallint NOT NULL,
    sell_seq       bigint NOT NULL REFERENCES bid_event,
    buy_seq        bigint NOT NULL REFERENCES bid_event,
    seller_id      bigint NOT NULL REFERENCES party,
    buyer_id       bigint NOT NULL REFERENCES party,
    quantity_kwh   bigint NOT NULL CHECK (quantity_kwh > 0),
    price_ticks    integer NOT NULL,
    PRIMARY KEY (session_id, run_no, piece_no),
    FOREIGN KEY (session_id, run_no) REFERENCES clearing_run
);
CREATE INDEX clearing_piece_seller ON clearing_piece (seller_id, session_id);
CREATE INDEX clearing_piece_buyer ON clearing_piece (buyer_id, session_id);
CREATE TABLE security_cut (                                         -- 安全校核: a piece of a PRE run is cut to so much
    session_id     integer NOT NULL,
    run_no         integer NOT NULL,
    piece_no       integer NOT NULL,
    to_kwh         bigint NOT NULL CHECK (to_kwh >= 0),
    reason         text NOT NULL CHECK (length(reason) BETWEEN 2 AND 1000),
    at             timestamptz NOT NULL,
    actor          text NOT NULL,
    PRIMARY KEY (session_id, run_no, piece_no),
    FOREIGN KEY (session_id, run_no, piece_no) REFERENCES clearing_piece
);
CREATE TABLE session_contract (                                     -- what FINAL became, for the way from offer to delivery
    contract_id    text PRIMARY KEY,
    session_id     integer NOT NULL REFERENCES trading_session,
    seller_id      bigint NOT NULL REFERENCES party,
    buyer_id       bigint NOT NULL REFERENCES party,
    quantity_kwh   bigint NOT NULL,
    amount_fen     bigint NOT NULL,
    at             timestamptz NOT NULL
);
CREATE INDEX session_contract_of ON session_contract (session_id);

CREATE TABLE trade_dispute (
    dispute_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id     integer NOT NULL REFERENCES trading_session,
    party_id       bigint NOT NULL REFERENCES party,
    seq            bigint REFERENCES bid_event,
    kind           text NOT NULL CHECK (kind IN ('declaration', 'result', 'conduct', 'other')),
    body           text NOT NULL CHECK (length(body) BETWEEN 2 AND 2000),
    at             timestamptz NOT NULL,
    actor          text NOT NULL
);
CREATE INDEX trade_dispute_of ON trade_dispute (session_id, dispute_id);
CREATE TABLE trade_dispute_answer (                                 -- the first decides
    dispute_id     bigint PRIMARY KEY REFERENCES trade_dispute,
    verdict        text NOT NULL CHECK (verdict IN ('upheld', 'rejected')),
    body           text NOT NULL CHECK (length(body) BETWEEN 2 AND 2000),
    at             timestamptz NOT NULL,
    actor          text NOT NULL
);

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['session_event', 'bid_event', 'bid_refusal', 'clearing_run', 'clearing_price', 'clearing_fill',
                             'clearing_piece', 'security_cut', 'session_contract', 'trade_dispute', 'trade_dispute_answer',
                             'session_move'] LOOP
        EXECUTE format('CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION keep_settlement()', t);
        EXECUTE format('CREATE TRIGGER kept_whole BEFORE TRUNCATE ON %I EXECUTE FUNCTION keep_settlement()', t);
        EXECUTE format('GRANT SELECT ON %I TO shoudian_api, shoudian_worker', t);
    END LOOP;
END $$;
CREATE TRIGGER kept BEFORE DELETE ON trading_session FOR EACH ROW EXECUTE FUNCTION keep_settlement();
GRANT SELECT ON trading_session, trading_exposure TO shoudian_api, shoudian_worker;
GRANT INSERT ON trading_session, session_event, clearing_run, clearing_price, clearing_fill, clearing_piece, security_cut,
    session_contract, trade_dispute_answer TO shoudian_api, shoudian_worker;
GRANT INSERT ON trade_dispute TO shoudian_api;
GRANT UPDATE (margin_fen) ON trading_exposure TO shoudian_worker;  -- back to nothing when a session is over
GRANT UPDATE (state, gate_at, last_seq, book_sha256, final_run, opens_at, freezes_at, publishes_at, rolls_until)
    ON trading_session TO shoudian_api, shoudian_worker;
-- Publication writes the contracts that settlement finds.
GRANT INSERT ON wholesale_contract, wholesale_volume TO shoudian_worker, shoudian_api;

-- ---- who sees what -----------------------------------------------------------------------------------------------
ALTER TABLE trading_session ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_the_market ON trading_session FOR SELECT TO shoudian_api
    USING (app_reads_market() OR (current_setting('app.role', true) = 'customer' AND state NOT IN ('drafted', 'dropped')));
CREATE POLICY drafted_by_staff ON trading_session FOR INSERT TO shoudian_api WITH CHECK (app_is_staff() AND state = 'drafted');
CREATE POLICY moved_by_staff ON trading_session FOR UPDATE TO shoudian_api USING (app_is_staff()) WITH CHECK (app_is_staff());
ALTER TABLE session_event ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_the_session ON session_event FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM trading_session s WHERE s.session_id = session_event.session_id));
CREATE POLICY added_by_staff ON session_event FOR INSERT TO shoudian_api WITH CHECK (app_is_staff());

-- The seal: before the gate a sealed declaration is its owner's alone, whatever page staff may open.
ALTER TABLE bid_event ENABLE ROW LEVEL SECURITY;
CREATE POLICY sealed ON bid_event FOR SELECT TO shoudian_api
    USING (app_has_party(party_id)
           OR (app_reads_market() AND EXISTS (SELECT FROM trading_session s WHERE s.session_id = bid_event.session_id
                                          AND (s.gate_at IS NOT NULL OR NOT s.is_sealed))));
ALTER TABLE trading_exposure ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_the_party ON trading_exposure FOR SELECT TO shoudian_api
    USING (app_has_party(party_id)
           OR (app_reads_market() AND EXISTS (SELECT FROM trading_session s WHERE s.session_id = trading_exposure.session_id
                                          AND (s.gate_at IS NOT NULL OR NOT s.is_sealed))));
ALTER TABLE bid_refusal ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_the_party ON bid_refusal FOR SELECT TO shoudian_api
    USING (app_reads_market() OR app_has_party(party_id));

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['clearing_run', 'clearing_price', 'clearing_fill', 'clearing_piece', 'security_cut',
                             'session_contract', 'trade_dispute', 'trade_dispute_answer'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY seen_by_staff ON %I FOR SELECT TO shoudian_api USING (app_reads_market())', t);
        IF t <> 'trade_dispute' THEN
            EXECUTE format('CREATE POLICY added_by_staff ON %I FOR INSERT TO shoudian_api WITH CHECK (app_is_staff())', t);
        END IF;
    END LOOP;
    FOREACH t IN ARRAY ARRAY['clearing_run', 'clearing_price'] LOOP -- published to the whole market, and nothing else is
        EXECUTE format('CREATE POLICY published ON %I FOR SELECT TO shoudian_api
                        USING (EXISTS (SELECT FROM trading_session s WHERE s.session_id = %I.session_id
                                       AND s.final_run = %I.run_no
                                       AND s.state IN (''published'', ''rolling'', ''closed'')))', t, t, t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['trading_session', 'session_event', 'bid_event', 'trading_exposure', 'bid_refusal',
                             'clearing_run', 'clearing_price', 'clearing_fill', 'clearing_piece', 'security_cut',
                             'session_contract', 'trade_dispute', 'trade_dispute_answer'] LOOP
        EXECUTE format('CREATE POLICY of_everybody ON %I TO shoudian_worker USING (true) WITH CHECK (true)', t);
    END LOOP;
END $$;
CREATE POLICY published_to_its_party ON clearing_fill FOR SELECT TO shoudian_api
    USING (app_has_party(party_id) AND EXISTS (SELECT FROM clearing_run r WHERE (r.session_id, r.run_no)
                                                = (clearing_fill.session_id, clearing_fill.run_no)));
CREATE POLICY published_to_both ON clearing_piece FOR SELECT TO shoudian_api
    USING ((app_has_party(seller_id) OR app_has_party(buyer_id))
           AND EXISTS (SELECT FROM clearing_run r WHERE (r.session_id, r.run_no)
                       = (clearing_piece.session_id, clearing_piece.run_no)));
CREATE POLICY of_both ON session_contract FOR SELECT TO shoudian_api
    USING (app_has_party(seller_id) OR app_has_party(buyer_id));
CREATE POLICY of_the_party ON trade_dispute FOR SELECT TO shoudian_api USING (app_has_party(party_id));
CREATE POLICY raised_by_the_party ON trade_dispute FOR INSERT TO shoudian_api WITH CHECK (app_has_party(party_id));
CREATE POLICY of_the_party ON trade_dispute_answer FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM trade_dispute d WHERE d.dispute_id = trade_dispute_answer.dispute_id));

-- ---- intake: the only way into the book ----------------------------------------------------------------------------
-- Each function works for many declarations at once: the intake commits what arrives together as one transaction.

-- Takes the shared gate locks and tells each session's state.
CREATE FUNCTION bid_gates(sessions integer[], at timestamptz)
RETURNS TABLE (session_id integer, state text, opens_at timestamptz, freezes_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(42, id) FROM (SELECT DISTINCT unnest(sessions) AS id ORDER BY 1) wanted;
    RETURN QUERY SELECT s.session_id, s.state, s.opens_at, s.freezes_at FROM trading_session s
                 WHERE s.session_id = ANY (sessions);
END $$;

-- Locks what parties have bound in sessions, pairwise, in one order for everybody.
CREATE FUNCTION bid_exposures(sessions integer[], parties bigint[])
RETURNS TABLE (session_id integer, party_id bigint, margin_fen bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO trading_exposure (session_id, party_id)
    SELECT DISTINCT w.s, w.p FROM unnest(sessions, parties) AS w (s, p) ORDER BY 1, 2
    ON CONFLICT DO NOTHING;
    RETURN QUERY SELECT e.session_id, e.party_id, e.margin_fen FROM trading_exposure e
                 WHERE (e.session_id, e.party_id) IN (SELECT w.s, w.p FROM unnest(sessions, parties) AS w (s, p))
                 ORDER BY e.session_id, e.party_id FOR UPDATE;
END $$;

-- What stands of these parties in these sessions, and whatever was kept under these client keys.
CREATE FUNCTION bid_standing(sessions integer[], parties bigint[], client_keys uuid[])
RETURNS SETOF bid_event
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT b.* FROM bid_event b
    WHERE (b.session_id, b.party_id) IN (SELECT w.s, w.p FROM unnest(sessions, parties) AS w (s, p))
      AND b.kind <> 'WITHDRAW' AND NOT EXISTS (SELECT FROM bid_event r WHERE r.replaces = b.seq)
    UNION
    SELECT b.* FROM bid_event b
    WHERE (b.party_id, b.client_key) IN (SELECT w.p, w.k FROM unnest(parties, client_keys) AS w (p, k))
$$;

-- Appends declarations in the order given and returns their numbers in that order. The gate is asked once more here,
-- under its lock: after the gate nothing is appended, whoever calls.
CREATE FUNCTION bid_append(at timestamptz, sessions integer[], kinds text[], parties bigint[], units text[], sides text[],
                           replaced bigint[], periods text[], prices text[], quantities text[], margins bigint[],
                           client_keys uuid[], contents bytea[], actors text[])
RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(42, id) FROM (SELECT DISTINCT unnest(sessions) AS id ORDER BY 1) wanted;
    PERFORM pg_advisory_xact_lock(43, id) FROM (SELECT DISTINCT unnest(sessions) AS id ORDER BY 1) wanted;
    IF EXISTS (SELECT FROM trading_session s WHERE s.session_id = ANY (sessions)
               AND (s.state <> 'open' OR bid_append.at >= s.freezes_at)) THEN
        RAISE EXCEPTION 'the gate is closed' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN QUERY
    INSERT INTO bid_event (session_id, kind, party_id, unit_id, side, replaces, period, price_ticks, quantity_kwh,
                           margin_fen, client_key, content_sha256, at, actor)
    SELECT w.s, w.k, w.p, w.u, w.d, w.r, w.period::smallint[], w.price::integer[], w.quantity::bigint[],
           w.margin, w.client_key, w.content, bid_append.at, w.actor
    FROM unnest(sessions, kinds, parties, units, sides, replaced, periods, prices, quantities, margins, client_keys,
                contents, actors)
         WITH ORDINALITY AS w (s, k, p, u, d, r, period, price, quantity, margin, client_key, content, actor, no)
    ORDER BY w.no
    RETURNING seq;
    UPDATE trading_exposure e
    SET margin_fen = e.margin_fen + change.fen
    FROM (SELECT w.s, w.p, sum(w.margin - coalesce(b.margin_fen, 0)) AS fen
          FROM unnest(sessions, parties, margins, replaced) AS w (s, p, margin, r) LEFT JOIN bid_event b ON b.seq = w.r
          GROUP BY 1, 2) change
    WHERE (e.session_id, e.party_id) = (change.s, change.p);
END $$;

CREATE FUNCTION bid_refuse(at timestamptz, sessions integer[], parties bigint[], codes text[], places text[])
RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO bid_refusal (session_id, party_id, code, place, at)
    SELECT w.s, w.p, w.c, left(w.l, 200), bid_refuse.at FROM unnest(sessions, parties, codes, places) AS w (s, p, c, l)
    WHERE EXISTS (SELECT FROM trading_session t WHERE t.session_id = w.s)
$$;

-- The clock opens: an announced session whose hour has come. Returns those that this call opened.
CREATE FUNCTION session_ring(at timestamptz) RETURNS SETOF integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    RETURN QUERY
    WITH opened AS (
        UPDATE trading_session s SET state = 'open'
        WHERE s.state = 'announced' AND s.opens_at <= session_ring.at AND s.freezes_at > session_ring.at
        RETURNING s.session_id),
    noted AS (
        INSERT INTO session_event (session_id, deed, state, at, actor)
        SELECT o.session_id, 'open', 'open', session_ring.at, 'clock' FROM opened o)
    SELECT o.session_id FROM opened o;
END $$;

-- Closes the book under the exclusive lock: nobody is on the way any more, and nobody comes in later. Returns the last
-- number and the hash of what stands: one line "seq content_sha256" a declaration, by number.
CREATE FUNCTION bid_close(session integer, at timestamptz, actor text) RETURNS TABLE (last_seq bigint, book_sha256 text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    closing bigint;
    book bytea;
BEGIN
    IF current_setting('app.role', true) IS DISTINCT FROM 'staff' AND current_setting('role') <> 'shoudian_worker' THEN
        RAISE EXCEPTION 'only staff and the clock close a book' USING ERRCODE = 'insufficient_privilege';
    END IF;
    PERFORM pg_advisory_xact_lock(42, session);
    SELECT sha256(convert_to(coalesce(string_agg(b.seq || ' ' || encode(b.content_sha256, 'hex') || E'\n', '' ORDER BY b.seq),
                                      ''), 'UTF8'))
    INTO book FROM bid_event b
    WHERE b.session_id = session AND b.kind IN ('SUBMIT', 'REPLACE')
      AND NOT EXISTS (SELECT FROM bid_event r WHERE r.replaces = b.seq);
    INSERT INTO bid_event (session_id, kind, period, price_ticks, quantity_kwh, margin_fen, content_sha256, at, actor)
    VALUES (session, 'CLOSE', '{}', '{}', '{}', 0, book, bid_close.at, bid_close.actor)
    RETURNING seq INTO closing;
    RETURN QUERY SELECT closing, encode(book, 'hex');
END $$;

-- The book without names, for the curve: only where the rule shows it or the gate is closed.
CREATE FUNCTION bid_events_after(session integer, after_seq bigint, most integer)
RETURNS TABLE (seq bigint, kind text, side text, replaces bigint, period smallint[], price_ticks integer[],
               quantity_kwh bigint[], at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT b.seq, b.kind, b.side, b.replaces, b.period, b.price_ticks, b.quantity_kwh, b.at
    FROM bid_event b JOIN trading_session s ON s.session_id = b.session_id
    WHERE b.session_id = session AND b.seq > after_seq AND (s.shows_curve OR s.gate_at IS NOT NULL)
    ORDER BY b.seq LIMIT most
$$;

-- The closed book as it was hashed: whoever has a receipt finds the own line.
CREATE FUNCTION bid_lines(session integer) RETURNS TABLE (seq bigint, content_sha256 text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT b.seq, encode(b.content_sha256, 'hex')
    FROM bid_event b JOIN trading_session s ON s.session_id = b.session_id
    WHERE b.session_id = session AND s.gate_at IS NOT NULL AND b.kind IN ('SUBMIT', 'REPLACE')
      AND NOT EXISTS (SELECT FROM bid_event r WHERE r.replaces = b.seq)
    ORDER BY b.seq
$$;

-- How many came, without what they said: all that staff sees of a sealed book.
CREATE FUNCTION bid_counts(session integer, since timestamptz)
RETURNS TABLE (events bigint, parties bigint, recent bigint, withdrawn bigint, last_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT count(*), count(DISTINCT b.party_id), count(*) FILTER (WHERE b.at > since),
           count(*) FILTER (WHERE b.kind = 'WITHDRAW'), max(b.at)
    FROM bid_event b WHERE b.session_id = session AND b.kind <> 'CLOSE'
      AND current_setting('app.role', true) IN ('staff', 'regulator')
$$;

DO $$
DECLARE f text;
BEGIN
    FOREACH f IN ARRAY ARRAY['bid_gates(integer[], timestamptz)', 'bid_exposures(integer[], bigint[])',
                             'bid_standing(integer[], bigint[], uuid[])',
                             'bid_append(timestamptz, integer[], text[], bigint[], text[], text[], bigint[], text[], text[], text[], bigint[], uuid[], bytea[], text[])',
                             'bid_refuse(timestamptz, integer[], bigint[], text[], text[])', 'session_ring(timestamptz)'] LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO shoudian_worker', f);
    END LOOP;
    FOREACH f IN ARRAY ARRAY['bid_close(integer, timestamptz, text)', 'bid_events_after(integer, bigint, integer)',
                             'bid_counts(integer, timestamptz)', 'bid_lines(integer)'] LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO shoudian_api, shoudian_worker', f);
    END LOOP;
END $$;
