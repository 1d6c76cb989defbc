package delivery

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// TestIdleRelay has owners with mail for 2,000 new sites each, whose hosts stall for five minutes, on a relay that has
// nothing else to do. Then comes mail of others for new sites whose hosts answer: it is attempted within a minute.
func TestIdleRelay(t *testing.T) {
	tests := []struct {
		name       string
		places     int // if zero, the default
		owners     int // whose hosts stall; the first one's mail has the null reverse-path
		quick      int // messages of each of them to hosts that answer, before
		known      int // messages of the others, ten minutes before
		busy       int // messages of an owner, an hour before
		beforeMail bool
		together   bool // they come at once, not half a minute after each other
		others     int
	}{
		{name: "an owner that got nothing done", owners: 1, others: 1},
		{name: "one message done", owners: 1, quick: 1, others: 1},
		{name: "60 messages done", owners: 1, quick: 60, others: 1},
		{name: "before MAIL", owners: 1, beforeMail: true, others: 1},
		{name: "the others had mail", owners: 1, known: 300, others: 1},
		{name: "two owners", owners: 2, others: 1},
		{name: "four owners", owners: 4, others: 1},
		{name: "four with 16 messages done", owners: 4, quick: 16, others: 1},
		{name: "four with 60 messages done, before MAIL", owners: 4, quick: 60, beforeMail: true, others: 1},
		{name: "four together", owners: 4, together: true, others: 1},
		{name: "four together with 60 messages done", owners: 4, quick: 60, together: true, others: 1},
		{name: "four after a busy hour", owners: 4, quick: 60, busy: 3000, others: 1},
		{name: "twenty others", owners: 4, quick: 16, others: 20},
		{name: "eight places", places: 8, owners: 1, others: 1},
		{name: "eight places, 60 messages done", places: 8, owners: 1, quick: 60, others: 1},
		{name: "eight places, two owners", places: 8, owners: 2, others: 1},
		{name: "eight places, four owners", places: 8, owners: 4, others: 1},
		{name: "eight places, four with a message done", places: 8, owners: 4, quick: 1, others: 1},
		{name: "eight places, four with 60 messages done", places: 8, owners: 4, quick: 60, others: 1},
		{name: "eight places, four together, 60 messages done", places: 8, owners: 4, quick: 60, together: true, others: 1},
		{name: "twenty places, four owners", places: 20, owners: 4, others: 1},
		{name: "twenty places, four with 60 messages done", places: 20, owners: 4, quick: 60, others: 1},
		{name: "two places", places: 2, owners: 1, others: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, relay := mem.New(), idleRelay{beforeMail: tt.beforeMail}
				start(t, &Runner{Queue: q, Sender: senderFunc(relay.send), Concurrency: tt.places})
				post := func(n int, from, to string, owners, sites int) {
					for i := range n {
						m := mail(fmt.Sprintf("%d@%s%d.test", i, to, i%sites))
						if m.Envelope.From = from; owners > 0 {
							m.Envelope.From = fmt.Sprintf("%d@%s", i%owners, from)
						}
						enqueue(t, q, m)
					}
				}
				if tt.busy > 0 {
					post(tt.busy, "busy@sender.test", "busy", 0, 100)
					sleep(time.Hour)
				}
				post(tt.known, "other.test", "known", tt.others, 10)
				sleep(10 * time.Minute)
				for i := range tt.owners {
					from := ""
					if i > 0 {
						from = fmt.Sprintf("%d@stalls.test", i)
					}
					if post(tt.quick, from, "quick", 0, 100); !tt.together {
						sleep(10 * time.Second)
					}
					if post(2000, from, fmt.Sprintf("stalls%d-", i), 0, 2000); !tt.together {
						sleep(30 * time.Second)
					}
				}
				sleep(time.Minute)
				post(50, "other.test", "new", tt.others, 10)
				sleep(time.Minute)
				relay.mu.Lock()
				defer relay.mu.Unlock()
				if relay.others != 50 {
					t.Errorf("got %d of 50 messages attempted within a minute", relay.others)
				}
			})
		})
	}
}

// idleRelay is the Sender of TestIdleRelay.
type idleRelay struct {
	beforeMail bool // hosts stall so: the slot can be taken back
	mu         sync.Mutex
	others     int // messages to new hosts that answer
}

func (r *idleRelay) send(ctx context.Context, env *smtp.Envelope, _ smtp.Content) []smtp.Result {
	_, domain, _ := strings.Cut(env.Recipients[0].Address, "@")
	if strings.HasPrefix(domain, "stalls") {
		if r.beforeMail {
			var end func()
			ctx, end = smtp.Lend(ctx)
			defer end()
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Minute):
		}
		return cutShort(env)
	}
	if strings.HasPrefix(domain, "new") {
		r.mu.Lock()
		r.others++
		r.mu.Unlock()
	}
	smtp.Keep(ctx)
	time.Sleep(300 * time.Millisecond)
	return answer(env, smtp.Delivered, 250)
}

