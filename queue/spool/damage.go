package spool

import (
	"slices"
)

// Damage is a part of a spool that can't be read. What else there is isn't touched by it.
type Damage struct {
	File           string // in the spool's directory
	Offset, Length int64  // of what can't be read
	Reason         string
}

// maxDamage bounds what is remembered.
const maxDamage = 1000

// Damage tells what could not be read since the spool was opened, the first 1000 findings. What stood there is out of reach. A
// message waits in the file, which is kept, as "….damaged" when it isn't needed any more; if its body alone is damaged, it stays in the queue until
// its sender hears that it failed. A settlement that is lost may make a delivery happen once more, and mail whose Hold,
// Release or Remove is lost is as it was before.
func (s *Spool) Damage() []Damage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.damage)
}

// report notes damage, and tells of it once.
func (s *Spool) report(d Damage) {
	s.mu.Lock()
	known := len(s.damage) == maxDamage || slices.Contains(s.damage, d)
	if !known {
		s.damage = append(s.damage, d)
	}
	s.mu.Unlock()
	if !known {
		s.config.Logger.Error("queue: the spool is damaged", "dir", s.dir, "file", d.File,
			"offset", d.Offset, "length", d.Length, "reason", d.Reason)
	}
}
