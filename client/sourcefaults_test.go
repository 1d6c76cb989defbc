package client

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// TestLiftBlock: a block that is lifted or said again leaves the others as they are, however many there are.
func TestLiftBlock(t *testing.T) {
	tr := new(Transport)
	until := time.Now().Add(time.Hour)
	most := tr.maxRemembered()
	for i := range most {
		tr.Block(Block{Site: fmt.Sprint(i), SourceAddr: srcA, Until: until})
	}
	tr.Block(Block{Site: "0", SourceAddr: srcA})
	if got := len(tr.Blocks()); got != most-1 {
		t.Errorf("got %d blocks, want %d", got, most-1)
	}
}

// TestMappedGreylist: a source in its IPv6-mapped form is the same again after greylisting.
func TestMappedGreylist(t *testing.T) {
	mapped := func(a netip.Addr) netip.Addr { return netip.AddrFrom16(a.As16()) }
	tr := &Transport{Sources: []Source{{Addrs: []netip.Addr{mapped(srcA)}}, {Addrs: []netip.Addr{mapped(srcB)}}}}
	env := smtp.NewEnvelope("ann@client.test", "bob@example.net")
	first := rank(tr.Sources, pair{env.From, env.Recipients[0].Address})
	second := first[1].Addrs[0].Unmap()
	tr.sources.seen(pair{env.From, env.Recipients[0].Address}, second, 10)
	d := &delivery{t: tr, message: newMessage(env, smtp.Text("x"))}
	d.rank()
	if got, f := d.source(netip.MustParseAddr("192.0.2.1")); f != nil || got.source != second {
		t.Errorf("got %v, %v, want %v", got.source, f, second)
	}
}

// TestSocketBehindAddress: a Unix socket has no address, whatever host came before it.
func TestSocketBehindAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := newInternet(t)
		inet.scripts("/run/lmtp", "S: 220 ESMTP\nC: LHLO client.test\nS: 250-host\nS: 250 PIPELINING\n"+toBob+ready+body+taken+quit)
		route := mx.Route{Name: "both", LMTP: true, Hosts: []mx.Host{{Name: "192.0.2.9", Port: 24}, {Path: "/run/lmtp"}}}
		tr := &Transport{Hostname: "client.test", Router: &mx.Router{Routes: map[string]mx.Route{"*": route}},
			Sources: []Source{{Addrs: []netip.Addr{srcA}, Hostname: "a.client.test"}}}
		tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if network == "unix" && SourceAddr(ctx).IsValid() {
				t.Errorf("got source %v for a socket, want none", SourceAddr(ctx))
			}
			return inet.DialContext(ctx, network, addr)
		}
		results, err := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n"))
		if err != nil {
			t.Errorf("got %s", show(results))
		}
		tr.Close()
	})
}

// TestBlockedOnce: one refusal for a blocklist is one warning, though many recipients have it.
func TestBlockedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, inet := newTransport(t)
		tr.Sources = []Source{{Addrs: []netip.Addr{srcA}}}
		var log bytes.Buffer
		tr.Logger = slog.New(slog.NewTextHandler(&log, nil))
		inet.scripts("192.0.2.1:25", hello+toTwo+"S: 450 4.7.1 on a blocklist\nS: 503 no\nS: 503 no\nS: 503 no\n"+quit)
		tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net", "eve@example.net"), smtp.Text("Hello.\n"))
		tr.Close()
		if n := strings.Count(log.String(), "source address blocked"); n != 1 {
			t.Errorf("got %d warnings, want 1:\n%s", n, log.String())
		}
	})
}

// TestGreylistedGreeting: a source that was greylisted at the greeting is the same again.
func TestGreylistedGreeting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSourced(t)
		const a = "192.0.2.1:25"
		s.inet.mx["example.net."] = s.inet.mx["example.net."][:1]
		s.Block(Block{Site: "a.test", SourceAddr: srcA, Until: time.Now().Add(time.Minute)})
		s.inet.scripts(a, "S: 451 4.7.1 greylisted\nC: QUIT\neof", helloB+toBob+ready+body+taken+quit)
		s.mail(t, bobOfA)
		time.Sleep(10 * time.Minute)
		s.mail(t, bobOfA)
		s.check(t, "B "+a, "B "+a)
		s.Close()
	})
}
