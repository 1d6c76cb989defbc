package delivery

import (
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/permits"
)

// TestSharedRateDeadline has the deadline of a message come while a Runner asks for units, of which others have had all.
// The message isn't given up before the answer. The rate then allows it, or doesn't.
func TestSharedRateDeadline(t *testing.T) {
	for _, tt := range []struct {
		name string
		debt time.Duration
		lost bool // the first answer
		held bool // others keep all units
		want step
	}{
		{"units come", 0, false, false, stepAttempt},
		{"units come after a lost answer", 0, true, false, stepAttempt},
		{"units come with a debt", time.Hour, false, false, stepExpire},
		{"no units come", 0, false, true, stepExpire},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(machineConfig{
				shares: func() uint64 { return 2 },
				tenant: func(string) Rate { return Rate{1, time.Hour} },
			})
			now := m.base.Add(time.Hour)
			task := &queue.Task{Tenant: "shop", Arrival: m.base, Due: now, Deadline: now}
			book := permits.Book{Until: now.Add(tt.debt).UnixNano() + 1}
			records := map[string][]byte{"rate of tenant shop": book.Write(now)}
			ask := func() plan {
				m.at(now)
				if until := m.admit(task, now); until > m.mono {
					return m.postpone(task, until, now)
				}
				return plan{step: stepAttempt}
			}
			m.at(now)
			m.shared.renewed = m.mono
			for range 30 { // it is told a time that is far away, and asks for its deadline
				other := *task
				other.Deadline = time.Time{}
				m.admit(&other, now)
			}
			q := m.shared.lots["rate of tenant shop"]
			for q.turned = 1; ; tt.lost = false {
				wantSoon := func(when string) {
					t.Helper()
					if p := ask(); p.step != stepPostpone || p.next.Sub(now) > time.Second {
						t.Fatalf("%s: got %+v, want it to ask again within a second", when, p)
					}
				}
				wantSoon("before the turn")
				m.shared.next = 0
				turn := m.beginShare(now)
				wantSoon("in the turn")
				if tt.held {
					all := permits.Members{Members: map[uint64]permits.Member{1: {}}}
					records[membersRecord] = all.Write()
					book := permits.Book{Seats: map[uint64]permits.Seat{1: {Have: permits.Units}}}
					records[q.name] = book.Write(now)
				}
				if err := turn.apply(now, m.mono, records); err != nil {
					t.Fatal(err)
				}
				if !tt.lost {
					m.endShare(turn, nil, now)
					break
				}
				m.endShare(turn, errCut, now)
				wantSoon("after a lost answer")
				now = now.Add(2 * time.Second)
			}
			now = now.Add(time.Second)
			if p := ask(); p.step != tt.want {
				t.Errorf("after the turn: got %+v, want step %d", p, tt.want)
			}
		})
	}
}
