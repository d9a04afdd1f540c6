-- Listings 挂牌/摘牌 and rolling matching 滚动撮合. What happened is only added to; of a listing and a rolling session only the
-- state moves, along listing_move and rolling_move (cloud/market/offering.py, cloud/market/rollbook.py).
--
-- Locks, exclusive and for a transaction: (44, listing) for everything that changes a listing, (45, book) for everything
-- that enters a rolling book; so a listing is never oversold and a book has one writer, whatever process that is.

CREATE TABLE listing (
    listing_id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    party_id       bigint NOT NULL REFERENCES party,
    unit_id        text NOT NULL,
    side           text NOT NULL CHECK (side IN ('B', 'S')),
    is_green       boolean NOT NULL,                                -- lines then carry a second price, of the environment
    sharing        text NOT NULL CHECK (sharing IN ('time', 'prorata')),
    remainder      text NOT NULL CHECK (remainder IN ('largest', 'last')),
    is_clipped     boolean NOT NULL,                                -- a take above what is left: cut to it, or refused
    all_or_none    boolean NOT NULL CHECK (NOT all_or_none OR sharing = 'time'),
    min_take_kwh   bigint NOT NULL CHECK (min_take_kwh >= 0),
    eligible_kinds text[] NOT NULL,                                 -- none: every kind of party
    eligible_ids   bigint[] NOT NULL,                               -- none: every party
    note           text NOT NULL CHECK (length(note) <= 1000),
    starts_at      timestamptz NOT NULL,
    ends_at        timestamptz NOT NULL CHECK (ends_at > starts_at),
    state          text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'taken', 'withdrawn', 'expired', 'cleared')),
    client_key     uuid,
    published_at   timestamptz NOT NULL,
    published_by   text NOT NULL,
    UNIQUE (party_id, client_key)
);
CREATE INDEX listing_open ON listing (state, ends_at);
CREATE INDEX listing_party ON listing (party_id, listing_id);
CREATE TABLE listing_line (
    listing_id     integer NOT NULL REFERENCES listing,
    line_no        smallint NOT NULL CHECK (line_no BETWEEN 1 AND 288),
    month          date NOT NULL CHECK (extract(day FROM month) = 1),
    period         text NOT NULL,
    kwh            bigint NOT NULL CHECK (kwh > 0),
    price_ticks    bigint NOT NULL,                                 -- 0.01 yuan/MWh
    environment_ticks bigint NOT NULL CHECK (environment_ticks >= 0),
    PRIMARY KEY (listing_id, line_no),
    UNIQUE (listing_id, month, period)
);
CREATE INDEX listing_line_month ON listing_line (month);
CREATE TABLE listing_event (                                        -- seq is the priority in time
    seq            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    listing_id     integer NOT NULL REFERENCES listing,
    kind           text NOT NULL CHECK (kind IN ('publish', 'take', 'reduce', 'withdraw', 'expire', 'clear')),
    party_id       bigint REFERENCES party,                         -- null: the clock
    unit_id        text,
    kwh            bigint[] NOT NULL,                               -- by line: asked by a take, given up by a reduction
    client_key     uuid,
    at             timestamptz NOT NULL,
    actor          text NOT NULL,
    UNIQUE (party_id, client_key)
);
CREATE INDEX listing_event_of ON listing_event (listing_id, seq);
CREATE INDEX listing_event_party ON listing_event (party_id, seq);
CREATE TABLE listing_share (                                        -- what a take got; of a batch only when the window closes
    seq            bigint PRIMARY KEY REFERENCES listing_event,
    listing_id     integer NOT NULL REFERENCES listing,
    kwh            bigint[] NOT NULL,
    contract_id    text,                                            -- null: nothing was left for it
    at             timestamptz NOT NULL
);
CREATE INDEX listing_share_of ON listing_share (listing_id);

