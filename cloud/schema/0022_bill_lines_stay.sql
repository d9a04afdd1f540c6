-- A bill that is out keeps the lines it went out with: none can be added to it. One look a statement, not one a line.
CREATE FUNCTION refuse_lines_of_issued_bills() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM added JOIN bill USING (bill_id) WHERE state NOT IN ('draft', 'held')) THEN
        RAISE EXCEPTION 'a line cannot be added to a bill that is out' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER bill_line_stays AFTER INSERT ON bill_line REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_lines_of_issued_bills();
