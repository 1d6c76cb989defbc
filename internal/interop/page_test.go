package interop

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/queue/queueweb"
	"github.com/postrider/postrider/smtp"
)

const bulkMessages = 100_000

// attack is in every field of a mail and of a reply.
const attack = `<script>document.title="taken"</script><img src="http://evil.test/x" onerror="document.title='taken'">` +
	`"><iframe src="http://evil.test/y"></iframe>` + "\u202E\x1b[31m"

// pagesOf starts a Runner with mail of many kinds, and serves its page. It returns the ID of the message of the attack.
func pagesOf(t *testing.T) (q *mem.Queue, runner *delivery.Runner, base string, hostile queue.ID) {
	t.Helper()
	q = mem.New()
	put := func(destination string, m queue.Message) queue.ID {
		for range m.Envelope.Recipients {
			m.Destinations = append(m.Destinations, destination)
		}
		m.Body = strings.NewReader("Subject: hello\r\n\r\n" + attack + "\r\n")
		id, err := q.Enqueue(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	for i := range bulkMessages {
		put("bulk.test", queue.Message{Envelope: smtp.NewEnvelope("news@example.com", fmt.Sprintf("user%d@bulk.test", i)), Tenant: "news"})
	}
	hostile = put("grey.test", queue.Message{
		Envelope: &smtp.Envelope{From: attack + "@example.com", Recipients: []smtp.Recipient{{Address: attack + "@grey.test"}}},
		Ref:      attack, Tenant: attack,
	})
	put("grey.test", queue.Message{Envelope: smtp.NewEnvelope("ann@example.com", "bob@grey.test"), Ref: "order-17"})
	for i := range 20 {
		put("good.test", queue.Message{Envelope: smtp.NewEnvelope("ann@example.com", fmt.Sprintf("user%d@good.test", i))})
		put("dead.test", queue.Message{Envelope: smtp.NewEnvelope("ann@example.com", fmt.Sprintf("user%d@dead.test", i))})
	}
	runner = &delivery.Runner{Queue: q, Site: delivery.SiteLimits{Rate: delivery.Rate{Messages: 6000, Per: time.Minute}}}
	runner.Sender = smtp.SenderFunc(func(_ context.Context, env *smtp.Envelope, _ smtp.Content) ([]smtp.Result, error) {
		address := env.Recipients[0].Address
		domain := address[strings.LastIndex(address, "@")+1:] // of the attack, too
		res := smtp.Result{Outcome: smtp.Deferred, Host: "mx." + domain, Addr: "192.0.2.1:25", TLS: "TLS 1.3", Stage: smtp.StageRcpt}
		switch domain {
		case "good.test":
			res.Outcome, res.Reply, res.Stage = smtp.Delivered, smtp.NewReply(250, "2.0.0", "queued"), smtp.StageFinal
		case "grey.test":
			res.Reply, res.Reason = &smtp.Reply{Code: 451, Text: "come again " + attack}, smtp.Greylisted
			res.Host, res.Policy = attack, attack
		default:
			res.Reply, res.Reason, res.Local = smtp.NewReply(451, "4.4.1", "connection refused"), smtp.Network, true
			res.Stage, res.TLS = smtp.StageRoute, ""
		}
		return []smtp.Result{res}, nil
	})
	web := &queueweb.Handler{Runner: runner, Authorize: func(*http.Request) (string, error) { return "ann", nil }, ShowSource: true}
	runner.Events = web.Events()
	runner.Suspend(time.Now().Add(time.Hour), "bulk.test")
	s := httptest.NewServer(web)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- runner.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		s.Close()
		web.Close()
	})
	eventually(t, "the mail to the small sites was tried", func() bool {
		stats, _ := q.Stats(t.Context())
		down := slices.ContainsFunc(runner.Activity().Sites, func(s delivery.SiteActivity) bool { return !s.DownUntil.IsZero() })
		return stats.Messages == bulkMessages+22 && down
	})
	return q, runner, s.URL + "/", hostile
}

// axe is the accessibility checker, if it is installed.
func axe(t *testing.T) string {
	b, err := os.ReadFile("/usr/local/lib/postrider-interop/axe-core/node_modules/axe-core/axe.min.js")
	if err != nil {
		missing(t, "axe-core isn't installed")
	}
	return string(b)
}

