package pgqueue

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
)

// TestLayout gives each node its share of the lanes.
func TestLayout(t *testing.T) {
	for _, nodes := range []int{1, 2, 3, 4, 5, 7, 16, 50, 255, 256, 257, 300} {
		l := layout{}
		for n := range nodes {
			l.nodes = append(l.nodes, int64(10+n))
		}
		turns := 0
		for ; turns < 10 && len(l.of(0)) > 0; turns++ {
			for _, node := range l.nodes {
				l.take(node)
				if l.surplus(node) > 0 {
					t.Errorf("%d nodes: node %d has more than its share", nodes, node)
				}
			}
		}
		if left := len(l.of(0)); left > 0 {
			t.Errorf("%d nodes: got %d lanes that nobody has after %d turns", nodes, left, turns)
		}
	}
	l := layout{nodes: []int64{1}}
	l.take(1)
	l.nodes = append(l.nodes, 2)
	if got := l.surplus(1); got != maxLanes/2 || len(l.take(2)) > 0 {
		t.Errorf("a second node: got a surplus of %d, want %d", got, maxLanes/2)
	}
}

// TestLayoutOfBusyLanes has one node with all lanes, and two that come at the same time. The lanes without mail are free
// at once, those with mail one after the other. Both nodes get about as many with mail.
func TestLayoutOfBusyLanes(t *testing.T) {
	const old, b, c = 1, 2, 3
	for _, order := range [][]int64{{b, c}, {c, b}, {b, b, b, c}} {
		l := layout{nodes: []int64{old, b, c}}
		for lane := range l.owner {
			l.owner[lane] = old
		}
		isBusy := func(lane int) bool { return lane%5 == 0 }
		given := l.of(old)[:l.surplus(old)]
		look := func() {
			for range 20 {
				for _, node := range order {
					l.take(node)
				}
			}
		}
		for _, lane := range given {
			if !isBusy(lane) {
				l.owner[lane] = 0
			}
		}
		look()
		for _, lane := range given {
			if isBusy(lane) {
				l.owner[lane] = 0
				look()
			}
		}
		busy := map[int64]int{}
		for lane, node := range l.owner {
			if isBusy(lane) {
				busy[node]++
			}
		}
		if left := len(l.of(0)); left > 0 || busy[b] < 15 || busy[c] < 15 {
			t.Errorf("the order %v: got %v busy lanes of the nodes, and %d that nobody has", order, busy, left)
		}
	}
}

func TestParseSnapshot(t *testing.T) {
	for _, tt := range []struct {
		text string
		want snapshot
		ok   bool
	}{
		{"10:20:10,14,15", snapshot{"20", "{10,14,15}"}, true},
		{"10:10:", snapshot{"10", "{}"}, true},
		{"10:10", snapshot{}, false},
		{"", snapshot{}, false},
	} {
		if got, err := parseSnapshot(tt.text); got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%q: got %+v and %v, want %+v", tt.text, got, err, tt.want)
		}
	}
}

func TestQuote(t *testing.T) {
	for _, tt := range []struct{ name, want string }{
		{"", `"postrider"`}, {"mail", `"mail"`}, {`my "Mail"`, `"my ""Mail"""`}, {"a'b", ""}, {`a\b`, ""}, {"a\x00", ""},
		{strings.Repeat("x", 63), `"` + strings.Repeat("x", 63) + `"`}, {strings.Repeat("x", 64), ""},
	} {
		if got, err := quote(tt.name); got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%q: got %s and %v, want %s", tt.name, got, err, tt.want)
		}
	}
	for _, version := range []int{-1, 0, Version + 1} {
		if _, err := SQL("mail", version); err == nil {
			t.Errorf("version %d: got no error", version)
		}
	}
	if text, err := SQL(`m"x`, 1); err != nil || !strings.Contains(text, `CREATE TABLE "m""x".msg (`) {
		t.Errorf("got %v, want statements with the name of the schema", err)
	}
}

