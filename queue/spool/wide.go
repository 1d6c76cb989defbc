package spool

import (
	"slices"
	"sync"

	"github.com/postrider/postrider/queue/internal/index"
)

// wide keeps the messages to many destinations that were read last, as each of their tasks needs the message: reading
// it for each would take time in the square of their number. An entry of a message never changes, so what is kept of a
// place is true as long as the place is in use. What is kept is shared, and isn't changed.
type wide struct {
	mu   sync.Mutex
	kept []wideMessage // the newest last
}

type wideMessage struct {
	at  place
	msg *index.Message
}

const (
	// wideDests is how many destinations a message has at least that is kept.
	wideDests = 64

	// maxWide is how many recipients the kept messages have at most in all, unless it is one message alone.
	maxWide = 100_000
)

// get returns the message at a place, nil if it isn't kept.
func (w *wide) get(at place) *index.Message {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.kept {
		if m.at == at {
			return m.msg
		}
	}
	return nil
}

// keep keeps a message that was read, if it has many destinations. From then on, it must not change.
func (w *wide) keep(at place, msg *index.Message) {
	if len(msg.Dests) < wideDests {
		return
	}
	msg.Group()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop(at)
	w.kept = append(w.kept, wideMessage{at, msg})
	total := 0
	for _, m := range w.kept {
		total += len(m.msg.Dest)
	}
	for len(w.kept) > 1 && total > maxWide {
		total -= len(w.kept[0].msg.Dest)
		w.kept = slices.Delete(w.kept, 0, 1)
	}
}

// forget forgets the message at a place, which is gone from there.
func (w *wide) forget(at place) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop(at)
}

func (w *wide) drop(at place) {
	w.kept = slices.DeleteFunc(w.kept, func(m wideMessage) bool { return m.at == at })
}
