-- Least privilege: each process speaks as its own role; evidence, intervals and bills can only be added to.

DO $$
DECLARE r text;
BEGIN
    FOREACH r IN ARRAY ARRAY['shoudian_ingest', 'shoudian_worker', 'shoudian_api', 'shoudian_provision'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', r);
        END IF;
    END LOOP;
END $$;
