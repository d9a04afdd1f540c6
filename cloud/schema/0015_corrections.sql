-- Corrections: which bills a change touches, what is proposed, who decided. Rows are only added.

-- Which revision of each day a bill was drawn from, by supply point: element i is of first_day + i - 1; 0: that day had
-- none. One row where a row per day would be thirty; written by the trigger below, so no way of keeping a bill forgets it.
CREATE TABLE bill_interval (
    bill_id        bigint NOT NULL REFERENCES bill,
    supply_point_id text NOT NULL,
    first_day      date NOT NULL,
    revisions      integer[] NOT NULL,
    PRIMARY KEY (bill_id, supply_point_id)
);
CREATE INDEX bill_interval_point ON bill_interval (supply_point_id, first_day);

CREATE TABLE bill_file (                                            -- which price files, by id and version
    bill_id        bigint NOT NULL REFERENCES bill,
    sheet_id       text NOT NULL,
    version        integer NOT NULL,
    PRIMARY KEY (bill_id, sheet_id, version)
);
CREATE INDEX bill_file_sheet ON bill_file (sheet_id, version);

CREATE FUNCTION index_bill() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    INSERT INTO bill_interval (bill_id, supply_point_id, first_day, revisions)
    SELECT NEW.bill_id, p.point, p.first_day,
           CASE WHEN cardinality(p.found) = p.days THEN p.found
                ELSE ARRAY(SELECT coalesce(max(e.revision), 0) FROM generate_series(0, p.days - 1) i
                           LEFT JOIN jsonb_to_recordset(NEW.facts -> 'intervals')
                                     AS e (supply_point_id text, day date, revision integer)
                                  ON e.supply_point_id = p.point AND e.day = p.first_day + i
                           GROUP BY i ORDER BY i) END
    FROM (SELECT supply_point_id AS point, min(day) AS first_day, max(day) - min(day) + 1 AS days,
                 array_agg(revision ORDER BY day) AS found
          FROM jsonb_to_recordset(NEW.facts -> 'intervals') AS e (supply_point_id text, day date, revision integer)
          GROUP BY 1) p;
    INSERT INTO bill_file (bill_id, sheet_id, version)
    SELECT DISTINCT NEW.bill_id, f.id, f.version
    FROM jsonb_array_elements(NEW.facts -> 'segments') s,
         jsonb_to_recordset(s -> 'files') AS f (id text, version integer);
    RETURN NULL;
END $$;
CREATE TRIGGER index_bill AFTER INSERT ON bill FOR EACH ROW EXECUTE FUNCTION index_bill();

INSERT INTO bill_interval (bill_id, supply_point_id, first_day, revisions)
SELECT b.bill_id, e ->> 'supply_point_id', min((e ->> 'day')::date),
       array_agg((e ->> 'revision')::integer ORDER BY (e ->> 'day')::date)
FROM bill b, jsonb_array_elements(b.facts -> 'intervals') e GROUP BY 1, 2;
INSERT INTO bill_file (bill_id, sheet_id, version)
SELECT DISTINCT b.bill_id, f ->> 'id', (f ->> 'version')::integer
FROM bill b, jsonb_path_query(b.facts, '$.segments[*].files[*]') f;

-- Revisions of late are found by when they were made; the table grows in that order, so ranges of pages are enough.
CREATE INDEX interval_day_made ON interval_day USING brin (made_at) WITH (pages_per_range = 16);

