package spool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// Spool is a [queue.Queue] in a directory, for one process at a time. It is also a [queue.Keyer], a [queue.Importer], a
// [queue.Waker], a [queue.Lister], a [queue.ReasonHolder], a [queue.Flusher], a [queue.Hastener], a [queue.Remover] and
// a [queue.Stater]. [Open] makes one. Its methods may be called concurrently.
//
// The package doc describes what survives a crash, what bounds a Spool, and when it returns [queue.ErrBroken].
type Spool struct {
	watch index.Watchers

	fs       *gate
	dir      string
	config   Options
	held     io.Closer // the directory and its lock; nil: there is none
	log      *spoolLog
	tidy     chan struct{} // wakes the janitor
	quit     chan struct{} // ends it
	janitor  sync.WaitGroup
	closing  sync.Once
	closeErr error
	waiting  atomic.Int64 // how many are in removed
	space    space
	wide     wide
	fresh    fresh
	drafts   sync.Pool // those that were freed: nothing is on its way to done of their record

	roster     roster // as it was written last; the janitor's, like the file
	rosterFile File   // nil: there is no roster

	arrivals sync.Mutex      // of those who take ids, so that messages have them in the order of their arrival
	last     uint64          // the newest
	strays   map[uint64]bool // IDs that no message gets, as a file that isn't its own has the name of its body

	mu      sync.Mutex
	ix      *index.Index[place, place] // of the entries of a message and of a task's state
	keys    *index.Keys                // their Segment is the one that has the entry
	temps   uint64                     // names of passing files
	parts   uint32                     // the newest part of a report task, without partBit
	perSeg  map[uint32]usage           // what lives, by the segment it is in
	live    int64                      // octets of the entries that the index knows
	files   map[uint64]int64           // messages whose body is in a file, and its size
	large   int64                      // octets of those
	removed []removal
	damage  []Damage
	turn    turn  // of compaction
	futile  int64 // waste up to which another turn would be for nothing
	closed  bool
	busy    map[uint64]chan struct{} // messages that are being held, released or removed; closed when that ends
	settled chan struct{}            // closed when a settlement ends; nil: nobody waits for one

	// These are of use only while the spool is being opened.
	refused map[uint64]error      // messages that this program can't have in its queue
	bodies  map[uint64]*foundBody // files with the names of bodies
	seen    uint64                // the newest ID of the log as it was found
	claims  map[taskKey]claimed   // leases of which no end is known
	ended   int                   // tasks whose lease the last end of a process has ended
}

// removal is a file that goes when the record of that number is on the disk.
type removal struct {
	seq  uint64
	name string
}

type (
	spoolClaim = index.Task[place, place]
	spoolPart  = index.Part[place]
)

// Close waits for what calls in progress are writing, syncs the log and unlocks the directory. Later calls return
// [queue.ErrClosed], and so does a call that is still reading a body: it leaves no file. Bodies that are open can still
// be read. Close may be called twice.
func (s *Spool) Close() error {
	s.closing.Do(func() { s.closeErr = s.close() })
	return s.closeErr
}

func (s *Spool) close() error {
	if s.log == nil {
		return errNotOpen
	}
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.watch.Tell(time.Now(), queue.Lane{}) // so that a Runner asks, and gets the error
	close(s.quit)
	s.janitor.Wait()
	err := s.log.close(s.endOfLeases())
	if err == nil {
		s.keepRoster(s.log.all())
	}
	s.closeRoster()
	s.fs.shut()
	if s.held != nil {
		err = cmp.Or(err, s.held.Close())
	}
	return err
}

// Enqueue implements [queue.Queue]. After m.Body is read, the end of ctx has no effect. If the disk is full, the error
// wraps syscall.ENOSPC.
func (s *Spool) Enqueue(ctx context.Context, m queue.Message) (queue.ID, error) {
	id, _, err := s.EnqueueOnce(ctx, m)
	return id, err
}

