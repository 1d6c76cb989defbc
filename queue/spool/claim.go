package spool

import (
	"cmp"
	"errors"
	"maps"
	"slices"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// A Claim writes an entry for each of its tasks, in one record. It isn't synced: what a process has written survives
// its own end, and after a crash of the machine a forgotten attempt does no harm. Claim returns when the record is
// written, so that even a message that ends the process at once is counted.
//
// An entry of a claim says what the task's last state doesn't: its attempts, its deaths, and whether it is leased. The
// numbers are totals, so that an entry can be repeated. A later state replaces it. An entryEnd ends all leases before
// it: it is written by Close, if there are leases, and by the Open that finds leases, which then are deaths.
//
// The entries are never live data. A message that is moved gets one for each task that needs it.

// These are the tags of an end of a process.
const endClosed = 2 // a flag: by Close; otherwise it was a death of all leased tasks

// claimed is what an entry of a claim says of a task.
type claimed struct {
	id       uint64
	num      uint32
	attempts int
	deaths   int
	leased   bool
}

// taskKey names a task.
type taskKey struct {
	id  uint64
	num uint32
}

// claimedOf describes a task of the index.
func claimedOf(c spoolClaim) claimed {
	return claimed{c.ID, c.Num, c.Attempts, c.Deaths, c.Is == queue.Leased}
}

// appendClaim appends the entry of a claim. Its tags are those of a state.
func appendClaim(b []byte, c claimed) []byte {
	entry := len(b)
	b = appendEntry(b, entryClaim)
	b = appendUint(b, stateID, c.id)
	b = appendUint(b, stateTask, uint64(c.num))
	b = appendFlag(b, stateLeased, c.leased)
	b = appendUint(b, stateAttempts, uint64(c.attempts))
	b = appendUint(b, stateDeaths, uint64(c.deaths))
	endEntry(b[entry:], 0)
	return b
}

// decodeClaim reads the fields of a claim. With an unknownError, it returns the ID too.
func decodeClaim(b []byte) (c claimed, err error) {
	f := fields{rest: b}
	for f.next() {
		switch f.tag {
		case stateID:
			c.id = f.upTo(maxID)
		case stateTask:
			c.num = f.uint32()
		case stateAttempts:
			c.attempts = int(min(f.uint64(), index.MaxAttempts))
		case stateDeaths:
			c.deaths = int(min(f.uint64(), index.MaxAttempts))
		case stateLeased:
			c.leased = true
		default:
			f.skip()
		}
	}
	if c.id == 0 {
		return claimed{}, errEntry
	}
	return c, f.err()
}

// appendEnd appends the entry of the end of a process.
func appendEnd(b []byte, closed bool) []byte {
	start := len(b)
	b = appendFlag(appendEntry(b, entryEnd), endClosed, closed)
	endEntry(b[start:], 0)
	return b
}

func decodeEnd(b []byte) (closed bool, err error) {
	f := fields{rest: b}
	for f.next() {
		switch f.tag {
		case endClosed:
			closed = true
		default:
			f.skip()
		}
	}
	return closed, f.err()
}

// markClaims hands the entries of a Claim to the log. It returns nil if there are none. s.mu is held, so that a move of
// one of the tasks comes either before and is repeated, or after and knows of the claim.
func (s *Spool) markClaims(granted []spoolClaim) *draft {
	if len(granted) == 0 {
		return nil
	}
	d := s.newDraft(false)
	for _, c := range granted {
		d.record.record = appendClaim(d.record.record, claimedOf(c))
	}
	s.log.hand(&d.record)
	return d
}

// written waits until the entries of markClaims are written. On a full disk the attempt may be forgotten: mail has to
// be claimed so that there is room again.
func (d *draft) written() error {
	if d == nil {
		return nil
	}
	defer d.free()
	err := d.record.wait()
	if err == nil {
		d.spool.log.applied(&d.record)
		return nil
	}
	if errors.Is(err, queue.ErrBroken) || errors.Is(err, queue.ErrClosed) {
		return err
	}
	return nil
}

// endOfLeases returns the payload of the last record of the log, which says that the leases end by Close. For the log,
// leases that have expired end then, too.
func (s *Spool) endOfLeases() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ix.Unsettled() {
		return nil
	}
	return appendEnd(nil, true)
}

// applyClaim takes in a claim. That of a lease counts when the end of the lease is known.
func (s *Spool) applyClaim(fields []byte) error {
	c, err := decodeClaim(fields)
	if c.id == 0 {
		return err
	}
	s.knows(c.id)
	r := s.ix.Task(c.id, c.num)
	switch {
	case r == 0:
	case c.leased:
		s.claims[taskKey{c.id, c.num}] = c
	default:
		delete(s.claims, taskKey{c.id, c.num})
		s.count(c)
	}
	return s.refuse(c.id, err)
}

// count sets the attempts and deaths of a task that waits to those of a claim. It reports whether the task is there.
func (s *Spool) count(c claimed) bool {
	r := s.ix.Task(c.id, c.num)
	if r == 0 {
		return false
	}
	s.ix.Take(r)
	s.ix.SetAttempts(r, c.attempts)
	s.ix.SetDeaths(r, c.deaths)
	s.ix.Put(r)
	return true
}

// applyEnd takes in the end of a process.
func (s *Spool) applyEnd(fields []byte) error {
	closed, err := decodeEnd(fields)
	if err != nil {
		return err
	}
	s.ended = 0
	for _, key := range slices.SortedFunc(maps.Keys(s.claims), taskKey.compare) {
		c := s.claims[key]
		if !closed {
			c.deaths = min(c.deaths+1, index.MaxAttempts)
		}
		if s.count(c) {
			s.ended++
		}
	}
	clear(s.claims)
	return nil
}

func (k taskKey) compare(other taskKey) int {
	return cmp.Or(cmp.Compare(k.id, other.id), cmp.Compare(k.num, other.num))
}

// endOfLast returns the payload of a record that ends the leases of the last process, nil if it had none. pending has
// the last records, which aren't applied yet.
func (s *Spool) endOfLast(pending [][]byte) []byte {
	found := len(s.claims) > 0
	for _, payload := range pending {
		eachEntry(payload, func(_ int, entry []byte) error {
			found = found || entry[0] == entryClaim
			return nil
		})
	}
	if !found {
		return nil
	}
	return appendEnd(nil, false)
}