-- What has no revisions of its own leaves a note here when it changes: which account, for which time.
CREATE TABLE basis_change (
    change_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id     text NOT NULL,
    effective      tstzmultirange NOT NULL,
    cause          text NOT NULL CHECK (cause IN ('terms', 'package', 'supply_point')),
    changed_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX basis_change_at ON basis_change (changed_at);

-- A period that only got longer or shorter changed there only; other content changed both before and after.
CREATE FUNCTION note_basis_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE was tstzmultirange; now_is tstzmultirange; changed tstzmultirange;
BEGIN
    was := CASE WHEN TG_OP = 'INSERT' THEN '{}' ELSE tstzmultirange(OLD.effective) END;
    now_is := CASE WHEN TG_OP = 'DELETE' THEN '{}' ELSE tstzmultirange(NEW.effective) END;
    changed := was + now_is;
    IF TG_OP = 'UPDATE' AND to_jsonb(OLD) - 'effective' = to_jsonb(NEW) - 'effective' THEN
        changed := changed - was * now_is;
    END IF;
    IF NOT isempty(changed) THEN
        INSERT INTO basis_change (account_id, effective, cause)
        VALUES (CASE WHEN TG_OP = 'DELETE' THEN OLD.account_id ELSE NEW.account_id END, changed, TG_ARGV[0]);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER note_basis_change AFTER INSERT OR UPDATE OR DELETE ON account_terms
    FOR EACH ROW EXECUTE FUNCTION note_basis_change('terms');
CREATE TRIGGER note_basis_change AFTER INSERT OR UPDATE OR DELETE ON account_package
    FOR EACH ROW EXECUTE FUNCTION note_basis_change('package');

CREATE FUNCTION note_supply_point_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    INSERT INTO basis_change (account_id, effective, cause)
    SELECT DISTINCT a, tstzmultirange(tstzrange(NULL, NULL)), 'supply_point'
    FROM unnest(CASE TG_OP WHEN 'INSERT' THEN ARRAY[NEW.account_id] WHEN 'DELETE' THEN ARRAY[OLD.account_id]
                ELSE ARRAY[OLD.account_id, NEW.account_id] END) a;
    RETURN NULL;
END $$;
CREATE TRIGGER note_supply_point_change AFTER INSERT OR UPDATE OF account_id OR DELETE ON supply_point
    FOR EACH ROW EXECUTE FUNCTION note_supply_point_change();

-- Notes are by the database's clock, so bills need its time too: what was kept later knew of the change.
ALTER TABLE bill ADD COLUMN kept_at timestamptz NOT NULL DEFAULT clock_timestamp();

-- Every look for touched bills: up to when it has seen the changes.
CREATE TABLE correction_look (
    look_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    looked_at      timestamptz NOT NULL,
    kept_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    found          integer NOT NULL CHECK (found >= 0)
);

-- Bills that a look found touched and that wait for the run that takes them.
CREATE TABLE touched_bill (
    bill_id        bigint NOT NULL REFERENCES bill,
    cause          text NOT NULL CHECK (cause IN ('interval', 'price_file', 'terms', 'package', 'supply_point', 'settlement')),
    detail         text NOT NULL,                                   -- 'SP0001 2026-08-12 1 2', 'jibei-agency-2026-08@2'
    known_at       timestamptz NOT NULL,                            -- when the change was made known to us
    found_at       timestamptz NOT NULL,
    PRIMARY KEY (bill_id, cause, detail)
);

-- A proposal: the correction bills as they would be, not yet bills. What is shown is what is issued.
CREATE TABLE correction (
    correction_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run            text NOT NULL CHECK (run ~ '^[a-z0-9-]{1,20}$'), -- 'r1', 'r2', 'final' of the rules; 'desk': at once
    reason         text NOT NULL CHECK (length(reason) BETWEEN 2 AND 500), -- what the customer reads
    prepared_by    text NOT NULL,
    prepared_at    timestamptz NOT NULL
);
CREATE TABLE correction_item (
    correction_id  bigint NOT NULL REFERENCES correction,
    bill_id        bigint NOT NULL REFERENCES bill,                 -- the issued bill that is touched
    outcome        text NOT NULL CHECK (outcome IN ('differs', 'same', 'beyond', 'refused')),
    causes         jsonb NOT NULL,                                  -- [{cause, detail}]
    input_sha256   bytea CHECK (length(input_sha256) = 32),
    content        jsonb,                                           -- of 'differs': the next revision, shoudian-bill/1
    before_fen     bigint NOT NULL,
    after_fen      bigint NOT NULL,
    problem        text NOT NULL DEFAULT '',                        -- of 'refused': key and facts of the refusal
    PRIMARY KEY (correction_id, bill_id),
    CHECK ((outcome = 'differs') = (content IS NOT NULL)),
    CHECK ((outcome IN ('differs', 'same')) = (input_sha256 IS NOT NULL)),
    CHECK ((outcome = 'refused') = (problem <> '')),
    CHECK (outcome = 'differs' OR before_fen = after_fen)
);
CREATE INDEX correction_item_bill ON correction_item (bill_id, correction_id);

-- One decision, by a person; approval by another one than who prepared it.
CREATE TABLE correction_decision (
    correction_id  bigint PRIMARY KEY REFERENCES correction,
    deed           text NOT NULL CHECK (deed IN ('approve', 'decline', 'withdraw')),
    reason         text NOT NULL CHECK (length(reason) <= 500 AND (deed = 'approve' OR length(reason) >= 2)),
    decided_by     text NOT NULL CHECK (decided_by ~ '^user:[0-9]+$'),
    decided_at     timestamptz NOT NULL
);
CREATE FUNCTION correction_by_two() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF NEW.deed = 'approve' AND EXISTS (SELECT FROM correction c WHERE c.correction_id = NEW.correction_id
                                        AND c.prepared_by = NEW.decided_by) THEN
        RAISE EXCEPTION 'correction % is approved by another person than %', NEW.correction_id, NEW.decided_by
            USING ERRCODE = 'check_violation', CONSTRAINT = 'correction_by_two';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER correction_by_two BEFORE INSERT ON correction_decision FOR EACH ROW EXECUTE FUNCTION correction_by_two();

-- The bills an approval made, each with why: the only part of this that its customer sees.
CREATE TABLE correction_bill (
    bill_id        bigint PRIMARY KEY REFERENCES bill,              -- the new revision
    corrects       bigint NOT NULL UNIQUE REFERENCES bill,          -- the one it takes the place of
    correction_id  bigint NOT NULL REFERENCES correction_decision,
    reason         text NOT NULL,
    causes         jsonb NOT NULL,
    change_fen     bigint NOT NULL,
    corrected_at   timestamptz NOT NULL
);
CREATE INDEX correction_bill_correction ON correction_bill (correction_id);

-- An issued bill gives way to its next revision only by a correction: no run, command or page gets around the desk.
CREATE FUNCTION superseded_by_correction() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM correction_bill c JOIN correction_decision d USING (correction_id)
                   WHERE c.corrects = NEW.bill_id AND d.deed = 'approve') THEN
        RAISE EXCEPTION 'bill % is issued; it is corrected by two persons', NEW.bill_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'superseded_by_correction';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER superseded_by_correction BEFORE UPDATE OF state ON bill FOR EACH ROW
    WHEN (OLD.state = 'issued' AND NEW.state <> 'issued') EXECUTE FUNCTION superseded_by_correction();

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['bill_interval', 'bill_file', 'basis_change', 'correction_look', 'touched_bill',
                             'correction', 'correction_item', 'correction_decision', 'correction_bill'] LOOP
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %I
                        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', t);
        EXECUTE format('GRANT SELECT ON %I TO shoudian_worker, shoudian_api', t);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY of_everybody ON %I TO shoudian_worker USING (true) WITH CHECK (true)', t);
        EXECUTE format('CREATE POLICY of_staff ON %I TO shoudian_api
                        USING (current_setting(''app.role'', true) = ''staff'')
                        WITH CHECK (current_setting(''app.role'', true) = ''staff'')', t);
    END LOOP;
END $$;
GRANT INSERT ON correction_look, touched_bill, correction, correction_item, correction_decision, correction_bill TO shoudian_worker;
GRANT INSERT ON correction_decision, correction_bill TO shoudian_api;
-- A page decides in the name of who is signed in, and of nobody else.
CREATE POLICY own_name ON correction_decision AS RESTRICTIVE FOR INSERT TO shoudian_api
    WITH CHECK (decided_by = current_setting('app.actor', true));
CREATE POLICY of_the_bill ON correction_bill FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM bill b WHERE b.bill_id = correction_bill.bill_id)
           OR EXISTS (SELECT FROM bill b WHERE b.bill_id = correction_bill.corrects));
