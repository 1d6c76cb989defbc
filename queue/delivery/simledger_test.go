package delivery

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/clocktest"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/smtp"
)

// simLedger is what is known of all mail, by those who were told: what the spool and the Runner do is held against it.
type simLedger struct {
	*simLog
	world    *simWorld
	clock    *clocktest.Clock
	schedule *simSchedule
	most     int           // tasks at a site
	rate     Rate          // of a tenant
	messages []*simMessage // in the order in which they came up
	byRef    map[string]*simMessage
	byID     map[queue.ID]*simMessage
	change   *simChange // under way; nil: none is
	claiming bool       // a Claim was under way when the process ended
	lost     bool       // what it had written may be lost
}

// simMessage is a message: the outside's, or a report.
type simMessage struct {
	ref, from, tenant string
	id                queue. // if it is known
				ID
	arrival, notBefore, noticeAt, deadline time.Time
	accepted, held                         must
	freeSince                              time.Time // when it was last released
	tasks                                  []*simTask
	report                                 *simTask // its report task, whether there is one or not
	key                                    string
	keyedAt                                time.Time // by the true clock
	envelope                               *smtp.Envelope
	destinations                           []string
	about                                  []*simRecipient // of a report: those that it says will never get the message
	delayed                                []*simRecipient // those that will get it later
}

type simTask struct {
	*simMessage
	dest       string
	recipients []*simRecipient
	due        time.Time // by the clock of the machine, before which it isn't sent
	once       bool      // it is due at once
	added      time.Time // of a report task: the earliest time for what was added since its claim
	attempts   int       // as the queue counts
	stored     simStored
	was        []simWas
	begun      int // attempts
	leased     bool
	lapse      time.Time // of a lease that nobody holds any more
	noticed    bool
}

// simStored is what the disk has of a task.
type simStored struct {
	due      time.Time
	once     bool
	attempts int
	claimed  int // attempts with the claims since, which a crash may undo unless it only kills
}

// simWas is what it had before the settlement with the record of that number, which a crash may undo.
type simWas struct {
	simStored
	seq int
}

type simRecipient struct {
	task    *simTask
	address string
	end     simEnd
	seq     int  // of the record that says so
	unsure  bool // the last crash may have undone it
	taken   int  // times that a host took the message
	again   bool // one may once more, as nobody knows of the last
	reports int  // that say it will never get it
	delays  int
	owes    bool // the report task has it, as one that will never get the message
}

// simEnd is what a recipient's way through the queue ended with.
type simEnd string

const (
	simOpen      simEnd = ""
	simDelivered simEnd = "delivered"
	simRejected  simEnd = "rejected"
	simExpired   simEnd = "expired"
	simCancelled simEnd = "cancelled"
	simPurged    simEnd = "purged"
)

// simChange is something that is done as a whole or not at all, durably when it has reports.
type simChange struct {
	task    *simTask // of a settlement
	stored  simStored
	ends    []simEnding
	owed    []*simRecipient // that the report task gets, as those that will never get the message
	reports []*simMessage
}

type simEnding struct {
	*simRecipient
	end  simEnd
	owed bool // it leaves the report task
}

func newSimLedger(log *simLog) *simLedger {
	return &simLedger{simLog: log, byRef: map[string]*simMessage{}, byID: map[queue.ID]*simMessage{}}
}

// add notes a message that may be there from now on.
func (l *simLedger) add(m *simMessage, msg *queue.Message) {
	m.arrival, m.notBefore, m.noticeAt, m.deadline = l.clock.Now().Round(0), msg.NotBefore, msg.NoticeAt, msg.Deadline
	m.ref, m.from, m.tenant, m.held, m.freeSince = msg.Ref, msg.Envelope.From, msg.Tenant, no, time.Now()
	m.key, m.keyedAt, m.envelope, m.destinations = msg.Key, time.Now(), msg.Envelope, msg.Destinations
	for i, rcpt := range msg.Envelope.Recipients {
		at := slices.IndexFunc(m.tasks, func(t *simTask) bool { return t.dest == msg.Destinations[i] })
		if at < 0 {
			at = len(m.tasks)
			t := &simTask{simMessage: m, dest: msg.Destinations[i], due: m.notBefore}
			if t.once = m.notBefore.IsZero(); t.once {
				t.due = m.arrival
			}
			t.stored = simStored{t.due, t.once, 0, 0}
			m.tasks = append(m.tasks, t)
		}
		t := m.tasks[at]
		t.recipients = append(t.recipients, &simRecipient{task: t, address: rcpt.Address})
	}
	m.report = &simTask{simMessage: m, dest: queue.ReportDestination}
	l.messages = append(l.messages, m)
	l.byRef[m.ref] = m
}

