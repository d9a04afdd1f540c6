-- Least privilege: each process speaks as its own role; evidence, intervals and bills can only be added to.
-- Row-level security is the second wall behind the stores' own conditions: a customer's transaction sees the rows of
-- the party in app.party_id, whatever the query forgot (cloud/db.py sets app.role and app.party_id).

DO $$
DECLARE r text;
BEGIN
    FOREACH r IN ARRAY ARRAY['shoudian_ingest', 'shoudian_worker', 'shoudian_api', 'shoudian_provision'] LOOP
        BEGIN                                                       -- roles belong to the server, not to one database
            EXECUTE format('CREATE ROLE %I NOLOGIN', r);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
        IF NOT pg_has_role(current_user, r, 'SET') THEN             -- an owner that is no superuser must be able to speak as it
            EXECUTE format('GRANT %I TO CURRENT_USER WITH SET TRUE', r);
        END IF;
    END LOOP;
END $$;

-- Everybody may look; what may be seen of it is decided by the policies below. Secrets are excepted.
GRANT SELECT ON ALL TABLES IN SCHEMA public TO shoudian_ingest, shoudian_worker, shoudian_api, shoudian_provision;
REVOKE SELECT ON app_user, user_session, sign_in_attempt FROM shoudian_ingest, shoudian_worker, shoudian_provision;
REVOKE SELECT ON claim FROM shoudian_ingest, shoudian_worker, shoudian_api;

-- Readings carry no policy (a compressed hypertable cannot have one), so the pages do not get them at all.
REVOKE SELECT ON reading, reading_conflict, unbound_reading FROM shoudian_api, shoudian_provision;

GRANT INSERT ON sealed_batch, batch_loss, reading, quarantine, reading_conflict, unbound_reading TO shoudian_ingest;
GRANT INSERT ON gateway_event, gateway_store TO shoudian_ingest;
GRANT USAGE ON SEQUENCE sealed_batch_batch_id_seq TO shoudian_ingest; -- ids are drawn before the transaction that stores
GRANT EXECUTE ON FUNCTION make_reading_partition TO shoudian_ingest, shoudian_worker;
GRANT EXECUTE ON FUNCTION prune_running_days TO shoudian_worker;
GRANT INSERT, UPDATE ON batch_cursor, intake_count, gateway_status, live_value TO shoudian_ingest;
GRANT INSERT, UPDATE, DELETE ON stale_day TO shoudian_ingest, shoudian_worker;
GRANT UPDATE (state, epoch, store_uuid) ON gateway TO shoudian_ingest;

GRANT INSERT ON interval_day, finding, price_sheet, bill, bill_line, audit_event, gateway_event TO shoudian_worker;
GRANT UPDATE (state) ON bill TO shoudian_worker;                    -- draft -> issued -> void; nothing else of a bill moves
GRANT UPDATE (resolved_at) ON quarantine TO shoudian_worker;
GRANT INSERT, DELETE ON timetable_tick TO shoudian_worker;
GRANT SELECT (expires_at), DELETE ON user_session TO shoudian_worker; -- expired ones go

GRANT INSERT, UPDATE, DELETE ON user_session TO shoudian_api;
GRANT INSERT ON sign_in_attempt, audit_event TO shoudian_api;
GRANT UPDATE (succeeded) ON sign_in_attempt TO shoudian_api;

GRANT INSERT, UPDATE ON gateway, claim, certificate, meter, installation TO shoudian_provision;
GRANT INSERT, UPDATE ON gateway_key TO shoudian_provision;
GRANT INSERT ON gateway_event, audit_event TO shoudian_provision;

-- Rows of customers. Staff and technicians see all; a customer the own party's; a transaction for nobody sees none.
CREATE FUNCTION app_sees_party(owner bigint) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT current_setting('app.role', true) IN ('staff', 'technician')
        OR (current_setting('app.role', true) = 'customer'
            AND owner = nullif(current_setting('app.party_id', true), '')::bigint)
$$;

ALTER TABLE account ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_the_party ON account FOR SELECT TO shoudian_api USING (app_sees_party(party_id));

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['account_terms', 'supply_point'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY of_the_party ON %I FOR SELECT TO shoudian_api
                        USING (EXISTS (SELECT FROM account a WHERE a.account_id = %I.account_id))', t, t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['installation', 'interval_day', 'finding'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY of_the_party ON %I FOR SELECT TO shoudian_api
                        USING (EXISTS (SELECT FROM supply_point s
                                       WHERE s.supply_point_id = %I.supply_point_id))', t, t);
    END LOOP;
END $$;

ALTER TABLE live_value ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_the_party ON live_value FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM installation i WHERE i.meter_key = live_value.meter_key AND i.period @> live_value.taken_at));

ALTER TABLE bill ENABLE ROW LEVEL SECURITY;                         -- a draft is not yet a bill to its customer
CREATE POLICY of_the_party ON bill FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM account a WHERE a.account_id = bill.account_id)
           AND (state = 'issued' OR current_setting('app.role', true) = 'staff'));

ALTER TABLE bill_line ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_the_party ON bill_line FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM bill b WHERE b.bill_id = bill_line.bill_id));

-- The other processes work for everybody.
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['account', 'account_terms', 'supply_point', 'installation', 'interval_day', 'finding',
                             'live_value', 'bill', 'bill_line'] LOOP
        EXECUTE format('CREATE POLICY of_everybody ON %I TO shoudian_ingest, shoudian_worker, shoudian_provision
                        USING (true) WITH CHECK (true)', t);
    END LOOP;
END $$;
