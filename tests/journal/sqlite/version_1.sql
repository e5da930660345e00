BEGIN TRANSACTION;
CREATE TABLE attempts (
    delivery_id INTEGER NOT NULL REFERENCES deliveries ON DELETE CASCADE,
    number INTEGER NOT NULL,
    started_at REAL NOT NULL,
    duration REAL,
    status TEXT NOT NULL,
    http_status INTEGER,
    answer BLOB,
    error TEXT,
    PRIMARY KEY (delivery_id, number)
) WITHOUT ROWID;
INSERT INTO "attempts" VALUES(1,1,20.0,0.5,'succeeded',200,X'',NULL);
INSERT INTO "attempts" VALUES(2,1,20.0,0.5,'failed',500,X'','Traceback');
INSERT INTO "attempts" VALUES(3,1,20.0,0.5,'succeeded',200,X'',NULL);
INSERT INTO "attempts" VALUES(4,1,20.0,NULL,'running',NULL,NULL,NULL);
INSERT INTO "attempts" VALUES(5,1,20.0,0.5,'interrupted',NULL,X'',NULL);
INSERT INTO "attempts" VALUES(5,2,21.0,NULL,'running',NULL,NULL,NULL);
CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint TEXT NOT NULL,
    received_at REAL NOT NULL,
    webhook_id TEXT,
    event TEXT,
    repo TEXT,
    query TEXT NOT NULL,
    headers TEXT NOT NULL,
    body BLOB NOT NULL,
    is_replay INTEGER NOT NULL,
    status TEXT NOT NULL,
    due_at REAL
);
INSERT INTO "deliveries" VALUES(1,'train',12.5,'w1','repo.content:update','dataset:me/data','a=1','[["content-type", "application/json"]]',X'7B2261223A20317D',0,'succeeded',NULL);
INSERT INTO "deliveries" VALUES(2,'train',12.5,NULL,'repo.content:update','dataset:me/data','a=1','[["content-type", "application/json"]]',X'7B2261223A20317D',1,'failed',NULL);
INSERT INTO "deliveries" VALUES(3,'train',12.5,'w1','repo.content:update','dataset:me/data','a=1','[["content-type", "application/json"]]',X'7B2261223A20317D',0,'succeeded',NULL);
INSERT INTO "deliveries" VALUES(4,'train',12.5,NULL,'repo.content:update','dataset:me/data','a=1','[["content-type", "application/json"]]',X'7B2261223A20317D',0,'running',NULL);
INSERT INTO "deliveries" VALUES(5,'train',12.5,NULL,'repo.content:update','dataset:me/data','a=1','[["content-type", "application/json"]]',X'7B2261223A20317D',0,'running',NULL);
INSERT INTO "deliveries" VALUES(6,'train',12.5,'w6','repo.content:update','dataset:me/data','a=1','[["content-type", "application/json"]]',X'7B2261223A20317D',0,'ignored',NULL);
INSERT INTO "deliveries" VALUES(7,'train',12.5,'w7','repo.content:update','dataset:me/data','a=1','[["content-type", "application/json"]]',X'7B2261223A20317D',0,'queued',NULL);
CREATE INDEX deliveries_unfinished ON deliveries (id)
    WHERE status IN ('queued', 'running', 'retrying');
CREATE INDEX deliveries_webhook_id ON deliveries (endpoint, webhook_id)
    WHERE webhook_id IS NOT NULL;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('deliveries',7);
COMMIT;
PRAGMA user_version = 1;