// arrived notes when exactly the spool has put it that a message came.
func (l *simLedger) arrived(t *simTask, task *queue.Task) {
	if late := task.Arrival.Sub(t.arrival); late < 0 || late > time.Second {
		l.problem("%v arrived %v after it was handed over", t, late)
	}
	t.arrival = task.Arrival
}

// task finds one, nil if there is none that could be meant.
func (l *simLedger) task(t *queue.Task) *simTask {
	m := l.byRef[t.Ref]
	if m == nil {
		return nil
	}
	if t.Destination == queue.ReportDestination {
		return m.report
	}
	i := slices.IndexFunc(m.tasks, func(have *simTask) bool { return have.dest == t.Destination })
	if i < 0 {
		return nil
	}
	return m.tasks[i]
}

func (t *simTask) String() string { return t.ref + " " + t.dest }

func (r *simRecipient) String() string { return r.task.ref + " " + r.address }

// open gives those that aren't settled.
func (t *simTask) open() (open []*simRecipient) {
	for _, r := range t.recipients {
		if r.end == simOpen {
			open = append(open, r)
		}
	}
	return open
}

// begin notes what may be done when it returns, or never.
func (l *simLedger) begin(c *simChange) {
	l.change = c
	for _, m := range c.reports {
		m.accepted = either
	}
}

// finish says that it is done, with a record up to seq. A crash may undo it until that is on the disk.
func (l *simLedger) finish(seq int) {
	c := l.change
	l.change = nil
	for _, e := range c.ends {
		l.note("ends", e.task.ref+" "+e.address, string(e.end), 0)
		e.simRecipient.end, e.seq = e.end, seq
		e.owes = e.owes && !e.owed
	}
	for _, r := range c.owed {
		r.owes = true
	}
	for _, m := range c.reports {
		l.reported(m)
	}
}

// abandon says that nothing was done.
func (l *simLedger) abandon() {
	for _, m := range l.change.reports {
		m.accepted = no
	}
	l.change = nil
}

// reported notes a message that is there for good, and what it says if it is a report.
func (l *simLedger) reported(m *simMessage) {
	if m.accepted = yes; m.isReport() {
		l.counts.reports.Add(1)
	}
	for _, r := range slices.Concat(m.about, m.delayed) {
		if r.task.from == "" {
			l.problem("%v: %s is a report on a report, or on other mail without a sender", r, m.ref)
		}
	}
	for _, r := range m.about {
		r.reports++
	}
	for _, r := range m.delayed {
		r.delays++
	}
}

// takenBy notes that a host took the message, whoever hears of it.
func (l *simLedger) takenBy(r *simRecipient, heard bool) {
	if r.taken > 0 && !r.again {
		l.problem("%v was delivered, and is again", r)
	}
	if r.taken > 0 {
		l.counts.repeats.Add(1)
	}
	r.taken++
	r.again = !heard
}

// endedAt says that the process ended, and that what was written after the record of that number may be undone.
func (l *simLedger) endedAt(synced int) {
	for _, m := range l.messages {
		for _, t := range m.tasks {
			t.was = slices.DeleteFunc(t.was, func(was simWas) bool { return was.seq <= synced })
			for i := range t.was {
				t.was[i].seq = math.MaxInt // the next process counts anew
			}
			for _, r := range t.recipients {
				if r.end != simOpen && r.seq > synced {
					r.unsure = true
				}
				r.seq = 0
			}
		}
	}
	l.byID = map[queue.ID]*simMessage{} // ids that were never told of are given out again
}

