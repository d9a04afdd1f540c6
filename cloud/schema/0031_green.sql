-- Green certificates 绿证: plants, months, batches, and the ledger in whole MWh (cloud/market/certificates.py).
-- Entries and postings are only added. What the ledger must never do, the database does not let it do:
--   a serial number is issued once, traded once, used up once (exclusion constraints over ranges of numbers);
--   a number is at exactly one place (green_place, kept by a trigger on the postings, excluded against itself);
--   an entry adds up to zero, and moves only between accounts that its kind allows, by whom it may (at commit).

CREATE TABLE green_plant (                                          -- the latest entry speaks
    entry_no       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    unit_id        text NOT NULL CHECK (length(unit_id) BETWEEN 1 AND 40), -- account number, or 'party:N'
    party_id       bigint NOT NULL REFERENCES party,
    name           text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    energy         text NOT NULL CHECK (energy IN ('wind', 'solar', 'hydro', 'biomass', 'geothermal', 'ocean')),
    is_tradable    boolean NOT NULL,                                -- existing conventional hydro 存量常规水电 is not
    document       text NOT NULL CHECK (length(document) BETWEEN 1 AND 200),
    entered_at     timestamptz NOT NULL,
    entered_by     text NOT NULL
);
CREATE INDEX green_plant_of ON green_plant (unit_id, entry_no);

CREATE TABLE green_entry (
    entry_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind           text NOT NULL CHECK (kind IN ('issue', 'lock', 'release', 'transfer', 'retire', 'expire')),
    idem_key       text NOT NULL UNIQUE CHECK (length(idem_key) BETWEEN 1 AND 200),
    content_sha256 text NOT NULL CHECK (length(content_sha256) = 64), -- the same key always brings the same content
    contract_id    text,                                            -- of a transfer after settlement
    price_ticks    bigint,                                          -- of a sale, 0.01 yuan per certificate
    at             timestamptz NOT NULL,
    actor          text NOT NULL,
    UNIQUE (entry_id, kind)
);
CREATE INDEX green_entry_contract ON green_entry (contract_id) WHERE contract_id IS NOT NULL;
CREATE TABLE green_posting (
    entry_id       bigint NOT NULL,
    posting_no     integer NOT NULL CHECK (posting_no >= 1),
    kind           text NOT NULL,
    account        text NOT NULL CHECK (account ~ '^(issued|held|retired)/[0-9]{1,18}$|^locked/[0-9]{1,18}/[0-9]{1,18}$|^expired$'),
    party_id       bigint REFERENCES party,                         -- of the account; null: expired
    serials        int8range NOT NULL CHECK (lower(serials) >= 1 AND lower_inc(serials) AND NOT upper_inc(serials)
                                             AND NOT isempty(serials)),
    mwh            bigint NOT NULL CHECK (abs(mwh) = upper(serials) - lower(serials)),
    PRIMARY KEY (entry_id, posting_no),
    FOREIGN KEY (entry_id, kind) REFERENCES green_entry (entry_id, kind),
    CHECK (party_id IS NOT DISTINCT FROM nullif(split_part(account, '/', 2), '')::bigint),
    CONSTRAINT issued_once EXCLUDE USING gist (serials WITH &&) WHERE (kind = 'issue' AND mwh > 0),
    CONSTRAINT traded_once EXCLUDE USING gist (serials WITH &&) WHERE (kind = 'transfer' AND mwh > 0),
    CONSTRAINT used_once EXCLUDE USING gist (serials WITH &&) WHERE (kind IN ('retire', 'expire') AND mwh > 0)
);
CREATE INDEX green_posting_account ON green_posting (account, entry_id);
CREATE INDEX green_posting_party ON green_posting (party_id, entry_id);

