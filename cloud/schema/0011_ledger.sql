-- The ledger: double entry in whole fen, added to and never changed. A mistake is undone by a reversal.
-- Three dates: event_date (what it is about), effective_date (the period it counts in), booked_at (when we knew).

-- One row per place where money can be: 'receivable/3700000000001', 'revenue/energy'. Opened by its first posting.
CREATE TABLE ledger_account (
    account_code   text PRIMARY KEY CHECK (
        account_code ~ '^(receivable|prepaid|cash|suspense|revenue|payable|income|expense|settlement)/[A-Za-z0-9_./-]{1,80}$'
        OR account_code = 'compensation'),
    account_id     text GENERATED ALWAYS AS (substring(account_code FROM '^(?:receivable|prepaid)/([0-9]{10,13})$')) STORED
                   REFERENCES account,
    party_id       bigint GENERATED ALWAYS AS (substring(account_code FROM '^(?:receivable|payable)/party/([0-9]{1,18})$')::bigint) STORED
                   REFERENCES party
);
CREATE INDEX ledger_account_owner ON ledger_account (account_id);
CREATE INDEX ledger_account_party ON ledger_account (party_id);

-- A journal says how many postings it has. They are numbered 1..n and all there at commit, so none can join later.
CREATE TABLE journal (
    journal_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    idem_key       text NOT NULL UNIQUE CHECK (length(idem_key) BETWEEN 1 AND 200),
    deed           text NOT NULL CHECK (length(deed) BETWEEN 1 AND 60),
    event_date     date NOT NULL,
    effective_date date NOT NULL,
    booked_at      timestamptz NOT NULL,
    facts          jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(facts) = 'object'),
    content_sha256 bytea NOT NULL CHECK (length(content_sha256) = 32), -- the same key again must bring the same content
    reverses       bigint UNIQUE REFERENCES journal CHECK (reverses < journal_id), -- once
    posting_count  smallint NOT NULL CHECK (posting_count BETWEEN 2 AND 1000),
    UNIQUE (journal_id, posting_count)
);
CREATE INDEX journal_effective ON journal (effective_date);

CREATE TABLE posting (
    journal_id     bigint NOT NULL,
    posting_no     smallint NOT NULL CHECK (posting_no >= 1),
    posting_count  smallint NOT NULL,
    account_code   text NOT NULL REFERENCES ledger_account,
    amount_fen     bigint NOT NULL CHECK (amount_fen <> 0),         -- + debit, - credit
    item           text NOT NULL DEFAULT '',                        -- what meets what on this account: '3700000000001/2026-08'
    PRIMARY KEY (journal_id, posting_no),
    FOREIGN KEY (journal_id, posting_count) REFERENCES journal (journal_id, posting_count),
    CHECK (posting_no <= posting_count)
);
CREATE INDEX posting_account ON posting (account_code, journal_id);

-- A month is locked for good, and with it every month before it.
CREATE TABLE period_lock (
    month          date PRIMARY KEY CHECK (extract(day FROM month) = 1),
    locked_at      timestamptz NOT NULL,
    locked_by      text NOT NULL CHECK (locked_by <> ''),
    CHECK (locked_at >= (month + interval '1 month') AT TIME ZONE 'Asia/Shanghai') -- not before it is over
);

-- At commit: the postings are all there, balance, and a reversal is the exact opposite of what it reverses.
CREATE FUNCTION journal_is_whole() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE found bigint; balance numeric;
BEGIN
    SELECT count(*), coalesce(sum(amount_fen), 0) INTO found, balance FROM posting WHERE journal_id = NEW.journal_id;
    IF found <> NEW.posting_count OR balance <> 0 THEN
        RAISE EXCEPTION 'journal % (%) has % of % postings and a balance of % fen',
            NEW.journal_id, NEW.idem_key, found, NEW.posting_count, balance
            USING ERRCODE = 'check_violation', CONSTRAINT = 'journal_is_whole';
    END IF;
    IF NEW.reverses IS NOT NULL AND EXISTS (
        SELECT FROM posting WHERE journal_id IN (NEW.journal_id, NEW.reverses)
        GROUP BY account_code, item HAVING sum(amount_fen) <> 0) THEN
        RAISE EXCEPTION 'journal % does not cancel journal %', NEW.journal_id, NEW.reverses
            USING ERRCODE = 'check_violation', CONSTRAINT = 'journal_reverses';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER journal_is_whole AFTER INSERT ON journal
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION journal_is_whole();

