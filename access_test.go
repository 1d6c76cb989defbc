package postrider

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

func TestAccess(t *testing.T) {
	stranger := &server.Peer{RemoteAddr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}}
	friend := &server.Peer{RemoteAddr: &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3)}}
	mapped := &server.Peer{RemoteAddr: &net.TCPAddr{IP: net.ParseIP("::ffff:10.1.2.3")}}
	socket := &server.Peer{RemoteAddr: &net.UnixAddr{Name: "/run/relay"}}
	user := &server.Peer{RemoteAddr: stranger.RemoteAddr, Username: "ann"}
	boxes, err := mx.LMTP("/run/lmtp")
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{
		Hostname: "relay.test",
		Queue:    mem.New(),
		Domains:  []string{"here.test", "Bücher.test"},
		Routes:   map[string]mx.Route{"here.test": boxes, "bücher.test": boxes},
		Allow:    AllowNetworks(prefixes("10.0.0.0/8", "2001:db8::/32")...),
	}
	if err := r.init(); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		peer *server.Peer
		path string // as RCPT TO has it
		code int    // 0: taken
	}{
		{"a domain of ours", stranger, "<bob@here.test>", 0},
		{"in upper case", stranger, "<bob@HERE.TEST>", 0},
		{"as an A-label", stranger, "<bob@xn--bcher-kva.test>", 0},
		{"as a U-label", stranger, "<bob@bücher.test>", 0},
		{"postmaster", stranger, "<postmaster>", 0},
		{"postmaster of the relay", stranger, "<POSTMASTER@Relay.test>", 0},
		{"another at the relay", stranger, "<bob@relay.test>", 550},
		{"postmaster elsewhere", stranger, "<postmaster@there.test>", 550},
		{"another domain", stranger, "<bob@there.test>", 550},
		{"a subdomain", stranger, "<bob@sub.here.test>", 550},
		{"a suffix", stranger, "<bob@nothere.test>", 550},
		{"ours in quotes", stranger, `<"bob@here.test"@there.test>`, 550},
		{"ours with a per cent", stranger, "<bob%here.test@there.test>", 550},
		{"another in quotes", stranger, `<"bob@there.test"@here.test>`, 550},
		{"another with a per cent", stranger, "<bob%there.test@here.test>", 550},
		{"another with a bang", stranger, "<there.test!bob@here.test>", 550},
		{"a bang alone", stranger, "<there.test!bob>", 501},
		{"a source route to another", stranger, "<@here.test:bob@there.test>", 550},
		{"a source route to ours", stranger, "<@there.test:bob@here.test>", 0},
		{"a literal", stranger, "<bob@[192.0.2.7]>", 550},
		{"a friend", friend, "<bob@there.test>", 0},
		{"a friend, mapped", mapped, "<bob@there.test>", 0},
		{"a friend with a per cent", friend, "<bob%there.test@here.test>", 0},
		{"over a socket", socket, "<bob@there.test>", 550},
		{"a user", user, "<bob@there.test>", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			rcpt, err := smtp.ParseRcpt("TO:" + test.path)
			if err == nil {
				err = checkRcpt(t, r, test.peer, rcpt)
			}
			code := 0
			if reply, ok := errors.AsType[*smtp.Reply](err); ok {
				code = reply.Code
			} else if err != nil {
				t.Fatalf("got %v, want a reply", err)
			}
			if code != test.code {
				t.Errorf("got %v, want code %d", err, test.code)
			}
			if code == 550 && !strings.Contains(err.Error(), "5.7.1") {
				t.Errorf("got %v, want 5.7.1", err)
			}
		})
	}
}

// checkRcpt asks a relay about a recipient as its server does.
func checkRcpt(t *testing.T, r *Relay, peer *server.Peer, rcpt smtp.Recipient) error {
	t.Helper()
	h, err := r.Handler()
	if err != nil {
		t.Fatal(err)
	}
	p, env := *peer, new(smtp.Envelope)
	if p.Allowed = p.Username != ""; !p.Allowed {
		if p.Allowed, err = h.(server.Allower).Allow(t.Context(), &p, env, rcpt); err != nil {
			return err
		}
	}
	return h.(server.RcptChecker).CheckRcpt(t.Context(), &p, env, rcpt)
}