CREATE TABLE green_month (                                          -- how a plant's month came to its certificates
    unit_id        text NOT NULL,
    month          date NOT NULL CHECK (extract(day FROM month) = 1),
    party_id       bigint NOT NULL REFERENCES party,
    generation_kwh bigint NOT NULL CHECK (generation_kwh >= 0),
    mechanism_kwh  bigint NOT NULL CHECK (mechanism_kwh >= 0),
    carry_before_kwh integer NOT NULL CHECK (carry_before_kwh BETWEEN 0 AND 999),
    issued_mwh     bigint NOT NULL CHECK (issued_mwh >= 0),
    carry_after_kwh integer NOT NULL CHECK (carry_after_kwh BETWEEN 0 AND 999),
    source         text NOT NULL,                                   -- 'intervals', 'entered'
    entry_id       bigint REFERENCES green_entry,
    at             timestamptz NOT NULL,
    actor          text NOT NULL,
    PRIMARY KEY (unit_id, month),
    CHECK (greatest(0, generation_kwh - mechanism_kwh) + carry_before_kwh = issued_mwh * 1000 + carry_after_kwh),
    CHECK ((issued_mwh = 0) = (entry_id IS NULL))
);
CREATE TABLE green_batch (                                          -- what stands on the certificates of a month
    entry_id       bigint PRIMARY KEY REFERENCES green_entry,
    party_id       bigint NOT NULL REFERENCES party,
    unit_id        text NOT NULL,
    plant          text NOT NULL,
    energy         text NOT NULL,
    month          date NOT NULL CHECK (extract(day FROM month) = 1),
    is_tradable    boolean NOT NULL,
    serials        int8range NOT NULL,
    EXCLUDE USING gist (serials WITH &&)
);

CREATE TABLE green_place (                                          -- where each number is now: the fold of the postings
    serials        int8range PRIMARY KEY,
    account        text NOT NULL,
    party_id       bigint REFERENCES party,
    batch_id       bigint NOT NULL REFERENCES green_batch,
    is_traded      boolean NOT NULL,
    CONSTRAINT at_one_place EXCLUDE USING gist (serials WITH &&)
);
CREATE INDEX green_place_account ON green_place (account);

CREATE TABLE green_sale (
    sale_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    seller_id      bigint NOT NULL REFERENCES party,
    buyer_id       bigint REFERENCES party CHECK (buyer_id <> seller_id), -- null: to whoever takes it
    mwh            bigint NOT NULL CHECK (mwh > 0),
    price_ticks    bigint NOT NULL CHECK (price_ticks >= 0),        -- 0.01 yuan per certificate
    ends_at        timestamptz NOT NULL,
    state          text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'sold', 'withdrawn', 'lapsed')),
    client_key     text NOT NULL,
    at             timestamptz NOT NULL,
    actor          text NOT NULL,
    UNIQUE (seller_id, client_key)
);
CREATE INDEX green_sale_open ON green_sale (state, ends_at);
CREATE TABLE green_sale_move (before text NOT NULL, deed text NOT NULL, after text NOT NULL, PRIMARY KEY (before, deed));
INSERT INTO green_sale_move VALUES ('', 'offer', 'open'), ('open', 'sell', 'sold'), ('open', 'withdraw', 'withdrawn'),
    ('open', 'lapse', 'lapsed');

CREATE TABLE green_retirement (
    entry_id       bigint PRIMARY KEY REFERENCES green_entry,
    party_id       bigint NOT NULL REFERENCES party,
    proof_no       text NOT NULL UNIQUE CHECK (proof_no ~ '^[A-Z0-9-]{20,40}$'), -- cannot be guessed
    used_by        text NOT NULL CHECK (length(used_by) BETWEEN 1 AND 200),
    purpose        text NOT NULL CHECK (length(purpose) BETWEEN 1 AND 300),
    first_month    date NOT NULL CHECK (extract(day FROM first_month) = 1),
    last_month     date NOT NULL CHECK (extract(day FROM last_month) = 1 AND last_month >= first_month),
    mwh            bigint NOT NULL CHECK (mwh > 0),
    at             timestamptz NOT NULL
);
CREATE INDEX green_retirement_party ON green_retirement (party_id, entry_id);

