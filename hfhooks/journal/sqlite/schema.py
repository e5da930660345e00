"""The tables, and the steps by which those of earlier versions become like them."""

__all__ = ["COLUMNS", "ONCE", "SCHEMA", "STEPS", "UNFINISHED", "VERSION"]

VERSION = 5
# SQLite fills a table of its own for each list of more than two that something may be IN, which
# takes longer than all else that is done to a delivery.
UNFINISHED = "(status = 'queued' OR status = 'running' OR status = 'retrying')"
IS_HANDLED_ONCE = "status <> 'failed' AND status <> 'ignored' AND status <> 'cancelled'"
ONCE = f"webhook_id IS NOT NULL AND origin <> 'replay' AND {IS_HANDLED_ONCE}"
INDEXES = f"""
CREATE INDEX deliveries_unfinished ON deliveries (status) WHERE {UNFINISHED};
CREATE UNIQUE INDEX deliveries_once ON deliveries (endpoint, webhook_id) WHERE {ONCE};
"""
PENDING = "CREATE INDEX deliveries_pending_after ON deliveries (id) WHERE pending_after;"
ENDPOINTS = "CREATE TABLE endpoints (position INTEGER PRIMARY KEY, published TEXT NOT NULL);"
META = "CREATE TABLE meta (made_by TEXT NOT NULL); INSERT INTO meta VALUES ('');"
ATTEMPTS = """
CREATE VIEW attempts AS
    SELECT id AS delivery_id, 1 AS number, first_started_at AS started_at,
        first_duration AS duration, first_status AS status, first_http_status AS http_status,
        first_answer AS answer, first_error AS error
    FROM deliveries WHERE first_status IS NOT NULL
    UNION ALL
    SELECT delivery_id, number, started_at, duration, status, http_status, answer, error
    FROM further_attempts;
"""
SCHEMA = f"""
CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint TEXT NOT NULL,
    received_at REAL NOT NULL,
    webhook_id TEXT,
    event TEXT,
    repo TEXT,
    query TEXT NOT NULL,
    headers TEXT NOT NULL,
    origin TEXT NOT NULL DEFAULT 'hub',
    status TEXT NOT NULL,
    due_at REAL,
    is_pause_asked INTEGER NOT NULL DEFAULT 0,
    attempt_count INTEGER NOT NULL DEFAULT 0,
    started_at REAL, -- of the last attempt or, where it is retrying, since when it waits
    sent_status INTEGER,
    first_started_at REAL,
    first_duration REAL,
    first_status TEXT,
    first_http_status INTEGER,
    first_answer BLOB,
    first_error TEXT,
    pending_after INTEGER NOT NULL DEFAULT 0
);
{INDEXES}
{PENDING}
-- Apart, because SQLite writes a row anew, with all that is in it, whenever its status changes, and
-- because whoever looks through all rows would have to read their bodies.
CREATE TABLE bodies (
    -- Not null, so that it is noticed where the words that make it the row's number are damaged.
    delivery_id INTEGER NOT NULL PRIMARY KEY REFERENCES deliveries ON DELETE CASCADE,
    body BLOB NOT NULL
);
-- The second attempt and those after it.
CREATE TABLE further_attempts (
    delivery_id INTEGER NOT NULL REFERENCES deliveries ON DELETE CASCADE,
    number INTEGER NOT NULL,
    started_at REAL NOT NULL,
    duration REAL NOT NULL,
    status TEXT NOT NULL,
    http_status INTEGER,
    answer BLOB NOT NULL,
    error TEXT,
    PRIMARY KEY (delivery_id, number)
) WITHOUT ROWID;
{ATTEMPTS}
{ENDPOINTS}
{META}
"""
# Version 1 noted an attempt that had begun among those that have ended, and knew no duplicates.
STEPS = {
    1: """
DROP INDEX deliveries_webhook_id;
CREATE TABLE bodies (
    delivery_id INTEGER PRIMARY KEY REFERENCES deliveries ON DELETE CASCADE, body BLOB NOT NULL
);
INSERT INTO bodies SELECT id, body FROM deliveries;
ALTER TABLE deliveries DROP COLUMN body;
ALTER TABLE deliveries ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN started_at REAL;
UPDATE deliveries SET
    attempts = (SELECT count(*) FROM attempts WHERE delivery_id = id),
    started_at = (SELECT max(started_at) FROM attempts WHERE delivery_id = id);
UPDATE deliveries SET webhook_id = NULL WHERE NOT is_replay AND status NOT IN ('failed', 'ignored')
    AND EXISTS (SELECT 1 FROM deliveries AS earlier WHERE earlier.endpoint = deliveries.endpoint
        AND earlier.webhook_id = deliveries.webhook_id AND earlier.id < deliveries.id
        AND NOT earlier.is_replay AND earlier.status NOT IN ('failed', 'ignored'));
ALTER TABLE attempts RENAME TO earlier_attempts;
CREATE TABLE attempts (
    delivery_id INTEGER NOT NULL REFERENCES deliveries ON DELETE CASCADE,
    number INTEGER NOT NULL,
    started_at REAL NOT NULL,
    duration REAL NOT NULL,
    status TEXT NOT NULL,
    http_status INTEGER,
    answer BLOB NOT NULL,
    error TEXT,
    PRIMARY KEY (delivery_id, number)
) WITHOUT ROWID;
INSERT INTO attempts SELECT delivery_id, number, started_at, duration, status, http_status,
    coalesce(answer, x''), error FROM earlier_attempts WHERE duration IS NOT NULL;
DROP TABLE earlier_attempts;
CREATE UNIQUE INDEX deliveries_once ON deliveries (endpoint, webhook_id)
    WHERE webhook_id IS NOT NULL AND NOT is_replay AND status NOT IN ('failed', 'ignored');
""",
    2: f"""
ALTER TABLE deliveries ADD COLUMN origin TEXT NOT NULL DEFAULT 'hub';
UPDATE deliveries SET origin = 'replay' WHERE is_replay;
DROP INDEX deliveries_once;
DROP INDEX deliveries_unfinished;
ALTER TABLE deliveries DROP COLUMN is_replay;
ALTER TABLE deliveries RENAME COLUMN attempts TO attempt_count;
ALTER TABLE deliveries ADD COLUMN is_pause_asked INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN sent_status INTEGER;
UPDATE attempts SET status = CASE WHEN error IS NOT NULL AND http_status = 500 THEN 'raised'
    ELSE 'refused' END WHERE status = 'failed';
{INDEXES}
{ENDPOINTS}
""",
    3: f"""
DROP INDEX deliveries_once;
DROP INDEX deliveries_unfinished;
ALTER TABLE deliveries ADD COLUMN first_started_at REAL;
ALTER TABLE deliveries ADD COLUMN first_duration REAL;
ALTER TABLE deliveries ADD COLUMN first_status TEXT;
ALTER TABLE deliveries ADD COLUMN first_http_status INTEGER;
ALTER TABLE deliveries ADD COLUMN first_answer BLOB;
ALTER TABLE deliveries ADD COLUMN first_error TEXT;
UPDATE deliveries SET (first_started_at, first_duration, first_status, first_http_status,
    first_answer, first_error) = (SELECT started_at, duration, status, http_status, answer, error
    FROM attempts WHERE delivery_id = id AND number = 1);
DELETE FROM attempts WHERE number = 1;
ALTER TABLE attempts RENAME TO further_attempts;
{ATTEMPTS}
{INDEXES}
{META}
""",
    4: f"""
ALTER TABLE deliveries ADD COLUMN pending_after INTEGER NOT NULL DEFAULT 0;
{PENDING}
""",
}
"""From a version to the next one."""
COLUMNS = {5: "pending_after", 4: "first_status", 1: "body", 2: "is_replay", 3: "origin"}
"""Columns of deliveries by which versions are told, the first that there is."""
