-- What the market's rooms and guarantees may not do: an overseer reads no negotiation, a reserve that moves on to another
-- purpose is never more than what it gave back, and what a person enters of a party's conduct counts by a second person.

-- ---- rooms are confidential -------------------------------------------------------------------------------------------
ALTER POLICY of_both ON negotiation
    USING (app_is_staff() OR app_has_party(seller_id) OR app_has_party(buyer_id));
ALTER POLICY of_the_three ON contract_transfer
    USING (app_is_staff() OR app_has_party(from_id) OR app_has_party(to_id) OR app_has_party(other_id));
CREATE FUNCTION negotiation_counts() RETURNS TABLE (state text, rooms bigint) -- how many, and nothing of any
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT n.state, count(*) FROM negotiation n WHERE app_reads_market() GROUP BY n.state ORDER BY n.state
$$;
REVOKE EXECUTE ON FUNCTION negotiation_counts() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION negotiation_counts() TO shoudian_api;

-- ---- guarantees -------------------------------------------------------------------------------------------------------
-- A reserve that is carried on: an order becomes a contract, a contract is parted. It needs nothing that is free, only what
-- the same transaction gave back of the same party's; else a letter that has expired meanwhile would stop a session's close.
ALTER TABLE guarantee_entry ADD COLUMN is_carried boolean NOT NULL DEFAULT false;
ALTER TABLE guarantee_entry ADD COLUMN txid xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE FUNCTION guarantee_carriable_fen(party bigint) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT greatest(0, coalesce(sum(CASE kind WHEN 'release' THEN amount_fen ELSE -amount_fen END), 0))::bigint
    FROM guarantee_entry
    WHERE party_id = party AND kind IN ('reserve', 'release') AND txid = pg_current_xact_id()
$$;
CREATE FUNCTION keep_carried() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    NEW.txid := pg_current_xact_id();
    IF NEW.is_carried THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('guarantee:' || NEW.party_id, 0));
        IF NEW.kind <> 'reserve' OR NEW.amount_fen > guarantee_carriable_fen(NEW.party_id) THEN
            RAISE EXCEPTION 'more than was given back' USING ERRCODE = 'check_violation', CONSTRAINT = 'over_guarantee';
        END IF;
    END IF;
    RETURN NEW;
END $$;
DROP TRIGGER balanced ON guarantee_entry;
CREATE TRIGGER balanced BEFORE INSERT ON guarantee_entry FOR EACH ROW
    WHEN (NOT NEW.is_carried) EXECUTE FUNCTION keep_guarantee();
CREATE TRIGGER carried BEFORE INSERT ON guarantee_entry FOR EACH ROW EXECUTE FUNCTION keep_carried();
CREATE INDEX guarantee_entry_txid ON guarantee_entry (party_id, txid);

-- ---- conduct that a person enters -------------------------------------------------------------------------------------
CREATE TABLE conduct_entry (
    entry_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    party_id       bigint NOT NULL REFERENCES party,
    kind           text NOT NULL CHECK (kind IN ('breach', 'violation', 'financial')),
    at             timestamptz NOT NULL,
    magnitude      bigint NOT NULL CHECK (magnitude BETWEEN 0 AND 100),
    source_key     text NOT NULL CHECK (length(source_key) BETWEEN 1 AND 200),
    document       text NOT NULL CHECK (length(document) BETWEEN 1 AND 500),
    proposed_at    timestamptz NOT NULL,
    proposed_by    text NOT NULL
);
CREATE INDEX conduct_entry_party ON conduct_entry (party_id, entry_id);
CREATE TABLE conduct_entry_verdict (
    entry_id       bigint PRIMARY KEY REFERENCES conduct_entry,
    verdict        text NOT NULL CHECK (verdict IN ('accept', 'reject')),
    at             timestamptz NOT NULL,
    actor          text NOT NULL
);
CREATE FUNCTION keep_second_reader() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF NEW.actor NOT LIKE 'user:%'
       OR NEW.actor = (SELECT proposed_by FROM conduct_entry WHERE entry_id = NEW.entry_id) THEN
        RAISE EXCEPTION 'a second person decides' USING ERRCODE = 'check_violation', CONSTRAINT = 'second_person';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER second_person BEFORE INSERT ON conduct_entry_verdict FOR EACH ROW EXECUTE FUNCTION keep_second_reader();
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['conduct_entry', 'conduct_entry_verdict'] LOOP
        EXECUTE format('CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION keep_settlement()', t);
        EXECUTE format('GRANT SELECT, INSERT ON %I TO shoudian_api, shoudian_worker', t);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY of_everybody ON %I TO shoudian_worker USING (true) WITH CHECK (true)', t);
        EXECUTE format('CREATE POLICY of_staff ON %I TO shoudian_api USING (app_is_staff()) WITH CHECK (app_is_staff())', t);
    END LOOP;
END $$;
-- Over HTTP nobody writes such a fact that was not entered by one person and accepted by another.
CREATE POLICY entered_by_two ON conduct_fact AS RESTRICTIVE FOR INSERT TO shoudian_api
    WITH CHECK (kind NOT IN ('breach', 'violation', 'financial')
                OR EXISTS (SELECT FROM conduct_entry e JOIN conduct_entry_verdict v USING (entry_id)
                           WHERE v.verdict = 'accept'
                             AND (e.party_id, e.kind, e.at, e.magnitude, e.source_key, e.document)
                               = (conduct_fact.party_id, conduct_fact.kind, conduct_fact.at, conduct_fact.magnitude,
                                  conduct_fact.source_key, conduct_fact.document)));
