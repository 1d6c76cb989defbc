package warmup

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

var _ client.WarmCounts = (*File)(nil)

func open(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func (f *File) must(t *testing.T, provider string, day, n, want int) {
	t.Helper()
	if got, err := f.Add("192.0.2.1", provider, day, n); err != nil || got != want {
		t.Errorf("%s, day %d, %+d: got %d, %v; want %d", provider, day, n, got, err, want)
	}
}

func TestAdd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "counts")
	f := open(t, path)
	f.must(t, "google", 0, 0, 0)
	f.must(t, "google", 0, 1, 1)
	f.must(t, "google", 0, 5, 6)
	f.must(t, "google", 0, -1, 5)
	f.must(t, "", 0, 1, 1)
	f.must(t, "a \"b\"\n", 3, 7, 7)
	if _, err := Open(path); err == nil {
		t.Error("a second File: got no error")
	}
	f.lock.Close() // the process ends
	f = open(t, path)
	f.must(t, "google", 0, 0, 5)
	f.must(t, "google", 1, 0, 0)
	f.must(t, "google", 1, -3, 0)
	f.must(t, "google", 1, 2, 2)
	f.must(t, "google", 0, 1, 0) // a day that is over
	f.must(t, "google", 1, 0, 2)
	f.must(t, "a \"b\"\n", 3, 0, 7)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Add("192.0.2.1", "google", 1, 1); err == nil {
		t.Error("Add after Close: got no error")
	}
	if _, err := new(File).Add("192.0.2.1", "google", 1, 1); err == nil {
		t.Error("Add of the zero File: got no error")
	}
	f = open(t, path)
	f.must(t, "", 0, 0, 1)
	for range 3 * spare {
		f.Add("192.0.2.1", "google", 9, 1)
	}
	f.must(t, "google", 9, 0, 3*spare)
	if info, err := os.Stat(path); err != nil || info.Size() > 50*(spare+10) {
		t.Errorf("the file isn't written anew: %v, %v", info.Size(), err)
	}
}

