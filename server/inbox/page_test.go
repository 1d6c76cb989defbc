package inbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/internal/web/webtest"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// ask sends a request from this machine to a page. form is nil for a GET.
func ask(in *Inbox, target string, form url.Values, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "http://127.0.0.1:8025/inbox/"+target, nil)
	if form != nil {
		r = httptest.NewRequest("POST", "http://127.0.0.1:8025/inbox/"+target, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	r.RemoteAddr = "127.0.0.1:40000"
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	in.ServeHTTP(w, r)
	return w
}

func askJSON(t *testing.T, in *Inbox, target string, form url.Values, into any) int {
	t.Helper()
	sep := "?"
	if strings.Contains(target, "?") {
		sep = "&"
	}
	w := ask(in, target+sep+"format=json", form)
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
		t.Fatalf("%s: %v in %.300s", target, err, w.Body)
	}
	return w.Code
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// TestReloadLinks: a page that is loaded again shows the same search and page as before.
func TestReloadLinks(t *testing.T) {
	for _, tt := range []struct{ target, want string }{
		{"", `href="./?refresh=5"`},
		{"?refresh=5", `href="./?"`},
		{"?find=a&to=b&subject=c&since=1&after=9", `href="./?after=9&amp;find=a&amp;refresh=60&amp;since=1&amp;subject=c&amp;to=b"`},
		{"?find=a%26b&refresh=60", `href="./?find=a%26b">Stop`},
	} {
		if got := ask(new(Inbox), tt.target, nil).Body.String(); !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %s, want %s", tt.target, got[max(0, strings.LastIndex(got, `class="refresh"`)):], tt.want)
		}
	}
}

// TestWho: without Authorize, only a user of this machine is answered; with it, whom it admits. A form of another site
// does nothing.
func TestWho(t *testing.T) {
	remote := func(addr string) func(*http.Request) { return func(r *http.Request) { r.RemoteAddr = addr } }
	host := func(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }
	ann := func(r *http.Request) (string, error) {
		if r.Header.Get("X-User") != "ann" {
			return "", errors.New("secret cause")
		}
		return "ann", nil
	}
	for _, tt := range []struct {
		name      string
		authorize func(*http.Request) (string, error)
		challenge string
		change    func(*http.Request)
		want      int
	}{
		{name: "this machine", change: host("127.0.0.1:8025"), want: 200},
		{name: "localhost", change: host("localhost"), want: 200},
		{name: "IPv6", change: host("[::1]:8025"), want: 200},
		{name: "IPv6 without a port", change: host("[::1]"), want: 200},
		{name: "IPv6 client", change: remote("[::1]:4000"), want: 200},
		{name: "mapped client", change: remote("[::ffff:127.0.0.1]:4000"), want: 200},
		{name: "another machine", change: remote("192.0.2.1:4000"), want: 403},
		{name: "no address", change: remote("@"), want: 403},
		{name: "DNS rebinding", change: host("evil.test:8025"), want: 403},
		{name: "localhost of a domain", change: host("localhost.evil.test"), want: 403},
		{name: "no host", change: host(""), want: 403},
		{name: "proxy", change: header("X-Forwarded-For", "192.0.2.1"), want: 403},
		{name: "proxy by RFC 7239", change: header("Forwarded", "for=192.0.2.1"), want: 403},
		{name: "ann", authorize: ann, change: header("X-User", "ann"), want: 200},
		{name: "nobody", authorize: ann, change: header("X-User", "eve"), want: 403},
		{name: "nobody, with a challenge", authorize: ann, challenge: "Basic", change: header("X-User", "eve"), want: 401},
		{name: "our own form", change: header("Sec-Fetch-Site", "same-origin"), want: 200},
		{name: "another site", change: header("Sec-Fetch-Site", "cross-site"), want: 403},
		{name: "another port", change: header("Sec-Fetch-Site", "same-site"), want: 403},
		{name: "another origin", change: header("Origin", "http://evil.test"), want: 403},
		{name: "no origin", change: header("Origin", "null"), want: 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := &Inbox{Authorize: tt.authorize, Challenge: tt.challenge}
			put(t, in, smtp.NewEnvelope("a@example.com", "b@example.net"), "\r\nsecret mail\r\n")
			w := ask(in, "act", url.Values{"do": {"clear"}}, tt.change)
			if n := len(in.Messages(Filter{})); w.Code != tt.want || (n == 0) != (tt.want == 200) {
				t.Errorf("got %d, %d messages: %s", w.Code, n, w.Body)
			}
			if (w.Code == 401) != (w.Header().Get("WWW-Authenticate") != "") || strings.Contains(w.Body.String(), "secret") {
				t.Errorf("got %v %s", w.Header(), w.Body)
			}
			for _, page := range []string{"style.css", "message?id=1", "raw?id=1", "html?id=1", "part?id=1&part=1"} {
				read := ask(in, page, nil, tt.change)
				if forged := strings.HasPrefix(tt.name, "another ") && tt.name != "another machine" || tt.name == "no origin"; forged {
					continue // a link of another site may lead here
				}
				if read.Code != tt.want && tt.want != 200 {
					t.Errorf("%s: got %d, want %d", page, read.Code, tt.want)
				}
			}
		})
	}
}

