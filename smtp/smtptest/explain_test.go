package smtptest_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp/smtptest"
)

// realWorld is a resolver and a dialler like those of a relay that is given none. With an addr it knows all domains.
type realWorld struct{ addr netip.Addr }

func (w realWorld) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	if w.addr.IsValid() {
		return []*net.MX{{Host: "mx.real.test."}}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (w realWorld) LookupNetIP(_ context.Context, _, name string) ([]netip.Addr, error) {
	if w.addr.IsValid() {
		return []netip.Addr{w.addr}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (realWorld) DialContext(_ context.Context, network, _ string) (net.Conn, error) {
	return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ENETUNREACH}
}

// TestForgotten: hints name the setting that a user forgot, or the domain that the user misspelled.
func TestForgotten(t *testing.T) {
	tests := []struct {
		name string
		to   string
		set  func(*postrider.Relay)
		want []string
	}{
		{"nothing", "ann@example.net", func(*postrider.Relay) {}, nil},
		{"DialContext", "ann@example.net", func(r *postrider.Relay) { r.DialContext = realWorld{}.DialContext },
			[]string{"mx.example.net: 1 lookup, no dial: is DialContext set to that of the Network?"}},
		{"Resolver, where the domain exists", "ann@example.net",
			func(r *postrider.Relay) { r.Resolver = realWorld{netip.MustParseAddr("11.9.9.9")} },
			[]string{"11.9.9.9:25: 1 dial, no host with this address, and no lookup of any name: " +
				"is Resolver set to the Network?"}},
		{"Resolver, where it doesn't", "ann@example.net", func(r *postrider.Relay) { r.Resolver = realWorld{} },
			[]string{"example.net: no lookup, and no dial of the mail hosts: " +
				"are Resolver and DialContext set to those of the Network?"}},
		{"how to spell", "ann@exampel.net", func(*postrider.Relay) {},
			[]string{
				"exampel.net: 3 lookups, no records: is the name misspelled?",
				"shop.test: 1 lookup, no records: is the name misspelled?", // for the report to its sender
			}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				inet.MX("example.net", "mx.example.net")
				relay := &postrider.Relay{
					Hostname:    "shop.test",
					Queue:       mem.New(),
					Resolver:    inet,
					DialContext: inet.DialContext,
				}
				test.set(relay)
				inet.Go(relay.Run)
				if err := signup(relay, test.to); err != nil && !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
				time.Sleep(time.Minute) // one attempt
				if got := inet.Hints(); !slices.Equal(got, test.want) {
					t.Errorf("got %q, want %q", got, test.want)
				}
			})
		})
	}
}
