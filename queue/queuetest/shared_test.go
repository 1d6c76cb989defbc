package queuetest_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// base is a store that several Queues share, as they would share a database: plain maps, and nothing of the stores of
// this module. Leases survive a restart, times are rounded to the microsecond, and a Claim is short now and then.
type base struct {
	fault string        // what it does wrong, as faults names it; if empty, nothing
	parts bool          // each lane belongs to one of the open Queues; otherwise each Queue can claim all tasks
	lag   time.Duration // until one Queue's change is announced by the others

	mu      sync.Mutex
	ahead   time.Duration // of the wall clock, by Harness.Step
	fails   error         // of all writes
	serial  int           // of the newest message
	letters map[int]*letter
	jobs    map[jobName]*job
	leases  map[queue.Lease]*job
	lease   queue.Lease // the newest
	settled map[queue.Lease]bool
	keys    map[sharedKey]*sharedFirst
	records map[string][]byte // of Share
	claims  int
	open    []*shared
	stats   queue.Stats // as of counted
	counted time.Time
}

// letter is a message.
type letter struct {
	queue.Message
	serial  int
	body    []byte
	arrival time.Time
	owner   queue.Owner
	held    bool
	why     string  // the HeldFor of its tasks
	holder  *shared // for a fault
}

type jobName struct {
	serial      int
	destination string
}

// job is a task. Its Lease is zero if it was never leased, and void after expires.
type job struct {
	*letter
	queue.Task
	once    bool      // it is due at once
	floor   time.Time // NoticeAt and Deadline don't make it due before
	expires time.Time // of the lease, by a clock that nobody steps
	by      *shared   // the Queue that granted it
	claimed int       // of a report task: the recipients that the lease is for; the others were added since
	added   time.Time // when it is due for those that were added
}

// shared is a Queue on a base.
type shared struct {
	*base
	watchers map[*func(queue.Lane, time.Time)]bool
	closed   bool
	lease    queue.Lease // the newest one of q, for a fault
}

var (
	errNoRecipient = errors.New("shared: no recipient")
	errNotBefore   = errors.New("shared: NotBefore isn't before the Deadline")
	errHeldFor     = errors.New("shared: HeldFor without Held")
	errReserved    = errors.New("shared: the destination is reserved")
	errOwed        = errors.New("shared: wrong Owed")
	errKey         = errors.New("shared: wrong Key")
)

func newBase(fault string) *base {
	return &base{
		fault: fault, lag: 300 * time.Millisecond,
		letters: map[int]*letter{}, jobs: map[jobName]*job{},
		leases: map[queue.Lease]*job{}, settled: map[queue.Lease]bool{}, keys: map[sharedKey]*sharedFirst{},
		records: map[string][]byte{},
	}
}

func (b *base) has(fault string) bool { return b.fault == fault }

// now returns the time by the wall clock. b.mu is held.
func (b *base) now() time.Time { return time.Now().Add(b.ahead) }

// handle returns a Queue on b.
func (b *base) handle() *shared {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := &shared{base: b, watchers: map[*func(queue.Lane, time.Time)]bool{}}
	b.open = append(b.open, q)
	for _, j := range b.jobs { // the leases of others end, too
		if end := j.expires; j.state() == queue.Leased && !b.has("doesn't announce the end of an old lease") {
			time.AfterFunc(time.Until(end), func() {
				b.mu.Lock()
				defer b.mu.Unlock()
				q.tell(j.Lane(), end.Add(b.ahead))
			})
		}
	}
	return q
}

// restart returns a Queue on b after all others have ended.
func (b *base) restart() *shared {
	b.mu.Lock()
	for _, j := range b.jobs {
		if b.has("a restart ends leases") {
			j.expires = time.Time{}
		}
		if b.has("a restart forgets Hold") {
			j.held = false
		}
		if b.has("a restart forgets reasons") {
			j.why = ""
		}
		if b.has("a restart forgets what is owed") && j.isReport() {
			delete(b.jobs, jobName{j.serial, j.Destination})
		}
	}
	if b.has("a restart forgets Keys") {
		clear(b.keys)
	}
	if b.has("a restart forgets records") {
		clear(b.records)
	}
	if b.has("a restart reuses IDs") {
		b.serial = 0
	}
	b.mu.Unlock()
	return b.handle()
}

