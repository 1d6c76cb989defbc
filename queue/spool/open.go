package spool

import (
	"cmp"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/queue/internal/index"
)

const (
	segmentSuffix = ".segment"
	hintSuffix    = ".hint"
	bodySuffix    = ".body"
	spareSuffix   = ".spare"
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
func newIndexed(c *Options) *Spool {
	return &Spool{
		ix: index.New[place, place](c.Now), keys: index.NewKeys(c.KeyTime, c.MaxKeys, c.Now),
		perSeg: map[uint32]usage{}, files: map[uint64]int64{},
		busy: map[uint64]chan struct{}{}, refused: map[uint64]error{}, strays: map[uint64]bool{},
		claims: map[taskKey]claimed{},
	}
}

// openSpool opens the spool that fs has. It is this process's alone. dir is its name in messages.
func openSpool(fs FS, dir string, c Options) (s *Spool, err error) {
	c.Logger = guard.Logger(c.Logger)
	s = newIndexed(&c)
	s.fs, s.dir, s.config = newGate(fs), dir, c
	s.tidy, s.quit = make(chan struct{}, 1), make(chan struct{})
	s.space.since = time.Now()
	s.log = &spoolLog{
		fs: s.fs, dir: dir, limit: c.SegmentSize, delay: c.SyncDelay,
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
	names, err := s.fs.List()
	if err != nil {
		return nil, err
	}
	s.bodies = foundBodies(names)
	if segments, err = openSegments(s.fs, names); err != nil {
		return nil, err
	}
	old, err := s.readRoster(segments)
	if err != nil {
		return nil, err
	}
	findSalts(segments, old)
	if segments, err = s.replayAll(segments, old, names); err != nil {
		return nil, err
	}
	s.keys.Sort()
	s.refused, s.claims = nil, nil
	if err := s.sweep(names); err != nil {
		return nil, err
	}
	s.bodies = nil
	s.log.start(segments)
	if err := s.createRoster(); err != nil {
		s.dropRoster(err)
	}
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

// replayAll takes in what the segments have, and adds one to write to. Nothing is changed before it is known that this
// program can have all of it.
func (s *Spool) replayAll(segments []*segment, old *roster, names map[string]int64) ([]*segment, error) {
	p := &progress{log: s.config.Logger, dir: s.dir, next: time.Now().Add(time.Second)}
	for _, seg := range segments {
		p.total += seg.size
	}
	missing := missingSegments(segments, old, names)
	for _, number := range missing {
		s.report(Damage{File: segmentName(number), Reason: "missing segment"})
	}
	next, lastFound := segmentHeader{number: 1}, uint32(0)
	used := slices.ContainsFunc(segments, func(seg *segment) bool { return seg.size > segmentHeaderLen })
	for i, seg := range segments {
		if seg.damaged {
			s.report(Damage{File: segmentName(seg.number), Length: segmentHeaderLen, Reason: seg.reason.Error()})
		}
		if seg.beyond > 0 {
			s.report(Damage{segmentName(seg.number), maxSegment, seg.beyond, "too long for a segment"})
			seg.damaged = true
		}
		if i == len(segments)-1 {
			break
		}
		end := seg.size
		if after := segments[i+1]; after.follows(seg) {
			end = int64(after.header.previous)
		}
		if err := s.replay(seg, end, p); err != nil {
			return segments, err
		}
	}
	var pending [][]byte
	if n := len(segments); n > 0 {
		last := segments[n-1]
		lastFound = last.number
		size := last.size
		proven, err := s.provenEnd(last)
		if err == nil {
			err = s.replay(last, proven, p)
		}
		if err != nil {
			return segments, err
		}
		if pending, err = last.records(proven, size); err != nil {
			last.damaged = true
			s.report(Damage{segmentName(last.number), proven, size - proven, err.Error()})
		}
		if err := cmp.Or(s.checkRefused(), checkTail(pending)); err != nil {
			return segments, err
		}
		next = segmentHeader{number: last.number + 1, previous: uint32(proven), before: last.salt}
		if !last.readable {
			next.before = unknownSalt
		}
		if proven <= segmentHeaderLen && !last.damaged {
			// All of it is in the new segment, which takes its place.
			next = segmentHeader{number: last.number, previous: last.header.previous, before: last.header.before}
			last.file.Close()
			segments = segments[:n-1]
		}
	}
	if old != nil && old.last > lastFound {
		next = segmentHeader{number: old.last + 1, before: unknownSalt}
	}
	if err := s.parIDs(old, len(missing), used); err != nil {
		return segments, err
	}
	next.next = s.last + 1
	if err := s.removeTemps(names); err != nil {
		return segments, err
	}
	s.markMissing(missing)
	end := s.endOfLast(pending)
	if end != nil {
		pending = append(pending, end)
	}
	seg, err := createSegment(s.fs, next, pending, nil)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		if s.removeHints(segments, names) {
			seg, err = createSegment(s.fs, next, pending, nil)
		}
	}
	if err != nil {
		return segments, err
	}
	segments = append(segments, seg)
	if err := s.replay(seg, seg.size, p); err != nil {
		return segments, err
	}
	if end != nil && s.ended > 0 {
		s.config.Logger.Warn("tasks were claimed when the last process ended", "dir", s.dir, "tasks", s.ended)
	}
	return segments, nil
}

// parIDs leaves out the IDs that were given out by what is lost, so that none comes again. used says that a segment
// has, or had, records: none of them may have been read so far.
func (s *Spool) parIDs(old *roster, missing int, used bool) error {
	s.seen = s.last
	if old != nil {
		s.last = max(s.last, old.next-1)
	}
	if s.last > 0 || missing > 0 || used {
		s.last += idGap * uint64(1+missing)
	}
	if s.last > maxID/2 {
		return errIDs
	}
	return nil
}

// provenEnd tells how far the newest segment was on the disk for certain when it was last written to. What
// stands behind may have been read from the system's cache, and the disk may never get it: it is
// written once more, into the new segment.
func (s *Spool) provenEnd(seg *segment) (int64, error) {
	end := int64(segmentHeaderLen)
	if !seg.readable {
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
