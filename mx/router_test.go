package mx

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

// TestRouterCauses: the error holds the reply for the sender, and the error of the resolver for us.
func TestRouterCauses(t *testing.T) {
	r := &Router{Resolver: &zone{err: map[string]error{"MX example.net.": servFail}}}
	_, err := r.Route(t.Context(), "example.net")
	if dns, ok := errors.AsType[*net.DNSError](err); !ok || dns != servFail {
		t.Errorf("got %v, want the error of the resolver in it", err)
	}
	reply, _ := errors.AsType[*smtp.Reply](err)
	if want := "cannot look up the MX of example.net: the name servers failed"; reply == nil || reply.Text != want {
		t.Errorf("got %v, want %q", reply, want)
	}
}

func TestRouterShuffles(t *testing.T) {
	z := &zone{mx: map[string][]*net.MX{"example.net.": records("10 a.test.", "10 b.test.", "10 c.test.", "5 z.test.")}}
	r := &Router{Resolver: z}
	seen := make(map[string]int)
	for range 600 {
		route, err := r.Route(t.Context(), "example.net")
		if err != nil {
			t.Fatal(err)
		}
		if route.Hosts[0].Name != "z.test" {
			t.Fatalf("first: got %s, want z.test", route.Hosts[0].Name)
		}
		seen[fmt.Sprint(route.Hosts[1:])]++
	}
	for order, n := range seen {
		if len(seen) != 6 || n < 50 || n > 150 { // 100 in the mean, with a deviation of 9
			t.Errorf("got order %s %d times, and %d orders; want 50 to 150, and 6", order, n, len(seen))
		}
	}
}

type silent struct{}

func (silent) LookupMX(ctx context.Context, _ string) ([]*net.MX, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (silent) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestRouterTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &Router{Resolver: silent{}}
		start := time.Now()
		_, err := r.Route(t.Context(), "example.net")
		if reply(err) != "451 4.4.3" || time.Since(start) != time.Minute {
			t.Errorf("got %v after %v, want 451 4.4.3 after 1m", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = r.Addrs(ctx, Route{MX: true}, Host{Name: "a.test", Port: 25})
		if reply(err) != "451 4.4.3" || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want 451 4.4.3 and the end of ctx", err)
		}
	})
}

func TestNameServer(t *testing.T) {
	for _, bad := range []string{"192.0.2.1", "192.0.2.1:dns", "::1", ""} {
		if r, err := NameServer(bad); err == nil || r != nil {
			t.Errorf("%q: got %v, %v, want an error", bad, r, err)
		}
	}
	r, err := NameServer("127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := r.System().Dial(t.Context(), "udp", "192.0.2.1:53")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.RemoteAddr().String(); got != "127.0.0.1:1" || !slices.Equal(r.Servers, []string{"127.0.0.1:1"}) {
		t.Errorf("got a connection to %s, and servers %q; want 127.0.0.1:1", got, r.Servers)
	}
}