// Close closes q. Its leases continue until they expire.
func (q *shared) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil
	}
	q.tell(queue.Lane{}, q.now()) // and to the others, which may get its part of the lanes
	q.leave()
	for _, j := range q.jobs {
		if j.by == q && q.has("leases of a closed Queue never end") {
			j.expires = j.expires.Add(1e6 * time.Hour)
		}
	}
	if q.has("a Close closes the others") {
		for _, o := range q.open {
			o.closed = true
		}
	}
	return nil
}

// leave takes q off the Queues that have a part of the lanes, as after a crash.
func (q *shared) leave() {
	q.closed = true
	q.open = slices.DeleteFunc(q.open, func(o *shared) bool { return o == q })
}

// begin locks the base for a call.
func (q *shared) begin(ctx context.Context) error {
	q.mu.Lock()
	if q.closed && !q.has("works after Close") {
		q.mu.Unlock()
		return queue.ErrClosed
	}
	if err := ctx.Err(); err != nil && !q.has("ignores its context") {
		q.mu.Unlock()
		return err
	}
	return nil
}

// mine reports whether the tasks of a lane can be claimed at q.
func (q *shared) mine(l queue.Lane) bool {
	if !q.parts {
		return true
	}
	if q.has("a part has no owner") && len(q.open) > 1 && crc32.ChecksumIEEE([]byte(l.Destination))%2 == 0 {
		return false
	}
	n := (crc32.ChecksumIEEE([]byte(l.Destination)) + uint32(l.Owner)) % uint32(len(q.open))
	return q.open[n] == q
}

// tell announces a lane: at once at q, and later at the other Queues. q.mu is held.
func (q *shared) tell(l queue.Lane, due time.Time) {
	for f := range q.watchers {
		(*f)(l, due)
	}
	if q.has("doesn't announce at other handles") {
		return
	}
	lag := q.lag
	if q.has("announces late at other handles") {
		lag = 2 * time.Second
	}
	for _, o := range q.open {
		if o != q {
			time.AfterFunc(lag, func() {
				q.mu.Lock()
				defer q.mu.Unlock()
				for f := range o.watchers {
					(*f)(l, due)
				}
			})
		}
	}
}

// tellJob announces the task, unless the base has that fault. q.mu is held.
func (q *shared) tellJob(j *job, fault string) {
	if !q.has(fault) {
		q.tell(j.Lane(), j.claimable())
	}
}

// round is what the base keeps of a time.
func (b *base) round(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	if b.has("keeps milliseconds") {
		return t.Round(time.Millisecond)
	}
	if b.parts {
		t = t.Add(time.Microsecond - 1).Truncate(time.Microsecond) // up
	}
	return t.Round(time.Microsecond)
}

// owner returns the number for the owner of a message.
func (b *base) owner(m *queue.Message) queue.Owner {
	name := m.Tenant
	if name == "" || b.has("owner by sender alone") {
		name = m.Envelope.From
	}
	switch {
	case b.has("an owner for each message"):
		return queue.Owner(1 + b.serial)
	case name == "":
		return 0
	case b.has("owner 0 for a tenant") && m.Envelope.From == "":
		return 0
	}
	return queue.Owner(1 + crc32.ChecksumIEEE([]byte(name))%65535)
}

// Enqueue implements [queue.Queue].
func (q *shared) Enqueue(ctx context.Context, m queue.Message) (queue.ID, error) {
	id, _, err := q.EnqueueOnce(ctx, m)
	return id, err
}

// read makes letters of messages, and reads their bodies.
func (q *shared) read(ctx context.Context, messages ...queue.Message) ([]*letter, error) {
	if err := q.begin(ctx); err != nil {
		return nil, err
	}
	q.mu.Unlock()
	letters := make([]*letter, len(messages))
	for i, m := range messages {
		if len(m.Destinations) == 0 || len(m.Destinations) != len(m.Envelope.Recipients) {
			return nil, errNoRecipient
		}
		if len(m.Key) > queue.MaxKey && !q.has("takes a long Key") {
			return nil, errKey
		}
		if slices.Contains(m.Destinations, queue.ReportDestination) && !q.has("takes mail for the destination of reports") {
			return nil, errReserved
		}
		if !m.Deadline.IsZero() && !m.NotBefore.Before(m.Deadline) && !q.has("takes a NotBefore after the Deadline") {
			return nil, errNotBefore
		}
		if m.HeldFor != "" && !m.Held && !q.has("takes HeldFor without Held") {
			return nil, errHeldFor
		}
		body, err := io.ReadAll(m.Body)
		if err != nil && !q.has("stores half a body") {
			return nil, fmt.Errorf("shared: body: %w", err)
		}
		m.Envelope, m.Destinations = cloneEnvelope(m.Envelope), slices.Clone(m.Destinations)
		letters[i] = &letter{Message: m, body: body}
	}
	return letters, nil
}

