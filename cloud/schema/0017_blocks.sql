-- Closed days once more, in columns over many supply points, for whoever needs everybody's month at once; and what the
-- bulk run draws up from them. Both are copies or drafts: intervals and bills stay where they are and remain the evidence.

CREATE TABLE block_shard (                                          -- up to 1,000 supply points that are read together
    shard_id       integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    made_at        timestamptz NOT NULL
);

CREATE TABLE block_member (                                         -- never changed: the row of a point in all blocks of its shard
    supply_point_id text PRIMARY KEY REFERENCES supply_point,
    shard_id       integer NOT NULL REFERENCES block_shard,
    row_no         integer NOT NULL CHECK (row_no >= 0),
    UNIQUE (shard_id, row_no)
);

CREATE TABLE day_block (                                            -- layout of body: cloud/metering/block.py
    day            date NOT NULL,
    shard_id       integer NOT NULL REFERENCES block_shard,
    block_no       bigint GENERATED ALWAYS AS IDENTITY,             -- another number for every rewriting
    members        integer NOT NULL CHECK (members >= 1),
    made_at        timestamptz NOT NULL,
    body           bytea NOT NULL,
    PRIMARY KEY (shard_id, day)
);
ALTER TABLE day_block ALTER COLUMN body SET STORAGE EXTERNAL;       -- already compressed

-- Rows of blocks that a later revision has overtaken; a reader leaves them out until the block is written again.
CREATE TABLE block_overtaken (
    supply_point_id text NOT NULL,
    day            date NOT NULL,
    PRIMARY KEY (supply_point_id, day)
);

-- Whoever adds a revision holds the day in share until commit, whoever writes its block holds it alone: so the writer has
-- seen every revision of the day, or the revision's marker sees the block.
CREATE FUNCTION mark_overtaken() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE d date;
BEGIN
    FOR d IN SELECT DISTINCT day FROM fresh ORDER BY day LOOP
        PERFORM pg_advisory_xact_lock_shared(4344907, d - date '2000-01-01');
    END LOOP;
    INSERT INTO block_overtaken (supply_point_id, day)
    SELECT DISTINCT f.supply_point_id, f.day
    FROM fresh f JOIN block_member m USING (supply_point_id) JOIN day_block b USING (shard_id, day)
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION mark_overtaken FROM PUBLIC;
CREATE TRIGGER interval_day_overtakes_block AFTER INSERT ON interval_day
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION mark_overtaken();

-- What the accounts of a group have in common: lines in order, with item, period and price; and the price files.
CREATE TABLE bulk_plan (
    plan_id        integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sha256         bytea NOT NULL UNIQUE CHECK (length(sha256) = 32),
    month          date NOT NULL CHECK (extract(day FROM month) = 1),
    content        jsonb NOT NULL,
    made_at        timestamptz NOT NULL
);

-- One row an account and month: what the single path would bill, to the fen, without the derivations. Only added to; equal
-- inputs make no new revision. No foreign keys: they would cost more than the row, and neither side is ever deleted.
CREATE TABLE bulk_draft (
    account_id     text NOT NULL,
    month          date NOT NULL,
    revision       integer NOT NULL CHECK (revision >= 1),
    plan_id        integer NOT NULL,
    usage          bigint[] NOT NULL,                               -- cloud/billing/bulkshard.py: USAGE
    amounts_fen    bigint[] NOT NULL,                               -- in the order of the plan's lines
    total_fen      bigint NOT NULL,
    input_sha256   bytea NOT NULL CHECK (length(input_sha256) = 32),
    PRIMARY KEY (month, account_id, revision)
);

CREATE VIEW bulk_draft_line AS                                      -- the same, a row a line
SELECT d.account_id, d.month, d.revision, l.line_no, p.content -> 'lines' -> (l.line_no - 1)::integer AS line,
       l.amount_fen
FROM bulk_draft d JOIN bulk_plan p USING (plan_id)
CROSS JOIN LATERAL unnest(d.amounts_fen) WITH ORDINALITY l (amount_fen, line_no);

-- Progress: a shard that is done with these inputs is not done again. Accounts left to the single path are named.
CREATE TABLE bulk_done (
    done_no        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    month          date NOT NULL,
    shard_id       integer NOT NULL REFERENCES block_shard,
    inputs_sha256  bytea NOT NULL CHECK (length(inputs_sha256) = 32),
    drafts         integer NOT NULL,                                -- drawn up
    added          integer NOT NULL,                                -- of them new or changed
    left_over      jsonb NOT NULL,                                  -- account -> reason
    done_at        timestamptz NOT NULL
);
CREATE INDEX bulk_done_latest ON bulk_done (month, shard_id, done_no);

-- A draft that has become a bill with its derivations, equal to the fen.
CREATE TABLE bulk_expanded (
    account_id     text NOT NULL,
    month          date NOT NULL,
    revision       integer NOT NULL,
    bill_id        bigint NOT NULL REFERENCES bill,
    PRIMARY KEY (month, account_id, revision),
    FOREIGN KEY (month, account_id, revision) REFERENCES bulk_draft
);

-- The pages do not see any of this.
GRANT SELECT ON block_shard, block_member, day_block, block_overtaken, bulk_plan, bulk_draft, bulk_draft_line, bulk_done,
                bulk_expanded TO shoudian_worker;
GRANT INSERT ON block_shard, block_member, day_block, bulk_plan, bulk_draft, bulk_done, bulk_expanded TO shoudian_worker;
GRANT DELETE ON day_block, block_overtaken TO shoudian_worker;      -- copies: written again when overtaken