-- Posting holds the gate open (shared), locking a month shuts it (exclusive): a journal is before the lock or refused.
CREATE FUNCTION journal_in_open_period() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('ledger period', 0));
    IF EXISTS (SELECT FROM period_lock WHERE month >= date_trunc('month', NEW.effective_date)::date) THEN
        RAISE EXCEPTION 'the period of % is locked', NEW.effective_date
            USING ERRCODE = 'check_violation', CONSTRAINT = 'journal_in_open_period';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER journal_in_open_period BEFORE INSERT ON journal
    FOR EACH ROW EXECUTE FUNCTION journal_in_open_period();

CREATE FUNCTION period_lock_gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('ledger period', 0));
    RETURN NULL;
END $$;
CREATE TRIGGER period_lock_gate BEFORE INSERT ON period_lock
    FOR EACH STATEMENT EXECUTE FUNCTION period_lock_gate();

-- Nobody changes what is booked, not even the owner of the tables.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % refused: it is only added to', TG_OP, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['ledger_account', 'journal', 'posting', 'period_lock'] LOOP
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %I
                        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', t);
        EXECUTE format('GRANT SELECT ON %I TO shoudian_ingest, shoudian_worker, shoudian_api, shoudian_provision', t);
        EXECUTE format('GRANT INSERT ON %I TO shoudian_worker, shoudian_api', t);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY of_everybody ON %I TO shoudian_ingest, shoudian_worker, shoudian_provision
                        USING (true) WITH CHECK (true)', t);
        EXECUTE format('CREATE POLICY staff_add ON %I FOR INSERT TO shoudian_api
                        WITH CHECK (current_setting(''app.role'', true) = ''staff'')', t);
    END LOOP;
END $$;

-- A customer sees the own receivable and prepaid accounts (a retailer or generator those of its party), no others.
CREATE POLICY of_the_party ON ledger_account FOR SELECT TO shoudian_api USING (
    current_setting('app.role', true) = 'staff'
    OR (account_id IS NOT NULL AND EXISTS (SELECT FROM account a WHERE a.account_id = ledger_account.account_id))
    OR (party_id IS NOT NULL AND app_sees_party(party_id)));
CREATE POLICY of_the_party ON posting FOR SELECT TO shoudian_api USING (
    current_setting('app.role', true) = 'staff'
    OR EXISTS (SELECT FROM ledger_account l WHERE l.account_code = posting.account_code));
CREATE POLICY of_the_party ON journal FOR SELECT TO shoudian_api USING (
    current_setting('app.role', true) = 'staff'
    OR EXISTS (SELECT FROM posting p WHERE p.journal_id = journal.journal_id));
CREATE POLICY of_staff ON period_lock FOR SELECT TO shoudian_api USING (current_setting('app.role', true) = 'staff');

-- Accounts that everybody posts to are there from the beginning: no two first postings wait for each other.
INSERT INTO ledger_account (account_code)
SELECT unnest(ARRAY[
    'cash/wechat', 'cash/alipay', 'cash/bank', 'suspense/payments', 'revenue/energy', 'revenue/line_loss',
    'revenue/transmission', 'revenue/system_operation', 'revenue/basic', 'revenue/power_factor', 'revenue/green',
    'payable/government_funds', 'income/late_fee', 'expense/provider_fee', 'expense/bad_debt', 'compensation']);

-- Issuing: draft -> issued -> superseded by the next revision. Held: a reviewer stopped it. One issued revision a month.
ALTER TABLE bill DROP CONSTRAINT bill_state_check;
ALTER TABLE bill ADD CONSTRAINT bill_state_check
    CHECK (state IN ('draft', 'held', 'issued', 'superseded', 'void'));
ALTER TABLE bill ADD COLUMN issued_at timestamptz, ADD COLUMN issued_by text, ADD COLUMN due_date date;

-- Bills that were issued before there was a ledger are booked now, by the rule of cloud/billing/ledger.py.
UPDATE bill b SET state = 'superseded' WHERE state = 'issued' AND EXISTS (
    SELECT FROM bill later WHERE (later.account_id, later.month) = (b.account_id, b.month)
                             AND later.revision > b.revision AND later.state = 'issued');
UPDATE bill SET issued_at = made_at, issued_by = 'migration:0011' WHERE state IN ('issued', 'superseded');
INSERT INTO ledger_account (account_code)
SELECT DISTINCT 'receivable/' || account_id FROM bill WHERE state = 'issued';
WITH charged AS (
    SELECT b.bill_id, CASE l.section WHEN 'funds' THEN 'payable/government_funds' ELSE 'revenue/' || l.section END AS code,
           -sum(l.amount_fen) AS amount_fen, '' AS item
    FROM bill b JOIN bill_line l USING (bill_id) WHERE b.state = 'issued' GROUP BY 1, 2
    UNION ALL
    SELECT bill_id, 'receivable/' || account_id, total_fen, account_id || '/' || to_char(month, 'YYYY-MM')
    FROM bill WHERE state = 'issued'),
numbered AS (
    SELECT *, row_number() OVER (PARTITION BY bill_id ORDER BY code) AS posting_no,
           count(*) OVER (PARTITION BY bill_id) AS posting_count
    FROM charged WHERE amount_fen <> 0),
booked AS (
    INSERT INTO journal (idem_key, deed, event_date, effective_date, booked_at, facts, content_sha256, posting_count)
    SELECT 'bill:' || b.bill_id, 'issue_bill', (b.month + interval '1 month - 1 day')::date,
           (b.issued_at AT TIME ZONE 'Asia/Shanghai')::date, b.issued_at,
           jsonb_build_object('bill', b.bill_id::text), sha256(('bill:' || b.bill_id)::bytea), max(n.posting_count)
    FROM bill b JOIN numbered n USING (bill_id) GROUP BY b.bill_id
    RETURNING journal_id, posting_count, (facts ->> 'bill')::bigint AS bill_id)
INSERT INTO posting (journal_id, posting_no, posting_count, account_code, amount_fen, item)
SELECT k.journal_id, n.posting_no, k.posting_count, n.code, n.amount_fen, n.item
FROM booked k JOIN numbered n USING (bill_id);

ALTER TABLE bill ADD CONSTRAINT bill_issued_at CHECK (
    state NOT IN ('issued', 'superseded') OR (issued_at IS NOT NULL AND issued_by IS NOT NULL));
CREATE UNIQUE INDEX bill_one_issued ON bill (account_id, month) WHERE state = 'issued';

GRANT UPDATE (state, issued_at, issued_by, due_date) ON bill TO shoudian_worker, shoudian_api;
GRANT INSERT ON bill, bill_line TO shoudian_api;                    -- staff issue a correction as it was shown
CREATE POLICY staff_move ON bill FOR UPDATE TO shoudian_api
    USING (current_setting('app.role', true) = 'staff') WITH CHECK (current_setting('app.role', true) = 'staff');
CREATE POLICY staff_add ON bill FOR INSERT TO shoudian_api WITH CHECK (current_setting('app.role', true) = 'staff');
CREATE POLICY staff_add ON bill_line FOR INSERT TO shoudian_api WITH CHECK (current_setting('app.role', true) = 'staff');
DROP POLICY of_the_party ON bill;                                   -- customers see what was issued, also when corrected since
CREATE POLICY of_the_party ON bill FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM account a WHERE a.account_id = bill.account_id)
           AND (state IN ('issued', 'superseded') OR current_setting('app.role', true) = 'staff'));
