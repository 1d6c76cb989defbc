package spool

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
)

// TestBodyOfTwoSettlements settles the two tasks of a message at the same time. The one that ends the message in the
// index comes first in the log and is on the disk; a crash may undo the other. The body stays until it can't.
func TestBodyOfTwoSettlements(t *testing.T) {
	quiet(t)
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		disk := crashfs.New[File](nil)
		options := Options{InlineSize: 10, SyncDelay: time.Hour, Reserve: -1, SegmentSize: 1 << 20}
		s := mustOpen(t, disk, options)
		id := mustEnqueue(t, s, strings.Repeat("x", 100), "a.example", "b.example")
		a, b := mustClaim(t, s, "a.example")[0], mustClaim(t, s, "b.example")[0]

		d := s.newDraft(true)
		begun, c, p, err := s.beginSettling(ctx, a.Lease)
		if err != nil {
			t.Fatal(err)
		}
		e, err := s.writeSettlement(d, begun, c, p, queue.Settlement{})
		if err != nil {
			t.Fatal(err)
		}
		mustSettle(t, s, b.Lease, queue.Settlement{})
		s.mu.Lock()
		s.settle(d, begun, e)
		s.takeIn(d)
		s.endSettling()
		s.mu.Unlock()
		s.wakeJanitor()
		synctest.Wait()

		for _, kind := range crashfs.Kinds {
			left := mustOpen(t, disk.After(kind, nil), options)
			for task := range left.List(ctx, queue.Filter{ID: id}) {
				if _, err := readBody(left, id); err != nil {
					t.Errorf("%s: the task for %s is there, and its body isn't: %v", kind, task.Destination, err)
				}
			}
			checkNoDamage(t, left)
			mustClose(t, left)
		}
		time.Sleep(2 * time.Hour) // the sync
		synctest.Wait()
		files, err := disk.List()
		if err != nil {
			t.Fatal(err)
		}
		for name := range files {
			if strings.HasSuffix(name, bodySuffix) {
				t.Errorf("after a sync: %s is left", name)
			}
		}
	})
}

// TestSettlePanics: a panic while a settlement is made, here of the disk, leaves the message as it was.
func TestSettlePanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[File](nil)
		s := mustOpen(t, disk, testConfig)
		id := mustEnqueue(t, s, "body", "a.example")
		task := mustClaim(t, s, "a.example")[0]
		readBody(s, id) // so that the settlement reads the log
		disk.Reading = func(string, int64, int) error { panic("boom") }
		again := queue.Settlement{Next: time.Now().Add(time.Minute)}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("got no panic")
				}
			}()
			s.Settle(t.Context(), task.Lease, again)
		}()
		disk.Reading = nil
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := s.Settle(ctx, task.Lease, again); err != nil {
			t.Errorf("Settle after the panic: got %v", err)
		}
		if err := s.Remove(ctx, []queue.ID{id}); err != nil {
			t.Errorf("Remove after the panic: got %v", err)
		}
	})
}
