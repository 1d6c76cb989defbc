package client

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// brokenCounts can't count.
type brokenCounts struct{ panics bool }

func (b brokenCounts) Add(string, string, int, int) (int, error) {
	if b.panics {
		panic("no")
	}
	return 0, errors.New("the disk is full")
}

// TestWarmUp: where the messages of a source in warm-up go, of whose two a day one was sent.
func TestWarmUp(t *testing.T) {
	const full = "the warm-up of source 198.51.100.1 has sent the messages of day 1, at most 2, to hosts of no known provider"
	tests := []struct {
		name  string
		set   func(tr *Transport, w *WarmUp)
		after time.Duration // before the last message
		want  string        // the sources of four messages, a day's first two being the plan
		reply string        // to those without a source
		room  time.Duration // until one of those has one
	}{
		{name: "by another source", want: "A A B B"},
		{name: "waits", set: func(_ *Transport, w *WarmUp) { w.Wait = true }, want: "A A - -", reply: full, room: 24 * time.Hour},
		{name: "waits for days", set: func(_ *Transport, w *WarmUp) {
			w.Wait, w.Days = true, []int{2, 0, 0}
		}, want: "A A - -", reply: full, room: 72 * time.Hour},
		{name: "there is no other source", set: func(tr *Transport, _ *WarmUp) { tr.Sources = tr.Sources[:1] }, want: "A A - -", reply: full, room: 24 * time.Hour},
		{name: "the next day", after: 24 * time.Hour, want: "A A B A"},
		{name: "after the plan", after: 72 * time.Hour, want: "A A B A"},
		{name: "before the plan", set: func(_ *Transport, w *WarmUp) { w.Start = w.Start.Add(time.Hour) }, want: "B B B B"},
		{name: "of another provider", set: func(_ *Transport, w *WarmUp) {
			w.Providers = map[string][]int{"google": {0}}
		}, want: "A A B B"},
		{name: "a provider's own plan", set: func(_ *Transport, w *WarmUp) {
			w.Providers = map[string][]int{"": {3, 1}}
		}, want: "A A A B"},
		{name: "no plan", set: func(_ *Transport, w *WarmUp) { w.Days = nil }, want: "A A A A"},
		{name: "counts fail", set: func(tr *Transport, _ *WarmUp) { tr.WarmCounts = brokenCounts{} }, want: "B B B B"},
		{name: "counts panic", set: func(tr *Transport, _ *WarmUp) { tr.WarmCounts = brokenCounts{panics: true} }, want: "B B B B"},
		{name: "the other one is blocked", set: func(tr *Transport, _ *WarmUp) {
			route := mustRoute(mx.Smarthost("192.0.2.1:25"))
			tr.Block(Block{Site: route.Site(), SourceAddr: srcB, Until: time.Now().Add(time.Hour)})
		}, want: "A A - -", reply: full, room: time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := newInternet(t)
				h := &boundedHost{bound: 100, at: smtp.StageMail, refusal: "452 no", taken: make(map[string]int)}
				inet.serve("192.0.2.1:25", h.serve)
				w := &WarmUp{Start: time.Now(), Days: []int{2, 2, 2}}
				tr := &Transport{
					Hostname: "client.test", DialContext: inet.DialContext,
					Router:  &mx.Router{Routes: map[string]mx.Route{"*": mustRoute(mx.Smarthost("192.0.2.1:25"))}},
					Sources: []Source{{Addrs: []netip.Addr{srcA}, WarmUp: w}, {Addrs: []netip.Addr{srcB}}},
				}
				defer tr.Close()
				to := bobOfA
				if rank(tr.Sources, pair{"ann@client.test", to})[0] != &tr.Sources[0] {
					t.Fatal("bob's mail doesn't prefer A")
				}
				if tt.set != nil {
					tt.set(tr, w)
				}
				names := map[netip.Addr]string{srcA: "A", srcB: "B"}
				var got []string
				for i := range 4 {
					if i == 3 {
						time.Sleep(tt.after)
					}
					from := "-"
					results, err := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", to), smtp.Text("Hello.\n"))
					checkError(t, results, err)
					r := results[0]
					if r.Outcome == smtp.Delivered {
						tr.pool.mu.Lock()
						for _, list := range tr.pool.idle { // the session that was used last
							from = names[slices.MaxFunc(list, func(a, b *session) int { return a.idleSince.Compare(b.idleSince) }).source]
						}
						tr.pool.mu.Unlock()
					} else if !r.Local || r.Outcome != smtp.Deferred || r.Reason != smtp.NoSource || r.Reply.Text != tt.reply {
						t.Errorf("message %d: got %+v, %v; want it to wait with %q", i, r, r.Reply, tt.reply)
					} else if got := r.NotBefore.Sub(w.Start); got != tt.room {
						t.Errorf("message %d: got room after %v, want %v", i, got, tt.room)
					}
					got = append(got, from)
					time.Sleep(time.Second)
				}
				if got := strings.Join(got, " "); got != tt.want {
					t.Errorf("got the sources %s, want %s", got, tt.want)
				}
			})
		})
	}
}

