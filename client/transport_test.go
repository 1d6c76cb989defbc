package client

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
)

// Pieces of scripts: a session with PIPELINING, and what ann's mail to bob looks like in it.
const (
	hello = "S: 220 ESMTP\nC: EHLO client.test\nS: 250-host\nS: 250 PIPELINING\n"
	toBob = "C: MAIL FROM:<ann@client.test>\nC: RCPT TO:<bob@example.net>\nC: DATA\n"
	toTwo = "C: MAIL FROM:<ann@client.test>\nC: RCPT TO:<bob@example.net>\nC: RCPT TO:<eve@example.net>\nC: DATA\n"
	ready = "S: 250 sender ok\nS: 250 recipient ok\nS: 354 go\n"
	body  = "C: Hello.\nC: .\n"
	taken = "S: 250 taken\n"
	quit  = "C: QUIT\nS: 221 bye\neof\n"

	slowly = hello + "C: MAIL FROM:<ann@client.test>\nS: 250 ok\nC: RCPT TO:<bob@example.net>\nS: 250 ok\nC: DATA\nS: 354 go\n" + body + taken + quit

	whole = hello + toBob + ready + body + taken + quit // a session in which bob gets his mail
)

// newTransport has hosts a.test, b.test and c.test at 192.0.2.1 to 3 for example.net.
func newTransport(t testing.TB) (*Transport, *internet) {
	inet := newInternet(t)
	inet.add("example.net", "a.test=192.0.2.1", "b.test=192.0.2.2", "c.test=192.0.2.3")
	return &Transport{Hostname: "client.test", Router: &mx.Router{Resolver: inet}, DialContext: inet.DialContext}, inet
}

