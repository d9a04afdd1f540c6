-- Where a contract's price is compared with what is published: the grids that its parties' accounts hang on, or, where no
-- account tells, the market's own if a price file names it. Asked past row-level security; grids of accounts tell nothing else.
CREATE FUNCTION contract_grids(parties bigint[]) RETURNS SETOF text LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    WITH own AS (SELECT DISTINCT a.grid FROM account a WHERE a.party_id = ANY(parties) AND a.grid <> '')
    SELECT grid FROM own
    UNION SELECT m.market_id FROM market m WHERE NOT EXISTS (SELECT FROM own)
          AND EXISTS (SELECT FROM price_sheet s WHERE s.grid = m.market_id)
$$;
REVOKE EXECUTE ON FUNCTION contract_grids FROM PUBLIC;
GRANT EXECUTE ON FUNCTION contract_grids TO shoudian_api, shoudian_worker;

-- When a time-stamp authority saw a signature, and which; without one (PAdES B-B) the time is ours alone.
ALTER TABLE contract_signature ADD COLUMN stamped_at timestamptz;
ALTER TABLE contract_signature ADD COLUMN stamp_authority text NOT NULL DEFAULT '' CHECK (length(stamp_authority) <= 200);
ALTER TABLE contract_signature ADD CHECK ((stamped_at IS NULL) = (stamp_authority = ''));