-- A posting moves its numbers: out of a place that has all of them, into a place of its own. Two movers of the same
-- number meet at the row of its place; the second finds it gone.
CREATE FUNCTION green_move() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    p green_place;
    batch bigint;
    traded boolean;
BEGIN
    IF NEW.mwh < 0 THEN
        IF NEW.kind = 'issue' THEN RETURN NULL; END IF;             -- out of the source: nothing lay there
        SELECT * INTO p FROM green_place WHERE serials @> NEW.serials AND account = NEW.account FOR UPDATE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'certificates %: not at %', NEW.serials, NEW.account
                USING ERRCODE = 'check_violation', CONSTRAINT = 'green_not_there';
        END IF;
        DELETE FROM green_place WHERE serials = p.serials;
        INSERT INTO green_place
            SELECT r, p.account, p.party_id, p.batch_id, p.is_traded
            FROM unnest(ARRAY[int8range(lower(p.serials), lower(NEW.serials)),
                              int8range(upper(NEW.serials), upper(p.serials))]) r WHERE NOT isempty(r);
        RETURN NULL;
    END IF;
    SELECT b.entry_id INTO batch FROM green_batch b WHERE b.serials @> NEW.serials;
    traded := EXISTS (SELECT FROM green_posting g WHERE g.kind = 'transfer' AND g.mwh > 0 AND g.serials && NEW.serials);
    INSERT INTO green_place VALUES (NEW.serials, NEW.account, NEW.party_id, batch, traded);
    RETURN NULL;
END $$;
CREATE TRIGGER moves AFTER INSERT ON green_posting FOR EACH ROW EXECUTE FUNCTION green_move();

-- At commit: the entry is complete, of a shape its kind allows, and by somebody who may.
CREATE FUNCTION green_check() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    own bigint := CASE WHEN current_setting('app.role', true) = 'customer'
                       THEN coalesce(nullif(current_setting('app.party_id', true), '')::bigint, 0) END;
    e green_entry;
    bad text;
BEGIN
    SELECT * INTO e FROM green_entry WHERE entry_id = NEW.entry_id;
    SELECT CASE
        WHEN o.account IS NULL OR i.account IS NULL THEN 'does not add up to zero'
        WHEN NOT CASE e.kind
            WHEN 'issue' THEN o.account = 'issued/' || i.party_id AND i.account = 'held/' || i.party_id
            WHEN 'lock' THEN o.account = 'held/' || o.party_id AND i.account LIKE 'locked/%' AND i.party_id = o.party_id
            WHEN 'release' THEN o.account LIKE 'locked/%' AND i.account = 'held/' || o.party_id
            WHEN 'transfer' THEN o.party_id <> i.party_id AND i.account = 'held/' || i.party_id
                AND (o.account LIKE 'locked/%' OR (o.account = 'held/' || o.party_id AND e.contract_id IS NOT NULL))
            WHEN 'retire' THEN o.account = 'held/' || o.party_id AND i.account = 'retired/' || o.party_id
                AND EXISTS (SELECT FROM green_retirement r WHERE r.entry_id = e.entry_id AND r.party_id = o.party_id)
            WHEN 'expire' THEN o.account ~ '^(held|locked)/' AND i.account = 'expired'
            END THEN 'is no move of its kind'
        WHEN e.kind IN ('lock', 'transfer') AND NOT EXISTS (
            SELECT FROM green_batch b WHERE b.serials @> o.serials AND b.is_tradable) THEN 'is not for trade'
        WHEN e.kind = 'lock' AND EXISTS (SELECT FROM green_posting g WHERE g.kind = 'transfer' AND g.mwh > 0
                                         AND g.entry_id < e.entry_id AND g.serials && o.serials) THEN 'was traded already'
        WHEN e.kind IN ('lock', 'release') AND NOT EXISTS (
            SELECT FROM green_sale s
            WHERE s.seller_id = o.party_id
              AND 'locked/' || s.seller_id || '/' || s.sale_id IN (o.account, i.account)) THEN 'is for no sale'
        WHEN own IS NOT NULL AND NOT CASE
            WHEN e.kind IN ('lock', 'release', 'retire') THEN o.party_id = own
            WHEN e.kind = 'transfer' AND e.contract_id IS NULL THEN i.party_id = own AND EXISTS (
                SELECT FROM green_sale s WHERE o.account = 'locked/' || s.seller_id || '/' || s.sale_id
                AND coalesce(s.buyer_id, own) = own AND e.at < s.ends_at)
            ELSE false END THEN 'is not theirs to make'
        END INTO bad
    FROM (SELECT * FROM green_posting WHERE entry_id = NEW.entry_id AND mwh < 0) o
    FULL JOIN (SELECT * FROM green_posting WHERE entry_id = NEW.entry_id AND mwh > 0) i ON o.serials = i.serials
    ORDER BY 1 NULLS LAST LIMIT 1;
    IF bad IS NOT NULL THEN
        RAISE EXCEPTION 'green entry % (%): %', NEW.entry_id, e.kind, bad
            USING ERRCODE = 'check_violation', CONSTRAINT = 'green_entry_shape';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER complete AFTER INSERT ON green_posting DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION green_check();