CREATE TABLE rolling_session (
    rolling_id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    title          text NOT NULL CHECK (length(title) BETWEEN 2 AND 200),
    session_id     integer REFERENCES trading_session,              -- the call auction that it follows, if any
    period_month   date[] NOT NULL,                                 -- period n is (period_month[n], period_label[n])
    period_label   text[] NOT NULL CHECK (cardinality(period_label) = cardinality(period_month)),
    trade_price    text NOT NULL CHECK (trade_price IN ('resting', 'median', 'mid')),
    price_min_ticks bigint, price_max_ticks bigint,
    tick           integer NOT NULL CHECK (tick > 0),
    lot_kwh        integer NOT NULL CHECK (lot_kwh > 0),
    margin_rate_pct numeric NOT NULL CHECK (margin_rate_pct BETWEEN 0 AND 100),
    opens_at       timestamptz NOT NULL,
    closes_at      timestamptz NOT NULL CHECK (closes_at > opens_at),
    state          text NOT NULL DEFAULT 'scheduled' CHECK (state IN ('scheduled', 'closed', 'cancelled')),
    announced_at   timestamptz NOT NULL,
    announced_by   text NOT NULL,
    CHECK (cardinality(period_label) BETWEEN 1 AND 288)
);
CREATE TABLE rolling_event (                                        -- the book is the fold of these, in order of seq
    seq            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rolling_id     integer NOT NULL REFERENCES rolling_session,
    period_no      smallint NOT NULL CHECK (period_no >= 1),
    op             text NOT NULL CHECK (op IN ('add', 'cancel', 'replace', 'close')),
    order_seq      bigint,                                          -- of a cancel or replace: the seq of the order's add
    party_id       bigint REFERENCES party,
    unit_id        text,
    side           text CHECK (side IN ('B', 'S')),
    terms          text CHECK (terms IN ('day', 'fak', 'fok')),
    price_ticks    bigint,
    quantity_kwh   bigint,
    client_key     uuid,
    at             timestamptz NOT NULL,
    actor          text NOT NULL,
    UNIQUE (party_id, client_key),
    CHECK (op <> 'add' OR (party_id, unit_id, side, terms, price_ticks, quantity_kwh) IS NOT NULL),
    CHECK ((op IN ('cancel', 'replace')) = (order_seq IS NOT NULL))
);
CREATE INDEX rolling_event_book ON rolling_event (rolling_id, period_no, seq);
CREATE INDEX rolling_event_party ON rolling_event (party_id, rolling_id, seq);
CREATE UNIQUE INDEX rolling_event_close ON rolling_event (rolling_id, period_no) WHERE op = 'close';
CREATE TABLE rolling_trade (
    trade_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rolling_id     integer NOT NULL REFERENCES rolling_session,
    period_no      smallint NOT NULL,
    seq            bigint NOT NULL REFERENCES rolling_event,        -- the incoming event that made it
    buy_seq        bigint NOT NULL REFERENCES rolling_event,
    sell_seq       bigint NOT NULL REFERENCES rolling_event,
    buyer_id       bigint NOT NULL REFERENCES party,
    seller_id      bigint NOT NULL REFERENCES party CHECK (seller_id <> buyer_id),
    buyer_unit     text NOT NULL,
    seller_unit    text NOT NULL,
    kwh            bigint NOT NULL CHECK (kwh > 0),
    price_ticks    bigint NOT NULL,
    at             timestamptz NOT NULL
);
CREATE INDEX rolling_trade_book ON rolling_trade (rolling_id, period_no, trade_id);
CREATE INDEX rolling_trade_buyer ON rolling_trade (buyer_id, trade_id);
CREATE INDEX rolling_trade_seller ON rolling_trade (seller_id, trade_id);
CREATE TABLE rolling_contract (                                     -- a pair of units of a session: one contract
    contract_id    text PRIMARY KEY,
    rolling_id     integer NOT NULL REFERENCES rolling_session,
    seller_id      bigint NOT NULL REFERENCES party,
    buyer_id       bigint NOT NULL REFERENCES party,
    seller_unit    text NOT NULL,
    buyer_unit     text NOT NULL,
    at             timestamptz NOT NULL,
    UNIQUE (rolling_id, seller_unit, buyer_unit)
);

-- ---- what moves ------------------------------------------------------------------------------------------------------

CREATE TABLE listing_move (before text NOT NULL, deed text NOT NULL, after text NOT NULL, PRIMARY KEY (before, deed));
INSERT INTO listing_move VALUES ('', 'publish', 'open'), ('open', 'exhaust', 'taken'), ('open', 'withdraw', 'withdrawn'),
    ('open', 'expire', 'expired'), ('open', 'clear', 'cleared');
CREATE TABLE rolling_move (before text NOT NULL, deed text NOT NULL, after text NOT NULL, PRIMARY KEY (before, deed));
INSERT INTO rolling_move VALUES ('', 'announce', 'scheduled'), ('scheduled', 'close', 'closed'),
    ('scheduled', 'cancel', 'cancelled');

