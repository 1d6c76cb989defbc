-- Version 1 of the schema. "postrider" stands for the schema's name.

-- version has one row. seed is mixed into the numbers of owners. layout changes when a lane gets another node.
CREATE TABLE "postrider".version (
	version int    NOT NULL,
	seed    bytea  NOT NULL,
	layout  bigint NOT NULL
);
INSERT INTO "postrider".version VALUES (1, decode(replace(gen_random_uuid()::text, '-', ''), 'hex'), 0);

-- node has a row for each Queue that is open. The row is its lease, and the fence of what it writes.
CREATE TABLE "postrider".node (
	id    bigint      PRIMARY KEY,
	fence bigint      NOT NULL DEFAULT 0,
	until timestamptz NOT NULL
);
CREATE SEQUENCE "postrider".node_id;

-- lane has the node that has the messages of a lane, NULL if none has them. The lane of a message depends on its Owner.
CREATE TABLE "postrider".lane (
	lane smallint PRIMARY KEY,
	node bigint
);
INSERT INTO "postrider".lane SELECT n, NULL FROM generate_series(0, 255) n;

-- msg has the messages. arrival and all other times of the queue are Unix nanoseconds. node and batch name the commit
-- that stored the message; node is 0 if that was a transaction of the application. body is NULL if it is in chunk.
CREATE TABLE "postrider".msg (
	id      bigint   PRIMARY KEY,
	xid     xid8     NOT NULL DEFAULT pg_current_xact_id(),
	lane    smallint NOT NULL,
	node    bigint   NOT NULL,
	batch   bigint   NOT NULL,
	arrival bigint   NOT NULL,
	size    bigint   NOT NULL,
	head    json     NOT NULL,
	body    bytea
);
ALTER TABLE "postrider".msg ALTER body SET STORAGE EXTERNAL;
CREATE INDEX msg_xid ON "postrider".msg (xid);
CREATE SEQUENCE "postrider".msg_id;

-- chunk has the bodies that are longer than one chunk.
CREATE TABLE "postrider".chunk (
	id   bigint NOT NULL,
	n    int    NOT NULL,
	data bytea  NOT NULL,
	PRIMARY KEY (id, n)
);
ALTER TABLE "postrider".chunk ALTER data SET STORAGE EXTERNAL;

-- outcome has what happened to messages, in the order of seq: see the kinds in event.go. last is true if the message
-- is gone then.
CREATE SEQUENCE "postrider".seq;
CREATE TABLE "postrider".outcome (
	seq   bigint   PRIMARY KEY DEFAULT nextval('"postrider".seq'),
	xid   xid8     NOT NULL DEFAULT pg_current_xact_id(),
	id    bigint   NOT NULL,
	lane  smallint NOT NULL,
	node  bigint   NOT NULL,
	batch bigint   NOT NULL,
	kind  smallint NOT NULL,
	last  boolean  NOT NULL,
	data  json
);
CREATE INDEX outcome_id ON "postrider".outcome (id);
-- What the node of a message does to it is no news to any other node.
CREATE INDEX outcome_xid ON "postrider".outcome (xid) WHERE node = 0;

-- mark has the leases, in the same order: attempts that may not have an outcome yet. A crash of the server empties it.
-- until is NULL if the lease has ended.
CREATE UNLOGGED TABLE "postrider".mark (
	seq      bigint   NOT NULL DEFAULT nextval('"postrider".seq'),
	id       bigint   NOT NULL,
	num      bigint   NOT NULL,
	lane     smallint NOT NULL,
	attempts int      NOT NULL,
	deaths   int      NOT NULL,
	until    bigint
);
CREATE INDEX mark_id ON "postrider".mark (id);

-- key has the Keys of messages.
CREATE TABLE "postrider".key (
	name     bytea  PRIMARY KEY,
	envelope bigint NOT NULL,
	id       bigint NOT NULL,
	stored   bigint NOT NULL
);
CREATE INDEX key_stored ON "postrider".key (stored);

-- stat has what each node counts of its messages.
CREATE UNLOGGED TABLE "postrider".stat (
	node bigint PRIMARY KEY,
	data json   NOT NULL
);

-- Rows are only added to msg and outcome, and deleted in the order in which they were added. So a vacuum is due when
-- many are deleted, whatever the size of the table, and it must not wait between pages.
ALTER TABLE "postrider".msg     SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE "postrider".outcome SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE "postrider".mark    SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE "postrider".node    SET (fillfactor = 10);
ALTER TABLE "postrider".stat    SET (fillfactor = 10);

-- news returns the messages of some lanes that another node or an application has committed since a snapshot, and the
-- operations on messages. Without the setting, a table that wasn't analyzed yet would be read as a whole.
CREATE FUNCTION "postrider".news(since xid8, among xid8[], me bigint, lanes smallint[])
RETURNS TABLE (seq bigint, id bigint, lane smallint, kind smallint, last boolean, arrival bigint, size bigint, data json)
LANGUAGE sql STABLE SET enable_seqscan = off AS $$
	SELECT 0, m.id, m.lane, 0::smallint, false, m.arrival, m.size, m.head FROM "postrider".msg m
	WHERE (m.xid >= since OR m.xid = ANY (among)) AND m.node <> me AND m.lane = ANY (lanes)
	UNION ALL
	SELECT o.seq, o.id, o.lane, o.kind, o.last, 0, 0, o.data FROM "postrider".outcome o
	WHERE (o.xid >= since OR o.xid = ANY (among)) AND o.node = 0 AND o.lane = ANY (lanes)
$$;
