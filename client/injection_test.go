package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// attack is all of a caller's that could reach the wire, and a host to try it on.
type attack struct {
	hostname, host string
	env            smtp.Envelope
	content        string
	auth           smtp.Auth
	on             strictHost
}

// ways is how a message comes to a host.
var ways = map[string]func(*attack) ([]smtp.Result, error){"Conn": viaConn, "Transport": viaTransport, "Submission": viaSubmission}

func viaConn(a *attack) ([]smtp.Result, error) {
	c := &Conn{Hostname: a.hostname, Host: a.host, LMTP: a.on.has(speaksLMTP), TLSConfig: a.trust(), Auth: a.auth, ChunkSize: 70}
	if a.on.has(beginsTLS) {
		c.TLS, c.TLSStart = mx.TLSRequired, mx.TLSImplicit
	}
	client, server := pipe("127.0.0.1:25")
	done := make(chan struct{})
	go func() { a.on.serve(server); close(done) }()
	var results []smtp.Result
	err := c.Open(context.Background(), client)
	if err == nil {
		results, err = c.Send(context.Background(), &a.env, strings.NewReader(a.content))
		c.Quit(context.Background())
	}
	<-done
	return results, err
}

func viaTransport(a *attack) ([]smtp.Result, error) {
	addr := "127.0.0.1:25"
	if a.on.has(beginsTLS) {
		addr = "127.0.0.1:465"
	}
	route := mustRoute(mx.Smarthost(addr))
	route.LMTP = a.on.has(speaksLMTP)
	if a.auth != nil {
		route.Auth = a.auth
	}
	tr := &Transport{Hostname: a.hostname, Router: &mx.Router{Routes: map[string]mx.Route{"*": route}}, TLSConfig: a.trust()}
	wait := a.dial(&tr.DialContext)
	results, err := tr.Send(context.Background(), &a.env, strings.NewReader(a.content))
	tr.Close()
	wait()
	return results, err
}

func viaSubmission(a *attack) ([]smtp.Result, error) {
	s := &Submission{LeaveIncomplete: true, Addr: "127.0.0.1:587", Hostname: a.hostname, TLS: mx.TLSNone, Auth: a.auth, TLSConfig: a.trust()}
	if a.on.has(beginsTLS) {
		s.Addr, s.TLS = "127.0.0.1:465", mx.TLSRequired
	}
	wait := a.dial(&s.DialContext)
	results, err := s.Send(context.Background(), &a.env, strings.NewReader(a.content))
	s.Close()
	wait()
	return results, err
}

// dial has the host answer one connection.
func (a *attack) dial(to *func(context.Context, string, string) (net.Conn, error)) (wait func()) {
	done := make(chan struct{})
	dialled := false
	*to = func(context.Context, string, string) (net.Conn, error) {
		if dialled {
			return nil, errors.New("a second connection")
		}
		dialled = true
		client, server := pipe("127.0.0.1:25")
		go func() { a.on.serve(server); close(done) }()
		return client, nil
	}
	return func() {
		if dialled {
			<-done
		}
	}
}

// trust is for the handshake as such: the name that goes with it is what is looked at.
func (a *attack) trust() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