// TestWarmUpRefused: a message that no host takes doesn't count.
func TestWarmUpRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := newInternet(t)
		h := &boundedHost{bound: 0, at: smtp.StageFinal, refusal: "450 4.2.0 later", taken: make(map[string]int)}
		inet.serve("192.0.2.1:25", h.serve)
		tr := &Transport{
			Hostname: "client.test", DialContext: inet.DialContext,
			Router:  &mx.Router{Routes: map[string]mx.Route{"*": mustRoute(mx.Smarthost("192.0.2.1:25"))}},
			Sources: []Source{{Addrs: []netip.Addr{srcA}, WarmUp: &WarmUp{Start: time.Now(), Days: []int{2}}}},
		}
		defer tr.Close()
		for i := range 5 {
			results, _ := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", bobOfA), smtp.Text("Hello.\n"))
			if r := results[0]; r.Local || r.Reply.Code != 450 {
				t.Errorf("message %d: got %v, want the host's reply", i, r.Reply)
			}
		}
		if sum, _ := tr.counted.Add(srcA.String(), "", 0, 0); sum != 0 {
			t.Errorf("got %d messages, want 0", sum)
		}
	})
}

// TestWarmUpUnknown: a message that a host may have taken counts at each attempt, as the host has seen it each time.
func TestWarmUpUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := newInternet(t)
		lost := hello + toBob + ready + body + "close"
		inet.scripts("192.0.2.1:25", lost, lost)
		tr := &Transport{
			Hostname: "client.test", DialContext: inet.DialContext,
			Router:  &mx.Router{Routes: map[string]mx.Route{"*": mustRoute(mx.Smarthost("192.0.2.1:25"))}},
			Sources: []Source{{Addrs: []netip.Addr{srcA}, WarmUp: &WarmUp{Start: time.Now(), Days: []int{2}}}},
		}
		defer tr.Close()
		for i, want := range []string{"unknown final", "unknown final", "deferred connect"} {
			if got := sendBob(t, tr); got != want {
				t.Errorf("attempt %d: got %s, want %s", i, got, want)
			}
		}
		if sum, _ := tr.counted.Add(srcA.String(), "", 0, 0); sum != 2 {
			t.Errorf("got %d messages, want 2", sum)
		}
	})
}

func TestWarmUpCheck(t *testing.T) {
	start := time.Now()
	tests := []struct {
		name string
		w    WarmUp
		ok   bool
	}{
		{"good", WarmUp{Start: start, Days: []int{0, 5}, Providers: map[string][]int{"google": {1}}}, true},
		{"no Start", WarmUp{Days: []int{5}}, false},
		{"negative", WarmUp{Start: start, Days: []int{5, -1}}, false},
		{"negative at a provider", WarmUp{Start: start, Providers: map[string][]int{"google": {-1}}}, false},
		{"no such provider", WarmUp{Start: start, Providers: map[string][]int{"gogle": {1}}}, false},
		{"no known provider", WarmUp{Start: start, Providers: map[string][]int{"": {1}}}, true},
		{"too long", WarmUp{Start: start, Days: make([]int, maxDays+1)}, false},
	}
	for _, tt := range tests {
		s := Source{Addrs: []netip.Addr{srcA}, WarmUp: &tt.w}
		if err := s.Check(); (err == nil) != tt.ok {
			t.Errorf("%s: got the error %v", tt.name, err)
		}
	}
}

func TestGrow(t *testing.T) {
	tests := []struct {
		first  int
		factor float64
		most   int
		want   []int
	}{
		{50, 1.5, 200, []int{50, 75, 112, 168}},
		{50, 2, 200, []int{50, 100, 200}},
		{0, 2, 200, nil}, {-1, 2, 200, nil}, {50, 1, 200, nil}, {50, 0, 200, nil}, {300, 2, 200, nil},
	}
	for _, tt := range tests {
		if got := Grow(tt.first, tt.factor, tt.most); !slices.Equal(got, tt.want) {
			t.Errorf("Grow(%d, %v, %d): got %v, want %v", tt.first, tt.factor, tt.most, got, tt.want)
		}
	}
	if got := len(Grow(1, 1.0000001, 200)); got != maxDays {
		t.Errorf("got %d days, want %d", got, maxDays)
	}
}
