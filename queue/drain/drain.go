package drain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/queue"
)

// Drain moves the messages of a Queue. The fields must not change while Run runs.
type Drain struct {
	// From is the Queue to be emptied. It must be a queue.Lister, a queue.Holder and a queue.Remover.
	From queue.Queue

	// To gets the messages. It must be a queue.Importer, and must remember as many Keys as messages are moved in a
	// day: see Options.MaxKeys of a spool or a pgqueue. If it has no room for another Key, Run returns
	// queue.ErrKeysFull.
	To queue.Queue

	// Name tells the messages of From from those of other Queues that are moved to To. It must be the same in each Run.
	// It has at most 200 octets.
	Name string

	// Journal is a file that Run makes, and removes when it is done. It must be the same in each Run. It must not be
	// lost before that.
	Journal string

	// Batch is how many messages are held at a time. If zero, 1000.
	Batch int

	// Concurrency is how many messages are stored in To at a time. If zero, 16.
	Concurrency int

	// Progress is called after each batch, and at the end, by the goroutine of Run. If nil, it isn't called. If it
	// panics, Run recovers from that.
	Progress func(Progress)
}

// Progress is how far a Run has come.
type Progress struct {
	Moved    int   // messages that this Run has moved
	Repeated int   // of them: they were in To already, from a Run before
	Octets   int64 // of their bodies
	Busy     int   // messages that are being sent, in the last pass
	Left     int   // messages that are in From; -1 if From is no queue.Stater
}

const (
	defaultBatch       = 1000
	defaultConcurrency = 16
	maxName            = 200

	// busyWait is the time between two looks at messages that are being sent.
	busyWait = time.Second
)

// Check returns an error for the first field that is wrong. Run calls it.
func (d *Drain) Check() error {
	switch {
	case d.From == nil:
		return errors.New("drain: From is nil: set it to the Queue to be emptied")
	case d.To == nil:
		return errors.New("drain: To is nil: set it to the Queue that gets the messages")
	case reflect.TypeOf(d.From).Comparable() && d.From == d.To:
		return errors.New("drain: From and To are the same Queue: set To to another one")
	case d.Name == "" || len(d.Name) > maxName:
		return fmt.Errorf("drain: Name has %d octets: set it to a name of From, with 1 to %d", len(d.Name), maxName)
	case d.Journal == "":
		return errors.New("drain: Journal is empty: set it to the name of a file that Run may make")
	case d.Batch < 0 || d.Concurrency < 0:
		return fmt.Errorf("drain: Batch is %d and Concurrency %d: they must be positive, or zero for the defaults",
			d.Batch, d.Concurrency)
	}
	_, err := parts(d)
	return err
}

// abilities are what a Drain needs of its Queues.
type abilities struct {
	queue.Lister
	queue.Holder
	queue.Remover
	queue.Importer
}

func parts(d *Drain) (a abilities, err error) {
	return a, cmp.Or(
		able(&a.Lister, "From", d.From), able(&a.Holder, "From", d.From), able(&a.Remover, "From", d.From),
		able(&a.Importer, "To", d.To),
	)
}

func able[T any](to *T, field string, q queue.Queue) error {
	var ok bool
	if *to, ok = q.(T); !ok {
		return fmt.Errorf("drain: %s, a %T, is no %v: %w", field, q, reflect.TypeFor[T](), errors.ErrUnsupported)
	}
	return nil
}

// Run moves messages until From has none. It returns the first error of a Queue. Then some messages are held in From,
// and the next Run goes on with them.
//
// If ctx ends, Run moves the messages that it has begun with, releases the others that it holds, and returns the error
// of ctx. Each call of a Queue may take its time for that.
func (d *Drain) Run(ctx context.Context) error {
	if err := d.Check(); err != nil {
		return err
	}
	j, err := openJournal(d.Journal, d.Name)
	if err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	defer j.close()
	r := &run{Drain: d, journal: j, doubtful: make(map[queue.ID]bool)}
	r.abilities, _ = parts(d)
	if err := r.recall(ctx); err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	switch err = r.run(ctx); {
	case err == nil:
		err = j.remove()
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		err = cmp.Or(r.release(ctx), err)
	}
	r.tell(ctx)
	if err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	return nil
}

// run is a Run. Between two batches, journal has the messages in From that this Run or one before it has held. Those of
// them that may be in To are in doubtful, too: they must not be released.
type run struct {
	*Drain
	abilities
	journal *journal

	mu       sync.Mutex
	progress Progress
	doubtful map[queue.ID]bool
}

// recall finds the messages in From that a Run before has held.
func (r *run) recall(ctx context.Context) error {
	if len(r.journal.held) == 0 {
		return nil
	}
	for t, err := range r.List(ctx, queue.Filter{}) {
		if err != nil {
			return err
		}
		if r.journal.has(t.ID) {
			r.doubtful[t.ID] = true
		}
	}
	r.journal.held = maps.Clone(r.doubtful)
	return nil
}

