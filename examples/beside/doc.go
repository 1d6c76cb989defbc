// Package beside measures postrider beside other ways to do the same work. It is a module of its own, so that
// what it compares with is no dependency of postrider. There is nothing in it to import.
//
//	cd examples/beside && go test -bench Stores
//
// # Stores
//
// BenchmarkStores is of queue.Spool and others that take messages of 10 KiB for one recipient, by 1, 10 and 100
// producers at a time, each of which waits until its message is on the disk:
//
//   - spool: queue.Spool as OpenSpool gives it. One fdatasync of its log for all that wait.
//   - bbolt: DB.Batch. Two fdatasyncs a transaction, one of the pages and one of the root.
//   - sqlite: modernc.org/sqlite with a WAL and synchronous=FULL. A writer that takes all that wait into one
//     transaction, and one fsync of the WAL for it.
//   - files: a file a message, as in a maildir. One fsync of the file and one of the directory for each.
//   - append: the yardstick, a file to which one message after another is appended, with one fsync for each.
//
// bbolt and sqlite have an index that work could be found by, and the settings that were fastest of those tried.
// They only take messages: none is claimed or settled meanwhile.
//
// The speed of a disk wanders. So the stores take turns, in rounds, each in another order. Many a disk, of a rented machine above
// all, takes more for a second than it does for a minute; then all that writes much is as fast as its octets
// allow, whatever else it does. So a turn is short, and a rest for the disk follows it.
// The metrics are medians of the rounds: of each store's messages a second, and of what Spool's are to those of
// the best of bbolt, sqlite and files in the same round ("spool/best"), and to the yardstick's ("spool/append").
// Run it where nothing else is at work: other syncs on the same file system slow the stores down unequally. The
// directory for temporary files must be on a real disk (set TMPDIR), with 6 GB free: a tmpfs syncs nothing.
package beside
