-- Retail packages of accounts, tariff drafts with their test bench, and publishing by two persons.

-- The package an account is on, by its exact text (package_snapshot of tariffs-and-settlement 9.4 = id@version).
-- At every instant one package, so one retailer per user and contract period (国能发监管规〔2024〕76号 art. 23).
CREATE TABLE account_package (
    account_id      text NOT NULL REFERENCES account,
    effective       tstzrange NOT NULL CHECK (NOT isempty(effective) AND NOT lower_inf(effective) AND lower_inc(effective)
                                              AND NOT upper_inc(effective)),
    package_id      text NOT NULL,
    package_version integer NOT NULL,
    retailer_id     bigint NOT NULL REFERENCES party,
    assigned_by     text NOT NULL,                                  -- 'user:17', 'cli:package'
    assigned_at     timestamptz NOT NULL,
    PRIMARY KEY (account_id, effective),
    FOREIGN KEY (package_id, package_version) REFERENCES price_sheet,
    EXCLUDE USING gist (id_range(account_id, account_id, '[]') WITH &&, effective WITH &&)
);

-- An assignment only ever gets shorter at its end; what it was about never changes.
CREATE FUNCTION keep_account_package() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'an assigned package is history: end it instead' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF (NEW.account_id, NEW.package_id, NEW.package_version, NEW.retailer_id, NEW.assigned_by, NEW.assigned_at,
        lower(NEW.effective))
       IS DISTINCT FROM (OLD.account_id, OLD.package_id, OLD.package_version, OLD.retailer_id, OLD.assigned_by,
                         OLD.assigned_at, lower(OLD.effective))
       OR NOT NEW.effective <@ OLD.effective THEN
        RAISE EXCEPTION 'of an assigned package only the end may move, and only to be earlier'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON account_package FOR EACH ROW EXECUTE FUNCTION keep_account_package();

-- A draft of a price file. Every save is a new row of its text: who wrote what, and what the reader said to it.
CREATE TABLE tariff_draft (
    draft_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    title          text NOT NULL CHECK (length(title) BETWEEN 1 AND 200),
    started_by     text NOT NULL CHECK (started_by ~ '^user:[0-9]+$'),
    started_at     timestamptz NOT NULL
);
CREATE TABLE tariff_draft_text (
    draft_id       bigint NOT NULL REFERENCES tariff_draft,
    revision       integer NOT NULL CHECK (revision >= 1),
    author         text NOT NULL CHECK (author ~ '^user:[0-9]+$'),
    saved_at       timestamptz NOT NULL,
    body           text NOT NULL CHECK (length(body) BETWEEN 1 AND 200000),
    sha256         bytea NOT NULL CHECK (length(sha256) = 32),
    problems       jsonb NOT NULL,                                  -- []: a valid price file
    sheet_id       text, version integer, kind text, grid text, effective tstzrange, document text, -- of a valid one
    PRIMARY KEY (draft_id, revision),
    CHECK ((problems = '[]'::jsonb) = (sheet_id IS NOT NULL AND version IS NOT NULL AND kind IS NOT NULL
                                       AND grid IS NOT NULL AND effective IS NOT NULL AND document IS NOT NULL))
);

-- A run of the test bench: one text over the months of the chosen accounts; a unit is one account.
CREATE TABLE bench_run (
    bench_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    draft_id       bigint NOT NULL, revision integer NOT NULL,
    asked_by       text NOT NULL,
    asked_at       timestamptz NOT NULL,
    first_month    date NOT NULL CHECK (extract(day FROM first_month) = 1),
    end_month      date NOT NULL CHECK (extract(day FROM end_month) = 1),
    FOREIGN KEY (draft_id, revision) REFERENCES tariff_draft_text,
    CHECK (first_month < end_month AND end_month <= first_month + interval '24 months')
);
CREATE INDEX bench_run_draft ON bench_run (draft_id, revision);
CREATE TABLE bench_unit (
    bench_id       bigint NOT NULL REFERENCES bench_run,
    account_id     text NOT NULL REFERENCES account,
    done_at        timestamptz,
    PRIMARY KEY (bench_id, account_id)
);
CREATE INDEX bench_unit_open ON bench_unit (bench_id) WHERE done_at IS NULL;
CREATE TABLE bench_result (
    bench_id       bigint NOT NULL,
    account_id     text NOT NULL,
    month          date NOT NULL,
    category       text NOT NULL,
    before_fen     bigint, after_fen bigint,                        -- null when it could not be rated
    changes        jsonb NOT NULL,                                  -- charges that differ
    problem        text NOT NULL,                                   -- '': none
    PRIMARY KEY (bench_id, account_id, month),
    FOREIGN KEY (bench_id, account_id) REFERENCES bench_unit,
    CHECK ((problem = '') = (before_fen IS NOT NULL AND after_fen IS NOT NULL))
);

CREATE TABLE tariff_publication (
    draft_id       bigint PRIMARY KEY,                              -- a draft is published once
    revision       integer NOT NULL,
    bench_id       bigint NOT NULL REFERENCES bench_run,
    published_by   text NOT NULL,
    published_at   timestamptz NOT NULL,
    sheet_id       text NOT NULL, version integer NOT NULL,
    FOREIGN KEY (draft_id, revision) REFERENCES tariff_draft_text,
    FOREIGN KEY (sheet_id, version) REFERENCES price_sheet,
    UNIQUE (sheet_id, version)
);