// judge holds what the host understood against what was asked.
func (a *attack) judge(t *testing.T, results []smtp.Result, err error) {
	t.Helper()
	h := &a.on
	if h.err != nil {
		t.Fatalf("the host heard what nobody may say: %v", h.err)
	}
	if h.name != "" && a.hostname != "" && h.name != a.hostname && !sameDomain(h.name, a.hostname) {
		t.Errorf("got EHLO %q, want %q", h.name, a.hostname)
	}
	if h.sni != "" && h.sni != a.host && !sameDomain(h.sni, a.host) {
		t.Errorf("got a handshake for %q, want %q", h.sni, a.host)
	}
	var asked, heard []string
	for i, r := range results {
		if r.Outcome == smtp.Delivered {
			asked = append(asked, a.env.Recipients[i].Address)
		} else if !r.Local {
			t.Errorf("got %q refused by a host that takes everything: %v", r.Recipient, r.Reply)
		}
	}
	var rcpts []strictRcpt
	for _, m := range h.mails {
		a.judgeMail(t, m)
		rcpts = append(rcpts, m.rcpts...)
	}
	for i, n := 0, 0; i < len(results) && n < len(rcpts); i++ {
		if results[i].Outcome != smtp.Delivered {
			continue
		}
		if _, wide := h.mails[0].params["SMTPUTF8"]; !equalAddress(rcpts[n].to, asked[n], wide) {
			t.Errorf("got RCPT %q, want %q", rcpts[n].to, asked[n])
		}
		if want := a.rcptParams(i); !maps.Equal(rcpts[n].params, want) {
			t.Errorf("got RCPT %q with %q, want %q", rcpts[n].to, rcpts[n].params, want)
		}
		n++
	}
	for _, r := range rcpts {
		heard = append(heard, r.to)
	}
	if len(heard) != len(asked) || (err == nil) != (len(asked) == len(a.env.Recipients)) {
		t.Errorf("got %q and error %v, want %q of %d", heard, err, asked, len(a.env.Recipients))
	}
	if len(asked) == 0 && len(h.mails) > 0 {
		t.Errorf("got %d transactions for nobody", len(h.mails))
	}
	if results != nil && h.octets > 0 && !h.quit {
		t.Errorf("got no QUIT, results %s, error %v", show(results), err)
	}
}

func (a *attack) judgeMail(t *testing.T, m *strictMail) {
	t.Helper()
	if !m.committed {
		t.Errorf("got a transaction that nothing came of")
	}
	_, wide := m.params["SMTPUTF8"]
	if !equalAddress(m.from, a.env.From, wide) {
		t.Errorf("got MAIL %q, want %q", m.from, a.env.From)
	}
	got, want := maps.Clone(m.params), a.mailParams()
	if got["AUTH"] == a.env.Auth { // RFC 4954 §5 leaves it to the client
		delete(got, "AUTH")
	}
	if got["BODY"] == "BINARYMIME" && a.env.Body == smtp.BodyBinaryMIME { // RFC 3030 §3: as good
		got["BODY"] = want["BODY"]
	}
	if !maps.Equal(got, want) {
		t.Errorf("got MAIL with %q, want %q", got, want)
	}
	content := a.sent()
	if !strings.HasSuffix(content, "\r\n") && content != "" && (!m.chunked || strings.HasSuffix(string(m.content), "\r\n")) {
		content += "\r\n"
	}
	if string(m.content) != content {
		t.Errorf("got content %q, want %q", m.content, content)
	}
}

// sent is the content as the host shall have it.
func (a *attack) sent() string {
	if a.on.has(offer8BitMIME) && !a.on.plain() || isASCIIText(bodyOf(a.content)) {
		return a.content
	}
	c, signed, err := smtp.SevenBit(strings.NewReader(a.content))
	if err != nil || signed && a.env.From != "" {
		return a.content // isn't sent
	}
	b, _ := io.ReadAll(smtp.NewReader(c))
	return string(b)
}

// mailParams is what the envelope and the offers call for, decoded.
func (a *attack) mailParams() map[string]string {
	want := make(map[string]string)
	add := func(offer uint, keyword, value string, is bool) {
		if a.on.has(offer) && !a.on.plain() && is {
			want[keyword] = value
		}
	}
	header := headerOf(a.content)
	parts, _ := smtp.HasEightBitPartHeader(strings.NewReader(a.content))
	needs := a.env.UTF8 && (!isASCIIText(header) && utf8.ValidString(header) || parts)
	isUTF8 := func(address string) bool { return !isASCIIText(address[:max(strings.LastIndexByte(address, '@'), 0)]) }
	needs = needs || isUTF8(a.env.From)
	for _, rcpt := range a.env.Recipients { // one that is at fault isn't sent
		needs = needs || rcpt.Check() == nil && isUTF8(rcpt.Address)
	}
	add(offerSize, "SIZE", strconv.Itoa(len(a.sent())), true)
	add(offer8BitMIME, "BODY", "8BITMIME", !isASCIIText(a.content) || a.env.Body == smtp.Body8BitMIME || a.env.Body == smtp.BodyBinaryMIME)
	add(offerSMTPUTF8, "SMTPUTF8", "", needs)
	add(offerDSN, "RET", [3]string{"", "HDRS", "FULL"}[a.env.Ret%3], a.env.Ret != smtp.RetUnknown)
	add(offerDSN, "ENVID", a.env.EnvID, a.env.EnvID != "")
	return want
}

