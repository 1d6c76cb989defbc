package interop

import (
	"context"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/dnsbl"
	"github.com/postrider/postrider/server/early"
	grey "github.com/postrider/postrider/server/greylist"
	"github.com/postrider/postrider/server/ratelimit"
	"github.com/postrider/postrider/smtp"
)

// listZone has blocklists with the test entries of RFC 5782 §5, and some that aren't any.
const listZone = `$ORIGIN test.
$TTL 300
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
ns A 192.0.2.53
2.0.0.127.bl A 127.0.0.2
2.0.0.127.bl TXT "see http://bl.test/?2"
2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.bl A 127.0.0.2
3.0.0.127.wl A 127.0.9.1
2.0.0.127.wl A 127.0.9.1
3.0.0.127.bl A 127.0.0.4
test.dbl A 127.0.1.2
spam.example.dbl A 127.0.1.2
empty TXT "nothing"
*.parked A 192.0.2.80
2.0.0.127.public A 127.255.255.254
`

// sink takes all mail.
type sink struct{}

func (sink) Handle(_ context.Context, _ *server.Peer, _ *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
	_, err := io.Copy(io.Discard, body)
	return nil, err
}

// startChecks serves on loopback until the test ends, and gives the port.
func startChecks(t *testing.T, checks ...server.Check) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &server.Server{Hostname: "mx.test", Handler: sink{}, Checks: checks}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// swaks sends a mail, with more arguments, and returns what was said.
func swaks(t *testing.T, port string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	args = append([]string{"--server", "127.0.0.1", "--port", port, "--from", "a@x.example", "--to", "b@y.example"}, args...)
	out, _ := exec.CommandContext(ctx, "swaks", args...).CombinedOutput() // it fails where the mail is refused
	return string(out)
}

// TestDNSBL has unbound answer for lists, and swaks come from addresses on them.
func TestDNSBL(t *testing.T) {
	need(t, "swaks")
	addr := unboundWith(t, listZone)
	resolvers := map[string]dnsbl.Resolver{
		"mx/dns": &dns.Resolver{Servers: []string{addr}},
		"net": &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		}},
	}
	for name, resolver := range resolvers {
		t.Run(name, func(t *testing.T) {
			zone := func(z dnsbl.Zone) *dnsbl.List { return &dnsbl.List{Zones: []dnsbl.Zone{z}, Resolver: resolver} }
			for _, tt := range []struct {
				zone dnsbl.Zone
				want string // "" if it is a list
			}{
				{dnsbl.Zone{Name: "bl.test"}, ""},
				{dnsbl.Zone{Name: "wl.test"}, ""},
				{dnsbl.Zone{Name: "dbl.test", Of: dnsbl.Sender}, ""},
				{dnsbl.Zone{Name: "empty.test"}, "doesn't list 127.0.0.2"},
				{dnsbl.Zone{Name: "none.test"}, "doesn't list 127.0.0.2"},
				{dnsbl.Zone{Name: "parked.test"}, "192.0.2.80 about 127.0.0.1 is ignored"},
				{dnsbl.Zone{Name: "public.test"}, "public resolver"},
			} {
				err := zone(tt.zone).Test(t.Context())
				if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
					t.Errorf("%s: got %v, want %q", tt.zone.Name, err, tt.want)
				}
			}
			list := &dnsbl.List{Resolver: resolver, Zones: []dnsbl.Zone{
				{Name: "bl.test"}, {Name: "wl.test", Weight: -1, Answers: []dnsbl.Answer{{Addr: "127.0.9.1"}}},
				{Name: "dbl.test", Of: dnsbl.Hello | dnsbl.Sender, Weight: 5},
				{Name: "parked.test"}, {Name: "public.test"}, {Name: "none.test"},
			}}
			port := startChecks(t, list.Check())
			for _, tt := range []struct {
				name, from, sender string
				want               string
			}{
				{"not listed", "127.0.0.1", "a@x.example", "250 2.0.0 ok"},
				{"on a blocklist and an allowlist", "127.0.0.3", "a@x.example", "250 2.0.0 ok"},
				{"a listed domain", "127.0.0.1", "a@spam.example", "554 5.7.1 spam.example is listed by dbl.test"},
				{"the domain of the test entry", "127.0.0.2", "a@test", "554 5.7.1 test is listed by dbl.test"},
			} {
				got := swaks(t, port, "--local-interface", tt.from, "--from", tt.sender, "--ehlo", "c.example")
				if !strings.Contains(got, tt.want) {
					t.Errorf("%s: got\n%s\nwant %q", tt.name, got, tt.want)
				}
			}
			alone := startChecks(t, zone(dnsbl.Zone{Name: "bl.test"}).Check())
			const want = "554 5.7.1 127.0.0.2 is listed by bl.test: see http://bl.test/?2"
			if got := swaks(t, alone, "--local-interface", "127.0.0.2"); !strings.Contains(got, want) {
				t.Errorf("got\n%s\nwant %q", got, want)
			}
		})
	}
}

// TestGreylist has swaks try again, after a restart of the server.
func TestGreylist(t *testing.T) {
	need(t, "swaks")
	path := filepath.Join(t.TempDir(), "greylist")
	for _, tt := range []struct{ name, from, want string }{
		{"first attempt", "a@x.example", "451 4.7.1 greylisted: please try again in 1 second"},
		{"another sender", "c@x.example", "451 4.7.1 greylisted: please try again in 1 second"},
		{"retry", "a@x.example", "250 2.0.0 ok"},
		{"another sender of a network that is allowed now", "d@x.example", "250 2.0.0 ok"},
	} {
		store, err := grey.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(tt.name, func(t *testing.T) {
			port := startChecks(t, (&grey.Policy{Store: store, Delay: time.Nanosecond}).Check())
			if got := swaks(t, port, "--from", tt.from); !strings.Contains(got, tt.want) {
				t.Errorf("got\n%s\nwant %q", got, tt.want)
			}
		})
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEarlyAndLimits has swaks keep the rules, and then break each.
func TestEarlyAndLimits(t *testing.T) {
	need(t, "swaks")
	rules := &early.Rules{Wait: 100 * time.Millisecond, NoDot: 1}
	limits := &ratelimit.Limiter{Network: ratelimit.Rate{Messages: 2}}
	port := startChecks(t, rules.Check(), limits.Check())
	for _, tt := range []struct {
		name, hello string
		want        string
	}{
		{"a client", "c.example", "250 2.0.0 ok"},
		{"no dot", "printer", "554 5.7.1 EHLO printer is no fully qualified name"},
		{"no brackets", "192.0.2.1", "554 5.7.1 EHLO 192.0.2.1 is an address without brackets"},
		{"the second message", "c.example", "250 2.0.0 ok"},
		{"too many", "c.example", "450 4.7.1 too many messages from 127.0.0.0/24 in 60 minutes"},
	} {
		if got := swaks(t, port, "--ehlo", tt.hello); !strings.Contains(got, tt.want) {
			t.Errorf("%s: got\n%s\nwant %q", tt.name, got, tt.want)
		}
	}
}

// TestEarlyTalker talks over TCP without a wait for the greeting.
func TestEarlyTalker(t *testing.T) {
	port := startChecks(t, (&early.Rules{Wait: time.Minute}).Check())
	conn, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	const said = "EHLO c.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nQUIT\r\n"
	if _, err := io.WriteString(conn, said); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(got), "\r\n554 5.7.1 the client talked before the greeting\r\n221 ") {
		t.Errorf("got\n%s\nwant RCPT refused", got)
	}
}