-- What was written stays as it was written.
CREATE FUNCTION keep_as_written() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% can only be added to', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['price_sheet', 'tariff_draft', 'tariff_draft_text', 'bench_run', 'bench_result',
                             'tariff_publication'] LOOP
        EXECUTE format('CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION keep_as_written()', t);
    END LOOP;
END $$;

-- The only way by which a draft becomes a price file. Four eyes: whoever wrote any text of the draft, started it or is
-- not a signed-in member of the staff cannot. The text must be the draft's last, valid, and wholly run on the bench.
CREATE FUNCTION publish_draft(of_draft bigint, of_revision integer, at timestamptz) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    who text := current_setting('app.actor', true);
    t tariff_draft_text;
    bench bigint;
BEGIN
    IF current_setting('app.role', true) IS DISTINCT FROM 'staff' OR who !~ '^user:[0-9]+$' THEN
        RETURN 'not_staff';
    END IF;
    PERFORM FROM tariff_draft WHERE draft_id = of_draft FOR UPDATE;
    SELECT * INTO t FROM tariff_draft_text WHERE draft_id = of_draft ORDER BY revision DESC LIMIT 1;
    IF t IS NULL OR t.revision <> of_revision THEN
        RETURN 'not_latest';
    END IF;
    IF EXISTS (SELECT FROM tariff_publication WHERE draft_id = of_draft) THEN
        RETURN 'published';
    END IF;
    IF EXISTS (SELECT FROM tariff_draft_text WHERE draft_id = of_draft AND author = who)
       OR EXISTS (SELECT FROM tariff_draft WHERE draft_id = of_draft AND started_by = who) THEN
        RETURN 'own_draft';
    END IF;
    IF t.problems <> '[]'::jsonb THEN
        RETURN 'draft_not_valid';
    END IF;
    SELECT b.bench_id INTO bench FROM bench_run b WHERE b.draft_id = of_draft AND b.revision = of_revision
        AND EXISTS (SELECT FROM bench_result r WHERE r.bench_id = b.bench_id AND r.problem = '')
        AND NOT EXISTS (SELECT FROM bench_unit u WHERE u.bench_id = b.bench_id AND u.done_at IS NULL)
        ORDER BY b.bench_id DESC LIMIT 1;
    IF bench IS NULL THEN
        RETURN 'not_benched';
    END IF;
    IF EXISTS (SELECT FROM price_sheet p WHERE p.sheet_id = t.sheet_id AND p.version >= t.version) THEN
        RETURN 'version_taken';
    END IF;
    INSERT INTO price_sheet (sheet_id, version, kind, grid, sha256, effective, document, body, loaded_at)
        VALUES (t.sheet_id, t.version, t.kind, t.grid, t.sha256, t.effective, t.document, t.body, at);
    INSERT INTO tariff_publication (draft_id, revision, bench_id, published_by, published_at, sheet_id, version)
        VALUES (of_draft, of_revision, bench, who, at, t.sheet_id, t.version);
    RETURN 'ok';
END $$;
REVOKE EXECUTE ON FUNCTION publish_draft FROM PUBLIC;

GRANT EXECUTE ON FUNCTION publish_draft TO shoudian_api;
GRANT SELECT ON account_package, tariff_draft, tariff_draft_text, bench_run, bench_unit, bench_result, tariff_publication
    TO shoudian_api, shoudian_worker;
GRANT INSERT ON account_package TO shoudian_worker;
GRANT UPDATE (effective) ON account_package TO shoudian_worker;
GRANT INSERT ON tariff_draft, tariff_draft_text, bench_run, bench_unit TO shoudian_api;
GRANT INSERT ON bench_result TO shoudian_worker;
GRANT UPDATE (done_at) ON bench_unit TO shoudian_worker;

ALTER TABLE account_package ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_the_party ON account_package FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM account a WHERE a.account_id = account_package.account_id));
CREATE POLICY of_everybody ON account_package TO shoudian_worker USING (true) WITH CHECK (true);

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['tariff_draft', 'tariff_draft_text', 'bench_run', 'bench_unit', 'bench_result',
                             'tariff_publication'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY of_staff ON %I TO shoudian_api
                        USING (current_setting(''app.role'', true) = ''staff'')
                        WITH CHECK (current_setting(''app.role'', true) = ''staff'')', t);
        EXECUTE format('CREATE POLICY of_everybody ON %I TO shoudian_worker USING (true) WITH CHECK (true)', t);
    END LOOP;
END $$;
-- A text is saved in the name of who is signed in, and of nobody else.
CREATE POLICY own_name ON tariff_draft AS RESTRICTIVE FOR INSERT TO shoudian_api
    WITH CHECK (started_by = current_setting('app.actor', true));
CREATE POLICY own_name ON tariff_draft_text AS RESTRICTIVE FOR INSERT TO shoudian_api
    WITH CHECK (author = current_setting('app.actor', true));
