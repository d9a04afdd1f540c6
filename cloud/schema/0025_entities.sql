-- Market entities: registration with documents, review by two, publicity, changes, deregistration, consumption units, and
-- the retailer of a user. Rows are only added; of a party only its state, name and subkind move, along party_move (the
-- table of cloud/parties/party.py), of a request only its state.

ALTER TABLE party DROP CONSTRAINT party_kind_check;
ALTER TABLE party ADD CONSTRAINT party_kind_check CHECK (kind IN ('user', 'retailer', 'generator', 'storage', 'vpp'));
-- 'unregistered': known to metering or billing, but not as a market entity. Only 'effective' may trade.
ALTER TABLE party ADD COLUMN state text NOT NULL DEFAULT 'unregistered'
    CHECK (state IN ('unregistered', 'draft', 'submitted', 'reviewing', 'returned', 'publicised', 'effective', 'suspended',
                     'deregistering', 'deregistered'));
ALTER TABLE party ADD COLUMN subkind text NOT NULL DEFAULT '';      -- of a retailer grid, distribution, independent; …
ALTER TABLE party ADD CONSTRAINT party_subkind_check CHECK (subkind = '' OR subkind ~ '^[a-z_]{1,32}$');
CREATE INDEX party_state ON party (state, kind);

CREATE TABLE party_move (before text NOT NULL, deed text NOT NULL, after text NOT NULL, PRIMARY KEY (before, deed));
INSERT INTO party_move VALUES
    ('unregistered', 'invite', 'draft'),
    ('draft', 'submit', 'submitted'), ('returned', 'submit', 'submitted'),
    ('submitted', 'withdraw', 'draft'), ('submitted', 'review', 'reviewing'),
    ('reviewing', 'return', 'returned'), ('reviewing', 'admit', 'effective'), ('reviewing', 'publicise', 'publicised'),
    ('publicised', 'uphold', 'returned'), ('publicised', 'take_effect', 'effective'),
    ('effective', 'suspend', 'suspended'), ('suspended', 'restore', 'effective'),
    ('effective', 'leave', 'deregistering'), ('suspended', 'leave', 'deregistering'),
    ('deregistering', 'stay', 'suspended'), ('deregistering', 'strike_off', 'deregistered'),
    ('deregistered', 'invite', 'draft');

CREATE TABLE party_event (
    event_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    party_id       bigint NOT NULL REFERENCES party,
    deed           text NOT NULL,
    before         text NOT NULL,
    after          text NOT NULL,
    at             timestamptz NOT NULL,
    actor          text NOT NULL,
    reason         text NOT NULL DEFAULT '' CHECK (length(reason) <= 2000)
);
CREATE INDEX party_event_of ON party_event (party_id, event_id);

-- What the applicant writes: every save is a row. What is in force: a version of the profile.
CREATE TABLE party_form (
    party_id       bigint NOT NULL REFERENCES party,
    revision       integer NOT NULL CHECK (revision >= 1),
    facts          jsonb NOT NULL CHECK (jsonb_typeof(facts) = 'object'),
    saved_at       timestamptz NOT NULL,
    saved_by       text NOT NULL,
    PRIMARY KEY (party_id, revision)
);
CREATE TABLE party_profile (
    party_id       bigint NOT NULL REFERENCES party,
    version        integer NOT NULL CHECK (version >= 1),
    facts          jsonb NOT NULL CHECK (jsonb_typeof(facts) = 'object'),
    effective_at   timestamptz NOT NULL,
    source         text NOT NULL,                                   -- 'submission:7', 'change:3'
    made_by        text NOT NULL,
    PRIMARY KEY (party_id, version)
);

-- Documents of a party: per kind of document the last one speaks. Bodies are in the vault.
CREATE TABLE party_document (
    paper_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    party_id       bigint NOT NULL REFERENCES party,
    item           text NOT NULL CHECK (item ~ '^[a-z0-9_]{1,40}$'),
    document_id    bigint NOT NULL REFERENCES document,
    number         text NOT NULL DEFAULT '' CHECK (length(number) <= 100),
    issuer         text NOT NULL DEFAULT '' CHECK (length(issuer) <= 200),
    valid_from     date,
    valid_until    date CHECK (valid_until > valid_from),           -- the first day on which it no longer holds; null: for ever
    added_at       timestamptz NOT NULL,
    added_by       text NOT NULL
);
CREATE INDEX party_document_of ON party_document (party_id, item, paper_id);
CREATE INDEX party_document_expiry ON party_document (valid_until) WHERE valid_until IS NOT NULL;

