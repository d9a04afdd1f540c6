-- Bilateral negotiation 双边协商 and contract transfer 合同转让. Both are chains of events: each row carries the hash of the one
-- before it, nothing is changed afterwards; the state beside them moves only along the tables of cloud/market/negotiation.py
-- and cloud/market/transfer.py.

CREATE TABLE negotiation (
    negotiation_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    title          text NOT NULL CHECK (length(title) BETWEEN 2 AND 120),
    is_green       boolean NOT NULL,
    seller_id      bigint NOT NULL REFERENCES party,
    buyer_id       bigint NOT NULL REFERENCES party CHECK (buyer_id <> seller_id),
    opener_id      bigint NOT NULL REFERENCES party CHECK (opener_id IN (seller_id, buyer_id)),
    seller_unit    text NOT NULL,                                   -- of the invited side: named when it joins
    buyer_unit     text NOT NULL,
    state          text NOT NULL DEFAULT 'invited',
    expires_at     timestamptz NOT NULL,
    opened_at      timestamptz NOT NULL,
    opened_by      text NOT NULL
);
CREATE INDEX negotiation_seller ON negotiation (seller_id, negotiation_id);
CREATE INDEX negotiation_buyer ON negotiation (buyer_id, negotiation_id);
CREATE INDEX negotiation_state ON negotiation (state, expires_at);
CREATE TABLE negotiation_event (
    event_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    negotiation_id integer NOT NULL REFERENCES negotiation,
    number         integer NOT NULL CHECK (number >= 1),
    deed           text NOT NULL,
    party_id       bigint REFERENCES party,                         -- null: the operator or the clock
    actor          text NOT NULL,
    at             timestamptz NOT NULL,
    body           jsonb NOT NULL,
    body_text      text NOT NULL,                                   -- the bytes that are hashed
    before_sha256  text NOT NULL CHECK (length(before_sha256) = 64),
    sha256         text NOT NULL CHECK (length(sha256) = 64),
    UNIQUE (negotiation_id, number)
);
CREATE TABLE negotiation_read (                                     -- how far a person has read: the only thing that is renewed
    negotiation_id integer NOT NULL REFERENCES negotiation,
    user_id        bigint NOT NULL REFERENCES app_user,
    number         integer NOT NULL,
    PRIMARY KEY (negotiation_id, user_id)
);

CREATE TABLE contract_transfer (
    transfer_id    integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    contract_id    text NOT NULL,
    from_version   integer NOT NULL,                                -- the terms that were shown
    side           text NOT NULL CHECK (side IN ('seller', 'buyer')),   -- which side changes hands
    from_id        bigint NOT NULL REFERENCES party,
    to_id          bigint NOT NULL REFERENCES party CHECK (to_id <> from_id),
    other_id       bigint NOT NULL REFERENCES party CHECK (other_id NOT IN (from_id, to_id)),
    to_unit        text NOT NULL DEFAULT '',
    kwh            bigint[] NOT NULL,                               -- by volume of that version
    reason         text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    terms_sha256   text NOT NULL CHECK (length(terms_sha256) = 64), -- what all three agree to
    state          text NOT NULL DEFAULT 'proposed',
    new_contract_id text NOT NULL GENERATED ALWAYS AS
        ('TRF-' || lpad(transfer_id::text, greatest(6, length(transfer_id::text)), '0')) STORED,
    expires_at     timestamptz NOT NULL,
    asked_at       timestamptz NOT NULL,
    asked_by       text NOT NULL,
    FOREIGN KEY (contract_id, from_version) REFERENCES wholesale_contract
);
CREATE INDEX contract_transfer_of ON contract_transfer (contract_id);
CREATE INDEX contract_transfer_state ON contract_transfer (state, expires_at);
CREATE TABLE contract_transfer_event (
    event_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transfer_id    integer NOT NULL REFERENCES contract_transfer,
    deed           text NOT NULL,
    before         text NOT NULL,
    after          text NOT NULL,
    party_id       bigint REFERENCES party,
    actor          text NOT NULL,
    at             timestamptz NOT NULL,
    reason         text NOT NULL DEFAULT '' CHECK (length(reason) <= 1000)
);
CREATE INDEX contract_transfer_event_of ON contract_transfer_event (transfer_id, event_id);