// add stores letters and announces their tasks. q.mu is held.
func (q *shared) add(untold string, letters []*letter) {
	for _, l := range letters {
		q.serial++
		now := q.round(q.now())
		l.serial, l.arrival, l.owner = q.serial, now, q.owner(&l.Message)
		l.held, l.why = l.Held && !q.has("forgets Held"), l.HeldFor
		q.letters[l.serial] = l
		for i, d := range l.Destinations {
			j := q.jobs[jobName{l.serial, d}]
			if j == nil {
				env := *l.Envelope
				env.Recipients = nil
				j = &job{letter: l, Task: queue.Task{
					ID: formatID(l.serial), Destination: d, Owner: l.owner, Envelope: &env,
					Arrival: now, Due: now, NoticeAt: q.round(l.NoticeAt), Deadline: q.round(l.Deadline),
					Size: int64(len(l.body)), Priority: l.Priority, Ref: l.Ref, Tenant: l.Tenant,
					Origin: l.Origin, FromDomain: l.FromDomain, About: l.About,
				}}
				at := q.round(l.NotBefore)
				if j.once = !q.has("arrives by the clock"); !at.IsZero() && !q.has("ignores NotBefore") {
					j.Due, j.once = at, false
				}
				if !q.has("loses NotBefore") {
					j.Task.NotBefore = at
				}
				if !q.has("gives notice before NotBefore") {
					j.floor = at
				}
				q.jobs[jobName{l.serial, d}] = j
			}
			j.Envelope.Recipients = append(j.Envelope.Recipients, l.Envelope.Recipients[i])
			j.Last = append(j.Last, smtp.Result{})
		}
		for _, j := range q.of(l) {
			q.tellJob(j, untold)
		}
	}
}

// of returns the tasks of a letter. q.mu is held.
func (q *shared) of(l *letter) (jobs []*job) {
	for _, d := range append([]string{queue.ReportDestination}, l.Destinations...) {
		if j := q.jobs[jobName{l.serial, d}]; j != nil && !slices.Contains(jobs, j) {
			jobs = append(jobs, j)
		}
	}
	return jobs
}

// overdue returns the earlier one of NoticeAt and Deadline, or the floor, zero if there is none.
func (j *job) overdue() time.Time {
	if j.isReport() {
		return time.Time{}
	}
	at := j.Task.NoticeAt
	if at.IsZero() || !j.Task.Deadline.IsZero() && j.Task.Deadline.Before(at) {
		at = j.Task.Deadline
	}
	if at.Before(j.floor) && !at.IsZero() {
		at = j.floor
	}
	return at
}

// claimable returns the time from which the task can be claimed, zero if it is due at once.
func (j *job) claimable() time.Time {
	if j.once {
		return time.Time{}
	}
	if at := j.overdue(); !at.IsZero() && at.Before(j.Due) {
		return at
	}
	return j.Due
}

func (j *job) state() queue.State {
	switch {
	case j.Lease != 0 && time.Now().Before(j.expires):
		return queue.Leased
	case j.held:
		return queue.Held
	}
	return queue.Waiting
}

// matches reports whether a class has the task, and the time by which it is ordered.
func (j *job) matches(c queue.Class) (at time.Time, ok bool) {
	switch at = j.claimable(); c {
	case queue.Fresh:
		return at, j.Attempts == 0
	case queue.Retried:
		return at, j.Attempts > 0
	case queue.Overdue:
		at = j.overdue()
		return at, !at.IsZero()
	}
	return at, true
}