// TestHeaders: no page is framed, cached or sniffed, nothing but the frame of a mail is shown in a frame, and files are
// only downloaded.
func TestHeaders(t *testing.T) {
	in := new(Inbox)
	put(t, in, smtp.NewEnvelope("a@example.com", "b@example.net"), crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n\n<p>x\n"+
		"--b\nContent-Type: text/html; name=\"../a\u202e\\\"b.html\"\nContent-Disposition: attachment\n\n<script>alert(1)</script>\n--b--\n"))
	for _, target := range []string{"", "message?id=1", "switches", "act?do=clear", "style.css", "none", "raw?id=1", "part?id=1&part=2", "html?id=1", "message?id=2"} {
		h := ask(in, target, nil).Header()
		policy := h.Get("Content-Security-Policy")
		frame := target == "html?id=1"
		if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "script-src") ||
			strings.Contains(policy, "frame-ancestors 'none'") == frame || h.Get("X-Frame-Options") != map[bool]string{true: "SAMEORIGIN", false: "DENY"}[frame] {
			t.Errorf("%s: got %s", target, policy)
		}
		if frame && !strings.HasPrefix(policy, "sandbox; ") {
			t.Errorf("%s: got %s", target, policy)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Cross-Origin-Resource-Policy": "same-origin"} {
			if h.Get(name) != want {
				t.Errorf("%s: %s is %q", target, name, h.Get(name))
			}
		}
		if h.Get("Access-Control-Allow-Origin") != "" || h.Get("Set-Cookie") != "" {
			t.Errorf("%s: got %v", target, h)
		}
	}
	for target, want := range map[string][2]string{
		"raw?id=1":         {"message-1.eml", "message/rfc822"},
		"part?id=1&part=1": {"part-1.html", "application/octet-stream"},
		"part?id=1&part=2": {"_a__b.html", "application/octet-stream"},
	} {
		w := ask(in, target, nil)
		kind, params, err := mime.ParseMediaType(w.Header().Get("Content-Disposition"))
		if kind != "attachment" || params["filename"] != want[0] || w.Header().Get("Content-Type") != want[1] || err != nil {
			t.Errorf("%s: got %v, %v", target, w.Header(), err)
		}
		if !strings.HasPrefix(w.Header().Get("Content-Security-Policy"), "sandbox; ") {
			t.Errorf("%s: got %v", target, w.Header())
		}
	}
	if w := ask(in, "html?id=1", nil, header("Sec-Fetch-Dest", "document")); w.Code != 303 || w.Header().Get("Location") != "/inbox/message?id=1" {
		t.Errorf("opened by itself, the HTML is answered %d, %v", w.Code, w.Header())
	}
	if w := ask(in, "html?id=1", nil, header("Sec-Fetch-Dest", "iframe")); w.Code != 200 || !strings.HasSuffix(w.Body.String(), "<p>x") {
		t.Errorf("in a frame, the HTML is answered %d, %s", w.Code, w.Body)
	}
}

