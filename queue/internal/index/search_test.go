package index

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// TestSearch finds each message once and in order, over the end of the first walk, and asks for those alone that have
// the Ref and the sender of the Filter.
func TestSearch(t *testing.T) {
	const messages = 3*moreIDs*firstIDs + 7
	ix := New[testPlace, testPlace](nil)
	// With one seed in 256, all messages look as if they were to u2345, as all are to v and w.
	for ix.fourBits("u2345")&^(ix.fourBits("v")|ix.fourBits("w")) == 0 {
		ix = New[testPlace, testPlace](nil)
	}
	now := time.Now().UnixNano()
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(messages) { // they are in the index in any order
		id := uint64(i + 1)
		s := waitingFor(id, now, "a.example")
		s.Dests = []string{"a.example", fmt.Sprintf("d%d.example", id%3), "z.example"}
		s.Dest = []uint32{0, 1, 2}
		s.Ref, s.Envelope.From = fmt.Sprintf("ref%d", id), fmt.Sprintf("s%d@source.example", id%10)
		s.Tenant = fmt.Sprintf("t%d", id%20)
		if id <= messages-40 {
			s.Envelope.Recipients = smtp.NewEnvelope("", fmt.Sprintf("u%d@a.example", id), "v@a.example", "w@a.example").Recipients
		}
		ix.Add(s, testPlace{})
	}
	tests := []struct {
		name string
		f    queue.Filter
		want func(id uint64) bool
	}{
		{"all", queue.Filter{}, func(uint64) bool { return true }},
		{"after", queue.Filter{After: FormatID(5)}, func(id uint64) bool { return id > 5 }},
		{"a destination", queue.Filter{Destination: "d1.example"}, func(id uint64) bool { return id%3 == 1 }},
		{"a destination of all", queue.Filter{Destination: "z.example"}, func(id uint64) bool { return true }},
		{"a Ref", queue.Filter{Ref: "ref2345"}, func(id uint64) bool { return id == 2345 }},
		{"a sender", queue.Filter{Sender: "s7@SOURCE.example"}, func(id uint64) bool { return id%10 == 7 }},
		{"a Ref and another sender", queue.Filter{Sender: "s7@source.example", Ref: "ref2345"}, func(uint64) bool { return false }},
		{"a tenant", queue.Filter{Tenant: "t3"}, func(id uint64) bool { return id%20 == 3 }},
		{"a tenant at a destination", queue.Filter{Tenant: "t3", Destination: "d1.example"},
			func(id uint64) bool { return id%20 == 3 && id%3 == 1 }},
		{"a recipient", queue.Filter{Recipient: "u2345@a.example"}, func(id uint64) bool { return id == 2345 }},
		{"a recipient of all", queue.Filter{Recipient: "w@a.example"}, func(uint64) bool { return true }},
		{"a recipient of messages whose recipients aren't known", queue.Filter{Recipient: "x@a.example"},
			func(id uint64) bool { return id > messages-40 }},
		{"held", queue.Filter{State: queue.Held}, func(uint64) bool { return false }},
		{"no such Ref", queue.Filter{Ref: "ref"}, func(uint64) bool { return false }},
		{"the null sender", queue.Filter{Sender: "<>"}, func(uint64) bool { return false }},
		{"an ID", queue.Filter{ID: FormatID(9)}, func(id uint64) bool { return id == 9 }},
		{"no such ID", queue.Filter{ID: FormatID(messages + 1)}, func(uint64) bool { return false }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := NewFilter(tt.f)
			if err != nil {
				t.Fatal(err)
			}
			var got, want []uint64
			for id, err := range Search(new(sync.Mutex), ix, f, func() error { return nil }) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, id)
			}
			for id := uint64(1); id <= messages; id++ {
				if tt.want(id) {
					want = append(want, id)
				}
			}
			asked, extra := len(got), 0 // others may have the same marks by chance, but hardly so many
			switch {
			case tt.f.Recipient != "":
				extra = messages / 4
			case tt.f.Ref != "" || tt.f.Sender != "" || tt.f.Tenant != "":
				extra = len(want) + 3
			}
			if extra > 0 {
				got = slices.DeleteFunc(got, func(id uint64) bool { return !tt.want(id) })
			}
			if !slices.Equal(got, want) || asked > len(want)+extra {
				t.Errorf("got %d IDs of %d, %v at first, want %d", len(got), asked, got[:min(5, len(got))], len(want))
			}
		})
	}
}

