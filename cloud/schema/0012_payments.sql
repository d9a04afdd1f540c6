-- Payments: what a provider or bank said (kept as it came), orders and their lives, money received, who decided what.
-- Money itself is in the ledger (0011); rows here are evidence, work lists and lives. States change, evidence does not.

-- A call by a provider, kept before anybody reads it, the genuine and the forged. One row per distinct message.
CREATE TABLE provider_call (
    call_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider       text NOT NULL CHECK (provider IN ('wechat', 'alipay')),
    sha256         bytea NOT NULL CHECK (length(sha256) = 32),      -- of headers that are signed and body
    headers        jsonb NOT NULL,
    body           bytea NOT NULL CHECK (length(body) <= 65536),
    received_at    timestamptz NOT NULL,
    verdict        text NOT NULL DEFAULT 'unread' CHECK (verdict IN (
                       'unread', 'accepted', 'repeat', 'mismatch', 'unknown_order', 'not_a_payment',
                       'forged', 'stale', 'replayed', 'foreign')),
    detail         text NOT NULL DEFAULT '',
    order_no       text,
    times          integer NOT NULL DEFAULT 1 CHECK (times >= 1),
    last_at        timestamptz NOT NULL,
    UNIQUE (provider, sha256)
);
CREATE INDEX provider_call_verdict ON provider_call (verdict, received_at);
-- Calls that were not kept because too many forged ones came that day are counted here.
CREATE TABLE provider_call_count (
    provider       text NOT NULL,
    day            date NOT NULL,
    verdict        text NOT NULL,
    calls          bigint NOT NULL CHECK (calls >= 1),
    PRIMARY KEY (provider, day, verdict)
);
CREATE TABLE provider_nonce (
    provider       text NOT NULL,
    nonce          text NOT NULL CHECK (length(nonce) BETWEEN 1 AND 128),
    sha256         bytea NOT NULL,                                  -- of the body it came with
    at             timestamptz NOT NULL,
    PRIMARY KEY (provider, nonce)
);
CREATE INDEX provider_nonce_at ON provider_nonce (at);

CREATE TABLE payment_order (
    order_no       text PRIMARY KEY CHECK (order_no ~ '^P[0-9A-Z]{8,31}$'),
    account_id     text NOT NULL REFERENCES account,
    provider       text NOT NULL CHECK (provider IN ('wechat', 'alipay')),
    purpose        text NOT NULL CHECK (purpose IN ('balance', 'bill', 'top_up')),
    month          date CHECK (extract(day FROM month) = 1),        -- of the chosen bill
    amount_fen     bigint NOT NULL CHECK (amount_fen BETWEEN 1 AND 100000000),
    is_phone       boolean NOT NULL,                                -- a page to go to instead of a QR code
    state          text NOT NULL DEFAULT 'created'
                   CHECK (state IN ('created', 'pending', 'paid', 'failed', 'closed', 'suspended')),
    pay_url        text NOT NULL DEFAULT '',                        -- what the QR code says, or where the phone goes
    problem        text NOT NULL DEFAULT '',
    transaction_id text,
    created_at     timestamptz NOT NULL,
    created_by     text NOT NULL,
    expires_at     timestamptz NOT NULL CHECK (expires_at > created_at),
    asked_at       timestamptz,                                     -- when we last asked the provider about it
    CHECK ((purpose = 'bill') = (month IS NOT NULL))
);
CREATE INDEX payment_order_account ON payment_order (account_id, created_at);
CREATE INDEX payment_order_open ON payment_order (created_at) WHERE state IN ('created', 'pending');

CREATE TABLE payment_event (
    order_no       text NOT NULL REFERENCES payment_order,
    seq            integer NOT NULL CHECK (seq >= 1),
    deed           text NOT NULL,
    state          text NOT NULL,
    at             timestamptz NOT NULL,
    actor          text NOT NULL,
    facts          jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (order_no, seq)
);

-- The moves of both lives; a test compares them with cloud/billing/payment.py.
CREATE TABLE money_move (life text NOT NULL, before text NOT NULL, deed text NOT NULL, after text NOT NULL,
                         PRIMARY KEY (life, before, deed));
