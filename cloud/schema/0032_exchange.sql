-- A trading platform that is not ours: which sessions it hosts, messages to it, what it sent, reconciliations.
-- Rows are only added; of a message only what its life moves, along exchange_move (the table of cloud/market/exchange.py).

CREATE TABLE exchange_session (                                     -- a session whose matching the platform does
    session_id     integer PRIMARY KEY REFERENCES trading_session,
    platform       text NOT NULL CHECK (platform ~ '^[a-z][a-z0-9-]{1,39}$'),
    hosted_at      timestamptz NOT NULL,
    hosted_by      text NOT NULL
);

CREATE TABLE exchange_document (                                    -- as it came, by hash, before anybody reads it
    sha256         text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'), -- its bytes lie in the vault (cloud/files.py)
    platform       text NOT NULL,
    kind           text NOT NULL CHECK (kind IN ('answer', 'result', 'day', 'untrue')),
    size_bytes     bigint NOT NULL,
    received_at    timestamptz NOT NULL,
    PRIMARY KEY (sha256, platform, kind)
);

CREATE TABLE exchange_message (
    message_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- messages of a session go out in this order
    platform       text NOT NULL,
    idem_key       text NOT NULL UNIQUE CHECK (length(idem_key) BETWEEN 3 AND 100),
    session_id     integer NOT NULL REFERENCES exchange_session,
    seq            bigint NOT NULL UNIQUE REFERENCES bid_event,
    kind           text NOT NULL CHECK (kind IN ('SUBMIT', 'REPLACE', 'WITHDRAW')),
    schema_name    text NOT NULL,
    body           text NOT NULL,
    body_sha256    text NOT NULL CHECK (length(body_sha256) = 64),
    queued_at      timestamptz NOT NULL,
    state          text NOT NULL DEFAULT 'NEW' CHECK (state IN ('NEW', 'SENT', 'ACKED', 'REJECTED', 'RECONCILED')),
    attempts       integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    next_at        timestamptz NOT NULL,
    last_problem   text NOT NULL DEFAULT '' CHECK (length(last_problem) <= 300),
    answered_at    timestamptz,
    answer_sha256  text,
    answer_code    text NOT NULL DEFAULT '' CHECK (length(answer_code) <= 200),
    receipt_no     text NOT NULL DEFAULT '' CHECK (length(receipt_no) <= 200),
    CHECK ((answered_at IS NOT NULL) = (state IN ('ACKED', 'REJECTED', 'RECONCILED'))),
    CHECK ((answer_sha256 IS NOT NULL) = (answered_at IS NOT NULL))
);
CREATE INDEX exchange_message_due ON exchange_message (platform, message_id) WHERE state IN ('NEW', 'SENT');
CREATE INDEX exchange_message_of ON exchange_message (session_id, message_id);

CREATE TABLE exchange_move (before text NOT NULL, deed text NOT NULL, after text NOT NULL, PRIMARY KEY (before, deed));
INSERT INTO exchange_move VALUES
    ('', 'queue', 'NEW'), ('NEW', 'send', 'SENT'), ('SENT', 'send', 'SENT'), ('SENT', 'ack', 'ACKED'),
    ('SENT', 'reject', 'REJECTED'), ('ACKED', 'reconcile', 'RECONCILED');

CREATE FUNCTION keep_exchange_message() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    may_move CONSTANT text[] := ARRAY['state', 'attempts', 'next_at', 'last_problem', 'answered_at', 'answer_sha256',
                                      'answer_code', 'receipt_no'];
BEGIN
    IF to_jsonb(NEW) - may_move IS DISTINCT FROM to_jsonb(OLD) - may_move
       OR (NEW.state <> OLD.state
           AND NOT EXISTS (SELECT FROM exchange_move WHERE before = OLD.state AND after = NEW.state))
       OR (OLD.answered_at IS NOT NULL AND (NEW.answered_at, NEW.answer_sha256, NEW.answer_code, NEW.receipt_no)
                                           IS DISTINCT FROM (OLD.answered_at, OLD.answer_sha256, OLD.answer_code, OLD.receipt_no))
       OR NEW.attempts < OLD.attempts THEN
        RAISE EXCEPTION 'message %: % -> % is no move of a message', OLD.idem_key, OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER moves BEFORE UPDATE ON exchange_message FOR EACH ROW EXECUTE FUNCTION keep_exchange_message();
