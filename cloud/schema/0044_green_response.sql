-- Money of certificate sales; capacity payments, portfolios of aggregators and their split in demand response.

-- ---- green certificates: a purchase is a claim of the seller and a debt of the buyer ---------------------------------

-- One row per purchase, made in the transaction that moves the certificates. The ledger of money books it once
-- (journal 'green-sale:{entry_id}').
CREATE TABLE green_claim (
    entry_id       bigint PRIMARY KEY REFERENCES green_entry,
    sale_id        bigint NOT NULL REFERENCES green_sale,
    seller_id      bigint NOT NULL REFERENCES party,
    buyer_id       bigint NOT NULL REFERENCES party CHECK (buyer_id <> seller_id),
    mwh            bigint NOT NULL CHECK (mwh > 0),
    price_ticks    bigint NOT NULL CHECK (price_ticks >= 0),        -- 0.01 yuan per certificate: a fen
    amount_fen     bigint NOT NULL CHECK (amount_fen = mwh * price_ticks),
    day            date NOT NULL,
    at             timestamptz NOT NULL
);
CREATE INDEX green_claim_seller ON green_claim (seller_id, day);
CREATE INDEX green_claim_buyer ON green_claim (buyer_id, day);

INSERT INTO green_claim
SELECT e.entry_id, split_part(o.account, '/', 3)::bigint, o.party_id, i.party_id, sum(i.mwh), e.price_ticks,
       sum(i.mwh) * e.price_ticks, (e.at AT TIME ZONE 'Asia/Shanghai')::date, e.at
FROM green_entry e
JOIN green_posting o ON o.entry_id = e.entry_id AND o.mwh < 0 AND o.account LIKE 'locked/%'
JOIN green_posting i ON i.entry_id = e.entry_id AND i.mwh > 0 AND i.serials = o.serials
WHERE e.kind = 'transfer' AND e.contract_id IS NULL AND e.price_ticks IS NOT NULL
GROUP BY e.entry_id, o.account, o.party_id, i.party_id;

-- At commit: certificates that leave a sale bring exactly its price, and nothing else makes a claim.
CREATE FUNCTION green_claim_check() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    e green_entry;
    c green_claim;
    is_sale boolean;
BEGIN
    SELECT * INTO e FROM green_entry WHERE entry_id = NEW.entry_id;
    SELECT * INTO c FROM green_claim WHERE entry_id = NEW.entry_id;
    is_sale := e.kind = 'transfer' AND e.contract_id IS NULL;
    IF is_sale <> (c.entry_id IS NOT NULL) OR (is_sale AND (
        c.price_ticks IS DISTINCT FROM e.price_ticks
        OR NOT EXISTS (SELECT FROM green_sale s WHERE s.sale_id = c.sale_id AND s.seller_id = c.seller_id
                       AND s.price_ticks = c.price_ticks)
        OR c.mwh IS DISTINCT FROM (SELECT sum(g.mwh) FROM green_posting g WHERE g.entry_id = e.entry_id AND g.mwh > 0
                                   AND g.account = 'held/' || c.buyer_id)
        OR c.mwh IS DISTINCT FROM (SELECT -sum(g.mwh) FROM green_posting g WHERE g.entry_id = e.entry_id AND g.mwh < 0
                                   AND g.account = 'locked/' || c.seller_id || '/' || c.sale_id))) THEN
        RAISE EXCEPTION 'green entry %: certificates and money differ', NEW.entry_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'green_claim_matches';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER paid AFTER INSERT ON green_entry DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION green_claim_check();
CREATE CONSTRAINT TRIGGER paid AFTER INSERT ON green_claim DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION green_claim_check();

CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON green_claim FOR EACH ROW EXECUTE FUNCTION keep_settlement();
GRANT SELECT, INSERT ON green_claim TO shoudian_api, shoudian_worker;
ALTER TABLE green_claim ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_everybody ON green_claim TO shoudian_worker USING (true) WITH CHECK (true);
CREATE POLICY of_both ON green_claim FOR SELECT TO shoudian_api
    USING (app_reads_market() OR app_has_party(seller_id) OR app_has_party(buyer_id));
CREATE POLICY by_the_buyer ON green_claim FOR INSERT TO shoudian_api WITH CHECK (app_has_party(buyer_id));
