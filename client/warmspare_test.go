package client

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// lockedCounts fails the test if Add is called while the pool is locked.
type lockedCounts struct {
	t   *testing.T
	tr  *Transport
	sum int
}

func (c *lockedCounts) Add(_, _ string, _ int, n int) (int, error) {
	if !c.tr.pool.mu.TryLock() {
		c.t.Error("WarmCounts.Add is called while the pool is locked")
	} else {
		c.tr.pool.mu.Unlock()
	}
	c.sum += n
	return c.sum, nil
}

// TestWarmSpare: a source that many sites refuse, and whose plan has no room, is connected from once at most for each
// message, and isn't used.
func TestWarmSpare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("example.net", "mx.example.net")
		tr := &Transport{
			Hostname: "relay.test", Router: &mx.Router{Resolver: inet}, DialContext: inet.DialContext,
			Sources:      []Source{{Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.50")}, WarmUp: &WarmUp{Start: time.Now(), Days: []int{1}}}},
			SourceHealth: SourceHealth{Sites: 1},
		}
		counts := &lockedCounts{t: t, tr: tr}
		tr.WarmCounts = counts
		defer tr.Close()
		send := func(to string) smtp.Result {
			results, _ := tr.Send(t.Context(), smtp.NewEnvelope("ann@example.com", to), smtp.Text("Subject: x\n\nx\n"))
			return results[0]
		}
		if got := send("bob@example.net"); got.Outcome != smtp.Delivered {
			t.Fatalf("got %v, want the first message delivered", got)
		}
		tr.faulty(sourceAddr{&tr.Sources[0], tr.Sources[0].Addrs[0]}, RefusedBySites, errors.New("listed"))
		before := host.Sessions()
		got := send("bob@example.net")
		if got.Outcome != smtp.Deferred || !strings.Contains(got.Reply.Error(), "warm-up") {
			t.Errorf("got %v, want the second one deferred by the plan", got)
		}
		if n := host.Sessions() - before; n > 1 {
			t.Errorf("got %d connections for it, want 1 at most", n)
		}
	})
}