INSERT INTO money_move VALUES
    ('payment', '', 'open', 'created'), ('payment', 'created', 'offer', 'pending'), ('payment', 'created', 'refuse', 'failed'),
    ('payment', 'created', 'pay', 'paid'), ('payment', 'pending', 'pay', 'paid'), ('payment', 'closed', 'pay', 'paid'),
    ('payment', 'failed', 'pay', 'paid'), ('payment', 'created', 'close', 'closed'), ('payment', 'pending', 'close', 'closed'),
    ('payment', 'created', 'suspend', 'suspended'), ('payment', 'pending', 'suspend', 'suspended'),
    ('payment', 'closed', 'suspend', 'suspended'), ('payment', 'failed', 'suspend', 'suspended'),
    ('request', '', 'ask', 'asked'), ('request', 'asked', 'decline', 'declined'), ('request', 'asked', 'approve', 'approved'),
    ('request', 'approved', 'settle', 'done'), ('request', 'approved', 'send', 'sent'), ('request', 'sent', 'settle', 'done'),
    ('request', 'approved', 'fail', 'failed'), ('request', 'sent', 'fail', 'failed');

CREATE FUNCTION payment_order_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state <> OLD.state AND NOT EXISTS (
        SELECT FROM money_move WHERE life = 'payment' AND before = OLD.state AND after = NEW.state) THEN
        RAISE EXCEPTION 'payment order %: no move from % to %', OLD.order_no, OLD.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payment_order_moves';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER payment_order_moves BEFORE UPDATE ON payment_order FOR EACH ROW EXECUTE FUNCTION payment_order_moves();

-- Money that arrived, from whomever. A part says whose it is; what has no part lies in suspense.
CREATE TABLE receipt (
    receipt_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel        text NOT NULL CHECK (channel IN ('wechat', 'alipay', 'bank')),
    reference      text NOT NULL CHECK (length(reference) BETWEEN 1 AND 128), -- transaction id, or hash of the bank line
    order_no       text REFERENCES payment_order,
    amount_fen     bigint NOT NULL CHECK (amount_fen > 0),
    received_on    date NOT NULL,
    received_at    timestamptz NOT NULL,
    payer_name     text NOT NULL DEFAULT '',
    memo           text NOT NULL DEFAULT '',
    found_by       text NOT NULL CHECK (found_by IN ('callback', 'query', 'statement', 'bank_file')),
    why_suspended  text NOT NULL DEFAULT '',                        -- '', or what kept it from being booked at once
    booked_at      timestamptz NOT NULL,
    UNIQUE (channel, reference)
);
CREATE INDEX receipt_day ON receipt (channel, received_on);
CREATE INDEX receipt_order ON receipt (order_no);
CREATE TABLE receipt_part (
    receipt_id     bigint NOT NULL REFERENCES receipt,
    part_no        integer NOT NULL CHECK (part_no >= 1),
    account_id     text REFERENCES account,                         -- null: written off, nobody's
    amount_fen     bigint NOT NULL CHECK (amount_fen > 0),
    journal_id     bigint NOT NULL,
    made_at        timestamptz NOT NULL,
    made_by        text NOT NULL,
    PRIMARY KEY (receipt_id, part_no)
);
CREATE INDEX receipt_part_account ON receipt_part (account_id, made_at);
-- The parts of a receipt never exceed it.
CREATE FUNCTION receipt_parts_fit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    PERFORM FROM receipt WHERE receipt_id = NEW.receipt_id FOR UPDATE;
    IF (SELECT coalesce(sum(amount_fen), 0) FROM receipt_part WHERE receipt_id = NEW.receipt_id) + NEW.amount_fen
       > (SELECT amount_fen FROM receipt WHERE receipt_id = NEW.receipt_id) THEN
        RAISE EXCEPTION 'parts of receipt % exceed it', NEW.receipt_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'receipt_parts_fit';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER receipt_parts_fit BEFORE INSERT ON receipt_part FOR EACH ROW EXECUTE FUNCTION receipt_parts_fit();

CREATE TABLE bank_import (
    import_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    file_name      text NOT NULL,
    sha256         bytea NOT NULL,
    line_count     integer NOT NULL,
    imported_at    timestamptz NOT NULL,
    imported_by    text NOT NULL
);
CREATE TABLE bank_line (
    line_sha256    bytea PRIMARY KEY CHECK (length(line_sha256) = 32), -- the same line again is the same money
    import_id      bigint NOT NULL REFERENCES bank_import,
    line_no        integer NOT NULL,
    booked_on      date NOT NULL,
    amount_fen     bigint NOT NULL,                                 -- + came in, - went out
    payer_name     text NOT NULL,
    payer_account  text NOT NULL,
    memo           text NOT NULL,
    bank_ref       text NOT NULL
);

