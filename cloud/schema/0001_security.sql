-- Who may do what, and who did. Times are timestamptz (UTC inside).

CREATE TABLE app_user (
    user_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    login          text NOT NULL UNIQUE CHECK (login = lower(login) AND length(login) BETWEEN 3 AND 64),
    password_hash  text NOT NULL,                                   -- argon2id, encoded form
    display_name   text NOT NULL CHECK (length(display_name) BETWEEN 1 AND 120),
    role           text NOT NULL CHECK (role IN ('staff', 'technician', 'customer')),
    party_id       bigint,                                          -- whose rows a customer may see; null for others
    language       text NOT NULL DEFAULT 'zh' CHECK (language IN ('zh', 'en')),
    disabled_at    timestamptz,
    created_at     timestamptz NOT NULL DEFAULT now(),
    CHECK ((role = 'customer') = (party_id IS NOT NULL))
);

CREATE TABLE user_session (
    token_sha256   bytea PRIMARY KEY CHECK (length(token_sha256) = 32), -- the token itself is only in the cookie
    user_id        bigint NOT NULL REFERENCES app_user,
    csrf_token     text NOT NULL,
    created_at     timestamptz NOT NULL,
    seen_at        timestamptz NOT NULL,
    expires_at     timestamptz NOT NULL CHECK (expires_at > created_at)
);
CREATE INDEX user_session_user ON user_session (user_id);

CREATE TABLE sign_in_attempt (
    attempt_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    login          text NOT NULL,
    address        text NOT NULL,
    at             timestamptz NOT NULL,
    succeeded      boolean NOT NULL
);
CREATE INDEX sign_in_attempt_recent ON sign_in_attempt (login, at);

CREATE TABLE audit_event (
    audit_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at             timestamptz NOT NULL,
    actor          text NOT NULL,                                   -- 'user:17', 'job:validate', 'cli:root'
    deed           text NOT NULL,
    subject        text NOT NULL,
    reason         text NOT NULL DEFAULT '',
    facts          jsonb NOT NULL DEFAULT '{}'
);
