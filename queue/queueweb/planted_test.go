package queueweb_test

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/bounce/suppress"
	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/client/dkim"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/mx/dane"
	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/queue/queueweb"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// planted is a relay with one reason why its mail isn't delivered.
type planted struct {
	t     *testing.T
	inet  *smtptest.Network
	host  *smtptest.Host // of next.test
	relay *postrider.Relay
	web   *queueweb.Handler
}

// send stores a message, and returns its ID.
func (p *planted) send(from, to string, change ...func(*queue.Message)) queue.ID {
	p.t.Helper()
	m, err := p.relay.Prepare(p.t.Context(), smtp.NewEnvelope(from, to), strings.NewReader("Subject: hello\r\n\r\nHello.\r\n"))
	if err != nil {
		p.t.Fatal(err)
	}
	for _, f := range change {
		f(&m)
	}
	id, err := p.relay.Enqueue(p.t.Context(), m)
	if err != nil {
		p.t.Fatal(err)
	}
	return id
}

// smarthost sends all mail by a route that has a login.
func (p *planted) smarthost(addr string, auth *client.Credentials) {
	route, err := mx.Smarthost(addr)
	if err != nil {
		p.t.Fatal(err)
	}
	route.Auth, route.TLS = auth, mx.TLSRequired
	p.relay.Transport.TLSConfig = &tls.Config{RootCAs: p.inet.RootCAs()}
	p.relay.Routes = map[string]mx.Route{"*": route}
}

func (p *planted) runner() *delivery.Runner { return p.relay.Runner }

// mail stores a message from Ann to Bob, and lets a minute pass.
func (p *planted) mail() queue.ID {
	id := p.send("ann@source.test", "bob@next.test")
	time.Sleep(time.Minute)
	return id
}

// get returns a page. With POSTRIDER_PAGES set to a directory, it is written there too, to be looked at.
func (p *planted) get(target string) string {
	p.t.Helper()
	w := httptest.NewRecorder()
	p.web.ServeHTTP(w, httptest.NewRequest("GET", "/"+target, nil))
	if dir := os.Getenv("POSTRIDER_PAGES"); dir != "" {
		name, _, _ := strings.Cut(target, "?")
		name = strings.NewReplacer("/", "-", " ", "-").Replace(p.t.Name() + "-" + name)
		if err := os.WriteFile(filepath.Join(dir, name+".html"), w.Body.Bytes(), 0o666); err != nil {
			p.t.Fatal(err)
		}
	}
	return w.Body.String()
}

// page returns the page of a message as a reader sees it: its text, without the markup.
func (p *planted) page(id queue.ID) string {
	p.t.Helper()
	p.get("sites")
	p.get("")
	_, main, _ := strings.Cut(p.get("message?id="+string(id)), "<main")
	_, main, _ = strings.Cut(main, ">")
	text := regexp.MustCompile(`</?(p|h1|h2|h3|div|li|section|dl|ol|ul)\b[^>]*>`).ReplaceAllString(main, "\n")
	text = html.UnescapeString(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(text, ""))
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' }), "\n")
}

var allowAll = func(*http.Request) (string, error) { return "ann", nil }

