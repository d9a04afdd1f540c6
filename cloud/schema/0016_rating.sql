-- What rating needs to know beyond 0004: more kinds of price files, the grid of an account.

ALTER TABLE price_sheet DROP CONSTRAINT price_sheet_kind_check;
ALTER TABLE price_sheet ADD CONSTRAINT price_sheet_kind_check
    CHECK (kind IN ('calendar', 'price-sheet', 'transmission', 'funds', 'power-factor', 'two-part', 'catalogue',
                    'package', 'market-prices', 'collection', 'correction'));

-- The grid company's area decides which price files are in force for an account.
ALTER TABLE account ADD COLUMN grid text NOT NULL DEFAULT 'jibei' CHECK (grid ~ '^[a-z][a-z0-9-]{0,30}$');

-- Which catalogue price, where customers of a category have a choice: 'ladder', 'ladder_tou', 'shared'.
ALTER TABLE account_terms ADD COLUMN option text NOT NULL DEFAULT '' CHECK (option ~ '^[a-z0-9_]{0,30}$');

-- The published items inside a charge; their amounts add up to the line's.
ALTER TABLE bill_line ADD COLUMN items jsonb NOT NULL DEFAULT '[]';
