-- Credit and guarantee of a party: facts of its conduct, dated rules, scores with their evidence, exceptions by two
-- persons, what it has to lodge, and the ledger of what it has lodged. Rows are only added; a decision is taken once.

-- What a party did, as other rooms saw it: a bill paid late, a deviation, a violation. Each fact once (kind, source_key).
CREATE TABLE conduct_fact (
    fact_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    party_id       bigint NOT NULL REFERENCES party,
    kind           text NOT NULL CHECK (kind IN ('paid_on_time', 'paid_late', 'unpaid', 'deviation', 'breach', 'violation',
                                                 'financial', 'data_quality', 'default_draw')),
    at             timestamptz NOT NULL,
    magnitude      bigint NOT NULL CHECK (magnitude >= 0),          -- days late; deviation and gaps in ppm; points; fen
    source_key     text NOT NULL CHECK (length(source_key) BETWEEN 1 AND 200),
    document       text NOT NULL CHECK (length(document) BETWEEN 1 AND 500),
    noted_at       timestamptz NOT NULL,
    noted_by       text NOT NULL,
    UNIQUE (kind, source_key)
);
CREATE INDEX conduct_fact_party ON conduct_fact (party_id, at);

-- Models of credit and rules of guarantee as texts; simulated over all parties before a second person puts one in force.
CREATE TABLE party_rule (
    entry_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject        text NOT NULL CHECK (subject IN ('credit', 'guarantee')),
    rule_id        text NOT NULL CHECK (rule_id ~ '^[a-z0-9-]{1,60}$'),
    version        integer NOT NULL CHECK (version >= 1),
    body           text NOT NULL CHECK (length(body) BETWEEN 1 AND 50000),
    sha256         text NOT NULL CHECK (length(sha256) = 64),
    simulation     jsonb NOT NULL,                                  -- party -> before, after
    reason         text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    proposed_at    timestamptz NOT NULL,
    proposed_by    text NOT NULL,
    UNIQUE (subject, rule_id, version)
);
CREATE TABLE party_rule_verdict (
    entry_id       bigint PRIMARY KEY REFERENCES party_rule,
    verdict        text NOT NULL CHECK (verdict IN ('activate', 'reject')),
    at             timestamptz NOT NULL,
    actor          text NOT NULL
);

CREATE TABLE credit_score (
    score_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    party_id       bigint NOT NULL REFERENCES party,
    model          text NOT NULL,                                   -- id@version
    model_sha256   text NOT NULL CHECK (length(model_sha256) = 64),
    at             timestamptz NOT NULL,
    points         numeric NOT NULL CHECK (points BETWEEN 0 AND 100),
    grade          text NOT NULL CHECK (grade IN ('AAA', 'AA', 'A', 'B', 'C')),
    factors        jsonb NOT NULL,                                  -- each: points, weight, the facts it rests on
    rules          jsonb NOT NULL,                                  -- hard rules that took effect, with their facts
    made_by        text NOT NULL
);
CREATE INDEX credit_score_party ON credit_score (party_id, score_id);

CREATE TABLE credit_override (                                      -- an exception: with a reason, for a time, by two
    override_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    party_id       bigint NOT NULL REFERENCES party,
    grade          text NOT NULL CHECK (grade IN ('AAA', 'AA', 'A', 'B', 'C')),
    reason         text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    expires_at     timestamptz NOT NULL CHECK (expires_at > proposed_at),
    proposed_at    timestamptz NOT NULL,
    proposed_by    text NOT NULL
);
CREATE INDEX credit_override_party ON credit_override (party_id, override_id);
CREATE TABLE credit_override_verdict (
    override_id    bigint PRIMARY KEY REFERENCES credit_override,
    verdict        text NOT NULL CHECK (verdict IN ('accept', 'reject')),
    at             timestamptz NOT NULL,
    actor          text NOT NULL
);

-- What a party must lodge, and how much it may trade, as last worked out; null: none asked.
CREATE TABLE guarantee_requirement (
    requirement_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    party_id       bigint NOT NULL REFERENCES party,
    rule           text NOT NULL,
    rule_sha256    text NOT NULL CHECK (length(rule_sha256) = 64),
    at             timestamptz NOT NULL,
    grade          text,
    volumes        jsonb NOT NULL,
    base_fen       bigint NOT NULL CHECK (base_fen >= 0),
    required_fen   bigint NOT NULL CHECK (required_fen >= 0),
    limit_kwh      bigint CHECK (limit_kwh >= 0),
    made_by        text NOT NULL
);
CREATE INDEX guarantee_requirement_party ON guarantee_requirement (party_id, requirement_id);

