package delivery

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/postrider/postrider/queue/internal/permits"
)

// Names of records that aren't those of limits.
const (
	membersRecord = "members"
	learnedRecord = "learned"
)

// shareTurn is one transaction with the store in which this Runner says what it has and what it wants of shared limits,
// and gets its part. The machine begins it and ends it. Between these, apply may be called several times, by another
// goroutine.
type shareTurn struct {
	me, number uint64 // number is the one if me is gone
	watch      permits.Watch
	begun      int64
	asks       []shareAsk
	tell       []LearnedRate // what was learned since the last turn
	known      uint64        // the version of what others have learned that is known
	reads      bool          // that is read

	// These are results.
	read    int64     // when it was read
	now     time.Time // the store's time then
	members *permits.Members
	isNew   bool
	heard   []toldRate
	version uint64
}

// shareAsk is what is asked of one limit.
type shareAsk struct {
	q        *lot
	had      int // permits
	ask      permits.Ask
	many     int   // slots
	every    int64 // 0: there is no rate
	from, to int64 // slots to return, by the store's clock
	free     int64 // when a share has its next message
	stride   int64 // of a rate of which there is a share, at all units

	grant permits.Grant
	first int64 // slot, likewise
	got   int   // slots
	next  int64 // likewise, the first that nobody has
	frees int64 // as free, by the units that it has then
}

// beginShare begins a turn if one is due; nil: none is.
func (m *machine) beginShare(now time.Time) *shareTurn {
	m.at(now)
	sh := m.shared
	if sh == nil || sh.busy || m.shareAt() > m.mono {
		return nil
	}
	t := &shareTurn{me: sh.me, number: m.numberToTry(), watch: sh.watch, begun: m.mono, known: sh.learned}
	tells := sh.mute <= m.mono
	t.reads = tells && (sh.unread || sh.me == 0)
	sh.urgent, sh.unread, sh.busy = false, sh.unread && !tells, true
	var due []*lot
	for name, q := range sh.lots {
		if !q.isUsed() {
			delete(sh.lots, name)
		} else if m.decay(q); m.isDue(q) {
			due = append(due, q)
		}
	}
	if len(due) > maxTurn {
		sh.urgent = true
	}
	for _, q := range firstLots(due) {
		t.asks = append(t.asks, m.askFor(q))
	}
	if tells {
		t.tell = m.toTell()
	}
	return t
}

// numberToTry returns the number for a new member. After a turn whose answer was lost, the same one: otherwise, what it
// got would be lost for permits.Dead. Nobody removes it within permitTime, and one that was removed mustn't come again.
func (m *machine) numberToTry() uint64 {
	sh := m.shared
	if sh.tried == 0 || m.mono-sh.triedAt >= permitTime {
		sh.tried, sh.triedAt = sh.numbers(), m.mono
	}
	return sh.tried
}

// firstLots returns those of due that have this turn, maxTurn at most. Three quarters are for tenants, sources, and
// sites that lately took mail quickly, so that thousands of new sites don't keep those waiting. Of each, those come
// first whose last turn, or whose first use, was first.
func firstLots(due []*lot) []*lot {
	slices.SortFunc(due, func(a, b *lot) int {
		return cmp.Or(cmp.Compare(max(a.turned, a.made), max(b.turned, b.made)), cmp.Compare(a.name, b.name))
	})
	if len(due) <= maxTurn {
		return due
	}
	var first, rest []*lot
	for _, q := range due {
		if q.site == nil || q.site.proven {
			first = append(first, q)
		} else {
			rest = append(rest, q)
		}
	}
	n := min(len(first), max(maxTurn*3/4, maxTurn-len(rest)))
	return append(first[:n], rest[:maxTurn-n]...)
}

// decay has permits given back that weren't used for idleTime.
func (m *machine) decay(q *lot) {
	if q.share != nil {
		m.decayShare(q)
	} else if m.mono-q.checked >= idleTime {
		q.permits = min(q.permits, max(q.peak, q.inFlight()))
		q.peak, q.checked = q.inFlight(), m.mono
	}
}

// isDue reports whether there is something to say about q.
func (m *machine) isDue(q *lot) bool {
	s := &q.slots
	if q.share != nil && q.turned > 0 && m.mono-q.turned < int64(waitTurn) && (q.waits || q.booked > 0) {
		return false
	}
	return q.lacks || q.waits || q.contested || q.booked > max(q.permits, q.inFlight()) || m.shared.called[q.name] ||
		(s.lacks || s.took || s.listed) && s.retry <= m.mono || m.owes(q)
}