-- What needs a second person: refund, waiver of a late fee, bad debt, unattributable receipt.
CREATE TABLE money_request (
    request_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind           text NOT NULL CHECK (kind IN ('refund', 'waiver', 'bad_debt', 'write_off')),
    account_id     text REFERENCES account,
    receipt_id     bigint REFERENCES receipt,
    item           text NOT NULL DEFAULT '',
    amount_fen     bigint NOT NULL CHECK (amount_fen > 0),
    reason         text NOT NULL CHECK (length(reason) BETWEEN 1 AND 500),
    state          text NOT NULL DEFAULT 'asked' CHECK (state IN ('asked', 'declined', 'approved', 'sent', 'done', 'failed')),
    asked_by       text NOT NULL,
    asked_at       timestamptz NOT NULL,
    decided_by     text,
    decided_at     timestamptz,
    tried_at       timestamptz,
    refund_no      text UNIQUE,
    problem        text NOT NULL DEFAULT '',
    CHECK (decided_by IS NULL OR decided_by <> asked_by),           -- four eyes
    CHECK ((state IN ('asked')) = (decided_by IS NULL)),
    CHECK ((kind = 'refund') = (refund_no IS NOT NULL)),
    CHECK (kind NOT IN ('refund', 'write_off') OR receipt_id IS NOT NULL),
    CHECK (kind = 'write_off' OR account_id IS NOT NULL)
);
CREATE INDEX money_request_state ON money_request (state);
CREATE FUNCTION money_request_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state <> OLD.state AND NOT EXISTS (
        SELECT FROM money_move WHERE life = 'request' AND before = OLD.state AND after = NEW.state) THEN
        RAISE EXCEPTION 'request %: no move from % to %', OLD.request_id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'money_request_moves';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER money_request_moves BEFORE UPDATE ON money_request FOR EACH ROW EXECUTE FUNCTION money_request_moves();

-- A day's statement of a provider against what we booked.
CREATE TABLE provider_statement (
    provider       text NOT NULL CHECK (provider IN ('wechat', 'alipay')),
    day            date NOT NULL,
    sha256         bytea NOT NULL,
    line_count     integer NOT NULL,
    payments_fen   bigint NOT NULL,
    refunds_fen    bigint NOT NULL,
    fee_fen        bigint NOT NULL,
    fetched_at     timestamptz NOT NULL,
    PRIMARY KEY (provider, day)
);
CREATE TABLE statement_difference (
    provider       text NOT NULL,
    day            date NOT NULL,
    kind           text NOT NULL CHECK (kind IN ('missing_here', 'missing_there', 'amount_differs', 'twice_there')),
    what           text NOT NULL CHECK (what IN ('payment', 'refund')),
    reference      text NOT NULL,
    order_no       text NOT NULL DEFAULT '',
    ours_fen       bigint,
    theirs_fen     bigint,
    resolved_at    timestamptz,
    resolved_by    text,
    resolution     text NOT NULL DEFAULT '',
    PRIMARY KEY (provider, day, kind, what, reference),
    FOREIGN KEY (provider, day) REFERENCES provider_statement
);

-- Dunning: each step of a debt once. A proposal waits for a person's decision; nothing is ever switched off from here.
CREATE TABLE collection_notice (
    notice_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id     text NOT NULL REFERENCES account,
    item           text NOT NULL,
    step           text NOT NULL,
    kind           text NOT NULL CHECK (kind IN ('notice', 'proposal')),
    channel        text NOT NULL,
    amount_fen     bigint NOT NULL,
    due_date       date,
    made_on        date NOT NULL,
    made_at        timestamptz NOT NULL,
    rules          text NOT NULL,                                   -- file@version that said so
    decided_by     text,
    decided_at     timestamptz,
    decision       text NOT NULL DEFAULT '' CHECK (decision IN ('', 'agreed', 'refused')),
    UNIQUE (item, step)
);
CREATE INDEX collection_notice_account ON collection_notice (account_id, made_at);

