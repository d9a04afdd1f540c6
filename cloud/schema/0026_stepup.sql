-- Step-up: a second factor of a person (TOTP), the proof a session carries for a few minutes, and who may seal for a party.
-- The secret is sealed with AES-256-GCM by a key outside the database; its AAD is second_factor|sealed_secret|factor_id.

CREATE TABLE second_factor (
    factor_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id        bigint NOT NULL REFERENCES app_user,
    sealed_secret  bytea NOT NULL CHECK (length(sealed_secret) BETWEEN 29 AND 200),
    begun_at       timestamptz NOT NULL,
    confirmed_at   timestamptz CHECK (confirmed_at >= begun_at),
    ended_at       timestamptz CHECK (ended_at >= begun_at),
    last_counter   bigint NOT NULL DEFAULT 0                        -- the newest code used: none at or before it opens again
);
CREATE UNIQUE INDEX second_factor_one ON second_factor (user_id) WHERE confirmed_at IS NOT NULL AND ended_at IS NULL;
CREATE INDEX second_factor_user ON second_factor (user_id);

CREATE TABLE step_up_attempt (
    attempt_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id        bigint NOT NULL REFERENCES app_user,
    at             timestamptz NOT NULL,
    succeeded      boolean NOT NULL
);
CREATE INDEX step_up_attempt_recent ON step_up_attempt (user_id, at);

ALTER TABLE user_session ADD COLUMN proven_at timestamptz;          -- when this session last gave password and code

-- Who may sign and seal for a party. Granted by a holder of that party, or, while it has none, by two of the staff.
CREATE TABLE seal_holder (
    holder_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    party_id       bigint NOT NULL REFERENCES party,
    user_id        bigint NOT NULL REFERENCES app_user,
    proposed_at    timestamptz NOT NULL,
    proposed_by    bigint NOT NULL REFERENCES app_user,
    approved_at    timestamptz CHECK (approved_at >= proposed_at),
    approved_by    bigint REFERENCES app_user,
    ended_at       timestamptz CHECK (ended_at >= proposed_at),
    ended_by       bigint REFERENCES app_user,
    CHECK ((approved_at IS NULL) = (approved_by IS NULL)),
    CHECK ((ended_at IS NULL) = (ended_by IS NULL))
);
CREATE UNIQUE INDEX seal_holder_one ON seal_holder (party_id, user_id) WHERE ended_at IS NULL;

CREATE FUNCTION holds_seal(holder bigint, party bigint, at timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM seal_holder s WHERE s.party_id = party AND s.user_id = holder AND s.approved_at <= at
                                               AND (s.ended_at IS NULL OR s.ended_at > at))
$$;

CREATE FUNCTION keep_seal_holder() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE approver text;
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'seal_holder can only be added to' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF TG_OP = 'INSERT' AND NOT EXISTS (SELECT FROM app_user WHERE user_id = NEW.user_id AND party_id = NEW.party_id
                                                                     AND disabled_at IS NULL) THEN
        RAISE EXCEPTION 'user % is nobody of party %', NEW.user_id, NEW.party_id USING ERRCODE = 'check_violation';
    END IF;
    IF TG_OP = 'UPDATE' AND (to_jsonb(NEW) - '{approved_at,approved_by,ended_at,ended_by}'::text[]
                               IS DISTINCT FROM to_jsonb(OLD) - '{approved_at,approved_by,ended_at,ended_by}'::text[]
                             OR OLD.ended_at IS NOT NULL
                             OR (OLD.approved_at IS NOT NULL AND (NEW.approved_at, NEW.approved_by)
                                                                 IS DISTINCT FROM (OLD.approved_at, OLD.approved_by))) THEN
        RAISE EXCEPTION 'seal holder % is approved once and ended once', OLD.holder_id USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.approved_at IS NOT NULL AND (TG_OP = 'INSERT' OR OLD.approved_at IS NULL) THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('seal:' || NEW.party_id, 0));
        SELECT role INTO approver FROM app_user WHERE user_id = NEW.approved_by;
        IF approver = 'staff' THEN
            IF NEW.approved_by = NEW.proposed_by
               OR NOT EXISTS (SELECT FROM app_user WHERE user_id = NEW.proposed_by AND role = 'staff')
               OR EXISTS (SELECT FROM seal_holder s WHERE s.party_id = NEW.party_id AND s.holder_id <> NEW.holder_id
                                                      AND s.approved_at IS NOT NULL AND s.ended_at IS NULL) THEN
                RAISE EXCEPTION 'the first seal of a party needs two of the staff, a later one a holder of the party'
                    USING ERRCODE = 'check_violation';
            END IF;
        ELSIF NOT holds_seal(NEW.approved_by, NEW.party_id, NEW.approved_at) THEN
            RAISE EXCEPTION 'user % holds no seal of party %', NEW.approved_by, NEW.party_id USING ERRCODE = 'check_violation';
        END IF;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER kept BEFORE INSERT OR UPDATE OR DELETE ON seal_holder FOR EACH ROW EXECUTE FUNCTION keep_seal_holder();

CREATE FUNCTION keep_second_factor() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF to_jsonb(NEW) - '{confirmed_at,ended_at,last_counter}'::text[]
         IS DISTINCT FROM to_jsonb(OLD) - '{confirmed_at,ended_at,last_counter}'::text[]
       OR OLD.ended_at IS NOT NULL OR NEW.last_counter < OLD.last_counter
       OR (OLD.confirmed_at IS NOT NULL AND NEW.confirmed_at IS DISTINCT FROM OLD.confirmed_at) THEN
        RAISE EXCEPTION 'second factor %: what was used or ended stays so', OLD.factor_id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER kept BEFORE UPDATE ON second_factor FOR EACH ROW EXECUTE FUNCTION keep_second_factor();

GRANT SELECT, INSERT ON second_factor, step_up_attempt, seal_holder TO shoudian_api;
GRANT UPDATE (confirmed_at, ended_at, last_counter) ON second_factor TO shoudian_api;
GRANT UPDATE (succeeded) ON step_up_attempt TO shoudian_api;
GRANT UPDATE (approved_at, approved_by, ended_at, ended_by) ON seal_holder TO shoudian_api;
GRANT SELECT ON seal_holder TO shoudian_worker;
GRANT USAGE ON SEQUENCE second_factor_factor_id_seq TO shoudian_api; -- an id is drawn before its secret is sealed for it

-- A person's factor is the person's; staff may end one (a lost telephone), never make or confirm one.
CREATE FUNCTION app_is_user(who bigint) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT current_setting('app.actor', true) = 'user:' || who
$$;
ALTER TABLE second_factor ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_the_person ON second_factor TO shoudian_api USING (app_is_user(user_id)) WITH CHECK (app_is_user(user_id));
CREATE POLICY seen_by_staff ON second_factor FOR SELECT TO shoudian_api USING (app_is_staff());
CREATE POLICY ended_by_staff ON second_factor FOR UPDATE TO shoudian_api USING (app_is_staff())
    WITH CHECK (app_is_staff() AND (ended_at IS NOT NULL OR app_is_user(user_id)));
ALTER TABLE step_up_attempt ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_the_person ON step_up_attempt TO shoudian_api USING (app_is_user(user_id)) WITH CHECK (app_is_user(user_id));
ALTER TABLE seal_holder ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_the_party ON seal_holder TO shoudian_api
    USING (app_is_staff() OR app_sees_party(party_id)) WITH CHECK (app_is_staff() OR app_sees_party(party_id));
CREATE POLICY of_everybody ON seal_holder FOR SELECT TO shoudian_worker USING (true);
