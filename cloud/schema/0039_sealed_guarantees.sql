-- What a sealed declaration binds of a guarantee tells how much was bid: until the gate staff read neither the entry nor a sum
-- that counts it. Its party reads its own; the ledger's own checks count everything (keep_guarantee is the owner's).

CREATE FUNCTION guarantee_is_sealed(party bigint, purpose text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT CASE WHEN purpose ~ '^bid:[0-9]+:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN EXISTS (
        SELECT FROM bid_event b JOIN trading_session s USING (session_id)
        WHERE b.party_id = party AND b.client_key = split_part(purpose, ':', 3)::uuid
          AND s.is_sealed AND s.gate_at IS NULL) ELSE false END
$$;
REVOKE EXECUTE ON FUNCTION guarantee_is_sealed(bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION guarantee_is_sealed(bigint, text) TO shoudian_api, shoudian_worker;
ALTER POLICY of_staff ON guarantee_entry
    USING (app_is_staff() AND NOT guarantee_is_sealed(party_id, purpose_key)) WITH CHECK (app_is_staff());
ALTER POLICY of_the_party ON guarantee_entry
    USING (app_has_party(party_id) OR (app_sees_party(party_id) AND NOT guarantee_is_sealed(party_id, purpose_key)));

-- What the worker may tell staff of it: reserves less those that are sealed.
CREATE FUNCTION guarantee_told_fen(party bigint) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(CASE kind WHEN 'reserve' THEN amount_fen ELSE -amount_fen END), 0)::bigint
    FROM guarantee_entry
    WHERE party_id = party AND kind IN ('reserve', 'release') AND NOT guarantee_is_sealed(party_id, purpose_key)
$$;
