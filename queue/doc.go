// Package queue keeps mail until it is delivered or given up, and delivers it. RFC 5321 §6.1 makes whoever
// says 250 responsible for a message from then on; a [Queue] is where that responsibility is kept.
//
// The unit of work is a [Task]: one message × one destination, with those of its recipients that aren't
// settled. A task is claimed under a lease, sent, and settled: its recipients leave the queue, or it comes up again at a time that
// the settlement says. Reports to the sender are new messages that come true with the settlement, in one commit.
// A queue chooses nothing; it only says what is due.
//
// What more a queue can do is in optional interfaces: a [Waker] tells when work comes up, a [Lister] shows what
// there is, a [Holder] keeps messages back, a [Flusher] brings forward what waits to be tried again, a [Remover] takes messages
// out, and a [Stater] counts. [Export] writes a message with its envelope, for use elsewhere.
//
//   - [Spool] is the embedded default: a directory, with a log that many writers share one sync of. Start with
//     [OpenSpool].
//   - [Mem] keeps all in memory, for tests. Start with [NewMem].
//   - Package queuetest holds any other implementation to the rules.
//
// [Runner] is what works a queue off. It chooses destinations so that none starves another and no site gets more than it takes, claims
// their tasks, hands them to a [Sender], and settles what came of it, with the times of RFC 5321 §4.5.4.1. It is operated while it
// runs, and explains what a message waits for. It knows no protocol: client.Transport is the Sender of postrider.Relay, and
// package bounce composes its reports.
//
// # When a message may come twice
//
// A task that was sent and not settled is sent again when its lease expires, or when a Spool is opened after
// a crash. So is one whose settlement was less than a second old when the machine lost its power, unless it came with
// a report. There is no third case, and none in which a message is lost, but for a disk that loses what it has
// said to keep: see [Spool.Damage].
//
// # What a Spool's directory holds
//
//	lock                  the id of the process that has it; locked as long as that lives
//	0000000001.segment    a part of the log: a header, and records one behind the other
//	0000000001.hint       what that has but for the bodies, so that a start needn't read them
//	2s.body               a body too large for the log, by the message's ID
//	….damaged             a segment in which something can't be read, when nothing else in it is needed any more
//	….tmp                 nothing yet, or nothing any more; the next start removes it
//
// A record is a commit: messages, and what became of others. It begins with a salt, random and of its segment alone, and
// has checksums of its header, with the place where it stands, and of all its octets. So the next record can be
// found behind a damaged one, and nothing that is in a mail passes for a record. Each message has a checksum of its body, too, which
// is looked at whenever the body is opened. A record says how much of its segment was on the disk when it was
// written: behind the last such mark, what can't be read was never acknowledged; before it, it is damage.
//
// Nothing is ever changed in place. The oldest segment goes when no message is in it any more, and compaction moves
// those that are to the end of the log, with what became of them, held ones too: the log takes less than twice what lives in it and two segments.
//
// Each segment names the version of its format, 1 now. A Spool that meets a later one says so, and changes nothing. The octets of
// segments, records, entries and hints are told where they are written: in spoolrecord.go, spoolentry.go and spoolhint.go.
package queue
