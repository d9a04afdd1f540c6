-- Contracts: their life, papers, signatures, seals, disputes, requests, deviations, search. Rows are only added; of a
-- contract and a paper only what their guards name moves, along contract_move and paper_move (cloud/contracts/contract.py).

-- Texts of the clause library and templates: every version, approved by another person than wrote it.
CREATE TABLE contract_text (
    kind           text NOT NULL CHECK (kind IN ('clause', 'template')),
    text_id        text NOT NULL CHECK (text_id ~ '^[a-z][a-z0-9-]{1,48}$'),
    version        integer NOT NULL CHECK (version BETWEEN 1 AND 9999),
    title          text NOT NULL CHECK (length(title) BETWEEN 1 AND 200),
    body           text NOT NULL CHECK (length(body) BETWEEN 1 AND 200000), -- TOML: cloud/contracts/{clause,template}.py
    sha256         text NOT NULL CHECK (length(sha256) = 64),
    written_by     text NOT NULL,
    written_at     timestamptz NOT NULL,
    PRIMARY KEY (kind, text_id, version)
);
CREATE TABLE contract_text_decision (
    decision_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind           text NOT NULL,
    text_id        text NOT NULL,
    version        integer NOT NULL,
    deed           text NOT NULL CHECK (deed IN ('approve', 'refuse', 'withdraw')),
    from_day       date NOT NULL,                                   -- of an approval: in force from; of a withdrawal: not from
    reason         text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    actor          text NOT NULL CHECK (actor ~ '^user:[0-9]+$'),
    at             timestamptz NOT NULL,
    FOREIGN KEY (kind, text_id, version) REFERENCES contract_text
);
CREATE INDEX contract_text_decision_of ON contract_text_decision (kind, text_id, version, decision_id);

CREATE TABLE contract (
    contract_id    text PRIMARY KEY CHECK (contract_id ~ '^[A-Za-z0-9_.-]{1,64}$'),
    kind           text NOT NULL CHECK (kind IN ('wholesale', 'agency', 'retail', 'green', 'confirmation')),
    source         text NOT NULL CHECK (length(source) BETWEEN 1 AND 200),  -- 'studio', 'session:17', 'negotiation:4'
    seller_id      bigint NOT NULL REFERENCES party,
    buyer_id       bigint NOT NULL REFERENCES party CHECK (buyer_id <> seller_id),
    seller_unit    text NOT NULL,
    buyer_unit     text NOT NULL,
    drafter_id     bigint REFERENCES party,                         -- who draws it up; null: the market operator, or both
    agreed         jsonb,                                           -- wholesale terms that a trade or a negotiation fixed
    start_day      date NOT NULL,
    end_day        date NOT NULL CHECK (end_day > start_day),
    state          text NOT NULL CHECK (state IN ('draft', 'signing', 'declined', 'expired', 'cooling', 'cancelled', 'effective',
                                                  'executing', 'completed', 'terminated', 'void', 'archived')),
    version        integer NOT NULL DEFAULT 1 CHECK (version >= 1), -- of its wholesale terms in force
    shown_at       timestamptz,                                     -- when the other side could first see it
    signed_at      timestamptz,                                     -- the last signature, or the trade
    cooling_until  timestamptz,
    effective_at   timestamptz,
    entered_at     timestamptz NOT NULL,
    entered_by     text NOT NULL
);
CREATE INDEX contract_seller ON contract (seller_id, entered_at);
CREATE INDEX contract_buyer ON contract (buyer_id, entered_at);
CREATE INDEX contract_state ON contract (state);
CREATE INDEX contract_signed ON contract (kind, signed_at);

CREATE TABLE contract_paper (
    contract_id    text NOT NULL REFERENCES contract,
    paper_no       integer NOT NULL CHECK (paper_no >= 1),
    purpose        text NOT NULL CHECK (purpose IN ('main', 'supplement', 'termination', 'transfer', 'confirmation')),
    template_id    text, template_version integer,
    content        jsonb NOT NULL,                                  -- all that is printed: cloud/contracts/document.py
    content_sha256 text NOT NULL CHECK (length(content_sha256) = 64),
    card           jsonb NOT NULL,                                  -- the key terms: cloud/contracts/keyterms.py
    card_sha256    text NOT NULL CHECK (length(card_sha256) = 64),
    body           text NOT NULL,                                   -- the text, for search and comparison
    pdf_sha256     text NOT NULL DEFAULT '',                        -- in the vault, before any signature; '' is printed on demand
    state          text NOT NULL CHECK (state IN ('draft', 'replaced', 'signing', 'declined', 'expired', 'signed', 'withdrawn',
                                                  'issued')),
    sent_at        timestamptz,
    expires_at     timestamptz,                                     -- null: does not expire
    drawn_at       timestamptz NOT NULL,
    drawn_by       text NOT NULL,
    PRIMARY KEY (contract_id, paper_no)
);
CREATE UNIQUE INDEX contract_paper_open ON contract_paper (contract_id) WHERE state IN ('draft', 'signing');
CREATE INDEX contract_paper_template ON contract_paper (template_id, template_version);

