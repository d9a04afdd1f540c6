-- Reports to the regulator with their submissions; policy documents with who has read them; what a regulator may read.
-- Rows are only added; of a report only what its life moves, along report_move (the table of cloud/market/report.py).

CREATE TABLE report_version (
    version_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    report_id      text NOT NULL CHECK (report_id ~ '^[a-z][a-z0-9-]{2,59}$'),
    definition     integer NOT NULL CHECK (definition >= 1),
    kind           text NOT NULL CHECK (kind IN ('trades', 'entities', 'settlement')),
    first_day      date NOT NULL,
    end_day        date NOT NULL CHECK (end_day > first_day),
    due            date NOT NULL,
    revision       integer NOT NULL CHECK (revision >= 1),
    reason         text NOT NULL DEFAULT '' CHECK (length(reason) <= 1000 AND (revision = 1 OR reason <> '')),
    sha256         text NOT NULL CHECK (length(sha256) = 64),       -- its bytes lie in the vault
    size_bytes     bigint NOT NULL,
    row_count      integer NOT NULL,
    findings       jsonb NOT NULL,                                  -- every check with its outcome
    is_sound       boolean NOT NULL,                                -- all have passed
    state          text NOT NULL DEFAULT 'built' CHECK (state IN ('built', 'submitted', 'accepted', 'returned', 'replaced')),
    built_at       timestamptz NOT NULL,
    built_by       text NOT NULL,
    submitted_at   timestamptz,
    submitted_by   text NOT NULL DEFAULT '',
    receipt_no     text NOT NULL DEFAULT '' CHECK (length(receipt_no) <= 200),
    answer_sha256  text,
    answered_at    timestamptz,
    answer         text NOT NULL DEFAULT '' CHECK (length(answer) <= 1000),
    last_problem   text NOT NULL DEFAULT '' CHECK (length(last_problem) <= 300),
    UNIQUE (report_id, first_day, revision),
    CHECK (is_sound OR state IN ('built', 'replaced'))
);
CREATE TABLE report_move (before text NOT NULL, deed text NOT NULL, after text NOT NULL, PRIMARY KEY (before, deed));
INSERT INTO report_move VALUES
    ('', 'build', 'built'), ('built', 'submit', 'submitted'), ('submitted', 'submit', 'submitted'),
    ('submitted', 'accept', 'accepted'), ('submitted', 'return', 'returned'),
    ('built', 'replace', 'replaced'), ('returned', 'replace', 'replaced'), ('accepted', 'replace', 'replaced');

CREATE FUNCTION keep_report() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    may_move CONSTANT text[] := ARRAY['state', 'submitted_at', 'submitted_by', 'receipt_no', 'answer_sha256', 'answered_at',
                                      'answer', 'last_problem'];
BEGIN
    IF to_jsonb(NEW) - may_move IS DISTINCT FROM to_jsonb(OLD) - may_move
       OR (NEW.state <> OLD.state AND NOT EXISTS (SELECT FROM report_move WHERE before = OLD.state AND after = NEW.state))
       OR (OLD.answered_at IS NOT NULL AND (NEW.receipt_no, NEW.answer_sha256, NEW.answered_at, NEW.answer, NEW.submitted_at)
                IS DISTINCT FROM (OLD.receipt_no, OLD.answer_sha256, OLD.answered_at, OLD.answer, OLD.submitted_at)) THEN
        RAISE EXCEPTION 'report %: % -> % is no move of a report', OLD.version_id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER moves BEFORE UPDATE ON report_version FOR EACH ROW EXECUTE FUNCTION keep_report();
CREATE TRIGGER kept BEFORE DELETE ON report_version FOR EACH ROW EXECUTE FUNCTION keep_rows();

CREATE TABLE report_event (
    event_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version_id     bigint NOT NULL REFERENCES report_version,
    deed           text NOT NULL,
    state          text NOT NULL,
    at             timestamptz NOT NULL,
    actor          text NOT NULL,
    detail         text NOT NULL DEFAULT '' CHECK (length(detail) <= 1000)
);
CREATE INDEX report_event_of ON report_event (version_id, event_id);

