-- What changes a session's result after its book was closed: a declaration is struck out, or a platform's corrected result
-- is taken over. One person asks with a reason, another one answers; runs, contracts and messages only gain later rows.

-- A published result may be replaced: the state stays, the final run moves on.
INSERT INTO session_move (before, after) VALUES
    ('published', 'published'), ('rolling', 'rolling'), ('closed', 'closed');

CREATE TABLE exchange_offer (                                       -- a later version of a result, which nobody has taken over yet
    offer_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id     integer NOT NULL REFERENCES exchange_session,
    version        integer NOT NULL CHECK (version >= 2),
    document       text NOT NULL CHECK (length(document) = 64),     -- as it came, in the vault
    body           jsonb NOT NULL,                                  -- schema shoudian-exchange-result/1
    body_sha256    text NOT NULL CHECK (length(body_sha256) = 64),
    at             timestamptz NOT NULL,
    UNIQUE (session_id, version, body_sha256)
);

CREATE TABLE result_change (
    change_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id     integer NOT NULL REFERENCES trading_session,
    kind           text NOT NULL CHECK (kind IN ('strike', 'takeover')),
    seq            bigint REFERENCES bid_event,                     -- of a strike: the declaration
    offer_id       bigint REFERENCES exchange_offer,                -- of a takeover: the version
    reason         text NOT NULL CHECK (length(reason) BETWEEN 2 AND 1000),
    asked_at       timestamptz NOT NULL,
    asked_by       text NOT NULL,
    CHECK ((kind = 'strike') = (seq IS NOT NULL) AND (kind = 'takeover') = (offer_id IS NOT NULL))
);
CREATE INDEX result_change_of ON result_change (session_id, change_id);
CREATE TABLE result_change_answer (                                 -- the first decides; never by who asked
    change_id      bigint PRIMARY KEY REFERENCES result_change,
    verdict        text NOT NULL CHECK (verdict IN ('approved', 'refused')),
    reason         text NOT NULL DEFAULT '' CHECK (length(reason) <= 1000),
    at             timestamptz NOT NULL,
    actor          text NOT NULL
);
CREATE FUNCTION other_eyes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM result_change c WHERE c.change_id = NEW.change_id AND c.asked_by = NEW.actor) THEN
        RAISE EXCEPTION 'change %: who asked does not answer', NEW.change_id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER other_eyes BEFORE INSERT ON result_change_answer FOR EACH ROW EXECUTE FUNCTION other_eyes();

CREATE TABLE clearing_struck (                                      -- which declarations a run leaves out
    session_id     integer NOT NULL,
    run_no         integer NOT NULL,
    seq            bigint NOT NULL REFERENCES bid_event,
    PRIMARY KEY (session_id, run_no, seq),
    FOREIGN KEY (session_id, run_no) REFERENCES clearing_run
);
CREATE TABLE session_contract_change (                              -- what a corrected result made of a session's contract
    contract_id    text NOT NULL REFERENCES session_contract,
    run_no         integer NOT NULL,
    quantity_kwh   bigint NOT NULL CHECK (quantity_kwh >= 0),       -- 0: the contract is void
    amount_fen     bigint NOT NULL,
    at             timestamptz NOT NULL,
    PRIMARY KEY (contract_id, run_no)
);

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['exchange_offer', 'result_change', 'result_change_answer', 'clearing_struck',
                             'session_contract_change'] LOOP
        EXECUTE format('CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION keep_rows()', t);
        EXECUTE format('CREATE TRIGGER kept_whole BEFORE TRUNCATE ON %I EXECUTE FUNCTION keep_settlement()', t);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('GRANT SELECT, INSERT ON %I TO shoudian_worker', t);
        EXECUTE format('GRANT SELECT ON %I TO shoudian_api', t);
        EXECUTE format('CREATE POLICY of_everybody ON %I TO shoudian_worker USING (true) WITH CHECK (true)', t);
        EXECUTE format('CREATE POLICY seen_by_staff ON %I FOR SELECT TO shoudian_api USING (app_reads_market())', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['result_change', 'result_change_answer', 'clearing_struck'] LOOP
        EXECUTE format('GRANT INSERT ON %I TO shoudian_api', t);
        EXECUTE format('CREATE POLICY added_by_staff ON %I FOR INSERT TO shoudian_api WITH CHECK (app_is_staff())', t);
    END LOOP;
END $$;
-- Who declared sees that the own declaration was struck out, when, and why; of others nothing.
CREATE FUNCTION bid_struck(session integer) RETURNS TABLE (seq bigint, at timestamptz, reason text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT c.seq, a.at, c.reason
    FROM result_change c JOIN result_change_answer a USING (change_id) JOIN bid_event b ON b.seq = c.seq
    WHERE c.session_id = session AND a.verdict = 'approved' AND (app_reads_market() OR app_has_party(b.party_id))
$$;
REVOKE EXECUTE ON FUNCTION bid_struck(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bid_struck(integer) TO shoudian_api, shoudian_worker;
CREATE POLICY of_both ON session_contract_change FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM session_contract c WHERE c.contract_id = session_contract_change.contract_id));
-- A declaration is struck out once.
CREATE FUNCTION struck_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.seq IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(44, NEW.session_id);
        IF EXISTS (SELECT FROM result_change c LEFT JOIN result_change_answer a USING (change_id)
                   WHERE c.seq = NEW.seq AND a.verdict IS DISTINCT FROM 'refused') THEN
            RAISE EXCEPTION 'declaration % is being struck out already', NEW.seq USING ERRCODE = 'unique_violation';
        END IF;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER struck_once BEFORE INSERT ON result_change FOR EACH ROW EXECUTE FUNCTION struck_once();
