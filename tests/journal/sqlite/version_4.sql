PRAGMA auto_vacuum = INCREMENTAL;
BEGIN TRANSACTION;
CREATE TABLE bodies (
    -- Not null, so that it is noticed where the words that make it the row's number are damaged.
    delivery_id INTEGER NOT NULL PRIMARY KEY REFERENCES deliveries ON DELETE CASCADE,
    body BLOB NOT NULL
);
INSERT INTO "bodies" VALUES(1,X'7B2261223A20317D');
INSERT INTO "bodies" VALUES(2,X'7B2261223A20317D');
INSERT INTO "bodies" VALUES(3,X'7B2261223A20317D');
INSERT INTO "bodies" VALUES(4,X'7B2261223A20317D');
INSERT INTO "bodies" VALUES(5,X'7B2261223A20317D');
INSERT INTO "bodies" VALUES(6,X'7B2261223A20317D');
INSERT INTO "bodies" VALUES(7,X'7B2261223A20317D');
INSERT INTO "bodies" VALUES(8,X'7B2261223A20317D');
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
    sent_status INTEGER,
    first_started_at REAL,
    first_duration REAL,
    first_status TEXT,
    first_http_status INTEGER,
    first_answer BLOB,
    first_error TEXT
);
INSERT INTO "deliveries" VALUES(1,'train',12.5,'w1','repo.content:update','dataset:me/data','a=1','[["content-type","application/json"]]','hub','succeeded',NULL,0,1,20.0,200,20.0,0.5,'succeeded',200,X'',NULL);
INSERT INTO "deliveries" VALUES(2,'train',12.5,NULL,'repo.content:update','dataset:me/data','a=1','[["content-type","application/json"]]','replay','failed',NULL,0,3,20.0,NULL,20.0,0.5,'raised',500,X'','Traceback 1');
INSERT INTO "deliveries" VALUES(3,'train',12.5,NULL,'repo.content:update','dataset:me/data','a=1','[["content-type","application/json"]]','hub','retrying',4000000020.0,0,1,20.0,NULL,20.0,0.5,'raised',500,X'','Traceback');
INSERT INTO "deliveries" VALUES(4,'train',12.5,NULL,'repo.content:update','dataset:me/data','a=1','[["content-type","application/json"]]','hub','running',NULL,0,1,20.0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "deliveries" VALUES(5,'train',12.5,NULL,'repo.content:update','dataset:me/data','a=1','[["content-type","application/json"]]','hub','running',NULL,0,2,20.0,NULL,20.0,0.5,'crashed',NULL,X'',NULL);
INSERT INTO "deliveries" VALUES(6,'train',12.5,NULL,'repo.content:update','dataset:me/data','a=1','[["content-type","application/json"]]','hub','queued',NULL,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "deliveries" VALUES(7,'train',12.5,NULL,'repo.content:update','dataset:me/data','a=1','[["content-type","application/json"]]','hub','ignored',NULL,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "deliveries" VALUES(8,'train',12.5,NULL,'repo.content:update','dataset:me/data','a=1','[["content-type","application/json"]]','hub','cancelled',NULL,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE endpoints (position INTEGER PRIMARY KEY, published TEXT NOT NULL);
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
INSERT INTO "further_attempts" VALUES(2,2,20.0,0.5,'crashed',NULL,X'',NULL);
INSERT INTO "further_attempts" VALUES(2,3,20.0,0.5,'raised',500,X'','Traceback 3');
CREATE TABLE meta (made_by TEXT NOT NULL);
INSERT INTO "meta" VALUES('0.9.0');
CREATE INDEX deliveries_unfinished ON deliveries (status) WHERE (status = 'queued' OR status = 'running' OR status = 'retrying');
CREATE UNIQUE INDEX deliveries_once ON deliveries (endpoint, webhook_id) WHERE webhook_id IS NOT NULL AND origin <> 'replay' AND status <> 'failed' AND status <> 'ignored' AND status <> 'cancelled';
CREATE VIEW attempts AS
    SELECT id AS delivery_id, 1 AS number, first_started_at AS started_at,
        first_duration AS duration, first_status AS status, first_http_status AS http_status,
        first_answer AS answer, first_error AS error
    FROM deliveries WHERE first_status IS NOT NULL
    UNION ALL
    SELECT delivery_id, number, started_at, duration, status, http_status, answer, error
    FROM further_attempts;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('deliveries',9);
COMMIT;
PRAGMA user_version = 4;
