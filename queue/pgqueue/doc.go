// Package pgqueue is a [queue.Queue] in a PostgreSQL database, for a program that runs on several machines, or that has
// such a database already. A message can be stored in the program's own transaction: it is sent if and only if that is
// committed.
//
//	err := pgqueue.Migrate(ctx, db, "postrider") // once, or at each start
//	q, err := pgqueue.Open(ctx, db)
//	defer q.Close()
//	relay := &postrider.Relay{Hostname: "mx1.example.com", Queue: q}
//
//	tx, err := db.BeginTx(ctx, nil)
//	…                                  // the program's own changes: an order, for example
//	m, err := relay.Prepare(ctx, envelope, mail) // mail is an io.Reader
//	id, err := q.EnqueueTx(ctx, tx, m) // its mail
//	err = tx.Commit()
//
// A program like this one must run the Relay. One that only stores mail, for others to deliver, sets
// Options.NoDelivery.
//
// It uses database/sql and imports no driver: import pgx's stdlib or lib/pq. PostgreSQL 13 or later is needed, with
// the encoding UTF8. All tests run with 15, and the most important ones with 13 and 18, too. It implements all
// abilities of package queue. Bodies are in the database, those of more than 256 KiB in chunks. Package queue/drain
// moves the mail of a spool into it, or back.
//
// # Several Queues
//
// Several Queues may be open on one schema, in any number of processes. Each has a part of the messages, and delivers
// them. Messages of one Owner, which is their Tenant or, without one, their reverse-path, are at one Queue. So the mail
// of a single sender is delivered by one process at a time: give messages a Tenant to spread them. A Queue is a
// [queue.Sharer]: the Runners on all Queues keep the limits of a site together.
//
// A program that opens a Queue must deliver from it, by a Relay or a Runner: no other one delivers what it has. A
// program that stores mail for others to deliver, for example each of many web servers, sets Options.NoDelivery. Such a
// Queue has no messages. None of the others needs to be open: its mail waits for one. If a program doesn't deliver and
// Options.NoDelivery isn't set, Options.Logger gets a warning after Options.NodeLease.
//
// The lag, within which a Queue has what others have committed, is Options.Poll and the time of two queries; of an
// idle Queue, six times Options.Poll.
//
// When a Queue is opened, the others hand messages over to it in groups. A group has all messages of some Owners. It is
// handed over when the last lease on its tasks has ended. If that takes longer than 10 seconds, the group stays where
// it is, until another Queue is opened or closed. When a Queue is closed, the others get its messages within the lag.
// When its process ends, or is cut off from the server, they get them after Options.NodeLease. Its leases on tasks have
// ended then, and each counts as a death: see [queue.Queue]. The bounds on leases of tasks with deaths hold at each
// Queue: with two Queues, two tasks with several deaths can be leased at a time. A Queue that was cut off begins anew:
// Settle and Extend return ErrLeaseLost for leases from before. Its Runner has ended the attempts that had begun.
//
// # Times
//
// A Queue compares times with the server's clock. A NotBefore, a NoticeAt, a Deadline and a Next are the program's:
// its machine's clock must be right, too. A lease on a task expires by the monotonic clock of its process.
//
// # What is durable
//
// What Enqueue, EnqueueTx with its commit, Hold, Release, Remove, Flush, Hasten, and a Settle with Reports or Owed have
// stored is as durable as the commits of the server. A crash of the server may undo the last 0.6 seconds of other
// settlements, and forgets attempts and deaths that weren't settled. If synchronous_commit is off, it may undo all of
// the last 0.6 seconds.
//
// When a server fails over to a standby that lacks the last commits, these are lost: use synchronous replication.
//
// pg_dump can dump the schema while Queues are open. When it is restored, what was delivered since the dump is sent
// again.
//
// # When the server is down
//
// While the server refuses connections, calls return errors at once, except for those whose commit was in progress.
// While it doesn't answer, Enqueue, Claim and Settle return after twice Options.Timeout at most, and other calls at the
// end of their ctx; those of lib/pq may wait until the connection breaks. By SMTP, a Relay answers 451, so that the
// client tries again. It delivers nothing, as it can't store leases. It needs no restart: mail goes on within seconds
// after the server is back.
//
// # How it works
//
// Rows are only added: a message to msg, what happens to it to outcome, a lease to mark. A Queue has the IDs and times
// of its messages in memory, about 110 octets for each, and 20 MB of envelopes, about 100,000: those stored last and,
// as long as there is room, those that it has taken over. Claim looks there, reads what it lacks, and writes one row
// for each task. A Queue finds what others have committed by the difference of two snapshots of the server. So a
// transaction that stays open delays no other mail. Settle is one statement, which stores nothing if others have taken
// over. No transaction is open while a message is sent, or a Body is read. There is no NOTIFY.
//
// A minute later or more, rows that are obsolete are deleted, from the old end of the tables. While a transaction is
// open that keeps the server from vacuuming them, of pg_dump or of a replication slot for example, they stay: they take
// space and delay nothing. A transaction that has been prepared and forgotten keeps all of them.
//
// An idle Queue executes 7 statements a second by default, and after 2 minutes 4. Nearly all of them look for what
// others have committed, as nothing else tells it of that. One every eighth of Options.NodeLease renews its lease, and
// a few in each Options.NodeLease look for rows that are obsolete. One that gets news executes 20 a second. With
// Options.NoDelivery, there is one in 3 seconds, which asks for the server's time.
//
// While an open transaction has stored a Key, each call with the same Key looks again and again whether it has ended:
// for Options.Timeout at most. All other mail goes on.
//
// # Connections
//
// A Queue that works has up to 10 connections at a time for itself, with Options.NoDelivery up to 6. Two are for all
// calls of [Queue.Open]. Two more are for the commits of bodies of more than 256 KiB, or one if the *sql.DB allows
// fewer than 8 connections. Besides, these have one each: a call of List, Hold, Release, Flush, Hasten, Remove, Import
// or with a Key, a Claim of messages that aren't in memory, and a read of a Body of more than 256 KiB. Of the calls
// with a Key and of Import, up to 17 store something at a time, fewer if the *sql.DB allows fewer than 20 connections.
// The operations of a queue/delivery Runner on many messages make 32 calls at a time, and one of List.
//
// By default, a *sql.DB closes connections that aren't in use, except for two. It would open and close them all the
// time while a Queue is busy. So a Queue keeps three between its commits, with Options.NoDelivery one: each until no
// commit has come for 0.1 seconds, or all that the *sql.DB allows are in use, and about a minute at most. A program
// with many other calls at a time should call SetMaxIdleConns. With a pool of pgx below the *sql.DB, the pool keeps
// connections, and the Queue none.
//
// Call SetMaxOpenConns before Open. All processes together must stay below the server's max_connections, which is 100
// by default: otherwise calls fail with SQLSTATE 53300. A *sql.DB must allow 2 connections at least, and one more for
// each transaction that the program keeps open itself. For a web server with Options.NoDelivery that stores mail in up
// to N transactions at a time, N+6 is enough. A call that gets no connection fails at the end of Options.Timeout.
//
// # PgBouncer and the like
//
// No statement needs the state of a session: a pool in transaction mode can be between. The driver's prepared
// statements must then be off, unless the pool supports them: with pgx, default_query_exec_mode=exec; with lib/pq,
// binary_parameters=yes.
//
// # The schema
//
// [Migrate] makes it. A program with its own tool for migrations runs the statements that [SQL] returns. [Open] returns
// a *[VersionError] if the schema is older or newer than [Version]. The role of a Queue needs USAGE on the schema and
// its sequences, EXECUTE on its functions, and SELECT, INSERT, UPDATE and DELETE on its tables. If it isn't the owner,
// grant these again after each Migrate: version 4 has a new table, lease.
//
// Queues of version 3 that are open during Migrate to version 4 go on. An old program can't open the schema again. An
// old Queue doesn't take over the messages of a new one whose process ends. So while old ones are open, have two new
// ones open.
//
// # Files
//
//	schema.go, schema/*.sql               the tables; Migrate
//	options.go, queue.go, clock.go        Open, Close, Queue; the server's time
//	group.go, commit.go, batch.go         commits of several calls together
//	resolve.go                            the loss of the connection during a commit
//	draft.go, enqueue.go, keys.go, tx.go  Enqueue, EnqueueOnce, EnqueueTx
//	import.go                             Import
//	claim.go, settle.go, body.go          Claim, Extend, Settle, Open
//	poll.go                               what others have committed
//	node.go, give.go, load.go             which Queue has which messages
//	read.go                               messages as the tables have them
//	heads.go                              what is in memory, and what is read for a lease
//	record.go, event.go                   the columns in JSON; what has happened to a message, in order
//	share.go                              records for limits that Runners share
//	operate.go, list.go, stats.go         the other abilities
//	clean.go                              what is deleted
package pgqueue
