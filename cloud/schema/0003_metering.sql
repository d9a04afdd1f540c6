-- From sealed bytes to intervals that may be charged.
-- `reading` itself is made by cloud/metering/store/partitions.py: as a hypertable or as native time partitions.

CREATE TABLE gateway (
    gateway_id     text PRIMARY KEY CHECK (gateway_id ~ '^[A-Za-z0-9_-]{1,32}$'),
    name           text NOT NULL,
    state          text NOT NULL DEFAULT 'registered'
                   CHECK (state IN ('registered', 'enrolled', 'active', 'suspect', 'suspended', 'revoked')),
    epoch          integer NOT NULL DEFAULT 1 CHECK (epoch >= 1),   -- issued here, never reused
    store_uuid     bytea,
    created_at     timestamptz NOT NULL DEFAULT now()
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
    EXCLUDE USING gist (int4range(meter_key, meter_key, '[]') WITH &&, period WITH &&)
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
    verdict        text NOT NULL CHECK (verdict IN ('accepted', 'rejected')), -- rejected: kept in quarantine, consumes its seq
    readings       integer NOT NULL,                                -- single values
    first_at       timestamptz,
    last_at        timestamptz,
    received_at    timestamptz NOT NULL,
    body           bytea NOT NULL,
    UNIQUE (gateway_id, epoch, stream, seq)
);
ALTER TABLE sealed_batch ALTER COLUMN body SET STORAGE EXTERNAL;    -- already compressed

CREATE TABLE batch_cursor (
    gateway_id     text NOT NULL REFERENCES gateway,
    epoch          integer NOT NULL,
    stream         smallint NOT NULL,
    upto           bigint NOT NULL DEFAULT 0,                       -- highest contiguous seq committed
    last_sha256    bytea,                                           -- of seq = upto: the hash chain's end
    PRIMARY KEY (gateway_id, epoch, stream)
);

CREATE TABLE quarantine (
    quarantine_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at    timestamptz NOT NULL,
    topic          text NOT NULL,
    gateway_id     text,                                            -- as the topic says; may be unknown
    verdict        text NOT NULL,
    detail         text NOT NULL,
    sha256         bytea NOT NULL,
    body           bytea,                                           -- null when over the sampling limit of the day
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

CREATE TABLE reading_conflict (                                     -- another value for an existing key; never overwritten
    conflict_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    meter_key      integer NOT NULL,
    taken_at       timestamptz NOT NULL,
    source         smallint NOT NULL,
    batch_id       bigint NOT NULL,
    ticks          bigint[] NOT NULL,                               -- the 16 channel columns, null where absent
    found_at       timestamptz NOT NULL
);

CREATE TABLE unbound_reading (                                      -- rows of a meter not bound to the gateway at that instant
    unbound_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    gateway_id     text NOT NULL,
    meter_id       text NOT NULL,
    taken_at       timestamptz NOT NULL,
    batch_id       bigint NOT NULL,
    quality        integer NOT NULL,
    ticks          bigint[] NOT NULL
);

CREATE TABLE stale_day (                                            -- the work list of validation: (meter, market day)
    meter_key      integer NOT NULL REFERENCES meter,
    day            date NOT NULL,
    marked_at      timestamptz NOT NULL,
    PRIMARY KEY (meter_key, day)
);

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