// TestOwnerLeaves has owners take all slots that they may have, one after the other, on a relay that was idle.
func TestOwnerLeaves(t *testing.T) {
	for _, tt := range []struct {
		name   string
		places int
		busy   int     // slots of an owner with credit
		done   float64 // messages of each, before it takes slots
		want   string  // slots of each
	}{
		{"nothing done", 200, 0, 0, "[80 27 9 1 1 1]"},
		{"a few done", 200, 0, 1, "[150 5 2 1 1 1]"},
		{"much done", 200, 0, 100, "[150 5 2 1 1 1]"},
		{"beside one with credit", 200, 60, 0, "[53 12 7 4 1 1 1 1 1]"}, // half of 160 slots, and one more
		{"one place", 1, 0, 0, "[1 0 0 0 0 0]"},
		{"two places", 2, 0, 0, "[1 1 0 0 0 0]"},
		{"four places", 4, 0, 0, "[1 1 1 1 0 0]"},
		{"four places, a few done", 4, 0, 1, "[3 1 0 0 0 0]"},
		{"eight places", 8, 0, 0, "[2 1 1 1 1 0]"},
		{"eight places, a few done", 8, 0, 1, "[4 1 1 1 1 0]"},
		{"twenty places", 20, 0, 0, "[8 1 1 1 1 0]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := stallAll(tt.places, strings.Count(tt.want, " ")+1, tt.busy, tt.done)
			if fmt.Sprint(got) != tt.want {
				t.Errorf("got %v slots, want %s", got, tt.want)
			}
		})
	}
	for places := 8; places <= 1000; places++ {
		for _, done := range []float64{0, 1, 100} {
			if got := stallAll(places, 5, 0, done); got[4] == 0 {
				t.Errorf("%d places, %v messages done: got %v slots, want one for the fifth owner", places, done, got)
			}
		}
	}
}

// stallAll has owners take all slots that they may have, one after the other, and keep them. It returns how many each has.
func stallAll(places, owners, busy int, done float64) (got []int) {
	m := testMachine(machineConfig{})
	m.at(machineNow)
	m.places = places
	take := func(o *owner, k kind) {
		m.held++
		m.kinds[k]++
		m.slots.take(&o.slots)
		m.lend(o)
	}
	if busy > 0 {
		m.slots.ended.add(100, m.mono)
		m.owner(99).slots.ended.add(100, m.mono)
		for range busy {
			take(m.owner(99), fresh)
		}
	}
	for n := range queue.Owner(owners) {
		o := m.owner(n)
		m.slots.ended.add(done, m.mono)
		for o.slots.ended.add(done, m.mono); m.ownerRoom(o, fresh) > 0; {
			take(o, dull) // by now it takes long
		}
		got = append(got, o.lent.used)
	}
	return got
}

// TestOwnerTakes has four owners take all slots that they may have for fast mail, beside one that uses most. Each has its
// least, or half of it where only a sixteenth is left. It has more only while more are free than chance leaves.
func TestOwnerTakes(t *testing.T) {
	for _, tt := range []struct {
		used int // by the other
		want string
	}{{165, "[7 7 7 4]"}, {145, "[7 7 7 7]"}, {130, "[7 7 7 7]"}, {110, "[15 7 7 7]"}, {50, "[75 7 7 7]"}} {
		m := testMachine(machineConfig{})
		m.at(machineNow)
		m.places = 200
		take := func(o *owner) {
			m.held++
			m.slots.take(&o.slots)
		}
		busy := m.owner(99)
		m.slots.ended.add(10_000, m.mono)
		busy.slots.ended.add(9_600, m.mono)
		for range tt.used {
			take(busy)
		}
		var got []int
		for n := range queue.Owner(4) {
			o := m.owner(n)
			for o.slots.ended.add(100, m.mono); m.ownerRoom(o, fast) > 0; {
				take(o)
			}
			got = append(got, o.slots.used)
		}
		if fmt.Sprint(got) != tt.want {
			t.Errorf("%d slots in use: got %v, want %s", tt.used, got, tt.want)
		}
	}
}

// TestEarned has the part that an owner has earned: none where nobody got anything done, and no large one of a few.
func TestEarned(t *testing.T) {
	for _, tt := range []struct{ all, own, want float64 }{{0, 0, 0}, {1, 1, 1. / 16}, {16, 16, 1}, {100, 50, 0.5}} {
		m := testMachine(machineConfig{})
		m.at(machineNow)
		m.slots.ended.add(tt.all, m.mono)
		m.owner(1).slots.ended.add(tt.own, m.mono)
		if got := m.earned(m.owner(1)); got != tt.want {
			t.Errorf("%v of %v: got %v earned, want %v", tt.own, tt.all, got, tt.want)
		}
	}
}