// askFor freezes q: until the turn ends, it has no more permits than it uses.
func (m *machine) askFor(q *lot) shareAsk {
	if q.share != nil {
		return m.askForShare(q)
	}
	used, s := q.inFlight(), &q.slots
	a := shareAsk{q: q, had: q.permits, ask: permits.Ask{
		Limit: q.limit, Used: used, Most: max(used, q.permits), Lacking: q.lacks,
		Over: q.over || q.permits > 0 && m.mono-q.since >= int64(permits.Turn),
	}}
	if q.lacks {
		a.ask.Most = max(a.ask.Most, int(q.site.standing.window))
	}
	q.lacks, q.frozen, q.permits = false, true, min(q.permits, used)
	if a.every = s.every; a.every == 0 {
		return a
	}
	left := s.first(m.mono) != never
	switch {
	case s.lacks:
		s.many = int(min(int64(max(2*s.many, firstMany)), 1+int64(permits.Ahead)/s.every))
	case s.unused:
		s.many = max(s.many/2, 1)
	}
	if a.many = s.many; !s.isWanted(m.mono) {
		a.many, s.many = 0, 0
	}
	if n := len(s.blocks); left && q.over { // the others can use them
		b := s.blocks[n-1]
		a.many, a.from, a.to = 0, b.next+b.ahead, b.end+b.ahead
		s.blocks = s.blocks[:n-1]
	}
	s.unused = false
	s.lacks, s.took = false, false
	return a
}

// names returns the names of the records.
func (t *shareTurn) names() []string {
	names := []string{membersRecord}
	if len(t.tell) > 0 || t.reads {
		names = append(names, learnedRecord)
	}
	for i := range t.asks {
		names = append(names, t.asks[i].q.name)
	}
	return names
}

// apply is what the transaction does with the records. mono is the time on the machine's clock.
func (t *shareTurn) apply(now time.Time, mono int64, records map[string][]byte) error {
	all, err := permits.ReadMembers(records[membersRecord])
	if err != nil {
		return fmt.Errorf("the record of members can't be read: %w", err)
	}
	t.read, t.now, t.members = mono, now, all
	me := t.me
	if t.isNew = !all.Has(me); t.isNew {
		me = t.number
	}
	t.watch.Bury(all, me, t.begun)
	eager := func(id uint64) bool { return all.Has(id) && t.watch.IsEager(all, id, mono) }
	var calls []string
	for i := range t.asks {
		a := &t.asks[i]
		book, err := permits.Read(records[a.q.name])
		if err != nil {
			return fmt.Errorf("the record of %s can't be read: %w", a.q.name, err)
		}
		isMember := func(id uint64) bool { return id == me || all.Has(id) }
		if a.stride > 0 {
			book.Left(isMember, now)
			book.Clean(isMember)
			ahead := now.UnixNano() - mono
			a.grant, a.frees = book.Share(me, a.ask, a.free+ahead, a.stride, now, eager)
			a.frees -= ahead
		} else {
			book.Clean(isMember)
			a.grant = book.Permit(me, a.ask, eager)
			book.Return(a.from, a.to)
			if a.first, a.got = book.Slots(me, a.many, a.every, now, eager); a.every > 0 {
				a.next = book.Next
			}
		}
		if a.grant.Waits {
			calls = append(calls, a.q.name)
		}
		book.Clean(func(uint64) bool { return true })
		if data := book.Write(now); data != nil {
			records[a.q.name] = data
		} else {
			delete(records, a.q.name)
		}
	}
	all.Beat(me, calls)
	if err := t.learn(now, me, records); err != nil {
		return err
	}
	records[membersRecord] = all.Write()
	return nil
}

