-- Demand response 需求响应: programmes, enrolments, events, answers, frozen baselines, results. Rows are only added; of an
-- event and a result only the state moves, along response_event_move and response_result_move (cloud/market/programme.py).

CREATE TABLE response_programme (
    programme_id   text NOT NULL CHECK (programme_id ~ '^[a-z0-9-]{1,48}$'),
    version        integer NOT NULL CHECK (version >= 1),
    title          text NOT NULL,
    type           text NOT NULL CHECK (type IN ('contracted', 'day-ahead', 'intraday')),
    direction      text NOT NULL CHECK (direction IN ('reduce', 'fill')),
    sha256         text NOT NULL CHECK (length(sha256) = 64),
    body           text NOT NULL,
    entered_at     timestamptz NOT NULL,
    entered_by     text NOT NULL,
    PRIMARY KEY (programme_id, version)
);

-- One programme per account and day. Enrolled by itself or by an aggregator 聚合商 with the account holder's consent.
CREATE TABLE response_enrolment (
    enrolment_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    programme_id   text NOT NULL,
    account_id     text NOT NULL REFERENCES account,
    party_id       bigint NOT NULL REFERENCES party,                -- whose account
    aggregator_id  bigint REFERENCES party CHECK (aggregator_id <> party_id),
    effective      daterange NOT NULL CHECK (NOT isempty(effective) AND NOT lower_inf(effective)),
    capacity_kw    integer NOT NULL CHECK (capacity_kw BETWEEN 1 AND 10000000),
    resource       text NOT NULL CHECK (length(resource) BETWEEN 1 AND 200), -- what responds: air conditioning, storage, …
    agreement      text NOT NULL CHECK (length(agreement) BETWEEN 1 AND 200),
    made_at        timestamptz NOT NULL,
    made_by        text NOT NULL,
    CONSTRAINT one_programme EXCLUDE USING gist (id_range(account_id, account_id, '[]') WITH &&, effective WITH &&)
);
CREATE INDEX response_enrolment_party ON response_enrolment (party_id);
CREATE INDEX response_enrolment_aggregator ON response_enrolment (aggregator_id);

CREATE TABLE response_event (
    event_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    programme_id   text NOT NULL,
    version        integer NOT NULL,
    day            date NOT NULL,
    first_slot     smallint NOT NULL CHECK (first_slot >= 0),
    end_slot       smallint NOT NULL CHECK (end_slot <= 96 AND end_slot > first_slot),
    starts_at      timestamptz NOT NULL,
    ends_at        timestamptz NOT NULL CHECK (ends_at = starts_at + (end_slot - first_slot) * interval '15 minutes'),
    answer_by      timestamptz NOT NULL CHECK (answer_by <= starts_at),
    target_kw      integer NOT NULL CHECK (target_kw > 0),
    price_yuan_per_kwh numeric NOT NULL CHECK (price_yuan_per_kwh > 0),
    reason         text NOT NULL CHECK (length(reason) BETWEEN 1 AND 300),
    state          text NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'notified', 'active', 'ended', 'assessed',
                                                                    'confirmed', 'disputed', 'settled', 'cancelled')),
    made_at        timestamptz NOT NULL,
    made_by        text NOT NULL,
    FOREIGN KEY (programme_id, version) REFERENCES response_programme
);
CREATE INDEX response_event_day ON response_event (day);
CREATE INDEX response_event_open ON response_event (state, starts_at);
CREATE TABLE response_event_step (
    step_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id       bigint NOT NULL REFERENCES response_event,
    deed           text NOT NULL,
    before         text NOT NULL,
    after          text NOT NULL,
    at             timestamptz NOT NULL,
    actor          text NOT NULL,
    reason         text NOT NULL DEFAULT '' CHECK (length(reason) <= 1000)
);
CREATE INDEX response_event_step_of ON response_event_step (event_id, step_id);

