package spool

import (
	"sync"
	"time"

	"github.com/postrider/postrider/queue/internal/index"
)

// fresh keeps new messages that are due at once, in the buffers from which they were written. Most messages are claimed
// and opened a moment after they arrive, and then the log needn't be read. The first Open of a message takes its
// buffer; later ones read the log.
//
// Invariants: a message that is kept is durable, and its task may be claimed. It is in young or in old. The buffers of
// each have maxFresh octets at most, counted in full. What is in neither is in the log all the same.
type fresh struct {
	mu     sync.Mutex
	young  map[place]freshMessage
	old    map[place]freshMessage // kept when young was full last
	octets int                    // of the buffers of young
	turned time.Time              // when young became old last
}

type freshMessage struct {
	msg  *index.Message // shared: it isn't changed any more
	buf  *[]byte        // of the pool
	body []byte         // a part of it
}

const (
	// maxFresh bounds the octets of young, and those of old.
	maxFresh = 2 << 20

	// turnFresh is the time after which old messages make room for new ones. In a queue that is longer than what can
	// be kept, those that came first are the next to be claimed.
	turnFresh = 10 * time.Second
)

// keep keeps a message, and takes over its buffer. When young is full, it becomes old, and the old messages are
// dropped. It reports false if there is no room, and for a buffer that is too large.
func (f *fresh) keep(at place, m freshMessage) bool {
	size := cap(*m.buf)
	if size > maxPooled {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.young == nil || f.octets+size > maxFresh {
		now := time.Now()
		if len(f.old) > 0 && now.Sub(f.turned) < turnFresh {
			return false
		}
		f.turned = now
		for _, m := range f.old {
			keepBuffer(m.buf)
		}
		f.young, f.old, f.octets = make(map[place]freshMessage), f.young, 0
	}
	f.young[at] = m
	f.octets += size
	return true
}

// message returns the message at a place, nil if it isn't kept.
func (f *fresh) message(at place) *index.Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m, ok := f.young[at]; ok {
		return m.msg
	}
	return f.old[at].msg
}

// take removes the message at a place. Its buffer is the caller's from then on, and nil if the message isn't kept.
func (f *fresh) take(at place) (buf *[]byte, body []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m, ok := f.young[at]
	if ok {
		delete(f.young, at)
		f.octets -= cap(*m.buf)
		return m.buf, m.body
	}
	m = f.old[at]
	delete(f.old, at)
	return m.buf, m.body
}

// forget drops the message at a place, which is gone from there.
func (f *fresh) forget(at place) {
	if buf, _ := f.take(at); buf != nil {
		keepBuffer(buf)
	}
}
