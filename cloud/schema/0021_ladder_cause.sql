-- A corrected month moves where the later months of the year begin in their ladder: a cause of corrections of its own.
ALTER TABLE touched_bill DROP CONSTRAINT touched_bill_cause_check;
ALTER TABLE touched_bill ADD CHECK
    (cause IN ('interval', 'price_file', 'terms', 'package', 'supply_point', 'settlement', 'ladder'));
