package delivery

import (
	"crypto/sha256"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postrider/postrider/queue/internal/permits"
)

// lot is what this Runner has of a limit that the Runners of a store share: permits, which are tasks that may be in
// flight at a site, and slots of a rate.
//
// Between two calls of the machine: the record in the store has at least as many permits as tasks are in flight, and as
// permits says, except after permitTime without the store, when all tasks are cut off.
type lot struct {
	name      string // of the record
	site      *site  // nil: it is of a tenant or a source, or its site is forgotten
	limit     int    // of permits, for all Runners
	permits   int    // tasks that may be in flight
	booked    int    // permits in the record
	others    int    // permits of other Runners, as of the last turn
	lacks     bool   // a task waits for a permit
	waits     bool   // the last turn gave fewer permits than were wanted
	contested bool   // others have less than their part
	frozen    bool   // a turn is under way
	since     int64  // when it last got its first permit
	over      bool   // its turn is over, and tasks are still in flight
	peak      int    // the most tasks in flight since checked
	checked   int64
	turned    int64 // when it was last in a turn
	made      int64
	slots     slots
	share     *rateShare // of a tenant or a source
}

// slots are moments at each of which one message may go: a Rate, as far as this Runner has a part of it.
type slots struct {
	every  int64
	blocks []block
	many   int   // how many to ask for
	lacks  bool  // a message waits for one
	took   bool  // one was taken since the last turn
	unused bool  // some have passed unused
	listed bool  // the record says that some are wanted
	retry  int64 // when to ask again
}

// block is some slots in a row, on the machine's clock.
type block struct {
	first, next, end int64
	slip             int64 // how late the store's time may have been
	ahead            int64 // of the store's clock, to ours
}

// late is how long a slot of a block can be used: until the next one or, as messages that fall into a tenth of a second
// go together, a little longer.
func (s *slots) late(b *block) int64 { return max(s.every, 2*slack) - b.slip }

// first returns when the next message may go, never if that isn't known.
func (s *slots) first(now int64) int64 {
	for len(s.blocks) > 0 {
		b := &s.blocks[0]
		if over := now - b.next - s.late(b); over >= 0 {
			b.next += (over/s.every + 1) * s.every
			s.unused = true
		}
		if b.next < b.end {
			return b.next
		}
		s.blocks = s.blocks[1:]
	}
	return never
}

// isWanted reports whether messages wait for slots, or some were lately sent.
func (s *slots) isWanted(now int64) bool { return s.lacks || s.took || s.first(now) != never }

// take uses the next slot.
func (s *slots) take(now int64) {
	if s.first(now) <= now {
		s.blocks[0].next += s.every
		s.took = true
	}
}

// giveBack undoes the last n takes.
func (s *slots) giveBack(n int) {
	if len(s.blocks) > 0 {
		b := &s.blocks[0]
		b.next = max(b.first, b.next-int64(n)*s.every)
	}
}

// inFlight is how many tasks use its permits.
func (q *lot) inFlight() int {
	if q.site == nil {
		return 0
	}
	return int(q.site.held)
}

// isUsed reports whether the store knows of something that this Runner has or wants.
func (q *lot) isUsed() bool {
	return q.site != nil || q.booked > 0 || q.lacks || q.waits ||
		q.slots.listed || q.slots.lacks || q.slots.took || q.frozen
}

// These are the times of package permits, on the machine's clock, and those of turns.
const (
	permitTime = int64(permits.Hold)

	restTurn  = 2 * time.Second         // between turns while nothing is wanted
	waitTurn  = time.Second             // while something is
	soonTurn  = 50 * time.Millisecond   // when something new is wanted
	idleTime  = int64(30 * time.Second) // permits that weren't used for so long are given back
	maxTurn   = 200                     // records in a turn
	firstMany = 4                       // slots that are asked for at first
)

// sharing is what a machine shares with those of other Runners.
type sharing struct {
	lots    map[string]*lot
	me      uint64 // the number of the member; 0: none yet
	numbers func() uint64
	tried   uint64 // the number that a turn had for a new member while its answer isn't known; 0: none
	triedAt int64  // when the first of such turns began
	watch   permits.Watch
	called  map[string]bool // others want what we may have
	renewed int64           // when the last turn that succeeded began
	ended   int64           // when the last turn ended
	next    int64           // when the next turn is due
	urgent  bool            // a turn is due soon
	busy    bool            // a turn is under way
	failed  error           // of the last turn
	learned uint64          // the version of the learned rates that is known
	unread  bool            // there is a newer one
	tell    map[toldKey]bool
	mute    int64 // no learned rates are told or read before: a turn with them has failed
}