// TestClosedByOmission: a Relay without Domains, Allow and Authenticate takes nothing from anyone.
func TestClosedByOmission(t *testing.T) {
	r := &Relay{Hostname: "relay.test", Queue: mem.New()}
	if err := r.init(); err != nil {
		t.Fatal(err)
	}
	peer := &server.Peer{RemoteAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}
	for _, address := range []string{"bob@there.test", "bob@relay.test", "postmaster", "postmaster@relay.test", "bob@localhost"} {
		err := checkRcpt(t, r, peer, smtp.Recipient{Address: address})
		if reply, ok := errors.AsType[*smtp.Reply](err); !ok || reply.Code != 550 {
			t.Errorf("%s: got %v, want 550", address, err)
		}
	}
}

func TestAllowError(t *testing.T) {
	r := &Relay{Hostname: "relay.test", Queue: mem.New(), Allow: func(context.Context, *server.Peer, smtp.Recipient) (bool, error) {
		return false, errors.New("the database is away")
	}}
	if err := r.init(); err != nil {
		t.Fatal(err)
	}
	err := checkRcpt(t, r, &server.Peer{}, smtp.Recipient{Address: "bob@there.test"})
	if err == nil || !strings.Contains(err.Error(), "away") {
		t.Errorf("got %v, want Allow's error, which the server answers with 451", err)
	}
}

// TestPostmasterRefused: whom the postmaster's route refuses hears it at RCPT, not the whole message in the end.
func TestPostmasterRefused(t *testing.T) {
	moved, err := mx.Refuse(smtp.NewReply(550, "5.1.6", "moved"))
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{Hostname: "relay.test", Queue: mem.New(), Domains: []string{"here.test"}, Routes: map[string]mx.Route{"here.test": moved}}
	if err := r.init(); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"postmaster", "postmaster@relay.test"} {
		err := checkRcpt(t, r, &server.Peer{}, smtp.Recipient{Address: address})
		if reply, ok := errors.AsType[*smtp.Reply](err); !ok || reply.Text != "moved" {
			t.Errorf("%s: got %v, want the route's refusal", address, err)
		}
	}
}

// TestBackscatter: mail for a domain of ours that leads back to us is refused, not taken and returned.
func TestBackscatter(t *testing.T) {
	inet := smtptest.NewNetwork(t)
	inet.MX("here.test", "relay.test")
	inet.NullMX("null.test")
	inet.FailDNS("down.test", smtptest.ServFail)
	inet.MX("up.test", "mx.up.test")
	us := netip.MustParseAddr("203.0.113.66")
	inet.MX("alias.test", "also.relay.test").SetAddrs(us)
	inet.Host("implicit.test").SetAddrs(us)
	inet.MX("spare.test", "mx.spare.test")
	inet.MX("spare.test", "also.relay.test")
	inside := netip.MustParseAddr("10.0.0.1")
	inet.MX("inside.test", "mx.inside.test").SetAddrs(inside)
	inet.MX("behind.test", "mx.inside.test")
	inet.MX("behind.test", "mx.up.test")
	inet.MX("lame.test", "mx.lame.test").SetAddrs()
	domains := map[string]string{
		"here.test": "5.4.6", "null.test": "5.1.10", "down.test": "", "up.test": "",
		"alias.test": "5.4.6", "implicit.test": "5.4.6", "spare.test": "", "nowhere.test": "5.1.2",
		"inside.test": "5.4.4", "behind.test": "", "lame.test": "",
	}
	r := &Relay{Hostname: "relay.test", Queue: mem.New(), Resolver: inet, Router: &mx.Router{SelfAddrs: []netip.Addr{us}}, Domains: slices.Collect(maps.Keys(domains))}
	if err := r.init(); err != nil {
		t.Fatal(err)
	}
	for domain, want := range domains {
		err := checkRcpt(t, r, &server.Peer{}, smtp.Recipient{Address: "bob@" + domain})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", domain, err, want)
		}
	}
}
