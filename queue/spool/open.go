package spool

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/queue/internal/index"
	"github.com/postrider/postrider/queue/internal/mutant"
)

const (
	segmentSuffix = ".segment"
	hintSuffix    = ".hint"
	bodySuffix    = ".body"
	tempSuffix    = ".tmp"     // of files that mean nothing yet
	damagedSuffix = ".damaged" // of segments that are kept for what can't be read in them

	// idGap parts the ids of one life of the spool from those of the next: more than a cut or damaged
	// tail can have held, so that none comes again.
	idGap = 1 << 20
)

func bodyName(id uint64) string { return string(index.FormatID(id)) + bodySuffix }

// tempName makes a name for a file that is to become a body file.
func (s *Spool) tempName() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.temps++
	return strconv.FormatUint(s.temps, 10) + bodySuffix + tempSuffix
}

// newIndexed makes a Spool that knows what it is made to apply, and has no files.
func newIndexed() *Spool {
	return &Spool{
		ix: index.New[place, place](), perSeg: map[uint32]usage{}, files: map[uint64]int64{},
		busy: map[uint64]chan struct{}{}, refused: map[uint64]error{},
	}
}

// openSpool opens the spool that fs has. It is this process's alone. dir is its name in messages.
func openSpool(fs FS, dir string, c Options) (s *Spool, err error) {
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	s = newIndexed()
	s.fs, s.dir, s.config = fs, dir, c
	s.tidy, s.quit = make(chan struct{}, 1), make(chan struct{})
	s.space.since = time.Now()
	s.log = &spoolLog{
		fs: fs, dir: dir, limit: c.SegmentSize, delay: c.SyncDelay,
		nextID: s.nextID, onSync: s.synced, onRoll: s.wakeJanitor, onFail: s.wakeJanitor,
	}
	var segments []*segment
	defer func() {
		if err != nil {
			for _, seg := range segments {
				seg.file.Close()
			}
		}
	}()
	names, err := fs.List()
	if err != nil {
		return nil, err
	}
	if segments, err = openSegments(fs, names); err != nil {
		return nil, err
	}
	if segments, err = s.replayAll(segments); err != nil {
		return nil, err
	}
	s.refused = nil
	if err := s.sweep(names); err != nil {
		return nil, err
	}
	s.log.start(segments)
	s.janitor.Go(s.keepTidy)
	s.wakeJanitor()
	return s, nil
}

// nextID tells the log what ids come next.
func (s *Spool) nextID() uint64 {
	s.arrivals.Lock()
	defer s.arrivals.Unlock()
	return s.last + 1
}

// segmentNumber tells which segment a file with that suffix belongs to.
func segmentNumber(name, suffix string) (uint32, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	number, err := strconv.ParseUint(digits, 10, 32)
	return uint32(number), ok && err == nil && segmentName(uint32(number)) == digits+segmentSuffix
}

// openSegments opens what segments there are, in their order, and changes nothing.
func openSegments(fs FS, names map[string]int64) (segments []*segment, err error) {
	for name := range names {
		number, ok := segmentNumber(name, segmentSuffix)
		if !ok {
			continue
		}
		f, err := fs.Open(name, false)
		if err != nil {
			return segments, err
		}
		seg := &segment{number: number, file: f}
		segments = append(segments, seg)
		if err := seg.readHeader(); err != nil {
			return segments, fmt.Errorf("%s: %w", name, err)
		}
	}
	slices.SortFunc(segments, func(a, b *segment) int { return cmp.Compare(a.number, b.number) })
	return segments, nil
}

// readHeader reads the header as far as it is good.
func (seg *segment) readHeader() (err error) {
	if seg.size, err = seg.file.Size(); err != nil {
		return err
	}
	if seg.size > maxSegment {
		seg.beyond, seg.size = seg.size-maxSegment, maxSegment
	}
	sc := scanner{r: seg.file}
	const n = segmentHeaderLen + recordHeaderLen
	b, err := sc.peek(0, n, min(n, seg.size))
	if err != nil {
		return err
	}
	seg.header, err = decodeSegmentHeader(b)
	if _, ok := errors.AsType[*versionError](err); ok {
		return err
	}
	if err == nil && seg.header.number != seg.number {
		err = errHeader
	}
	seg.damaged = err != nil
	seg.salt = seg.header.salt
	if seg.damaged && len(b) == segmentHeaderLen+recordHeaderLen {
		// The first record tells the salt too, and proves it.
		first := b[segmentHeaderLen:]
		seg.salt = salt(first[:saltLen])
		_, seg.readable = decodeRecordHeader(first, seg.salt, segmentHeaderLen)
	}
	seg.readable = seg.readable || !seg.damaged
	return nil
}