CREATE TABLE negotiation_move (before text NOT NULL, deed text NOT NULL, after text NOT NULL, PRIMARY KEY (before, deed));
INSERT INTO negotiation_move VALUES
    ('', 'open', 'invited'),
    ('invited', 'join', 'negotiating'), ('invited', 'decline', 'declined'), ('invited', 'withdraw', 'withdrawn'),
    ('invited', 'expire', 'expired'),
    ('negotiating', 'offer', 'offered'), ('negotiating', 'withdraw', 'withdrawn'), ('negotiating', 'expire', 'expired'),
    ('offered', 'offer', 'offered'), ('offered', 'retract', 'negotiating'), ('offered', 'accept', 'agreed'),
    ('offered', 'withdraw', 'withdrawn'), ('offered', 'expire', 'expired'),
    ('withdrawn', 'reopen', 'invited'), ('expired', 'reopen', 'invited'), ('declined', 'reopen', 'invited'),
    ('agreed', 'ask_change', 'changing'), ('changing', 'refuse_change', 'agreed'), ('changing', 'allow_change', 'negotiating');
CREATE TABLE transfer_move (before text NOT NULL, deed text NOT NULL, after text NOT NULL, PRIMARY KEY (before, deed));
INSERT INTO transfer_move VALUES
    ('', 'propose', 'proposed'),
    ('proposed', 'take_over', 'taken_over'), ('proposed', 'decline', 'declined'), ('proposed', 'withdraw', 'withdrawn'),
    ('proposed', 'expire', 'expired'),
    ('taken_over', 'consent', 'done'), ('taken_over', 'decline', 'declined'), ('taken_over', 'withdraw', 'withdrawn'),
    ('taken_over', 'expire', 'expired');

CREATE FUNCTION keep_negotiation() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE loose text[] := ARRAY['state', 'seller_unit', 'buyer_unit', 'expires_at'];
BEGIN
    IF to_jsonb(NEW) - loose IS DISTINCT FROM to_jsonb(OLD) - loose
       OR NOT EXISTS (SELECT FROM negotiation_move WHERE before = OLD.state AND after = NEW.state)
       OR (NEW.state <> 'negotiating' AND (NEW.seller_unit, NEW.buyer_unit) <> (OLD.seller_unit, OLD.buyer_unit))
       OR (NEW.state <> 'invited' AND NEW.expires_at <> OLD.expires_at) THEN
        RAISE EXCEPTION 'negotiation %: % -> % is no move of it', OLD.negotiation_id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER moves BEFORE UPDATE ON negotiation FOR EACH ROW EXECUTE FUNCTION keep_negotiation();
CREATE FUNCTION keep_transfer() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE loose text[] := ARRAY['state', 'to_unit', 'new_contract_id']; -- generated: not there yet in a BEFORE trigger
BEGIN
    IF to_jsonb(NEW) - loose IS DISTINCT FROM to_jsonb(OLD) - loose
       OR (NEW.to_unit <> OLD.to_unit AND NEW.state <> 'taken_over')
       OR NOT EXISTS (SELECT FROM transfer_move WHERE before = OLD.state AND after = NEW.state) THEN
        RAISE EXCEPTION 'transfer %: % -> % is no move of it', OLD.transfer_id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER moves BEFORE UPDATE ON contract_transfer FOR EACH ROW EXECUTE FUNCTION keep_transfer();