CREATE TABLE guarantee_instrument (                                 -- 保函, 保险, cash: what a party has lodged
    instrument_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    party_id       bigint NOT NULL REFERENCES party,
    form           text NOT NULL CHECK (form IN ('letter', 'insurance', 'cash')),
    issuer         text NOT NULL CHECK (length(issuer) BETWEEN 1 AND 200),
    reference      text NOT NULL CHECK (length(reference) BETWEEN 1 AND 100),
    amount_fen     bigint NOT NULL CHECK (amount_fen > 0),
    valid_from     date NOT NULL,
    expires_on     date CHECK (expires_on > valid_from),            -- the first day it no longer holds; cash: none
    lodged_at      timestamptz NOT NULL,
    lodged_by      text NOT NULL,
    UNIQUE (issuer, reference),
    CHECK ((form = 'cash') = (expires_on IS NULL))
);
CREATE INDEX guarantee_instrument_party ON guarantee_instrument (party_id);
CREATE TABLE guarantee_verdict (                                    -- a second person has seen the paper
    instrument_id  bigint PRIMARY KEY REFERENCES guarantee_instrument,
    verdict        text NOT NULL CHECK (verdict IN ('accept', 'reject')),
    at             timestamptz NOT NULL,
    actor          text NOT NULL
);

-- The ledger. lodge, return and draw move an instrument's amount; reserve and release what orders and contracts hold of it.
CREATE TABLE guarantee_entry (
    entry_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    party_id       bigint NOT NULL REFERENCES party,
    kind           text NOT NULL CHECK (kind IN ('lodge', 'return', 'draw', 'reserve', 'release')),
    amount_fen     bigint NOT NULL CHECK (amount_fen > 0),
    instrument_id  bigint REFERENCES guarantee_instrument,
    purpose_key    text NOT NULL CHECK (length(purpose_key) BETWEEN 1 AND 200),
    at             timestamptz NOT NULL,
    actor          text NOT NULL,
    reason         text NOT NULL DEFAULT '' CHECK (length(reason) <= 1000),
    UNIQUE (kind, purpose_key),
    CHECK ((kind IN ('lodge', 'return', 'draw')) = (instrument_id IS NOT NULL))
);
CREATE INDEX guarantee_entry_party ON guarantee_entry (party_id, entry_id);
CREATE INDEX guarantee_entry_instrument ON guarantee_entry (instrument_id);

CREATE VIEW guarantee_left WITH (security_invoker = true) AS        -- what is left of each instrument
    SELECT i.instrument_id, i.party_id, i.form, i.issuer, i.reference, i.valid_from, i.expires_on,
           coalesce(sum(CASE e.kind WHEN 'lodge' THEN e.amount_fen ELSE -e.amount_fen END), 0)::bigint AS left_fen
    FROM guarantee_instrument i JOIN guarantee_entry e USING (instrument_id)
    GROUP BY i.instrument_id;

CREATE FUNCTION guarantee_held_fen(party bigint, day date) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(left_fen), 0)::bigint FROM guarantee_left
    WHERE party_id = party AND valid_from <= day AND (expires_on IS NULL OR expires_on > day)
$$;
CREATE FUNCTION guarantee_reserved_fen(party bigint) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(CASE kind WHEN 'reserve' THEN amount_fen ELSE -amount_fen END), 0)::bigint
    FROM guarantee_entry WHERE party_id = party AND kind IN ('reserve', 'release')
$$;