// TestCrash: whatever part of the file the end of the machine leaves is read, and has all but the last 1 %.
func TestCrash(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "counts")
	f := open(t, path)
	for i := range 1000 {
		f.must(t, "google", 4, 1, i+1)
		if c := f.counts[name{"192.0.2.1", "google"}]; c.lost*100 > c.sum {
			t.Fatalf("%d of %d messages aren't on the disk", c.lost, c.sum)
		}
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n <= len(whole); n += 1 + n/50 {
		left := filepath.Join(dir, fmt.Sprint(n))
		if err := os.WriteFile(left, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		g := open(t, left)
		want := max(strings.Count(string(whole[:n]), "\n")-1, 0)
		g.must(t, "google", 4, 0, want)
		g.must(t, "google", 4, 1, want+1)
		g.Close()
	}
	for _, bad := range []string{head + "x\n", "another file\n", head + "\"a\" \"b\" -1 2\n", head + "\"a\" \"b\" 1\n\n"} {
		if err := os.WriteFile(filepath.Join(dir, "bad"), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(filepath.Join(dir, "bad")); err == nil {
			t.Errorf("%q: got no error", bad)
		}
		if b, _ := os.ReadFile(filepath.Join(dir, "bad")); string(b) != bad {
			t.Errorf("%q was changed", bad)
		}
	}
	if _, err := Open(filepath.Join(dir, "no", "directory")); err == nil {
		t.Error("no directory: got no error")
	}
}

var (
	oldAddr = netip.MustParseAddr("198.51.100.1")
	newAddr = netip.MustParseAddr("198.51.100.2")
)

// node is a program with a Transport and a Runner, which ends and begins again.
type node struct {
	t      *testing.T
	inet   *smtptest.Network
	q      queue.Queue
	path   string
	source client.Source

	mu   sync.Mutex
	sent map[string]int // by source address, provider and day
	end  func()
	ends int
}

func (n *node) begin() {
	counts := open(n.t, n.path)
	counts.lazy = true // the machine doesn't crash here
	tr := &client.Transport{
		Hostname: "mx.client.test", Router: &mx.Router{Resolver: n.inet}, WarmCounts: counts,
		Sources: []client.Source{n.source, {Addrs: []netip.Addr{oldAddr}}},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return n.inet.DialContext(ctx, network, addr)
		},
		Tried: func(_ context.Context, try client.Try) {
			if try.Err != nil || len(try.Results) == 0 || try.Results[0].Outcome != smtp.Delivered {
				return
			}
			provider := "other"
			if strings.HasSuffix(try.Session.Host, "google.com") {
				provider = "google"
			}
			day := int(time.Since(n.source.WarmUp.Start) / (24 * time.Hour))
			n.mu.Lock()
			defer n.mu.Unlock()
			n.sent[fmt.Sprint(try.Session.SourceAddr, " ", provider, " ", day)]++
		},
	}
	runner := &delivery.Runner{Queue: n.q, Sender: tr, Retry: []time.Duration{time.Hour}, Grace: -1,
		Logger: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(n.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { runner.Run(ctx) })
	n.end = func() {
		cancel()
		wg.Wait()
		tr.Close()
		if n.ends++; n.ends%2 == 0 {
			counts.Close()
		} else { // the process is killed
			counts.file.Close()
			counts.lock.Close()
		}
	}
}

// TestPlan: over 30 days, a new source sends what its plan says, to each provider, over restarts and crashes. What is
// over goes by the old source, or waits.
func TestPlan(t *testing.T) {
	for _, wait := range []bool{false, true} {
		t.Run(fmt.Sprintf("wait=%v", wait), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				days := 30
				if wait {
					days = 8 // more and more messages wait
				}
				inet := smtptest.NewNetwork(t)
				inet.MX("gmail.test", "aspmx.l.google.com").NoTLS() // handshakes would take most of the time
				inet.MX("small.test", "mx.small.test").NoTLS()
				plan := client.Grow(20, 1.03, 1000)[:days]
				few := client.Grow(10, 1.03, 1000)[:days]
				n := &node{t: t, inet: inet, q: mem.New(), path: filepath.Join(t.TempDir(), "counts"), sent: make(map[string]int),
					source: client.Source{Addrs: []netip.Addr{newAddr}, Weight: 3, WarmUp: &client.WarmUp{
						Start: time.Now(), Days: plan, Providers: map[string][]int{"": few}, Wait: wait,
					}}}
				rnd := rand.New(rand.NewPCG(1, 2))
				n.begin()
				for day := range days {
					for hour := range 24 {
						for i := range 1 + plan[day]/14 { // more than the plan in a day
							for _, domain := range []string{"gmail.test", "small.test"} {
								to := fmt.Sprintf("u%d.%d.%d@%s", day, hour, i, domain)
								m := queue.Message{Envelope: smtp.NewEnvelope("ann@client.test", to), Destinations: []string{domain},
									Body: strings.NewReader("Hello.\r\n")}
								if _, err := n.q.Enqueue(t.Context(), m); err != nil {
									t.Fatal(err)
								}
							}
						}
						time.Sleep(time.Duration(rnd.IntN(3600)) * time.Second)
						if hour == 10 || hour == 20 {
							n.end() // a restart, with attempts cut off
							n.begin()
						}
						next := n.source.WarmUp.Start.Add(time.Duration(24*day+hour+1) * time.Hour)
						time.Sleep(time.Until(next))
					}
				}
				n.end()
				for day := range days {
					for provider, want := range map[string]int{"google": plan[day], "other": few[day]} {
						got := n.sent[fmt.Sprint(newAddr, " ", provider, " ", day)]
						if diff := max(got-want, want-got); diff*50 > want && diff > 0 {
							t.Errorf("day %d, %s: got %d messages, want %d", day+1, provider, got, want)
						}
					}
					if old := n.sent[fmt.Sprint(oldAddr, " google ", day)]; old < plan[day]/4 {
						t.Errorf("day %d: the old source has sent %d messages", day+1, old)
					}
				}
			})
		})
	}
}