CREATE TABLE response_invitation (
    event_id       bigint NOT NULL REFERENCES response_event,
    enrolment_id   bigint NOT NULL REFERENCES response_enrolment,
    estimate_fen   bigint NOT NULL,
    invited_at     timestamptz NOT NULL,
    PRIMARY KEY (event_id, enrolment_id)
);
CREATE TABLE response_answer (                                      -- the latest speaks
    answer_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id       bigint NOT NULL,
    enrolment_id   bigint NOT NULL,
    choice         text NOT NULL CHECK (choice IN ('in', 'out')),
    bid_kw         integer NOT NULL CHECK ((choice = 'in') = (bid_kw > 0)),
    at             timestamptz NOT NULL,
    actor          text NOT NULL,
    FOREIGN KEY (event_id, enrolment_id) REFERENCES response_invitation
);
CREATE INDEX response_answer_of ON response_answer (event_id, enrolment_id, answer_id);
CREATE TABLE response_baseline (                                    -- frozen before the event
    event_id       bigint NOT NULL,
    enrolment_id   bigint NOT NULL,
    days           date[] NOT NULL,                                 -- none: too few eligible days, see problem
    kw             text[] NOT NULL CHECK (cardinality(kw) IN (0, 96)), -- exact fractions 'n/d'
    evidence       text[] NOT NULL,
    problem        text NOT NULL DEFAULT '',
    frozen_at      timestamptz NOT NULL,
    PRIMARY KEY (event_id, enrolment_id),
    FOREIGN KEY (event_id, enrolment_id) REFERENCES response_invitation,
    CHECK ((cardinality(kw) = 0) = (problem <> ''))
);
CREATE TABLE response_result (
    result_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id       bigint NOT NULL,
    enrolment_id   bigint NOT NULL,
    revision       integer NOT NULL CHECK (revision >= 1),
    payee_id       bigint NOT NULL REFERENCES party,                -- the aggregator, or whose account it is
    bid_kwh        numeric NOT NULL,
    response_kwh   numeric NOT NULL,
    eligible_kwh   numeric NOT NULL,
    total_fen      bigint NOT NULL,                                 -- + pays, - receives
    facts          jsonb NOT NULL,
    lines          jsonb NOT NULL,
    object_by      timestamptz NOT NULL,
    state          text NOT NULL DEFAULT 'drawn' CHECK (state IN ('drawn', 'confirmed', 'disputed', 'replaced', 'settled')),
    made_at        timestamptz NOT NULL,
    UNIQUE (event_id, enrolment_id, revision),
    FOREIGN KEY (event_id, enrolment_id) REFERENCES response_baseline
);
CREATE UNIQUE INDEX response_result_stands ON response_result (event_id, enrolment_id) WHERE state <> 'replaced';
CREATE TABLE response_result_step (
    step_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    result_id      bigint NOT NULL REFERENCES response_result,
    deed           text NOT NULL,
    before         text NOT NULL,
    after          text NOT NULL,
    at             timestamptz NOT NULL,
    actor          text NOT NULL,
    reason         text NOT NULL DEFAULT '' CHECK (length(reason) <= 1000)
);
CREATE INDEX response_result_step_of ON response_result_step (result_id, step_id);

CREATE TABLE response_event_move (before text NOT NULL, deed text NOT NULL, after text NOT NULL, PRIMARY KEY (before, deed));
INSERT INTO response_event_move VALUES
    ('', 'plan', 'planned'), ('planned', 'notify', 'notified'), ('planned', 'cancel', 'cancelled'),
    ('notified', 'start', 'active'), ('notified', 'cancel', 'cancelled'), ('active', 'end', 'ended'),
    ('ended', 'assess', 'assessed'), ('assessed', 'confirm', 'confirmed'), ('assessed', 'object', 'disputed'),
    ('disputed', 'decide', 'assessed'), ('confirmed', 'settle', 'settled');
CREATE TABLE response_result_move (before text NOT NULL, deed text NOT NULL, after text NOT NULL, PRIMARY KEY (before, deed));
INSERT INTO response_result_move VALUES
    ('', 'draw', 'drawn'), ('drawn', 'confirm', 'confirmed'), ('drawn', 'silence', 'confirmed'),
    ('drawn', 'object', 'disputed'), ('disputed', 'reject', 'confirmed'), ('disputed', 'uphold', 'replaced'),
    ('confirmed', 'settle', 'settled');

CREATE FUNCTION keep_response_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF to_jsonb(NEW) - 'state' IS DISTINCT FROM to_jsonb(OLD) - 'state'
       OR NOT EXISTS (SELECT FROM response_event_move WHERE before = OLD.state AND after = NEW.state) THEN
        RAISE EXCEPTION 'event %: % -> % is no move of an event', OLD.event_id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER moves BEFORE UPDATE ON response_event FOR EACH ROW EXECUTE FUNCTION keep_response_event();
