package queuetest

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/postrider/postrider/queue"
)

// testContextEnded tests that a call whose context has ended changes nothing.
func testContextEnded(e *env) {
	m := message("x", "d.example")
	m.NoticeAt = e.now().Add(100 * time.Hour)
	id := e.putOff(m, e.now())
	t := e.claimOne("d.example")
	kept := e.putOff(message("y", "e.example"), e.now().Add(time.Hour))
	lanes := e.lanesOf("e.example")
	ended, cancel := context.WithCancel(e.ctx)
	cancel()
	unread := message("", "f.example")
	unread.Body = readerFunc(func([]byte) (int, error) {
		e.Errorf("a call whose context has ended reads no Body")
		return 0, io.EOF
	})
	calls := map[string]func(q queue.Queue) error{
		"Enqueue": func(q queue.Queue) error { _, err := q.Enqueue(ended, unread); return err },
		"Lanes": func(q queue.Queue) error {
			for l, err := range q.Lanes(ended) {
				if err == nil {
					e.Errorf("Lanes with a context that has ended: got %+v", l)
				}
				return err
			}
			return nil
		},
		"Claim": func(q queue.Queue) error {
			tasks, err := q.Claim(ended, []queue.Want{{Lane: lanes[0], Max: 1}}, time.Hour)
			if len(tasks) != 0 {
				e.Errorf("Claim with a context that has ended: got %d tasks", len(tasks))
			}
			return err
		},
		"Extend": func(q queue.Queue) error { return q.Extend(ended, t.Lease, time.Second) },
		"Settle": func(q queue.Queue) error { return q.Settle(ended, t.Lease, queue.Settlement{}) },
		"Settle with a report": func(q queue.Queue) error {
			return q.Settle(ended, t.Lease, reporting(unread))
		},
		"Open": func(q queue.Queue) error { _, err := q.Open(ended, id); return err },
	}
	if q, ok := e.q.(queue.Lister); ok {
		for what, f := range map[string]queue.Filter{"all": {}, "one message": {ID: id}} {
			calls["List of "+what] = func(queue.Queue) error {
				for task, err := range q.List(ended, f) {
					if err == nil {
						e.Errorf("List with a context that has ended: got %s", describe(task))
					}
					return err
				}
				return nil
			}
		}
	}
	if q, ok := e.q.(queue.Holder); ok {
		calls["Hold"] = func(queue.Queue) error { return q.Hold(ended, kept) }
		calls["Hold of no ID"] = func(queue.Queue) error { return q.Hold(ended, "no ID") }
		calls["Release"] = func(queue.Queue) error { return q.Release(ended, kept) }
	}
	if q, ok := e.q.(queue.Flusher); ok {
		calls["Flush"] = func(queue.Queue) error { _, err := q.Flush(ended, "", 0); return err }
	}
	if q, ok := e.q.(queue.Hastener); ok {
		calls["Hasten"] = func(queue.Queue) error { _, err := q.Hasten(ended, kept); return err }
		calls["Hasten of no ID"] = func(queue.Queue) error { _, err := q.Hasten(ended, "no ID"); return err }
	}
	if q, ok := e.q.(queue.Remover); ok {
		calls["Remove"] = func(queue.Queue) error { return q.Remove(ended, []queue.ID{id, kept}) }
		calls["Remove with a report"] = func(queue.Queue) error { return q.Remove(ended, []queue.ID{id, kept}, unread) }
	}
	if q, ok := e.q.(queue.Stater); ok {
		calls["Stats"] = func(queue.Queue) error { _, err := q.Stats(ended); return err }
	}
	for what, call := range calls {
		if err := call(e.q); !errors.Is(err, context.Canceled) {
			e.Errorf("%s with a context that has ended: got %v, want context.Canceled", what, err)
		}
	}
	e.sleep(59 * time.Minute)
	e.claimNone("d.example", "is leased: Extend changed nothing")
	e.claimNone("e.example", "is not yet due: Flush changed nothing")
	e.settle(t, queue.Settlement{})
	e.sleep(time.Minute)
	e.settle(e.claimOne("e.example"), queue.Settlement{})
	e.empty("calls with an ended context changed nothing")
}