-- Policies 政策文件: what an authority has published, what it does to others, which of our rule files it touches.
CREATE TABLE policy (
    policy_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number         text NOT NULL UNIQUE CHECK (length(number) BETWEEN 2 AND 100),  -- 发改能源规〔2025〕1656号
    title          text NOT NULL CHECK (length(title) BETWEEN 2 AND 300),
    issuer         text NOT NULL CHECK (length(issuer) BETWEEN 2 AND 200),
    issued         date NOT NULL,
    effective      date NOT NULL,
    expires        date CHECK (expires > effective),                -- the first day on which it no longer holds
    summary        text NOT NULL DEFAULT '' CHECK (length(summary) <= 4000),
    tags           text[] NOT NULL DEFAULT '{}' CHECK (cardinality(tags) <= 20),
    rules          text[] NOT NULL DEFAULT '{}' CHECK (cardinality(rules) <= 40),  -- rule files that it touches
    document_id    bigint REFERENCES document,
    source         text NOT NULL CHECK (source IN ('staff', 'regulator')),
    entered_at     timestamptz NOT NULL,
    entered_by     text NOT NULL
);
CREATE TABLE policy_relation (
    policy_id      bigint NOT NULL REFERENCES policy,
    kind           text NOT NULL CHECK (kind IN ('repeals', 'amends', 'implements')),
    other_number   text NOT NULL CHECK (length(other_number) BETWEEN 2 AND 100),
    from_day       date NOT NULL,
    PRIMARY KEY (policy_id, kind, other_number)
);
CREATE INDEX policy_relation_other ON policy_relation (other_number);
CREATE TABLE policy_read (                                          -- a person says so; once
    policy_id      bigint NOT NULL REFERENCES policy,
    user_id        bigint NOT NULL REFERENCES app_user,
    at             timestamptz NOT NULL,
    PRIMARY KEY (policy_id, user_id)
);

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['report_move', 'report_event', 'policy', 'policy_relation', 'policy_read'] LOOP
        EXECUTE format('CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION keep_rows()', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['report_version', 'report_event', 'policy', 'policy_relation', 'policy_read'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('GRANT SELECT, INSERT ON %I TO shoudian_api, shoudian_worker', t);
        EXECUTE format('CREATE POLICY of_everybody ON %I TO shoudian_worker USING (true) WITH CHECK (true)', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['report_version', 'report_event'] LOOP
        EXECUTE format('CREATE POLICY of_staff ON %I TO shoudian_api USING (app_is_staff()) WITH CHECK (app_is_staff())', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['policy', 'policy_relation'] LOOP
        EXECUTE format('CREATE POLICY of_whoever_is_signed_in ON %I FOR SELECT TO shoudian_api
                        USING (current_setting(''app.role'', true) IN (''staff'', ''regulator'', ''customer''))', t);
        EXECUTE format('CREATE POLICY entered_by_staff ON %I FOR INSERT TO shoudian_api WITH CHECK (app_is_staff())', t);
    END LOOP;
END $$;
GRANT SELECT ON report_move TO shoudian_api, shoudian_worker;
GRANT UPDATE (state, submitted_at, submitted_by, receipt_no, answer_sha256, answered_at, answer, last_problem)
    ON report_version TO shoudian_api, shoudian_worker;
-- A regulator sees what was handed in, and not what is still being made.
CREATE POLICY handed_in ON report_version FOR SELECT TO shoudian_api
    USING (app_is_regulator() AND state IN ('submitted', 'accepted', 'returned'));
CREATE POLICY ones_own ON policy_read TO shoudian_api
    USING (app_is_staff() OR current_setting('app.actor', true) = 'user:' || user_id)
    WITH CHECK (current_setting('app.actor', true) = 'user:' || user_id);

-- Market data of everybody, for regulators: contracts and their volumes. Accounts, bills and readings stay closed to them.
CREATE POLICY of_the_regulator ON wholesale_contract FOR SELECT TO shoudian_api USING (app_is_regulator());
CREATE POLICY of_the_regulator ON wholesale_volume FOR SELECT TO shoudian_api USING (app_is_regulator());