// EnqueueOnce implements [queue.Keyer]. A Key is in the same record of the log as its message.
func (s *Spool) EnqueueOnce(ctx context.Context, m queue.Message) (id queue.ID, repeats bool, err error) {
	return s.store(ctx, "enqueue", m, nil)
}

// store stores a message. in is set if it comes from another Queue.
func (s *Spool) store(
	ctx context.Context, op string, m queue.Message, in *queue.Import,
) (id queue.ID, repeats bool, err error) {
	d := s.newDraft(true)
	d.reserved = true
	defer d.free()
	first, err := s.beginKey(ctx, d, &m)
	switch {
	case err != nil:
		return "", false, s.failed(op, err)
	case first != 0:
		return index.FormatID(first), true, nil
	}
	defer s.endKey(d) // after a panic of m.Body, too
	due, err := s.enqueue(ctx, d, m, in)
	if err != nil {
		return "", false, s.failed(op, err)
	}
	msg := d.messages[0].Message
	if in == nil {
		s.watch.TellNew(msg)
	}
	for _, due := range due {
		s.watch.Tell(due.Due, due.Lane)
	}
	return index.FormatID(msg.ID), false, nil
}

// enqueue stores the message of a draft. It returns what is due of an imported one.
func (s *Spool) enqueue(
	ctx context.Context, d *draft, m queue.Message, in *queue.Import,
) (due []queue.LaneDue, err error) {
	if err := s.log.broken(); err != nil {
		return nil, err
	}
	if err := s.checkSpace(s.config.InlineSize); err != nil {
		return nil, err
	}
	if err := d.add(ctx, m, in); err != nil {
		return nil, err
	}
	if in != nil {
		for _, st := range d.messages[0].Import(in) {
			d.imported = append(d.imported, importedState{Imported: st})
		}
	}
	if err := d.commit(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takeIn(d)
	if in != nil {
		due = s.ix.Claimable(d.messages[0].ID)
	} else {
		s.keepFresh(d)
	}
	return due, nil
}

// keepFresh keeps the message of a draft that is in the index, unless what is read from the log differs: there, a time
// has no zone. s.mu is held.
func (s *Spool) keepFresh(d *draft) {
	m := d.messages[0]
	if m.file != "" || m.Held || m.NotBefore != index.AtOnce || len(m.Dests) >= wideDests ||
		!m.Envelope.By.Time.IsZero() || !m.Envelope.HoldUntil.IsZero() {
		return
	}
	end := m.off + m.length
	*d.buf = d.record.record
	kept := freshMessage{m.Message, d.buf, d.record.record[end-int(m.Size) : end]}
	if s.fresh.keep(d.record.place(m.off, m.length), kept) {
		d.buf = nil
	}
}

// takeIn makes the draft's messages known. s.mu is held.
func (s *Spool) takeIn(d *draft) {
	for _, m := range d.messages {
		p := d.record.place(m.off, m.length)
		s.ix.Add(m.Message, p)
		s.joined(p)
		s.live += int64(p.length)
		if m.file != "" {
			s.addFile(m.ID, m.Size)
		}
	}
	for i := range d.imported {
		d.imported[i].takeIn(d)
	}
	if d.keyed {
		d.key.Segment = d.record.segment.number
		s.keys.Done(d.key)
		d.keyed = false
	}
	s.log.applied(&d.record)
}

// failed adds the operation and the directory to an error. Sentinels stay as they are.
func (s *Spool) failed(op string, err error) error {
	switch {
	case err == queue.ErrClosed, err == queue.ErrLeaseLost, err == queue.ErrSettled, err == queue.ErrNotFound,
		errors.Is(err, queue.ErrBroken):
		return err
	}
	return fmt.Errorf("spool: %s in %s: %w", op, s.dir, err)
}

// check says why an operation can't be begun. s.mu is held.
func (s *Spool) check(ctx context.Context) error {
	if s.log == nil {
		return errNotOpen
	}
	if s.closed {
		return queue.ErrClosed
	}
	return ctx.Err()
}

// Lanes implements [queue.Queue].
func (s *Spool) Lanes(ctx context.Context) iter.Seq2[queue.LaneDue, error] {
	return index.Lanes(&s.mu, s.ix, func() error { return s.check(ctx) })
}

// Claim implements [queue.Queue]. It returns when the claim is written to the log, unless the disk is full. It skips a
// task that can't be read, and reports it by [Spool.Damage]; the task is claimed again after the lease. If no other
// task is due, it returns an error.
func (s *Spool) Claim(ctx context.Context, wants []queue.Want, lease time.Duration) ([]queue.Task, error) {
	if err := s.log.broken(); err != nil {
		return nil, s.failed("claim", err)
	}
	s.mu.Lock()
	if err := s.check(ctx); err != nil {
		s.mu.Unlock()
		return nil, err
	}
	granted, next := s.ix.Claim(wants, lease)
	recalled := s.ix.Recalled()
	pins := s.pinAll(granted)
	marks := s.markClaims(granted)
	s.mu.Unlock()
	s.watch.TellComing(recalled)
	index.TellClaimed(&s.watch, granted, s.ix.Now().Add(lease), next)
	tasks, err := s.read(granted, pins)
	if err := cmp.Or(marks.written(), err); err != nil {
		return nil, s.failed("claim", err)
	}
	return tasks, nil
}

// read makes Tasks of what was granted. It reads those of a message one after another: see wide.
func (s *Spool) read(granted []spoolClaim, pins []pin) (tasks []queue.Task, err error) {
	order := make([]int, len(granted))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(granted[a].ID, granted[b].ID) })
	tasks = make([]queue.Task, len(granted))
	for _, i := range order {
		c := &granted[i]
		msg, st, readErr := s.load(c, pins[i])
		if readErr != nil {
			err = readErr
			continue
		}
		c.Fill(&tasks[i], msg, st, s.ix.Now())
		c.Lease.Recipients.Store(int32(len(st.Last)))
	}
	tasks = slices.DeleteFunc(tasks, func(t queue.Task) bool { return t.ID == "" }) // what can't be read
	if len(tasks) > 0 {
		return tasks, nil
	}
	return nil, err
}