// Lanes implements [queue.Queue].
func (q *shared) Lanes(ctx context.Context) iter.Seq2[queue.LaneDue, error] {
	return func(yield func(queue.LaneDue, error) bool) {
		if err := q.begin(ctx); err != nil {
			yield(queue.LaneDue{}, err)
			return
		}
		lanes := map[queue.Lane]queue.LaneDue{}
		for _, j := range q.jobs {
			if !q.mine(j.Lane()) || j.state() != queue.Waiting && !q.has("lists lanes that wait for nothing") {
				continue
			}
			d, ok := lanes[j.Lane()]
			d.Lane = j.Lane()
			if at := j.claimable(); !ok || at.Before(d.Due) != q.has("lists the last due") {
				d.Due = at
			}
			if at := j.overdue(); d.Overdue.IsZero() || !at.IsZero() && at.Before(d.Overdue) {
				d.Overdue = at
			}
			lanes[d.Lane] = d
		}
		q.mu.Unlock()
		for l, d := range lanes {
			if q.has("lists no priorities") && l.Priority != 0 {
				continue
			}
			if !yield(d, nil) {
				return
			}
		}
	}
}

// Claim implements [queue.Queue].
func (q *shared) Claim(ctx context.Context, wants []queue.Want, lease time.Duration) ([]queue.Task, error) {
	if err := q.begin(ctx); err != nil {
		return nil, err
	}
	defer q.mu.Unlock()
	if q.fails != nil {
		return nil, q.fails
	}
	var tasks []queue.Task
	for _, w := range wants {
		if !q.mine(w.Lane) {
			continue
		}
		var found []*job
		var next time.Time // of a task that isn't due
		for _, j := range q.jobs {
			if !q.in(j, w.Lane) {
				continue
			}
			at, ok := j.matches(w.Class)
			if q.has("holds at one Queue") && j.held {
				ok = ok && j.holder != q
			}
			free := j.state() == queue.Waiting || q.has("claims leased tasks") && !j.held ||
				j.state() == queue.Held && (q.has("holds at one Queue") || q.has("claims held tasks"))
			switch {
			case !ok || !free:
			case !at.After(q.now()):
				found = append(found, j)
			case next.IsZero() || at.Before(next):
				next = at
			}
		}
		slices.SortFunc(found, func(a, b *job) int {
			at, _ := a.matches(w.Class)
			other, _ := b.matches(w.Class)
			if q.has("claims the latest due first") {
				at, other = other, at
			}
			bySerial := cmp.Compare(a.serial, b.serial)
			if q.has("claims what arrived last first") {
				bySerial = -bySerial
			}
			return cmp.Or(at.Compare(other), bySerial)
		})
		n := min(w.Max, len(found))
		if q.has("claims more than Max") {
			n = min(w.Max+1, len(found))
		}
		if q.claims++; q.claims%3 == 0 && !q.has("never lends the last task") {
			n /= 2 // short, for no reason
		}
		if q.has("never lends the last task") {
			n = min(n, len(found)-1)
		}
		if n < len(found) {
			next = q.now()
		}
		for _, j := range found[:max(n, 0)] {
			tasks = append(tasks, q.grant(j, lease))
		}
		told := "doesn't announce the next task after a Claim"
		if n < len(found) {
			told = "doesn't announce what a short Claim left"
		}
		if n < w.Max && !next.IsZero() && !q.has(told) {
			q.tell(w.Lane, next)
		}
	}
	return tasks, nil
}

// in reports whether a task is in a lane. q.mu is held.
func (q *shared) in(j *job, l queue.Lane) bool {
	of := j.Lane()
	if q.has("claims across owners") {
		of.Owner = l.Owner
	}
	if q.has("claims across priorities") {
		of.Priority = l.Priority
	}
	return of == l
}

// grant leases a task. q.mu is held.
func (q *shared) grant(j *job, lease time.Duration) queue.Task {
	if !q.has("fences nothing") {
		delete(q.leases, j.Lease)
	}
	q.base.lease++
	q.lease++
	switch {
	case q.has("has one lease a task"):
		j.Lease = queue.Lease(j.serial)
	case q.has("numbers leases per Queue"):
		j.Lease = q.lease
	default:
		j.Lease = q.base.lease
	}
	j.by, j.expires = q, q.round(time.Now().Add(lease))
	j.claimed, j.added = len(j.Last), time.Time{}
	if q.has("a lease never ends") {
		j.expires = j.expires.Add(1e6 * time.Hour)
	}
	if !q.has("doesn't count an attempt") {
		j.Attempts++
	}
	q.leases[j.Lease] = j
	if !q.has("doesn't announce a lease's end") {
		q.tell(j.Lane(), j.expires.Add(q.ahead))
	}
	return q.task(j)
}