// TestClock has a server whose clock steps.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c clock
		server := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		start := time.Now()
		tell := func() {
			before := time.Now()
			time.Sleep(time.Millisecond)
			now := server.Add(time.Since(start))
			time.Sleep(time.Millisecond)
			c.told(now, before, time.Now())
		}
		for _, step := range []time.Duration{0, time.Hour, -48 * time.Hour, 3 * time.Second, 0} {
			server = server.Add(step)
			tell()
			first := c.time()
			if ahead := first.Sub(server.Add(time.Since(start))); ahead < 0 || ahead > 3*time.Millisecond {
				t.Errorf("after a step of %v: got a clock that is %v ahead, want at most 3 ms", step, ahead)
			}
			time.Sleep(time.Minute)
			tell()
			if passed := c.time().Sub(first); passed != time.Minute+2*time.Millisecond {
				t.Errorf("got %v passed, want a minute and 2 ms", passed)
			}
		}
		if got := c.elapsed(); got != time.Since(start) {
			t.Errorf("got %v elapsed, want %v", got, time.Since(start))
		}
		if got, want := c.unstepped().Sub(c.first), time.Since(start); got != want {
			t.Errorf("got %v without the steps, want %v", got, want)
		}
	})
}

// sqlError is an error of a server.
type sqlError string

func (e sqlError) Error() string    { return "the server says " + string(e) }
func (e sqlError) SQLState() string { return string(e) }

// TestErrors tells errors after which nothing is stored from others, and those of a full disk.
func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		err            error
		rejected, full bool
	}{
		{sqlError("23514"), true, false}, // check_violation
		{sqlError("57014"), true, false}, // query_canceled
		{sqlError("53100"), true, true},  // disk_full
		{sqlError("57P01"), false, false},
		{sqlError("08006"), false, false},
		{sqlError("40003"), false, false},
		{io.ErrUnexpectedEOF, false, false},
		{&notSent{io.ErrUnexpectedEOF}, true, false},
		{errFenced, true, false},
		{queue.ErrLeaseLost, true, false},
	} {
		err := fmt.Errorf("wrapped: %w", tt.err)
		if got := rejected(err); got != tt.rejected {
			t.Errorf("%v: got rejected: %v, want %v", err, got, tt.rejected)
		}
		if got := errors.Is(failed("enqueue", err), syscall.ENOSPC); got != tt.full {
			t.Errorf("%v: got ENOSPC: %v, want %v", err, got, tt.full)
		}
	}
}

// TestSum adds what nodes count.
func TestSum(t *testing.T) {
	got := sum([]counts{
		{Messages: 2, Tasks: 3, Destinations: 2, Names: []uint32{1, 2}, Waiting: 1, Leased: 1, Held: 1, Octets: 10, Oldest: 7},
		{},
		{Messages: 1, Tasks: 1, Destinations: 2, Names: []uint32{2, 3}, Waiting: 1, Octets: 5, Oldest: 5},
		{Messages: 5000, Tasks: 5000, Destinations: 5000, Waiting: 5000, Octets: 1, Oldest: 9},
	})
	want := queue.Stats{Messages: 5003, Tasks: 5004, Destinations: 5003, Waiting: 5002, Leased: 1, Held: 1, Octets: 16,
		Oldest: time.Unix(0, 5)}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestOptions gives settings that are wrong.
func TestOptions(t *testing.T) {
	for _, tt := range []struct {
		o    Options
		want string
	}{
		{Options{}, ""},
		{Options{Poll: time.Microsecond}, "Poll"},
		{Options{NodeLease: time.Millisecond}, "NodeLease"},
		{Options{Timeout: -1}, "Timeout"},
		{Options{KeyTime: -1}, "KeyTime"},
		{Options{MaxKeys: -1}, "MaxKeys"},
	} {
		if _, err := tt.o.withDefaults(); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: got %v, want an error about %q", tt.o, err, tt.want)
		}
	}
}

// TestPollPause shows how seldom an idle Queue looks for news.
func TestPollPause(t *testing.T) {
	for _, tt := range []struct {
		poll    time.Duration
		without int
		want    time.Duration
	}{
		{50 * time.Millisecond, 0, 50 * time.Millisecond},
		{50 * time.Millisecond, 99, 50 * time.Millisecond},
		{50 * time.Millisecond, 100, 150 * time.Millisecond},
		{50 * time.Millisecond, 999, 150 * time.Millisecond},
		{50 * time.Millisecond, 1000, 300 * time.Millisecond},
		{1 << 62, 1000, 1 << 62},
	} {
		if got := pollPause(tt.poll, tt.without); got != tt.want {
			t.Errorf("%v after %d polls: got %v, want %v", tt.poll, tt.without, got, tt.want)
		}
	}
}
