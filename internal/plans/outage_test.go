package plans

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// order is code that sends mail, as a user of this module has it.
func order(t *testing.T, relay *postrider.Relay, address string) {
	if _, err := relay.Send(t.Context(), smtp.NewEnvelope("shop@example.com", address), strings.NewReader("Thank you.\n")); err != nil {
		t.Fatal(err)
	}
}

// TestFiveDayOutage is such a user's test: a host is away for nearly five days, and has the mail when it is back.
func TestFiveDayOutage(t *testing.T) {
	defer func(begin time.Time) { t.Logf("five days took %v of real time", time.Since(begin)) }(time.Now())
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("example.net", "mx.example.net")
		host.Down()
		relay := &postrider.Relay{Hostname: "mx1.test", Queue: mem.New(), Resolver: inet, DialContext: inet.DialContext}
		inet.Go(relay.Run)
		order(t, relay, "ann@example.net")
		time.Sleep(5*24*time.Hour - 3*time.Hour) // virtual
		host.Up()
		host.Wait(1)
	})
}

// TestStopStart stops a relay and its spool under load, and opens both anew, fifty times. Two of the hosts take their
// time, and one so much that a stop cuts it off after the final dot. Nothing is lost, nothing comes twice without an
// unknown result, no stop takes longer than it may, and nothing is left running or open.
func TestStopStart(t *testing.T) {
	begin := time.Now()
	synctest.Test(t, func(t *testing.T) {
		l := &load{t: t, inet: smtptest.NewNetwork(t), dir: t.TempDir(), accepted: make(map[string]bool), unknown: make(map[string]int)}
		for i, slow := range []time.Duration{0, time.Second, 3 * time.Second, 30 * time.Second} {
			l.hosts = append(l.hosts, l.inet.MX(fmt.Sprintf("d%d.test", i), fmt.Sprintf("mx%d.test", i)))
			l.hosts[i].Slow(slow, smtp.StageFinal)
		}
		_, goroutines := running()
		files := descriptors(t)
		stops := 50
		if testing.Short() {
			stops = 10
		}
		for i := range stops {
			l.run(time.Duration(i%7)*time.Second+500*time.Millisecond, true)
			synctest.Wait()
			if stacks, got := running(); got != goroutines {
				t.Fatalf("run %d: got %d goroutines left, want %d\n%s", i, got, goroutines, stacks)
			}
			if got := descriptors(t); got != files {
				t.Fatalf("run %d: got %d open descriptors, want %d", i, got, files)
			}
		}
		for _, host := range l.hosts {
			host.Heal()
		}
		l.run(3*time.Hour, false)
		l.check()
	})
	t.Logf("it took %v of real time", time.Since(begin).Round(time.Millisecond))
}

// running gives the stacks of all goroutines, and how many of them are in a bubble. It doesn't ask runtime.NumGoroutine, which
// counts those that have returned for a moment more.
func running() (stacks string, n int) {
	buf := make([]byte, 4<<20)
	stacks = string(buf[:runtime.Stack(buf, true)])
	return stacks, strings.Count(stacks, ", synctest bubble ")
}

// descriptors counts those that the process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if errors.Is(err, fs.ErrNotExist) {
		t.Log("the open descriptors aren't counted: there is no /proc/self/fd")
	} else if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// load is a relay's work over several runs.
type load struct {
	t     *testing.T
	inet  *smtptest.Network
	hosts []*smtptest.Host
	dir   string
	sent  atomic.Int64 // numbers the recipients

	mu       sync.Mutex
	accepted map[string]bool
	unknown  map[string]int
	stops    []time.Duration
}

// run opens the spool, has a relay run for a time and, if loaded, twenty sessions bring mail, which go on while it stops.
func (l *load) run(length time.Duration, loaded bool) {
	q, err := spool.Open(l.dir)
	if err != nil {
		l.t.Fatal(err)
	}
	defer q.Close()
	listener, err := l.inet.Listen("relay.test:25")
	if err != nil {
		l.t.Fatal(err)
	}
	relay := &postrider.Relay{
		Hostname: "relay.test", Queue: q, Resolver: l.inet, DialContext: l.inet.DialContext,
		Allow: func(context.Context, *server.Peer, smtp.Recipient) (bool, error) { return true, nil },
	}
	relay.Events.Unknown = func(e delivery.Event) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.unknown[e.Result.Recipient]++
	}
	ctx, end := context.WithCancel(l.t.Context())
	served := make(chan error, 1)
	go func() { served <- relay.Serve(ctx, listener) }()
	sessions, endSessions := context.WithCancel(l.t.Context())
	var group sync.WaitGroup
	for i := range 20 {
		if loaded {
			group.Go(func() { l.session(sessions, relay, i%2 == 0) })
		}
	}
	time.Sleep(length)
	begin := time.Now()
	end()
	if err := <-served; err != nil {
		l.t.Errorf("Serve: %v", err)
	}
	// The time of grace, and that of a QUIT.
	if took, want := time.Since(begin), 15*time.Second; took > want {
		l.t.Errorf("got a stop in %v, want %v at most", took, want)
	}
	l.stops = append(l.stops, time.Since(begin))
	endSessions()
	group.Wait()
}

// session sends one mail after the other, from code or by SMTP, until ctx ends.
func (l *load) session(ctx context.Context, relay *postrider.Relay, bySMTP bool) {
	sub := client.Submission{LeaveIncomplete: true, Addr: "relay.test:25", TLS: mx.TLSNone, Hostname: "program.test", Resolver: l.inet, DialContext: l.inet.DialContext}
	for ctx.Err() == nil {
		n := l.sent.Add(1)
		to := fmt.Sprintf("r%d@d%d.test", n, n%int64(len(l.hosts)))
		env := smtp.NewEnvelope("", to)
		var err error
		if bySMTP {
			_, err = sub.Send(l.t.Context(), env, smtp.Text("Hello.\n"))
		} else {
			_, err = relay.Send(l.t.Context(), env, strings.NewReader("Hello.\n"))
		}
		if err == nil {
			l.mu.Lock()
			l.accepted[to] = true
			l.mu.Unlock()
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// check compares what was accepted with what has come.
func (l *load) check() {
	copies, twice := make(map[string]int), 0
	for _, host := range l.hosts {
		for _, m := range host.Messages() {
			copies[m.Envelope.Recipients[0].Address]++
		}
	}
	for to := range l.accepted {
		if copies[to] == 0 {
			l.t.Errorf("%s is lost", to)
		}
	}
	for to, n := range copies {
		if n > 1+l.unknown[to] {
			l.t.Errorf("got %d copies for %s and %d unknown results, want no more copies than one and those", n, to, l.unknown[to])
		}
		if n > 1 {
			twice++
		}
	}
	var longest time.Duration
	for _, took := range l.stops {
		longest = max(longest, took)
	}
	l.t.Logf("%d of %d mails accepted; %d came twice or more, all with unknown results; the longest of %d stops took %v",
		len(l.accepted), l.sent.Load(), twice, len(l.stops), longest)
}