CREATE FUNCTION keep_response_result() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF to_jsonb(NEW) - 'state' IS DISTINCT FROM to_jsonb(OLD) - 'state'
       OR NOT EXISTS (SELECT FROM response_result_move WHERE before = OLD.state AND after = NEW.state) THEN
        RAISE EXCEPTION 'result %: % -> % is no move of a result', OLD.result_id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER moves BEFORE UPDATE ON response_result FOR EACH ROW EXECUTE FUNCTION keep_response_result();

-- An answer counts while the event is notified and before answer_by; a baseline is frozen before the event begins.
CREATE FUNCTION keep_response_answer() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE e response_event;
BEGIN
    SELECT * INTO e FROM response_event WHERE event_id = NEW.event_id FOR SHARE;
    IF e.state <> 'notified' OR NEW.at >= e.answer_by OR NEW.bid_kw > (
        SELECT capacity_kw FROM response_enrolment WHERE enrolment_id = NEW.enrolment_id) THEN
        RAISE EXCEPTION 'event %: no answer now', NEW.event_id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER in_time BEFORE INSERT ON response_answer FOR EACH ROW EXECUTE FUNCTION keep_response_answer();
CREATE FUNCTION keep_response_baseline() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE e response_event;
BEGIN
    SELECT * INTO e FROM response_event WHERE event_id = NEW.event_id FOR SHARE;
    IF e.state NOT IN ('planned', 'notified') OR NEW.frozen_at >= e.starts_at
       OR EXISTS (SELECT FROM unnest(NEW.days) d WHERE d >= e.day) THEN
        RAISE EXCEPTION 'event %: a baseline is frozen before it', NEW.event_id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER before_the_event BEFORE INSERT ON response_baseline FOR EACH ROW EXECUTE FUNCTION keep_response_baseline();

-- An event follows its results: disputed while one is, confirmed when all are, settled when all are.
CREATE FUNCTION response_follow() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    e response_event;
    next_deed text;
    goal text;
BEGIN
    FOR step IN 1..2 LOOP
        SELECT * INTO e FROM response_event WHERE event_id = NEW.event_id FOR UPDATE;
        SELECT CASE WHEN e.state = 'assessed' AND bool_or(r.state = 'disputed') THEN 'object'
                    WHEN e.state = 'disputed' AND NOT bool_or(r.state = 'disputed') THEN 'decide'
                    WHEN e.state = 'assessed' AND bool_and(r.state IN ('confirmed', 'settled')) THEN 'confirm'
                    WHEN e.state = 'confirmed' AND bool_and(r.state = 'settled') THEN 'settle' END INTO next_deed
        FROM response_result r WHERE r.event_id = NEW.event_id AND r.state <> 'replaced';
        EXIT WHEN next_deed IS NULL;
        SELECT after INTO goal FROM response_event_move m WHERE m.before = e.state AND m.deed = next_deed;
        UPDATE response_event SET state = goal WHERE event_id = e.event_id;
        INSERT INTO response_event_step (event_id, deed, before, after, at, actor)
            SELECT e.event_id, next_deed, e.state, goal, max(s.at), 'results'
            FROM response_result_step s JOIN response_result r USING (result_id) WHERE r.event_id = e.event_id;
    END LOOP;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER follows AFTER UPDATE ON response_result DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION response_follow();            -- at commit, when a new revision stands beside the old