-- An application as it was sent: form, documents and the checklist it is held against.
CREATE TABLE party_submission (
    submission_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    party_id       bigint NOT NULL,
    revision       integer NOT NULL,
    rule           text NOT NULL,                                   -- 'jibei-retailer@1'
    rule_sha256    text NOT NULL CHECK (length(rule_sha256) = 64),
    promised       text NOT NULL,                                   -- the words of the commitment that was given
    due            date NOT NULL,                                   -- 5 working days
    submitted_at   timestamptz NOT NULL,
    submitted_by   text NOT NULL,
    FOREIGN KEY (party_id, revision) REFERENCES party_form
);
CREATE INDEX party_submission_of ON party_submission (party_id, submission_id);
CREATE TABLE submission_paper (
    submission_id  bigint NOT NULL REFERENCES party_submission,
    paper_id       bigint NOT NULL REFERENCES party_document,
    PRIMARY KEY (submission_id, paper_id)
);
CREATE TABLE submission_finding (                                   -- item by item; the reviewer's last word speaks
    finding_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    submission_id  bigint NOT NULL REFERENCES party_submission,
    reviewer       text NOT NULL CHECK (reviewer ~ '^user:[0-9]+$'),
    item           text NOT NULL CHECK (length(item) BETWEEN 1 AND 60),
    is_right       boolean NOT NULL,
    note           text NOT NULL DEFAULT '' CHECK (length(note) <= 1000),
    at             timestamptz NOT NULL,
    CHECK (is_right OR note <> '')
);
CREATE INDEX submission_finding_of ON submission_finding (submission_id, reviewer, item, finding_id);
CREATE TABLE submission_verdict (                                   -- accepted by two different persons, returned by one
    submission_id  bigint NOT NULL REFERENCES party_submission,
    reviewer       text NOT NULL CHECK (reviewer ~ '^user:[0-9]+$'),
    verdict        text NOT NULL CHECK (verdict IN ('accept', 'return')),
    reason         text NOT NULL DEFAULT '' CHECK (length(reason) <= 2000),
    at             timestamptz NOT NULL,
    PRIMARY KEY (submission_id, reviewer),
    CHECK (verdict = 'accept' OR reason <> '')
);

-- Publicity 公示: of a registration (retailers, VPP) or of a deregistration; and what somebody says against it.
CREATE TABLE party_publicity (
    publicity_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    party_id       bigint NOT NULL REFERENCES party,
    about          text NOT NULL CHECK (about IN ('registration', 'deregistration')),
    source         text NOT NULL UNIQUE,                            -- 'submission:7', 'leave:2'
    starts         date NOT NULL,
    ends           date NOT NULL CHECK (ends > starts),             -- the first day after it
    at             timestamptz NOT NULL,
    actor          text NOT NULL
);
CREATE INDEX party_publicity_of ON party_publicity (party_id, publicity_id);
CREATE TABLE party_objection (
    objection_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    publicity_id   bigint NOT NULL REFERENCES party_publicity,
    party_id       bigint REFERENCES party,                         -- who objects; null: somebody outside, noted by staff
    objector       text NOT NULL CHECK (length(objector) BETWEEN 1 AND 200),
    grounds        text NOT NULL CHECK (length(grounds) BETWEEN 1 AND 2000),
    at             timestamptz NOT NULL,
    actor          text NOT NULL
);
CREATE INDEX party_objection_of ON party_objection (publicity_id);
CREATE TABLE objection_answer (
    objection_id   bigint PRIMARY KEY REFERENCES party_objection,
    is_upheld      boolean NOT NULL,
    reason         text NOT NULL CHECK (length(reason) BETWEEN 1 AND 2000),
    at             timestamptz NOT NULL,
    actor          text NOT NULL CHECK (actor ~ '^user:[0-9]+$')
);

