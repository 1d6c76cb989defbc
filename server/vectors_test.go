package server

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

// vector is the client's side of a session that is hostile or broken, and its safe outcome. The outcome must not depend
// on how the octets arrive: TestVectors sends them in one piece, in two pieces for each boundary (not with -short), and one by one.
type vector struct {
	name   string
	source string                  // the section of the RFC that requires the outcome, or the CVE of a server without it
	in     string                  // octets after the greeting, and marks
	codes  string                  // of all replies after the greeting
	late   string                  // if not empty, other codes that are as safe: the server must not read on at a boundary
	mails  []string                // what the Handler received
	env    string                  // if not empty, the envelope of the last mail: "from>to,to"
	closed bool                    // by the server; if false, NOOP is answered 250
	whole  bool                    // not cut, because the Server remembers its clients, or for its length
	set    func(*Server, *desk)    // if not nil, changes the Server
	check  func(*testing.T, taken) // if not nil, looks at the last mail
}

// Marks in vector.in. What is behind a mark is sent after the replies to what is before it.
const (
	handshake = "⟪TLS⟫"
	leaves    = "⟪END⟫"  // the client closes its side
	deaf      = "⟪DEAF⟫" // the client receives nothing from here on
	answered  = "⟪⟫"
)

// waits is a mark: time passes.
func waits(d string) string { return "⟪" + d + "⟫" }

var mark = regexp.MustCompile("⟪[^⟫]*⟫")

// maxCut is the longest vector that is cut, in octets.
const maxCut = 2 << 10

// octetByOctet sends each octet by itself.
const octetByOctet = -1

// vectorTables returns all vectors by their subjects.
func vectorTables() map[string][]vector {
	return map[string][]vector{
		"smuggling": smuggleVectors(), "lines": lineVectors, "TLS": tlsVectors, "order": orderVectors,
		"rest": restVectors(), "auth": authVectors, "syntax": syntaxVectors(), "folding": foldingVectors(),
		"reverse-path": reverseVectors(), "forward-path": forwardVectors(), "cross-protocol": crossVectors(),
		"flood": floodVectors(), "slow": slowVectors, "content": contentVectors(), "BDAT": chunkedVectors(),
		"extensions": extensionVectors(), "XCLIENT": xclientVectors, "LMTP": lmtpVectors,
	}
}

func TestVectors(t *testing.T) {
	tables := vectorTables()
	count := 0
	for subject, table := range tables {
		count += len(table)
		t.Run(subject, func(t *testing.T) {
			t.Parallel()
			names := make(map[string]bool)
			for i := range table {
				v := &table[i]
				if v.source == "" || names[v.name] {
					t.Errorf("got source %q for vector %q, want one, and the name once", v.source, v.name)
				}
				names[v.name] = true
				t.Run(v.name, func(t *testing.T) { synctest.Test(t, v.test) })
			}
		})
	}
	if count < 250 {
		t.Errorf("got %d vectors, want 250", count)
	}
}

// otherwise are vectors that a server with another setting takes in another way, by the doc of that setting: Lenient
// accepts their syntax, and a check reads a message that the Handler doesn't read, or needs to find its header.
var otherwise = map[string][]string{
	"Lenient/reverse-path": {"ann@example.com", "space before the colon"},
	"Lenient/forward-path": {"bob@example.net"},
	"Lenient/order":        {"bad EHLO in a transaction"},
	"Lenient/syntax":       {"EHLO without a name", "EHLO with spaces only", "space before the verb", "MAIL  SIZE=1"},
	"Lenient/BDAT": {
		"BDAT  10", "BDAT  10 as second chunk", "BDAT  10 without a transaction", " BDAT 10", " BDAT 10 as second chunk",
		" BDAT 10 without a transaction", "bad EHLO between chunks",
	},
	"a check/BDAT": {
		"refused unread, then MAIL and a chunk", "refused unread, then RCPT and DATA", "refused unread, then a chunk of commands",
		"421 at the first chunk",
	},
	"a check/content": {"an mbox line", "BOM"},
	"a check/LMTP":    {"refused unread in two chunks"},
}

// TestVectorsWith plays vectors on servers with other settings, which must not change their outcome: whole, and octet by
// octet.
func TestVectorsWith(t *testing.T) {
	for _, with := range []struct {
		name string
		set  func(*Server, *desk)
	}{
		{"Lenient", func(s *Server, _ *desk) { s.Lenient = true }},
		{"a check", withCheck},
	} {
		for subject, table := range vectorTables() {
			for _, v := range table {
				if slices.Contains(otherwise[with.name+"/"+subject], v.name) {
					continue
				}
				t.Run(with.name+"/"+subject+"/"+v.name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w, d := v.world(t, v.set, with.set)
						v.compare(t, w, d, 0)
						if !v.whole && len(v.in) <= maxCut {
							v.compare(t, w, d, octetByOctet)
						}
					})
				})
			}
		}
	}
}

// test plays the vector in each way.
func (v *vector) test(t *testing.T) {
	w, d := v.world(t, v.set)
	length := len(mark.ReplaceAllString(v.in, ""))
	v.compare(t, w, d, 0)
	if v.whole || length > maxCut {
		return
	}
	for at := 1; at < length && !t.Failed() && !testing.Short(); at++ {
		v.compare(t, w, d, at)
	}
	v.compare(t, w, d, octetByOctet)
}

