package client

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// TestAttempt: hosts that take connections and then stay silent hold up a Send for Timeouts.Attempt and one more step.
func TestAttempt(t *testing.T) {
	tests := []struct {
		name     string
		timeouts Timeouts
		want     time.Duration
	}{
		{"10 minutes", Timeouts{}, 15 * time.Minute}, // three greetings; the third one begins in the tenth minute
		{"one minute", Timeouts{Attempt: time.Minute}, 5 * time.Minute},
		{"short steps", Timeouts{Attempt: time.Minute, Greeting: 25 * time.Second}, 75 * time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr, inet := newTransport(t)
				defer tr.Close()
				tr.Timeouts = test.timeouts
				var hosts []string
				for i := range 20 {
					ip := fmt.Sprintf("198.51.100.%d", i+1)
					inet.serve(ip+":25", func(c *pipeConn) { io.Copy(io.Discard, c) })
					hosts = append(hosts, fmt.Sprintf("h%d.test=%s", i, ip))
				}
				inet.add("tar.test", hosts...)
				begun := time.Now()
				results, _ := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@tar.test"), smtp.Text("Hello.\n"))
				if took := time.Since(begun); took != test.want || results[0].Outcome != smtp.Deferred {
					t.Errorf("got %s after %v, want deferred after %v", results[0].Outcome, took, test.want)
				}
			})
		})
	}
}

func TestMaxAddrs(t *testing.T) {
	tests := []struct{ name, to string }{
		{name: "of several hosts", to: "bob@hosts.test"},
		{name: "of one host", to: "bob@host.test"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr, inet := newTransport(t)
				defer tr.Close()
				var hosts, ips []string
				for i := range 9 {
					ip := fmt.Sprintf("198.51.100.%d", i+1)
					hosts, ips = append(hosts, fmt.Sprintf("h%d.test=%s", i, ip)), append(ips, ip)
				}
				inet.add("hosts.test", hosts...)
				inet.add("host.test", "h.test="+strings.Join(ips, ","))
				for _, most := range []int{0, 3} {
					tr.MaxAddrs = most
					tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", test.to), smtp.Text("Hello.\n"))
					want := most
					if most == 0 {
						want = len(ips)
					}
					if got := len(strings.Fields(inet.dialled())); got != want {
						t.Errorf("MaxAddrs %d: got %d connections, want %d", most, got, want)
					}
				}
			})
		})
	}
}

// TestRememberFor: how long a host that failed at BDAT gets DATA.
func TestRememberFor(t *testing.T) {
	const (
		ehlo  = "S: 220 ESMTP\nC: EHLO client.test\nS: 250-host\nS: 250-PIPELINING\nS: 250 CHUNKING\n"
		fails = ehlo + "C: MAIL FROM:<ann@client.test>\nC: RCPT TO:<bob@example.net>\nS: 250 ok\nS: 250 ok\nC: BDAT 5\nclose"
		data  = ehlo + toBob + ready + body + taken + quit
	)
	tests := []struct {
		name     string
		fallback time.Duration
		wait     time.Duration
		second   string
	}{
		{"a day, within", 0, 24*time.Hour - time.Second, data},
		{"a day, over", 0, 24 * time.Hour, fails},
		{"a minute, within", time.Minute, 59 * time.Second, data},
		{"a minute, over", time.Minute, time.Minute, fails},
		{"negative", -1, 0, fails},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const addr = "127.0.0.1:25"
				inet := newInternet(t)
				inet.scripts(addr, fails, test.second)
				tr := &Transport{Hostname: "client.test", ChunkSize: 5, RememberFor: test.fallback, DialContext: inet.DialContext,
					Router: &mx.Router{Routes: map[string]mx.Route{"*": mustRoute(mx.Smarthost(addr))}}}
				defer tr.Close()
				sendBob(t, tr)
				time.Sleep(test.wait)
				sendBob(t, tr)
			})
		})
	}
}

// TestMaxRemembered: each memory about hosts is cleared before it has one entry too many.
func TestMaxRemembered(t *testing.T) {
	tr := &Transport{MaxRemembered: 2}
	for i := range 5 {
		name := fmt.Sprint(i)
		tr.Block(Block{Site: name, SourceAddr: srcA, Until: time.Now().Add(time.Hour)})
		tr.sources.seen(pair{"ann@client.test", name}, srcA, tr.maxRemembered())
		tr.remember(mx.Host{Name: name}, habits{broken: kwChunking})
		if b, s, h := len(tr.sources.blocks), len(tr.sources.last), len(tr.memory.hosts); b > 2 || s > 2 || h > 2 {
			t.Errorf("got %d blocks, %d pairs, %d hosts, want 2 at most", b, s, h)
		}
		if _, ok := tr.sources.blocked(name, srcA); !ok || tr.memory.of(mx.Host{Name: name}).broken != kwChunking ||
			tr.sources.lastSeen(pair{"ann@client.test", name}) == (netip.Addr{}) {
			t.Errorf("%s: the newest entry was forgotten", name)
		}
	}
}
