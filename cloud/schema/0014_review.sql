-- What was said about a bill before it went out, and what its customer asked about it. Rows are only added.

-- The risk score of a bill, once it is drawn up: cloud/billing/review.py. A bill never changes, so neither does this.
CREATE TABLE bill_assessment (
    bill_id        bigint PRIMARY KEY REFERENCES bill,
    score          smallint NOT NULL CHECK (score BETWEEN 0 AND 100),
    reasons        jsonb NOT NULL,                                  -- [{key, weight, facts}], heaviest first
    rules_version  integer NOT NULL,
    assessed_at    timestamptz NOT NULL,
    assessed_by    text NOT NULL                                    -- who drew the bill up: 'cli:bill', 'job:review', 'user:17'
);

-- Every decision. The bill's state is moved in the same transaction.
CREATE TABLE bill_review (
    review_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    bill_id        bigint NOT NULL REFERENCES bill,
    deed           text NOT NULL CHECK (deed IN ('approve', 'hold', 'release', 'rerate', 'rerated')),
    reason         text NOT NULL DEFAULT '' CHECK (length(reason) <= 40),  -- a code of review.HoldReason
    note           text NOT NULL DEFAULT '' CHECK (length(note) <= 1000),
    actor          text NOT NULL,
    at             timestamptz NOT NULL,
    new_bill_id    bigint REFERENCES bill,                          -- of 'rerated': the bill that stands now
    CHECK (deed <> 'hold' OR reason <> ''),
    CHECK (new_bill_id IS NULL OR deed = 'rerated')
);
CREATE INDEX bill_review_bill ON bill_review (bill_id, review_id);
CREATE INDEX bill_review_rerate ON bill_review (review_id) WHERE deed = 'rerate';

-- A customer's question about one line of a bill (line_no null: about the whole bill), with what the line said then.
CREATE TABLE bill_question (
    question_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    bill_id        bigint NOT NULL REFERENCES bill,
    line_no        integer CHECK (line_no >= 1),
    question       text NOT NULL CHECK (length(question) BETWEEN 2 AND 1000),
    context        jsonb NOT NULL DEFAULT '{}',                     -- label, quantity, price, amount of the line
    asked_by       text NOT NULL,
    asked_at       timestamptz NOT NULL
);
CREATE INDEX bill_question_bill ON bill_question (bill_id, question_id);

CREATE TABLE bill_answer (
    answer_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    question_id    bigint NOT NULL REFERENCES bill_question,
    answer         text NOT NULL CHECK (length(answer) BETWEEN 2 AND 2000),
    answered_by    text NOT NULL,
    answered_at    timestamptz NOT NULL
);
CREATE INDEX bill_answer_question ON bill_answer (question_id);

-- Only ever added to, whoever asks.
CREATE FUNCTION review_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% rows are never changed', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$;
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['bill_assessment', 'bill_review', 'bill_question', 'bill_answer'] LOOP
        EXECUTE format('CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION review_is_kept()', t);
        EXECUTE format('GRANT SELECT ON %I TO shoudian_ingest, shoudian_worker, shoudian_api, shoudian_provision', t);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY of_everybody ON %I TO shoudian_ingest, shoudian_worker, shoudian_provision
                        USING (true) WITH CHECK (true)', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['bill_assessment', 'bill_review'] LOOP           -- inside matters
        EXECUTE format('CREATE POLICY of_staff ON %I TO shoudian_api
                        USING (current_setting(''app.role'', true) = ''staff'')
                        WITH CHECK (current_setting(''app.role'', true) = ''staff'')', t);
    END LOOP;
END $$;

-- Who sees the bill sees and asks its questions; answers are staff's.
CREATE POLICY of_the_bill ON bill_question FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM bill b WHERE b.bill_id = bill_question.bill_id));
CREATE POLICY of_the_bill_asked ON bill_question FOR INSERT TO shoudian_api
    WITH CHECK (EXISTS (SELECT FROM bill b WHERE b.bill_id = bill_question.bill_id));
CREATE POLICY of_the_question ON bill_answer FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM bill_question q WHERE q.question_id = bill_answer.question_id));
CREATE POLICY of_staff ON bill_answer FOR INSERT TO shoudian_api
    WITH CHECK (current_setting('app.role', true) = 'staff');

GRANT INSERT ON bill_assessment, bill_review TO shoudian_worker, shoudian_api;
GRANT INSERT ON bill_question, bill_answer TO shoudian_api;

-- Holding, releasing and putting a re-rated draft away move a bill's state from the staff's pages.
GRANT UPDATE (state) ON bill TO shoudian_api;
CREATE POLICY moved_in_review ON bill FOR UPDATE TO shoudian_api
    USING (current_setting('app.role', true) = 'staff') WITH CHECK (current_setting('app.role', true) = 'staff');