// world starts the vector's server, changed by each set that isn't nil.
func (v *vector) world(t *testing.T, sets ...func(*Server, *desk)) (*world, *desk) {
	d := &desk{}
	srv := &Server{Handler: d, MaxAuthFailures: 1 << 20}
	for _, set := range sets {
		if set != nil {
			set(srv, d)
		}
	}
	return newWorld(t, srv), d
}

// compare plays the vector once and compares its outcome.
func (v *vector) compare(t *testing.T, w *world, d *desk, at int) {
	got, mails := v.play(w, d, at)
	want := v.outcome(v.codes, len(v.mails), "")
	if len(v.mails) > 0 {
		want = v.outcome(v.codes, len(v.mails), v.env)
	}
	if v.late != "" && got == v.outcome(v.late, len(v.mails), v.env) {
		want = got
	}
	if got != want {
		t.Errorf("cut at %d: got %s\nwant %s", at, got, want)
		return
	}
	for i, m := range mails {
		if m.body != v.mails[i] {
			t.Errorf("cut at %d: got mail %d %.300q, want %.300q", at, i, m.body, v.mails[i])
		}
	}
	if v.check != nil && len(mails) > 0 {
		v.check(t, mails[len(mails)-1])
	}
	if sessions, _ := w.books(); sessions != 0 {
		t.Errorf("cut at %d: got %d sessions after the client has left, want none", at, sessions)
	}
}

func (v *vector) outcome(codes string, mails int, env string) string {
	return fmt.Sprintf("replies %s, mails %d, envelope %q, closed %t", codes, mails, env, v.closed)
}

// play sends the vector on a new connection, cut at an octet if at isn't 0.
func (v *vector) play(w *world, d *desk, at int) (outcome string, mails []taken) {
	c := w.dial()
	got := strings.TrimPrefix(c.take(), "220 mx.test ESMTP\r\n")
	send := func(part string) {
		got += c.ask(part)
	}
	rest, sent := v.in, 0
	for rest != "" {
		step, action := rest, ""
		if i := mark.FindStringIndex(rest); i != nil {
			step, action = rest[:i[0]], strings.Trim(rest[i[0]:i[1]], "⟪⟫")
			rest = rest[i[1]:]
		} else {
			rest = ""
		}
		pieces(step, at, at-sent, send)
		sent += len(step)
		got += v.act(c, action)
	}
	closed := c.closed()
	if i := strings.Index(got, "\x15\x03"); i >= 0 {
		got = got[:i] // a TLS alert, after a handshake that failed
	}
	if !closed {
		if probe := c.ask("NOOP\r\n"); probe != "250 2.0.0 ok\r\n" || c.closed() {
			got += "and to NOOP: " + probe
		}
	}
	c.pipe.Close()
	<-c.reading
	synctest.Wait()
	mails = d.all()
	env := ""
	if n := len(mails); n > 0 && v.env != "" {
		env = envelopeText(mails[n-1].env)
	}
	ended := vector{closed: closed}
	return ended.outcome(strings.Join(replyCodes(got), " "), len(mails), env), mails
}

// pieces sends step in one piece, octet by octet, or cut at cut if that is within it.
func pieces(step string, at, cut int, send func(string)) {
	switch {
	case step == "":
	case at == octetByOctet:
		for i := range len(step) {
			send(step[i : i+1])
		}
	case at > 0 && cut > 0 && cut < len(step):
		send(step[:cut])
		send(step[cut:])
	default:
		send(step)
	}
}

// act does what a mark says, and returns the octets received.
func (v *vector) act(c *client, action string) string {
	switch action {
	case "":
	case "TLS":
		if !c.closed() {
			c.startTLS()
		}
	case "DEAF":
		c.pipe.in.setRoom(0)
	case "END":
		c.conn.(interface{ CloseWrite() error }).CloseWrite()
	default:
		time.Sleep(must(time.ParseDuration(action)))
	}
	return c.take()
}

// envelopeText returns an envelope as vector.env has it.
func envelopeText(env *smtp.Envelope) string {
	var to []string
	for _, r := range env.Recipients {
		to = append(to, r.Address)
	}
	return env.From + ">" + strings.Join(to, ",")
}

// answers repeats the code of a reply.
func answers(n int, code string) string { return strings.TrimSpace(strings.Repeat(code+" ", n)) }

// refusing has the Handler refuse each message after it was read.
func refusing(code int) func(*Server, *desk) {
	return func(_ *Server, d *desk) {
		d.handle = func(_ context.Context, _ *Peer, _ *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
			_, err := io.Copy(io.Discard, body)
			return smtp.NewReply(code, "", "refused"), err
		}
	}
}

// deafAnd has the Handler answer each message without reading it.
func deafAnd(code int) func(*Server, *desk) {
	return func(_ *Server, d *desk) {
		d.handle = func(context.Context, *Peer, *smtp.Envelope, io.Reader) (*smtp.Reply, error) {
			return smtp.NewReply(code, "", "unread"), nil
		}
	}
}