// task returns a copy of the task. q.mu is held.
func (q *shared) task(j *job) queue.Task {
	t := j.Task
	t.State, t.HeldFor = j.state(), j.why
	t.Only = len(q.of(j.letter)) == 1 && !q.has("says Only of no task") || q.has("says Only of all tasks")
	if now := q.now(); j.once {
		if t.Due = t.Arrival; t.Due.After(now) {
			t.Due = now
		}
	}
	if !q.has("shares its results") {
		t.Envelope, t.Last, t.Delayed = cloneEnvelope(t.Envelope), cloneResults(t.Last), slices.Clone(t.Delayed)
	}
	if q.has("loses a field") {
		t.FromDomain = ""
	}
	return t
}

// leased returns the task that a lease is on. q.mu is held.
func (q *shared) leased(l queue.Lease) (*job, error) {
	j := q.leases[l]
	if q.settled[l] && !q.has("forgets what it settled") {
		return nil, queue.ErrSettled
	}
	if j == nil || j.Lease != l && !q.has("fences nothing") {
		return nil, queue.ErrLeaseLost
	}
	if !time.Now().Before(j.expires) && !q.has("a lease lasts until the next one") {
		return nil, queue.ErrLeaseLost
	}
	return j, nil
}

// Extend implements [queue.Queue].
func (q *shared) Extend(ctx context.Context, l queue.Lease, d time.Duration) error {
	if err := q.begin(ctx); err != nil {
		return err
	}
	defer q.mu.Unlock()
	j, err := q.leased(l)
	if err != nil {
		return queue.ErrLeaseLost
	}
	if end := q.round(time.Now().Add(d)); end.After(j.expires) || !q.has("doesn't shorten a lease") {
		j.expires = end
	}
	if q.has("Extend adds to the end") {
		j.expires = j.expires.Add(d)
	}
	if !q.has("doesn't announce the end of an extended lease") {
		q.tell(j.Lane(), j.expires.Add(q.ahead))
	}
	return nil
}

// Settle implements [queue.Queue].
func (q *shared) Settle(ctx context.Context, l queue.Lease, s queue.Settlement) error {
	if err := q.begin(ctx); err != nil {
		return err
	}
	j, err := q.leased(l)
	q.mu.Unlock()
	if err != nil {
		return err
	}
	if len(s.Results) > 0 && len(s.Results) != j.claimed && !q.has("takes too few results") {
		return errors.New("shared: not a Result for each recipient")
	}
	if !q.has("takes any Owed") && (len(s.Owed) > 0 && j.isReport() || slices.ContainsFunc(s.Owed, j.lacks)) {
		return errOwed
	}
	if q.hasKey(s.Reports) {
		return errKey
	}
	if q.has("owes though a report fails") {
		q.mu.Lock()
		q.owe(j, s)
		q.mu.Unlock()
		s.Owed = nil
	}
	if q.has("stores each report as it is read") {
		for _, r := range s.Reports {
			if _, err := q.Enqueue(ctx, r); err != nil {
				return err
			}
		}
		s.Reports = nil
	}
	reports, err := q.read(ctx, s.Reports...)
	if err != nil && !q.has("settles without its reports") {
		return err
	}
	if err := q.begin(ctx); err != nil {
		return err
	}
	defer q.mu.Unlock()
	if q.fails != nil {
		return q.fails
	}
	if j, err = q.leased(l); err != nil {
		return err
	}
	delete(q.leases, l)
	q.settled[l], j.Lease = true, 0
	if !q.has("loses reports") {
		q.add("doesn't announce reports", slices.DeleteFunc(reports, func(r *letter) bool { return r == nil }))
	}
	if j.isReport() {
		q.reported(j, s)
		return nil
	}
	q.owe(j, s)
	q.apply(j, s)
	for _, r := range q.of(j.letter) {
		if r.isReport() && q.alone(r) && r.state() != queue.Leased && !q.has("doesn't hurry the last report") {
			r.hurry(q.now())
			q.tellJob(r, "doesn't announce the last report")
		}
	}
	return nil
}

