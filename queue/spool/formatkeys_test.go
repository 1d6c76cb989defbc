package spool

import (
	"cmp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
	"github.com/postrider/postrider/queue/internal/index"
)

// keysFixture writes a directory with all that fillFixture has, and with keys: of messages that are there and that have
// left, one in a record with a hold, and one that compaction has moved. They are of the year 2100, so that no test comes
// when their time is over. Hints have of all that.
func keysFixture(t *testing.T) (disk *crashfs.FS[File], want []byte) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		disk = crashfs.New[File](nil)
		s := mustOpen(t, disk, fixtureOptions)
		fillFixture(t, s)
		pad := func(n int) { // so that segments have hints, and that compaction has something to do
			for range n {
				m := testMessage(strings.Repeat("x", 1400), "last.example")
				m.NotBefore = fixtureTime(10) // what is due at once is due at its arrival, or now
				id, err := s.Enqueue(t.Context(), m)
				if err == nil && n > 4 {
					err = s.Remove(t.Context(), []queue.ID{id})
				}
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // for the janitor
			}
		}
		time.Sleep(time.Until(fixtureTime(-1)))
		store := func(key, tenant string, size int, held bool) queue.ID {
			m := keyedMessage(key, size)
			m.Tenant, m.Held, m.NotBefore = tenant, held, fixtureTime(10)
			id, err := s.Enqueue(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		moved := store("moved", "", 300, false)
		if err := s.Remove(t.Context(), []queue.ID{moved}); err != nil {
			t.Fatal(err)
		}
		before := keysIn(s)[0].Segment
		for keysIn(s)[0].Segment == before {
			pad(5)
		}
		store("there", "", 300, false)
		store("there", "tenant", 2000, true)
		gone := store("gone", "tenant", 300, false)
		if err := s.Remove(t.Context(), []queue.ID{gone}); err != nil {
			t.Fatal(err)
		}
		pad(4)
		pad(4)
		want = listing(t, s)
		mustClose(t, s)
	})
	return disk, want
}

// keysIn returns the keys that a spool remembers, in the order of their messages.
func keysIn(s *Spool) (keys []index.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys.Forget()
	for _, seg := range s.log.all() {
		for n, more := 0, true; more; n++ {
			more = s.keys.EachOf(n, seg.number, func(k index.Key) { keys = append(keys, k) })
		}
	}
	slices.SortFunc(keys, func(a, b index.Key) int { return cmp.Compare(a.ID, b.ID) })
	return keys
}
