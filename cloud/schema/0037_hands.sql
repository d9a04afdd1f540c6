-- Whose hand a row is by. A seal is proposed, approved and ended by the person who is signed in, whatever the statement says;
-- and what a party itself enters as agreed was offered by the other side: a listing that it takes, a transfer it consents to.

CREATE FUNCTION keep_seal_hand() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('role') = 'shoudian_api'
       AND (TG_OP = 'INSERT' AND NOT app_is_user(NEW.proposed_by)
            OR NEW.approved_by IS NOT NULL AND (TG_OP = 'INSERT' OR OLD.approved_by IS NULL) AND NOT app_is_user(NEW.approved_by)
            OR NEW.ended_by IS NOT NULL AND (TG_OP = 'INSERT' OR OLD.ended_by IS NULL) AND NOT app_is_user(NEW.ended_by)) THEN
        RAISE EXCEPTION 'seal of party %: in the name of another person', NEW.party_id USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER by_ones_own_hand BEFORE INSERT OR UPDATE ON seal_holder FOR EACH ROW EXECUTE FUNCTION keep_seal_hand();

CREATE FUNCTION market_offered(contract text, version integer, acting bigint, seller bigint, buyer bigint) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT version = 1 AND EXISTS (
               SELECT FROM listing_event e JOIN listing l USING (listing_id)
               WHERE e.kind = 'take' AND e.party_id = acting AND acting IN (seller, buyer) AND l.party_id IN (seller, buyer)
                 AND l.party_id <> acting
                 AND contract = 'GP-' || lpad(l.listing_id::text, greatest(6, length(l.listing_id::text)), '0') || '-' || e.seq)
        OR EXISTS (
               SELECT FROM contract_transfer t
               WHERE t.state = 'taken_over' AND t.other_id = acting AND acting IN (seller, buyer)
                 AND (version = 1 AND t.new_contract_id = contract AND t.to_id IN (seller, buyer)
                      OR version = t.from_version + 1 AND t.contract_id = contract AND t.from_id IN (seller, buyer)))
$$;
REVOKE EXECUTE ON FUNCTION market_offered(text, integer, bigint, bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION market_offered(text, integer, bigint, bigint, bigint) TO shoudian_api, shoudian_worker;

CREATE FUNCTION keep_both_words() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    acting bigint := nullif(current_setting('app.party_id', true), '')::bigint;
    is_offered boolean := true;
BEGIN
    IF current_setting('app.role', true) = 'customer' THEN
        IF TG_TABLE_NAME = 'wholesale_contract' THEN
            is_offered := market_offered(NEW.contract_id, NEW.version, acting, unit_party(NEW.seller), unit_party(NEW.buyer));
        ELSIF NEW.kind = 'confirmation' THEN
            is_offered := market_offered(NEW.contract_id, 1, acting, NEW.seller_id, NEW.buyer_id);
        END IF;
    END IF;
    IF NOT is_offered THEN
        RAISE EXCEPTION 'contract %: the other side has offered no such thing', NEW.contract_id
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER of_both_words BEFORE INSERT ON contract FOR EACH ROW EXECUTE FUNCTION keep_both_words();
CREATE TRIGGER of_both_words BEFORE INSERT ON wholesale_contract FOR EACH ROW EXECUTE FUNCTION keep_both_words();
