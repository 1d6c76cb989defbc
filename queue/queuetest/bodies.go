package queuetest

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing/iotest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

var errBroken = errors.New("the reader broke")

// newBody returns a Reader of b without any other methods.
func newBody(b []byte) io.Reader { return struct{ io.Reader }{bytes.NewReader(b)} }

// failAfter returns a Reader of n octets that then fails with err.
func failAfter(n int64, err error) io.Reader {
	return io.MultiReader(io.LimitReader(stream(7), n), iotest.ErrReader(err))
}

// stream returns an endless Reader. The same seed returns the same octets.
func stream(seed uint64) io.Reader {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return rand.NewChaCha8(key)
}

// slowBody returns a Reader of text that first sleeps for d.
func slowBody(text string, d time.Duration) io.Reader {
	sleep := func([]byte) (int, error) {
		time.Sleep(d)
		return 0, io.EOF
	}
	return io.MultiReader(readerFunc(sleep), strings.NewReader(text))
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// testBodyFails tests that if a body can't be read to its end, nothing is stored.
func testBodyFails(e *env) {
	for _, n := range []int64{0, 1, 10_000, 300_000, 3 << 20} {
		m := message("", "d.example")
		m.Body = failAfter(n, errBroken)
		if id, err := e.q.Enqueue(e.ctx, m); !errors.Is(err, errBroken) {
			e.Fatalf("Enqueue of a body that fails after %d octets: got %q and %v, want that error wrapped", n, id, err)
		}
	}
	e.empty("every body failed")
	id := e.enqueue(message("good", "d.example"))
	e.checkBody(id, []byte("good"))
}

// testConcurrentEnqueues tests that concurrent Enqueues lose nothing and mix nothing up.
func testConcurrentEnqueues(e *env) {
	const producers, each = 64, 16
	var mu sync.Mutex
	bodies := map[queue.ID]string{}
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			for i := range each {
				text := strings.Repeat(fmt.Sprintf("message %d of %d\r\n", i, p), 1+p*i)
				id, err := e.q.Enqueue(e.ctx, message(text, fmt.Sprintf("d%d.example", p%8)))
				if err != nil {
					e.Errorf("Enqueue: %v", err)
					return
				}
				mu.Lock()
				if _, ok := bodies[id]; ok {
					e.Errorf("each message has its own ID: got %s twice", id)
				}
				bodies[id] = text
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if n := len(e.lanes()); n != 8 {
		e.Errorf("Lanes yields every lane: got %d, want 8", n)
	}
	if _, ok := e.q.(queue.Lister); !ok {
		e.note("List of many messages", "the Queue is no Lister")
	} else if n := len(e.list(queue.Filter{})); n != producers*each {
		e.Errorf("List yields every task: got %d, want %d", n, producers*each)
	}
	for d := range 8 {
		for _, t := range e.claim(fmt.Sprintf("d%d.example", d), producers*each, queue.Fresh) {
			text, ok := bodies[t.ID]
			if !ok {
				e.Fatalf("each message is claimed once: got %s twice", t.ID)
			}
			e.checkBody(t.ID, []byte(text))
			delete(bodies, t.ID)
			e.settle(t, queue.Settlement{})
		}
	}
	if len(bodies) > 0 {
		e.Errorf("no accepted message is lost: %d messages can't be claimed", len(bodies))
	}
}

// testBodies tests that a body is returned unchanged, at any offset, any number of times.
func testBodies(e *env) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	random := make([]byte, 1<<20+1)
	io.ReadFull(stream(1), random)
	for _, body := range [][]byte{
		{}, {0}, all, bytes.Repeat([]byte("\r\n.\r\n"), 1000),
		random[:256<<10-1], random[:256<<10], random[:256<<10+1], random,
	} {
		m := message("", "d.example")
		m.Body = iotest.HalfReader(newBody(body))
		if len(body) < 10_000 {
			m.Body = iotest.OneByteReader(newBody(body))
		}
		id := e.enqueue(m)
		for range 2 {
			e.checkBody(id, body)
		}
		b, err := e.q.Open(e.ctx, id)
		if err != nil {
			e.Fatalf("Open: %v", err)
		}
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				from := len(body) * i / 8
				got := make([]byte, min(1000, len(body)-from))
				n, err := b.ReadAt(got, int64(from))
				if n != len(got) || err != nil && err != io.EOF || !bytes.Equal(got, body[from:from+n]) {
					e.Errorf("a body can be read at any offset, concurrently: "+
						"ReadAt(%d octets, %d) of %d returns %d and %v, or other octets",
						len(got), from, len(body), n, err)
				}
			})
		}
		wg.Wait()
		if n, err := b.ReadAt(make([]byte, 10), int64(len(body))); n != 0 || err != io.EOF {
			e.Errorf("ReadAt after the end: got %d and %v, want 0 and io.EOF", n, err)
		}
		if err := b.Close(); err != nil {
			e.Errorf("Close: %v", err)
		}
		t := e.claimOne("d.example")
		if t.Size != int64(len(body)) {
			e.Errorf("Size is the size of the body: got %d, want %d", t.Size, len(body))
		}
		e.settle(t, queue.Settlement{})
	}
}

