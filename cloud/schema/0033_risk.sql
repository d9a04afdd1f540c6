-- Risk of a party: what was measured, alarms (told once while they last), and responses with owner and outcome.
-- Rows are only added; of a plan only its state moves, and only along risk_plan_move (the table of cloud/market/risk.py).

CREATE TABLE risk_measurement (
    measurement_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    party_id       bigint NOT NULL REFERENCES party,
    at             timestamptz NOT NULL,
    readings       jsonb NOT NULL,
    positions      jsonb NOT NULL,
    portfolio      jsonb NOT NULL,                                  -- VaR, CVaR, stress, backtest, and the method with its numbers
    made_by        text NOT NULL
);
CREATE INDEX risk_measurement_party ON risk_measurement (party_id, measurement_id);

CREATE TABLE risk_alarm (
    alarm_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    party_id       bigint NOT NULL REFERENCES party,
    indicator      text NOT NULL,
    level          text NOT NULL CHECK (level IN ('watch', 'alarm', 'stop')),
    value_ppm      bigint NOT NULL,
    facts          jsonb NOT NULL,
    at             timestamptz NOT NULL
);
CREATE INDEX risk_alarm_party ON risk_alarm (party_id, alarm_id);
CREATE TABLE risk_alarm_end (
    alarm_id       bigint PRIMARY KEY REFERENCES risk_alarm,
    at             timestamptz NOT NULL
);

CREATE TABLE risk_plan (
    plan_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    party_id       bigint NOT NULL REFERENCES party,
    alarm_id       bigint REFERENCES risk_alarm,
    measure        text NOT NULL CHECK (measure IN ('hedge', 'contract', 'guarantee', 'watch')),
    action         text NOT NULL CHECK (length(action) BETWEEN 1 AND 1000),
    owner_id       bigint NOT NULL REFERENCES app_user,
    due_on         date NOT NULL,
    state          text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'doing', 'done', 'dropped')),
    made_at        timestamptz NOT NULL,
    made_by        text NOT NULL
);
CREATE INDEX risk_plan_party ON risk_plan (party_id, plan_id);
CREATE TABLE risk_plan_event (
    event_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    plan_id        bigint NOT NULL REFERENCES risk_plan,
    deed           text NOT NULL,
    before         text NOT NULL,
    after          text NOT NULL,
    at             timestamptz NOT NULL,
    actor          text NOT NULL,
    outcome        text NOT NULL DEFAULT '' CHECK (length(outcome) <= 1000),
    CHECK (after NOT IN ('done', 'dropped') OR outcome <> '')       -- whoever closes says what came of it
);
CREATE INDEX risk_plan_event_of ON risk_plan_event (plan_id, event_id);
CREATE TABLE risk_plan_move (before text NOT NULL, deed text NOT NULL, after text NOT NULL, PRIMARY KEY (before, deed));
INSERT INTO risk_plan_move VALUES
    ('', 'propose', 'open'), ('open', 'start', 'doing'), ('open', 'drop', 'dropped'),
    ('doing', 'finish', 'done'), ('doing', 'drop', 'dropped');

CREATE FUNCTION keep_risk_plan() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF to_jsonb(NEW) - 'state' IS DISTINCT FROM to_jsonb(OLD) - 'state'
       OR NOT EXISTS (SELECT FROM risk_plan_move WHERE before = OLD.state AND after = NEW.state) THEN
        RAISE EXCEPTION 'risk plan %: % -> % is no move of a plan', OLD.plan_id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER moves BEFORE UPDATE ON risk_plan FOR EACH ROW EXECUTE FUNCTION keep_risk_plan();
CREATE TRIGGER never_deleted BEFORE DELETE ON risk_plan FOR EACH ROW EXECUTE FUNCTION keep_settlement();

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['risk_measurement', 'risk_alarm', 'risk_alarm_end', 'risk_plan_event', 'risk_plan_move'] LOOP
        EXECUTE format('CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION keep_settlement()', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['risk_measurement', 'risk_alarm', 'risk_alarm_end', 'risk_plan', 'risk_plan_event'] LOOP
        EXECUTE format('GRANT SELECT, INSERT ON %I TO shoudian_api, shoudian_worker', t);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY of_everybody ON %I TO shoudian_worker USING (true) WITH CHECK (true)', t);
        EXECUTE format('CREATE POLICY of_staff ON %I TO shoudian_api USING (app_is_staff()) WITH CHECK (app_is_staff())', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['risk_measurement', 'risk_alarm', 'risk_plan'] LOOP
        EXECUTE format('CREATE POLICY of_the_party ON %I FOR SELECT TO shoudian_api USING (app_sees_party(party_id))', t);
    END LOOP;
END $$;
GRANT SELECT ON risk_plan_move TO shoudian_api, shoudian_worker;
GRANT UPDATE (state) ON risk_plan TO shoudian_api;
CREATE POLICY made_by_the_party ON risk_plan FOR INSERT TO shoudian_api WITH CHECK (app_sees_party(party_id));
CREATE POLICY moved_by_the_party ON risk_plan FOR UPDATE TO shoudian_api
    USING (app_sees_party(party_id)) WITH CHECK (app_sees_party(party_id));
CREATE POLICY of_the_party ON risk_alarm_end FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM risk_alarm a WHERE a.alarm_id = risk_alarm_end.alarm_id));
CREATE POLICY of_the_party ON risk_plan_event FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM risk_plan p WHERE p.plan_id = risk_plan_event.plan_id));
CREATE POLICY added_by_the_party ON risk_plan_event FOR INSERT TO shoudian_api
    WITH CHECK (EXISTS (SELECT FROM risk_plan p WHERE p.plan_id = risk_plan_event.plan_id));