func newSharing(numbers func() uint64) *sharing {
	return &sharing{
		lots: make(map[string]*lot), numbers: numbers, watch: make(permits.Watch), called: make(map[string]bool),
		tell: make(map[toldKey]bool), renewed: -permitTime, ended: -int64(soonTurn), next: never,
	}
}

// recordName returns the name of a record. Names that are too long have a hash in their place.
func recordName(kind, name string) string {
	const most = 200
	if len(name) > most || strings.ContainsRune(name, 0) || !utf8.ValidString(name) {
		name = fmt.Sprintf("#%x", sha256.Sum256([]byte(name)))
	}
	return kind + " " + name
}

// lotOf returns the lot of a name, nil if nothing is shared.
func (m *machine) lotOf(kind, name string) *lot {
	if m.shared == nil {
		return nil
	}
	name = recordName(kind, name)
	q := m.shared.lots[name]
	if q == nil {
		q = &lot{name: name, checked: m.mono, made: m.mono}
		m.shared.lots[name] = q
	}
	return q
}

// isCovered reports whether this Runner may use what it has of shared limits.
func (m *machine) isCovered() bool { return m.mono-m.shared.renewed < permitTime }

// permitted returns how many tasks may be in flight at s as far as shared limits go.
func (m *machine) permitted(s *site) int {
	switch {
	case s.lot == nil:
		return math.MaxInt32
	case !m.isCovered():
		return 0
	}
	return s.lot.permits
}

// lackPermit notes that a task waits for a permit.
func (m *machine) lackPermit(q *lot) {
	if !q.lacks && !q.waits && !q.frozen {
		m.shared.urgent = true
	}
	q.lacks = true
}

// slotAt returns when the next message may go that a shared rate counts, never if that isn't known.
func (m *machine) slotAt(q *lot, r Rate) int64 {
	if q.slots.every = r.every(); q.slots.every == 0 {
		return m.mono
	}
	if !m.isCovered() {
		return never
	}
	return q.slots.first(m.mono)
}

// lackSlot notes that a message waits for a slot.
func (m *machine) lackSlot(q *lot) {
	if !q.slots.lacks && q.slots.retry <= m.mono && !q.frozen {
		m.shared.urgent = true
	}
	q.slots.lacks = true
}

// siteRateAt returns when the rate of s that is set by hand allows the next message.
func (m *machine) siteRateAt(s *site) int64 {
	if s.lot != nil {
		return m.slotAt(s.lot, s.limits.Rate)
	}
	return s.bucket.at(s.limits.Rate)
}

// takeRate counts a message for that rate.
func (m *machine) takeRate(s *site) {
	if s.lot == nil {
		s.bucket.take(s.limits.Rate, m.mono)
	} else if s.limits.Rate.every() > 0 {
		s.lot.slots.take(m.mono)
	}
}

// giveRate takes back n messages.
func (m *machine) giveRate(s *site, n int) {
	if s.lot == nil {
		s.bucket.giveBack(s.limits.Rate, n)
	} else if s.limits.Rate.every() > 0 {
		s.lot.slots.giveBack(n)
	}
}

// lack notes what s waits for: a permit or a slot.
func (m *machine) lack(s *site, k kind) {
	q := s.lot
	if q == nil {
		return
	}
	window := int(s.standing.window)
	if k == probe {
		window = 1
	}
	switch held := int(s.held); {
	case held >= window:
	case held >= m.permitted(s):
		m.lackPermit(q)
	case m.siteRateAt(s) == never:
		m.lackSlot(q)
	}
}

// bindLot has s use its lot.
func (m *machine) bindLot(s *site) {
	if q := m.lotOf("site", s.name); q != nil {
		q.site, q.limit, s.lot = s, s.limits.Concurrency, q
	}
}

// unbindLot ends bindLot when s is forgotten. It may come up again soon, so the lot is kept for a while.
func (m *machine) unbindLot(s *site) {
	if s.lot != nil {
		s.lot.site, s.lot.lacks, s.lot.slots.lacks = nil, false, false
	}
}
