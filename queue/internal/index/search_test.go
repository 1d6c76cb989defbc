package index

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
)

// TestSearch finds each message once and in order, over the end of the first walk, and asks for those alone that have
// the Ref and the sender of the Filter.
func TestSearch(t *testing.T) {
	const messages = 3*firstIDs + 7
	ix := New[testPlace, testPlace](nil)
	now := time.Now().UnixNano()
	for i := range messages {
		id := uint64(messages - i) // the latest are the first in the index
		s := waitingFor(id, now, "a.example")
		s.Dests = []string{"a.example", fmt.Sprintf("d%d.example", id%3), "z.example"}
		s.Dest = []uint32{0, 1, 2}
		s.Ref, s.Envelope.From = fmt.Sprintf("ref%d", id), fmt.Sprintf("s%d@source.example", id%10)
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
			if !slices.Equal(got, want) { // a chance of some 10^-7 that another Ref has the same mark
				t.Errorf("got %d IDs, %v at first, want %d", len(got), got[:min(5, len(got))], len(want))
			}
		})
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