-- Changes: reported within 5 working days of the fact with proof, reviewed by two within 5.
CREATE TABLE party_change (
    change_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    party_id       bigint NOT NULL REFERENCES party,
    base_version   integer NOT NULL,                                -- the profile it was written against
    facts          jsonb NOT NULL CHECK (jsonb_typeof(facts) = 'object' AND facts <> '{}'::jsonb), -- key -> new value
    happened_on    date NOT NULL,
    is_late        boolean NOT NULL,
    reason         text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    state          text NOT NULL DEFAULT 'asked' CHECK (state IN ('asked', 'accepted', 'refused', 'withdrawn')),
    due            date NOT NULL,
    asked_at       timestamptz NOT NULL,
    asked_by       text NOT NULL,
    FOREIGN KEY (party_id, base_version) REFERENCES party_profile
);
CREATE INDEX party_change_of ON party_change (party_id, change_id);
CREATE UNIQUE INDEX party_change_open ON party_change (party_id) WHERE state = 'asked';
CREATE TABLE change_paper (
    change_id      bigint NOT NULL REFERENCES party_change,
    paper_id       bigint NOT NULL REFERENCES party_document,
    PRIMARY KEY (change_id, paper_id)
);
CREATE TABLE change_verdict (
    change_id      bigint NOT NULL REFERENCES party_change,
    reviewer       text NOT NULL CHECK (reviewer ~ '^user:[0-9]+$'),
    verdict        text NOT NULL CHECK (verdict IN ('accept', 'refuse')),
    reason         text NOT NULL DEFAULT '' CHECK (length(reason) <= 2000),
    at             timestamptz NOT NULL,
    PRIMARY KEY (change_id, reviewer),
    CHECK (verdict = 'accept' OR reason <> '')
);

CREATE TABLE party_leave (                                          -- a wish to be deregistered
    leave_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    party_id       bigint NOT NULL REFERENCES party,
    reason         text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    contracts      text NOT NULL CHECK (length(contracts) BETWEEN 1 AND 2000), -- how running contracts are handled
    last_day       date NOT NULL,                                   -- the first day without performance
    state          text NOT NULL DEFAULT 'asked' CHECK (state IN ('asked', 'done', 'stayed')),
    keep_until     date,                                            -- history is kept 5 years from the deregistration
    asked_at       timestamptz NOT NULL,
    asked_by       text NOT NULL,
    CHECK ((state = 'done') = (keep_until IS NOT NULL))
);
CREATE UNIQUE INDEX party_leave_open ON party_leave (party_id) WHERE state = 'asked';

-- 用电单元: supply points of one user that trade and settle together; a point is in one unit at a time.
CREATE TABLE consumption_unit (
    unit_no        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    party_id       bigint NOT NULL REFERENCES party,
    name           text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    made_at        timestamptz NOT NULL,
    made_by        text NOT NULL,
    UNIQUE (party_id, name)
);
CREATE TABLE consumption_unit_point (
    unit_no        bigint NOT NULL REFERENCES consumption_unit,
    supply_point_id text NOT NULL REFERENCES supply_point,
    effective      tstzrange NOT NULL CHECK (NOT isempty(effective) AND NOT lower_inf(effective) AND lower_inc(effective)
                                             AND NOT upper_inc(effective)),
    made_at        timestamptz NOT NULL,
    made_by        text NOT NULL,
    PRIMARY KEY (supply_point_id, effective),
    EXCLUDE USING gist (id_range(supply_point_id, supply_point_id, '[]') WITH &&, effective WITH &&)
);
CREATE INDEX consumption_unit_point_of ON consumption_unit_point (unit_no);

-- One retailer per user per period (国能发监管规〔2024〕76号 art. 23), whatever the service rests on: a package of one of
-- the user's accounts, or a contract. retail_relation is what retail_service adds up to; its exclusion is the rule.
CREATE TABLE retail_service (
    source         text PRIMARY KEY,                                -- 'package:ACCOUNT:START', 'contract:12'
    user_id        bigint NOT NULL REFERENCES party,
    retailer_id    bigint NOT NULL REFERENCES party CHECK (retailer_id <> user_id),
    effective      tstzrange NOT NULL CHECK (NOT isempty(effective) AND NOT lower_inf(effective))
);
CREATE INDEX retail_service_of ON retail_service (user_id, retailer_id);
CREATE TABLE retail_relation (
    user_id        bigint NOT NULL REFERENCES party,
    retailer_id    bigint NOT NULL REFERENCES party,
    effective      tstzrange NOT NULL CHECK (NOT isempty(effective)),
    PRIMARY KEY (user_id, retailer_id, effective),
    CONSTRAINT one_retailer EXCLUDE USING gist (int8range(user_id, user_id, '[]') WITH &&, effective WITH &&)
);
CREATE INDEX retail_relation_retailer ON retail_relation (retailer_id);