// endShare ends a turn. err is the error of the store. It returns the attempts to cut off.
func (m *machine) endShare(t *shareTurn, err error, now time.Time) (cut []*flight) {
	m.at(now)
	sh := m.shared
	sh.busy, sh.failed, sh.ended = false, err, m.mono
	for i := range t.asks {
		q := t.asks[i].q
		q.frozen, q.turned = false, max(m.mono, 1)
	}
	if err != nil {
		// It may have been stored, so permits stay as low as they are, and slots that were returned are lost.
		m.untell(t.tell)
		if len(t.tell) > 0 || t.reads { // that may be the cause, and mustn't stop the permits
			sh.mute = m.mono + int64(time.Minute)
		}
		sh.unread = sh.unread || t.reads
		for i := range t.asks { // ask again
			a := &t.asks[i]
			a.q.waits = a.q.waits || a.ask.Lacking
			a.q.slots.listed = a.q.slots.listed || a.many > 0
			if a.q.share != nil {
				a.q.share.unsure = true
			}
		}
		sh.next = m.mono + int64(waitTurn)
		return m.cutUncovered()
	}
	if t.isNew && sh.me != 0 { // others have what we had
		cut = m.cutShared()
	}
	sh.renewed, sh.tried = t.begun, 0
	if t.isNew {
		sh.me = t.number
	}
	sh.watch.Note(t.members, t.read)
	clear(sh.called)
	for _, name := range sh.watch.Called(t.members, sh.me, m.mono) {
		if q := sh.lots[name]; q != nil && (q.booked > 0 || len(q.slots.blocks) > 0) {
			sh.called[name] = true
			sh.urgent = sh.urgent || !q.contested && (q.share == nil || q.turned+int64(waitTurn) <= m.mono)
		}
	}
	for i := range t.asks {
		m.granted(t, &t.asks[i])
	}
	m.hear(t)
	sh.next = m.nextShare()
	return cut
}

// granted takes in what a limit gave.
func (m *machine) granted(t *shareTurn, a *shareAsk) {
	q, g := a.q, a.grant
	if g.Permits > 0 && a.had == 0 {
		q.since = m.mono
	}
	q.permits, q.booked, q.others = g.Permits, g.Booked, g.Others
	q.waits, q.contested = g.Waits, g.Contested
	if q.share != nil {
		q.share.tat, q.share.written, q.share.unsure = a.frees, a.frees, false
		return
	}
	q.over = a.ask.Over && g.Permits == 0 && g.Booked > 0 // until all of it is given back
	s := &q.slots
	s.listed = a.many > 0
	if a.got > 0 {
		ahead := t.now.UnixNano() - t.read
		first := a.first - ahead
		s.blocks = append(s.blocks, block{
			first: first, next: first, end: first + int64(a.got)*a.every, slip: t.read - t.begun, ahead: ahead,
		})
	}
	if a.many > 0 {
		s.retry = m.mono + int64(waitTurn)
		if a.got == 0 {
			s.retry = max(s.retry, a.next-t.now.UnixNano()+t.read-int64(permits.Ahead))
		}
	}
	if q.site != nil {
		m.lineUp(q.site)
	}
}

// nextShare returns when the next turn is due, unless something new comes up.
func (m *machine) nextShare() int64 {
	next := int64(never)
	if len(m.shared.tell) > 0 || m.shared.unread {
		next = max(m.shared.mute, m.mono+int64(waitTurn))
	}
	for _, q := range m.shared.lots {
		if q.booked > 0 {
			next = min(next, m.mono+int64(restTurn))
		}
		if q.waits || q.contested {
			next = min(next, m.mono+int64(waitTurn))
		}
		if s := &q.slots; s.listed {
			next = min(next, max(s.retry, m.mono+int64(waitTurn)))
		}
	}
	return next
}

// shareAt returns when a turn is due, never if none is.
func (m *machine) shareAt() int64 {
	sh := m.shared
	switch {
	case sh.busy:
		return never
	case sh.urgent && sh.failed == nil:
		return min(sh.next, sh.ended+int64(soonTurn))
	}
	return sh.next
}

// cutUncovered returns the attempts to cut off if the store wasn't reached for permitTime.
func (m *machine) cutUncovered() []*flight {
	if m.isCovered() {
		return nil
	}
	return m.cutShared()
}

// cutShared ends what this Runner has of shared limits. It returns the attempts to cut off.
func (m *machine) cutShared() (cut []*flight) {
	for _, q := range m.shared.lots {
		q.permits, q.slots.blocks = 0, nil
	}
	for _, l := range [...]*flights{&m.young, &m.old} {
		for f := l.first; f != nil; f = f.next {
			if f.t.party.site.lot != nil && f.kind != atDesk {
				cut = append(cut, f)
			}
		}
	}
	return cut
}

// leave is a transaction in which a Runner leaves. What it has is free then.
func (sh *sharing) leave(records map[string][]byte) error {
	all, err := permits.ReadMembers(records[membersRecord])
	if err != nil {
		return err
	}
	delete(all.Members, sh.me)
	delete(all.Members, sh.tried)
	records[membersRecord] = all.Write()
	return nil
}
