package spool

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// TestHoldReasonReplayed reads holds with a reason, without one, and of older programs, which had none: a hold that comes
// with its message is for the message's HeldFor. A message is moved with what is known of its hold.
func TestHoldReasonReplayed(t *testing.T) {
	msg := fullStored()
	msg.HeldFor = "a check"
	id := msg.ID
	for _, tt := range []struct {
		name  string
		holds []byte
		held  bool
		want  string
	}{
		{"as stored", appendHoldAsStored(nil, id), true, "a check"},
		{"released", appendRelease(appendHoldAsStored(nil, id), id), false, ""},
		{"held again", appendHold(appendRelease(appendHoldAsStored(nil, id), id), id, ""), true, ""},
		{"held again by an older program", appendHoldAsStored(appendRelease(appendHoldAsStored(nil, id), id), id), true, "a check"},
		{"held for another reason", appendHold(appendHoldAsStored(nil, id), id, "ticket 4711"), true, "ticket 4711"},
		{"held twice", appendHold(appendHold(nil, id, "ticket 4711"), id, ""), true, "ticket 4711"},
		{"held twice, by an older program", appendHoldAsStored(appendHold(nil, id, "ticket 4711"), id), true, "ticket 4711"},
		{"held without a reason", appendHold(nil, id, ""), true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := syncedSegment(t, segmentHeader{number: 1, next: id + 1}, messageEntry(msg, "body"), tt.holds)
				s := mustOpen(t, disk, fixtureOptions)
				check := func(when string) {
					t.Helper()
					n := 0
					for task, err := range s.List(t.Context(), queue.Filter{ID: index.FormatID(id)}) {
						if n++; err != nil || (task.State == queue.Held) != tt.held || task.HeldFor != tt.want {
							t.Errorf("%s: got %v for %q, and %v, want %q", when, task.State, task.HeldFor, err, tt.want)
						}
					}
					if n != len(msg.Dests) {
						t.Errorf("%s: got %d tasks, want %d", when, n, len(msg.Dests))
					}
				}
				check("opened")
				for oldest := uint32(1); oldest == 1; oldest, _, _ = s.log.shape() {
					other := mustEnqueue(t, s, strings.Repeat("x", 1400), "more.example")
					if err := s.Remove(t.Context(), []queue.ID{other}); err != nil {
						t.Fatal(err)
					}
					synctest.Wait() // for the janitor
				}
				check("moved")
				mustClose(t, s)
				s = mustOpen(t, disk, fixtureOptions)
				check("opened again")
				checkNoDamage(t, s)
				mustClose(t, s)
			})
		})
	}
}