-- ---- who may see and add ---------------------------------------------------------------------------------------------

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['response_programme', 'response_event_step', 'response_invitation', 'response_answer',
                             'response_baseline', 'response_result_step', 'response_event_move', 'response_result_move'] LOOP
        EXECUTE format('CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION keep_settlement()', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['response_programme', 'response_enrolment', 'response_event', 'response_event_step',
                             'response_invitation', 'response_answer', 'response_baseline', 'response_result',
                             'response_result_step', 'response_event_move', 'response_result_move'] LOOP
        EXECUTE format('GRANT SELECT ON %I TO shoudian_api, shoudian_worker', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['response_enrolment', 'response_event', 'response_event_step', 'response_invitation',
                             'response_answer', 'response_baseline', 'response_result', 'response_result_step'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY of_everybody ON %I TO shoudian_worker USING (true) WITH CHECK (true)', t);
        EXECUTE format('GRANT INSERT ON %I TO shoudian_api, shoudian_worker', t);
        EXECUTE format('CREATE POLICY by_staff ON %I TO shoudian_api USING (app_is_staff()) WITH CHECK (app_is_staff())', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['response_enrolment', 'response_event', 'response_result'] LOOP
        EXECUTE format('CREATE TRIGGER kept BEFORE DELETE ON %I FOR EACH ROW EXECUTE FUNCTION keep_settlement()', t);
    END LOOP;
END $$;
-- An enrolment only ever ends earlier than it said.
CREATE FUNCTION keep_response_enrolment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF to_jsonb(NEW) - 'effective' IS DISTINCT FROM to_jsonb(OLD) - 'effective'
       OR lower(NEW.effective) <> lower(OLD.effective) OR NOT OLD.effective @> NEW.effective THEN
        RAISE EXCEPTION 'enrolment %: only its end may come earlier', OLD.enrolment_id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER ends BEFORE UPDATE ON response_enrolment FOR EACH ROW EXECUTE FUNCTION keep_response_enrolment();
GRANT UPDATE (effective) ON response_enrolment TO shoudian_api;
GRANT INSERT ON response_programme TO shoudian_api, shoudian_worker;
GRANT UPDATE (state) ON response_event, response_result TO shoudian_api, shoudian_worker;

CREATE POLICY of_the_party ON response_enrolment FOR SELECT TO shoudian_api
    USING (app_reads_market() OR app_has_party(party_id) OR app_has_party(aggregator_id));
CREATE POLICY by_the_party ON response_enrolment FOR INSERT TO shoudian_api
    WITH CHECK (app_has_party(party_id) AND aggregator_id IS NULL
                AND EXISTS (SELECT FROM account a WHERE a.account_id = response_enrolment.account_id
                            AND a.party_id = response_enrolment.party_id));
CREATE POLICY ended_by_the_party ON response_enrolment FOR UPDATE TO shoudian_api
    USING (app_has_party(party_id)) WITH CHECK (app_has_party(party_id));
CREATE POLICY of_the_invited ON response_invitation FOR SELECT TO shoudian_api
    USING (app_reads_market() OR EXISTS (SELECT FROM response_enrolment n
                                         WHERE n.enrolment_id = response_invitation.enrolment_id));
CREATE POLICY of_the_invited ON response_event FOR SELECT TO shoudian_api
    USING (app_reads_market() OR (state <> 'planned' AND EXISTS (
        SELECT FROM response_invitation i WHERE i.event_id = response_event.event_id)));
CREATE POLICY of_the_invited ON response_event_step FOR SELECT TO shoudian_api
    USING (app_reads_market() OR EXISTS (SELECT FROM response_event e WHERE e.event_id = response_event_step.event_id));
CREATE POLICY of_the_invited ON response_answer FOR SELECT TO shoudian_api
    USING (app_reads_market() OR EXISTS (SELECT FROM response_enrolment n
                                         WHERE n.enrolment_id = response_answer.enrolment_id));
CREATE POLICY by_the_invited ON response_answer FOR INSERT TO shoudian_api   -- of an aggregator's resource: the aggregator
    WITH CHECK (EXISTS (SELECT FROM response_enrolment n WHERE n.enrolment_id = response_answer.enrolment_id
                        AND app_has_party(coalesce(n.aggregator_id, n.party_id))));
CREATE POLICY of_the_invited ON response_baseline FOR SELECT TO shoudian_api
    USING (app_reads_market() OR EXISTS (SELECT FROM response_enrolment n
                                         WHERE n.enrolment_id = response_baseline.enrolment_id));
CREATE POLICY of_the_invited ON response_result FOR SELECT TO shoudian_api
    USING (app_reads_market() OR EXISTS (SELECT FROM response_enrolment n
                                         WHERE n.enrolment_id = response_result.enrolment_id));
CREATE POLICY answered_by_the_payee ON response_result FOR UPDATE TO shoudian_api
    USING (app_has_party(payee_id) AND state = 'drawn')
    WITH CHECK (app_has_party(payee_id) AND state IN ('confirmed', 'disputed'));
CREATE POLICY of_the_invited ON response_result_step FOR SELECT TO shoudian_api
    USING (app_reads_market() OR EXISTS (SELECT FROM response_result r WHERE r.result_id = response_result_step.result_id));
CREATE POLICY by_the_payee ON response_result_step FOR INSERT TO shoudian_api
    WITH CHECK (EXISTS (SELECT FROM response_result r WHERE r.result_id = response_result_step.result_id
                        AND app_has_party(r.payee_id)));
