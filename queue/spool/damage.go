package spool

import (
	"slices"
)

// Damage is a part of a spool that can't be read. All other data is unaffected.
type Damage struct {
	File           string // in the spool's directory
	Offset, Length int64  // in octets
	Reason         string
}

// maxDamage bounds the findings that Damage returns.
const maxDamage = 1000

// Damage returns the parts that could not be read since the spool was opened, the first 1000. Each is logged once.
//
// A message in such a part isn't delivered. Its segment is kept until you delete it, under the name "….damaged" when
// nothing else in it is needed. For a segment that is missing, an empty file of that name is made. While there is such
// a file, bodies and hints that belong to no message stay, as they may belong to what is lost. To have a missing
// segment read again: close the Spool, put the file back, and delete the empty one.
//
// Damage while the Spool is open costs the same: a message that compaction can't read is reported, and leaves the
// queue. If nothing in a segment can be read, nor in the newest one, the disk may come back: compaction waits.
//
// If only the body of a message is damaged, the message stays in the queue, and Open returns an error for it; a Runner
// returns it to its sender at its Deadline. If the settlement of a task is lost, the task is sent again. If a Hold,
// Release or Remove is lost, the message is as it was before, and a message that was stored as Held isn't held. If a
// Key is lost, a message with this Key is stored again. A Key may outlast a message that is lost.
func (s *Spool) Damage() []Damage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.damage)
}

// report adds damage, and logs it once.
func (s *Spool) report(d Damage) {
	s.mu.Lock()
	known := len(s.damage) == maxDamage || slices.Contains(s.damage, d)
	if !known {
		s.damage = append(s.damage, d)
	}
	s.mu.Unlock()
	if !known {
		s.config.Logger.Error("spool is damaged", "dir", s.dir, "file", d.File,
			"offset", d.Offset, "length", d.Length, "reason", d.Reason)
	}
}