CREATE FUNCTION add_up_relation(of_user bigint, of_retailer bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('retail_relation:' || of_user, 0));
    DELETE FROM retail_relation WHERE (user_id, retailer_id) = (of_user, of_retailer);
    INSERT INTO retail_relation (user_id, retailer_id, effective)
        SELECT of_user, of_retailer, unnest(range_agg(effective)) FROM retail_service
        WHERE (user_id, retailer_id) = (of_user, of_retailer);
END $$;
REVOKE EXECUTE ON FUNCTION add_up_relation FROM PUBLIC;
CREATE FUNCTION serve_user() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM add_up_relation(NEW.user_id, NEW.retailer_id);
    RETURN NULL;
END $$;
CREATE TRIGGER added_up AFTER INSERT OR UPDATE ON retail_service FOR EACH ROW EXECUTE FUNCTION serve_user();
CREATE FUNCTION keep_retail_service() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR to_jsonb(NEW) - 'effective' IS DISTINCT FROM to_jsonb(OLD) - 'effective'
       OR lower(NEW.effective) <> lower(OLD.effective) OR NOT NEW.effective <@ OLD.effective THEN
        RAISE EXCEPTION 'of a retail service only the end may move, and only to be earlier'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON retail_service FOR EACH ROW EXECUTE FUNCTION keep_retail_service();

CREATE FUNCTION serve_by_package() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    owner bigint;
    src text := 'package:' || NEW.account_id || ':' || extract(epoch FROM lower(NEW.effective))::bigint;
BEGIN
    SELECT party_id INTO owner FROM account WHERE account_id = NEW.account_id;
    IF owner = NEW.retailer_id THEN                                 -- a retailer's own office
        RETURN NULL;
    END IF;
    INSERT INTO retail_service (source, user_id, retailer_id, effective)
        VALUES (src, owner, NEW.retailer_id, NEW.effective)
        ON CONFLICT (source) DO UPDATE SET effective = excluded.effective;
    RETURN NULL;
END $$;
INSERT INTO retail_service (source, user_id, retailer_id, effective)
    SELECT 'package:' || p.account_id || ':' || extract(epoch FROM lower(p.effective))::bigint, a.party_id, p.retailer_id,
           p.effective
    FROM account_package p JOIN account a USING (account_id) WHERE a.party_id <> p.retailer_id;
CREATE TRIGGER served AFTER INSERT OR UPDATE ON account_package FOR EACH ROW EXECUTE FUNCTION serve_by_package();

-- A party's state moves only along party_move; what lets it trade was accepted by two different persons.
CREATE FUNCTION keep_party() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    last bigint;
BEGIN
    IF NEW.party_id <> OLD.party_id THEN
        RAISE EXCEPTION 'a party keeps its number' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF current_setting('app.role', true) = 'customer' AND OLD.state NOT IN ('draft', 'returned')
       AND (NEW.name, NEW.subkind) IS DISTINCT FROM (OLD.name, OLD.subkind) THEN
        RAISE EXCEPTION 'party %: a registered name changes by review', OLD.party_id USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NEW.state = OLD.state THEN
        RETURN NEW;
    END IF;
    IF NOT EXISTS (SELECT FROM party_move WHERE before = OLD.state AND after = NEW.state) THEN
        RAISE EXCEPTION 'party %: % -> % is no move of a party', OLD.party_id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    IF OLD.state = 'reviewing' AND NEW.state IN ('effective', 'publicised') THEN
        SELECT max(submission_id) INTO last FROM party_submission WHERE party_id = NEW.party_id;
        IF (SELECT count(*) FROM submission_verdict WHERE submission_id = last AND verdict = 'accept') < 2
           OR EXISTS (SELECT FROM submission_verdict WHERE submission_id = last AND verdict = 'return') THEN
            RAISE EXCEPTION 'party % was not accepted by two persons', OLD.party_id USING ERRCODE = 'check_violation';
        END IF;
        IF NEW.state = 'effective' AND NEW.kind IN ('retailer', 'vpp') THEN
            RAISE EXCEPTION 'party %: a % is publicised first', OLD.party_id, NEW.kind USING ERRCODE = 'check_violation';
        END IF;
    END IF;
    IF OLD.state = 'publicised' AND NEW.state = 'effective'
       AND EXISTS (SELECT FROM party_objection o JOIN party_publicity q USING (publicity_id)
                   WHERE q.party_id = NEW.party_id
                     AND q.publicity_id = (SELECT max(publicity_id) FROM party_publicity l WHERE l.party_id = NEW.party_id)
                     AND NOT EXISTS (SELECT FROM objection_answer a WHERE a.objection_id = o.objection_id)) THEN
        RAISE EXCEPTION 'party %: an objection is not answered', OLD.party_id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER moves BEFORE UPDATE ON party FOR EACH ROW EXECUTE FUNCTION keep_party();

