package spool

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"math"
)

// The roster is a file that says which segments there should be, so that one that is missing is damage, even the first
// or the last. It has two slots, in sectors of their own, which are written in turn and synced: one that is torn leaves
// the other, which is one change older.
//
//	slot   magic [16]byte, version uint8, [3]byte, first uint32, last uint32, next uint64,
//	       serial uint64, salt [8]byte of the last segment, [8]byte, checksum uint32 of all that
//
// next is above every ID that was given out when the last segment was begun.
//
// Nothing depends on the roster. It is changed before a segment is removed, and soon after one is begun. If it can't be
// written, it is removed. Earlier programs of version 2 leave it as it is, and it is out of date then. It isn't
// believed if a segment after its last one has no salt of the one before, or if its last one has another salt: these
// are theirs.
const (
	rosterName    = "segments"
	rosterMagic   = "postrider log\n\n\n"
	rosterVersion = 1
	slotLen       = 64
)

var errSlots = errors.New("the list of segments is damaged")

type roster struct {
	first, last uint32
	next        uint64
	serial      uint64
	salt        salt
}

func (r *roster) encode() []byte {
	b := make([]byte, slotLen)
	copy(b, rosterMagic)
	b[16] = rosterVersion
	binary.LittleEndian.PutUint32(b[20:], r.first)
	binary.LittleEndian.PutUint32(b[24:], r.last)
	binary.LittleEndian.PutUint64(b[28:], r.next)
	binary.LittleEndian.PutUint64(b[36:], r.serial)
	copy(b[44:52], r.salt[:])
	binary.LittleEndian.PutUint32(b[60:], checksum(b[:60]))
	return b
}

// decodeSlot reports false for what isn't a slot of this version.
func decodeSlot(b []byte) (r roster, ok bool) {
	if len(b) < slotLen || string(b[:16]) != rosterMagic || b[16] != rosterVersion ||
		binary.LittleEndian.Uint32(b[60:]) != checksum(b[:60]) {
		return r, false
	}
	r.first = binary.LittleEndian.Uint32(b[20:])
	r.last = binary.LittleEndian.Uint32(b[24:])
	r.next = binary.LittleEndian.Uint64(b[28:])
	r.serial = binary.LittleEndian.Uint64(b[36:])
	copy(r.salt[:], b[44:])
	return r, r.first > 0 && r.first <= r.last && r.last < math.MaxUint32 && r.next > 0 && r.next <= maxID
}

// slotAt is where in the file the slot of a serial number is.
func slotAt(serial uint64) int64 { return int64(serial%2) * sector }

// readRoster returns the newest slot, nil if there is no roster. sure says that there is no newer one that was torn. An
// error says that the file is there and can't be read.
func readRoster(fsys FS) (newest *roster, sure bool, err error) {
	f, err := fsys.Open(rosterName, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	sure = true
	err = errSlots
	for n := range uint64(2) {
		b := make([]byte, slotLen)
		got, readErr := f.ReadAt(b, slotAt(n))
		r, ok := decodeSlot(b[:got])
		switch {
		case !ok && got < slotLen && readErr != nil:
			sure, err = false, readErr
		case !ok:
			sure = false
		case newest == nil || r.serial > newest.serial:
			newest = &r
		}
	}
	if newest != nil {
		err = nil
	}
	return newest, sure, err
}

// believable reports whether the segments are those that the roster was written for, and newer ones of a program that
// keeps a roster.
func (r *roster) believable(segments []*segment) bool {
	for _, seg := range segments {
		if seg.damaged {
			continue
		}
		if seg.number == r.last && seg.salt != r.salt || seg.number > r.last && seg.header.before == (salt{}) {
			return false
		}
	}
	return true
}

// createRoster writes the roster of what the log has, and keeps it open for changes.
func (s *Spool) createRoster() error {
	const temp = rosterName + tempSuffix
	if err := s.fs.Remove(temp); err != nil {
		return err
	}
	f, err := s.fs.Open(temp, true)
	if err != nil {
		return err
	}
	s.roster = roster{}
	r := s.roster.of(s.log.all())
	slot := r.encode()
	if err = f.Writev(0, slot, make([]byte, sector-slotLen), slot); err == nil {
		err = syncFile(f)
	}
	if err == nil {
		err = s.fs.Rename(temp, rosterName)
	}
	if err == nil {
		err = syncNames(s.fs)
	}
	if err != nil {
		f.Close()
		s.fs.Remove(temp)
		return err
	}
	s.roster, s.rosterFile = r, f
	return nil
}

// of returns the roster that comes after r when the log has these segments. What was to go doesn't come back.
func (r *roster) of(segments []*segment) roster {
	last := segments[len(segments)-1]
	return roster{
		first: max(r.first, segments[0].number), last: last.number,
		next: last.header.next, salt: last.salt, serial: r.serial + 1,
	}
}

// keepRoster notes which segments there are, the first of which may be about to go. Only the janitor calls it, and
// Open and Close.
func (s *Spool) keepRoster(segments []*segment) {
	if s.rosterFile == nil {
		return
	}
	r := s.roster.of(segments)
	if r.first == s.roster.first && r.last == s.roster.last {
		return
	}
	err := s.rosterFile.Writev(slotAt(r.serial), r.encode())
	if err == nil {
		err = syncFile(s.rosterFile)
	}
	if err != nil {
		s.dropRoster(err)
		return
	}
	s.roster = r
}

// dropRoster does without a roster until the spool is opened again: one that is out of date would miss segments that
// aren't needed any more. It is gone for good before such a segment goes.
func (s *Spool) dropRoster(cause error) {
	s.closeRoster()
	s.fs.Remove(rosterName)
	s.fs.Sync()
	s.config.Logger.Warn("list of segments wasn't written", "dir", s.dir, "file", rosterName, "err", cause)
}

func (s *Spool) closeRoster() {
	if s.rosterFile != nil {
		s.rosterFile.Close()
		s.rosterFile = nil
	}
}
