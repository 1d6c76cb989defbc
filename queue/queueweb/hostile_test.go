package queueweb

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/web"
	"github.com/postrider/postrider/internal/web/webtest"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/smtp"
)

// nasty is a text with a mark, so that it is known where it came from.
func nasty(mark string) string {
	return mark + `<script>alert(1)</script>"'><img src=x onerror=alert(1)>{{.}}` +
		"\u202Eevil\u2066\u200B\u00AD\x00\x1B[31m\x7F\r\nSet-Cookie: a=b\u2028\uFEFF\xFF\xC0a" +
		strings.Repeat("\u0301", 50) + "\U000E0041\u3164" + strings.Repeat("long", 300)
}

// checkPage checks that a page has no octet of nasty that does something, and that it isn't huge.
func checkPage(t *testing.T, name, page string) {
	t.Helper()
	// A field of a form and a link have the value as it is, in quotes: it is sent back.
	page = regexp.MustCompile(`(<input [^>]* value=|href=)"[^"]*"`).ReplaceAllStringFunc(page, func(s string) string {
		if url, ok := strings.CutPrefix(s, `href="`); ok && !strings.HasPrefix(url, "./") && !strings.HasPrefix(url, "?") &&
			!strings.HasPrefix(url, "#") {
			t.Errorf("%s has a link %s", name, s)
		}
		if strings.ContainsAny(s[strings.LastIndex(s, `="`)+2:], "<>") {
			t.Errorf("%s has %s", name, s)
		}
		return ""
	})
	var huge []string
	if !strings.HasPrefix(name, "source?") {
		huge = append(huge, strings.Repeat("long", 270))
	}
	webtest.Markup(t, name, page, huge...)
}

// TestHostile: every field of a mail and of a reply may be anything.
func TestHostile(t *testing.T) {
	h, q := newHandler(t)
	h.ShowSource = true
	addr := nasty("local") + "@example.net"
	env := &smtp.Envelope{From: nasty("from") + "@example.com", EnvID: nasty("envid"), Auth: nasty("auth")}
	for range 3 {
		env.Recipients = append(env.Recipients, smtp.Recipient{Address: addr, ORCPT: nasty("orcpt")})
	}
	destination := nasty("dest")
	id := enqueue(t, q, queue.Message{
		Envelope: env, Destinations: []string{destination, destination, destination}, Ref: nasty("ref"), Tenant: nasty("tenant"),
		FromDomain: nasty("fromdomain"), Body: strings.NewReader(nasty("subject") + "\r\n\r\n" + nasty("body")),
	})
	res := smtp.Result{
		Outcome: smtp.Deferred, Reply: &smtp.Reply{Code: 451, Text: nasty("reply")}, Host: nasty("host"), Addr: nasty("addr"),
		TLS: nasty("tls"), Policy: nasty("policy"), Reason: smtp.Greylisted, Stage: smtp.StageFinal,
	}
	next := time.Now().Add(time.Hour)
	for _, task := range settle(t, q, destination, res, next) {
		for _, r := range task.Last {
			h.Runner.Events.Deferred(delivery.Event{Time: time.Now(), Task: task, Result: r, Next: next})
		}
		h.Runner.Events.Reported(delivery.Event{Time: time.Now(), Task: task, Kind: nasty("kind"),
			Report: smtp.NewEnvelope("", nasty("reported"))})
	}
	h.Runner.Suspend(next, destination, nasty("site"))
	counted(t, h)
	checkNasty(t)

	n := url.QueryEscape(nasty("query"))
	for _, target := range []string{
		"?refresh=10", "?" + n + "=1", "messages", "messages?sender=" + n, "messages?older=" + n, "messages?state=" + n, "messages?after=" + n,
		"messages?" + url.Values{"sender": {env.From}}.Encode(), "message?id=" + string(id), "message?id=" + n,
		"source?id=" + string(id), "source?id=" + n, "sites", "sites?find=" + n, "act?do=" + n, "act?do=hold&id=" + string(id),
		"act?" + url.Values{"do": {"suspend"}, "name": {destination}}.Encode(), n + "?" + n,
		"act?" + url.Values{"do": {"cancel"}, "tenant": {nasty("tenant")}}.Encode(), n,
	} {
		w := get(h, target)
		page := w.Body.String()
		checkPage(t, target[:min(len(target), 40)], page)
		if w.Code >= 500 {
			t.Errorf("%.40s: got %d %s", target, w.Code, page)
		}
	}
	for _, do := range []string{"hold", "release", "suspend", "resume", "flush", "cancel"} {
		form := url.Values{"do": {do}, "text": {nasty("text")}}
		if do == "suspend" || do == "resume" || do == "flush" {
			form.Set("name", nasty("name"))
			form.Set("until", "1h")
		} else {
			form.Set("tenant", nasty("tenant"))
		}
		w := post(h, "act", form)
		checkPage(t, do, w.Body.String())
		if w.Code != 200 {
			t.Errorf("%s: got %d %s", do, w.Code, w.Body)
		}
	}
	var story messageView
	read(t, h, "message?format=json&id="+string(id), &story)
	if len(story.History) < 4 {
		t.Errorf("got %d events, want the attempts and the report", len(story.History))
	}
	var v any
	if err := json.Unmarshal(get(h, "messages?format=json").Body.Bytes(), &v); err != nil {
		t.Error(err)
	}
}

// checkNasty checks fields that can't come by way of the queue of the test.
func checkNasty(t *testing.T) {
	t.Helper()
	learned := delivery.LearnedRate{Site: nasty("site"), Of: "spf-domain", Name: nasty("of"), PerHour: 9, Used: time.Now()}
	site := delivery.SiteActivity{
		Name: nasty("site"), Rates: []delivery.LearnedRate{learned}, DownUntil: time.Now().Add(time.Hour),
		Result: smtp.Result{Reply: &smtp.Reply{Code: 421, Text: nasty("reply")}},
	}
	e := delivery.Explanation{
		Why: nasty("why"), Advice: nasty("advice"), Since: time.Now(), Rates: site.Rates, Site: site, Source: nasty("source"),
		Task: queue.Task{Destination: nasty("dest"), Envelope: smtp.NewEnvelope(nasty("from"), nasty("to"))},
	}
	suspended := map[string]time.Time{nasty("site"): time.Now().Add(time.Hour)}
	failure := past{What: "rejected", Recipient: nasty("to"), Reply: nasty("reply"), Host: nasty("host"), Advice: nasty("advice"),
		Policy: "dane:" + nasty("policy"), Kind: nasty("kind"), Time: time.Now()}
	for name, data := range map[string]any{
		"message":  &messageView{InQueue: true, Running: true, Tasks: []taskView{new(Handler).newTask(&e, suspended)}, History: []past{failure}},
		"message ": &messageView{Ends: ends([]past{failure}), Told: []string{nasty("kind")}, History: []past{failure}},
		"sites":    &sitesView{Sites: []siteView{newSite(&site, nil), newSite(&site, suspended)}},
		"overview": &overviewView{Runner: runnerView{Halted: nasty("halted"), Unrecorded: 1, Stuck: 1}},
	} {
		var b strings.Builder
		if err := templates.ExecuteTemplate(&b, strings.TrimSpace(name), web.View{Data: data}); err != nil {
			t.Error(err)
		}
		checkPage(t, name, b.String())
		if !strings.Contains(b.String(), "⟨U&#43;202E⟩") {
			t.Errorf("%s doesn't show what is hostile", name)
		}
	}
}
