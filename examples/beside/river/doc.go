// Package river measures queue/pgqueue beside River (github.com/riverqueue/river), a queue of jobs in PostgreSQL, in
// one run on one server. It is a module of its own, so that nothing else depends on River. It has nothing to import.
//
//	cd examples/beside/river && POSTRIDER_RIVER=40000 go test -v -timeout 2h .
//
// POSTRIDER_RIVER is the number of messages; without it, the test skips. POSTRIDER_RIVER_ROUNDS is the number of
// rounds, 3 by default. POSTRIDER_RIVER_PART is a regular expression: only parts whose name matches are measured. The
// name ends with the side: "worked off/postrider" measures one part of one side, for a profile by -cpuprofile for
// example. POSTRIDER_PG_BIN is the directory of PostgreSQL's programs; without it, Debian's newest version is taken.
//
// # What is compared
//
// A message has a body of 1 KiB. The 1,000 senders write to 5,000 domains, and half of the messages go to one domain.
// River gets the addresses and the body as the arguments of a job. In each round both sides are measured, in turns:
// postrider first in one round, River first in the next.
//
//   - enqueue: 1, 10 and 100 producers store one message a call, by Enqueue and by River's Insert.
//   - in a transaction: producers begin a transaction, insert a row into a table of their own, store the message by
//     EnqueueRow or EnqueueTx and by River's InsertTx, and commit. Once with pgx, and once with database/sql.
//   - worked off: three Queues claim and settle what is stored, by Lanes, Claim and Settle, without a Runner: their
//     sender needs no time. Three clients of River work the same number of jobs, whose Work returns nil at once. The
//     time of River begins before Start and ends with the event of the last job that is completed in the database.
//   - flow: 100 producers enqueue at three Queues, which claim and settle meanwhile. There is nothing of River.
//
// Of a queue of 40,000 messages, the parts of 1 and 10 producers have 5 and 25 percent.
//
// The test fails unless each message is stored, worked and completed exactly once.
//
// # Settings
//
// Both sides have the same server, with synchronous_commit on, fsync on and full_page_writes on. shared_buffers is
// 512MB and max_wal_size 4GB, so that neither side waits for checkpoints of a server that is set for a small machine. A
// producer has a connection, which is open, and whose statements are prepared, before the time begins. What a Queue
// doesn't promise to have on the disk when a call returns, it commits asynchronously: see the doc of queue/pgqueue.
//
// River has MaxWorkers 1000 (or POSTRIDER_RIVER_WORKERS), FetchCooldown 2 ms and FetchPollInterval 20 ms: its defaults
// bound what a client fetches in a second. All else of River is as by default. pgqueue has the default Options.
//
// Each side begins with a new schema. After it, the schema is dropped, and a VACUUM and a CHECKPOINT end before the
// next begins. So do those of the messages that are stored before they are worked off. The rates are messages a second.
// The processor's time is that of all processes of the server, in steps of 10 ms, and that of the program.
//
// Run it on an idle machine, with TMPDIR on a real disk: a tmpfs syncs nothing.
package river
