package pgqueue

import (
	"context"
	"errors"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// Enqueue implements [queue.Queue]. Concurrent calls share a commit. Bodies of more than 256 KiB have other commits, so
// that small messages don't wait for them. After m.Body is read, the end of ctx has no effect.
//
// If the connection is lost during the commit, Enqueue returns when it is known whether that succeeded. It waits for
// twice Options.Timeout at most: after that, it returns an error although the message may have been stored. A program
// that sends it again with a Key stores it once.
//
// With Options.NoDelivery, Enqueue doesn't wait to learn whether the commit succeeded, and returns that error at once.
func (q *Queue) Enqueue(ctx context.Context, m queue.Message) (queue.ID, error) {
	id, _, err := q.EnqueueOnce(ctx, m)
	return id, err
}

// EnqueueOnce implements [queue.Keyer]. A message with a Key has a commit of its own. While an open transaction has
// stored the same Key, EnqueueOnce waits for its end, and returns an error at the end of ctx or after Options.Timeout.
// It looks for the end about twice a second. If the connection is lost during the commit, it may wait longer, as
// Enqueue does.
func (q *Queue) EnqueueOnce(ctx context.Context, m queue.Message) (id queue.ID, repeats bool, err error) {
	return q.enqueueOnce(ctx, "enqueue", m, nil)
}

// enqueueOnce stores a message. in is set if it comes from another Queue.
func (q *Queue) enqueueOnce(
	ctx context.Context, op string, m queue.Message, in *queue.Import,
) (id queue.ID, repeats bool, err error) {
	if err := q.begin(ctx); err != nil {
		return "", false, err
	}
	key, keyed, err := index.NewKey(&m)
	if err != nil {
		return "", false, failed(op, err)
	}
	limit := q.config.Timeout // for all but the Body
	if keyed {
		began := time.Now()
		limited, cancel := context.WithTimeout(ctx, limit)
		var first uint64
		err := inSlot(limited, q.firstTries, func() (err error) {
			first, err = q.known(limited, rowOf(q.db), key)
			return err
		})
		err = q.late(ctx, limited, "no connection, or no answer,", err)
		cancel()
		if err != nil || first != 0 {
			return idOrNone(first), err == nil, failed(op, err)
		}
		limit -= time.Since(began)
	}
	d, err := newDraft(ctx, m, in)
	if err != nil {
		return "", false, failed(op, err)
	}
	defer d.free()
	if in != nil {
		d.moved, d.outcomes = true, importedOutcomes(d.Message, in)
	}
	n := uint64(0)
	switch {
	case keyed:
		n, repeats, err = q.enqueueKeyed(ctx, limit, d, &key, 0)
	case in != nil:
		limited, cancel := context.WithTimeout(ctx, limit)
		n, err = q.enqueueAlone(limited, d, nil, q.firstTries, 0)
		err = q.late(ctx, limited, "no connection, or no answer,", err)
		cancel()
	default:
		n, err = q.enqueue(ctx, d)
	}
	if err != nil {
		return "", false, failed(op, err)
	}
	if (keyed || in != nil) && !repeats {
		q.takeOwn()
	}
	return index.FormatID(n), repeats, nil
}

func idOrNone(n uint64) queue.ID {
	if n == 0 {
		return ""
	}
	return index.FormatID(n)
}

// enqueue stores a message without a Key.
func (q *Queue) enqueue(ctx context.Context, d *draft) (uint64, error) {
	for {
		id, err := q.store(ctx, d)
		switch {
		case errors.Is(err, errFenced), errors.Is(err, queue.ErrLeaseLost): // a poll learns the fence or the node
			if err := q.next(ctx); err != nil {
				return 0, err
			}
			continue
		}
		return id, err
	}
}

// store stores a message as the node that the Queue is now.
func (q *Queue) store(ctx context.Context, d *draft) (uint64, error) {
	q.gate.RLock()
	q.mu.Lock()
	err := q.check(ctx)
	node, fence := q.node, q.fence
	q.mu.Unlock()
	if err != nil {
		q.gate.RUnlock()
		return 0, err
	}
	d.Arrival = index.ToNano(q.clock.time())
	j := &job{node: node, fence: fence, msgs: []*draft{d}, call: finishing(func(err error) {
		if err == nil {
			q.added(d)
		}
		q.gate.RUnlock()
	})}
	g := q.groupOf(j)
	g.submit(j)
	err = g.wait(j)
	return d.ID, err
}

// added takes in messages that were stored, and announces them.
func (q *Queue) added(drafts ...*draft) {
	var mine []*draft
	q.mu.Lock()
	for _, d := range drafts {
		q.highest = max(q.highest, d.ID)
		if q.mine(q.laneOf(d.Message)) {
			if q.ix.Data(d.ID) == nil { // otherwise it was loaded with its lane
				q.add(d)
			}
			mine = append(mine, d)
		}
	}
	q.mu.Unlock()
	for _, d := range mine {
		q.watch.TellNew(d.Message)
	}
}

// mine reports whether a new message of a lane must be in ix. q.mu is held.
func (q *Queue) mine(lane int) bool {
	_, given := q.giving[lane]
	return q.loading[lane] || q.lanes[lane] && !given
}

// add adds a new message to ix. q.mu is held.
func (q *Queue) add(d *draft) {
	q.ix.Add(d.Message, entryOf(d.Message))
	q.octets += d.Size
	q.heads.keep(d.ID, headOf(d.Message, d.head))
}