// testBodyUntilSettled tests that a body can be opened until the last task is settled.
func testBodyUntilSettled(e *env) {
	large := make([]byte, 600_000)
	io.ReadFull(stream(2), large)
	for _, body := range [][]byte{[]byte("small"), large} {
		m := message("", "d.example", "e.example")
		m.Body = newBody(body)
		id := e.enqueue(m)
		d, other := e.claimOne("d.example"), e.claimOne("e.example")
		e.settle(d, reporting(message("report", "r.example")))
		e.checkBody(id, body)
		e.settle(other, queue.Settlement{Results: results(other, smtp.Deferred), Next: e.now()})
		e.checkBody(id, body)
		e.settle(e.claimOne("e.example"), queue.Settlement{})
		if _, err := e.q.Open(e.ctx, id); !errors.Is(err, queue.ErrNotFound) {
			e.Errorf("Open after the last task was settled: got %v, want ErrNotFound", err)
		}
		e.settle(e.claimOne("r.example"), queue.Settlement{})
	}
	for _, id := range []queue.ID{"", "nosuch", "../x", "0", "00", "-1", "zzzzzzzzzzzzzzzzzzzzzzzz"} {
		if _, err := e.q.Open(e.ctx, id); !errors.Is(err, queue.ErrNotFound) {
			e.Errorf("Open(%q): got %v, want ErrNotFound", id, err)
		}
	}
}

// testBodyAfterwards tests that a Body that is open when its message leaves the Queue returns its octets to the end, or
// an error that wraps ErrNotFound.
func testBodyAfterwards(e *env) {
	body := make([]byte, 600_000)
	io.ReadFull(stream(4), body)
	for _, n := range []int{5, 100_000, len(body)} {
		m := message("", "d.example")
		m.Body = newBody(body[:n])
		e.enqueue(m)
		e.checkAfterwards("the last Settle", body[:n], func() { e.settle(e.claimOne("d.example"), queue.Settlement{}) })
		q, ok := e.q.(queue.Remover)
		if !ok {
			e.note("bodies after Remove", "the Queue is no Remover")
			continue
		}
		m.Body = newBody(body[:n])
		id := e.enqueue(m)
		e.checkAfterwards("Remove", body[:n], func() {
			if err := q.Remove(e.ctx, []queue.ID{id}); err != nil {
				e.Fatalf("Remove: %v", err)
			}
		})
	}
}