CREATE FUNCTION keep_listing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF to_jsonb(NEW) - 'state' IS DISTINCT FROM to_jsonb(OLD) - 'state'
       OR NOT EXISTS (SELECT FROM listing_move WHERE before = OLD.state AND after = NEW.state) THEN
        RAISE EXCEPTION 'listing %: % -> % is no move of a listing', OLD.listing_id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER moves BEFORE UPDATE ON listing FOR EACH ROW EXECUTE FUNCTION keep_listing();
CREATE FUNCTION keep_rolling() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF to_jsonb(NEW) - 'state' IS DISTINCT FROM to_jsonb(OLD) - 'state'
       OR NOT EXISTS (SELECT FROM rolling_move WHERE before = OLD.state AND after = NEW.state) THEN
        RAISE EXCEPTION 'rolling session %: % -> % is no move of it', OLD.rolling_id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER moves BEFORE UPDATE ON rolling_session FOR EACH ROW EXECUTE FUNCTION keep_rolling();

-- What is left of each line: listed, less what was given up, less what was got. Nothing of it names anybody.
CREATE FUNCTION listing_left(of_listing integer) RETURNS bigint[]
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT array_agg(l.kwh
        - coalesce((SELECT sum(e.kwh[l.line_no]) FROM listing_event e
                    WHERE e.listing_id = l.listing_id AND e.kind IN ('reduce', 'withdraw', 'expire')), 0)::bigint
        - coalesce((SELECT sum(s.kwh[l.line_no]) FROM listing_share s WHERE s.listing_id = l.listing_id), 0)::bigint
        ORDER BY l.line_no)
    FROM listing_line l WHERE l.listing_id = of_listing
$$;
-- Whoever writes a share or gives up a rest: no line ever goes below nothing. The lock was taken by the writer's shell;
-- it is taken here once more, so that nobody else is on the way.
CREATE FUNCTION keep_left() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(44, NEW.listing_id);
    IF EXISTS (SELECT FROM unnest(NEW.kwh) k WHERE k IS NULL OR k < 0)
       OR cardinality(NEW.kwh) <> (SELECT count(*) FROM listing_line l WHERE l.listing_id = NEW.listing_id)
       OR EXISTS (SELECT FROM unnest(listing_left(NEW.listing_id)) AS rest WHERE rest < 0) THEN
        RAISE EXCEPTION 'listing %: more than is left', NEW.listing_id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER never_oversold AFTER INSERT ON listing_share FOR EACH ROW EXECUTE FUNCTION keep_left();
CREATE TRIGGER never_oversold AFTER INSERT ON listing_event FOR EACH ROW
    WHEN (NEW.kind <> 'publish') EXECUTE FUNCTION keep_left();
-- A take enters while the listing is open, by another than the lister; an event after the end is none.
CREATE FUNCTION keep_listing_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE l listing;
BEGIN
    PERFORM pg_advisory_xact_lock(44, NEW.listing_id);
    SELECT * INTO l FROM listing WHERE listing_id = NEW.listing_id;
    IF NEW.kind <> 'publish' AND (l.state <> 'open'
       OR (NEW.kind = 'take' AND (NEW.party_id = l.party_id OR NEW.at < l.starts_at OR NEW.at >= l.ends_at))
       OR (NEW.kind IN ('reduce', 'withdraw') AND NEW.party_id IS DISTINCT FROM l.party_id)) THEN
        RAISE EXCEPTION 'listing %: no % now', NEW.listing_id, NEW.kind USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER while_open BEFORE INSERT ON listing_event FOR EACH ROW EXECUTE FUNCTION keep_listing_event();
-- The last kWh closes a listing, whoever took it.
CREATE FUNCTION listing_exhausted(of_listing integer) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE listing SET state = 'taken'
    WHERE listing_id = of_listing AND state = 'open' AND sharing = 'time'
      AND NOT EXISTS (SELECT FROM unnest(listing_left(of_listing)) rest WHERE rest > 0)
$$;
-- What one party asked for in a batch so far, by line: the sum may not pass what is listed.
CREATE FUNCTION listing_asked(of_listing integer, taker bigint) RETURNS TABLE (line_no bigint, kwh numeric)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT k.no, sum(k.kwh) FROM listing_event e, unnest(e.kwh) WITH ORDINALITY AS k (kwh, no)
    WHERE e.listing_id = of_listing AND e.kind = 'take' AND e.party_id = taker GROUP BY k.no