func TestDestination(t *testing.T) {
	relay, _ := Smarthost("relay.example.org:25")
	boxes, _ := LMTP("/run/lmtp")
	refused, _ := Refuse(smtp.NewReply(550, "5.7.1", "no"))
	explicit := map[string]Route{"no.test": refused, "*": relay, "bücher.example": boxes, "[192.0.2.1]": boxes}
	tests := []struct {
		name, domain string
		routes       map[string]Route
		want         string
	}{
		{name: "A-label", domain: "BÜCHER.example.", want: "xn--bcher-kva.example"},
		{name: "literal", domain: "[IPv6:2001:DB8::1]", want: "[ipv6:2001:db8::1]"},
		{name: "impossible", domain: "a..b", want: "550 5.1.2"},
		{name: "none", domain: "", want: "550 5.1.3"},
		{name: "explicit", domain: "xn--bcher-kva.example", routes: explicit, want: "lmtp:/run/lmtp"},
		{name: "explicit literal", domain: "[192.0.2.1]", routes: explicit, want: "lmtp:/run/lmtp"},
		{name: "explicit for all", domain: "example.net", routes: explicit, want: "smarthost:relay.example.org:25"},
		{name: "explicit for postmaster", domain: "", routes: explicit, want: "smarthost:relay.example.org:25"},
		{name: "explicit for another one above", domain: "sub.no.test", routes: explicit, want: "smarthost:relay.example.org:25"},
		{name: "refused", domain: "no.test", routes: explicit, want: "550 5.7.1"},
		{name: "impossible with a route for all", domain: "a..b", routes: explicit, want: "550 5.1.2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := &Router{Resolver: silent{}, Routes: test.routes}
			got, err := r.Destination(test.domain)
			if err != nil {
				got = reply(err)
			}
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// TestCheck: Check and Redirect name the field by which a route can't be used.
// TestSameName: two routes of one name would share a queue's destination and sessions, of different users for example.
func TestSameName(t *testing.T) {
	relay := func(change func(*Route)) Route {
		r := explicitly(Smarthost("relay.test:587"))
		change(&r)
		return r
	}
	login := func(user string) *credentials { return &credentials{user: user} }
	ann := login("ann")
	mechanism := smtp.AuthMechanism(func() smtp.AuthExchange { return nil })
	loginOf := func(user string) smtp.AuthMechanism {
		return func() smtp.AuthExchange { panic(user) }
	}
	box := func(dir string) smtp.SenderFunc {
		return func(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) {
			return nil, errors.New(dir)
		}
	}
	oneBox := box("/var/mail")
	text := func(text string) Route { return explicitly(Refuse(smtp.NewReply(550, "5.7.1", text))) }
	for _, tt := range []struct {
		name string
		a, b Route
		ok   bool
	}{
		{"equal", relay(func(*Route) {}), relay(func(*Route) {}), true},
		{"the same user", relay(func(r *Route) { r.Auth = ann }), relay(func(r *Route) { r.Auth = ann }), true},
		{"equal users", relay(func(r *Route) { r.Auth = login("ann") }), relay(func(r *Route) { r.Auth = ann }), true},
		{"two users", relay(func(r *Route) { r.Auth = ann }), relay(func(r *Route) { r.Auth = login("bob") }), false},
		{"two users, two names", relay(func(r *Route) { r.Auth = ann }),
			relay(func(r *Route) { r.Name, r.Auth = "bob's", login("bob") }), true},
		{"one user", relay(func(r *Route) { r.Auth = ann }), relay(func(*Route) {}), false},
		{"one mechanism", relay(func(r *Route) { r.Auth = mechanism }), relay(func(r *Route) { r.Auth = mechanism }), true},
		{"a user and a mechanism", relay(func(r *Route) { r.Auth = ann }), relay(func(r *Route) { r.Auth = mechanism }), false},
		{"closures of two users", relay(func(r *Route) { r.Auth = loginOf("ann") }), relay(func(r *Route) { r.Auth = loginOf("bob") }), false},
		{"structs of two users", relay(func(r *Route) { r.Auth = tokens{[]string{"ann"}} }),
			relay(func(r *Route) { r.Auth = tokens{[]string{"bob"}} }), false},
		{"structs of one user", relay(func(r *Route) { r.Auth = tokens{[]string{"ann"}} }),
			relay(func(r *Route) { r.Auth = tokens{[]string{"ann"}} }), true},
		{"hosts", relay(func(*Route) {}), relay(func(r *Route) { r.Hosts = append(r.Hosts, r.Hosts...) }), false},
		{"LMTP", relay(func(r *Route) { r.LMTP = true }), relay(func(*Route) {}), false},
		{"TLSStart", relay(func(r *Route) { r.TLSStart = TLSImplicit }), relay(func(*Route) {}), false},
		{"one box", Func("x", oneBox), Func("x", oneBox), true},
		{"closures for two boxes", Func("x", box("/a")), Func("x", box("/b")), false},
		{"a Sender that relays", Func("x", oneBox), Route{Name: "func:x", Sender: oneBox}, false},
		{"two Senders", Route{Name: "x", Sender: &transporter{}}, Route{Name: "x", Sender: &transporter{}}, false},
		{"refusals", text("no\nmore"), text("no more"), false},
		{"one refusal", text("no"), text("no"), true},
		{"parsed", explicitly(ParseRoute("relay.test:587")), relay(func(*Route) {}), true},
		{"parsed, another user", explicitly(ParseRoute("relay.test:587")), relay(func(r *Route) { r.Auth = ann }), false},
		{"TLS", relay(func(r *Route) { r.TLS = TLSRequired }), relay(func(*Route) {}), false},
		{"discard", Discard(), Discard(), true},
		{"funcs", Func("x", discard), Func("x", func(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) {
			return nil, nil
		}), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &Router{Routes: map[string]Route{"a.test": tt.a, "b.test": tt.b}}
			if err := r.Check(); (err == nil) != tt.ok || err != nil && !strings.Contains(err.Error(), `"a.test"`) {
				t.Errorf("Check: got %v, want an error: %v", err, !tt.ok)
			}
			r = &Router{Routes: map[string]Route{"a.test": tt.a}}
			if err := r.Redirect("b.test", &tt.b); (err == nil) != tt.ok {
				t.Errorf("Redirect: got %v, want an error: %v", err, !tt.ok)
			}
			if err := r.Redirect("a.test", &tt.b); (err == nil) != tt.ok { // the sessions of the one before may be open
				t.Errorf("Redirect in its place: got %v, want an error: %v", err, !tt.ok)
			}
			r = new(Router)
			first, second := r.Redirect("a.test", &tt.a), r.Redirect("b.test", &tt.b)
			undone, again := r.Redirect("a.test", nil), r.Redirect("a.test", &tt.b)
			if first != nil || undone != nil || (second == nil) != tt.ok || (again == nil) != tt.ok {
				t.Errorf("two Redirects: got %v, %v, %v, %v, want an error of the second and the last: %v", first, second, undone, again, !tt.ok)
			}
		})
	}
}

// tokens are an Auth that can't be compared by ==.
type tokens struct{ list []string }

func (tokens) Begin(context.Context, smtp.AuthHost) (smtp.AuthExchange, error) { return nil, nil }

// transporter is a Sender behind a pointer.
type transporter struct{ n int }

func (t *transporter) Send(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) {
	t.n++
	return nil, nil
}

// credentials are an Auth that can be compared.
type credentials struct{ user string }

func (*credentials) Begin(context.Context, smtp.AuthHost) (smtp.AuthExchange, error) { return nil, nil }

func TestCheck(t *testing.T) {
	hosts := []Host{{Name: "a.test", Port: 25}}
	sender := Discard().Sender
	refused := explicitly(Refuse(smtp.NewReply(550, "", "")))
	refusedToo := refused
	refusedToo.Hosts = hosts
	for _, tt := range []struct {
		name  string
		route Route
		want  string // in the error; empty: none
	}{
		{"hosts", Route{Name: "x", Hosts: hosts}, ""},
		{"Sender", Route{Name: "x", Sender: sender}, ""},
		{"refusal", refused, ""},
		{"no name", Route{Hosts: hosts}, "Name is empty: set it"},
		{"a name of a queue", Route{Name: "(expanded)", Hosts: hosts}, `Name is "(expanded)": names that begin`},
		{"nothing", Route{Name: "x"}, `route "x" leads nowhere: set Hosts or Sender`},
		{"nil func", Func("x", nil), `route "func:x" leads nowhere: set Hosts or Sender`},
		{"both", Route{Name: "x", Hosts: hosts, Sender: sender}, `route "x" has both Hosts and Sender`},
		{"refusal and hosts", refusedToo, `route "error:550" refuses all mail, and has Hosts or Sender too`},
		{"TLS", Route{Name: "x", Hosts: hosts, TLS: 3}, `route "x": TLS is 3: set it to`},
		{"TLSStart", Route{Name: "x", Hosts: hosts, TLSStart: 3}, `route "x": TLSStart is 3: set it to`},
		{"none and implicit", Route{Name: "x", Hosts: hosts, TLS: TLSNone, TLSStart: TLSImplicit}, `route "x": TLS is none and TLSStart is implicit: clear`},
		{"none and STARTTLS", Route{Name: "x", Hosts: hosts, TLS: TLSNone, TLSStart: TLSStartTLS}, `route "x": TLS is none and TLSStart is STARTTLS: clear`},
		{"no port", Route{Name: "x", Hosts: []Host{{Name: "a.test"}}}, `route "x": Hosts[0]: Port is 0: set it to`},
		{"no host name", Route{Name: "x", Hosts: []Host{{Port: 25}}}, `route "x": Hosts[0]: Name: smtp: domain ""`},
		{"host name", Route{Name: "x", Hosts: []Host{{Name: "A.test.", Port: 25}}}, `route "x": Hosts[0]: Name is "A.test.": set it to "a.test"`},
		{"address", Route{Name: "x", Hosts: []Host{{Name: "2001:db8::1", Port: 25}}}, ""},
		{"socket", Route{Name: "x", Hosts: []Host{{Path: "/run/smtp"}}}, ""},
		{"required and implicit", Route{Name: "x", Hosts: hosts, TLS: TLSRequired, TLSStart: TLSImplicit}, ""},
		{"without", Route{Name: "x", Hosts: hosts, Without: []string{"PIPELINING", "chunking", "8bitmime", "SMTPUTF8", "DSN", "SIZE", "LIMITS", "BINARYMIME"}}, ""},
		{"without what isn't known", Route{Name: "x", Hosts: hosts, Without: []string{"DSN", "PIPELINE"}}, `route "x": Without[1]: "PIPELINE" is no extension that a session can do without: use 8BITMIME, BINARYMIME,`},
		{"without nothing", Route{Name: "x", Hosts: hosts, Without: []string{""}}, `route "x": Without[0]: "" is no extension`},
		{"without STARTTLS", Route{Name: "x", Hosts: hosts, Without: []string{"STARTTLS"}}, `route "x": Without[0]: "STARTTLS": set TLS to TLSNone`},
		{"without STARTTLS, required", Route{Name: "x", Hosts: hosts, TLS: TLSRequired, Without: []string{"starttls"}}, `route "x": Without[0]: "starttls": set TLS to TLSNone`},
		{"without AUTH", Route{Name: "x", Hosts: hosts, Without: []string{"AUTH"}}, `route "x": Without[0]: "AUTH": leave Auth nil`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &Router{Routes: map[string]Route{"A.test": tt.route}}
			err, redirect := r.Check(), new(Router).Redirect("b.test", &tt.route)
			if tt.want == "" {
				if err != nil || redirect != nil {
					t.Errorf("got %v and %v, want no error", err, redirect)
				}
				return
			}
			if want := `mx: Routes["A.test"]: ` + tt.want; err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("Check: got %v, want %s", err, want)
			}
			if want := "mx: redirect of b.test: " + tt.want; redirect == nil || !strings.HasPrefix(redirect.Error(), want) {
				t.Errorf("Redirect: got %v, want %s", redirect, want)
			}
		})
	}
	if err := (&Router{Timeout: -time.Second}).Check(); err == nil || !strings.Contains(err.Error(), "Timeout is -1s: set it") {
		t.Errorf("got %v, want an error for Timeout", err)
	}
	relay := explicitly(Smarthost("relay.test:25"))
	r := &Router{Routes: map[string]Route{"a.test": relay, "A.test": relay}}
	if err := r.Check(); err == nil || !strings.HasPrefix(err.Error(), "mx: Routes has two keys for the domain a.test: ") {
		t.Errorf("got %v, want an error for two keys", err)
	}
}

func BenchmarkRoute(b *testing.B) {
	relay, _ := Smarthost("192.0.2.1:25")
	r := &Router{Routes: map[string]Route{"*": relay}}
	for b.Loop() {
		if _, err := r.Route(b.Context(), "example.net"); err != nil {
			b.Fatal(err)
		}
	}
}

// TestSameNameWithout: routes that differ in Without don't share a name, as they can't share sessions.
func TestSameNameWithout(t *testing.T) {
	one, two := explicitly(Smarthost("a.test:25")), explicitly(Smarthost("a.test:25"))
	two.Without = []string{"DSN"}
	err := (&Router{Routes: map[string]Route{"a.test": one, "b.test": two}}).Check()
	if err == nil || !strings.Contains(err.Error(), "have the same Name") {
		t.Errorf("got %v, want an error about the Name", err)
	}
}
