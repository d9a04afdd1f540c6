-- Rooms, rolling books and listings that are live, and listings for named parties only.
--
-- Whoever writes an event wakes those who look at it: channel `deals`, payload `room:<id>`, `book:<session>:<period>` or
-- `listing:<id>`. The payload says where to look, never what there is: each reader reads with its own rights.

CREATE FUNCTION tell_of_room() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('deals', 'room:' || NEW.negotiation_id);
    RETURN NULL;
END $$;
CREATE TRIGGER tells AFTER INSERT ON negotiation_event FOR EACH ROW EXECUTE FUNCTION tell_of_room();

CREATE FUNCTION tell_of_book() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('deals', 'book:' || NEW.rolling_id || ':' || NEW.period_no);
    RETURN NULL;
END $$;
CREATE TRIGGER tells AFTER INSERT ON rolling_event FOR EACH ROW EXECUTE FUNCTION tell_of_book();

CREATE FUNCTION tell_of_session() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('deals', 'book:' || NEW.rolling_id || ':' || number)
    FROM generate_series(1, cardinality(NEW.period_label)) number;
    RETURN NULL;
END $$;
CREATE TRIGGER tells AFTER UPDATE ON rolling_session FOR EACH ROW EXECUTE FUNCTION tell_of_session();

CREATE FUNCTION tell_of_listing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('deals', 'listing:' || NEW.listing_id);
    RETURN NULL;
END $$;
CREATE TRIGGER tells AFTER INSERT ON listing_event FOR EACH ROW EXECUTE FUNCTION tell_of_listing();

-- The trades of a book after an event, without names, in their order: what a reader has missed.
CREATE FUNCTION rolling_feed_after(session integer, period integer, after_seq bigint)
RETURNS TABLE (trade_id bigint, seq bigint, kwh bigint, price_ticks bigint, at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT t.trade_id, t.seq, t.kwh, t.price_ticks, t.at FROM rolling_trade t
    WHERE t.rolling_id = session AND t.period_no = period AND t.seq > after_seq ORDER BY t.trade_id
$$;
-- The number of a book's last event; 0: nothing has happened.
CREATE FUNCTION rolling_last(session integer, period integer) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT coalesce(max(e.seq), 0) FROM rolling_event e WHERE e.rolling_id = session AND e.period_no = period
$$;
-- The number of a listing's last event, whoever's it is; 0: there is no such listing.
CREATE FUNCTION listing_last(of_listing integer) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT coalesce(max(e.seq), 0) FROM listing_event e WHERE e.listing_id = of_listing
$$;
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['rolling_feed_after(integer, integer, bigint)', 'rolling_last(integer, integer)',
                             'listing_last(integer)'] LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', t);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO shoudian_api, shoudian_worker', t);
    END LOOP;
END $$;

-- ---- listings for named parties 定向挂牌 -----------------------------------------------------------------------------

-- Who is not named sees no such listing; the lister and who oversees always do.
DROP POLICY of_the_market ON listing;
CREATE POLICY of_the_market ON listing FOR SELECT TO shoudian_api
    USING (app_reads_market()
           OR (current_setting('app.role', true) = 'customer'
               AND (cardinality(eligible_ids) = 0 OR app_has_party(party_id)
                    OR nullif(current_setting('app.party_id', true), '')::bigint = ANY(eligible_ids))));
ALTER TABLE listing ADD CONSTRAINT few_named CHECK (cardinality(eligible_ids) <= 20);

-- As in 0029, and: who is not named takes nothing, whoever writes the row.
CREATE OR REPLACE FUNCTION keep_listing_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
DECLARE l listing;
BEGIN
    PERFORM pg_advisory_xact_lock(44, NEW.listing_id);
    SELECT * INTO l FROM listing WHERE listing_id = NEW.listing_id;
    IF NEW.kind <> 'publish' AND (l.state <> 'open'
       OR (NEW.kind = 'take' AND (NEW.party_id = l.party_id OR NEW.at < l.starts_at OR NEW.at >= l.ends_at
                                  OR (cardinality(l.eligible_ids) > 0 AND NEW.party_id <> ALL(l.eligible_ids))))
       OR (NEW.kind IN ('reduce', 'withdraw') AND NEW.party_id IS DISTINCT FROM l.party_id)) THEN
        RAISE EXCEPTION 'listing %: no % now', NEW.listing_id, NEW.kind USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