$$;
-- The party behind a unit of the market: of an account that the asking party may not see, nothing but this number.
CREATE FUNCTION unit_party(unit text) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT CASE WHEN unit ~ '^party:[0-9]{1,18}$' THEN (SELECT party_id FROM party WHERE party_id = substr(unit, 7)::bigint)
                ELSE (SELECT party_id FROM account WHERE account_id = unit) END
$$;

-- A rolling book: its whole log for the one who writes it, who must know whose the orders are; depth and trades without names.
CREATE FUNCTION rolling_log(session integer, period integer, after_seq bigint)
RETURNS TABLE (seq bigint, op text, order_seq bigint, party_id bigint, unit_id text, side text, terms text,
               price_ticks bigint, quantity_kwh bigint, at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT e.seq, e.op, e.order_seq, e.party_id, e.unit_id, e.side, e.terms, e.price_ticks, e.quantity_kwh, e.at
    FROM rolling_event e WHERE e.rolling_id = session AND e.period_no = period AND e.seq > after_seq ORDER BY e.seq
$$;
CREATE FUNCTION rolling_feed(session integer, period integer, most integer)
RETURNS TABLE (trade_id bigint, period_no smallint, kwh bigint, price_ticks bigint, at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT t.trade_id, t.period_no, t.kwh, t.price_ticks, t.at FROM rolling_trade t
    WHERE t.rolling_id = session AND (period = 0 OR t.period_no = period) ORDER BY t.trade_id DESC LIMIT most
$$;
CREATE FUNCTION keep_rolling_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE s rolling_session;
BEGIN
    PERFORM pg_advisory_xact_lock(45, NEW.rolling_id * 1000 + NEW.period_no);
    SELECT * INTO s FROM rolling_session WHERE rolling_id = NEW.rolling_id;
    IF NEW.period_no > cardinality(s.period_label)
       OR EXISTS (SELECT FROM rolling_event e WHERE e.rolling_id = NEW.rolling_id AND e.period_no = NEW.period_no
                  AND e.op = 'close')
       OR (NEW.op <> 'close' AND (s.state <> 'scheduled' OR NEW.at < s.opens_at OR NEW.at >= s.closes_at))
       OR (NEW.op IN ('cancel', 'replace') AND NOT EXISTS (
            SELECT FROM rolling_event a WHERE a.seq = NEW.order_seq AND a.op = 'add' AND a.rolling_id = NEW.rolling_id
            AND a.period_no = NEW.period_no AND a.party_id = NEW.party_id)) THEN
        RAISE EXCEPTION 'rolling book %/%: no % now', NEW.rolling_id, NEW.period_no, NEW.op
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER while_open BEFORE INSERT ON rolling_event FOR EACH ROW EXECUTE FUNCTION keep_rolling_event();

-- ---- who may see and add ---------------------------------------------------------------------------------------------

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['listing_line', 'listing_event', 'listing_share', 'rolling_event', 'rolling_trade',
                             'rolling_contract', 'listing_move', 'rolling_move'] LOOP
        EXECUTE format('CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION keep_settlement()', t);
        EXECUTE format('GRANT SELECT ON %I TO shoudian_api, shoudian_worker', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['listing', 'rolling_session'] LOOP
        EXECUTE format('CREATE TRIGGER kept BEFORE DELETE ON %I FOR EACH ROW EXECUTE FUNCTION keep_settlement()', t);
        EXECUTE format('GRANT SELECT ON %I TO shoudian_api, shoudian_worker', t);
        EXECUTE format('GRANT UPDATE (state) ON %I TO shoudian_api, shoudian_worker', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['listing_left(integer)', 'listing_exhausted(integer)', 'listing_asked(integer, bigint)',
                             'unit_party(text)', 'rolling_log(integer, integer, bigint)',
                             'rolling_feed(integer, integer, integer)'] LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', t);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO shoudian_api, shoudian_worker', t);
    END LOOP;
END $$;
GRANT INSERT ON listing, listing_line, listing_event, listing_share, rolling_event, rolling_trade, rolling_contract,
    rolling_session TO shoudian_api, shoudian_worker;
GRANT INSERT ON wholesale_contract, wholesale_volume TO shoudian_api, shoudian_worker;

ALTER TABLE listing ENABLE ROW LEVEL SECURITY;                      -- the market sees what is offered, and by whom
CREATE POLICY of_the_market ON listing FOR SELECT TO shoudian_api
    USING (app_reads_market() OR current_setting('app.role', true) = 'customer');
CREATE POLICY published_by_its_party ON listing FOR INSERT TO shoudian_api WITH CHECK (app_has_party(party_id));
CREATE POLICY moved_by_its_party ON listing FOR UPDATE TO shoudian_api
    USING (app_has_party(party_id)) WITH CHECK (app_has_party(party_id));
ALTER TABLE listing_line ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_the_listing ON listing_line FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM listing l WHERE l.listing_id = listing_line.listing_id));
CREATE POLICY of_the_lister ON listing_line FOR INSERT TO shoudian_api
    WITH CHECK (EXISTS (SELECT FROM listing l WHERE l.listing_id = listing_line.listing_id AND app_has_party(l.party_id)));
ALTER TABLE listing_event ENABLE ROW LEVEL SECURITY;                -- who took: known to both, and to who oversees
CREATE POLICY of_both ON listing_event FOR SELECT TO shoudian_api
    USING (app_reads_market() OR app_has_party(party_id)
           OR EXISTS (SELECT FROM listing l WHERE l.listing_id = listing_event.listing_id AND app_has_party(l.party_id)));
CREATE POLICY by_the_party ON listing_event FOR INSERT TO shoudian_api WITH CHECK (app_has_party(party_id));
ALTER TABLE listing_share ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_both ON listing_share FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM listing_event e WHERE e.seq = listing_share.seq));
CREATE POLICY of_the_taker ON listing_share FOR INSERT TO shoudian_api
    WITH CHECK (EXISTS (SELECT FROM listing_event e WHERE e.seq = listing_share.seq AND e.listing_id = listing_share.listing_id
                        AND app_has_party(e.party_id)));

