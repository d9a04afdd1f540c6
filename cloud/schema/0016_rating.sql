-- What rating needs to know beyond 0004: more kinds of price files, the grid of an account.

ALTER TABLE price_sheet DROP CONSTRAINT price_sheet_kind_check;
ALTER TABLE price_sheet ADD CONSTRAINT price_sheet_kind_check
    CHECK (kind IN ('calendar', 'price-sheet', 'transmission', 'funds', 'power-factor', 'two-part', 'catalogue',
                    'package', 'market-prices', 'collection', 'correction'));

-- The grid company's area decides which price files are in force for an account.
ALTER TABLE account ADD COLUMN grid text NOT NULL DEFAULT 'jibei' CHECK (grid ~ '^[a-z][a-z0-9-]{0,30}$');

-- Which catalogue price, where customers of a category have a choice: 'ladder', 'ladder_tou', 'shared'.
ALTER TABLE account_terms ADD COLUMN option text NOT NULL DEFAULT '' CHECK (option ~ '^[a-z0-9_]{0,30}$');

-- The kWh of the calendar year before the first month that is billed here: where the ladder of catalogue prices stands.
CREATE TABLE year_opening (
    account_id     text NOT NULL REFERENCES account,
    month          date NOT NULL CHECK (extract(day FROM month) = 1), -- the first month billed here
    kwh            numeric NOT NULL CHECK (kwh >= 0),
    PRIMARY KEY (account_id, month)
);
CREATE UNIQUE INDEX year_opening_year ON year_opening (account_id, (extract(year FROM month)));
GRANT SELECT ON year_opening TO shoudian_ingest, shoudian_worker, shoudian_api, shoudian_provision;
ALTER TABLE year_opening ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_the_party ON year_opening FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM account a WHERE a.account_id = year_opening.account_id));
CREATE POLICY of_everybody ON year_opening TO shoudian_ingest, shoudian_worker, shoudian_provision
    USING (true) WITH CHECK (true);

-- The published items inside a charge; their amounts add up to the line's.
ALTER TABLE bill_line ADD COLUMN items jsonb NOT NULL DEFAULT '[]';