CREATE FUNCTION green_check_entry() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM green_posting WHERE entry_id = NEW.entry_id) THEN
        RAISE EXCEPTION 'green entry % moves nothing', NEW.entry_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'green_entry_shape';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER complete AFTER INSERT ON green_entry DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION green_check_entry();

CREATE FUNCTION keep_green_sale() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF to_jsonb(NEW) - 'state' IS DISTINCT FROM to_jsonb(OLD) - 'state'
       OR NOT EXISTS (SELECT FROM green_sale_move WHERE before = OLD.state AND after = NEW.state) THEN
        RAISE EXCEPTION 'sale %: % -> % is no move of a sale', OLD.sale_id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER moves BEFORE UPDATE ON green_sale FOR EACH ROW EXECUTE FUNCTION keep_green_sale();

-- The next free number. Whoever issues holds the lock, so nobody else draws the same one.
CREATE FUNCTION green_next_serial() RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT pg_advisory_xact_lock(46, 0);
    SELECT coalesce(max(upper(serials)), 1) FROM green_batch
$$;
-- A sale is over when nothing is left of it, whoever took the last.
CREATE FUNCTION green_sale_exhausted(of_sale bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE green_sale s SET state = 'sold' WHERE sale_id = of_sale AND state = 'open'
      AND NOT EXISTS (SELECT FROM green_place p WHERE p.account = 'locked/' || s.seller_id || '/' || s.sale_id)
$$;
-- What anybody may ask about a proof: does it stand, and for how much.
CREATE FUNCTION green_proof(no text) RETURNS TABLE (mwh bigint, first_month date, last_month date, retired_on date)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT r.mwh, r.first_month, r.last_month, (r.at AT TIME ZONE 'Asia/Shanghai')::date
    FROM green_retirement r
    WHERE r.proof_no = no AND r.mwh = (SELECT sum(g.mwh) FROM green_posting g
                                       WHERE g.entry_id = r.entry_id AND g.account = 'retired/' || r.party_id)
$$;

-- ---- who may see and add ---------------------------------------------------------------------------------------------

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['green_plant', 'green_entry', 'green_posting', 'green_month', 'green_batch', 'green_sale_move',
                             'green_retirement'] LOOP
        EXECUTE format('CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION keep_settlement()', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['green_plant', 'green_entry', 'green_posting', 'green_month', 'green_batch', 'green_place',
                             'green_sale', 'green_sale_move', 'green_retirement'] LOOP
        EXECUTE format('GRANT SELECT ON %I TO shoudian_api, shoudian_worker', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['green_plant', 'green_entry', 'green_posting', 'green_month', 'green_batch', 'green_place',
                             'green_sale', 'green_retirement'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY of_everybody ON %I TO shoudian_worker USING (true) WITH CHECK (true)', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['green_next_serial()', 'green_sale_exhausted(bigint)', 'green_proof(text)'] LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', t);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO shoudian_api, shoudian_worker', t);
    END LOOP;
END $$;
CREATE TRIGGER kept BEFORE DELETE ON green_sale FOR EACH ROW EXECUTE FUNCTION keep_settlement();
GRANT INSERT ON green_plant, green_entry, green_posting, green_month, green_batch, green_sale, green_retirement
    TO shoudian_api, shoudian_worker;
GRANT UPDATE (state) ON green_sale TO shoudian_api, shoudian_worker;

CREATE POLICY of_the_market ON green_batch FOR SELECT TO shoudian_api
    USING (app_reads_market() OR current_setting('app.role', true) = 'customer');
CREATE POLICY issued_by_staff ON green_batch FOR INSERT TO shoudian_api WITH CHECK (app_is_staff());
CREATE POLICY of_the_market ON green_plant FOR SELECT TO shoudian_api
    USING (app_reads_market() OR current_setting('app.role', true) = 'customer');
CREATE POLICY entered_by_staff ON green_plant FOR INSERT TO shoudian_api WITH CHECK (app_is_staff());
CREATE POLICY of_the_party ON green_month FOR SELECT TO shoudian_api USING (app_reads_market() OR app_has_party(party_id));
CREATE POLICY issued_by_staff ON green_month FOR INSERT TO shoudian_api WITH CHECK (app_is_staff());
CREATE POLICY of_the_party ON green_posting FOR SELECT TO shoudian_api
    USING (app_reads_market() OR app_has_party(party_id));
CREATE POLICY by_the_market ON green_posting FOR INSERT TO shoudian_api   -- by whom and where to: green_check
    WITH CHECK (current_setting('app.role', true) IN ('staff', 'customer'));
CREATE POLICY of_whom_it_moves ON green_entry FOR SELECT TO shoudian_api
    USING (app_reads_market() OR actor = current_setting('app.actor', true)
           OR EXISTS (SELECT FROM green_posting g WHERE g.entry_id = green_entry.entry_id));
CREATE POLICY by_the_market ON green_entry FOR INSERT TO shoudian_api
    WITH CHECK (current_setting('app.role', true) IN ('staff', 'customer'));
CREATE POLICY of_the_market ON green_sale FOR SELECT TO shoudian_api
    USING (app_reads_market() OR app_has_party(seller_id) OR app_has_party(buyer_id)
           OR (buyer_id IS NULL AND current_setting('app.role', true) = 'customer'));
CREATE POLICY offered_by_the_party ON green_sale FOR INSERT TO shoudian_api WITH CHECK (app_has_party(seller_id));
CREATE POLICY moved_by_the_party ON green_sale FOR UPDATE TO shoudian_api
    USING (app_has_party(seller_id)) WITH CHECK (app_has_party(seller_id));
CREATE POLICY of_the_party ON green_place FOR SELECT TO shoudian_api
    USING (app_reads_market() OR app_has_party(party_id)
           OR EXISTS (SELECT FROM green_sale s WHERE s.state = 'open'
                      AND green_place.account = 'locked/' || s.seller_id || '/' || s.sale_id));
CREATE POLICY of_the_party ON green_retirement FOR SELECT TO shoudian_api USING (app_reads_market() OR app_has_party(party_id));
CREATE POLICY by_the_party ON green_retirement FOR INSERT TO shoudian_api WITH CHECK (app_has_party(party_id));
