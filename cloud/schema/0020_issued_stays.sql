-- What was issued stays so: when, by whom and due when are said once, and a bill that gave way to another never comes back.
CREATE FUNCTION issued_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'bill % is %: it stays as it was issued', OLD.bill_id, OLD.state
        USING ERRCODE = 'check_violation', CONSTRAINT = 'issued_stays';
END $$;
CREATE TRIGGER issued_stays BEFORE UPDATE ON bill FOR EACH ROW
    WHEN (OLD.state IN ('issued', 'superseded')
          AND ((OLD.issued_at, OLD.issued_by, OLD.due_date) IS DISTINCT FROM (NEW.issued_at, NEW.issued_by, NEW.due_date)
               OR (NEW.state <> OLD.state AND (OLD.state, NEW.state) <> ('issued', 'superseded'))))
    EXECUTE FUNCTION issued_stays();

-- Settlement tables are added to only, and are not emptied either, not even by the owner of the tables.
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['market', 'market_rule', 'market_price', 'market_price_day', 'declared_day', 'market_quantity',
                             'wholesale_contract', 'wholesale_volume', 'settlement_run', 'settlement_unit',
                             'settlement_event', 'settlement_energy', 'settlement_work', 'statement', 'statement_line',
                             'statement_hold', 'statement_event', 'settlement_query', 'settlement_answer',
                             'settlement_retail', 'statement_move', 'payment_order', 'money_request', 'provider_call',
                             'statement_difference', 'collection_notice'] LOOP
        EXECUTE format('CREATE TRIGGER never_emptied BEFORE TRUNCATE ON %I
                        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', t);
    END LOOP;
END $$;