func TestTransport(t *testing.T) {
	const (
		a, b, c = "192.0.2.1:25", "192.0.2.2:25", "192.0.2.3:25"
		bob     = "bob@example.net"
	)
	deferred := func(reply string) string {
		return hello + toBob + "S: 250 ok\nS: " + reply + "\nS: 554 nobody\n" + quit
	}
	tests := []struct {
		name  string
		setup func(*Transport, *internet)
		hosts map[string][]string // scripts of each address
		to    string              // if empty, bob
		want  string
		dials string
	}{
		{name: "first host", hosts: map[string][]string{a: {whole}}, dials: a,
			want: bob + " delivered final: 250 taken; a.test 192.0.2.1:25 relayed\n"},
		{name: "refused connection, next host", hosts: map[string][]string{b: {whole}}, dials: a + " " + b,
			want: bob + " delivered final: 250 taken; b.test 192.0.2.2:25 relayed\n"},
		{name: "no host answers", dials: a + " " + b + " " + c,
			want: bob + " deferred connect: 451 4.4.1 connection refused; c.test 192.0.2.3:25 local\n"},
		{name: "554 greeting, next host", hosts: map[string][]string{a: {"S: 554 no\nC: QUIT\neof"}, b: {whole}}, dials: a + " " + b,
			want: bob + " delivered final: 250 taken; b.test 192.0.2.2:25 relayed\n"},
		{name: "554 greetings only are no rejection", hosts: map[string][]string{a: {"S: 554 no\nC: QUIT\neof"}, b: {"S: 554 no\nC: QUIT\neof"}, c: {"S: 554 5.7.1 no\nC: QUIT\neof"}},
			dials: a + " " + b + " " + c, want: bob + " deferred greeting: 554 5.7.1 no; c.test 192.0.2.3:25\n"},
		{name: "421 greeting, next host", hosts: map[string][]string{a: {"S: 421 busy\neof"}, b: {whole}}, dials: a + " " + b,
			want: bob + " delivered final: 250 taken; b.test 192.0.2.2:25 relayed\n"},
		{name: "550 EHLO, next host", hosts: map[string][]string{a: {"S: 220 hi\nC: EHLO client.test\nS: 550 no\nC: HELO client.test\nS: 550 no\nC: QUIT\neof"}, b: {whole}}, dials: a + " " + b,
			want: bob + " delivered final: 250 taken; b.test 192.0.2.2:25 relayed\n"},
		{name: "5xx to RCPT is final", hosts: map[string][]string{a: {deferred("550 5.1.1 who?")}}, dials: a,
			want: bob + " rejected rcpt: 550 5.1.1 who?; a.test 192.0.2.1:25\n"},
		{name: "5xx to MAIL is final", hosts: map[string][]string{a: {hello + toBob + "S: 550 5.7.1 no\nS: 503 no\nS: 503 no\n" + quit}}, dials: a,
			want: bob + " rejected mail: 550 5.7.1 no; a.test 192.0.2.1:25\n"},
		{name: "4xx is offered to one further host", hosts: map[string][]string{a: {deferred("450 later")}, b: {whole}}, dials: a + " " + b,
			want: bob + " delivered final: 250 taken; b.test 192.0.2.2:25 relayed\n"},
		{name: "and not to a third", hosts: map[string][]string{a: {deferred("450 later")}, b: {deferred("451 4.3.0 later")}}, dials: a + " " + b,
			want: bob + " deferred rcpt: 451 4.3.0 later; b.test 192.0.2.2:25\n"},
		{name: "a host that is down isn't the further one", hosts: map[string][]string{a: {deferred("450 later")}, c: {whole}}, dials: a + " " + b + " " + c,
			want: bob + " delivered final: 250 taken; c.test 192.0.2.3:25 relayed\n"},
		{name: "no further host is up", hosts: map[string][]string{a: {deferred("450 later")}}, dials: a + " " + b + " " + c,
			want: bob + " deferred rcpt: 450 later; a.test 192.0.2.1:25\n"},
		{name: "4.2.x is the mailbox's", hosts: map[string][]string{a: {deferred("450 4.2.2 full")}}, dials: a,
			want: bob + " deferred rcpt: 450 4.2.2 full; a.test 192.0.2.1:25\n"},
		{name: "4.7.x is policy", hosts: map[string][]string{a: {deferred("451 4.7.1 greylisted")}}, dials: a,
			want: bob + " deferred rcpt: 451 4.7.1 greylisted; a.test 192.0.2.1:25\n"},
		{name: "452", hosts: map[string][]string{a: {deferred("452 too many")}}, dials: a,
			want: bob + " deferred rcpt: 452 too many; a.test 192.0.2.1:25\n"},
		{name: "552 to RCPT is as 452", hosts: map[string][]string{a: {deferred("552 too many")}}, dials: a,
			want: bob + " deferred rcpt: 552 too many; a.test 192.0.2.1:25\n"},
		{name: "552 to MAIL is final", hosts: map[string][]string{a: {hello + toBob + "S: 552 too big\nS: 503 no\nS: 503 no\n" + quit}}, dials: a,
			want: bob + " rejected mail: 552 too big; a.test 192.0.2.1:25\n"},
		{name: "421 on a new session, next host", hosts: map[string][]string{a: {hello + toBob + "S: 421 bye\neof"}, b: {whole}}, dials: a + " " + b,
			want: bob + " delivered final: 250 taken; b.test 192.0.2.2:25 relayed\n"},
		{name: "4xx to the final dot, next host", hosts: map[string][]string{a: {hello + toBob + ready + body + "S: 451 disk\n" + quit}, b: {whole}}, dials: a + " " + b,
			want: bob + " delivered final: 250 taken; b.test 192.0.2.2:25 relayed\n"},
		{name: "5xx to the final dot", hosts: map[string][]string{a: {hello + toBob + ready + body + "S: 554 spam\n" + quit}}, dials: a,
			want: bob + " rejected final: 554 spam; a.test 192.0.2.1:25\n"},
		{name: "lost after the final dot", hosts: map[string][]string{a: {hello + toBob + ready + body + "close"}}, dials: a,
			want: bob + " unknown final: 451 4.4.2 the host closed the connection; a.test 192.0.2.1:25 local\n"},
		{name: "lost at MAIL, next host", hosts: map[string][]string{a: {hello + toBob + "close"}, b: {whole}}, dials: a + " " + b,
			want: bob + " delivered final: 250 taken; b.test 192.0.2.2:25 relayed\n"},
		{name: "lost at MAIL twice", hosts: map[string][]string{a: {hello + toBob + "close"}, b: {hello + toBob + "close"}}, dials: a + " " + b,
			want: bob + " deferred mail: 451 4.4.2 the host closed the connection; b.test 192.0.2.2:25 local\n"},
		{name: "each recipient by itself", to: "bob@example.net eve@example.net",
			hosts: map[string][]string{a: {hello + toTwo + "S: 250 ok\nS: 450 later\nS: 550 5.1.1 who?\nS: 554 nobody\n" + quit}, b: {whole}}, dials: a + " " + b,
			want: bob + " delivered final: 250 taken; b.test 192.0.2.2:25 relayed\neve@example.net rejected rcpt: 550 5.1.1 who?; a.test 192.0.2.1:25\n"},
		{name: "one is taken, the other offered on", to: "eve@example.net bob@example.net",
			hosts: map[string][]string{a: {hello +
				"C: MAIL FROM:<ann@client.test>\nC: RCPT TO:<eve@example.net>\nC: RCPT TO:<bob@example.net>\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 450 later\nS: 354 go\n" + body + taken + quit}, b: {whole}}, dials: a + " " + b,
			want: "eve@example.net delivered final: 250 taken; a.test 192.0.2.1:25 relayed\n" + bob + " delivered final: 250 taken; b.test 192.0.2.2:25 relayed\n"},
		{name: "no such domain", to: "bob@nowhere.test", want: "bob@nowhere.test rejected route: 550 5.1.2 the domain nowhere.test has neither MX nor address records; nowhere.test  local\n"},
		{name: "null MX", to: "bob@null.test", setup: func(_ *Transport, n *internet) { n.mx["null.test."] = []*net.MX{{Host: "."}} },
			want: "bob@null.test rejected route: 556 5.1.10 null.test does not take mail: it has a null MX local\n"},
		{name: "impossible domain beside a good one", to: "bob@example.net bob@192.0.2.1", hosts: map[string][]string{a: {whole}}, dials: a,
			want: bob + " delivered final: 250 taken; a.test 192.0.2.1:25 relayed\nbob@192.0.2.1 rejected route: 550 5.1.2 the domain \"192.0.2.1\" is an IP address without brackets local\n"},
		{name: "MX without address, next host", setup: func(_ *Transport, n *internet) { delete(n.ips, "a.test.") }, hosts: map[string][]string{b: {whole}}, dials: b,
			want: bob + " delivered final: 250 taken; b.test 192.0.2.2:25 relayed\n"},
		{name: "MX inside, the others down", setup: func(_ *Transport, n *internet) { n.ips["c.test."] = []netip.Addr{netip.MustParseAddr("127.0.0.1")} }, dials: a + " " + b,
			want: bob + " deferred connect: 451 4.4.1 connection refused; b.test 192.0.2.2:25 local\n"},
		{name: "all MX inside", setup: func(_ *Transport, n *internet) {
			for _, name := range []string{"a.test.", "b.test.", "c.test."} {
				n.ips[name] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
			}
		}, want: bob + " rejected route: 550 5.4.4 host c.test has only private or reserved addresses; c.test  local\n"},
		{name: "addresses of a host in turn", setup: func(_ *Transport, n *internet) {
			n.ips["a.test."] = []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("192.0.2.1")}
		}, hosts: map[string][]string{"[2001:db8::1]:25": {"close"}, a: {hello + toBob + "close"}, "[2001:db8::2]:25": {slowly}}, // without PIPELINING, which may have been the cause
			dials: "[2001:db8::1]:25 " + a + " [2001:db8::2]:25",
			want:  bob + " delivered final: 250 taken; a.test [2001:db8::2]:25 relayed\n"},
		{name: "another host where one has spoken", setup: func(_ *Transport, n *internet) {
			n.ips["a.test."] = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.8")}
		}, hosts: map[string][]string{a: {"S: 554 no\nC: QUIT\neof"}, b: {whole}}, dials: a + " " + b,
			want: bob + " delivered final: 250 taken; b.test 192.0.2.2:25 relayed\n"},
		{name: "explicit hosts by name and address", setup: func(tr *Transport, n *internet) {
			n.ips["relay.test."] = []netip.Addr{netip.MustParseAddr("10.0.0.1")}
			tr.Router.Routes = map[string]mx.Route{"*": mustRoute(mx.Smarthost("relay.test:587", "127.0.0.1:25"))}
		}, hosts: map[string][]string{"127.0.0.1:25": {whole}}, dials: "10.0.0.1:587 127.0.0.1:25",
			want: bob + " delivered final: 250 taken; 127.0.0.1 127.0.0.1:25 relayed\n"},
		{name: "two domains, one smarthost: one message", to: "bob@example.net eve@example.org", setup: func(tr *Transport, _ *internet) {
			tr.Router.Routes = map[string]mx.Route{"*": mustRoute(mx.Smarthost("127.0.0.1:25"))}
		}, hosts: map[string][]string{"127.0.0.1:25": {hello + strings.Replace(toTwo, "eve@example.net", "eve@example.org", 1) + "S: 250 ok\n" + ready + body + taken + quit}}, dials: "127.0.0.1:25",
			want: bob + " delivered final: 250 taken; 127.0.0.1 127.0.0.1:25 relayed\neve@example.org delivered final: 250 taken; 127.0.0.1 127.0.0.1:25 relayed\n"},
		{name: "LMTP on a socket", setup: func(tr *Transport, _ *internet) {
			tr.Router.Routes = map[string]mx.Route{"*": mustRoute(mx.LMTP("/run/lmtp"))}
		}, hosts: map[string][]string{"/run/lmtp": {strings.Replace(whole, "EHLO", "LHLO", 1)}}, dials: "/run/lmtp",
			want: bob + " delivered final: 250 taken; localhost /run/lmtp\n"},
		{name: "AUTH refused, next host, then deferred", setup: func(tr *Transport, _ *internet) {
			r := mustRoute(mx.Smarthost("127.0.0.1:25", "127.0.0.2:25"))
			r.Auth = plainAuth("x")
			tr.Router.Routes = map[string]mx.Route{"*": r}
		}, hosts: map[string][]string{
			"127.0.0.1:25": {"S: 220 hi\nC: EHLO client.test\nS: 250-host\nS: 250 AUTH PLAIN\nC: AUTH PLAIN AGFubgB4\nS: 535 5.7.8 no\nC: QUIT\neof"},
			"127.0.0.2:25": {"S: 220 hi\nC: EHLO client.test\nS: 250 host\nC: QUIT\neof"},
		}, dials: "127.0.0.1:25 127.0.0.2:25", want: bob + " deferred auth: 451 4.7.0 the host offers no AUTH; 127.0.0.2 127.0.0.2:25 local\n"},
		{name: "AUTH refused", setup: func(tr *Transport, _ *internet) {
			r := mustRoute(mx.Smarthost("127.0.0.1:25"))
			r.Auth = plainAuth("x")
			tr.Router.Routes = map[string]mx.Route{"*": r}
		}, hosts: map[string][]string{
			"127.0.0.1:25": {"S: 220 hi\nC: EHLO client.test\nS: 250-host\nS: 250 AUTH PLAIN\nC: AUTH PLAIN AGFubgB4\nS: 535 5.7.8 no\nC: QUIT\neof"},
		}, dials: "127.0.0.1:25", want: bob + " deferred auth: 535 5.7.8 no; 127.0.0.1 127.0.0.1:25\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr, inet := newTransport(t)
				if test.setup != nil {
					test.setup(tr, inet)
				}
				for addr, scripts := range test.hosts {
					inet.scripts(addr, scripts...)
				}
				to := test.to
				if to == "" {
					to = bob
				}
				env := smtp.NewEnvelope("ann@client.test", strings.Fields(to)...)
				results, err := tr.Send(t.Context(), env, smtp.Text("Hello.\n"))
				tr.Close()
				if got := show(results); got != test.want {
					t.Errorf("got\n%swant\n%s", got, test.want)
				}
				if got := inet.dialled(); got != test.dials {
					t.Errorf("dialled: got %s, want %s", got, test.dials)
				}
				checkError(t, results, err)
			})
		})
	}
}

