package server

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/internal/iprev"
)

// phoneBook is a NameResolver.
type phoneBook struct {
	names map[string][]string // by address
	addrs map[string]string   // by name, with the dot
	hang  bool
}

func (b *phoneBook) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	if b.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if addr == "198.51.100.66" {
		panic("oops")
	}
	return b.names[addr], nil
}

func (b *phoneBook) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	addr, err := netip.ParseAddr(b.addrs[host])
	if err != nil || network != "ip4" {
		return nil, errors.New("no such host")
	}
	return []netip.Addr{netip.AddrFrom16(addr.As16())}, nil
}

// TestNames: a client's name counts only if it leads back to the client.
func TestNames(t *testing.T) {
	many := make([]string, iprev.MaxNames, iprev.MaxNames+1)
	book := &phoneBook{
		names: map[string][]string{
			"198.51.100.1": {"One.test."}, "198.51.100.2": {"bank.test.", "two.test."}, "198.51.100.3": {"bank.test."},
			"198.51.100.4": {"a b.test.", "x\r\ny.", "[198.51.100.4]"}, "198.51.100.5": append(many, "five.test."),
		},
		addrs: map[string]string{"one.test.": "198.51.100.1", "two.test.": "198.51.100.2", "bank.test.": "192.0.2.1", "five.test.": "198.51.100.5"},
	}
	for _, tt := range []struct {
		name, ip, want string
		names          NameResolver
	}{
		{"one that leads back", "198.51.100.1", "one.test", book},
		{"the second leads back", "198.51.100.2", "two.test", book},
		{"none leads back", "198.51.100.3", "", book},
		{"none is a name", "198.51.100.4", "", book},
		{"too many", "198.51.100.5", "", book},
		{"no name", "198.51.100.6", "", book},
		{"a panic", "198.51.100.66", "", book},
		{"no answer", "198.51.100.1", "", &phoneBook{hang: true}},
		{"no lookup", "198.51.100.1", "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &desk{}
				w := newWorld(t, &Server{Handler: d, Names: tt.names})
				c := w.dialFrom(tt.ip)
				if tt.name == "no answer" {
					if got := c.take(); got != "" {
						t.Errorf("got %q at once, want the greeting after the lookup", got)
					}
					time.Sleep(nameTimeout)
				}
				c.want(ehlo+envelope+hiMail, "220", "250", "250", "250", "354", "250")
				m := d.all()[0]
				if m.peer.Name != tt.want {
					t.Errorf("got %q, want %q", m.peer.Name, tt.want)
				}
				got := ReceivedField("mx.test", &m.peer, m.env, "", time.Now()).String()
				if want := strings.TrimLeft(tt.want+" ["+tt.ip+"])", " "); !strings.Contains(got, "("+want) {
					t.Errorf("got %q, want (%s in it", got, want)
				}
			})
		})
	}
}
