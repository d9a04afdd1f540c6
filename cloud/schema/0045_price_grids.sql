-- Where neither the parties' accounts nor the market name a grid, the grids that accounts hang on at all: a platform of one
-- province does not compare with another's prices, though their files are kept here too.
CREATE OR REPLACE FUNCTION contract_grids(parties bigint[]) RETURNS SETOF text LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    WITH own AS (SELECT DISTINCT a.grid FROM account a WHERE a.party_id = ANY(parties) AND a.grid <> ''),
    market_own AS (SELECT m.market_id FROM market m WHERE EXISTS (SELECT FROM price_sheet s WHERE s.grid = m.market_id))
    SELECT grid FROM own
    UNION SELECT market_id FROM market_own WHERE NOT EXISTS (SELECT FROM own)
    UNION SELECT a.grid FROM account a
          WHERE a.grid <> '' AND NOT EXISTS (SELECT FROM own) AND NOT EXISTS (SELECT FROM market_own)
$$;