-- What was posted as late fee of an item through a day, with the whole derivation; the change is the journal's amount.
CREATE TABLE late_fee (
    item           text NOT NULL,
    through_day    date NOT NULL,
    account_id     text NOT NULL REFERENCES account,
    total_fen      bigint NOT NULL CHECK (total_fen >= 0),
    change_fen     bigint NOT NULL CHECK (change_fen <> 0),
    lines          jsonb NOT NULL,
    rules          text NOT NULL,
    journal_id     bigint NOT NULL,
    made_at        timestamptz NOT NULL,
    PRIMARY KEY (item, through_day)
);

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['payment_event', 'receipt', 'receipt_part', 'bank_import', 'bank_line', 'late_fee',
                             'provider_nonce', 'money_move', 'provider_statement'] LOOP
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON %I
                        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['payment_event', 'receipt', 'receipt_part', 'bank_import', 'bank_line', 'late_fee',
                             'payment_order', 'money_request', 'provider_call', 'provider_statement',
                             'statement_difference', 'collection_notice'] LOOP
        EXECUTE format('CREATE TRIGGER never_deleted BEFORE DELETE ON %I
                        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['provider_call', 'provider_call_count', 'provider_nonce', 'payment_order', 'payment_event',
                             'receipt', 'receipt_part', 'bank_import', 'bank_line', 'money_request', 'provider_statement',
                             'statement_difference', 'collection_notice', 'late_fee', 'money_move'] LOOP
        EXECUTE format('GRANT SELECT ON %I TO shoudian_worker, shoudian_api', t);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY of_everybody ON %I TO shoudian_worker USING (true) WITH CHECK (true)', t);
        EXECUTE format('CREATE POLICY of_staff ON %I TO shoudian_api
                        USING (current_setting(''app.role'', true) = ''staff'')
                        WITH CHECK (current_setting(''app.role'', true) = ''staff'')', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['payment_order', 'collection_notice', 'late_fee', 'receipt_part'] LOOP
        EXECUTE format('CREATE POLICY of_the_party ON %I FOR SELECT TO shoudian_api
                        USING (EXISTS (SELECT FROM account a WHERE a.account_id = %I.account_id))', t, t);
    END LOOP;
END $$;
CREATE POLICY of_the_party ON money_request FOR SELECT TO shoudian_api
    USING (kind = 'refund' AND EXISTS (SELECT FROM account a WHERE a.account_id = money_request.account_id));
CREATE POLICY of_the_party ON receipt FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM receipt_part p WHERE p.receipt_id = receipt.receipt_id));
CREATE POLICY of_the_party ON payment_event FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM payment_order o WHERE o.order_no = payment_event.order_no));
-- A customer may open an order of an own account, and nothing else.
CREATE POLICY opened_by_the_party ON payment_order FOR INSERT TO shoudian_api
    WITH CHECK (state = 'created' AND EXISTS (SELECT FROM account a WHERE a.account_id = payment_order.account_id));
CREATE POLICY opened_by_the_party ON payment_event FOR INSERT TO shoudian_api
    WITH CHECK (deed = 'open' AND EXISTS (SELECT FROM payment_order o WHERE o.order_no = payment_event.order_no));

GRANT INSERT ON provider_call, provider_nonce, payment_order, payment_event, receipt, receipt_part, bank_import, bank_line,
                provider_statement, statement_difference, collection_notice, late_fee TO shoudian_worker;
GRANT INSERT, UPDATE ON provider_call_count TO shoudian_worker;
GRANT DELETE ON provider_nonce TO shoudian_worker;                  -- those older than the replay window
GRANT UPDATE (verdict, detail, order_no, times, last_at) ON provider_call TO shoudian_worker;
GRANT UPDATE (state, pay_url, problem, transaction_id, asked_at) ON payment_order TO shoudian_worker;
GRANT UPDATE (state, tried_at, problem) ON money_request TO shoudian_worker;
GRANT UPDATE (resolved_at, resolved_by, resolution) ON statement_difference TO shoudian_worker, shoudian_api;
GRANT INSERT ON payment_order, payment_event, receipt_part, receipt, bank_import, bank_line, money_request TO shoudian_api;
GRANT UPDATE (state, decided_by, decided_at) ON money_request TO shoudian_api;
GRANT UPDATE (decided_by, decided_at, decision) ON collection_notice TO shoudian_api;
