// Package beside measures postrider beside other ways to do the same work: stores of mail, clients and servers. It is a
// module of its own, so that postrider doesn't depend on them. It has nothing to import.
//
//	cd examples/beside && go test -bench .
//
// # Stores and Flow
//
// BenchmarkStores and BenchmarkFlow compare spool.Spool and other stores, with messages of 10 KiB for one recipient, by
// 1, 10 and 100 producers at a time. In BenchmarkStores each producer enqueues messages, one after the other, and waits
// until each is on the disk. In BenchmarkFlow it then also claims a due message, reads its body to the end and deletes
// the message, as a relay does that delivers it. A deletion goes to the disk with the next message, and nobody waits
// for it: a crash may lose the deletion, which makes a duplicate.
//
//   - spool: spool.Spool as spool.Open returns it. One fdatasync of its log for all producers that wait.
//   - bbolt: DB.Batch. Two fdatasyncs a transaction, one of the pages and one of the root. Each transaction deletes the
//     messages that ended since the last one.
//   - sqlite: modernc.org/sqlite with a WAL and synchronous=FULL. One goroutine reads for all, and writes one
//     transaction for all that wait, which also deletes ended messages. One fsync of the WAL for each transaction.
//   - files: a file for each message, as in a maildir, which is removed at the end. One fsync of the file and one of
//     the directory for each.
//   - append: the yardstick, a file to which messages are appended, with one fsync for each. It does the same in
//     BenchmarkFlow.
//
// bbolt and sqlite have an index by which work could be found, and the fastest settings of those tried. All stores keep
// claims in memory, as Spool does. The others find due messages in a list in memory, in the order of arrival, and
// compute and check no checksums of bodies.
//
// The speed of a disk varies. So the stores take turns, in rounds, each round in another order. Many disks, those of
// rented machines in particular, write faster for a second than for a minute: after that, a store that writes much is
// only as fast as its octets allow. So a turn is short, and the disk rests after it. The metrics are medians of the
// rounds: the messages a second of each store, and the ratio of Spool's to those of the best of bbolt, sqlite and files
// in the same round ("spool/best"), and to those of the yardstick ("spool/append"). Run the benchmarks on an idle
// machine: other syncs on the same file system slow the stores down unequally. The directory for temporary files must
// be on a real disk (set TMPDIR), with 6 GB free: a tmpfs syncs nothing.
//
// # Clients
//
// BenchmarkClients compares package client and other clients. Each sends a mail of 10 KiB to 1 and to 10 recipients,
// again and again in one session. All send to the same sink on the loopback, which offers PIPELINING, SIZE, 8BITMIME
// and ENHANCEDSTATUSCODES, accepts everything at once and allocates nothing for it. With "20ms" in the name, a round
// trip takes 20 ms: each piece that is read or written arrives 10 ms late, without delaying the next.
//
//   - postrider: client.Transport with a smarthost. It returns a Result for each recipient, as does the next.
//   - postrider-conn: client.Conn.
//   - net-smtp: the client of net/smtp, with its Mail, Rcpt and Data.
//   - go-smtp: that of github.com/emersion/go-smtp, likewise.
//   - go-mail: the Client of github.com/wneessen/go-mail, which composes the message for each Send: a header of its
//     own, and the body as it is. It is set not to send NOOP and RSET, two more round trips a mail.
//   - go-mail-smtp: the session below that Client. It gets the finished message, as do all except go-mail.
//
// Only postrider uses PIPELINING. The metric "trips/op" is the round trips a mail, as the sink counts them: how often
// it had answered all commands and waited for more. At 0 ms, the kernel takes most of the time; run the benchmark with
// -count and on an idle machine.
//
// # Servers
//
// BenchmarkServers compares package server and the server of github.com/emersion/go-smtp, with messages of 10 KiB and
// 1 MiB, by DATA and by BDAT. The backend of both discards the message. 20 sessions on the loopback send one message
// after another, in as few round trips as PIPELINING allows. The clients run in a process of their own, so the CPU time
// is that of the server with its system calls. The servers take turns, in rounds. The metrics are medians of the
// rounds: the CPU time and the allocations for a mail, and the ratio of both CPU times in the same round
// ("go-smtp/postrider").
//
// By BDAT, postrider looks for bare CR, bare LF and NUL in the content, as by DATA. go-smtp passes all octets.
//
// # Signers
//
// BenchmarkSigners compares signers of DKIM, with one key and messages of 10 KiB and 10 MiB in relaxed/relaxed form.
// Each signs another message every time and discards it. They take turns, in rounds. The metrics are the median of the
// times for a message, and the octets and allocations of the last turn, those for the message itself included.
//
//   - postrider: dkim.Signer. It also looks for 8-bit text, long lines and octets that can't be sent.
//   - postrider-again: the same, with the same message each time, as for its second destination or attempt.
//   - go-msgauth: Sign of github.com/emersion/go-msgauth/dkim. It holds the message in memory.
//   - go-mail: a Msg of github.com/wneessen/go-mail, which composes the message before it signs it.
//
// FuzzMsgauth has go-msgauth verify what postrider signs, and the command msgauth does so for mails in a file.
//
// # Compose
//
// BenchmarkCompose compares package client/compose and the Msg of go-mail. Each composes a mail anew and writes it to a
// Writer: a text of 10 KiB in ASCII and in German, and a file of 10 MB. In "ratio" they take turns, mail by mail.
package beside