-- The chain is unbroken and its bytes are its content, whoever writes it; what is agreed gets no further offer.
CREATE FUNCTION keep_chain() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    was negotiation_event;
BEGIN
    PERFORM pg_advisory_xact_lock(46, NEW.negotiation_id);
    SELECT * INTO was FROM negotiation_event WHERE negotiation_id = NEW.negotiation_id ORDER BY number DESC LIMIT 1;
    IF NEW.number <> coalesce(was.number, 0) + 1
       OR NEW.before_sha256 <> coalesce(was.sha256, repeat('0', 64))
       OR NEW.sha256 <> encode(sha256(convert_to(NEW.before_sha256 || NEW.body_text, 'UTF8')), 'hex')
       OR NEW.body_text::jsonb -> 'body' IS DISTINCT FROM NEW.body THEN
        RAISE EXCEPTION 'negotiation %: event % breaks the chain', NEW.negotiation_id, NEW.number
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER chained BEFORE INSERT ON negotiation_event FOR EACH ROW EXECUTE FUNCTION keep_chain();

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['negotiation_event', 'contract_transfer_event', 'negotiation_move', 'transfer_move'] LOOP
        EXECUTE format('CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION keep_settlement()', t);
        EXECUTE format('GRANT SELECT ON %I TO shoudian_api, shoudian_worker', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['negotiation', 'contract_transfer'] LOOP
        EXECUTE format('CREATE TRIGGER kept BEFORE DELETE ON %I FOR EACH ROW EXECUTE FUNCTION keep_settlement()', t);
        EXECUTE format('GRANT SELECT, INSERT ON %I TO shoudian_api, shoudian_worker', t);
    END LOOP;
END $$;
GRANT INSERT ON negotiation_event, contract_transfer_event TO shoudian_api, shoudian_worker;
GRANT SELECT, INSERT, UPDATE ON negotiation_read TO shoudian_api;
GRANT UPDATE (state, seller_unit, buyer_unit, expires_at) ON negotiation TO shoudian_api, shoudian_worker;
GRANT UPDATE (state, to_unit) ON contract_transfer TO shoudian_api, shoudian_worker;

ALTER TABLE negotiation ENABLE ROW LEVEL SECURITY;                  -- a room is its two parties'; who oversees reads
CREATE POLICY of_both ON negotiation FOR SELECT TO shoudian_api
    USING (app_reads_market() OR app_has_party(seller_id) OR app_has_party(buyer_id));
CREATE POLICY opened_by_a_party ON negotiation FOR INSERT TO shoudian_api WITH CHECK (app_has_party(opener_id));
CREATE POLICY moved_by_both ON negotiation FOR UPDATE TO shoudian_api
    USING (app_is_staff() OR app_has_party(seller_id) OR app_has_party(buyer_id))
    WITH CHECK (app_is_staff() OR app_has_party(seller_id) OR app_has_party(buyer_id));
ALTER TABLE negotiation_event ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_the_room ON negotiation_event FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM negotiation n WHERE n.negotiation_id = negotiation_event.negotiation_id));
CREATE POLICY by_a_party ON negotiation_event FOR INSERT TO shoudian_api
    WITH CHECK (EXISTS (SELECT FROM negotiation n WHERE n.negotiation_id = negotiation_event.negotiation_id)
                AND (app_has_party(party_id) OR (app_is_staff() AND party_id IS NULL)));
ALTER TABLE negotiation_read ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON negotiation_read TO shoudian_api
    USING ('user:' || user_id = current_setting('app.actor', true))
    WITH CHECK ('user:' || user_id = current_setting('app.actor', true));
ALTER TABLE contract_transfer ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_the_three ON contract_transfer FOR SELECT TO shoudian_api
    USING (app_reads_market() OR app_has_party(from_id) OR app_has_party(to_id) OR app_has_party(other_id));
CREATE POLICY asked_by_its_party ON contract_transfer FOR INSERT TO shoudian_api WITH CHECK (app_has_party(from_id));
CREATE POLICY moved_by_the_three ON contract_transfer FOR UPDATE TO shoudian_api
    USING (app_has_party(from_id) OR app_has_party(to_id) OR app_has_party(other_id))
    WITH CHECK (app_has_party(from_id) OR app_has_party(to_id) OR app_has_party(other_id));
CREATE POLICY of_a_transfer ON wholesale_contract FOR SELECT TO shoudian_api -- who may take over sees what it is
    USING (EXISTS (SELECT FROM contract_transfer t WHERE (t.contract_id, t.from_version)
                   = (wholesale_contract.contract_id, wholesale_contract.version)));
ALTER TABLE contract_transfer_event ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_the_transfer ON contract_transfer_event FOR SELECT TO shoudian_api
    USING (EXISTS (SELECT FROM contract_transfer c WHERE c.transfer_id = contract_transfer_event.transfer_id));
CREATE POLICY by_the_three ON contract_transfer_event FOR INSERT TO shoudian_api
    WITH CHECK (app_has_party(party_id)
                AND EXISTS (SELECT FROM contract_transfer c WHERE c.transfer_id = contract_transfer_event.transfer_id));

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['negotiation', 'negotiation_event', 'contract_transfer', 'contract_transfer_event'] LOOP
        EXECUTE format('CREATE POLICY of_everybody ON %I TO shoudian_worker USING (true) WITH CHECK (true)', t);
    END LOOP;
END $$;
