-- What is owed. A bill is never changed: a correction is the next revision.

-- Published price files of every kind, as taken: cloud/billing/published/README.md. Never changed, only added to.
CREATE TABLE price_sheet (
    sheet_id       text NOT NULL CHECK (length(sheet_id) BETWEEN 1 AND 100), -- 'jibei-agency-2026-08'
    version        integer NOT NULL CHECK (version >= 1),
    kind           text NOT NULL CHECK (kind IN ('calendar', 'price-sheet', 'transmission', 'funds', 'power-factor',
                                                 'two-part')),
    grid           text NOT NULL,                                   -- 'cn': national, yields to a grid's own
    sha256         bytea NOT NULL CHECK (length(sha256) = 32),
    effective      tstzrange NOT NULL CHECK (NOT isempty(effective)),
    document       text NOT NULL,                                   -- number of the notice
    body           text NOT NULL,                                   -- the published file, as loaded
    loaded_at      timestamptz NOT NULL,
    PRIMARY KEY (sheet_id, version)
);

CREATE TABLE bill (
    bill_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id     text NOT NULL REFERENCES account,
    month          date NOT NULL CHECK (extract(day FROM month) = 1),
    revision       integer NOT NULL CHECK (revision >= 1),
    total_fen      bigint NOT NULL,
    import_wh      bigint NOT NULL,
    state          text NOT NULL DEFAULT 'draft' CHECK (state IN ('draft', 'issued', 'void')),
    facts          jsonb NOT NULL,                                  -- everything a reader needs to recompute it
    input_sha256   bytea NOT NULL CHECK (length(input_sha256) = 32), -- equal inputs make no new revision
    made_at        timestamptz NOT NULL,
    UNIQUE (account_id, month, revision)
);

CREATE TABLE bill_line (
    bill_id        bigint NOT NULL REFERENCES bill,
    line_no        integer NOT NULL CHECK (line_no >= 1),
    section        text NOT NULL,                                   -- 'energy', 'line_loss', 'transmission', …
    item           text NOT NULL,
    period         text,                                            -- tip, peak, flat, valley, deep; null: not by period
    quantity       numeric NOT NULL,                                -- no scale: nothing is rounded on the way in
    unit           text NOT NULL,
    price_yuan_per_unit numeric NOT NULL,
    amount_fen     bigint NOT NULL,
    derivation     jsonb NOT NULL,
    PRIMARY KEY (bill_id, line_no)
);
