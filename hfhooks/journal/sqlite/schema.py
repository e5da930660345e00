"""The tables, and how those of earlier versions become like them."""

import sqlite3
from pathlib import Path

from hfhooks.errors import JournalError

__all__ = ["VERSION", "make_schema"]

VERSION = 3
UNFINISHED = "status IN ('queued', 'running', 'retrying')"
ONCE = "webhook_id IS NOT NULL AND origin <> 'replay'"
INDEXES = f"""
CREATE INDEX deliveries_unfinished ON deliveries (id) WHERE {UNFINISHED};
CREATE UNIQUE INDEX deliveries_once ON deliveries (endpoint, webhook_id)
    WHERE {ONCE} AND status NOT IN ('failed', 'ignored', 'cancelled');
"""
ENDPOINTS = "CREATE TABLE endpoints (position INTEGER PRIMARY KEY, published TEXT NOT NULL);"
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
    started_at REAL,
    sent_status INTEGER
);
{INDEXES}
-- Apart, because SQLite writes a row anew, with all that is in it, whenever its status changes.
CREATE TABLE bodies (
    delivery_id INTEGER PRIMARY KEY REFERENCES deliveries ON DELETE CASCADE,
    body BLOB NOT NULL
);
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
{ENDPOINTS}
"""
STEPS = {
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
}
"""From a version to the next one."""


def make_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables, or bring those of an earlier version up. Raises `JournalError`."""
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found not in (0, VERSION, *STEPS):
        raise JournalError(
            f"{path} has version {found}, and this hfhooks knows {VERSION}.",
            help="Use the hfhooks that made it, or give this one its own: --state-dir FOLDER",
        )
    scripts = [STEPS[version] for version in range(found, VERSION)] if found else [SCHEMA]
    if found < VERSION:
        steps = "".join(scripts)
        connection.executescript(
            f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {VERSION}; COMMIT;"
        )
