package client

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// TestTriedEmpty: a Try has Results or an Err.
func TestTriedEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const (
			addr   = "127.0.0.1:25"
			domain = "S: 220 ESMTP\nC: EHLO client.test\nS: 250-host\nS: 250-PIPELINING\nS: 250 LIMITS RCPTDOMAINMAX=1\n"
			toOrg  = "C: MAIL FROM:<ann@client.test>\nC: RCPT TO:<eve@example.org>\nC: DATA\n"
		)
		inet := newInternet(t)
		inet.scripts(addr, domain+toBob+ready+body+taken+quit, domain+toOrg+ready+body+taken+quit)
		tr := &Transport{Hostname: "client.test", Router: &mx.Router{Routes: map[string]mx.Route{"*": mustRoute(mx.Smarthost(addr))}},
			DialContext: inet.DialContext}
		tr.Tried = func(_ context.Context, try Try) {
			if (try.Results == nil) == (try.Err == nil) {
				t.Errorf("got a Try of session %d with results %v and error %v, want one of them", try.Session.ID, try.Results, try.Err)
			}
		}
		for _, to := range []string{"bob@example.net", "eve@example.org"} {
			results, err := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", to), smtp.Text("Hello.\n"))
			if err != nil {
				t.Errorf("got %s", show(results))
			}
		}
		tr.Close()
	})
}

// TestTriedConnecting: a Try has the time that connecting took, and one that ended TLS is told, too.
func TestTriedConnecting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, inet := newTransport(t)
		inet.scripts("192.0.2.1:25", "S: 220 hi\nC: EHLO client.test\nS: 250-host\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\nclose", whole)
		dial := tr.DialContext
		tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			time.Sleep(time.Second)
			return dial(ctx, network, addr)
		}
		var got []string
		tr.Tried = func(_ context.Context, try Try) {
			got = append(got, fmt.Sprintf("#%d failed=%v %v", try.Session.ID, try.Err != nil, try.Took))
		}
		results, err := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n"))
		checkError(t, results, err)
		tr.Close()
		if got, want := strings.Join(got, ", "), "#1 failed=true 1s, #2 failed=false 2s"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}