// TestMethods: a page that only shows can't be posted to, and an action isn't carried out by a GET.
func TestMethods(t *testing.T) {
	in := new(Inbox)
	put(t, in, smtp.NewEnvelope("a@example.com", "b@example.net"), "\r\n")
	for _, tt := range []struct {
		target string
		form   url.Values
		want   int
	}{
		{"act?do=clear", nil, 200}, {"act?do=delete&id=1", nil, 200}, {"act?do=delete&id=2", nil, 404}, {"act?do=switches", nil, 400},
		{"act?do=burn", nil, 400}, {"act", nil, 400}, {"", url.Values{}, 405}, {"message", url.Values{"id": {"1"}}, 405},
		{"raw", url.Values{"id": {"1"}}, 405}, {"message?id=1&id=1", nil, 400}, {"?none=1", nil, 400}, {"?wait=x", nil, 400},
		{"?wait=2m", nil, 400}, {"?find=" + strings.Repeat("x", maxValue+1), nil, 400}, {"part?id=1&part=9", nil, 404},
		{"act", url.Values{"do": {"delete"}, "id": {"9"}}, 404}, {"act", url.Values{"do": {"switches"}, "refuse": {"x"}}, 400},
		{"act", url.Values{"do": {"switches"}, "refuse": {strings.Repeat("x\n", 50_000)}}, 400},
		{"act", url.Values{"do": {"switches"}, "greylist": {"-1s"}}, 400},
	} {
		if w := ask(in, tt.target, tt.form); w.Code != tt.want {
			t.Errorf("%.60s %.60v: got %d, want %d", tt.target, tt.form, w.Code, tt.want)
		}
	}
	if len(in.Messages(Filter{})) != 1 || len(switchedOn(in.Switches())) > 0 {
		t.Error("something has changed")
	}
}

// TestJSON: a test in another language waits, reads, switches and deletes.
func TestJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := &Inbox{Preflight: func(_ context.Context, env *smtp.Envelope, c smtp.Content) []string {
			if env.From == "panic@example.com" {
				panic("oh")
			}
			return []string{fmt.Sprint("it has ", c.Size(), " octets")}
		}}
		var e errorView
		begin := time.Now()
		if code := askJSON(t, in, "?wait=10s", nil, &e); code != 404 || e.Status != 404 || time.Since(begin) != 10*time.Second {
			t.Errorf("got %d, %+v after %v", code, e, time.Since(begin))
		}
		go func() {
			time.Sleep(3 * time.Second)
			put(t, in, smtp.NewEnvelope("shop@example.com", "ann@example.net"), crlf("Subject: Welcome\nContent-Type: text/html\n\n<a href=https://a.test/confirm>x</a>\n"))
		}()
		var list listView
		if code := askJSON(t, in, "?wait=10s&to=ann@example.net", nil, &list); code != 200 || len(list.Messages) != 1 || list.Messages[0].Subject != "Welcome" {
			t.Fatalf("got %d, %+v", code, list)
		}
		if d := time.Since(begin); d != 13*time.Second {
			t.Errorf("waited until %v", d)
		}
		var m messageView
		askJSON(t, in, "message?id="+list.Messages[0].ID, nil, &m)
		if m.From != "shop@example.com" || m.To[0] != "ann@example.net" || len(m.Links) != 1 || m.Links[0] != "https://a.test/confirm" ||
			len(m.Header) != 2 || m.Findings[0] != fmt.Sprintf("it has %d octets", m.Size) || len(m.Parts) != 1 {
			t.Errorf("got %+v", m)
		}
		put(t, in, smtp.NewEnvelope("panic@example.com", "ann@example.net"), "\r\n")
		askJSON(t, in, "message?id=2", nil, &m)
		if len(m.Findings) != 1 || !strings.Contains(m.Findings[0], "panic: oh") {
			t.Errorf("got %q", m.Findings)
		}

		var done actView
		form := url.Values{"do": {"switches"}, "refuse": {"rcpt a.test 550 5.7.1 no\r\n\r\ndata * 451\r\n"}, "quotas": {"1 per 1h by spf"}, "stalls": {"1s at mail"},
			"greylist": {"90s"}, "seven_bit": {"true"}}
		if code := askJSON(t, in, "act", form, &done); code != 200 || !done.Done {
			t.Errorf("got %d, %+v", code, done)
		}
		var s switchesView
		askJSON(t, in, "switches", nil, &s)
		if want := (switchesView{[]string{"rcpt a.test 550 5.7.1 no", "data * 451"}, "1m30s", []string{"1 per 1h by spf"}, []string{"1s at mail"}, true}); fmt.Sprint(s) != fmt.Sprint(want) {
			t.Errorf("got %+v, want %+v", s, want)
		}
		askJSON(t, in, "act", url.Values{"do": {"switches"}}, &done)
		if on := switchedOn(in.Switches()); len(on) > 0 {
			t.Errorf("got %q", on)
		}
		askJSON(t, in, "act", url.Values{"do": {"delete"}, "id": {"1"}}, &done)
		askJSON(t, in, "act", url.Values{"do": {"clear"}}, &done)
		if done.Messages != 1 || len(in.Messages(Filter{})) != 0 {
			t.Errorf("got %+v", done)
		}
	})
}