// replayAll takes in what the segments have, and adds one to write to.
func (s *Spool) replayAll(segments []*segment) ([]*segment, error) {
	p := &progress{log: s.config.Logger, dir: s.dir, next: time.Now().Add(time.Second)}
	for _, seg := range segments {
		p.total += seg.size
	}
	next := segmentHeader{number: 1}
	for i, seg := range segments {
		if i > 0 && seg.number != segments[i-1].number+1 {
			s.report(Damage{File: segmentName(segments[i-1].number + 1), Reason: "missing segment"})
		}
		if seg.damaged {
			s.report(Damage{File: segmentName(seg.number), Length: segmentHeaderLen, Reason: errHeader.Error()})
		}
		if seg.beyond > 0 {
			s.report(Damage{segmentName(seg.number), maxSegment, seg.beyond, "too long for a segment"})
			seg.damaged = true
		}
		if i == len(segments)-1 {
			break
		}
		end := seg.size
		if after := segments[i+1]; !after.damaged && after.number == seg.number+1 {
			end = int64(after.header.previous)
		}
		if err := s.replay(seg, end, p); err != nil {
			return segments, err
		}
	}
	var pending [][]byte
	if len(segments) > 0 {
		last := segments[len(segments)-1]
		size := last.size
		proven, err := s.provenEnd(last)
		if err == nil {
			err = s.replay(last, proven, p)
		}
		if err == nil {
			pending, err = last.records(proven, size)
		}
		if err == nil {
			err = cmp.Or(s.checkRefused(), checkTail(pending))
		}
		if err != nil {
			return segments, err
		}
		if s.last > 0 {
			s.last += idGap
		}
		if s.last > maxID/2 {
			return segments, errIDs
		}
		next = segmentHeader{number: last.number + 1, previous: uint32(proven)}
		if proven <= segmentHeaderLen && !last.damaged {
			// All of it is in the new segment, which takes its place.
			next = segmentHeader{number: last.number, previous: last.header.previous}
			last.file.Close()
			segments = segments[:len(segments)-1]
		}
	}
	next.next = s.last + 1
	seg, err := createSegment(s.fs, next, pending, nil)
	if err != nil {
		return segments, err
	}
	segments = append(segments, seg)
	if err := s.replay(seg, seg.size, p); err != nil {
		return segments, err
	}
	return segments, nil
}

// provenEnd tells how far the newest segment was on the disk for certain when it was last written to. What
// stands behind may have been read from the system's cache, and the disk may never get it: it is
// written once more, into the new segment.
func (s *Spool) provenEnd(seg *segment) (int64, error) {
	end := int64(segmentHeaderLen)
	if !seg.readable || mutant.On == mutant.WritesOn {
		return seg.size, nil
	}
	sc := scanner{r: seg.file, salt: seg.salt}
	_, err := sc.scan(segmentHeaderLen, seg.size, func(rec record) error {
		if rec.durable <= rec.off {
			end = max(end, rec.durable)
		}
		return nil
	})
	return end, err
}

// sweep removes what files no message refers to and looks whether the others are there. Where there is
// damage nobody knows what they belong to, and they stay.
func (s *Spool) sweep(names map[string]int64) error {
	damaged := len(s.damage) > 0
	found := map[string]int64{}
	var stray []string
	for name, size := range names {
		switch {
		case strings.HasSuffix(name, tempSuffix):
			stray = append(stray, name)
		case strings.HasSuffix(name, bodySuffix):
			found[name] = size
		case strings.HasSuffix(name, damagedSuffix):
			damaged = true // at an earlier opening
		}
		if number, ok := segmentNumber(name, hintSuffix); ok {
			if _, ok := names[segmentName(number)]; !ok {
				stray = append(stray, name)
			}
		}
	}
	for id, size := range s.files {
		name := bodyName(id)
		if got, ok := found[name]; !ok || got != size {
			s.report(Damage{File: name, Length: size, Reason: "missing body, or of another length"})
		}
		delete(found, name)
	}
	if !damaged {
		stray = slices.AppendSeq(stray, maps.Keys(found))
	}
	slices.Sort(stray)
	for _, name := range stray {
		if err := s.fs.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// progress tells of a start that takes long.
type progress struct {
	log         *slog.Logger
	dir         string
	total, done int64 // octets of the log
	looked      int64 // what was done when it looked at the clock
	next        time.Time
}

func (p *progress) add(n int64) {
	p.done += n
	if p.done-p.looked < 256<<10 {
		return
	}
	p.looked = p.done
	if now := time.Now(); !now.Before(p.next) {
		p.next = now.Add(time.Second)
		percent := 100 * p.done / max(p.total, 1)
		p.log.Info("opening the spool", "dir", p.dir, "percent", percent, "octets", p.done, "of", p.total)
	}
}
