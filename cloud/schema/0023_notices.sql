-- Notices, documents kept as files, and the regulator's role. Rows are only added.

-- A regulator is no customer (no party) and reads what app_reads_market() opens: never accounts, bills or readings,
-- which app_sees_party keeps for staff, technicians and their owner (0009_grants.sql).
ALTER TABLE app_user DROP CONSTRAINT app_user_role_check;
ALTER TABLE app_user ADD CONSTRAINT app_user_role_check
    CHECK (role IN ('staff', 'technician', 'customer', 'regulator'));

CREATE FUNCTION app_is_regulator() RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT current_setting('app.role', true) = 'regulator'
$$;
CREATE FUNCTION app_reads_market() RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT current_setting('app.role', true) IN ('staff', 'regulator')
$$;
CREATE FUNCTION app_has_party(owner bigint) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT current_setting('app.role', true) = 'customer'
       AND owner = nullif(current_setting('app.party_id', true), '')::bigint
$$;

CREATE TABLE notice (
    notice_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    party_id       bigint REFERENCES party,                         -- whose; null: the market operator's
    key            text NOT NULL CHECK (key ~ '^[a-z][a-z0-9_.]{0,79}$'), -- words: notice.<key>
    facts          jsonb NOT NULL CHECK (jsonb_typeof(facts) = 'object'),
    path           text NOT NULL CHECK (path ~ '^/[^/\\]' AND length(path) <= 300), -- the page it is about
    idem_key       text NOT NULL UNIQUE CHECK (length(idem_key) BETWEEN 1 AND 200),
    at             timestamptz NOT NULL
);
CREATE INDEX notice_of ON notice (party_id, notice_id DESC);

CREATE TABLE notice_read (
    notice_id      bigint NOT NULL REFERENCES notice,
    user_id        bigint NOT NULL REFERENCES app_user,
    at             timestamptz NOT NULL,
    PRIMARY KEY (user_id, notice_id)
);

-- A file that somebody gave us or that we made: its bytes lie in the vault under their hash (cloud/files.py).
CREATE TABLE document (
    document_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sha256         text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    name           text NOT NULL CHECK (length(name) BETWEEN 1 AND 120 AND name !~ '[/\\[:cntrl:]]'),
    media_type     text NOT NULL CHECK (length(media_type) BETWEEN 3 AND 100),
    size_bytes     bigint NOT NULL CHECK (size_bytes > 0),
    party_id       bigint REFERENCES party,                         -- whose; null: the market operator's
    purpose        text NOT NULL CHECK (purpose ~ '^[a-z][a-z0-9_.]{0,39}$'),
    audience       text NOT NULL DEFAULT 'party' CHECK (audience IN ('party', 'market')), -- market: whoever is signed in
    kept_at        timestamptz NOT NULL,
    kept_by        text NOT NULL
);
CREATE INDEX document_of ON document (party_id, purpose, document_id);
CREATE INDEX document_body ON document (sha256);

CREATE TABLE document_share (                                       -- another party that may read it too
    document_id    bigint NOT NULL REFERENCES document,
    party_id       bigint NOT NULL REFERENCES party,
    shared_at      timestamptz NOT NULL,
    shared_by      text NOT NULL,
    PRIMARY KEY (document_id, party_id)
);

CREATE FUNCTION keep_rows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% can only be added to', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['notice', 'notice_read', 'document', 'document_share'] LOOP
        EXECUTE format('CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION keep_rows()', t);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('GRANT SELECT, INSERT ON %I TO shoudian_api, shoudian_worker', t);
        EXECUTE format('CREATE POLICY of_everybody ON %I TO shoudian_worker USING (true) WITH CHECK (true)', t);
    END LOOP;
END $$;

-- Whoever does a deed tells others of it: anybody signed in may add a notice, only whom it is for reads it.
CREATE POLICY of_whom_it_is_for ON notice FOR SELECT TO shoudian_api USING (app_is_staff() OR app_has_party(party_id));
CREATE POLICY told_by_anybody ON notice FOR INSERT TO shoudian_api
    WITH CHECK (current_setting('app.role', true) IN ('staff', 'customer', 'technician', 'regulator'));
CREATE POLICY ones_own ON notice_read TO shoudian_api
    USING (current_setting('app.actor', true) = 'user:' || user_id)
    WITH CHECK (current_setting('app.actor', true) = 'user:' || user_id);

-- Each of the two policies asks the other table, so the asking is done past the policies.
CREATE FUNCTION app_is_shared(wanted bigint) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, public AS $$
    SELECT current_setting('app.role', true) = 'customer'
       AND EXISTS (SELECT FROM document_share s WHERE s.document_id = wanted
                   AND s.party_id = nullif(current_setting('app.party_id', true), '')::bigint)
$$;
CREATE POLICY of_whose_it_is ON document FOR SELECT TO shoudian_api
    USING (app_is_staff() OR app_has_party(party_id) OR app_is_shared(document_id)
           OR (audience = 'market' AND current_setting('app.role', true) IN ('customer', 'technician', 'regulator')));
CREATE POLICY kept_by_its_owner ON document FOR INSERT TO shoudian_api
    WITH CHECK (app_is_staff() OR (app_has_party(party_id) AND audience = 'party'));
CREATE POLICY of_both ON document_share FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM document d WHERE d.document_id = document_share.document_id));
CREATE POLICY shared_by_its_owner ON document_share FOR INSERT TO shoudian_api
    WITH CHECK (EXISTS (SELECT FROM document d WHERE d.document_id = document_share.document_id
                        AND (app_is_staff() OR app_has_party(d.party_id))));
