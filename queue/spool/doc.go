// Package spool is a [queue.Queue] in a directory, for one process at a time: the default of a relay on one machine. Many
// writers share one sync of a log. Accepted mail survives the death of the process and, if the disk keeps what it has synced,
// of the machine.
//
//	q, err := spool.Open("/var/spool/app")
//	if err != nil {
//		return err
//	}
//	defer q.Close()
//
// [Options] has its limits, its logger and its file system.
//
// # Where to find what
//
//	spool.go, options.go            Spool and the methods of Queue; opening
//	draft.go, settle.go, keep.go    writing: Enqueue; Settle; Hold, Release, Remove, Flush
//	read.go, list.go, usage.go      reading: Claim and Open; List and Stats; which segment holds live data
//	log.go, appending.go, spare.go  the log: group commit, the segment that is written to, its reserved space
//	segment.go, record.go, entry.go the octets of a segment, a record, an entry
//	hint.go                         what a segment holds apart from bodies, for a fast start
//	open.go, replay.go, scan.go     starting: what the log says, and how damage is skipped
//	compact.go, segments.go         moving live data to the end of the log
//	broken.go, damage.go, space.go  failures of the disk: errors, unreadable data, too little room
//	fs.go, dir.go, lock.go          the directory and its lock
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
// A record is one commit: new messages, and outcomes of others. It begins with a salt, random for each segment, and has
// checksums of its header, including its offset, and of all its octets. So a reader finds the next record after a damaged
// one, and no content of a mail can pass as a record. Each message has a checksum of its body, which is verified when the
// body is opened. A record says how much of its segment was synced when it was written. Unreadable data after the last such
// mark was never acknowledged; unreadable data before it is damage: see [Spool.Damage].
//
// Nothing is changed in place. The oldest segment is removed when no message is in it. Compaction moves messages to the end
// of the log, with their outcomes, held ones too: the log takes less than twice its live data plus two segments.
//
// Each segment names the version of its format. A Spool that meets a later version returns an error and changes nothing.
package spool
