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

-- ---- demand response: tests, capacity payments, portfolios and their split -------------------------------------------

ALTER TABLE response_event ADD COLUMN is_test boolean NOT NULL DEFAULT false; -- measured as a call, pays no energy

CREATE TABLE response_capacity (                                    -- a resource's month, once, when its events are settled
    capacity_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    enrolment_id   bigint NOT NULL REFERENCES response_enrolment,
    month          date NOT NULL CHECK (extract(day FROM month) = 1),
    programme_id   text NOT NULL,
    version        integer NOT NULL,
    payee_id       bigint NOT NULL REFERENCES party,
    party_id       bigint NOT NULL REFERENCES party,                -- whose resource: the payee, or a member of its portfolio
    kw             integer NOT NULL CHECK (kw >= 0),
    failures       integer NOT NULL CHECK (failures >= 0),
    total_fen      bigint NOT NULL CHECK (total_fen <= 0),          -- - receives; never a charge
    passed_on_fen  bigint NOT NULL CHECK (passed_on_fen BETWEEN total_fen AND 0), -- of it to the member
    lines          jsonb NOT NULL,
    at             timestamptz NOT NULL,
    UNIQUE (enrolment_id, month),
    FOREIGN KEY (programme_id, version) REFERENCES response_programme,
    CHECK (payee_id <> party_id OR passed_on_fen = 0)
);
CREATE INDEX response_capacity_payee ON response_capacity (payee_id, month);
CREATE INDEX response_capacity_party ON response_capacity (party_id, month);

CREATE TABLE response_split (                                       -- how an aggregator shares with its members, by version
    aggregator_id  bigint NOT NULL REFERENCES party,
    version        integer NOT NULL CHECK (version >= 1),
    rule_id        text NOT NULL,
    effective_from date NOT NULL,
    sha256         text NOT NULL CHECK (length(sha256) = 64),
    body           text NOT NULL,
    entered_at     timestamptz NOT NULL,
    entered_by     text NOT NULL,
    PRIMARY KEY (aggregator_id, version)
);

CREATE TABLE response_portfolio (                                   -- an aggregator in an event; the highest revision stands
    portfolio_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id       bigint NOT NULL REFERENCES response_event,
    aggregator_id  bigint NOT NULL REFERENCES party,
    revision       integer NOT NULL CHECK (revision >= 1),
    assess         text NOT NULL CHECK (assess IN ('member', 'portfolio')), -- 'member': the sum of the members' results
    members        integer NOT NULL CHECK (members >= 1),
    bid_kwh        numeric NOT NULL,
    response_kwh   numeric NOT NULL,
    eligible_kwh   numeric NOT NULL,
    total_fen      bigint NOT NULL,                                 -- + pays, - receives
    lines          jsonb NOT NULL,
    at             timestamptz NOT NULL,
    UNIQUE (event_id, aggregator_id, revision)
);
CREATE INDEX response_portfolio_of ON response_portfolio (aggregator_id, event_id);
CREATE TABLE response_share (                                       -- a settled portfolio in parts, once
    portfolio_id   bigint NOT NULL REFERENCES response_portfolio,
    event_id       bigint NOT NULL REFERENCES response_event,       -- of the portfolio: members do not see that
    share_no       integer NOT NULL CHECK (share_no >= 0),          -- 0: what stays with the aggregator
    enrolment_id   bigint REFERENCES response_enrolment,
    party_id       bigint NOT NULL REFERENCES party,
    rule           text NOT NULL,                                   -- of the split, 'id@version'
    weight_wh      bigint NOT NULL CHECK (weight_wh >= 0),
    amount_fen     bigint NOT NULL,
    at             timestamptz NOT NULL,
    PRIMARY KEY (portfolio_id, share_no),
    UNIQUE (portfolio_id, enrolment_id),
    CHECK ((share_no = 0) = (enrolment_id IS NULL))
);
CREATE INDEX response_share_party ON response_share (party_id);
CREATE INDEX response_share_event ON response_share (event_id);

-- At commit the shares of a portfolio add up to it, and it is the revision that stands.
CREATE FUNCTION response_share_check() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE p response_portfolio;
BEGIN
    SELECT * INTO p FROM response_portfolio WHERE portfolio_id = NEW.portfolio_id;
    IF p.event_id <> NEW.event_id OR p.total_fen <> (SELECT sum(amount_fen) FROM response_share WHERE portfolio_id = p.portfolio_id)
       OR EXISTS (SELECT FROM response_portfolio l WHERE (l.event_id, l.aggregator_id) = (p.event_id, p.aggregator_id)
                  AND l.revision > p.revision) THEN
        RAISE EXCEPTION 'portfolio %: its shares do not add up to it', p.portfolio_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'response_shares_add_up';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER adds_up AFTER INSERT ON response_share DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION response_share_check();

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['response_capacity', 'response_split', 'response_portfolio', 'response_share'] LOOP
        EXECUTE format('CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION keep_settlement()', t);
        EXECUTE format('GRANT SELECT, INSERT ON %I TO shoudian_api, shoudian_worker', t);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY of_everybody ON %I TO shoudian_worker USING (true) WITH CHECK (true)', t);
        EXECUTE format('CREATE POLICY by_staff ON %I TO shoudian_api USING (app_is_staff()) WITH CHECK (app_is_staff())', t);
    END LOOP;
END $$;
CREATE POLICY of_the_party ON response_capacity FOR SELECT TO shoudian_api
    USING (app_reads_market() OR app_has_party(payee_id) OR app_has_party(party_id));
CREATE POLICY of_the_aggregator ON response_split FOR SELECT TO shoudian_api
    USING (app_reads_market() OR app_has_party(aggregator_id));
CREATE POLICY of_the_aggregator ON response_portfolio FOR SELECT TO shoudian_api
    USING (app_reads_market() OR app_has_party(aggregator_id));
CREATE POLICY of_the_party ON response_share FOR SELECT TO shoudian_api      -- a member its own, the aggregator all
    USING (app_reads_market() OR app_has_party(party_id)
           OR EXISTS (SELECT FROM response_portfolio p WHERE p.portfolio_id = response_share.portfolio_id));

-- An aggregator sees what its resources drew on the day of an event to which they were invited, and no other day.
CREATE FUNCTION response_member_load(of_event bigint, of_enrolment bigint)
RETURNS TABLE (supply_point_id text, revision integer, import_wh bigint[], quality smallint[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT sp.supply_point_id, d.revision, d.import_wh, d.quality
    FROM response_invitation i JOIN response_event e USING (event_id) JOIN response_enrolment n USING (enrolment_id)
    JOIN supply_point sp ON sp.account_id = n.account_id
    LEFT JOIN LATERAL (SELECT v.revision, v.import_wh, v.quality FROM interval_day v
                       WHERE v.supply_point_id = sp.supply_point_id AND v.day = e.day
                       ORDER BY v.revision DESC LIMIT 1) d ON true
    WHERE i.event_id = of_event AND i.enrolment_id = of_enrolment AND app_has_party(n.aggregator_id)
$$;
REVOKE EXECUTE ON FUNCTION response_member_load(bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION response_member_load(bigint, bigint) TO shoudian_api, shoudian_worker;