// Extend implements [queue.Queue].
func (s *Spool) Extend(ctx context.Context, l queue.Lease, d time.Duration) error {
	s.mu.Lock()
	err := s.check(ctx)
	var lane queue.Lane
	var expires time.Time
	if err == nil {
		lane, expires, err = s.ix.Extend(l, d)
	}
	s.mu.Unlock()
	if err == nil {
		s.watch.Tell(expires, lane)
	}
	return err
}

// Open implements [queue.Queue].
func (s *Spool) Open(ctx context.Context, id queue.ID) (queue.Body, error) {
	n, ok := index.ParseID(id)
	s.mu.Lock()
	if err := s.check(ctx); err != nil {
		s.mu.Unlock()
		return nil, err
	}
	p := s.ix.Data(n)
	if !ok || p == nil {
		s.mu.Unlock()
		return nil, queue.ErrNotFound
	}
	at := *p
	_, inFile := s.files[n]
	seg := s.log.acquire(at.segment)
	s.mu.Unlock()
	var body queue.Body
	var err error
	if inFile {
		body, err = s.openFile(n, at, seg)
	} else {
		body, err = s.openInline(at, seg)
	}
	if err != nil {
		return nil, s.failed("open "+string(id), err)
	}
	return body, nil
}

var _ queue.Queue = (*Spool)(nil)

// Watch implements [queue.Waker]. It also announces a lease when it is granted or extended, with the time at which it
// expires.
func (s *Spool) Watch(f func(l queue.Lane, due time.Time)) (stop func()) {
	return s.watch.Watch(f)
}
