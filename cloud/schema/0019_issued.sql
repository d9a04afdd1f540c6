-- A look for touched bills asks which were issued since the last one: what changed under a draft is found then.
CREATE INDEX bill_issued_at ON bill (issued_at) WHERE issued_at IS NOT NULL;