// checkError: the error of Send is nil if all was delivered, and else of the first result that says no.
func checkError(t *testing.T, results []smtp.Result, err error) {
	t.Helper()
	for _, r := range results {
		want := replies.ReasonOf(&r)
		if r.Local && strings.HasPrefix(r.Reply.Text, "all source addresses are blocked") {
			want = smtp.Blocklisted
		}
		text := r.Reply.Text
		if r.Local && text == "the host offers no AUTH" {
			want = smtp.RelayDenied
		}
		if r.Local && r.Reply.Enhanced[1] == 3 &&
			(strings.Contains(text, "source address") || strings.HasPrefix(text, "the warm-up of source")) {
			want = smtp.NoSource
		}
		if r.Reason != want {
			t.Errorf("got reason %v, want %v for %s: %v", r.Reason, want, r.Outcome, r.Reply)
		}
	}
	for _, r := range results {
		if r.Outcome == smtp.Delivered {
			continue
		}
		if reply, ok := errors.AsType[*smtp.Reply](err); !ok || *reply != *r.Reply || !strings.Contains(err.Error(), r.Host) {
			t.Errorf("got error %v, want one with %v and host %s", err, r.Reply, r.Host)
		}
		return
	}
	if err != nil {
		t.Errorf("got error %v, want none", err)
	}
}