// apply changes a task by its Settlement. q.mu is held.
func (q *shared) apply(j *job, s queue.Settlement) {
	if s.Uncounted && !q.has("counts what is Uncounted") {
		j.Attempts--
	}
	if s.Noticed && !q.has("forgets that it noticed") {
		j.NoticeAt = time.Time{}
	}
	recipients, last := j.Envelope.Recipients, j.Last
	j.Envelope.Recipients, j.Last = nil, nil
	for i, r := range recipients {
		result := last[i]
		if i < len(s.Results) {
			if result = s.Results[i]; !q.has("keeps the caller's results") {
				result = cloneResults(s.Results[i : i+1])[0]
			}
		}
		if s.Next.IsZero() && !q.has("keeps the deferred without Next") ||
			i < len(s.Results) && result.Outcome.Final() && !q.has("keeps final recipients") {
			continue
		}
		if q.has("loses the last results") && len(s.Results) == 0 {
			result = smtp.Result{}
		}
		j.Envelope.Recipients, j.Last = append(j.Envelope.Recipients, r), append(j.Last, result)
	}
	j.Due, j.once = q.round(s.Next), !s.Next.After(q.now()) && !q.has("retries by the clock") || q.has("ignores Next")
	if at := q.round(s.OverdueFrom); !q.has("ignores OverdueFrom") {
		if !q.has("keeps OverdueFrom") {
			j.floor = j.Task.NotBefore
		}
		if at.After(j.floor) {
			j.floor = at
		}
	}
	if len(j.Last) == 0 {
		q.drop(j)
		return
	}
	q.tellJob(j, "doesn't announce Next")
}

// drop removes a task, and its message with the last one. q.mu is held.
func (q *shared) drop(j *job) {
	delete(q.jobs, jobName{j.serial, j.Destination})
	if len(q.of(j.letter)) == 0 && !q.has("keeps the last body") || q.has("drops the body early") {
		delete(q.letters, j.serial)
	}
}

// Open implements [queue.Queue].
func (q *shared) Open(ctx context.Context, id queue.ID) (queue.Body, error) {
	if err := q.begin(ctx); err != nil {
		return nil, err
	}
	defer q.mu.Unlock()
	l := q.letters[parseID(id)]
	if l == nil {
		return nil, queue.ErrNotFound
	}
	body := l.body
	if q.has("changes a body") {
		body = bytes.ReplaceAll(body, []byte("\r\n.\r\n"), []byte("\r\n..\r\n"))
	}
	return sharedBody{bytes.NewReader(body)}, nil
}

type sharedBody struct{ *bytes.Reader }

func (sharedBody) Close() error { return nil }

// Watch implements [queue.Waker].
func (q *shared) Watch(f func(queue.Lane, time.Time)) (stop func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.watchers[&f] = true
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if !q.has("goes on announcing after stop") {
			delete(q.watchers, &f)
		}
	}
}

func formatID(serial int) queue.ID { return queue.ID("m-" + strconv.Itoa(serial)) }

// parseID returns 0 for what is no ID of a base.
func parseID(id queue.ID) int {
	n, _ := strconv.Atoi(string(id[min(2, len(id)):]))
	if n <= 0 || formatID(n) != id {
		return 0
	}
	return n
}

func cloneEnvelope(e *smtp.Envelope) *smtp.Envelope {
	c := *e
	c.Recipients = slices.Clone(e.Recipients)
	return &c
}

func cloneResults(rs []smtp.Result) []smtp.Result {
	rs = slices.Clone(rs)
	for i, r := range rs {
		if r.Reply != nil {
			reply := *r.Reply
			rs[i].Reply = &reply
		}
	}
	return rs
}

// sorted returns the tasks in the order of arrival. q.mu is held.
func (q *shared) sorted() []*job {
	return slices.SortedFunc(maps.Values(q.jobs), func(a, b *job) int {
		return cmp.Or(cmp.Compare(a.serial, b.serial), cmp.Compare(a.Destination, b.Destination))
	})
}
