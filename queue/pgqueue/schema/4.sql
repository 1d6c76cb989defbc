-- Version 4 of the schema: the lease of a node is in a table of its own. A heartbeat leaves a dead row, and each commit
-- reads the row of its node: while a reader kept the server from vacuuming, each commit read all of them.
CREATE TABLE "postrider".lease (
	node  bigint      PRIMARY KEY,
	until timestamptz NOT NULL
) WITH (fillfactor = 10);
-- until of node is that of Queues of version 3 that are still open. Later ones have infinity there. Nothing here locks a
-- table that exists, so that neither a backup nor a Queue is in the way.

-- news is planned once for a session. The plan is made for any number of rows: it is a scan of an index, which parallel
-- workers and JIT would only delay. Planned for its arguments, it takes the time of several executions.
ALTER FUNCTION "postrider".news(xid8, xid8[], bigint, smallint[]) SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION "postrider".news(xid8, xid8[], bigint, smallint[]) SET max_parallel_workers_per_gather = 0;
ALTER FUNCTION "postrider".news(xid8, xid8[], bigint, smallint[]) SET jit = off;

UPDATE "postrider".version SET version = 4;
