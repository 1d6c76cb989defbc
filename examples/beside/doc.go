// Package beside measures postrider beside other ways to do the same work. It is a module of its own, so that
// what it compares with is no dependency of postrider. There is nothing in it to import. There are two
// comparisons: of stores of mail, and of clients.
//
//	cd examples/beside && go test -bench .
//
// # Stores and Flow
//
// BenchmarkStores and BenchmarkFlow are of spool.Spool and others, with messages of 10 KiB for one recipient, by 1, 10
// and 100 producers at a time. In BenchmarkStores each producer has message after message taken in, and waits until it
// is on the disk. In BenchmarkFlow it then also claims one that is due, reads its body to the end and ends it, as a
// relay does that delivers it. What ends a message goes to the disk with what is taken in next, and isn't waited for: a
// crash may lose it, and then there is a duplicate.
//
//   - spool: spool.Spool as spool.Open gives it. One fdatasync of its log for all that wait.
//   - bbolt: DB.Batch. Two fdatasyncs a transaction, one of the pages and one of the root. It deletes what
//     has ended since the last.
//   - sqlite: modernc.org/sqlite with a WAL and synchronous=FULL. One goroutine that reads for all who ask, and
//     takes all that wait into one transaction, along with the deletion of what has ended. One fsync of the WAL for it.
//   - files: a file a message, as in a maildir, which is removed at the end. One fsync of the file and one of the
//     directory for each.
//   - append: the yardstick, a file to which one message after another is appended, with one fsync for each. It
//     does no more than that in BenchmarkFlow either.
//
// bbolt and sqlite have an index that work could be found by, and the settings that were fastest of those tried.
// What is claimed is kept in memory by all of them, as Spool does. The others find what is due in a list in
// memory, in the order it came, and have no checksum of a body to compute and to check.
//
// The speed of a disk wanders. So the stores take turns, in rounds, each in another order. Many a disk, of a rented machine above
// all, takes more for a second than it does for a minute; then all that writes much is as fast as its octets
// allow, whatever else it does. So a turn is short, and a rest for the disk follows it.
// The metrics are medians of the rounds: of each store's messages a second, and of what Spool's are to those of
// the best of bbolt, sqlite and files in the same round ("spool/best"), and to the yardstick's ("spool/append").
// Run it where nothing else is at work: other syncs on the same file system slow the stores down unequally. The
// directory for temporary files must be on a real disk (set TMPDIR), with 6 GB free: a tmpfs syncs nothing.
//
// # Clients
//
// BenchmarkClients is of package client and others, which send a mail of 10 KiB to 1 and to 10 recipients, again and
// again in one session. All send to the same sink on the loopback, which offers PIPELINING, SIZE, 8BITMIME and
// ENHANCEDSTATUSCODES, takes everything at once and allocates nothing for it. With "20ms" in the name, a round trip takes
// 20 ms: each piece that is read or written arrives 10 ms late, without holding up the next.
//
//   - postrider: client.Transport with a smarthost. It gives a Result for each recipient, and so does the next.
//   - postrider-conn: client.Conn.
//   - net-smtp: the client of net/smtp, with its Mail, Rcpt and Data.
//   - go-smtp: that of github.com/emersion/go-smtp, likewise.
//   - go-mail: the Client of github.com/wneessen/go-mail, which composes the message anew for each Send: a header of its
//     own, and the body as it is. It is told to leave out NOOP and RSET, two more round trips a mail.
//   - go-mail-smtp: the session beneath, which is given the message as all but go-mail are: finished.
//
// Nobody but postrider makes use of PIPELINING. The metric "trips/op" is of round trips a mail, counted by the
// sink: how often it had answered all that it was told and waited for more. At 0 ms, most of the time goes to
// the kernel; run it with -count and where nothing else is at work.
package beside
