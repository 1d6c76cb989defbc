// Package spool is a [queue.Queue] in a directory, for one process at a time: the default store of a relay on one
// machine.
//
//	q, err := spool.Open("/var/spool/app")
//	if err != nil {
//		return err
//	}
//	defer q.Close()
//
// Many writers share one sync of a log, so Enqueue is fast with many concurrent senders. [Options] has the settings:
// sizes, the reserved disk space, the logger, and the file system for tests.
//
// # Bounds
//
// A message takes about 120 octets of memory, whatever its size: bodies and envelopes stay on the disk. A body of up to
// Options.InlineSize is in memory while it is stored or open; a larger one never is as a whole. The directory takes
// less than twice the size of the mail in it, plus two segments. When less than Options.Reserve of the disk is free,
// new mail is refused with syscall.ENOSPC, until there is room again.
//
// # After a crash
//
// Mail that Enqueue has accepted survives a crash of the process, and of the machine if the disk keeps what it has
// synced. So do Hold, Release, Remove, and a settlement with reports. A settlement without reports survives a crash of
// the process. A crash of the machine may undo one that is younger than Options.SyncDelay; its task is then sent again.
// All leases end. An attempt that wasn't settled isn't counted.
//
// After a failed write or sync, it is not known what the disk holds. The Spool then refuses every change with
// [queue.ErrBroken]. Open it again to continue. A full disk is no such failure.
//
// Data that can't be read is reported by [Spool.Damage] and logged. All other mail is delivered.
//
// # Files
//
//	spool.go, options.go              Spool and the methods of Queue; opening
//	draft.go, settle.go, keep.go      writing: Enqueue; Settle; Hold, Release, Remove, Flush
//	read.go, list.go, usage.go        reading: Claim and Open; List and Stats; which segment holds live data
//	log.go, appending.go, spare.go    the log: group commit, the segment that is written to, its reserved space
//	segment.go, record.go, entry.go   the octets of a segment, a record, an entry
//	fields.go, message.go, state.go   the fields of an entry: messages; states, holds and removals
//	format1.go                        the fields of version 1 of the format
//	hint.go                           what a segment holds apart from bodies, for a fast start
//	open.go, replay.go, scan.go       starting: what the log says, and how damage is skipped
//	newer.go                          refusing what only a newer program knows
//	compact.go, move.go, segments.go  moving live data to the end of the log
//	broken.go, damage.go, space.go    failures of the disk: errors, unreadable data, too little room
//	fs.go, dir.go, lock.go            the directory and its lock
//
// # The directory
//
//	lock                  the process id of the owner; locked while that process lives
//	0000000001.segment    a part of the log: a header, then records
//	0000000001.hint       the segment's contents without the bodies, so that a start needn't read them
//	2s.body               a body that is too large for the log, named by the message's ID
//	….damaged             a segment with unreadable data, kept when nothing else in it is needed
//	….tmp                 a file that isn't complete; the next start removes it
//
// Open makes the directory with mode 0700, and files have 0600. The lock needs flock: on Windows, Open returns an error
// that wraps errors.ErrUnsupported.
//
// A record is one commit: new messages, and outcomes of others. It begins with a salt, random for each segment, and has
// checksums of its header, including its offset, and of all its octets. So a reader finds the next record after a
// damaged one, and no content of a mail can pass as a record. Each message has a checksum of its body, which is
// verified when the body is opened. A record says how much of its segment was synced when it was written. Unreadable
// data after the last such mark was never acknowledged; unreadable data before it is damage: see [Spool.Damage].
//
// Nothing is changed in place. The oldest segment is removed when no message is in it. Compaction moves messages to the
// end of the log, with their outcomes, held ones too.
//
// # The format, and older and newer programs
//
// Directories of every released format can be opened for good. This program writes version 2 and reads versions 1 and
// 2, which may stand beside each other in a directory.
//
// A record has entries: a message, the state of a task, a hold, a removal. An entry is a list of fields: a tag, a
// length and a value. A newer program may add fields, and kinds of entries. An older program skips those that it
// doesn't know, unless the tag or the kind has its highest bit set. That bit marks what must not be skipped: for
// example that a message must not be sent without TLS. While a message with such a field is in the queue, Open returns
// an error that names the message, and changes nothing. The same holds for a segment with such an entry, or of a later
// version.
//
// To go back to an older program: close the Spool, and open the directory with the older program. If Open returns an
// error, deliver or remove the messages that it names with the newer program, and close it. A message keeps the fields
// that the older program skips. A task's state loses them at its next settlement, and entries of kinds that are skipped
// are lost when their segment is compacted.
//
// fields.go has the rules for adding a field.
package spool