CREATE TRIGGER kept BEFORE DELETE ON exchange_message FOR EACH ROW EXECUTE FUNCTION keep_rows();

CREATE TABLE exchange_result (                                      -- the same version again is the same result
    result_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id     integer NOT NULL REFERENCES exchange_session,
    version        integer NOT NULL CHECK (version >= 1),
    document       text NOT NULL CHECK (length(document) = 64),
    body           jsonb NOT NULL,                                  -- schema shoudian-exchange-result/1
    verdict        text NOT NULL CHECK (verdict IN ('taken', 'refused')),
    problem        text NOT NULL DEFAULT '' CHECK (length(problem) <= 300),
    run_no         integer,                                         -- the clearing run that it became
    taken_at       timestamptz NOT NULL,
    UNIQUE (session_id, version, document)
);
CREATE UNIQUE INDEX exchange_result_once ON exchange_result (session_id, version) WHERE verdict = 'taken';

CREATE TABLE exchange_reconciliation (
    reconciliation_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    platform       text NOT NULL,
    day            date NOT NULL,
    document       text NOT NULL CHECK (length(document) = 64),
    declarations   integer NOT NULL,
    results        integer NOT NULL,
    differences    integer NOT NULL,
    at             timestamptz NOT NULL,
    actor          text NOT NULL
);
CREATE INDEX exchange_reconciliation_of ON exchange_reconciliation (platform, day, reconciliation_id);
CREATE TABLE exchange_difference (
    reconciliation_id bigint NOT NULL REFERENCES exchange_reconciliation,
    difference_no  integer NOT NULL,
    gap            text NOT NULL,
    session_no     text NOT NULL,
    idem_key       text NOT NULL,
    period         integer NOT NULL,
    ours           text NOT NULL,
    theirs         text NOT NULL,
    PRIMARY KEY (reconciliation_id, difference_no)
);

-- How the platform has been lately, and who talks to it now: one process at a time.
CREATE TABLE exchange_line (
    platform       text PRIMARY KEY,
    held_by        text NOT NULL DEFAULT '',
    held_until     timestamptz NOT NULL DEFAULT 'epoch',
    failures       integer NOT NULL DEFAULT 0,                      -- in a row
    quiet_until    timestamptz NOT NULL DEFAULT 'epoch',            -- the circuit is open until then
    ok_at          timestamptz,
    failed_at      timestamptz,
    problem        text NOT NULL DEFAULT ''
);

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['exchange_session', 'exchange_document', 'exchange_move', 'exchange_result',
                             'exchange_reconciliation', 'exchange_difference'] LOOP
        EXECUTE format('CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION keep_rows()', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['exchange_session', 'exchange_document', 'exchange_message', 'exchange_result',
                             'exchange_reconciliation', 'exchange_difference', 'exchange_line'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('GRANT SELECT ON %I TO shoudian_api', t);
        EXECUTE format('GRANT SELECT, INSERT ON %I TO shoudian_worker', t);
        EXECUTE format('CREATE POLICY of_everybody ON %I TO shoudian_worker USING (true) WITH CHECK (true)', t);
        EXECUTE format('CREATE POLICY of_staff ON %I TO shoudian_api USING (app_is_staff()) WITH CHECK (app_is_staff())', t);
    END LOOP;
END $$;
REVOKE SELECT ON exchange_message FROM shoudian_api;                -- a sealed declaration is staff's to count, not to read
GRANT SELECT (message_id, platform, idem_key, session_id, seq, kind, schema_name, body_sha256, queued_at, state, attempts,
    next_at, last_problem, answered_at, answer_sha256, answer_code, receipt_no) ON exchange_message TO shoudian_api;
GRANT SELECT ON exchange_move TO shoudian_api, shoudian_worker;
GRANT INSERT ON exchange_session TO shoudian_api;
GRANT UPDATE ON exchange_message, exchange_line TO shoudian_worker;
GRANT UPDATE (next_at) ON exchange_message TO shoudian_api;