-- A take is a contract at once: a party writes, and reads, wholesale terms of its own units only.
CREATE POLICY of_both ON wholesale_contract FOR SELECT TO shoudian_api
    USING (app_has_party(unit_party(seller)) OR app_has_party(unit_party(buyer)));
CREATE POLICY agreed_by_a_party ON wholesale_contract FOR INSERT TO shoudian_api
    WITH CHECK (app_has_party(unit_party(seller)) OR app_has_party(unit_party(buyer)));
CREATE POLICY of_both ON wholesale_volume FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM wholesale_contract c WHERE (c.contract_id, c.version)
                   = (wholesale_volume.contract_id, wholesale_volume.version)));
CREATE POLICY agreed_by_a_party ON wholesale_volume FOR INSERT TO shoudian_api
    WITH CHECK (EXISTS (SELECT FROM wholesale_contract c WHERE (c.contract_id, c.version)
                        = (wholesale_volume.contract_id, wholesale_volume.version)
                        AND (app_has_party(unit_party(c.seller)) OR app_has_party(unit_party(c.buyer)))));

ALTER TABLE rolling_session ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_the_market ON rolling_session FOR SELECT TO shoudian_api
    USING (app_reads_market() OR current_setting('app.role', true) = 'customer');
CREATE POLICY announced_by_staff ON rolling_session FOR INSERT TO shoudian_api WITH CHECK (app_is_staff());
CREATE POLICY moved_by_staff ON rolling_session FOR UPDATE TO shoudian_api USING (app_is_staff()) WITH CHECK (app_is_staff());
ALTER TABLE rolling_event ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_the_party ON rolling_event FOR SELECT TO shoudian_api USING (app_reads_market() OR app_has_party(party_id));
CREATE POLICY by_the_party ON rolling_event FOR INSERT TO shoudian_api WITH CHECK (app_has_party(party_id));
ALTER TABLE rolling_trade ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_both ON rolling_trade FOR SELECT TO shoudian_api
    USING (app_reads_market() OR app_has_party(buyer_id) OR app_has_party(seller_id));
CREATE POLICY of_the_party ON rolling_trade FOR INSERT TO shoudian_api
    WITH CHECK (EXISTS (SELECT FROM rolling_event e WHERE e.seq = rolling_trade.seq AND app_has_party(e.party_id))
                AND (app_has_party(buyer_id) OR app_has_party(seller_id)));
ALTER TABLE rolling_contract ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_both ON rolling_contract FOR SELECT TO shoudian_api
    USING (app_reads_market() OR app_has_party(buyer_id) OR app_has_party(seller_id));

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['listing', 'listing_line', 'listing_event', 'listing_share', 'rolling_session', 'rolling_event',
                             'rolling_trade', 'rolling_contract'] LOOP
        EXECUTE format('CREATE POLICY of_everybody ON %I TO shoudian_worker USING (true) WITH CHECK (true)', t);
    END LOOP;
END $$;