// TestOldest: messages leave and others take their places. Both walks find what is oldest.
func TestOldest(t *testing.T) {
	ix, r := New[testPlace, testPlace](nil), rand.New(rand.NewPCG(1, 2))
	var there []uint64 // sorted
	for id := uint64(1); id < 20_000; id++ {
		if len(there) < 3000 || r.IntN(2) > 0 {
			ix.Add(waitingFor(id, 0, "a.example"), testPlace{})
			there = append(there, id)
		}
		for r.IntN(2) > 0 && len(there) > 2000 {
			i := r.IntN(len(there))
			ix.Remove(there[i])
			there = slices.Delete(there, i, i+1)
		}
		if id%500 > 0 {
			continue
		}
		if got, ok := Oldest(new(sync.Mutex), ix); !ok || got != there[0] {
			t.Fatalf("got %d as the oldest, want %d", got, there[0])
		}
		var first []uint64
		for got := range Search(new(sync.Mutex), ix, &Filter{}, func() error { return nil }) {
			if first = append(first, got); len(first) == 2*firstIDs {
				break
			}
		}
		if !slices.Equal(first, there[:min(len(there), 2*firstIDs)]) {
			t.Fatalf("got %v at first, want %v", first[:5], there[:5])
		}
	}
}

// TestSearchFails: an error of check ends a search.
func TestSearchFails(t *testing.T) {
	ix := New[testPlace, testPlace](nil)
	ix.Add(waitingFor(1, time.Now().UnixNano(), "a.example"), testPlace{})
	for _, id := range []queue.ID{"", FormatID(1)} {
		f, _ := NewFilter(queue.Filter{ID: id})
		calls := 0
		for _, err := range Search(new(sync.Mutex), ix, f, func() error { return queue.ErrClosed }) {
			if calls++; err != queue.ErrClosed {
				t.Errorf("%s: got %v", id, err)
			}
		}
		if calls != 1 {
			t.Errorf("%s: got %d calls, want 1", id, calls)
		}
	}
}

// BenchmarkSearch finds a page of messages among a million.
func BenchmarkSearch(b *testing.B) {
	ix := New[testPlace, testPlace](nil)
	now := time.Now().UnixNano()
	for i := range 1_000_000 {
		s := waitingFor(uint64(i+1), now, fmt.Sprintf("d%d.example", i%1000))
		s.Ref = fmt.Sprintf("ref%d", i)
		ix.Add(s, testPlace{})
	}
	for _, tt := range []struct {
		name string
		f    queue.Filter
	}{{"all", queue.Filter{}}, {"ref", queue.Filter{Ref: "ref999999"}}, {"destination", queue.Filter{Destination: "d7.example"}}} {
		f, err := NewFilter(tt.f)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(tt.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for range Search(new(sync.Mutex), ix, f, func() error { return nil }) {
					break
				}
			}
		})
	}
}

// locks counts how often it is locked.
type locks struct {
	sync.Mutex
	n int
}

func (l *locks) Lock() { l.Mutex.Lock(); l.n++ }

