-- Market settlement: what was agreed and entered, the runs of a month, and statements. Rows are only added; of a
-- statement only its state moves, and only along statement_move (the table of cloud/market/statement.py).

CREATE TABLE market (
    market_id      text PRIMARY KEY CHECK (market_id ~ '^[a-z0-9-]{1,32}$'),
    name           text NOT NULL,
    entered_at     timestamptz NOT NULL,
    entered_by     text NOT NULL
);
CREATE UNIQUE INDEX market_alone ON market ((true));                -- a database settles one market

-- What was entered speaks by its last entry: a correction is a later row.
CREATE TABLE market_rule (                                          -- in force from a month until another is
    entry_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    market_id      text NOT NULL REFERENCES market,
    from_month     date NOT NULL CHECK (extract(day FROM from_month) = 1),
    rule_id        text NOT NULL,
    version        integer NOT NULL,
    sha256         text NOT NULL CHECK (length(sha256) = 64),
    document       text NOT NULL,
    body           text NOT NULL,
    entered_at     timestamptz NOT NULL,
    entered_by     text NOT NULL
);
CREATE TABLE market_price (                                         -- null: none called in that month
    entry_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    market_id      text NOT NULL REFERENCES market,
    month          date NOT NULL CHECK (extract(day FROM month) = 1),
    price_key      text NOT NULL CHECK (length(price_key) BETWEEN 1 AND 60),
    value          numeric,                                         -- yuan/MWh; line_loss_rate: a ratio
    source         text NOT NULL,
    entered_at     timestamptz NOT NULL,
    entered_by     text NOT NULL
);
CREATE INDEX market_price_month ON market_price (market_id, month, price_key, entry_id);
CREATE TABLE market_price_day (
    entry_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    market_id      text NOT NULL REFERENCES market,
    kind           text NOT NULL CHECK (kind IN ('day_ahead', 'real_time')),
    day            date NOT NULL,
    yuan_per_mwh   numeric[] NOT NULL CHECK (cardinality(yuan_per_mwh) IN (24, 96)),
    source         text NOT NULL,
    entered_at     timestamptz NOT NULL,
    entered_by     text NOT NULL
);
CREATE INDEX market_price_day_of ON market_price_day (market_id, kind, day, entry_id);
CREATE TABLE declared_day (                                         -- day-ahead quantity of a unit
    entry_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    unit_id        text NOT NULL,
    day            date NOT NULL,
    kwh            bigint[] NOT NULL CHECK (cardinality(kwh) IN (24, 96)),
    source         text NOT NULL,
    entered_at     timestamptz NOT NULL,
    entered_by     text NOT NULL
);
CREATE INDEX declared_day_of ON declared_day (unit_id, day, entry_id);
CREATE TABLE market_quantity (                                      -- mechanism energy; generation of who is not metered here
    entry_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    unit_id        text NOT NULL,
    month          date NOT NULL CHECK (extract(day FROM month) = 1),
    item           text NOT NULL CHECK (item IN ('mechanism', 'generation')),
    mwh            numeric NOT NULL CHECK (mwh >= 0),
    yuan_per_mwh   numeric CHECK ((item = 'mechanism') = (yuan_per_mwh IS NOT NULL)),
    source         text NOT NULL,
    entered_at     timestamptz NOT NULL,
    entered_by     text NOT NULL
);
CREATE INDEX market_quantity_of ON market_quantity (unit_id, month, item, entry_id);

-- Wholesale contracts. A unit is an account number, or 'party:N'. The latest version speaks.
CREATE TABLE wholesale_contract (
    contract_id    text NOT NULL CHECK (contract_id ~ '^[A-Za-z0-9_.-]{1,64}$'),
    version        integer NOT NULL CHECK (version >= 1),
    kind           text NOT NULL CHECK (kind IN ('bilateral', 'auction', 'listing', 'rolling', 'green')),
    seller         text NOT NULL,
    buyer          text NOT NULL CHECK (buyer <> seller),
    signed         date NOT NULL,
    document       text NOT NULL,
    shape          text NOT NULL CHECK (shape IN ('flat', 'curve', 'load')),
    curve          bigint[] NOT NULL,
    green_users    text[] NOT NULL,
    entered_at     timestamptz NOT NULL,
    entered_by     text NOT NULL,
    PRIMARY KEY (contract_id, version)
);
CREATE TABLE wholesale_volume (
    contract_id    text NOT NULL,
    version        integer NOT NULL,
    volume_no      integer NOT NULL CHECK (volume_no >= 1),
    month          date NOT NULL CHECK (extract(day FROM month) = 1),
    period         text NOT NULL,
    mwh            numeric NOT NULL CHECK (mwh >= 0),
    price_yuan_per_mwh numeric NOT NULL,
    environment_yuan_per_mwh numeric NOT NULL,
    PRIMARY KEY (contract_id, version, volume_no),
    UNIQUE (contract_id, version, month, period),
    FOREIGN KEY (contract_id, version) REFERENCES wholesale_contract
);
CREATE INDEX wholesale_volume_month ON wholesale_volume (month);