// reopened holds what a spool has found against what is known, and takes it over.
func (l *simLedger) reopened(s *spool.Spool) {
	found := map[*simTask]*queue.Task{}
	for task, err := range s.List(context.Background(), queue.Filter{}) {
		if err != nil {
			l.problem("List: %v", err)
			continue
		}
		t := l.task(&task)
		if t == nil || found[t] != nil {
			l.problem("%s %s comes from nowhere, or is there twice", task.Ref, task.Destination)
			continue
		}
		found[t] = &task
		t.id = task.ID
		l.byID[t.id] = t.simMessage
	}
	for _, m := range l.messages {
		there := 0
		for _, t := range m.tasks {
			if found[t] != nil {
				there++
			}
		}
		switch {
		case m.accepted == no && there > 0:
			l.problem("%s is there, and was never accepted", m.ref)
		case m.accepted == either && there == 0:
			m.accepted = no
		case m.accepted == no && found[m.report] != nil:
			l.problem("%s has something to report, and was never accepted", m.ref)
		case m.accepted == either && there < len(m.tasks):
			l.problem("%s is there in part", m.ref)
		case m.accepted == either:
			l.reported(m)
		}
		if m.accepted == yes {
			for _, t := range m.tasks {
				l.compare(t, found[t])
			}
		}
	}
	c := l.change
	l.compareChange(found)
	l.claiming, l.lost = false, false
	for _, m := range l.messages {
		l.compareReport(m, found[m.report], c)
	}
}

// owing lists the recipients that a report task has as those that will never get the message.
func owing(m *simMessage, report *queue.Task) map[*simRecipient]bool {
	owing := map[*simRecipient]bool{}
	if report == nil {
		return owing
	}
	for i, rcpt := range report.Envelope.Recipients {
		if !report.Delayed[i] {
			owing[m.recipient(rcpt.Address)] = true
		}
	}
	return owing
}

// recipient finds one by its address, which no two of a message share.
func (m *simMessage) recipient(address string) *simRecipient {
	for _, t := range m.tasks {
		for _, r := range t.recipients {
			if r.address == address {
				return r
			}
		}
	}
	return nil
}

// compareReport holds what a report task should have against the one that was found, nil if none was. c is what was
// under way.
func (l *simLedger) compareReport(m *simMessage, found *queue.Task, c *simChange) {
	m.report.leased, m.report.lapse = false, time.Time{}
	has := owing(m, found)
	for _, t := range m.tasks {
		for _, r := range t.recipients {
			switch begun := c != nil && slices.Contains(c.owed, r); {
			case r.end == simOpen && has[r]:
				l.problem("%v is to be reported, and isn't settled", r)
			case begun && (r.end != simOpen) != has[r]:
				l.problem("%v is %s, and to be reported: %v", r, r.end, has[r])
			case !begun && r.owes && r.end != simOpen && !has[r]:
				l.problem("%v was to be reported, and that is lost", r)
			case !begun && !r.owes && has[r]:
				l.problem("%v is to be reported, and was or needn't be", r)
			}
			r.owes = has[r]
		}
	}
	if found != nil {
		m.report.due = found.Due
	}
}

func (m *simMessage) isReport() bool { return len(m.about)+len(m.delayed) > 0 }