func mustRoute(r mx.Route, err error) mx.Route {
	if err != nil {
		panic(err)
	}
	return r
}

// TestCancelDial: the end of ctx ends a dial, and leaves the message deferred.
func TestCancelDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, _ := newTransport(t)
		tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		env := smtp.NewEnvelope("ann@client.test", "bob@example.net")
		results, err := tr.Send(ctx, env, smtp.Text("Hello.\n"))
		if want := "bob@example.net deferred connect: 451 4.4.2 the attempt was cancelled; a.test 192.0.2.1:25 local\n"; show(results) != want || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("got %s, %v after %v, want %s", show(results), err, time.Since(start), want)
		}
		// Without an end of ctx, each host has 30 s.
		start = time.Now()
		results, _ = tr.Send(t.Context(), env, smtp.Text("Hello.\n"))
		if want := "bob@example.net deferred connect: 451 4.4.1 the host did not answer in time; c.test 192.0.2.3:25 local\n"; show(results) != want || time.Since(start) != 90*time.Second {
			t.Errorf("got %s after %v, want %s", show(results), time.Since(start), want)
		}
		tr.Close()
	})
}

// TestRegrouped: recipients that had one route when they were queued go where each domain's route is now.
func TestRegrouped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := newInternet(t)
		next := func(rcpt string) string {
			return hello + "C: MAIL FROM:<ann@client.test>\nC: RCPT TO:<" + rcpt + ">\nC: DATA\n" + ready + body + taken + quit
		}
		const both = "C: MAIL FROM:<ann@client.test>\nC: RCPT TO:<bob@example.net>\nC: RCPT TO:<eve@example.org>\nC: DATA\n"
		inet.scripts("127.0.0.1:25", hello+both+"S: 250 ok\nS: 450 4.2.1 later\nS: 450 4.2.1 later\nS: 554 no\n"+quit, next("bob@example.net"))
		inet.scripts("127.0.0.2:25", next("eve@example.org"))
		router := &mx.Router{Routes: map[string]mx.Route{"*": mustRoute(mx.Smarthost("127.0.0.1:25"))}}
		tr := &Transport{Hostname: "client.test", Router: router, DialContext: inet.DialContext, MaxIdle: -1}
		env := smtp.NewEnvelope("ann@client.test", "bob@example.net", "eve@example.org")
		if results, err := tr.Send(t.Context(), env, smtp.Text("Hello.\n")); err == nil {
			t.Errorf("got %s, want both deferred", show(results))
		}
		other := mustRoute(mx.Smarthost("127.0.0.2:25"))
		if err := router.Redirect("example.org", &other); err != nil {
			t.Fatal(err)
		}
		results, err := tr.Send(t.Context(), env, smtp.Text("Hello.\n"))
		checkError(t, results, err)
		if results[0].Addr != "127.0.0.1:25" || results[1].Addr != "127.0.0.2:25" {
			t.Errorf("got %s, want bob's at 127.0.0.1 and eve's at 127.0.0.2", show(results))
		}
		tr.Close()
	})
}

// TestOwnHost: a host with an address of ours ends the way through the hosts, and doesn't hide why the better ones
// failed.
func TestOwnHost(t *testing.T) {
	tests := []struct {
		name        string
		self        string
		want, dials string
	}{
		{"the second", "192.0.2.2", "deferred connect: 451 4.4.1 connection refused; a.test 192.0.2.1:25 local", "192.0.2.1:25"},
		{"the best", "192.0.2.1", "rejected route: 554 5.4.6 mail for example.net loops back to this host; a.test  local", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr, inet := newTransport(t)
				tr.Router = &mx.Router{Resolver: inet, SelfAddrs: []netip.Addr{netip.MustParseAddr(tt.self)}}
				results, err := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n"))
				checkError(t, results, err)
				if got := strings.TrimSpace(show(results)); got != "bob@example.net "+tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
				if got := inet.dialled(); got != tt.dials {
					t.Errorf("dialled %s, want %s", got, tt.dials)
				}
				tr.Close()
			})
		})
	}
}