-- Who signs a paper, in which order. Nothing but these rows may be signed, each by its own party.
CREATE TABLE contract_signer (
    contract_id    text NOT NULL,
    paper_no       integer NOT NULL,
    order_no       integer NOT NULL CHECK (order_no BETWEEN 1 AND 8),
    party_id       bigint NOT NULL REFERENCES party,
    side           text NOT NULL CHECK (side IN ('seller', 'buyer', 'third')),
    PRIMARY KEY (contract_id, paper_no, order_no),
    UNIQUE (contract_id, paper_no, party_id),
    FOREIGN KEY (contract_id, paper_no) REFERENCES contract_paper
);
-- What a person of the party was shown, and confirmed after a step-up: hash, device and address.
CREATE TABLE contract_confirmation (
    confirmation_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    contract_id    text NOT NULL,
    paper_no       integer NOT NULL,
    party_id       bigint NOT NULL REFERENCES party,
    user_id        bigint NOT NULL REFERENCES app_user,
    content_sha256 text NOT NULL,
    card_sha256    text NOT NULL,
    shown          jsonb NOT NULL,                                  -- card, differences and warnings as they were on the page
    acknowledged   text[] NOT NULL,                                 -- keys of warnings
    address        text NOT NULL,
    device         text NOT NULL,
    at             timestamptz NOT NULL,
    FOREIGN KEY (contract_id, paper_no) REFERENCES contract_paper
);
CREATE TABLE contract_signature (
    contract_id    text NOT NULL,
    paper_no       integer NOT NULL,
    order_no       integer NOT NULL,
    party_id       bigint NOT NULL REFERENCES party,
    user_id        bigint NOT NULL REFERENCES app_user,
    confirmation_id bigint NOT NULL UNIQUE REFERENCES contract_confirmation, -- used once
    certificate_sha256 text NOT NULL CHECK (length(certificate_sha256) = 64),
    before_sha256  text NOT NULL CHECK (length(before_sha256) = 64),
    after_sha256   text NOT NULL CHECK (length(after_sha256) = 64),
    address        text NOT NULL,
    device         text NOT NULL,
    at             timestamptz NOT NULL,
    PRIMARY KEY (contract_id, paper_no, order_no),
    FOREIGN KEY (contract_id, paper_no, order_no) REFERENCES contract_signer
);

-- The seal of a party: its certificate is public; its key, encrypted, only a transaction of the party itself can read.
CREATE TABLE party_seal (
    seal_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    party_id       bigint NOT NULL REFERENCES party,
    certificate    text NOT NULL,
    certificate_sha256 text NOT NULL UNIQUE CHECK (length(certificate_sha256) = 64),
    valid_until    timestamptz NOT NULL,
    made_at        timestamptz NOT NULL,
    made_by        text NOT NULL
);
CREATE INDEX party_seal_of ON party_seal (party_id, seal_id);
CREATE TABLE party_seal_key (
    seal_id        bigint PRIMARY KEY REFERENCES party_seal,
    party_id       bigint NOT NULL REFERENCES party,
    sealed_key     bytea NOT NULL
);

-- The authority that signs seals: its key is sealed by a key outside the database (cloud/security/sealing.py), as theirs are.
CREATE TABLE seal_authority (
    authority_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    certificate    text NOT NULL,
    certificate_sha256 text NOT NULL UNIQUE CHECK (length(certificate_sha256) = 64),
    sealed_key     bytea NOT NULL,
    made_at        timestamptz NOT NULL,
    made_by        text NOT NULL
);

