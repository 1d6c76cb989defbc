package mx

import (
	"context"
	"math"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/smtp"
)

// TestOddValues calls each func and method with values that nobody should pass: an error or a documented default.
func TestOddValues(t *testing.T) {
	ctx := t.Context()
	zone := &zone{mx: map[string][]*net.MX{"next.test.": records("10 mx.next.test.")}}
	last := func(_ any, err error) error { return err }
	check := func(change func(*Router)) func() error {
		return func() error {
			r := &Router{Resolver: zone}
			change(r)
			if err := r.Check(); err != nil {
				return err
			}
			return last(r.Route(ctx, "next.test"))
		}
	}
	route := func(route Route) func() error {
		return check(func(r *Router) { r.Routes = map[string]Route{"*": route} })
	}
	var noAuth *credentials
	tests := []struct {
		name string
		do   func() error
		want string // in the error; "": none
	}{
		{"Port, too large", check(func(r *Router) { r.Port = math.MaxInt }), "Port is 9223372036854775807"},
		{"Port, negative", check(func(r *Router) { r.Port = math.MinInt }), "Port is -9223372036854775808"},
		{"Timeout, negative", check(func(r *Router) { r.Timeout = math.MinInt64 }), "Timeout is"},
		{"Timeout, the longest", check(func(r *Router) { r.Timeout = math.MaxInt64 }), ""},
		{"CacheTime, the longest", check(func(r *Router) { r.CacheTime = math.MaxInt64 }), ""},
		{"CacheTime, negative", check(func(r *Router) { r.CacheTime = math.MinInt64 }), ""},
		{"SelfAddrs, zero", check(func(r *Router) { r.SelfAddrs = make([]netip.Addr, 3) }), ""},
		{"Self, empty", check(func(r *Router) { r.Self = []string{""} }), `Self has ""`},
		{"Routes, empty key", check(func(r *Router) { r.Routes = map[string]Route{"": Discard()} }), `Routes[""]`},
		{"a zero Route", route(Route{}), "Name is empty"},
		{"TLS", route(Route{Name: "x", Hosts: []Host{{Name: "a.test", Port: 25}}, TLS: 255}), "TLS is 255"},
		{"a zero Host", route(Route{Name: "x", Hosts: make([]Host, 1)}), "Port is 0"},
		{"Host.Port", route(Route{Name: "x", Hosts: []Host{{Name: "a.test", Port: 1 << 40}}}), "Port is 1099511627776"},
		{"a nil Auth behind an interface", route(Route{Name: "x", Hosts: []Host{{Name: "a.test", Port: 25}}, Auth: noAuth}), "Auth is a nil"},
		{"a nil AuthMechanism", route(Route{Name: "x", Hosts: []Host{{Name: "a.test", Port: 25}}, Auth: smtp.AuthMechanism(nil)}), "Auth is a nil"},
		{"a nil SenderFunc", route(Route{Name: "x", Sender: smtp.SenderFunc(nil)}), "Sender is a nil"},
		{"Func, nil", route(Func("x", nil)), "leads nowhere"},
		{"Smarthost, none", func() error { return last(Smarthost()) }, "got 0 hosts"},
		{"Smarthost, too many", func() error { return last(Smarthost(make([]string, 21)...)) }, "got 21 hosts"},
		{"LMTP, empty", func() error { return last(LMTP("")) }, "want host:port"},
		{"ParseRoute, empty", func() error { return last(ParseRoute("")) }, "want host:port"},
		{"ParseRoute, huge", func() error { return last(ParseRoute(strings.Repeat(",", 1<<20))) }, "hosts"},
		{"Refuse, nil", func() error { return last(Refuse(nil)) }, "want one of 4xx or 5xx"},
		{"NameServer, empty", func() error { return last(NameServer("")) }, "want host:port"},
		{"NameServer, no such port", func() error { return last(NameServer("192.0.2.53:99999")) },
			`mx: name server "192.0.2.53:99999": want host:port`},
		{"ListensAt, nil", func() error { return new(Router).ListensAt(nil) }, "address is nil"},
		{"ListensAt, a nil address behind an interface", func() error { return new(Router).ListensAt((*net.TCPAddr)(nil)) }, ""},
		{"ListensAt, zero", func() error { return new(Router).ListensAt(new(net.TCPAddr)) }, ""},
		{"Route, empty", func() error { return last(new(Router).Route(ctx, "")) }, "no domain"},
		{"Route, huge", func() error { return last(new(Router).Route(ctx, strings.Repeat("a.", 1<<20))) }, "valid domain"},
		{"Destination, empty", func() error { return last(new(Router).Destination("")) }, "no domain"},
		{"Redirect, empty", func() error { return new(Router).Redirect("", nil) }, "no domain"},
		{"Redirect, a zero Route", func() error { return new(Router).Redirect("next.test", new(Route)) }, "Name is empty"},
		{"Site, empty", func() error { return last(new(Router).Site(ctx, "")) }, "no domain"},
		{"Addrs, zero", func() error { return last((&Router{Resolver: zone}).Addrs(ctx, Route{}, Host{})) }, "address"},
		{"Addrs, a port beyond", func() error {
			return last(new(Router).Addrs(ctx, Route{}, Host{Name: "192.0.2.1", Port: 1 << 20}))
		}, ""},
		{"a Resolver that returns nothing", func() error { return last((&Router{Resolver: nothing{}}).Route(ctx, "next.test")) }, "451 4.4.4"},
		{"its addresses", func() error {
			return last((&Router{Resolver: nothing{}}).Addrs(ctx, Route{}, Host{Name: "a.test", Port: 25}))
		}, "has no address"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.do()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	for _, tt := range []struct{ name, got, want string }{
		{"Route.Site", (&Route{}).Site(), ""},
		{"Host.String", Host{Port: -1}.String(), ":-1"},
		{"TLSLevel", TLSLevel(255).String(), "unknown"},
		{"TLSStart", TLSStart(255).String(), "unknown"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, tt.got, tt.want)
		}
	}
	if ip, ok := (Host{}).IP(); ok || new(Route).Final() {
		t.Errorf("got address %v of a zero Host, or a zero Route that is final", ip)
	}
}

// nothing is a Resolver that returns records without content, and odd TTLs.
type nothing struct{}

func (nothing) LookupMX(context.Context, string) ([]*net.MX, error) { return nil, nil }

func (nothing) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) { return nil, nil }

func (nothing) LookupMXTTL(context.Context, string) ([]*net.MX, time.Duration, error) {
	return make([]*net.MX, 3), math.MaxInt64, nil
}

func (nothing) LookupNetIPTTL(context.Context, string, string) ([]netip.Addr, time.Duration, error) {
	return make([]netip.Addr, 3), math.MinInt64, nil
}
