package plans

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// scene is a relay whose mail all goes to one domain, next.test, watched as time goes by. With POSTRIDER_DRAW=dir its picture is
// written there.
type scene struct {
	t       *testing.T
	inet    *smtptest.Network
	relay   *postrider.Relay
	hosts   []*smtptest.Host
	begun   time.Time
	sent    int
	samples []sample
	events  map[string]int
}

// sample is how things stand at a time.
type sample struct {
	at        time.Duration
	inFlight  int
	window    int
	backlog   int
	delivered int
	down      bool
}

func newScene(t *testing.T, hosts int, change ...func(*scene)) *scene {
	s := &scene{t: t, inet: smtptest.NewNetwork(t), begun: time.Now(), events: make(map[string]int)}
	for i := range hosts {
		h := s.inet.MX("next.test", fmt.Sprintf("mx%d.next.test", i+1))
		h.Slow(time.Second, smtp.StageFinal) // what it takes to take a message
		s.hosts = append(s.hosts, h)
	}
	s.relay = newRelay(s.inet)
	s.relay.DelayNotice = -1 // reports are other tests' matter
	count := func(name string) func(delivery.Event) { return func(delivery.Event) { s.events[name]++ } }
	s.relay.Events = delivery.Events{Buffer: 1 << 20, Attempted: count("attempted"), Deferred: count("deferred"), Expired: count("expired"), Rejected: count("rejected")}
	for _, f := range change {
		f(s)
	}
	s.inet.Go(s.relay.Run)
	return s
}

// send sends n messages, one each time that every has passed.
func (s *scene) send(n int, every time.Duration) {
	for range n {
		s.sent++
		mustSend(s.t, s.relay, "ann@source.test", fmt.Sprintf("bob%d@next.test", s.sent))
		if every > 0 {
			time.Sleep(every)
		}
	}
}

// watch takes samples for a time, and ends sooner when nothing is left.
func (s *scene) watch(d, every time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		if s.sample().backlog == 0 {
			return
		}
		time.Sleep(every)
	}
	synctest.Wait() // for the events
}

func (s *scene) sample() sample {
	synctest.Wait()
	now := sample{at: time.Since(s.begun), window: 5}
	for _, h := range s.hosts {
		now.delivered += len(h.Messages())
	}
	for _, site := range s.relay.Runner.Activity().Sites {
		if strings.Contains(site.Name, "next.test") {
			now.inFlight, now.window, now.down = site.InFlight, site.Window, !site.DownUntil.IsZero()
		}
	}
	stats, err := s.relay.Queue.(queue.Stater).Stats(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	now.backlog = stats.Tasks
	s.samples = append(s.samples, now)
	return now
}

// end checks that all of it arrived, once, and says after how long.
func (s *scene) end(name string) time.Duration {
	s.t.Helper()
	last := s.sample()
	if last.delivered != s.sent || last.backlog != 0 || s.events["expired"]+s.events["rejected"] > 0 {
		s.t.Errorf("got %d of %d delivered, %d left, events %v", last.delivered, s.sent, last.backlog, s.events)
	}
	s.draw(name)
	s.t.Logf("%d messages, %d attempts in %v", s.sent, s.events["attempted"], last.at)
	return last.at
}

// TestManySessions421 has a host that answers 421 above eight sessions: we find out and stay near that, without a stop.
func TestManySessions421(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, 1)
		s.hosts[0].MaxSessions(8, smtp.NewReply(421, "4.7.0", "too many sessions"))
		s.send(2000, 0)
		s.watch(time.Hour, time.Second)
		s.end("421-above-8-sessions")
		for _, x := range s.samples {
			if least := 1600 / 8 * time.Second; x.delivered >= 1600 {
				if x.at > least*11/10 {
					t.Errorf("four fifths took %v, want little more than %v", x.at, least)
				}
				break
			}
		}
		// A window of eight grows after eight successes at the soonest, and one session that is refused makes it eight
		// again. How many come later than that depends on who is first of what happens at one time.
		if n, most := s.events["deferred"], s.sent/8; n > most {
			t.Errorf("got %d refused sessions, want %d at most, one for eight messages", n, most)
		}
		for _, x := range s.samples {
			if x.down {
				t.Errorf("the site was down after %v", x.at)
				break
			}
		}
	})
}

