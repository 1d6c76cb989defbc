// Package river measures queue/pgqueue beside River (github.com/riverqueue/river), a queue of jobs in PostgreSQL. Both
// are measured in one run on one server. It is a module of its own, so that nothing else depends on River. It has
// nothing to import.
//
//	cd examples/beside/river && POSTRIDER_RIVER=40000 go test -v .
//
// Environment variables:
//
//   - POSTRIDER_RIVER: the number of messages. Without it, the test skips.
//   - POSTRIDER_RIVER_ROUNDS: the number of rounds, 3 by default. Postrider is first in one, River in the next.
//   - POSTRIDER_RIVER_PART: a regular expression. Only parts whose name matches are measured. A name ends with a side:
//     "worked off by 3/postrider" is one part and one side, for a profile by -cpuprofile for example.
//   - POSTRIDER_RIVER_WORKERS: MaxWorkers of each client of River, 1000 by default.
//   - POSTRIDER_PG_BIN: the directory of PostgreSQL's programs. Without it, Debian's newest version is taken.
//
// # Parts
//
// Each message has a body of 1 KiB and one recipient. Half of the recipients are in one domain, the others in 5,000
// domains. There are 1,000 senders. River has the addresses and the body as the arguments of a job.
//
//   - enqueue: 1, 10 or 100 producers store one message a call, by Queue.Enqueue and by Client.Insert. With 1 producer,
//     5 % of the messages are stored, with 10 producers 25 %.
//   - in a transaction: each producer begins a transaction, inserts a row into a table of the application, stores a
//     message and commits. With pgx, it stores by Queue.EnqueueRow and by Client.InsertTx, with database/sql by
//     Queue.EnqueueTx and by Client.InsertTx of riverdatabasesql. The Queue has NoDelivery, as the client has no
//     workers.
//   - worked off: all messages are stored. Then three Queues claim and settle them, by Lanes, Claim and Settle, with a
//     sender that needs no time, and no Runner. Three clients of River work them. Their Work returns nil at once. The
//     time begins before Client.Start and ends when the last job is completed in the database. When it begins, the
//     Queues are open, and have handed over to each other what is theirs.
//   - flow: 100 producers enqueue at three Queues, which claim and settle meanwhile. Only postrider is measured.
//
// The test prints the rates, the time of the processors that the server and this program took for each message, and
// the ratio of the rates. At the end, it prints the least, the median and the greatest of the rounds. It fails unless
// each message was stored, claimed and settled, or worked and completed, exactly once.
//
// # Settings
//
//   - The server has shared_buffers=512MB, so that what is measured is in memory, and max_wal_size=4GB, so that no
//     checkpoint is forced by the size of the WAL. fsync, full_page_writes, synchronous_commit and autovacuum are on,
//     as by default. Package pgtest starts it, with an empty cluster and a Unix socket.
//   - pgqueue has the default Options. It commits some things asynchronously itself: those which the doc of
//     queue/pgqueue says a crash may undo, leases and settlements without reports.
//   - River has MaxWorkers 1000, FetchCooldown 2 ms and FetchPollInterval 20 ms: the defaults bound how many jobs a
//     client fetches a second. Everything else is as by default.
//   - 100 producers share a pool of 22 connections, which suits both sides on two cores. Up to 10 producers have 12.
//     Before the time begins, the connections are open and have prepared their statements: each producer stores about 3
//     messages that aren't counted. Each Queue and each client that works has its own pool.
//   - Each side has a new schema in each part, which is dropped afterwards. A VACUUM ANALYZE and a CHECKPOINT end
//     before the other side begins. So neither has to clean up after the other. "worked off" also has them between
//     storing and working: autovacuum would come later, and River's query needs the statistics.
//
// A round of all parts with 40,000 messages takes many minutes, so it needs -timeout. "worked off" has three Queues
// whose connections are new. With 200,000 messages, what these cost at first weighs little:
//
//	POSTRIDER_RIVER=200000 POSTRIDER_RIVER_PART='worked off|flow' go test -timeout 30m -v .
//
// Run it on an idle machine, with TMPDIR on a real disk: a tmpfs syncs nothing. Rates vary with what else the machine
// does. The times of the processors vary less. They are those of all processes of the server, in steps of 10 ms.
package river