-- One entry of a party after the other: what is free is looked at while nobody else can take it.
CREATE FUNCTION keep_guarantee() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE lodged bigint; held bigint; day date := (NEW.at AT TIME ZONE 'Asia/Shanghai')::date;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('guarantee:' || NEW.party_id, 0));
    IF NEW.kind = 'reserve' THEN
        IF NEW.amount_fen > guarantee_held_fen(NEW.party_id, day) - guarantee_reserved_fen(NEW.party_id) THEN
            RAISE EXCEPTION 'over guarantee' USING ERRCODE = 'check_violation', CONSTRAINT = 'over_guarantee';
        END IF;
    ELSIF NEW.kind = 'release' THEN
        IF NOT EXISTS (SELECT FROM guarantee_entry WHERE kind = 'reserve' AND purpose_key = NEW.purpose_key
                                                     AND party_id = NEW.party_id AND amount_fen = NEW.amount_fen) THEN
            RAISE EXCEPTION 'nothing reserved for %', NEW.purpose_key USING ERRCODE = 'check_violation';
        END IF;
    ELSE
        SELECT amount_fen INTO lodged FROM guarantee_instrument i
            WHERE i.instrument_id = NEW.instrument_id AND i.party_id = NEW.party_id
              AND EXISTS (SELECT FROM guarantee_verdict v WHERE v.instrument_id = i.instrument_id AND v.verdict = 'accept');
        IF lodged IS NULL OR (NEW.kind = 'lodge' AND NEW.amount_fen <> lodged) THEN
            RAISE EXCEPTION 'instrument % was not accepted for this party and amount', NEW.instrument_id
                USING ERRCODE = 'check_violation';
        END IF;
        IF NEW.kind <> 'lodge' THEN
            SELECT left_fen INTO held FROM guarantee_left WHERE instrument_id = NEW.instrument_id;
            IF NEW.amount_fen > coalesce(held, 0) THEN
                RAISE EXCEPTION 'more than is left' USING ERRCODE = 'check_violation', CONSTRAINT = 'over_guarantee';
            END IF;
        END IF;
        IF NEW.kind = 'return' AND EXISTS (SELECT FROM guarantee_instrument WHERE instrument_id = NEW.instrument_id
                                                AND (expires_on IS NULL OR expires_on > day))
           AND NEW.amount_fen > guarantee_held_fen(NEW.party_id, day) - guarantee_reserved_fen(NEW.party_id) THEN
            RAISE EXCEPTION 'reserved' USING ERRCODE = 'check_violation', CONSTRAINT = 'over_guarantee';
        END IF;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER balanced BEFORE INSERT ON guarantee_entry FOR EACH ROW EXECUTE FUNCTION keep_guarantee();

-- Two persons: whoever proposed does not decide; a command or a job never decides.
CREATE FUNCTION keep_second_person() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE first text;
BEGIN
    IF TG_TABLE_NAME = 'party_rule_verdict' THEN
        SELECT proposed_by INTO first FROM party_rule WHERE entry_id = NEW.entry_id;
    ELSIF TG_TABLE_NAME = 'credit_override_verdict' THEN
        SELECT proposed_by INTO first FROM credit_override WHERE override_id = NEW.override_id;
    ELSE
        SELECT lodged_by INTO first FROM guarantee_instrument WHERE instrument_id = NEW.instrument_id;
    END IF;
    IF NEW.actor = first OR NEW.actor NOT LIKE 'user:%' THEN
        RAISE EXCEPTION 'a second person decides' USING ERRCODE = 'check_violation', CONSTRAINT = 'second_person';
    END IF;
    RETURN NEW;
END $$;

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['party_rule_verdict', 'credit_override_verdict', 'guarantee_verdict'] LOOP
        EXECUTE format('CREATE TRIGGER second_person BEFORE INSERT ON %I FOR EACH ROW EXECUTE FUNCTION keep_second_person()', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['conduct_fact', 'party_rule', 'party_rule_verdict', 'credit_score', 'credit_override',
                             'credit_override_verdict', 'guarantee_requirement', 'guarantee_instrument', 'guarantee_verdict',
                             'guarantee_entry'] LOOP
        EXECUTE format('CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION keep_settlement()', t);
        EXECUTE format('GRANT SELECT, INSERT ON %I TO shoudian_api, shoudian_worker', t);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY of_everybody ON %I TO shoudian_worker USING (true) WITH CHECK (true)', t);
        EXECUTE format('CREATE POLICY of_staff ON %I TO shoudian_api USING (app_is_staff()) WITH CHECK (app_is_staff())', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['conduct_fact', 'credit_score', 'credit_override', 'guarantee_requirement',
                             'guarantee_instrument', 'guarantee_entry'] LOOP
        EXECUTE format('CREATE POLICY of_the_party ON %I FOR SELECT TO shoudian_api USING (app_sees_party(party_id))', t);
    END LOOP;
END $$;
GRANT SELECT ON guarantee_left TO shoudian_api, shoudian_worker;
CREATE POLICY of_the_party ON credit_override_verdict FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM credit_override o WHERE o.override_id = credit_override_verdict.override_id));
CREATE POLICY of_the_party ON guarantee_verdict FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM guarantee_instrument i WHERE i.instrument_id = guarantee_verdict.instrument_id));
CREATE POLICY read_by_all ON party_rule FOR SELECT TO shoudian_api USING (true);
CREATE POLICY read_by_all ON party_rule_verdict FOR SELECT TO shoudian_api USING (true);
-- Ordering and contracting move a party's own reserve; what it lodged only staff touch.
CREATE POLICY reserved_by_the_party ON guarantee_entry FOR INSERT TO shoudian_api
    WITH CHECK (kind IN ('reserve', 'release') AND app_sees_party(party_id));
