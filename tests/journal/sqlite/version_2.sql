PRAGMA auto_vacuum = INCREMENTAL;
BEGIN TRANSACTION;
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
INSERT INTO "attempts" VALUES(1,1,20.0,0.5,'succeeded',200,X'',NULL);
INSERT INTO "attempts" VALUES(2,1,20.0,0.5,'failed',500,X'','Traceback');
INSERT INTO "attempts" VALUES(2,2,20.0,0.5,'failed',500,X'','Traceback');
INSERT INTO "attempts" VALUES(3,1,20.0,0.5,'failed',500,X'','Traceback');
INSERT INTO "attempts" VALUES(5,1,20.0,0.5,'failed',404,X'',NULL);
CREATE TABLE bodies (
    delivery_id INTEGER PRIMARY KEY REFERENCES deliveries ON DELETE CASCADE,
    body BLOB NOT NULL
);
INSERT INTO "bodies" VALUES(1,X'7B2261223A20317D');
INSERT INTO "bodies" VALUES(2,X'7B2261223A20317D');
INSERT INTO "bodies" VALUES(3,X'7B2261223A20317D');
INSERT INTO "bodies" VALUES(4,X'7B2261223A20317D');
INSERT INTO "bodies" VALUES(5,X'7B2261223A20317D');
INSERT INTO "bodies" VALUES(6,X'7B2261223A20317D');
CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint TEXT NOT NULL,
    received_at REAL NOT NULL,
    webhook_id TEXT,
    event TEXT,
    repo TEXT,
    query TEXT NOT NULL,
    headers TEXT NOT NULL,
    is_replay INTEGER NOT NULL,
    status TEXT NOT NULL,
    due_at REAL,
    attempts INTEGER NOT NULL DEFAULT 0,
    started_at REAL
);
INSERT INTO "deliveries" VALUES(1,'train',12.5,'w1','repo.content:update','dataset:me/data','a=1','[["content-type","application/json"]]',0,'succeeded',NULL,1,NULL);
INSERT INTO "deliveries" VALUES(2,'train',12.5,NULL,'repo.content:update','dataset:me/data','a=1','[["content-type","application/json"]]',1,'failed',NULL,2,NULL);
INSERT INTO "deliveries" VALUES(3,'train',12.5,NULL,'repo.content:update','dataset:me/data','a=1','[["content-type","application/json"]]',0,'retrying',4000000000.0,1,NULL);
INSERT INTO "deliveries" VALUES(4,'train',12.5,NULL,'repo.content:update','dataset:me/data','a=1','[["content-type","application/json"]]',0,'running',NULL,1,20.0);
INSERT INTO "deliveries" VALUES(5,'train',12.5,NULL,'repo.content:update','dataset:me/data','a=1','[["content-type","application/json"]]',0,'failed',NULL,1,NULL);
INSERT INTO "deliveries" VALUES(6,'train',12.5,NULL,'repo.content:update','dataset:me/data','a=1','[["content-type","application/json"]]',0,'ignored',NULL,0,NULL);
CREATE INDEX deliveries_unfinished ON deliveries (id)
    WHERE status IN ('queued', 'running', 'retrying');
CREATE UNIQUE INDEX deliveries_once ON deliveries (endpoint, webhook_id)
    WHERE webhook_id IS NOT NULL AND NOT is_replay AND status NOT IN ('failed', 'ignored');
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('deliveries',6);
COMMIT;
PRAGMA user_version = 2;