// TestPlanted: a mail isn't delivered, each time for another cause. The page of the message says which one.
func TestPlanted(t *testing.T) {
	ip := netip.MustParseAddr
	tests := []struct {
		name  string
		relay func(p *planted) // sets fields
		plant func(p *planted) queue.ID
		want  []string // that are on the page
	}{
		{name: "greylisted", want: []string{
			`It was deferred: 451 4.7.1 greylisted`,
			`Nothing has to be done.`,
			`Last tried 2000-01-01 00:00:00 UTC (1 min ago).`,
			`Tried again 2000-01-01 00:0`,
		}, plant: func(p *planted) queue.ID {
			p.host.Greylist(10 * time.Minute)
			return p.mail()
		}},
		{name: "mailbox full", want: []string{
			`452 4.2.2 mailbox full`,
			`Only the recipient can make room.`,
			`Last tried 2000`,
			`Tried again 2000`,
			`Given up`,
		}, plant: func(p *planted) queue.ID {
			p.host.Reject("bob@next.test", smtp.NewReply(452, "4.2.2", "mailbox full"))
			return p.mail()
		}},
		{name: "blocklisted", want: []string{
			`listed at zen.spamhaus.org`,
			`ask to be removed`,
			`Tried again 2000`,
		}, plant: func(p *planted) queue.ID {
			p.host.Answer(smtp.StageMail, smtp.NewReply(451, "4.7.1", "192.0.2.9 is listed at zen.spamhaus.org"))
			return p.mail()
		}},
		{name: "no such domain", want: []string{
			`It couldn't be delivered, and won't be tried again: 550 5.1.2 the domain nowhere.test has neither MX`,
			`Check the spelling of the address.`,
			`A report to the sender was put into the queue.`,
		}, plant: func(p *planted) queue.ID {
			id := p.send("ann@source.test", "bob@nowhere.test")
			time.Sleep(time.Minute)
			return id
		}},
		{name: "null MX", want: []string{
			`null.test does not take mail: it has a null MX`,
			`don't write to it again`,
			`A report to the sender was put into the queue.`,
		}, plant: func(p *planted) queue.ID {
			p.inet.NullMX("null.test")
			id := p.send("ann@source.test", "bob@null.test")
			time.Sleep(time.Minute)
			return id
		}},
		{name: "DNS down", want: []string{
			`cannot look up the MX of next.test`,
			`Check the name servers of this machine.`,
			`Tried again 2000`,
		}, plant: func(p *planted) queue.ID {
			p.inet.FailDNS("next.test", smtptest.ServFail)
			return p.mail()
		}},
		{name: "host down", want: []string{
			`Its site mx.next.test is down: 451 4.4.1 connect: connection refused`,
			`Check the network of this machine`,
			`A flush tries one now.`,
			`Since 2000-01-01 00:00:00`,
			`Until 2000`,
		}, plant: func(p *planted) queue.ID {
			p.host.Down()
			for i := range 8 {
				p.send("ann@source.test", fmt.Sprintf("u%d@next.test", i))
			}
			return p.mail()
		}},
		{name: "host doesn't answer", want: []string{
			`451 4.4.1 the host did not answer in time`,
			`Check the network of this machine`,
			`Last tried 2000`,
			`Tried again 2000`,
		}, plant: func(p *planted) queue.ID {
			p.host.Hang()
			id := p.mail()
			time.Sleep(10 * time.Minute)
			return id
		}},
		{name: "DANE", want: []string{
			`the certificate matches none of the host's TLSA records`,
			`demanded by DANE`,
			`Those who run the recipient's domain have to correct`,
			`Tried again 2000`,
		}, relay: func(p *planted) {
			p.relay.Transport.Policies = []mx.Policy{dane.Policy{}}
		}, plant: func(p *planted) queue.ID {
			p.inet.Sign("next.test")
			p.inet.TLSA("_25._tcp.mx.next.test", dns.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: make([]byte, 32)})
			return p.mail()
		}},
		{name: "DANE, no STARTTLS", want: []string{
			`the host doesn't offer STARTTLS, and TLS is required`,
			`demanded by DANE`,
			`Tried again 2000`,
		}, relay: func(p *planted) {
			p.relay.Transport.Policies = []mx.Policy{dane.Policy{}}
		}, plant: func(p *planted) queue.ID {
			p.inet.Sign("next.test")
			p.host.NoTLS()
			p.inet.TLSA("_25._tcp.mx.next.test", dns.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: make([]byte, 32)})
			return p.mail()
		}},
		{name: "REQUIRETLS", want: []string{
			`won't be tried again: 550 5.7.10 REQUIRETLS`,
			`Send the message without it`,
			`A report to the sender was put into the queue.`,
		}, plant: func(p *planted) queue.ID {
			id := p.send("ann@source.test", "bob@next.test", func(m *queue.Message) { m.Envelope.RequireTLS = true })
			time.Sleep(time.Minute)
			return id
		}},
		{name: "learned rate", want: []string{
			`mx.next.test has refused mail from our address because of the rate. Nothing is sent until 2000-01-01 00:05:00 UTC.`,
			`The Runner has learned this from refusals`,
			`Until 2000-01-01 00:05:00`,
		}, plant: func(p *planted) queue.ID {
			p.host.Quota(smtptest.ByAddress, 5, time.Hour, nil)
			for range 8 {
				p.send("ann@source.test", "bob@next.test")
			}
			time.Sleep(time.Minute)
			return p.mail()
		}},
		{name: "rate of the site", want: []string{
			`Its site mx.next.test has reached its rate: 1 per hour.`,
			`The program sets this rate.`,
			`Until 2000-01-01 00:59:59`,
		}, relay: func(p *planted) {
			p.relay.Limits = map[string]delivery.SiteLimits{"next.test": {Rate: delivery.Rate{Messages: 1, Per: time.Hour}}}
		}, plant: func(p *planted) queue.ID {
			p.send("ann@source.test", "bob@next.test")
			time.Sleep(time.Second)
			return p.mail()
		}},
		{name: "rate of the tenant", want: []string{
			`The tenant shop has reached its rate: 1 per hour.`,
			`less mail of the tenant`,
			`Until 2000-01-01 01:00:00`,
		}, relay: func(p *planted) {
			p.relay.Runner.TenantFor = func(string) delivery.Rate { return delivery.Rate{Messages: 1, Per: time.Hour} }
		}, plant: func(p *planted) queue.ID {
			shop := func(m *queue.Message) { m.Tenant = "shop" }
			p.send("ann@source.test", "bob@next.test", shop)
			time.Sleep(time.Second)
			id := p.send("ann@source.test", "bob@next.test", shop)
			time.Sleep(time.Minute)
			return id
		}},
		{name: "suspended", want: []string{
			`Delivery to next.test is suspended.`,
			`Resume it to have mail sent`,
			`Until 2000-01-01 01:00:00`,
			`Resume…`,
		}, plant: func(p *planted) queue.ID {
			p.runner().Suspend(time.Now().Add(time.Hour), "next.test")
			return p.mail()
		}},
		{name: "held", want: []string{
			`It is held until it is released.`,
			`Release it to have it sent, or remove it.`,
		}, plant: func(p *planted) queue.ID {
			id := p.send("ann@source.test", "bob@next.test", func(m *queue.Message) { m.Held = true })
			time.Sleep(time.Minute)
			return id
		}},
		{name: "held by an operator", want: []string{
			`It is held until it is released. The reason: ticket 4711.`,
			`Release it to have it sent, or remove it.`,
		}, plant: func(p *planted) queue.ID {
			id := p.send("ann@source.test", "bob@next.test", func(m *queue.Message) { m.NotBefore = time.Now().Add(time.Hour) })
			if n, err := p.runner().HoldFor(context.Background(), queue.Filter{ID: id}, "ticket 4711"); n != 1 || err != nil {
				p.t.Errorf("got %d and %v, want it held", n, err)
			}
			time.Sleep(time.Minute)
			return id
		}},
		{name: "held with a reason", want: []string{
			`It is held until it is released. The reason: a first mail of a new customer.`,
			`Release it to have it sent, or remove it.`,
		}, plant: func(p *planted) queue.ID {
			id := p.send("ann@source.test", "bob@next.test", func(m *queue.Message) {
				m.Held, m.HeldFor = true, "a first mail of a new customer"
			})
			time.Sleep(time.Minute)
			return id
		}},
		{name: "warm-up", want: []string{
			`the warm-up of source 198.51.100.1 has sent the messages of day 1, at most 1,`,
			`its warm-up plan is used up for the day`,
			`Until 2000-01-02 00:00:00`,
		}, relay: func(p *planted) {
			p.relay.Transport.Sources = []client.Source{{Addrs: []netip.Addr{ip("198.51.100.1")},
				WarmUp: &client.WarmUp{Start: time.Now(), Days: []int{1, 2, 3}}}}
		}, plant: func(p *planted) queue.ID {
			p.send("ann@source.test", "bob@next.test")
			time.Sleep(time.Minute)
			return p.mail()
		}},
		{name: "smarthost, wrong password", want: []string{
			`It was deferred: 535`,
			`Check the name and the password`,
			`Tried again 2000`,
		}, relay: func(p *planted) {
			p.smarthost("mx.next.test:587", &client.Credentials{Username: "ann", Password: "wrong"})
		}, plant: func(p *planted) queue.ID {
			p.host.Auth("ann", "right")
			return p.mail()
		}},
		{name: "smarthost, no AUTH", want: []string{
			`It was deferred: 451 4.7.0 the host offers no AUTH`,
			`many hosts offer AUTH at the ports 587 and 465 only`,
			`mx.next.test`,
			`Tried again 2000`,
		}, relay: func(p *planted) {
			p.smarthost("mx.next.test:25", &client.Credentials{Username: "ann", Password: "right"})
		}, plant: func(p *planted) queue.ID {
			return p.mail()
		}},
		{name: "smarthost, wrong port", want: []string{
			`451 4.4.1 connect: connection refused`,
			`can't be reached at port 2587. Check the host and the port of the route to it`,
			`mx.next.test`,
			`Tried again 2000`,
		}, relay: func(p *planted) {
			p.smarthost("mx.next.test:2587", &client.Credentials{Username: "ann", Password: "right"})
		}, plant: func(p *planted) queue.ID {
			return p.mail()
		}},
		{name: "too big", want: []string{
			`the message has 155 octets, and the host takes 10`,
			`Send a smaller one.`,
			`A report to the sender was put into the queue.`,
		}, plant: func(p *planted) queue.ID {
			p.host.MaxSize(10)
			return p.mail()
		}},
		{name: "SMTPUTF8", want: []string{
			`the address is UTF-8, and the host takes ASCII only`,
			`Change what made the message.`,
		}, plant: func(p *planted) queue.ID {
			p.host.Without("SMTPUTF8")
			id := p.send("ann@source.test", "bób@next.test")
			time.Sleep(time.Minute)
			return id
		}},
		{name: "suppressed", want: []string{
			`the address is suppressed`,
			`remove it there`,
		}, relay: func(p *planted) {
			list := new(suppress.Memory)
			p.relay.Suppress = &suppress.Policy{List: list}
		}, plant: func(p *planted) queue.ID {
			id := p.send("ann@source.test", "bob@next.test", func(m *queue.Message) { m.NotBefore = time.Now().Add(time.Minute) })
			p.relay.Suppress.List.Add(p.t.Context(), suppress.Entry{Key: suppress.Key{Address: "bob@next.test"}, Reason: smtp.UserUnknown})
			time.Sleep(2 * time.Minute)
			return id
		}},
		{name: "NotBefore", want: []string{
			`It is scheduled for later.`,
			`has asked for that time`,
			`Until 2000-01-02 00:00:00`,
		}, plant: func(p *planted) queue.ID {
			id := p.send("ann@source.test", "bob@next.test", func(m *queue.Message) { m.Postpone(time.Now().Add(24 * time.Hour)) })
			time.Sleep(time.Minute)
			return id
		}},
		{name: "halted", want: []string{
			`the queue can't record what becomes of messages: write /var/spool/mail/1.seg: no space left on device`,
			`Its disk may be full`,
		}, relay: func(p *planted) {
			p.relay.Queue = &forgetful{Queue: p.relay.Queue.(*mem.Queue)}
		}, plant: func(p *planted) queue.ID {
			for i := range 8 {
				p.send("ann@source.test", fmt.Sprintf("u%d@next.test", i))
			}
			time.Sleep(10 * time.Minute)
			return p.mail()
		}},
		{name: "connection limit", want: []string{
			`Its site mx.next.test gets no more messages at a time than 1 now.`,
			`It is sent when one of them has ended.`,
		}, relay: func(p *planted) {
			p.relay.Limits = map[string]delivery.SiteLimits{"next.test": {Concurrency: 1}}
		}, plant: func(p *planted) queue.ID {
			p.host.StallAt(smtp.StageFinal)
			p.send("ann@source.test", "bob@next.test")
			time.Sleep(time.Second)
			return p.mail()
		}},
		{name: "too many connections", want: []string{
			`Its site mx.next.test is down: 421 4.7.0 too many sessions`,
			`send less, or from more addresses`,
			`Until 2000`,
		}, plant: func(p *planted) queue.ID {
			p.host.MaxSessions(0+1, nil)
			p.host.StallAt(smtp.StageFinal)
			for i := range 8 {
				p.send("ann@source.test", fmt.Sprintf("u%d@next.test", i))
			}
			return p.mail()
		}},
		{name: "proxy down", want: []string{
			`no source address can be used: proxy-down (1)`,
			`its proxy can't be reached`,
			`Tried again 2000`,
		}, relay: func(p *planted) {
			p.relay.Transport.Sources = []client.Source{{Addrs: []netip.Addr{ip("198.51.100.1")},
				Proxy: &client.Proxy{Addr: netip.MustParseAddrPort("192.0.2.77:1080")}}}
		}, plant: func(p *planted) queue.ID {
			return p.mail()
		}},
		{name: "report", want: []string{
			`Report about`,
			`It was deferred: 451 4.3.2 out to lunch`,
			`Tried again 2000`,
		}, plant: func(p *planted) queue.ID {
			source := p.inet.MX("source.test", "mx.source.test")
			source.Answer(smtp.StageMail, smtp.NewReply(451, "4.3.2", "out to lunch"))
			p.host.Reject("bob@next.test", nil)
			p.mail()
			for task, err := range p.relay.Queue.(queue.Lister).List(p.t.Context(), queue.Filter{}) {
				if err != nil {
					p.t.Fatal(err)
				}
				return task.ID
			}
			p.t.Fatal("there is no report")
			return ""
		}},
		{name: "report that can't be composed", want: []string{
			`Its report couldn't be composed or stored`,
			`Look in the log for the error.`,
			`Tried again 2000-01-01 00:05:00`,
		}, relay: func(p *planted) {
			p.relay.Runner.Report = func(context.Context, delivery.Occasion) ([]queue.Message, error) {
				return nil, fmt.Errorf("no template")
			}
		}, plant: func(p *planted) queue.ID {
			p.host.Reject("bob@next.test", nil)
			return p.mail()
		}},
		{name: "expired signature key", want: []string{
			`451 4.7.5 the message can't be signed now: the key of source.test has expired`,
			`Check the keys of the signer and when they expire.`,
			`Tried again 2000`,
		}, relay: func(p *planted) {
			_, key, err := ed25519.GenerateKey(nil)
			if err != nil {
				p.t.Fatal(err)
			}
			k := dkim.Key{Domain: "source.test", Selector: "old", Private: key, NotAfter: time.Now().Add(time.Minute)}
			record, err := k.Record()
			if err != nil {
				p.t.Fatal(err)
			}
			p.inet.TXT(k.Name(), record)
			signer := &dkim.Signer{Resolver: p.inet, Keys: []dkim.Key{k}}
			p.relay.Wrap = signer.Wrap
		}, plant: func(p *planted) queue.ID {
			time.Sleep(time.Hour)
			id := p.send("ann@source.test", "bob@next.test", func(m *queue.Message) {
				m.Body = strings.NewReader("From: ann@source.test\r\nSubject: hello\r\n\r\nHello.\r\n")
			})
			time.Sleep(time.Minute)
			return id
		}},
		{name: "the process ends with it", want: []string{
			`It is quarantined: the process has ended 3 times while it had the task.`,
			`Look in the log for what ended the process. Release it for another attempt, or remove it.`,
			`quarantined`,
		}, plant: func(p *planted) queue.ID {
			m := queue.Import{Body: strings.NewReader("Subject: hello\r\n\r\nHello.\r\n"), Tasks: []queue.Task{{
				Destination: "next.test", Envelope: smtp.NewEnvelope("ann@source.test", "bob@next.test"),
				Last: make([]smtp.Result, 1), Arrival: time.Now(), Due: time.Now(), Attempts: 3, Deaths: 3,
			}}}
			id, _, err := p.relay.Queue.(queue.Importer).Import(p.t.Context(), m)
			if err != nil {
				p.t.Fatal(err)
			}
			time.Sleep(time.Minute)
			return id
		}},
		{name: "no runner", want: []string{
			`No Runner is running, so nothing is sent.`,
			`Start the program`,
		}, plant: func(p *planted) queue.ID {
			return p.mail()
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				p := &planted{t: t, inet: inet, host: inet.MX("next.test", "mx.next.test")}
				p.relay = &postrider.Relay{Hostname: "relay.test", Queue: mem.New(), Resolver: inet, DialContext: inet.DialContext,
					Transport: new(client.Transport), Runner: new(delivery.Runner)}
				p.web = &queueweb.Handler{Runner: p.relay.Runner, Authorize: allowAll}
				p.relay.Events = p.web.Events()
				defer p.web.Close()
				if tt.relay != nil {
					tt.relay(p)
				}
				if err := p.relay.Check(t.Context()); err != nil {
					t.Fatal(err)
				}
				if tt.name != "no runner" {
					inet.Go(p.relay.Run)
				}
				page := p.page(tt.plant(p))
				for _, want := range tt.want {
					if !strings.Contains(page, want) {
						t.Errorf("the page lacks %q:\n%s", want, page)
					}
				}
			})
		})
	}
}

// forgetful is a queue that can't record what happened.
type forgetful struct{ *mem.Queue }

func (forgetful) Settle(context.Context, queue.Lease, queue.Settlement) error {
	return fmt.Errorf("write /var/spool/mail/1.seg: no space left on device")
}