// compare holds a task against the one that was found, nil if none was.
func (l *simLedger) compare(t *simTask, found *queue.Task) {
	t.leased, t.lapse = false, time.Time{}
	there := map[string]bool{}
	if found != nil {
		for _, rcpt := range found.Envelope.Recipients {
			there[rcpt.Address] = true
		}
	}
	for _, r := range t.recipients {
		switch found := there[r.address]; {
		case r.end == simOpen && !found && !l.change.has(r):
			l.problem("%v was accepted, and is lost", r)
		case r.end != simOpen && found && !r.unsure:
			l.problem("%v was %s, durably, and is there again", r, r.end)
		case r.end != simOpen && found:
			l.note("undone", r.String(), string(r.end), 0)
			r.end, r.again = simOpen, r.taken > 0
		}
		r.unsure = false
	}
	if found == nil {
		return
	}
	if held := found.State == queue.Held; t.held != either && held != (t.held == yes) {
		l.problem("%v is held: %v", t, held)
	}
	t.held = map[bool]must{true: yes, false: no}[found.State == queue.Held]
	l.arrived(t, found)
	stored := []simStored{t.stored}
	for _, was := range slices.Backward(t.was) {
		if l.lost { // the mark of a claim may outlive the settlement before it
			was.claimed = max(was.claimed, t.stored.claimed)
		}
		stored = append(stored, was.simStored)
	}
	if c := l.change; c != nil && c.task == t {
		stored = append(stored, c.stored)
	}
	i := slices.IndexFunc(stored, func(s simStored) bool {
		due := s.due
		if s.once {
			due = found.Arrival
		}
		return due.Equal(found.Due) && l.counted(s, found.Attempts)
	})
	if i < 0 && found.Arrival.After(l.clock.Now()) { // what is due at once is due at any time then
		i = slices.IndexFunc(stored, func(s simStored) bool { return s.once && l.counted(s, found.Attempts) })
	}
	if i < 0 {
		l.problem("%v is due at %v after %d attempts, want one of %v", t, found.Due, found.Attempts, stored)
		return
	}
	if !found.Deadline.Equal(t.deadline) {
		l.problem("%v has the deadline %v, and not %v", t, found.Deadline, t.deadline)
	}
	t.stored, t.was = simStored{found.Due, stored[i].once, found.Attempts, found.Attempts}, nil
	t.due, t.once, t.attempts, t.noticed = found.Due, t.stored.once, found.Attempts, found.NoticeAt.IsZero()
}

// counted reports whether a task of which s is known can have so many attempts after a crash.
func (l *simLedger) counted(s simStored, attempts int) bool {
	least, most := s.attempts, s.claimed
	if !l.lost {
		least = most
	}
	if l.claiming {
		most++
	}
	return least <= attempts && attempts <= most
}

func (c *simChange) has(r *simRecipient) bool {
	return c != nil && slices.ContainsFunc(c.ends, func(e simEnding) bool { return e.simRecipient == r && !e.owed })
}

// compareChange sees to it that what was under way was done as a whole or not at all.
func (l *simLedger) compareChange(found map[*simTask]*queue.Task) {
	c := l.change
	l.change = nil
	if c == nil {
		return
	}
	done := 0
	for _, e := range c.ends {
		if e.owed {
			if !owing(e.task.simMessage, found[e.task.report])[e.simRecipient] {
				done++
				e.simRecipient.end, e.owes = e.end, false
			}
			continue
		}
		t := found[e.task]
		if t == nil || !slices.ContainsFunc(t.Envelope.Recipients, func(rcpt smtp.Recipient) bool { return rcpt.Address == e.address }) {
			done++
			e.simRecipient.end = e.end
		} else {
			e.again = e.taken > 0
		}
	}
	for _, m := range c.reports {
		if len(c.ends) > 0 && (m.accepted == yes) != (done > 0) {
			l.problem("%s is there, and what it reports isn't so, or the other way round", m.ref)
		}
	}
	if done > 0 && done < len(c.ends) {
		l.problem("%v and others ended in part", c.ends[0].simRecipient)
	}
}

// closed checks how everyone has ended, when the queue is empty or time is up.
func (l *simLedger) closed() {
	for _, m := range l.messages {
		if m.accepted != yes {
			continue
		}
		l.counts.messages.Add(1)
		for _, t := range m.tasks {
			for _, r := range t.recipients {
				l.closedFor(r)
			}
		}
	}
}

func (l *simLedger) closedFor(r *simRecipient) {
	owed := 0
	switch r.end {
	case simOpen:
		l.problem("%v is in the queue for ever, due at %v", r, r.task.due)
	case simDelivered:
		if r.taken == 0 {
			l.problem("%v was never delivered", r)
		}
	case simRejected, simExpired, simCancelled:
		if r.task.from != "" {
			owed = 1
		}
	}
	if r.reports != owed {
		l.problem("%v was %s, and %d reports say so, want %d", r, r.end, r.reports, owed)
	}
	if r.delays > 1 || r.delays > 0 && r.task.noticeAt.IsZero() {
		l.problem("%v has %d delay notices", r, r.delays)
	}
}

// must says what has to be found after a crash.
type must uint8

const (
	either must = iota
	yes
	no
)
