-- What of a call auction was not filled and went on as an order of the rolling phase after it, in the order of its number.

CREATE UNIQUE INDEX rolling_session_after ON rolling_session (session_id) WHERE session_id IS NOT NULL AND state <> 'cancelled';
CREATE TABLE session_rest (
    seq            bigint NOT NULL REFERENCES bid_event,            -- the declaration
    place          integer NOT NULL CHECK (place >= 0),             -- the entry in it
    session_id     integer NOT NULL REFERENCES trading_session,
    party_id       bigint NOT NULL REFERENCES party,
    rolling_id     integer NOT NULL REFERENCES rolling_session,
    order_seq      bigint REFERENCES rolling_event,                 -- null: it did not go on, for the reason given
    reason         text NOT NULL DEFAULT '',
    at             timestamptz NOT NULL,
    PRIMARY KEY (seq, place),
    CHECK ((order_seq IS NULL) = (reason <> ''))
);
CREATE INDEX session_rest_of ON session_rest (session_id, seq);
CREATE TRIGGER kept BEFORE UPDATE OR DELETE ON session_rest FOR EACH ROW EXECUTE FUNCTION keep_rows();
CREATE TRIGGER kept_whole BEFORE TRUNCATE ON session_rest EXECUTE FUNCTION keep_settlement();
ALTER TABLE session_rest ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT ON session_rest TO shoudian_worker;
GRANT SELECT ON session_rest TO shoudian_api;
CREATE POLICY of_everybody ON session_rest TO shoudian_worker USING (true) WITH CHECK (true);
CREATE POLICY of_the_party ON session_rest FOR SELECT TO shoudian_api USING (app_reads_market() OR app_has_party(party_id));
