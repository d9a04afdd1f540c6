-- From sealed bytes to intervals that may be charged.
-- `reading` is made here with native time partitions; where the server has TimescaleDB,
-- cloud/metering/store/partitions.py turns it into a hypertable while it is still empty.

CREATE TABLE gateway (
    gateway_id     text PRIMARY KEY CHECK (gateway_id ~ '^[A-Za-z0-9_-]{1,32}$'),
    name           text NOT NULL,
    state          text NOT NULL DEFAULT 'registered'
                   CHECK (state IN ('registered', 'enrolled', 'active', 'suspect', 'suspended', 'revoked')),
    epoch          integer NOT NULL DEFAULT 1 CHECK (epoch >= 1),   -- issued here, never reused
    store_uuid     bytea,
    created_at     timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE gateway_store (                                        -- every edge store a gateway ever had, by its uuid
    gateway_id     text NOT NULL REFERENCES gateway,
    store_uuid     bytea NOT NULL CHECK (length(store_uuid) = 16),
    epoch          integer NOT NULL,                                -- the first epoch it was granted
    since          timestamptz NOT NULL,
    PRIMARY KEY (gateway_id, store_uuid)
);

CREATE TABLE gateway_key (
    gateway_id     text NOT NULL REFERENCES gateway,
    key_id         bytea NOT NULL CHECK (length(key_id) = 8),       -- first 8 bytes of SHA-256 of the public key
    public_key     bytea NOT NULL CHECK (length(public_key) = 32),  -- Ed25519, raw
    valid          tstzrange NOT NULL DEFAULT tstzrange(now(), NULL, '[)'),
    PRIMARY KEY (gateway_id, key_id)
);

CREATE TABLE gateway_event (                                        -- the gateway's life, one row a move
    gateway_event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    gateway_id     text NOT NULL REFERENCES gateway,
    at             timestamptz NOT NULL,
    deed           text NOT NULL,
    actor          text NOT NULL,
    facts          jsonb NOT NULL DEFAULT '{}'
);

CREATE TABLE claim (                                                -- one-time codes; only their HMAC is kept
    gateway_id     text NOT NULL REFERENCES gateway,
    claim_hmac     bytea NOT NULL UNIQUE,
    issued_at      timestamptz NOT NULL,
    expires_at     timestamptz NOT NULL,
    used_at        timestamptz,
    PRIMARY KEY (gateway_id, issued_at)
);

CREATE TABLE certificate (
    serial_number  text PRIMARY KEY,                                -- hexadecimal
    gateway_id     text NOT NULL REFERENCES gateway,
    fingerprint    bytea NOT NULL CHECK (length(fingerprint) = 32),
    valid          tstzrange NOT NULL,
    revoked_at     timestamptz,
    reason         text
);

CREATE TABLE gateway_status (                                       -- last state message; display only
    gateway_id     text PRIMARY KEY REFERENCES gateway,
    seen_at        timestamptz NOT NULL,
    online         boolean NOT NULL,
    backlog_batches bigint NOT NULL DEFAULT 0,
    oldest_unacked_s bigint NOT NULL DEFAULT 0,
    facts          jsonb NOT NULL DEFAULT '{}'
);

CREATE TABLE meter (
    meter_key      integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    meter_id       text NOT NULL UNIQUE CHECK (meter_id ~ '^[A-Za-z0-9_.-]{1,32}$'),
    profile        text NOT NULL,
    address        text NOT NULL                                    -- as the bus knows it: 12 digits, or the unit id
);

-- 装接: meter x supply point x gateway x multiplier x time. Neither a meter nor a supply point can be in two places.
CREATE TABLE installation (
    installation_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    meter_key      integer NOT NULL REFERENCES meter,
    supply_point_id text NOT NULL REFERENCES supply_point,
    gateway_id     text NOT NULL REFERENCES gateway,
    multiplier     integer NOT NULL CHECK (multiplier BETWEEN 1 AND 1000000),  -- CT x PT
    period         tstzrange NOT NULL CHECK (NOT isempty(period) AND lower_inc(period)),
    EXCLUDE USING gist (int4range(meter_key, meter_key, '[]') WITH &&, period WITH &&),
    EXCLUDE USING gist (id_range(supply_point_id, supply_point_id, '[]') WITH &&, period WITH &&)
);
CREATE INDEX installation_supply_point ON installation (supply_point_id);
CREATE INDEX installation_gateway ON installation (gateway_id);

-- Evidence: every sealed batch as it came.
CREATE TABLE sealed_batch (
    batch_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    gateway_id     text NOT NULL REFERENCES gateway,
    epoch          integer NOT NULL,
    stream         smallint NOT NULL CHECK (stream BETWEEN 0 AND 2),
    seq            bigint NOT NULL CHECK (seq >= 1),
    sha256         bytea NOT NULL CHECK (length(sha256) = 32),
    previous_sha256 bytea NOT NULL CHECK (length(previous_sha256) = 32), -- as the gateway said: the hash chain
    verdict        text NOT NULL CHECK (verdict IN ('accepted', 'rejected')), -- rejected: kept in quarantine, consumes its seq
    readings       integer NOT NULL,                                -- single values
    first_at       timestamptz,
    last_at        timestamptz,
    received_at    timestamptz NOT NULL,
    body           bytea NOT NULL,
    UNIQUE (gateway_id, epoch, stream, seq)
);
ALTER TABLE sealed_batch ALTER COLUMN body SET STORAGE EXTERNAL;    -- already compressed
CREATE INDEX sealed_batch_rejected ON sealed_batch (gateway_id, epoch, stream, seq) WHERE verdict = 'rejected';

CREATE TABLE batch_cursor (
    gateway_id     text NOT NULL REFERENCES gateway,
    epoch          integer NOT NULL,
    stream         smallint NOT NULL,
    upto           bigint NOT NULL DEFAULT 0,                       -- highest contiguous seq committed
    PRIMARY KEY (gateway_id, epoch, stream)
);

CREATE TABLE batch_loss (                                           -- seqs the gateway says it can no longer deliver; consumed
    gateway_id     text NOT NULL REFERENCES gateway,
    epoch          integer NOT NULL,
    stream         smallint NOT NULL,
    first_seq      bigint NOT NULL,
    last_seq       bigint NOT NULL CHECK (last_seq >= first_seq),
    readings       bigint NOT NULL,
    first_at       timestamptz NOT NULL,
    last_at        timestamptz NOT NULL,
    reason         text NOT NULL,
    batch_id       bigint NOT NULL REFERENCES sealed_batch,         -- the signed event that says so
    PRIMARY KEY (gateway_id, epoch, stream, first_seq, last_seq)
);

CREATE TABLE quarantine (
    quarantine_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at    timestamptz NOT NULL,
    topic          text NOT NULL,
    gateway_id     text,                                            -- as the topic says; may be unknown
    verdict        text NOT NULL,
    detail         text NOT NULL,
    sha256         bytea NOT NULL,
    body           bytea,                                           -- null when the body rests in sealed_batch
    batch_id       bigint REFERENCES sealed_batch,                  -- set when it was properly signed and consumed its seq
    resolved_at    timestamptz
);
CREATE INDEX quarantine_recent ON quarantine (gateway_id, received_at);

CREATE TABLE intake_count (                                         -- every verdict is counted, also the unsampled
    day            date NOT NULL,
    gateway_id     text NOT NULL,
    verdict        text NOT NULL,
    messages       bigint NOT NULL,
    PRIMARY KEY (day, gateway_id, verdict)
);

-- One row per (instant, meter, source); cN = channel N of the catalogue (edge_agent/wire/batch.py) in canonical ticks
-- as on the meter's face. Time first in the key: writes are twice as fast and time order is insertion order.
CREATE TABLE reading (
    taken_at       timestamptz NOT NULL,
    meter_key      integer NOT NULL,
    source         smallint NOT NULL,                               -- 0 read by the gateway, 1 stamped by the meter (freeze)
    quality        integer NOT NULL,
    batch_id       bigint NOT NULL,
    c0 bigint, c1 bigint, c2 bigint, c3 bigint, c4 bigint, c5 bigint, c6 bigint, c7 bigint,
    c8 bigint, c9 bigint, c10 bigint, c11 bigint, c12 bigint, c13 bigint, c14 bigint, c15 bigint,
    PRIMARY KEY (taken_at, meter_key, source)
) PARTITION BY RANGE (taken_at);

CREATE TABLE reading_partition (                                    -- what exists, so that looking costs no catalogue search
    start_at       timestamptz PRIMARY KEY,
    end_at         timestamptz NOT NULL CHECK (end_at > start_at),
    EXCLUDE USING gist (tstzrange(start_at, end_at) WITH &&)
);

-- Makes the partition around an instant unless there is one. Runs with the owner's rights, so that ingest may ask for a
-- partition without owning tables. Built apart and attached: attaching does not block readers or writers of the others.
CREATE FUNCTION make_reading_partition(instant timestamptz, width_days integer) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    monday constant timestamptz := '2024-01-01 00:00:00+08';        -- weeks and days begin at midnight, market time
    first_at timestamptz;
    next_at  timestamptz;
    name     text;
BEGIN
    IF width_days NOT IN (1, 7) THEN
        RAISE EXCEPTION 'width_days is %, allowed: 1 or 7', width_days;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('reading_partition'));
    IF EXISTS (SELECT FROM reading_partition WHERE start_at <= instant AND instant < end_at) THEN
        RETURN false;
    END IF;
    first_at := date_bin(make_interval(days => width_days), instant, monday);
    next_at := first_at + make_interval(hours => 24 * width_days);
    -- Neighbours of another width (the setting was changed) keep what they have.
    SELECT greatest(first_at, max(end_at)) INTO first_at FROM reading_partition WHERE end_at <= instant;
    SELECT least(next_at, min(start_at)) INTO next_at FROM reading_partition WHERE start_at > instant;
    name := 'reading_' || to_char(first_at AT TIME ZONE 'Asia/Shanghai', 'YYYYMMDD');
    EXECUTE format('CREATE TABLE %I (LIKE reading INCLUDING ALL)', name);
    EXECUTE format('ALTER TABLE reading ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, first_at, next_at);
    INSERT INTO reading_partition VALUES (first_at, next_at);
    RETURN true;
END $$;
REVOKE ALL ON FUNCTION make_reading_partition FROM PUBLIC;

CREATE TABLE reading_conflict (                                     -- another value for an existing key; never overwritten
    conflict_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    meter_key      integer NOT NULL,
    taken_at       timestamptz NOT NULL,
    source         smallint NOT NULL,
    batch_id       bigint NOT NULL,
    ticks          bigint[] NOT NULL CHECK (cardinality(ticks) = 16), -- null where absent
    found_at       timestamptz NOT NULL
);

CREATE TABLE unbound_reading (                                      -- rows of a meter not bound to the gateway at that instant
    unbound_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    gateway_id     text NOT NULL,
    meter_id       text NOT NULL,
    taken_at       timestamptz NOT NULL,
    batch_id       bigint NOT NULL,
    quality        integer NOT NULL,
    ticks          bigint[] NOT NULL CHECK (cardinality(ticks) = 16)
);
CREATE INDEX unbound_reading_meter ON unbound_reading (gateway_id, meter_id);

-- The work list of validation: (meter, market day). A worker takes a mark, validates, and removes it only if `marks` is
-- still what it took; so readings that were committed meanwhile are validated again, and ingest never waits for it.
CREATE TABLE stale_day (
    meter_key      integer NOT NULL REFERENCES meter,
    day            date NOT NULL,
    marked_at      timestamptz NOT NULL,
    marks          bigint NOT NULL DEFAULT 1,
    taken_at       timestamptz,
    PRIMARY KEY (meter_key, day)
) WITH (fillfactor = 50);                                           -- marks are counted up in place

CREATE TABLE live_value (                                           -- latest unvalidated sample, never billed
    meter_key      integer PRIMARY KEY REFERENCES meter,
    taken_at       timestamptz NOT NULL,
    ticks          jsonb NOT NULL                                   -- channel code -> canonical ticks
);

-- 96-point arrays, one row per supply point, market day (Asia/Shanghai) and revision.
CREATE TABLE interval_day (
    supply_point_id text NOT NULL REFERENCES supply_point,
    day            date NOT NULL,
    revision       integer NOT NULL CHECK (revision >= 1),
    import_wh      bigint[] NOT NULL CHECK (cardinality(import_wh) = 96),   -- null elements: missing
    export_wh      bigint[] NOT NULL CHECK (cardinality(export_wh) = 96),
    import_varh    bigint[] NOT NULL CHECK (cardinality(import_varh) = 96),
    export_varh    bigint[] NOT NULL CHECK (cardinality(export_varh) = 96),
    quality        smallint[] NOT NULL CHECK (cardinality(quality) = 96),
    made_at        timestamptz NOT NULL,
    made_by        text NOT NULL,                                   -- 'vee:1' and the like: rule set and version
    first_batch_id bigint,
    last_batch_id  bigint,
    PRIMARY KEY (supply_point_id, day, revision)
);
CREATE INDEX interval_day_day ON interval_day (day);

CREATE TABLE finding (
    finding_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    supply_point_id text NOT NULL REFERENCES supply_point,
    day            date NOT NULL,
    revision       integer NOT NULL,
    slot           smallint CHECK (slot BETWEEN 0 AND 95),          -- null: the whole day
    rule           text NOT NULL,
    severity       text NOT NULL CHECK (severity IN ('info', 'warning', 'error')),
    facts          jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX finding_day ON finding (supply_point_id, day);

-- While a day runs, its row is revised every quarter hour. Once it is over and has a later revision, those forerunners go;
-- nothing is billed from a running day. With the owner's rights, because the worker may not delete intervals.
CREATE FUNCTION prune_running_days(before timestamptz) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    WITH gone AS (
        DELETE FROM interval_day d
        WHERE d.made_at < ((d.day + 1)::timestamp AT TIME ZONE 'Asia/Shanghai')
          AND ((d.day + 1)::timestamp AT TIME ZONE 'Asia/Shanghai') <= before
          AND EXISTS (SELECT FROM interval_day l WHERE (l.supply_point_id, l.day) = (d.supply_point_id, d.day)
                                                   AND l.revision > d.revision)
        RETURNING d.supply_point_id, d.day, d.revision),
    found AS (
        DELETE FROM finding f USING gone g
        WHERE (f.supply_point_id, f.day, f.revision) = (g.supply_point_id, g.day, g.revision))
    SELECT count(*) FROM gone
$$;
REVOKE ALL ON FUNCTION prune_running_days FROM PUBLIC;

CREATE TABLE timetable_tick (                                       -- any number of workers may tick; one does the work
    entry          text NOT NULL,
    instant        timestamptz NOT NULL,
    taken_by       text NOT NULL,
    PRIMARY KEY (entry, instant)
);