// checkAfterwards opens the body of the only message, lets the message leave and others come, and reads on.
func (e *env) checkAfterwards(what string, body []byte, leave func()) {
	e.Helper()
	id := e.claimOne("d.example")
	e.settle(id, queue.Settlement{Next: e.now(), Uncounted: true})
	b, err := e.q.Open(e.ctx, id.ID)
	if err != nil {
		e.Fatalf("Open: %v", err)
	}
	defer b.Close()
	half := len(body) / 2
	got := make([]byte, half)
	if n, err := b.ReadAt(got, 0); n != half || err != nil && err != io.EOF || !bytes.Equal(got, body[:half]) {
		e.Fatalf("ReadAt before %s: got %d octets and %v, or other octets", what, n, err)
	}
	leave()
	for range 3 {
		other := message("", "other.example")
		other.Body = newBody(bytes.Repeat([]byte("other\r\n"), 1+len(body)/7))
		e.enqueue(other)
	}
	for off := range 3 {
		got := make([]byte, len(body)-off)
		n, err := b.ReadAt(got, int64(off))
		whole := n == len(got) && (err == nil || err == io.EOF)
		if !bytes.Equal(got[:n], body[off:off+n]) || !whole && !errors.Is(err, queue.ErrNotFound) {
			e.Errorf("a Body that is open during %s is readable to its end, or its reads return an error that wraps "+
				"ErrNotFound: got %d of %d octets and %v, or other octets", what, n, len(got), err)
		}
	}
	for _, t := range e.claim("other.example", 3, queue.Any) {
		e.settle(t, queue.Settlement{})
	}
}

// testLargeBody tests that a large body is never in memory as a whole.
func testLargeBody(e *env) {
	if e.h.InMemory {
		e.lack("the memory that a body takes", "Harness.InMemory is set")
	}
	const size, limit = 50_000_000, 8 << 20
	before := allocated()
	m := message("", "d.example")
	want := fnv.New64a()
	m.Body = io.TeeReader(io.LimitReader(stream(3), size), want)
	id := e.enqueue(m)
	b, err := e.q.Open(e.ctx, id)
	if err != nil {
		e.Fatalf("Open: %v", err)
	}
	defer b.Close()
	got := fnv.New64a()
	buffer := make([]byte, 64<<10)
	n, err := io.CopyBuffer(struct{ io.Writer }{got}, struct{ io.Reader }{smtp.NewReader(b)}, buffer)
	if n != size || err != nil || got.Sum64() != want.Sum64() {
		e.Errorf("a body of %d octets: got %d and %v, or other octets", size, n, err)
	}
	t := e.claimOne("d.example")
	e.settle(t, reporting(message("report", "r.example")))
	if used := allocated() - before; used > limit {
		e.Errorf("a body of %d octets is never in memory as a whole: %d octets were allocated for it, want at most %d",
			size, used, limit)
	}
	e.settle(e.claimOne("r.example"), queue.Settlement{})
	e.empty("the large message is settled")
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// testCallersOwn tests that the Queue shares no memory with its caller.
func testCallersOwn(e *env) {
	m := message("x", "d.example", "d.example")
	id := e.enqueue(m)
	m.Envelope.From = "changed@example.com"
	m.Envelope.Recipients[0].Address = "changed@d.example"
	m.Destinations[1] = "changed.example"
	want := task(id, message("x", "d.example", "d.example"), "d.example", 1, time.Time{})
	t := e.claimOne("d.example")
	want.Arrival, want.Due = t.Arrival, t.Due
	e.checkTask("Enqueue keeps no reference to its arguments", t, want)
	t.Envelope.From = "changed@example.com"
	t.Envelope.Recipients[1].Address = "changed@d.example"
	rs := results(t, smtp.Deferred, smtp.Deferred)
	want.Last = results(t, smtp.Deferred, smtp.Deferred)
	next := e.now()
	e.settle(t, queue.Settlement{Results: rs, Next: next})
	rs[0].Reply.Text, rs[1] = "changed", smtp.Result{}
	want.Due = t.Arrival // Next isn't in the future
	for n := 2; n < 4; n++ {
		t = e.claimOne("d.example")
		want.Attempts = n
		e.checkTask("Settle keeps no reference to its arguments, and Claim returns none that is kept", t, want)
		t.Last[0].Reply.Code, t.Last[1] = 999, smtp.Result{}
		t.Envelope.Recipients[0].Address = "changed@d.example"
		e.settle(t, queue.Settlement{Next: next})
	}
}