CREATE TABLE contract_event (
    event_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    contract_id    text NOT NULL REFERENCES contract,
    paper_no       integer,
    deed           text NOT NULL CHECK (length(deed) BETWEEN 1 AND 40),
    before         text NOT NULL,
    after          text NOT NULL,
    at             timestamptz NOT NULL,
    actor          text NOT NULL,
    party_id       bigint,                                          -- for which party the actor acted; null: operator or clock
    reason         text NOT NULL DEFAULT '' CHECK (length(reason) <= 1000),
    document       text NOT NULL DEFAULT '',                        -- sha256 of the paper or file that it is founded on
    facts          jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX contract_event_of ON contract_event (contract_id, event_id);

-- 不是我签的: from its row on, until it is decided, nothing about the contract moves but towards void.
CREATE TABLE contract_dispute (
    dispute_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    contract_id    text NOT NULL REFERENCES contract,
    party_id       bigint NOT NULL REFERENCES party,
    reason         text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    opened_by      text NOT NULL,
    address        text NOT NULL,
    device         text NOT NULL,
    at             timestamptz NOT NULL
);
CREATE INDEX contract_dispute_of ON contract_dispute (contract_id);
CREATE TABLE contract_dispute_decision (
    dispute_id     bigint PRIMARY KEY REFERENCES contract_dispute,
    verdict        text NOT NULL CHECK (verdict IN ('upheld', 'rejected')),
    reason         text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    actor          text NOT NULL,
    at             timestamptz NOT NULL
);

-- A request to change, supplement, transfer or end; reviewed, negotiated under the operator's eyes, agreed by a paper.
CREATE TABLE contract_request (
    request_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    contract_id    text NOT NULL REFERENCES contract,
    kind           text NOT NULL CHECK (kind IN ('amend', 'supplement', 'transfer', 'terminate')),
    party_id       bigint NOT NULL REFERENCES party,
    wanted         text NOT NULL CHECK (length(wanted) BETWEEN 1 AND 2000),
    asked_by       text NOT NULL,
    at             timestamptz NOT NULL
);
CREATE INDEX contract_request_of ON contract_request (contract_id);
CREATE TABLE contract_request_step (
    step_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    request_id     bigint NOT NULL REFERENCES contract_request,
    deed           text NOT NULL CHECK (deed IN ('organise', 'refuse', 'say', 'agree', 'fail', 'withdraw', 'draw', 'done')),
    after          text NOT NULL CHECK (after IN ('open', 'negotiating', 'refused', 'agreed', 'failed', 'withdrawn', 'done')),
    note           text NOT NULL CHECK (length(note) <= 2000),
    party_id       bigint,
    actor          text NOT NULL,
    at             timestamptz NOT NULL
);
CREATE INDEX contract_request_step_of ON contract_request_step (request_id, step_id);

-- Contract volume beside energy, a month; a later look with other energy is a later row.
CREATE TABLE contract_deviation (
    deviation_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    contract_id    text NOT NULL REFERENCES contract,
    side           text NOT NULL CHECK (side IN ('seller', 'buyer')),
    month          date NOT NULL CHECK (extract(day FROM month) = 1),
    promised_kwh   bigint NOT NULL,                                 -- of this contract
    all_promised_kwh bigint NOT NULL,                               -- of all contracts of that unit in the month
    actual_kwh     bigint NOT NULL,                                 -- of that unit
    is_whole_month boolean NOT NULL,
    source         text NOT NULL,                                   -- 'settlement_energy', 'interval_day', 'market_quantity'
    at             timestamptz NOT NULL
);
CREATE INDEX contract_deviation_of ON contract_deviation (contract_id, month, deviation_id);

-- One retailer per user and period (国能发监管规〔2024〕76号 art. 23): a signed retail or agency contract holds its accounts.
CREATE TABLE contract_supply (
    contract_id    text NOT NULL REFERENCES contract,
    account_id     text NOT NULL REFERENCES account,
    effective      daterange NOT NULL CHECK (NOT lower_inf(effective) AND NOT upper_inf(effective)),
    released_at    timestamptz,                                     -- disputed with success, or never came into force
    PRIMARY KEY (contract_id, account_id),
    CONSTRAINT one_retailer_a_period
        EXCLUDE USING gist (id_range(account_id, account_id, '[]') WITH &&, effective WITH &&) WHERE (released_at IS NULL)
);

-- Search: pieces of one and two characters of number, names and text. The index is read by contract_matching alone.
CREATE TABLE contract_index (
    contract_id    text PRIMARY KEY REFERENCES contract,
    body           text NOT NULL,
    grams          text[] NOT NULL
);
CREATE INDEX contract_index_grams ON contract_index USING gin (grams);
CREATE FUNCTION contract_matching(wanted text[], needles text[]) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT contract_id FROM contract_index
    WHERE grams @> wanted AND NOT EXISTS (SELECT FROM unnest(needles) n WHERE position(n in body) = 0)
$$;
REVOKE EXECUTE ON FUNCTION contract_matching FROM PUBLIC;
CREATE FUNCTION contract_indexed(id text, of_body text, of_grams text[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO contract_index AS i VALUES (id, of_body, of_grams)
    ON CONFLICT (contract_id) DO UPDATE SET body = excluded.body, grams = excluded.grams
$$;
REVOKE EXECUTE ON FUNCTION contract_indexed FROM PUBLIC;

CREATE SEQUENCE contract_number;                                    -- of contracts that are drawn up here
GRANT USAGE ON SEQUENCE contract_number TO shoudian_api, shoudian_worker;

-- Asked past row-level security: whose a unit is, whether accounts are a party's, and what is public about prices.
CREATE FUNCTION contract_unit_party(unit text) RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    SELECT p.party_id FROM party p WHERE unit ~ '^party:[0-9]{1,18}$' AND p.party_id = substr(unit, 7)::bigint
    UNION ALL SELECT a.party_id FROM account a WHERE a.account_id = unit LIMIT 1
$$;
CREATE FUNCTION contract_identifier(of_party bigint) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    SELECT coalesce((SELECT f.facts->>'usci' FROM party_profile f WHERE f.party_id = of_party
                     ORDER BY f.version DESC LIMIT 1), '')
$$;
CREATE FUNCTION contract_accounts_of(owner bigint, ids text[]) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    SELECT NOT EXISTS (SELECT FROM unnest(ids) i WHERE NOT EXISTS (SELECT FROM account a WHERE a.account_id = i
                                                                   AND a.party_id = owner))
$$;
CREATE FUNCTION contract_held(of_contract text, account text, first date, past date) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT EXISTS (SELECT FROM contract_supply s WHERE s.account_id = account AND s.contract_id <> of_contract
                   AND s.released_at IS NULL AND s.effective && daterange(first, past))
$$;
CREATE FUNCTION contract_published(keys text[], before date)
RETURNS TABLE (key text, of_month date, yuan_per_mwh numeric, from_source text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT DISTINCT ON (m.price_key) m.price_key, m.month, m.value, m.source FROM market_price m
    WHERE m.price_key = ANY(keys) AND m.month <= before AND m.value IS NOT NULL
    ORDER BY m.price_key, m.month DESC, m.entry_id DESC
$$;
-- The average of a month's market is public where at least three contracts make it up.
CREATE FUNCTION contract_traded(months date[]) RETURNS TABLE (mwh numeric, value_yuan numeric)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT sum(v.mwh), sum(v.mwh * v.price_yuan_per_mwh) FROM wholesale_volume v
    WHERE v.month = ANY(months) AND v.version = (SELECT max(l.version) FROM wholesale_contract l
                                                 WHERE l.contract_id = v.contract_id)
    HAVING count(DISTINCT v.contract_id) >= 3 AND sum(v.mwh) > 0
$$;
REVOKE EXECUTE ON FUNCTION contract_unit_party, contract_identifier, contract_accounts_of, contract_held, contract_published, contract_traded
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION contract_unit_party, contract_identifier, contract_accounts_of, contract_held, contract_published, contract_traded
    TO shoudian_api, shoudian_worker;

-- ---- lives ---------------------------------------------------------------------------------------------------------

CREATE TABLE contract_move (before text NOT NULL, deed text NOT NULL, after text NOT NULL, PRIMARY KEY (before, deed));
INSERT INTO contract_move VALUES
    ('', 'draw', 'draft'), ('', 'trade', 'effective'),
    ('draft', 'redraw', 'draft'), ('draft', 'send', 'signing'), ('draft', 'cancel', 'cancelled'),
    ('signing', 'sign', 'signing'), ('signing', 'complete', 'cooling'), ('signing', 'decline', 'declined'),
    ('signing', 'expire', 'expired'), ('signing', 'recall', 'draft'), ('signing', 'void', 'void'),
    ('declined', 'redraw', 'draft'), ('declined', 'cancel', 'cancelled'),
    ('expired', 'extend', 'signing'), ('expired', 'redraw', 'draft'), ('expired', 'cancel', 'cancelled'),
    ('cooling', 'retract', 'cancelled'), ('cooling', 'mature', 'effective'), ('cooling', 'void', 'void'),
    ('effective', 'begin', 'executing'), ('effective', 'amend', 'effective'), ('effective', 'supplement', 'effective'),
    ('effective', 'transfer', 'effective'), ('effective', 'terminate', 'terminated'), ('effective', 'void', 'void'),
    ('executing', 'amend', 'executing'), ('executing', 'supplement', 'executing'), ('executing', 'transfer', 'executing'),
    ('executing', 'complete', 'completed'), ('executing', 'terminate', 'terminated'), ('executing', 'void', 'void'),
    ('completed', 'archive', 'archived'), ('terminated', 'archive', 'archived'), ('void', 'archive', 'archived'),
    ('cancelled', 'archive', 'archived');

CREATE TABLE paper_move (before text NOT NULL, deed text NOT NULL, after text NOT NULL, PRIMARY KEY (before, deed));
INSERT INTO paper_move VALUES
    ('', 'draw', 'draft'), ('', 'issue', 'issued'),
    ('draft', 'replace', 'replaced'), ('draft', 'send', 'signing'), ('draft', 'withdraw', 'withdrawn'),
    ('signing', 'sign', 'signing'), ('signing', 'complete', 'signed'), ('signing', 'decline', 'declined'),
    ('signing', 'expire', 'expired'), ('signing', 'recall', 'withdrawn'), ('signing', 'withdraw', 'withdrawn'),
    ('expired', 'extend', 'signing'), ('expired', 'replace', 'replaced'), ('declined', 'replace', 'replaced');

CREATE FUNCTION contract_is_frozen(id text) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    SELECT EXISTS (SELECT FROM contract_dispute d WHERE d.contract_id = id
                   AND NOT EXISTS (SELECT FROM contract_dispute_decision v WHERE v.dispute_id = d.dispute_id))
$$;
-- Whether a contract's main paper carries every signature it asks for.
CREATE FUNCTION contract_is_signed(id text) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = public, pg_temp AS $$
    SELECT EXISTS (SELECT FROM contract_paper p WHERE p.contract_id = id AND p.purpose = 'main' AND p.state = 'signed')
$$;

CREATE FUNCTION keep_contract() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    loose text[] := ARRAY['state', 'version', 'start_day', 'end_day', 'shown_at', 'signed_at', 'cooling_until', 'effective_at'];
    is_open boolean;
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state NOT IN ('draft', 'effective') OR (NEW.state = 'effective') <> (NEW.kind = 'confirmation') THEN
            RAISE EXCEPTION 'contract %: begins as a draft, or as the confirmation of a trade', NEW.contract_id
                USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
    END IF;
    is_open := OLD.state IN ('draft', 'declined', 'expired');       -- may be drawn up anew, also for other days
    IF to_jsonb(NEW) - loose IS DISTINCT FROM to_jsonb(OLD) - loose
       OR NEW.version < OLD.version OR NEW.start_day <> OLD.start_day AND NOT is_open
       OR NEW.end_day <> OLD.end_day AND NEW.version = OLD.version AND NOT is_open
       OR (OLD.effective_at IS NOT NULL AND NEW.effective_at IS DISTINCT FROM OLD.effective_at)
       OR (NEW.state <> OLD.state
           AND NOT EXISTS (SELECT FROM contract_move m WHERE m.before = OLD.state AND m.after = NEW.state)) THEN
        RAISE EXCEPTION 'contract %: % -> % is no move of a contract', OLD.contract_id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.state NOT IN (OLD.state, 'void') AND contract_is_frozen(OLD.contract_id) THEN
        RAISE EXCEPTION 'contract % is frozen by a dispute', OLD.contract_id USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.state IN ('cooling', 'effective') AND OLD.state <> NEW.state AND NOT contract_is_signed(OLD.contract_id) THEN
        RAISE EXCEPTION 'contract % lacks a signature', OLD.contract_id USING ERRCODE = 'check_violation';
    END IF;
    IF OLD.cooling_until IS NOT NULL AND NEW.cooling_until IS DISTINCT FROM OLD.cooling_until
       OR NEW.state = 'effective' AND OLD.state = 'cooling' AND (NEW.effective_at < OLD.cooling_until OR NEW.effective_at IS NULL)
       THEN
        RAISE EXCEPTION 'contract % is cooling until %', OLD.contract_id, OLD.cooling_until USING ERRCODE = 'check_violation';
    END IF;
    IF current_setting('app.role', true) = 'customer' AND NEW.state <> OLD.state
       AND (NEW.state IN ('effective', 'executing', 'completed', 'terminated', 'void', 'archived', 'expired')) THEN
        RAISE EXCEPTION 'contract %: no party itself makes a contract %', OLD.contract_id, NEW.state
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER moves BEFORE INSERT OR UPDATE ON contract FOR EACH ROW EXECUTE FUNCTION keep_contract();

CREATE FUNCTION keep_paper() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    loose text[] := ARRAY['state', 'sent_at', 'expires_at', 'pdf_sha256'];
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> (CASE WHEN NEW.purpose = 'confirmation' THEN 'issued' ELSE 'draft' END) THEN
            RAISE EXCEPTION 'a paper begins as a draft' USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF to_jsonb(NEW) - loose IS DISTINCT FROM to_jsonb(OLD) - loose
       OR (OLD.pdf_sha256 <> '' AND NEW.pdf_sha256 <> OLD.pdf_sha256)
       OR (NEW.state <> OLD.state
           AND NOT EXISTS (SELECT FROM paper_move m WHERE m.before = OLD.state AND m.after = NEW.state)) THEN
        RAISE EXCEPTION 'paper %/%: % -> % is no move of a paper', OLD.contract_id, OLD.paper_no, OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.state = 'signed' AND EXISTS (
        SELECT FROM contract_signer s WHERE (s.contract_id, s.paper_no) = (OLD.contract_id, OLD.paper_no)
        AND NOT EXISTS (SELECT FROM contract_signature g
                        WHERE (g.contract_id, g.paper_no, g.order_no) = (s.contract_id, s.paper_no, s.order_no)))
       OR NEW.state IN ('signing', 'signed') AND 2 > (
        SELECT count(*) FROM contract_signer s WHERE (s.contract_id, s.paper_no) = (OLD.contract_id, OLD.paper_no)) THEN
        RAISE EXCEPTION 'paper %/% lacks a signature', OLD.contract_id, OLD.paper_no USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER moves BEFORE INSERT OR UPDATE ON contract_paper FOR EACH ROW EXECUTE FUNCTION keep_paper();

-- Signers are named while the paper is a draft, and are the contract's parties.
CREATE FUNCTION keep_signer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM contract_paper p JOIN contract c USING (contract_id)
                   WHERE (p.contract_id, p.paper_no) = (NEW.contract_id, NEW.paper_no) AND p.state = 'draft'
                   AND NEW.party_id = CASE NEW.side WHEN 'seller' THEN c.seller_id WHEN 'buyer' THEN c.buyer_id
                                      ELSE NEW.party_id END) THEN
        RAISE EXCEPTION 'paper %/%: no such signer of a draft', NEW.contract_id, NEW.paper_no
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER of_a_draft BEFORE INSERT ON contract_signer FOR EACH ROW EXECUTE FUNCTION keep_signer();

-- A person confirms and signs for the own party only, whoever wrote the statement that inserts the row.
CREATE FUNCTION keep_signature() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    p contract_paper;
    why text := '';
BEGIN
    SELECT * INTO p FROM contract_paper WHERE (contract_id, paper_no) = (NEW.contract_id, NEW.paper_no) FOR UPDATE;
    IF current_setting('app.role', true) IS DISTINCT FROM 'customer'
       OR current_setting('app.party_id', true) IS DISTINCT FROM NEW.party_id::text
       OR current_setting('app.actor', true) IS DISTINCT FROM 'user:' || NEW.user_id
       OR NOT EXISTS (SELECT FROM app_user u WHERE u.user_id = NEW.user_id AND u.role = 'customer'
                      AND u.party_id = NEW.party_id AND u.disabled_at IS NULL) THEN
        why := 'only a person of the party itself';
    ELSIF NOT holds_seal(NEW.user_id, NEW.party_id, NEW.at) THEN
        why := 'holds no seal of the party';
    ELSIF NOT EXISTS (SELECT FROM user_session s WHERE s.user_id = NEW.user_id AND s.expires_at > NEW.at
                      AND s.proven_at BETWEEN NEW.at - interval '5 minutes' AND NEW.at) THEN
        why := 'no session of this person has just proven itself';
    ELSIF p.state <> 'signing' OR p.expires_at <= NEW.at OR contract_is_frozen(NEW.contract_id) THEN
        why := 'not open for signature';
    ELSIF NOT EXISTS (SELECT FROM contract_signer s WHERE (s.contract_id, s.paper_no, s.party_id)
                      = (NEW.contract_id, NEW.paper_no, NEW.party_id)) THEN
        why := 'no signer of this paper';
    ELSIF TG_TABLE_NAME = 'contract_confirmation' THEN
        IF (NEW.content_sha256, NEW.card_sha256) <> (p.content_sha256, p.card_sha256) THEN
            why := 'something else was shown';
        END IF;
    ELSIF NOT EXISTS (SELECT FROM contract_confirmation f WHERE f.confirmation_id = NEW.confirmation_id
                      AND (f.contract_id, f.paper_no, f.party_id, f.user_id)
                          = (NEW.contract_id, NEW.paper_no, NEW.party_id, NEW.user_id)
                      AND f.at <= NEW.at AND NEW.at < f.at + interval '5 minutes') THEN
        why := 'no fresh confirmation of this person';
    ELSIF NOT EXISTS (SELECT FROM contract_signer s WHERE (s.contract_id, s.paper_no, s.order_no, s.party_id)
                      = (NEW.contract_id, NEW.paper_no, NEW.order_no, NEW.party_id)) THEN
        why := 'another party''s place';
    ELSIF EXISTS (SELECT FROM contract_signer s WHERE (s.contract_id, s.paper_no) = (NEW.contract_id, NEW.paper_no)
                  AND s.order_no < NEW.order_no
                  AND NOT EXISTS (SELECT FROM contract_signature g WHERE (g.contract_id, g.paper_no, g.order_no)
                                  = (s.contract_id, s.paper_no, s.order_no))) THEN
        why := 'not yet its turn';
    ELSIF NOT EXISTS (SELECT FROM party_seal s WHERE s.party_id = NEW.party_id
                      AND s.certificate_sha256 = NEW.certificate_sha256) THEN
        why := 'not the seal of the party';
    END IF;
    IF why <> '' THEN
        RAISE EXCEPTION 'paper %/%: %', NEW.contract_id, NEW.paper_no, why USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER by_the_party BEFORE INSERT ON contract_confirmation FOR EACH ROW EXECUTE FUNCTION keep_signature();
CREATE TRIGGER by_the_party BEFORE INSERT ON contract_signature FOR EACH ROW EXECUTE FUNCTION keep_signature();

-- Four eyes: who wrote a text does not approve it.
CREATE FUNCTION keep_text_decision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.deed = 'approve' AND EXISTS (SELECT FROM contract_text t WHERE (t.kind, t.text_id, t.version)
               = (NEW.kind, NEW.text_id, NEW.version) AND t.written_by = NEW.actor) THEN
        RAISE EXCEPTION 'who wrote a text does not approve it' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER four_eyes BEFORE INSERT ON contract_text_decision FOR EACH ROW EXECUTE FUNCTION keep_text_decision();

CREATE FUNCTION keep_supply() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR (to_jsonb(NEW) - 'released_at' - 'effective')
                           IS DISTINCT FROM (to_jsonb(OLD) - 'released_at' - 'effective')
       OR NOT NEW.effective <@ OLD.effective OR lower(NEW.effective) <> lower(OLD.effective) OR OLD.released_at IS NOT NULL THEN
        RAISE EXCEPTION 'of a supply only the end moves, and only to be earlier' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON contract_supply FOR EACH ROW EXECUTE FUNCTION keep_supply();

CREATE FUNCTION keep_contract_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% can only be added to', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER kept BEFORE DELETE ON contract FOR EACH ROW EXECUTE FUNCTION keep_contract_row();
CREATE TRIGGER kept BEFORE DELETE ON contract_paper FOR EACH ROW EXECUTE FUNCTION keep_contract_row();
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['contract_text', 'contract_text_decision', 'contract_signer', 'contract_confirmation',
                             'contract_signature', 'party_seal', 'party_seal_key', 'seal_authority', 'contract_event', 'contract_dispute',
                             'contract_dispute_decision', 'contract_request', 'contract_request_step', 'contract_deviation',
                             'contract_move', 'paper_move'] LOOP
        EXECUTE format('CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION keep_contract_row()', t);
        IF t <> 'party_seal_key' THEN
            EXECUTE format('GRANT SELECT ON %I TO shoudian_api, shoudian_worker', t);
        END IF;
    END LOOP;
END $$;

-- ---- who may see and add -------------------------------------------------------------------------------------------

GRANT SELECT ON contract, contract_paper, contract_supply TO shoudian_api, shoudian_worker;
GRANT SELECT ON party_seal_key TO shoudian_api;
GRANT EXECUTE ON FUNCTION contract_matching, contract_indexed TO shoudian_api, shoudian_worker;
GRANT INSERT ON contract, contract_paper, contract_signer, contract_event TO shoudian_api, shoudian_worker;
GRANT UPDATE (state, version, start_day, end_day, shown_at, signed_at, cooling_until, effective_at) ON contract
    TO shoudian_api, shoudian_worker;
GRANT UPDATE (state, sent_at, expires_at, pdf_sha256) ON contract_paper TO shoudian_api, shoudian_worker;
GRANT INSERT ON contract_confirmation, contract_signature, party_seal, party_seal_key, contract_dispute,
    contract_dispute_decision, contract_request, contract_request_step, contract_text, contract_text_decision TO shoudian_api;
GRANT INSERT ON contract_supply TO shoudian_api, shoudian_worker;
GRANT UPDATE (effective, released_at) ON contract_supply TO shoudian_api, shoudian_worker;
GRANT INSERT ON contract_request_step, contract_deviation TO shoudian_worker;
GRANT INSERT ON wholesale_contract, wholesale_volume TO shoudian_worker, shoudian_api;

ALTER TABLE contract ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_the_parties ON contract FOR SELECT TO shoudian_api
    USING (app_reads_market() OR ((app_has_party(seller_id) OR app_has_party(buyer_id))
                                  AND (drafter_id IS NULL OR shown_at IS NOT NULL OR app_has_party(drafter_id))));
CREATE POLICY entered_by_a_party ON contract FOR INSERT TO shoudian_api
    WITH CHECK (app_is_staff() OR ((app_has_party(seller_id) OR app_has_party(buyer_id))
                                   AND (drafter_id IS NULL OR app_has_party(drafter_id))));
-- What happened is noted in the name of who is signed in, for the own party.
CREATE FUNCTION app_is_acting(who text, owner bigint) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT who = current_setting('app.actor', true) AND (app_is_staff() OR app_has_party(owner))
$$;
CREATE POLICY moved_by_a_party ON contract FOR UPDATE TO shoudian_api
    USING (app_is_staff() OR app_has_party(seller_id) OR app_has_party(buyer_id))
    WITH CHECK (app_is_staff() OR app_has_party(seller_id) OR app_has_party(buyer_id));
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['contract_paper', 'contract_signer', 'contract_confirmation', 'contract_signature',
                             'contract_event', 'contract_dispute', 'contract_request', 'contract_deviation',
                             'contract_supply'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY of_the_contract ON %I FOR SELECT TO shoudian_api
                        USING (EXISTS (SELECT FROM contract c WHERE c.contract_id = %I.contract_id))', t, t);
    END LOOP;
    EXECUTE 'CREATE POLICY added_to_the_contract ON contract_event FOR INSERT TO shoudian_api
             WITH CHECK (app_is_acting(actor, party_id)
                         AND EXISTS (SELECT FROM contract c WHERE c.contract_id = contract_event.contract_id))';
    FOREACH t IN ARRAY ARRAY['contract_paper', 'contract_signer', 'contract_supply'] LOOP
        EXECUTE format('CREATE POLICY added_to_the_contract ON %I FOR INSERT TO shoudian_api
                        WITH CHECK (EXISTS (SELECT FROM contract c WHERE c.contract_id = %I.contract_id))', t, t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['contract_paper', 'contract_supply'] LOOP
        EXECUTE format('CREATE POLICY moved_with_the_contract ON %I FOR UPDATE TO shoudian_api
                        USING (EXISTS (SELECT FROM contract c WHERE c.contract_id = %I.contract_id))', t, t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['contract_confirmation', 'contract_signature', 'contract_dispute', 'contract_request'] LOOP
        EXECUTE format('CREATE POLICY by_the_party ON %I FOR INSERT TO shoudian_api WITH CHECK (app_has_party(party_id)
                        AND EXISTS (SELECT FROM contract c WHERE c.contract_id = %I.contract_id))', t, t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['contract', 'contract_paper', 'contract_signer', 'contract_confirmation', 'contract_signature',
                             'contract_event', 'contract_dispute', 'contract_request', 'contract_deviation',
                             'contract_supply', 'contract_dispute_decision', 'contract_request_step'] LOOP
        EXECUTE format('CREATE POLICY of_everybody ON %I TO shoudian_worker USING (true) WITH CHECK (true)', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['contract_dispute_decision', 'contract_request_step'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
    END LOOP;
END $$;
CREATE POLICY of_the_dispute ON contract_dispute_decision FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM contract_dispute d WHERE d.dispute_id = contract_dispute_decision.dispute_id));
CREATE POLICY by_staff ON contract_dispute_decision FOR INSERT TO shoudian_api WITH CHECK (app_is_staff());
CREATE POLICY of_the_request ON contract_request_step FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM contract_request r WHERE r.request_id = contract_request_step.request_id));
CREATE POLICY to_the_request ON contract_request_step FOR INSERT TO shoudian_api
    WITH CHECK (EXISTS (SELECT FROM contract_request r WHERE r.request_id = contract_request_step.request_id)
                AND (app_is_staff() OR app_has_party(party_id)));

-- Certificates are shown to everybody who signs; keys to nobody but the party whose seal it is: not to staff, not to the worker.
ALTER TABLE party_seal ENABLE ROW LEVEL SECURITY;
CREATE POLICY shown ON party_seal FOR SELECT TO shoudian_api, shoudian_worker USING (true);
CREATE POLICY made_by_the_party ON party_seal FOR INSERT TO shoudian_api WITH CHECK (app_has_party(party_id));
ALTER TABLE party_seal_key ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_the_party ON party_seal_key FOR SELECT TO shoudian_api USING (app_has_party(party_id));
CREATE POLICY made_by_the_party ON party_seal_key FOR INSERT TO shoudian_api WITH CHECK (app_has_party(party_id)
    AND EXISTS (SELECT FROM party_seal s WHERE s.seal_id = party_seal_key.seal_id AND s.party_id = party_seal_key.party_id));

-- Texts are everybody's to read; written and decided by staff in their own name.
ALTER TABLE contract_text ENABLE ROW LEVEL SECURITY;
CREATE POLICY shown ON contract_text FOR SELECT TO shoudian_api, shoudian_worker USING (true);
CREATE POLICY by_staff ON contract_text FOR INSERT TO shoudian_api
    WITH CHECK (app_is_staff() AND written_by = current_setting('app.actor', true));
ALTER TABLE contract_text_decision ENABLE ROW LEVEL SECURITY;
CREATE POLICY shown ON contract_text_decision FOR SELECT TO shoudian_api, shoudian_worker USING (true);
CREATE POLICY by_staff ON contract_text_decision FOR INSERT TO shoudian_api
    WITH CHECK (app_is_staff() AND actor = current_setting('app.actor', true));