func (a *attack) rcptParams(i int) map[string]string {
	want := make(map[string]string)
	r := a.env.Recipients[i]
	if !a.on.has(offerDSN) || a.on.plain() {
		return want
	}
	var notify []string
	for bit, name := range []string{"NEVER", "SUCCESS", "FAILURE", "DELAY"} {
		if r.Notify&(1<<bit) != 0 {
			notify = append(notify, name)
		}
	}
	if notify != nil {
		want["NOTIFY"] = strings.Join(notify, ",")
	}
	if r.ORCPT != "" {
		want["ORCPT"] = r.ORCPT
	}
	return want
}

// equalAddress: letter by letter, or with a domain that went as its A-label or U-label.
func equalAddress(heard, asked string, wide bool) bool {
	if heard == asked || isASCIIText(asked) {
		return heard == asked
	}
	i, j := strings.LastIndexByte(heard, '@'), strings.LastIndexByte(asked, '@')
	return i >= 0 && j >= 0 && heard[:i] == asked[:j] && (wide || isASCIIText(heard)) && sameDomain(heard[i+1:], asked[j+1:])
}

// sameDomain compares what was heard, label by label as Unicode, with what UTS 46 makes of what was asked.
func sameDomain(heard, asked string) bool {
	if strings.HasPrefix(asked, "[") {
		return heard == asked
	}
	labels := strings.Split(asciiLower(heard), ".")
	for i, l := range labels {
		if code, ok := strings.CutPrefix(l, "xn--"); ok {
			labels[i] = unpunycode(code)
		}
	}
	mapping := idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false), idna.CheckHyphens(false))
	want, _ := mapping.ToUnicode(asked)
	return strings.Join(labels, ".") == strings.TrimSuffix(want, ".")
}

// unpunycode is RFC 3492 §6.2.
func unpunycode(s string) string {
	const base, tmin, tmax, skew, damp = 36, 1, 26, 38, 700
	at := strings.LastIndexByte(s, '-')
	out := []rune(s[:max(at, 0)])
	n, i, bias := 128, 0, 72
	for rest := s[at+1:]; rest != ""; {
		old, w := i, 1
		for k := base; rest != ""; k += base {
			digit := strings.IndexByte("abcdefghijklmnopqrstuvwxyz0123456789", rest[0])
			rest = rest[1:]
			i += digit * w
			t := min(max(k-bias, tmin), tmax)
			if digit < t {
				break
			}
			w *= base - t
		}
		delta := (i - old) / 2
		if old == 0 {
			delta = i / damp
		}
		delta += delta / (len(out) + 1)
		for bias = 0; delta > (base-tmin)*tmax/2; bias += base {
			delta /= base - tmin
		}
		bias += (base - tmin + 1) * delta / (delta + skew)
		n += i / (len(out) + 1)
		i %= len(out) + 1
		out = slices.Insert(out, i, rune(n))
		i++
	}
	return string(out)
}

// heardLines gives what the host understood, in a form to compare: "FROM <path> parameters TO ...".
func (h *strictHost) heardLines() string {
	var b strings.Builder
	list := func(params map[string]string) {
		for _, k := range slices.Sorted(maps.Keys(params)) {
			if k != "SIZE" {
				fmt.Fprintf(&b, " %s=%s", k, params[k])
			}
		}
	}
	for _, m := range h.mails {
		fmt.Fprintf(&b, "FROM <%s>", m.from)
		list(m.params)
		for _, r := range m.rcpts {
			fmt.Fprintf(&b, " TO <%s>", r.to)
			list(r.params)
		}
	}
	return b.String()
}