CREATE FUNCTION keep_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF to_jsonb(NEW) - 'state' IS DISTINCT FROM to_jsonb(OLD) - 'state' OR OLD.state <> 'asked' THEN
        RAISE EXCEPTION 'change % is decided', OLD.change_id USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.state = 'accepted'
       AND (SELECT count(*) FROM change_verdict WHERE change_id = NEW.change_id AND verdict = 'accept') < 2 THEN
        RAISE EXCEPTION 'change % was not accepted by two persons', OLD.change_id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER moves BEFORE UPDATE ON party_change FOR EACH ROW EXECUTE FUNCTION keep_change();
CREATE FUNCTION keep_leave() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF to_jsonb(NEW) - '{state,keep_until}'::text[] IS DISTINCT FROM to_jsonb(OLD) - '{state,keep_until}'::text[]
       OR OLD.state <> 'asked' THEN
        RAISE EXCEPTION 'deregistration % is decided', OLD.leave_id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER moves BEFORE UPDATE ON party_leave FOR EACH ROW EXECUTE FUNCTION keep_leave();

CREATE FUNCTION keep_unit_point() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NOT EXISTS (SELECT FROM consumption_unit u JOIN supply_point s ON s.supply_point_id = NEW.supply_point_id
                       JOIN account a ON a.account_id = s.account_id AND a.party_id = u.party_id
                       WHERE u.unit_no = NEW.unit_no) THEN
            RAISE EXCEPTION 'supply point % is not of the party of unit %', NEW.supply_point_id, NEW.unit_no
                USING ERRCODE = 'check_violation';
        END IF;
    ELSIF to_jsonb(NEW) - 'effective' IS DISTINCT FROM to_jsonb(OLD) - 'effective'
          OR lower(NEW.effective) <> lower(OLD.effective) OR NOT NEW.effective <@ OLD.effective THEN
        RAISE EXCEPTION 'of a point in a unit only the end may move, and only to be earlier'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER kept BEFORE INSERT OR UPDATE ON consumption_unit_point FOR EACH ROW EXECUTE FUNCTION keep_unit_point();

