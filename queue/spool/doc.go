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
// A message takes about 130 octets of memory, whatever its size: bodies and envelopes stay on the disk. A body of up to
// Options.InlineSize is in memory while it is stored or open; a larger one never is as a whole. A small new message
// stays in memory until its first Open; their bodies together take at most 4 MiB. The directory takes less than twice
// the size of the mail in it, plus two segments. When less than Options.Reserve of the disk is free, new mail is
// refused with syscall.ENOSPC, until there is room again.
//
// A Key takes about 90 octets of memory, and 68 of the directory, for Options.KeyTime after its Enqueue.
// Options.MaxKeys bounds their number. Neither a Key nor its length is on the disk, but a part of its SHA-256.
//
// # After a crash
//
// Mail that Enqueue has accepted survives a crash of the process, and of the machine if the disk keeps what it has
// synced. So do Hold, Release, Remove, and a settlement with Reports or Owed. Any other settlement survives a crash of
// the process. A crash of the machine may undo one that is younger than Options.SyncDelay; its task is then sent again.
// All leases end.
//
// So does the Key of a message: it is stored with the message, and survives it. Its age is counted by the monotonic
// clock while the Spool is open, and by the wall clock while it isn't. A time in the future counts as that of Open. So
// a Key is forgotten early only if the clock was behind at its Enqueue, and was set forward before the next Open.
//
// An attempt counts when Claim returns, and survives a crash of the process. A crash of the machine may undo attempts
// that are younger than Options.SyncDelay, and so may a full disk. Tasks that are leased when the process ends without
// Close have one of the Deaths of a queue.Task more when the spool is opened again. So may those that are leased at a
// Close that can't write, for example because the disk is full. The Logger gets their number.
//
// After a failed write or sync, it is not known what the disk holds. The Spool then refuses every change with
// [queue.ErrBroken]. Open it again to continue. A full disk is no such failure.
//
// Data that can't be read is reported by [Spool.Damage] and logged. All other mail is delivered. The same holds for a
// segment that is missing, and for data that becomes unreadable while the Spool is open.
//
// Copy the directory while the Spool is closed, or from a snapshot of the file system. Compaction moves mail between
// the files, so a copy of a live directory may miss some.
//
// With a full disk, Open makes room for what it has to write: it removes files that aren't complete, and hints.
//
// # Files
//
//	spool.go, options.go              Spool and the methods of Queue; opening
//	draft.go, settle.go, keep.go      writing: Enqueue; Settle; Hold, Release, Remove, Flush
//	claim.go                          writing and reading: attempts that weren't settled
//	keys.go                           writing, reading and moving: the Keys of messages
//	imports.go                        writing: messages that come from another Queue
//	read.go, list.go, usage.go        reading: Claim and Open; List and Stats; which segment holds live data
//	wide.go                           reading: messages to many destinations, once for all their tasks
//	fresh.go                          reading: new messages, which are still in memory
//	log.go, appending.go, spare.go    the log: group commit, the segment that is written to, its reserved space
//	roster.go                         which segments there should be
//	segment.go, record.go, entry.go   the octets of a segment, a record, an entry
//	fields.go, message.go, state.go   the fields of an entry: messages; states, holds and removals
//	format1.go                        the fields of version 1 of the format
//	hint.go                           what a segment holds apart from bodies, for a fast start
//	open.go, replay.go, scan.go       starting: what the log says, and how damage is skipped
//	found.go, sweep.go                what files there are: segments, what is missing, what nothing needs
//	newer.go                          refusing what only a newer program knows
//	compact.go, move.go, segments.go  moving live data to the end of the log
//	broken.go, damage.go, space.go    failures of the disk: errors, unreadable data, too little room
//	fs.go, gate.go, dir.go, lock.go   the directory and its lock
//
// # The directory
//
//	lock                  the process id of the owner; locked while that process lives, like the directory itself
//	segments              which segments there should be
//	0000000001.segment    a part of the log: a header, then records
//	0000000001.hint       the segment's contents without the bodies, so that a start needn't read them
//	2s.body               a body that is too large for the log, named by the message's ID
//	….damaged             a segment with unreadable data, kept when nothing else in it is needed, or the empty mark
//	                      of one that is missing
//	….tmp                 a file that isn't complete; the next start removes it
//
// Open makes the directory with mode 0700, and files have 0600. The lock needs flock: on Windows, Open returns an error
// that wraps errors.ErrUnsupported. A file system that can't lock a directory, such as NFS, has the lock of the lock
// file alone: don't remove it there.
//
// All names are relative to the directory that was opened: neither a change of the working directory nor a rename of
// the directory leads elsewhere. A symbolic link in the directory isn't followed.
//
// The Spool removes only files that it has made. A body without a message is removed if the log says that the message
// has ended, or if its ID comes right after the newest one of the log. Every other file stays, and is logged at level
// Warn: for example notes.tmp, or a body that an earlier damage has left behind.
//
// A record is one commit: new messages, and outcomes of others. It begins with a salt, random for each segment, and has
// checksums of its header, including its offset, and of all its octets. So a reader finds the next record after a
// damaged one, and no content of a mail can pass as a record. Each message has a checksum of its body, which is
// verified when the body is opened. A record says how much of its segment was synced when it was written. A torn record
// after the last such mark was never acknowledged. One before it is damage, and so is everything that the disk can't
// read: see [Spool.Damage].
//
// Nothing is changed in place, except for the file "segments", which has its contents twice. The oldest segment is
// removed when no message is in it. Compaction moves messages to the end of the log, with their outcomes, held ones
// too.
//
// # The format, and older and newer programs
//
// Directories of every released format can be opened for good. This program writes version 2 and reads versions 1 and
// 2, which may stand beside each other in a directory.
//
// A record has entries: a message, the state of a task, a hold, a removal, a claim, the end of all leases, a Key. An
// entry is a list of fields: a tag, a length and a value. A newer program may add fields, and kinds of entries. An
// older program skips those that it doesn't know, unless the tag or the kind has its highest bit set. That bit marks
// what must not be skipped: for example that a message must not be sent without TLS. Until a message with such a field
// has left the queue, Open returns an error that names the message, and changes nothing. After an end without Close,
// that may last until the segment with the field is compacted. The same holds for a segment with such an entry, or of a
// later version, until it is compacted.
//
// To go back to an older program: close the Spool, and open the directory with the older program. If Open returns an
// error, deliver or remove the messages that it names with the newer program, and close it. A message keeps the fields
// that the older program skips. A task's state loses them at its next settlement, and entries of kinds that are skipped
// are lost when their segment is compacted. A program from before claims or Keys were recorded forgets them in these
// ways: it stores a message with a known Key again.
//
// fields.go has the rules for adding a field.
package spool