// TestPaging: each message is on one page, also while others come.
func TestPaging(t *testing.T) {
	in := new(Inbox)
	for range 120 {
		put(t, in, smtp.NewEnvelope("a@example.com", "b@example.net"), "\r\n")
	}
	seen, after := "", ""
	for range 3 {
		var v listView
		askJSON(t, in, "?find=example&after="+after, nil, &v)
		for _, m := range v.Messages {
			seen += m.ID + " "
		}
		after = v.Next
		put(t, in, smtp.NewEnvelope("a@example.com", "b@example.net"), "\r\n")
	}
	want := ""
	for i := 120; i > 0; i-- {
		want += fmt.Sprint(i, " ")
	}
	if seen != want || after != "" {
		t.Errorf("got %s, then %q", seen, after)
	}
}

// nasty is a text with a mark, so that it is known where it came from.
func nasty(mark string) string {
	return mark + `<script>alert(1)</script>"'><img src=x onerror=alert(1)>{{.}}` +
		"\u202Eevil\u2066\u200B\u00AD\x1B[31m\x7F\u2028\uFEFF\xFF\xC0a" + strings.Repeat("\u0301", 50) + "\U000E0041\u3164" + strings.Repeat("long", 300)
}

// checkPage checks that a page has no octet of nasty that does something.
func checkPage(t *testing.T, name, page string) {
	t.Helper()
	// A field of a form and a link have the value as it is, in quotes: it is sent back.
	page = regexp.MustCompile(`(<input [^>]* value=|href=|src=)"[^"]*"`).ReplaceAllStringFunc(page, func(s string) string {
		if strings.HasPrefix(s, `href="`) && !strings.HasPrefix(s, `href="./`) && !strings.HasPrefix(s, `href="#`) && !strings.HasPrefix(s, `href="?`) &&
			!strings.HasPrefix(s, `href="https://a.test/`) {
			t.Errorf("%s has a link %s", name, s)
		}
		if strings.ContainsAny(s[strings.LastIndex(s, `="`)+2:], "<>") {
			t.Errorf("%s has %s", name, s)
		}
		return ""
	})
	page = regexp.MustCompile(`(?s)<textarea[^>]*>.*?</textarea>`).ReplaceAllString(page, "")
	webtest.Markup(t, name, page)
}