// TestPage has a browser look at each page of a relay with 100,000 queued messages, as wide as a screen and as narrow as
// a phone, light and dark: nothing of a mail or a reply does anything, nothing is loaded from elsewhere, nothing is wider
// than the window, and axe finds nothing serious.
func TestPage(t *testing.T) {
	needChromium(t)
	checker := axe(t)
	_, _, base, hostile := pagesOf(t)
	b := startChromium(t)
	counts := 0
	for counts == 0 {
		b.open(base)
		b.eval("document.querySelectorAll('.shape').length", &counts)
	}
	for name, target := range map[string]string{
		"queue": "", "messages": "messages", "found": "messages?sender=ann@example.com", "story": "message?id=" + string(hostile),
		"sites": "sites", "confirm": "act?do=cancel&ref=order-17", "suspend": "act?do=suspend&name=dead.test",
		"source": "source?id=" + string(hostile), "error": "message?id=none",
		"hostile": "messages?" + url.Values{"tenant": {attack}}.Encode(),
		"wrong":   "act?" + url.Values{"do": {attack}}.Encode(),
	} {
		b.open(base + target)
		for _, width := range []int{1280, 390} {
			for _, scheme := range []string{"light", "dark"} {
				b.look(width, scheme)
				b.shoot(fmt.Sprintf("%s-%d-%s", name, width, scheme))
				var wide int
				if b.eval("document.documentElement.scrollWidth", &wide); wide > width {
					t.Errorf("%s is %d pixels wide in a window of %d", name, wide, width)
				}
				if (width == 390) != (scheme == "dark") {
					continue // axe takes long, and finds the same in two of the four
				}
				var found []string
				b.eval(checker+`; axe.run().then(r => r.violations.filter(v => v.impact != "minor")
					.map(v => v.id + ": " + v.impact + ": " + v.help + ": " + v.nodes.slice(0, 3).map(n => n.html).join(" ")))`, &found)
				for _, f := range found {
					t.Errorf("%s at %d, %s: axe finds %s", name, width, scheme, f)
				}
			}
		}
		var title string
		var intruders int
		b.eval("document.title", &title)
		b.eval("document.querySelectorAll('img, iframe, script, object, embed, style').length", &intruders)
		if strings.Contains(title, "taken") || intruders > 0 {
			t.Errorf("%s: title %q, %d elements that aren't ours", name, title, intruders)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, u := range b.requests {
		if !strings.HasPrefix(u, base) {
			t.Errorf("the page has asked for %.100s", u)
		}
	}
}

// TestPageActions has a browser do each action on a relay with 100,000 queued messages, from a page to its effect.
func TestPageActions(t *testing.T) {
	needChromium(t)
	q, runner, base, _ := pagesOf(t)
	b := startChromium(t)
	held := func() int { stats, _ := q.Stats(t.Context()); return stats.Held }
	messages := func() int { stats, _ := q.Stats(t.Context()); return stats.Messages }
	for _, step := range []struct {
		name, page string
		clicks     []string // up to the confirmation
		result     string
		done       func() bool
	}{
		{"hold all", "act?do=hold&all=true", nil, "100,022 messages were held.",
			func() bool { return held() == bulkMessages+22 }},
		{"release the news", "messages?tenant=news", []string{`a.button[href*="do=release"]`},
			"100,000 messages were released.", func() bool { return held() == 22 }},
		{"release one", "messages?ref=order-17", []string{".cards a", `a.button[href*="do=release"]`}, "1 message was released.",
			func() bool { return held() == 21 }},
		{"hold one", "messages?ref=order-17", []string{".cards a", `a.button[href*="do=hold"]`}, "1 message was held.",
			func() bool { return held() == 22 }},
		{"cancel one", "messages?ref=order-17", []string{".cards a", `a.button[href*="do=cancel"]`}, "1 message was cancelled.",
			func() bool { return messages() == bulkMessages+21 }},
		{"release the rest", "messages?state=held", []string{`a.button[href*="do=release"]`}, "21 messages were released.",
			func() bool { return held() == 0 }},
		{"flush a site that is down", "sites?find=dead.test", []string{`td a[href*="do=flush"]`}, "probed",
			func() bool { return true }},
		{"flush one", "messages?destination=grey.test", []string{".cards a", `a.button[href*="do=flush"]`},
			"1 message is due now", func() bool { return true }},
		{"suspend", "sites?find=dead.test", []string{`td a[href*="do=suspend"]`},
			"dead.test is suspended at the relay of this page.",
			func() bool { _, ok := runner.Suspended()["dead.test"]; return ok }},
		{"resume", "sites", []string{`.results a[href*="name=dead.test"]`},
			"Mail for dead.test is sent again by the relay of this page.",
			func() bool { _, ok := runner.Suspended()["dead.test"]; return !ok }},
		{"purge the news", "messages?tenant=news", []string{`a.button[href*="do=purge"]`},
			"100,000 messages were purged.", func() bool { return messages() == 21 }},
	} {
		b.open(base + step.page)
		for _, selector := range step.clicks {
			b.click(selector)
		}
		before := messages() + held()
		if text := b.text(); !strings.Contains(text, "Go back and change nothing") || messages()+held() != before {
			t.Fatalf("%s: no confirmation in %.300s", step.name, text)
		}
		b.click("button.act")
		if text := b.text(); !strings.Contains(text, step.result) || !step.done() {
			t.Fatalf("%s: got %.300s, want %q; done: %v", step.name, text, step.result, step.done())
		}
	}
}