// TestSearchLocks has many messages, and looks for one of them, or few. A search that had to read all of them would lock
// the store 25 times. Nearly all of the messages were in the place of others before.
func TestSearchLocks(t *testing.T) {
	const messages = 100_000
	ix := New[testPlace, testPlace](nil)
	now := time.Now().UnixNano()
	for i := range 2 * messages {
		s := waitingFor(uint64(i+1), now, "a.example")
		s.Ref, s.Envelope.From = fmt.Sprintf("ref%d", i), fmt.Sprintf("s%d@source.example", i/10)
		s.Envelope.Recipients = smtp.NewEnvelope("", fmt.Sprintf("u%d@a.example", i)).Recipients
		if i >= messages {
			ix.Remove(uint64(i - messages + 1))
		}
		ix.Add(s, testPlace{})
	}
	search := func(f queue.Filter) (ids []uint64, n int) {
		parsed, err := NewFilter(f)
		if err != nil {
			t.Fatal(err)
		}
		var mu locks
		for id, err := range Search(&mu, ix, parsed, func() error { return nil }) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		return ids, mu.n
	}
	if ids, n := search(queue.Filter{}); len(ids) != messages || n < 25 {
		t.Fatalf("got %d messages with %d locks, want %d and 25 at least", len(ids), n, messages)
	}
	for _, tt := range []struct {
		name string
		f    queue.Filter
		want uint64
	}{
		{"a Ref", queue.Filter{Ref: "ref150000"}, 150_001},
		{"a sender", queue.Filter{Sender: "s19999@source.example"}, 199_991},
		{"a recipient", queue.Filter{Recipient: "u199999@a.example"}, 200_000},
		{"a recipient who has left", queue.Filter{Recipient: "u9@a.example"}, 0},
	} {
		ids, n := search(tt.f)
		if tt.want != 0 && !slices.Contains(ids, tt.want) || len(ids) > 50 || n > 8 {
			t.Errorf("%s: got %d messages with %d locks, want %d among a few, and 8 at most", tt.name, len(ids), n, tt.want)
		}
	}
}

// countedLock counts how often it was locked.
type countedLock struct {
	sync.Mutex
	locks int
}

func (l *countedLock) Lock() {
	l.Mutex.Lock()
	l.locks++
}

// TestSearchSkips: a search for what few messages have passes over the chunks of the others, so that it takes few
// steps. A chunk whose messages have left, and with them what was rare, is passed over, too.
func TestSearchSkips(t *testing.T) {
	const chunks = 512
	ix := New[testPlace, testPlace](nil)
	for id := uint64(1); id <= chunks*chunkSize; id++ {
		s := waitingFor(id, 0, "a.example", fmt.Sprintf("d%d.example", id%5))
		s.Tenant, s.Ref = "often", "often"
		switch {
		case id == chunks*chunkSize/2:
			s.Dests[1], s.Tenant, s.Ref = "rare.example", "rare", "rare"
		case id <= chunks*chunkSize/3 && id%chunkSize == 1:
			s.Dests[1], s.Tenant, s.Ref = "gone.example", "gone", "gone"
		}
		ix.Add(s, testPlace{})
	}
	steps := func(f queue.Filter) (found, steps int) {
		t.Helper()
		parsed, err := NewFilter(f)
		if err != nil {
			t.Fatal(err)
		}
		mu := new(countedLock)
		for range Search(mu, ix, parsed, func() error { return nil }) {
			found++
		}
		return found, mu.locks
	}
	rare := []queue.Filter{{Destination: "rare.example"}, {Tenant: "rare"}, {Ref: "rare"}}
	for _, f := range rare {
		if found, steps := steps(f); found != 1 || steps > chunks/100 {
			t.Errorf("%+v: got %d messages in %d steps, want 1 in %d at most", f, found, steps, chunks/100)
		}
	}
	if found, steps := steps(queue.Filter{Destination: "d1.example", State: queue.Held, Tenant: "often"}); found != 0 || steps != 1 {
		t.Errorf("held: got %d messages in %d steps, want none in 1", found, steps)
	}
	for id := uint64(1); id <= chunks*chunkSize/3; id++ {
		if id%chunkSize <= chunkSize/2 {
			ix.Remove(id)
		}
	}
	left := 0
	for id := uint64(1); id <= chunks*chunkSize; id++ {
		if id%5 == 1 && id != chunks*chunkSize/2 && ix.Data(id) != nil { // those with ID 1 in their chunk are gone
			left++
		}
	}
	steps(queue.Filter{}) // a walk that passes over no chunk makes the summaries anew
	if found, _ := steps(queue.Filter{Destination: "d1.example", Tenant: "often"}); found != left {
		t.Errorf("after many have left, got %d messages, want %d", found, left)
	}
	for _, f := range append(rare, queue.Filter{Destination: "gone.example"}, queue.Filter{Tenant: "gone"}) {
		if found, steps := steps(f); found > 1 || steps > chunks/100 {
			t.Errorf("%+v: after many have left, got %d messages in %d steps, want %d at most", f, found, steps, chunks/100)
		}
	}
}