// TestOneOfThree has one of three hosts behind a name dead: the others take it all, as fast as ever.
func TestOneOfThree(t *testing.T) {
	for name, change := range map[string]func(*scene){
		"hosts of a domain": func(*scene) {},
		"addresses of a host": func(s *scene) {
			all := shared{Network: s.inet}
			for _, h := range s.hosts {
				all.addrs = append(all.addrs, h.Addrs()...)
			}
			s.relay.Resolver = all
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t, 3, change)
				s.hosts[0].Down()
				s.send(2000, 0)
				s.watch(time.Hour, time.Second)
				took := s.end("one-of-three-" + strings.ReplaceAll(name, " ", "-"))
				if least := 2000 / 20 * time.Second; took > least*13/10 {
					t.Errorf("it took %v, want little more than %v", took, least)
				}
				if n := s.events["deferred"]; n > 0 {
					t.Errorf("got %d deferred, want none", n)
				}
			})
		})
	}
}

// shared is a DNS in which each domain has one MX host, which has all of these addresses.
type shared struct {
	*smtptest.Network
	addrs []netip.Addr
}

func (s shared) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	return []*net.MX{{Host: "mx." + name, Pref: 10}}, nil
}

func (s shared) LookupNetIP(ctx context.Context, network, name string) ([]netip.Addr, error) {
	return slices.Clone(s.addrs), nil
}

// TestGreylisted has a host that greylists for ten minutes: that isn't held against it.
func TestGreylisted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, 1)
		s.hosts[0].Greylist(10 * time.Minute)
		go s.send(600, 5*time.Second)
		time.Sleep(time.Minute)
		s.watch(3*time.Hour, 10*time.Second)
		s.end("greylisting")
		for _, m := range s.hosts[0].Messages() {
			if age := m.Time.Sub(s.begun) - time.Duration(number(m))*5*time.Second; age > 14*time.Minute {
				t.Errorf("%s came after %v, want it soon after ten minutes", m.Envelope.Recipients[0].Address, age)
				break
			}
		}
		for _, x := range s.samples {
			if x.down || x.window < 5 {
				t.Errorf("got %+v, want the site as it was", x)
				break
			}
		}
	})
}

// number is that of a message of send.
func number(m smtptest.Message) (n int) {
	fmt.Sscanf(m.Envelope.Recipients[0].Address, "bob%d@", &n)
	return n - 1
}

// TestOutage has a host that is dead for two days, while a message comes each minute. Little is tried meanwhile, and half an hour
// after it came back all of it is there.
func TestOutage(t *testing.T) {
	begin := time.Now()
	synctest.Test(t, func(t *testing.T) {
		const outage = 48 * time.Hour
		s := newScene(t, 1)
		s.hosts[0].Hang()
		go s.send(3000, time.Minute)
		s.watch(outage, 5*time.Minute)
		tried := s.events["attempted"]
		s.hosts[0].Up()
		up := time.Now()
		for s.sample().backlog > 20 && time.Since(up) < 24*time.Hour {
			time.Sleep(time.Minute)
		}
		took := time.Since(up)
		s.watch(24*time.Hour, 5*time.Minute)
		s.end("two-days-of-outage")
		if tried > 160 {
			t.Errorf("got %d attempts in two days, want a probe each twenty minutes and few more", tried)
		}
		// The next probe comes within 22 minutes.
		if took > 30*time.Minute {
			t.Errorf("it took %v until the backlog was gone, want 30 minutes at most", took)
		}
		t.Logf("%d attempts in the outage; the backlog was gone %v after it", tried, took)
	})
	t.Logf("it took %v of real time", time.Since(begin).Round(time.Millisecond))
}
