package interop

import (
	"bytes"
	"context"
	"fmt"
	"net"
	netsmtp "net/smtp"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

const (
	quotaMessages = 60 // in any quotaPeriod
	quotaPeriod   = 10 * time.Minute
	quotaBacklog  = 400 // more than the quota allows in the whole time
)

// quotaMain is a Postfix that sends everything to one host.
const quotaMain = postfixBase + `myhostname = postfix.test
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:@port@
alias_maps =
alias_database =
`

// quotaPostfixes are settings that administrators give Postfix for receivers with quotas. The parameters are per
// transport: these are of the transport "smtp".
var quotaPostfixes = []struct{ name, lines string }{
	{"as installed", ""},
	{"slow", `smtp_destination_concurrency_limit = 2
smtp_destination_rate_delay = 1s
smtp_destination_concurrency_failed_cohort_limit = 10
smtp_connection_cache_on_demand = no
`},
	// This one knows the quota: 60 in 10 minutes.
	{"set to the quota", `smtp_destination_concurrency_limit = 1
smtp_destination_rate_delay = 10s
smtp_destination_concurrency_failed_cohort_limit = 10
`},
}

// quotaHost is a host with a quota, at a port of 127.0.0.1.
type quotaHost struct {
	host    *smtptest.Host
	port    string
	refused atomic.Int64
}

func newQuotaHost(t *testing.T, inet *smtptest.Network, name string) *quotaHost {
	h := &quotaHost{host: inet.Host(name)}
	h.host.NoTLS()
	h.host.Quota(smtptest.ByAddress, quotaMessages, quotaPeriod, nil)
	h.port = bridgeBy(t, func(ctx context.Context) (net.Conn, error) {
		conn, err := inet.DialContext(ctx, "tcp", name+":25")
		if err != nil {
			return nil, err
		}
		return &quotaConn{Conn: conn, host: h}, nil
	})
	return h
}

// quotaConn counts the refusals among the replies.
type quotaConn struct {
	net.Conn
	host *quotaHost
	line []byte
}

func (c *quotaConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	for _, b := range p[:n] {
		if c.line = append(c.line, b); b == '\n' {
			if bytes.HasPrefix(c.line, []byte("421 4.7.28")) {
				c.host.refused.Add(1)
			}
			c.line = c.line[:0]
		}
	}
	return n, err
}

// figures returns how many messages were accepted, and what part of the attempts was refused, in percent.
func (h *quotaHost) figures() (accepted int, refused float64) {
	accepted = len(h.host.Messages())
	n := float64(h.refused.Load())
	return accepted, 100 * n / max(float64(accepted)+n, 1)
}

// TestHalfHour has a Relay as it is by default beside three Postfixes, each with more mail than its host takes: 60
// messages in any ten minutes. The Postfixes that don't know the quota try again and again: they use all of it, and have
// four of five attempts refused. The Relay has a tenth of their refusals at most, all of them while it learns. That
// costs it a part of the quota of the first half-hour: both figures are in the log. The test runs if POSTRIDER_HALFHOUR
// is set, to "1" or to the time to run for.
func TestHalfHour(t *testing.T) {
	length := 30 * time.Minute
	switch set := os.Getenv("POSTRIDER_HALFHOUR"); set {
	case "":
		t.Skip("POSTRIDER_HALFHOUR isn't set: it takes half an hour")
	case "1":
	default:
		var err error
		if length, err = time.ParseDuration(set); err != nil {
			t.Fatal(err)
		}
	}
	needRoot(t)
	need(t, "postfix")
	inet := smtptest.NewNetwork(t)
	ours := newQuotaHost(t, inet, "relay.last.test")
	route, err := mx.Smarthost("127.0.0.1:" + ours.port)
	if err != nil {
		t.Fatal(err)
	}
	route.TLS = mx.TLSNone
	relay := &postrider.Relay{Routes: map[string]mx.Route{"*": route}}
	serveRelay(t, relay)
	hosts := make([]*quotaHost, len(quotaPostfixes))
	var started sync.WaitGroup
	for i, p := range quotaPostfixes {
		hosts[i] = newQuotaHost(t, inet, fmt.Sprintf("postfix%d.last.test", i))
		dir, port := serverDir(t, "quota"), freePort(t)
		main := configured(quotaMain, "@dir@", dir, "@port@", hosts[i].port) + p.lines
		startPostfix(t, dir, main, "127.0.0.1:"+port+" inet n - n - - smtpd")
		waitPort(t, port)
		t.Cleanup(func() {
			left, _ := filepath.Glob(filepath.Join(dir, "queue", "deferred", "*", "*"))
			t.Logf("Postfix %s: %d messages deferred at the end", p.name, len(left))
		})
		started.Go(func() {
			if err := submitMany("127.0.0.1:"+port, quotaBacklog); err != nil {
				t.Errorf("Postfix %s: %v", p.name, err)
			}
		})
	}
	for i := range quotaBacklog {
		env := smtp.NewEnvelope("ann@source.test", fmt.Sprintf("b%d@last.test", i))
		if _, err := relay.Send(t.Context(), env, strings.NewReader(letter("Hello.\r\n"))); err != nil {
			t.Fatal(err)
		}
	}
	started.Wait()
	allowed := quotaMessages * max(length.Seconds()/quotaPeriod.Seconds(), 1)
	show := func(name string, h *quotaHost) (accepted int, refused float64) {
		accepted, refused = h.figures()
		t.Logf("%s: %d accepted, %.0f %% of the quota; %d refused, %.1f %% of the attempts", name, accepted,
			100*float64(accepted)/allowed, h.refused.Load(), refused)
		return accepted, refused
	}
	for begun := time.Now(); time.Since(begun) < length; {
		time.Sleep(min(quotaPeriod/2, length-time.Since(begun)))
		t.Logf("after %v:", time.Since(begun).Round(time.Second))
		show("the Relay", ours)
		for i, p := range quotaPostfixes {
			show("Postfix "+p.name, hosts[i])
		}
	}
	if length < 30*time.Minute {
		return
	}
	accepted, refused := ours.figures()
	if part := 100 * float64(accepted) / allowed; part < 70 || refused > 10 {
		t.Errorf("the Relay: got %.0f %% of the quota used and %.1f %% refused, want 70 %% and 10 %%", part, refused)
	}
	for i, p := range quotaPostfixes[:2] {
		if n := hosts[i].refused.Load(); ours.refused.Load() > n/10 {
			t.Errorf("the Relay: got %d refused, want a tenth at most of those of Postfix %s: %d", ours.refused.Load(), p.name, n)
		}
	}
}

// submitMany hands mails to a host in one session.
func submitMany(addr string, n int) error {
	c, err := netsmtp.Dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	for i := range n {
		if err := c.Mail("ann@source.test"); err != nil {
			return err
		}
		if err := c.Rcpt(fmt.Sprintf("b%d@last.test", i)); err != nil {
			return err
		}
		w, err := c.Data()
		if err != nil {
			return err
		}
		fmt.Fprint(w, letter("Hello.\r\n"))
		if err := w.Close(); err != nil {
			return err
		}
	}
	return c.Quit()
}