// run makes passes over From until there is nothing left.
func (r *run) run(ctx context.Context) error {
	for {
		moved, busy, err := r.pass(ctx)
		switch {
		case err != nil:
			return err
		case moved > 0:
			continue
		case busy == 0:
			return nil
		}
		timer := time.NewTimer(busyWait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// pass moves the messages that there are, except for those that are being sent.
func (r *run) pass(ctx context.Context) (moved, busy int, err error) {
	var after queue.ID
	for {
		page, err := r.page(ctx, after)
		if err != nil || len(page) == 0 {
			return moved, busy, err
		}
		after = page[len(page)-1].id()
		n, sent, err := r.batch(ctx, page)
		moved, busy = moved+n, busy+sent
		r.progress.Busy = busy
		r.tell(ctx)
		if err != nil {
			return moved, busy, err
		}
	}
}

// message is the tasks of a message.
type message []queue.Task

func (m message) id() queue.ID { return m[0].ID }

func (m message) has(s queue.State) bool {
	return slices.ContainsFunc(m, func(t queue.Task) bool { return t.State == s })
}

// page returns the next messages.
func (r *run) page(ctx context.Context, after queue.ID) (page []message, err error) {
	for t, err := range r.List(ctx, queue.Filter{After: after}) {
		if err != nil {
			return nil, err
		}
		last := len(page) - 1
		switch {
		case last >= 0 && page[last].id() == t.ID:
			page[last] = append(page[last], t)
		case len(page) == cmp.Or(r.Batch, defaultBatch):
			return page, nil
		default:
			page = append(page, message{t})
		}
	}
	return page, nil
}

// batch moves the messages of a page. busy is how many are being sent.
func (r *run) batch(ctx context.Context, page []message) (moved, busy int, err error) {
	page, busy, err = r.take(ctx, page)
	if err != nil {
		return 0, busy, err
	}
	gone, err := r.importAll(ctx, page)
	if len(gone) > 0 {
		removeErr := r.Remove(context.WithoutCancel(ctx), gone)
		if removeErr != nil && !errors.Is(removeErr, queue.ErrNotFound) {
			return 0, busy, removeErr // the next Run looks at them again
		}
	}
	for _, id := range gone {
		r.journal.forget(id)
		delete(r.doubtful, id)
	}
	return len(gone), busy, err
}

// take holds the messages of a page, and returns those that can be moved, as they are now.
func (r *run) take(ctx context.Context, page []message) (ready []message, busy int, err error) {
	var hold []queue.ID
	for _, m := range page {
		switch {
		case m.has(queue.Waiting):
			hold = append(hold, m.id())
		case !m.has(queue.Leased):
			ready = append(ready, m)
		default:
			busy++ // whether it is held can't be known before the attempt ends
		}
	}
	if len(hold) == 0 {
		return ready, busy, nil
	}
	if err := r.journal.add(hold); err != nil {
		return nil, busy, err
	}
	if err := r.hold(ctx, hold); err != nil && !errors.Is(err, queue.ErrNotFound) {
		return nil, busy, err
	}
	for _, id := range hold {
		var m message
		for t, err := range r.List(ctx, queue.Filter{ID: id}) {
			if err != nil {
				return nil, busy, err
			}
			m = append(m, t)
		}
		switch {
		case len(m) == 0: // delivered meanwhile
		case m.has(queue.Leased):
			busy++
		default:
			ready = append(ready, m)
		}
	}
	return ready, busy, nil
}

// hold holds messages. People who look at From meanwhile, or after a crash, see why.
func (r *run) hold(ctx context.Context, ids []queue.ID) error {
	if from, ok := r.From.(queue.ReasonHolder); ok {
		return from.HoldFor(ctx, "a drain moves it to another queue, which may have it already: run the drain again, "+
			"and don't release it", ids...)
	}
	return r.Hold(ctx, ids...)
}

// importAll stores messages in To. It returns those that To has, and those that have left From.
func (r *run) importAll(ctx context.Context, page []message) (gone []queue.ID, err error) {
	var wg sync.WaitGroup
	next := make(chan message)
	for range min(cmp.Or(r.Concurrency, defaultConcurrency), len(page)) {
		wg.Go(func() {
			for m := range next {
				importErr := r.importOne(context.WithoutCancel(ctx), m)
				r.mu.Lock()
				if importErr == nil || errors.Is(importErr, queue.ErrNotFound) {
					gone = append(gone, m.id())
				} else {
					r.doubtful[m.id()] = true
					err = cmp.Or(err, importErr)
				}
				r.mu.Unlock()
			}
		})
	}
	for _, m := range page {
		r.mu.Lock()
		failed := err != nil
		r.mu.Unlock()
		if failed || ctx.Err() != nil {
			break
		}
		next <- m
	}
	close(next)
	wg.Wait()
	return gone, cmp.Or(err, ctx.Err())
}

// importOne stores a message in To.
func (r *run) importOne(ctx context.Context, m message) error {
	body, err := r.From.Open(ctx, m.id())
	if err != nil {
		return err
	}
	defer body.Close()
	_, repeats, err := r.Import(ctx, queue.Import{
		Tasks: m, Body: io.NewSectionReader(body, 0, body.Size()), Key: "drain " + r.Name + " " + string(m.id()),
		Held: !r.journal.has(m.id()),
	})
	if err != nil {
		return fmt.Errorf("message %s: %w", m.id(), err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress.Moved++
	if repeats {
		r.progress.Repeated++
	}
	r.progress.Octets += m[0].Size
	return nil
}

// release ends what the Run holds, except for messages that may be in To. With none of these, the journal is removed.
func (r *run) release(ctx context.Context) error {
	ids := slices.DeleteFunc(r.journal.all(), func(id queue.ID) bool { return r.doubtful[id] })
	if len(ids) > 0 {
		if err := r.Release(context.WithoutCancel(ctx), ids...); err != nil && !errors.Is(err, queue.ErrNotFound) {
			return err
		}
	}
	if len(r.doubtful) > 0 {
		return nil
	}
	return r.journal.remove()
}

// tell calls Progress.
func (r *run) tell(ctx context.Context) {
	if r.Progress == nil {
		return
	}
	p := r.progress
	p.Left = -1
	if s, ok := r.From.(queue.Stater); ok {
		if stats, err := s.Stats(context.WithoutCancel(ctx)); err == nil {
			p.Left = stats.Messages
		}
	}
	guard.Call(func() { r.Progress(p) })
}