CREATE FUNCTION keep_entity() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% can only be added to', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER stays BEFORE DELETE ON party FOR EACH ROW EXECUTE FUNCTION keep_entity();
CREATE TRIGGER stays BEFORE DELETE ON party_change FOR EACH ROW EXECUTE FUNCTION keep_entity();
CREATE TRIGGER stays BEFORE DELETE ON party_leave FOR EACH ROW EXECUTE FUNCTION keep_entity();
CREATE TRIGGER stays BEFORE DELETE ON consumption_unit_point FOR EACH ROW EXECUTE FUNCTION keep_entity();
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['party_move', 'party_event', 'party_form', 'party_profile', 'party_document', 'party_submission',
                             'submission_paper', 'submission_finding', 'submission_verdict', 'party_publicity',
                             'party_objection', 'objection_answer', 'change_paper', 'change_verdict',
                             'consumption_unit'] LOOP
        EXECUTE format('CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION keep_entity()', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['party_move', 'party_event', 'party_form', 'party_profile', 'party_document', 'party_submission',
                             'submission_paper', 'submission_finding', 'submission_verdict', 'party_publicity',
                             'party_objection', 'objection_answer', 'party_change', 'change_paper', 'change_verdict',
                             'party_leave', 'consumption_unit', 'consumption_unit_point', 'retail_service',
                             'retail_relation'] LOOP
        EXECUTE format('GRANT SELECT ON %I TO shoudian_api, shoudian_worker', t);
    END LOOP;
END $$;

GRANT INSERT ON party_event, party_form, party_profile, party_document, party_submission, submission_paper,
    submission_finding, submission_verdict, party_publicity, party_objection, objection_answer, party_change, change_paper,
    change_verdict, party_leave, consumption_unit, consumption_unit_point TO shoudian_api;
GRANT INSERT (kind, name, state) ON party TO shoudian_api;
GRANT UPDATE (state, name, subkind) ON party TO shoudian_api;
GRANT UPDATE (state) ON party_change TO shoudian_api;
GRANT UPDATE (state, keep_until) ON party_leave TO shoudian_api, shoudian_worker;
GRANT UPDATE (effective) ON consumption_unit_point TO shoudian_api;
GRANT INSERT ON party_event, party_profile, party_publicity TO shoudian_worker;
GRANT UPDATE (state, name, subkind) ON party TO shoudian_worker;
GRANT INSERT, UPDATE (effective) ON retail_service TO shoudian_api, shoudian_worker;

-- Whether another party is registered, or applies, with a code: yes or no, whoever asks.
CREATE FUNCTION code_is_taken(code text, apart_from bigint) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = public, pg_temp AS $$
    SELECT EXISTS (SELECT FROM party p
        WHERE p.party_id <> apart_from AND p.state NOT IN ('unregistered', 'draft', 'deregistered')
          AND code = coalesce(
              (SELECT facts ->> 'usci' FROM party_profile f WHERE f.party_id = p.party_id ORDER BY version DESC LIMIT 1),
              (SELECT facts ->> 'usci' FROM party_form f WHERE f.party_id = p.party_id ORDER BY revision DESC LIMIT 1)))
$$;
-- Staff give a party its first person; nobody else is made by the pages, and never one of the staff.
CREATE FUNCTION invite_person(of_party bigint, as_login text, hash text, named text, speaks text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    made bigint;
BEGIN
    IF current_setting('app.role', true) IS DISTINCT FROM 'staff' OR of_party IS NULL THEN
        RAISE EXCEPTION 'only staff invite, and only for a party' USING ERRCODE = 'insufficient_privilege';
    END IF;
    INSERT INTO app_user (login, password_hash, display_name, role, party_id, language)
        VALUES (as_login, hash, named, 'customer', of_party, speaks) RETURNING user_id INTO made;
    RETURN made;
END $$;
REVOKE EXECUTE ON FUNCTION invite_person FROM PUBLIC;
GRANT EXECUTE ON FUNCTION invite_person TO shoudian_api;

-- Names and kinds of market entities are public. Staff move them; an applicant the own one, as far as its own deeds go.
CREATE FUNCTION app_is_party(owner bigint) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT current_setting('app.role', true) = 'customer'
        AND owner = nullif(current_setting('app.party_id', true), '')::bigint
$$;
ALTER TABLE party ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_everybody ON party FOR SELECT TO shoudian_api, shoudian_ingest, shoudian_provision USING (true);
CREATE POLICY of_all_work ON party TO shoudian_worker USING (true) WITH CHECK (true);
CREATE POLICY entered_by_staff ON party FOR INSERT TO shoudian_api
    WITH CHECK (app_is_staff() AND state = 'draft');
CREATE POLICY moved_by_staff ON party FOR UPDATE TO shoudian_api USING (app_is_staff()) WITH CHECK (app_is_staff());
CREATE POLICY moved_by_itself ON party FOR UPDATE TO shoudian_api
    USING (app_is_party(party_id) AND state IN ('draft', 'submitted', 'returned', 'effective', 'suspended'))
    WITH CHECK (app_is_party(party_id) AND state IN ('draft', 'submitted', 'returned', 'deregistering'));

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['party_event', 'party_form', 'party_profile', 'party_document', 'party_submission',
                             'submission_paper', 'submission_finding', 'submission_verdict', 'party_publicity',
                             'party_objection', 'objection_answer', 'party_change', 'change_paper', 'change_verdict',
                             'party_leave', 'consumption_unit', 'consumption_unit_point', 'retail_service',
                             'retail_relation'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY of_staff ON %I TO shoudian_api USING (app_is_staff()) WITH CHECK (app_is_staff())', t);
        EXECUTE format('CREATE POLICY of_all_work ON %I TO shoudian_worker USING (true) WITH CHECK (true)', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['party_event', 'party_form', 'party_profile', 'party_document', 'party_submission',
                             'party_change', 'party_leave', 'consumption_unit'] LOOP
        EXECUTE format('CREATE POLICY seen_by_the_party ON %I FOR SELECT TO shoudian_api USING (app_is_party(party_id))', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['party_event', 'party_form', 'party_document', 'party_submission', 'party_change',
                             'party_leave', 'consumption_unit'] LOOP
        EXECUTE format('CREATE POLICY added_by_the_party ON %I FOR INSERT TO shoudian_api
                        WITH CHECK (app_is_party(party_id))', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['submission_paper', 'submission_finding', 'submission_verdict'] LOOP
        EXECUTE format('CREATE POLICY seen_by_the_party ON %I FOR SELECT TO shoudian_api USING
                        (EXISTS (SELECT FROM party_submission s WHERE s.submission_id = %I.submission_id))', t, t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['change_paper', 'change_verdict'] LOOP
        EXECUTE format('CREATE POLICY seen_by_the_party ON %I FOR SELECT TO shoudian_api USING
                        (EXISTS (SELECT FROM party_change c WHERE c.change_id = %I.change_id))', t, t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['retail_service', 'retail_relation'] LOOP
        EXECUTE format('CREATE POLICY seen_by_the_party ON %I FOR SELECT TO shoudian_api
                        USING (app_is_party(user_id) OR app_is_party(retailer_id))', t);
    END LOOP;
END $$;
DO $$                                                               -- the regulator reads what was decided, not the papers
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['party_event', 'party_profile', 'party_submission', 'submission_verdict', 'party_objection',
                             'objection_answer', 'party_change', 'change_verdict', 'party_leave', 'retail_relation'] LOOP
        EXECUTE format('CREATE POLICY read_by_regulator ON %I FOR SELECT TO shoudian_api USING (app_is_regulator())', t);
    END LOOP;
END $$;
CREATE POLICY sent_by_the_party ON submission_paper FOR INSERT TO shoudian_api
    WITH CHECK (EXISTS (SELECT FROM party_submission s JOIN party_document d USING (party_id)
                        WHERE s.submission_id = submission_paper.submission_id AND d.paper_id = submission_paper.paper_id));
CREATE POLICY sent_by_the_party ON change_paper FOR INSERT TO shoudian_api
    WITH CHECK (EXISTS (SELECT FROM party_change c JOIN party_document d USING (party_id)
                        WHERE c.change_id = change_paper.change_id AND d.paper_id = change_paper.paper_id));
CREATE POLICY withdrawn_by_the_party ON party_change FOR UPDATE TO shoudian_api
    USING (app_is_party(party_id)) WITH CHECK (app_is_party(party_id) AND state = 'withdrawn');
CREATE POLICY seen_by_the_party ON consumption_unit_point FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM consumption_unit u WHERE u.unit_no = consumption_unit_point.unit_no));
CREATE POLICY grouped_by_the_party ON consumption_unit_point FOR INSERT TO shoudian_api
    WITH CHECK (EXISTS (SELECT FROM consumption_unit u WHERE u.unit_no = consumption_unit_point.unit_no));
CREATE POLICY ended_by_the_party ON consumption_unit_point FOR UPDATE TO shoudian_api
    USING (EXISTS (SELECT FROM consumption_unit u WHERE u.unit_no = consumption_unit_point.unit_no));
-- What is publicised is for everybody who is signed in to read and to object to.
CREATE POLICY public ON party_publicity FOR SELECT TO shoudian_api USING (true);
CREATE POLICY own ON party_objection FOR SELECT TO shoudian_api USING (app_is_party(party_id));
CREATE POLICY raised_by_a_party ON party_objection FOR INSERT TO shoudian_api WITH CHECK (app_is_party(party_id));
CREATE POLICY own ON objection_answer FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM party_objection o WHERE o.objection_id = objection_answer.objection_id));
-- A verdict, a finding and an answer are given in the name of who is signed in, and of nobody else.
CREATE POLICY own_name ON submission_finding AS RESTRICTIVE FOR INSERT TO shoudian_api
    WITH CHECK (reviewer = current_setting('app.actor', true));
CREATE POLICY own_name ON submission_verdict AS RESTRICTIVE FOR INSERT TO shoudian_api
    WITH CHECK (reviewer = current_setting('app.actor', true));
CREATE POLICY own_name ON change_verdict AS RESTRICTIVE FOR INSERT TO shoudian_api
    WITH CHECK (reviewer = current_setting('app.actor', true));
CREATE POLICY own_name ON objection_answer AS RESTRICTIVE FOR INSERT TO shoudian_api
    WITH CHECK (actor = current_setting('app.actor', true));