// TestHostile: every field of a mail, a session and a request may be anything.
func TestHostile(t *testing.T) {
	in := &Inbox{Preflight: func(context.Context, *smtp.Envelope, smtp.Content) []string { return []string{nasty("finding")} }}
	env := &smtp.Envelope{From: nasty("from") + "@example.com", EnvID: nasty("envid"), UTF8: true}
	for range 5 {
		env.Recipients = append(env.Recipients, smtp.Recipient{Address: nasty("to") + "@example.net", ORCPT: nasty("orcpt")})
	}
	encoded := mime.QEncoding.Encode("utf-8", strings.ToValidUTF8(nasty("encoded"), "")+"\r\nX: y")
	quoted := strings.NewReplacer(`\`, "", `"`, "").Replace(nasty("name"))
	data := crlf("Subject: " + nasty("subject") + encoded + "\nFrom: " + nasty("headerfrom") + encoded + "\n" + nasty("field") + ": x\nX-Y: " + nasty("y") +
		"\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain; charset=\"" + quoted + "\"\n\n" + nasty("text") +
		"\n--b\nContent-Type: text/html\n\n" + nasty("html") + "<a href='https://a.test/" + nasty("link") + "'>\n--b\nContent-Type: text/" + nasty("type") + "; name=\"" + quoted +
		"\"\nContent-ID: <" + nasty("cid") + ">\nContent-Location: " + nasty("loc") + "\nContent-Transfer-Encoding: " + strings.ReplaceAll(nasty("encoding"), " ", "") +
		"\nContent-Disposition: attachment; filename=\"" + encoded + "\"\n\nx\n--b\n" + nasty("header") + "\n--b--\n")
	p := &server.Peer{Hello: nasty("hello"), Username: nasty("user"), RemoteAddr: addr(nasty("addr"))}
	if _, err := in.Handle(t.Context(), p, env, strings.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	in.SetSwitches(Switches{Refuse: []Refusal{{AtRcpt, strings.ReplaceAll(nasty("who")[:100], " ", ""), smtp.NewReply(550, "", `<script>alert(1)</script>"`)}, {AtMail, "", smtp.NewReply(450, "", "x")}}})
	in.CheckMail(t.Context(), p, env)
	n := url.QueryEscape(nasty("query"))
	for _, target := range []string{
		"", "?find=" + n, "?to=" + n, "?from=" + n, "?after=" + n, "?since=" + n, "?wait=" + n, "?refresh=" + n, "?" + n + "=1", "message?id=1", "message?id=1&view=text",
		"message?id=1&view=header", "message?id=1&view=source", "message?id=1&view=findings", "message?id=1&view=" + n, "message?id=" + n,
		"switches", "act?do=" + n, "act?do=delete&id=1", "act?do=delete&id=" + n, "act?do=clear", n, "part?id=1&part=" + n, "raw?id=" + n,
	} {
		w := ask(in, target, nil)
		checkPage(t, target[:min(len(target), 40)], w.Body.String())
		if w.Code >= 500 {
			t.Errorf("%.40s: got %d %s", target, w.Code, w.Body)
		}
	}
	w := ask(in, "act", url.Values{"do": {"switches"}, "refuse": {"rcpt * 550 " + nasty("rule")}})
	checkPage(t, "a rule", w.Body.String())
	w = ask(in, "act", url.Values{"do": {"switches"}, "refuse": {`rcpt * 550 <script>alert(1)</script>`}})
	checkPage(t, "another rule", w.Body.String())
	checkFrame(t, in.Messages(Filter{})[0].Read())
	for part := range 5 {
		w := ask(in, fmt.Sprintf("part?id=1&part=%d", part), nil)
		_, params, err := mime.ParseMediaType(w.Header().Get("Content-Disposition"))
		if name := params["filename"]; w.Code == 200 && (err != nil || name == "" || len(name) > 200 || strings.ContainsAny(name, "/\\\"<>\r\n\u202E")) {
			t.Errorf("got the file %q, %v", name, err)
		}
	}
	var v any
	if err := json.Unmarshal(ask(in, "message?id=1&format=json", nil).Body.Bytes(), &v); err != nil {
		t.Error(err)
	}
}

// addr is a net.Addr.
type addr string

func (a addr) Network() string { return "tcp" }
func (a addr) String() string  { return string(a) }