-- Runs. Late data gets a run of its own: initial, r1, r2, final; each once per month.
CREATE TABLE settlement_run (
    run_id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    market_id      text NOT NULL REFERENCES market,
    month          date NOT NULL CHECK (extract(day FROM month) = 1),
    kind           text NOT NULL CHECK (kind IN ('initial', 'r1', 'r2', 'final')),
    opened_at      timestamptz NOT NULL,
    opened_by      text NOT NULL,
    reason         text NOT NULL,
    UNIQUE (market_id, month, kind)
);
CREATE TABLE settlement_unit (
    run_id         bigint NOT NULL REFERENCES settlement_run,
    unit_id        text NOT NULL,
    side           text NOT NULL CHECK (side IN ('user', 'retailer', 'generator', 'grid')),
    party_id       bigint REFERENCES party,
    account_id     text REFERENCES account,
    name           text NOT NULL,
    is_metered     boolean NOT NULL,
    PRIMARY KEY (run_id, unit_id)
);
-- What happened, per run, stage and unit (null: the whole market). The state of a run is the fold of its events
-- (cloud/market/progress.py): nothing else remembers it, so a killed worker leaves nothing behind.
CREATE TABLE settlement_event (
    event_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id         bigint NOT NULL REFERENCES settlement_run,
    stage          text NOT NULL CHECK (stage IN ('collect', 'check', 'settle', 'balance', 'draw', 'publish', 'confirm',
                                                  'final', 'bills')),
    unit_id        text,
    outcome        text NOT NULL CHECK (outcome IN ('done', 'blocked', 'restart', 'defer', 'accept', 'review')),
    at             timestamptz NOT NULL,
    actor          text NOT NULL,
    facts          jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX settlement_event_run ON settlement_event (run_id, event_id);
CREATE INDEX settlement_event_unit ON settlement_event (run_id, stage, unit_id);
CREATE INDEX settlement_event_restart ON settlement_event (run_id, event_id) WHERE outcome = 'restart';
CREATE TABLE settlement_energy (                                    -- by settlement period, and by day for the picture
    energy_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id         bigint NOT NULL REFERENCES settlement_run,
    unit_id        text NOT NULL,
    actual_kwh     bigint[] NOT NULL,
    day_ahead_kwh  bigint[] NOT NULL,
    day_kwh        bigint[] NOT NULL,
    customers_kwh  jsonb NOT NULL,                                  -- of a retailer: account -> kWh of the month
    evidence       jsonb NOT NULL,                                  -- supply point -> revision of each day
    problems       jsonb NOT NULL,                                  -- what of the month is missing or in doubt
    made_at        timestamptz NOT NULL
);
CREATE INDEX settlement_energy_of ON settlement_energy (run_id, unit_id, energy_id);
CREATE TABLE settlement_work (                                      -- lines before they are a statement; '' : the books
    work_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id         bigint NOT NULL REFERENCES settlement_run,
    unit_id        text NOT NULL,
    lines          jsonb NOT NULL,
    facts          jsonb NOT NULL,
    made_at        timestamptz NOT NULL
);
CREATE INDEX settlement_work_of ON settlement_work (run_id, unit_id, work_id);

CREATE TABLE statement (
    statement_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id         bigint NOT NULL REFERENCES settlement_run,
    unit_id        text NOT NULL,
    side           text NOT NULL,
    party_id       bigint REFERENCES party,
    account_id     text REFERENCES account,
    name           text NOT NULL,
    month          date NOT NULL CHECK (extract(day FROM month) = 1),
    revision       integer NOT NULL CHECK (revision >= 1),
    state          text NOT NULL DEFAULT 'drawn'
                   CHECK (state IN ('drawn', 'draft', 'confirmed', 'disputed', 'final', 'superseded')),
    quantity_kwh   bigint NOT NULL,
    total_fen      bigint NOT NULL,
    change_fen     bigint NOT NULL,                                 -- against what was final before
    input_sha256   text NOT NULL CHECK (length(input_sha256) = 64), -- equal inputs make no new revision
    facts          jsonb NOT NULL,
    made_at        timestamptz NOT NULL,
    UNIQUE (unit_id, month, revision)
);
CREATE INDEX statement_run ON statement (run_id);
CREATE UNIQUE INDEX statement_final ON statement (unit_id, month) WHERE state = 'final';
CREATE TABLE statement_line (
    statement_id   bigint NOT NULL REFERENCES statement,
    line_no        integer NOT NULL CHECK (line_no >= 1),
    item           text NOT NULL,
    contract_id    text,
    period         text NOT NULL,
    difference     text NOT NULL,
    quantity_mwh   numeric NOT NULL,
    price_yuan_per_mwh numeric NOT NULL,
    amount_fen     bigint NOT NULL,
    derivation     jsonb NOT NULL,
    rule_version   text NOT NULL,
    PRIMARY KEY (statement_id, line_no)
);
CREATE TABLE statement_hold (                                       -- disputed lines that did not become final
    statement_id   bigint NOT NULL,
    line_no        integer NOT NULL,
    held_at        timestamptz NOT NULL,
    PRIMARY KEY (statement_id, line_no),
    FOREIGN KEY (statement_id, line_no) REFERENCES statement_line
);
CREATE TABLE statement_event (
    event_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    statement_id   bigint NOT NULL REFERENCES statement,
    deed           text NOT NULL,
    before         text NOT NULL,
    after          text NOT NULL,
    at             timestamptz NOT NULL,
    actor          text NOT NULL,
    reason         text NOT NULL DEFAULT '' CHECK (length(reason) <= 1000),
    line_nos       integer[] NOT NULL DEFAULT '{}'                  -- of an objection; none: the whole statement
);
CREATE INDEX statement_event_of ON statement_event (statement_id, event_id);
CREATE TABLE settlement_query (                                     -- 15 working days to ask, 5 to answer
    query_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    statement_id   bigint NOT NULL REFERENCES statement,
    line_no        integer,
    question       text NOT NULL CHECK (length(question) BETWEEN 1 AND 1000),
    asked_at       timestamptz NOT NULL,
    asked_by       text NOT NULL,
    answer_by      date NOT NULL
);
CREATE TABLE settlement_answer (
    query_id       bigint PRIMARY KEY REFERENCES settlement_query,
    answer         text NOT NULL CHECK (length(answer) BETWEEN 1 AND 2000),
    answered_at    timestamptz NOT NULL,
    answered_by    text NOT NULL
);

CREATE TABLE settlement_retail (                                    -- a retailer's revenue beside its wholesale cost
    retail_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id         bigint NOT NULL REFERENCES settlement_run,
    unit_id        text NOT NULL,
    revenue_fen    bigint NOT NULL,
    cost_fen       bigint NOT NULL,
    bills          integer NOT NULL,                                -- how many customers' bills are in it
    made_at        timestamptz NOT NULL
);
CREATE INDEX settlement_retail_of ON settlement_retail (run_id, unit_id);

CREATE TABLE statement_move (before text NOT NULL, deed text NOT NULL, after text NOT NULL, PRIMARY KEY (before, deed));
INSERT INTO statement_move VALUES
    ('', 'draw', 'drawn'),
    ('drawn', 'publish', 'draft'), ('drawn', 'replace', 'superseded'),
    ('draft', 'confirm', 'confirmed'), ('draft', 'silence', 'confirmed'), ('draft', 'object', 'disputed'),
    ('draft', 'replace', 'superseded'),
    ('disputed', 'reject', 'confirmed'), ('disputed', 'uphold', 'disputed'), ('disputed', 'finalise', 'final'),
    ('disputed', 'replace', 'superseded'),
    ('confirmed', 'finalise', 'final'), ('confirmed', 'replace', 'superseded'),
    ('final', 'replace', 'superseded');

CREATE FUNCTION keep_statement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF to_jsonb(NEW) - 'state' IS DISTINCT FROM to_jsonb(OLD) - 'state'
       OR NOT EXISTS (SELECT FROM statement_move WHERE before = OLD.state AND after = NEW.state) THEN
        RAISE EXCEPTION 'statement %: % -> % is no move of a statement', OLD.statement_id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER moves BEFORE UPDATE ON statement FOR EACH ROW EXECUTE FUNCTION keep_statement();

CREATE FUNCTION keep_settlement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% can only be added to', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER kept BEFORE DELETE ON statement FOR EACH ROW EXECUTE FUNCTION keep_settlement();
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['market', 'market_rule', 'market_price', 'market_price_day', 'declared_day', 'market_quantity',
                             'wholesale_contract', 'wholesale_volume', 'settlement_run', 'settlement_unit',
                             'settlement_event', 'settlement_energy', 'settlement_work', 'statement_line',
                             'statement_hold', 'statement_event', 'settlement_query', 'settlement_answer',
                             'settlement_retail', 'statement_move'] LOOP
        EXECUTE format('CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION keep_settlement()', t);
        EXECUTE format('GRANT SELECT ON %I TO shoudian_api, shoudian_worker', t);
    END LOOP;
END $$;
GRANT SELECT ON statement TO shoudian_api, shoudian_worker;

GRANT INSERT ON settlement_run, settlement_unit, settlement_event, settlement_energy, settlement_work, statement,
    statement_line, statement_hold, statement_event, settlement_retail TO shoudian_worker;
GRANT UPDATE (state) ON statement TO shoudian_worker, shoudian_api;
GRANT INSERT ON settlement_run, settlement_event, statement_event, settlement_query, settlement_answer TO shoudian_api;

-- Staff see everything; the owner of a unit its statements once they are published, and what stands behind them.
CREATE FUNCTION app_is_staff() RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT current_setting('app.role', true) = 'staff'
$$;
ALTER TABLE statement ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_the_party ON statement FOR SELECT TO shoudian_api
    USING (app_is_staff() OR (app_sees_party(party_id) AND state <> 'drawn'));
CREATE POLICY moved_by_staff ON statement FOR UPDATE TO shoudian_api
    USING (app_is_staff()) WITH CHECK (app_is_staff());
CREATE POLICY answered_by_the_party ON statement FOR UPDATE TO shoudian_api
    USING (app_sees_party(party_id) AND state = 'draft')
    WITH CHECK (app_sees_party(party_id) AND state IN ('confirmed', 'disputed'));
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['statement_line', 'statement_hold', 'statement_event', 'settlement_query'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY of_the_party ON %I FOR SELECT TO shoudian_api
                        USING (EXISTS (SELECT FROM statement s WHERE s.statement_id = %I.statement_id))', t, t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['statement_event', 'settlement_query'] LOOP
        EXECUTE format('CREATE POLICY added_by_the_party ON %I FOR INSERT TO shoudian_api
                        WITH CHECK (EXISTS (SELECT FROM statement s WHERE s.statement_id = %I.statement_id))', t, t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['market_price', 'market_price_day', 'declared_day', 'market_quantity', 'wholesale_contract',
                             'wholesale_volume', 'settlement_event', 'settlement_unit', 'settlement_work'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY of_staff ON %I TO shoudian_api USING (app_is_staff()) WITH CHECK (app_is_staff())', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['statement', 'statement_line', 'statement_hold', 'statement_event', 'settlement_query',
                             'settlement_answer', 'settlement_energy', 'settlement_retail', 'settlement_run', 'market_price',
                             'market_price_day', 'declared_day', 'market_quantity', 'wholesale_contract',
                             'wholesale_volume', 'settlement_event', 'settlement_unit', 'settlement_work'] LOOP
        EXECUTE format('CREATE POLICY of_everybody ON %I TO shoudian_worker USING (true) WITH CHECK (true)', t);
    END LOOP;
END $$;
ALTER TABLE settlement_answer ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_the_party ON settlement_answer FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM settlement_query q WHERE q.query_id = settlement_answer.query_id));
CREATE POLICY added_by_staff ON settlement_answer FOR INSERT TO shoudian_api WITH CHECK (app_is_staff());
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['settlement_energy', 'settlement_retail'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY of_the_party ON %I FOR SELECT TO shoudian_api
                        USING (EXISTS (SELECT FROM statement s WHERE s.run_id = %I.run_id AND s.unit_id = %I.unit_id))', t, t, t);
    END LOOP;
END $$;
ALTER TABLE settlement_run ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_everybody_there ON settlement_run FOR SELECT TO shoudian_api USING (true);
CREATE POLICY opened_by_staff ON settlement_run FOR INSERT TO shoudian_api WITH CHECK (app_is_staff());
