package spool

import (
	"slices"
	"strconv"
	"strings"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// The directory may have files that aren't the spool's. It removes only files with the names that it gives, and of
// these only what it can have made.

// orphanGap is how far above the newest ID of the log the ID of a body without a message can be: such a body's Enqueue
// was cut short by a crash. No more are on their way at a time.
const orphanGap = 1 << 10

// segmentNumber tells which segment a file with that suffix belongs to.
func segmentNumber(name, suffix string) (uint32, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	number, err := strconv.ParseUint(digits, 10, 32)
	return uint32(number), ok && err == nil && segmentName(uint32(number)) == digits+segmentSuffix
}

func isSegment(name string) bool {
	_, ok := segmentNumber(name, segmentSuffix)
	return ok
}

// bodyID returns the message whose body a file of that name has.
func bodyID(name string) (id uint64, ok bool) {
	text, ok := strings.CutSuffix(name, bodySuffix)
	id, valid := index.ParseID(queue.ID(text))
	return id, ok && valid && id > 0
}

// isTemp reports whether the spool gives that name to files that aren't complete.
func isTemp(name string) bool {
	of, ok := strings.CutSuffix(name, tempSuffix)
	if !ok {
		return false
	}
	for _, suffix := range [...]string{segmentSuffix, hintSuffix, spareSuffix} {
		if _, ok := segmentNumber(of, suffix); ok {
			return true
		}
	}
	digits, ok := strings.CutSuffix(of, bodySuffix)
	n, err := strconv.ParseUint(digits, 10, 64)
	return of == rosterName || ok && err == nil && strconv.FormatUint(n, 10) == digits
}

// foundBody is a file that has the name of a body.
type foundBody struct {
	size  int64
	known bool // the log says something of its message
}

func foundBodies(names map[string]int64) map[uint64]*foundBody {
	bodies := map[uint64]*foundBody{}
	for name, size := range names {
		if id, ok := bodyID(name); ok && size >= 0 {
			bodies[id] = &foundBody{size: size}
		}
	}
	return bodies
}

// knows notes that the log says something of a message, while the spool is being opened.
func (s *Spool) knows(id uint64) {
	if b := s.bodies[id]; b != nil {
		b.known = true
	}
}

// removeTemps removes files that aren't complete: with a full disk, a segment needs their room.
func (s *Spool) removeTemps(names map[string]int64) error {
	for name, size := range names {
		if size >= 0 && isTemp(name) {
			if err := s.fs.Remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeHints removes all hints, which can be made again, and reports whether there were some.
func (s *Spool) removeHints(segments []*segment, names map[string]int64) (some bool) {
	for _, seg := range segments {
		if _, ok := names[hintName(seg.number)]; ok && s.fs.Remove(hintName(seg.number)) == nil {
			seg.hinted, some = false, true
		}
	}
	return some
}

// markMissing makes an empty file for each segment that is missing. While it is there, the segment isn't reported once
// more, and what may belong to it stays.
func (s *Spool) markMissing(missing []uint32) {
	for _, number := range missing {
		f, err := s.fs.Open(segmentName(number)+damagedSuffix, true)
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			s.config.Logger.Warn("missing segment wasn't marked", "dir", s.dir, "file", segmentName(number), "err", err)
		}
	}
}

// sweep removes the spool's files that belong to no message and to no segment, and looks whether the others are there.
// Where there is damage nobody knows what they belong to, and they stay.
func (s *Spool) sweep(names map[string]int64) error {
	damaged := len(s.damage) > 0
	var orphans, strays []string
	for name, size := range names {
		number, isHint := segmentNumber(name, hintSuffix)
		id, isBody := bodyID(name)
		switch {
		case size < 0: // a directory, say
		case isSegment(name), name == lockName, name == rosterName, isTemp(name):
		case strings.HasSuffix(name, damagedSuffix):
			damaged = true // at an earlier opening
		case isHint:
			if _, ok := names[segmentName(number)]; !ok {
				orphans = append(orphans, name)
			}
		case isBody && s.hasFile(id):
		case isBody && (s.bodies[id].known || id > s.seen && id <= s.seen+orphanGap):
			orphans = append(orphans, name)
		default:
			strays = append(strays, name)
			if isBody {
				s.strays[id] = true
			}
		}
	}
	for id, size := range s.files {
		if b := s.bodies[id]; b == nil || b.size != size {
			s.report(Damage{File: bodyName(id), Length: size, Reason: "missing body, or of another length"})
		}
	}
	s.tellStrays(strays)
	if damaged {
		for _, name := range orphans {
			if id, ok := bodyID(name); ok {
				s.strays[id] = true
			}
		}
		return nil
	}
	slices.Sort(orphans)
	for _, name := range orphans {
		if err := s.fs.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// hasFile reports whether the body of a message is in a file.
func (s *Spool) hasFile(id uint64) bool {
	_, ok := s.files[id]
	return ok
}

// tellStrays logs which files aren't the spool's.
func (s *Spool) tellStrays(names []string) {
	const some = 10
	if len(names) == 0 {
		return
	}
	slices.Sort(names)
	s.config.Logger.Warn("files in the spool aren't its own, and are left alone",
		"dir", s.dir, "count", len(names), "files", names[:min(some, len(names))])
}
