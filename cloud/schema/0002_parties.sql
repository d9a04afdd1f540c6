-- Everybody who can owe, and the places where electricity is delivered.

-- Lets EXCLUDE forbid overlapping periods of one text id with the built-in range operators (no btree_gist in every server).
CREATE TYPE id_range AS RANGE (subtype = text, collation = "C");

CREATE TABLE party (
    party_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind           text NOT NULL CHECK (kind IN ('user', 'retailer', 'generator', 'vpp')),
    name           text NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 200)
);
ALTER TABLE app_user ADD FOREIGN KEY (party_id) REFERENCES party;

-- 户号: a contract account. Its rating facts are dated: one row per period in which nothing changed.
CREATE TABLE account (
    account_id     text PRIMARY KEY CHECK (account_id ~ '^[0-9]{10,13}$'),
    party_id       bigint NOT NULL REFERENCES party,
    name           text NOT NULL,
    address        text NOT NULL
);
CREATE INDEX account_party ON account (party_id);

CREATE TABLE account_terms (
    account_id       text NOT NULL REFERENCES account,
    effective        tstzrange NOT NULL CHECK (NOT isempty(effective) AND lower_inc(effective) AND NOT upper_inc(effective)),
    category         text NOT NULL CHECK (category IN ('commercial', 'residential', 'agricultural', 'generation')),
    purchase         text NOT NULL CHECK (purchase IN ('agency', 'direct', 'retail', 'catalogue')),
    structure        text NOT NULL CHECK (structure IN ('single_part', 'two_part')),
    voltage          text NOT NULL CHECK (voltage IN ('lt1kV', '1-10kV', '35kV', '110kV', 'ge220kV')),
    demand_mode      text NOT NULL DEFAULT 'none' CHECK (demand_mode IN ('none', 'capacity', 'contracted', 'actual')),
    capacity_kva     integer CHECK (capacity_kva > 0),
    contract_demand_kw integer CHECK (contract_demand_kw > 0),
    power_factor_standard numeric(3,2) CHECK (power_factor_standard IN (0.80, 0.85, 0.90)), -- null: not assessed
    PRIMARY KEY (account_id, effective),
    EXCLUDE USING gist (id_range(account_id, account_id, '[]') WITH &&, effective WITH &&),
    CHECK ((structure = 'single_part') = (demand_mode = 'none')),
    CHECK (demand_mode <> 'contracted' OR contract_demand_kw IS NOT NULL),
    CHECK (demand_mode = 'none' OR capacity_kva IS NOT NULL)
);

CREATE TABLE supply_point (
    supply_point_id text PRIMARY KEY CHECK (supply_point_id ~ '^[A-Za-z0-9_-]{1,32}$'),
    account_id      text NOT NULL REFERENCES account,
    name            text NOT NULL
);
CREATE INDEX supply_point_account ON supply_point (account_id);
