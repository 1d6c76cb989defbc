package postrider

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// newHop has a relay listen as name:25 and pass on the mail of next.test, to next if that isn't empty.
func newHop(t *testing.T, inet *smtptest.Network, name, next string) {
	t.Helper()
	r := newRelay(inet)
	r.Hostname, r.Domains = name, []string{"next.test"}
	if next != "" {
		route, err := mx.Smarthost(next)
		if err != nil {
			t.Fatal(err)
		}
		r.Routes = map[string]mx.Route{"next.test": route}
	}
	l, err := inet.Listen(name + ":25")
	if err != nil {
		t.Fatal(err)
	}
	inet.Go(func(ctx context.Context) error { return r.Serve(ctx, l) })
}

// TestHeaderPassesOn: octets above 127 in a header go through two relays, to hosts with and without extensions, as they
// came, and nothing is declared that the sender didn't declare.
func TestHeaderPassesOn(t *testing.T) {
	tests := []struct {
		name     string
		subject  string
		body     string
		declared bool
		without  []string
		want     smtp.BodyType
		wantUTF8 bool
	}{
		{"Latin-1, all extensions", "caf\xe9", "Hello", false, nil, smtp.Body8BitMIME, false},
		{"UTF-8, all extensions", "café", "Hello", false, nil, smtp.Body8BitMIME, false},
		{"Latin-1, no SMTPUTF8", "caf\xe9", "Hello", false, []string{"SMTPUTF8"}, smtp.Body8BitMIME, false},
		{"UTF-8, no SMTPUTF8", "café", "caf\xe9", false, []string{"SMTPUTF8"}, smtp.Body8BitMIME, false},
		{"Latin-1, neither", "caf\xe9", "Hello", false, []string{"SMTPUTF8", "8BITMIME"}, 0, false},
		{"UTF-8, neither", "café", "Hello", false, []string{"SMTPUTF8", "8BITMIME"}, 0, false},
		{"UTF-8, declared", "café", "Hello", true, nil, smtp.Body8BitMIME, true},
		{"ASCII, declared", "coffee", "Hello", true, nil, 0, false},
		{"ASCII, declared, no SMTPUTF8", "coffee", "caf\xe9", true, []string{"SMTPUTF8"}, smtp.Body8BitMIME, false},
		{"Latin-1, declared, no SMTPUTF8", "caf\xe9", "Hello", true, []string{"SMTPUTF8"}, smtp.Body8BitMIME, false},
	}
	for _, tt := range tests {
		for _, from := range []string{"ann@source.test", ""} {
			t.Run(tt.name+" <"+from+">", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					inet := smtptest.NewNetwork(t)
					host := inet.MX("next.test", "mx.next.test")
					host.Without(tt.without...)
					newHop(t, inet, "relay.test", "hop.test:25")
					newHop(t, inet, "hop.test", "")

					env := smtp.NewEnvelope(from, "bob@next.test")
					env.UTF8 = tt.declared
					text := "Subject: " + tt.subject + "\r\n\r\n" + tt.body + "\r\n"
					sub := submission(inet)
					sub.TLS = mx.TLSNone
					defer sub.Close()
					if _, err := sub.Send(t.Context(), env, strings.NewReader(text)); err != nil {
						t.Fatal(err)
					}
					m := host.Wait(1)[0]
					_, got, _ := bytes.Cut(m.Data, []byte("Subject: "))
					if "Subject: "+string(got) != text {
						t.Errorf("got %q, want %q at its end", m.Data, text)
					}
					if m.Envelope.Body != tt.want || m.Envelope.UTF8 != tt.wantUTF8 {
						t.Errorf("got BODY %q, SMTPUTF8 %v, want %q, %v", m.Envelope.Body, m.Envelope.UTF8, tt.want, tt.wantUTF8)
					}
				})
			})
		}
	}
}

// TestReportOf8BitMail: whatever a message has above 127, its sender's host gets a report that it takes, and standard
// library and sender can read.
func TestReportOf8BitMail(t *testing.T) {
	const part = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
	tests := []struct {
		name     string
		content  string
		declared bool
		want     string // in the part with the original, decoded
	}{
		{"text", "Subject: hi\r\n\r\ncaf\xe9 caf\xe9\r\n", false, "caf\xe9 caf\xe9"},
		{"Latin-1 header", "Subject: caf\xe9\r\n\r\ncaf\xe9\r\n", false, "Subject: caf\xe9"},
		{"UTF-8 header", "Subject: café\r\n\r\ncaf\xe9\r\n", false, "Subject: café"},
		{"UTF-8 header, declared", "Subject: café\r\n\r\ncafé\r\n", true, "Subject: café"},
		{"signed", "DKIM-Signature: v=1\r\nSubject: hi\r\n\r\ncaf\xe9\r\n", false, "caf\xe9"},
		{"multipart/signed", "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\ncaf\xe9\r\n--b--\r\n", false, "caf\xe9"},
		{"part with an 8-bit header", part + "X-Name: caf\xe9\r\n\r\ncaf\xe9\r\n--b--\r\n", false, "Content-Type: multipart/mixed"},
		{"malformed", "Content-Type: multipart/mixed\r\nSubject: hi\r\n\r\ncaf\xe9\r\n", false, "Subject: hi"},
	}
	hosts := map[string][]string{"all extensions": nil, "no 8BITMIME": {"8BITMIME"}, "neither": {"8BITMIME", "SMTPUTF8", "DSN"}}
	for _, tt := range tests {
		for host, without := range hosts {
			t.Run(tt.name+", "+host, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					inet := smtptest.NewNetwork(t)
					inet.MX("next.test", "mx.next.test").Reject("bob@next.test", nil)
					home := inet.MX("source.test", "mx.source.test")
					home.Without(without...)
					r := newRelay(inet)
					inet.Go(r.Run)
					env := smtp.NewEnvelope("ann@source.test", "bob@next.test")
					env.Ret, env.UTF8 = smtp.RetFull, tt.declared
					if _, err := r.Send(t.Context(), env, strings.NewReader(tt.content)); err != nil {
						t.Fatal(err)
					}
					status, original := readReport(t, home.Wait(1)[0].Data)
					if !strings.Contains(status, "Final-Recipient: rfc822; bob@next.test\r\nAction: failed\r\nStatus: 5.1.1\r\n") {
						t.Errorf("got fields %q, want the failure for bob", status)
					}
					if !strings.Contains(original, tt.want) {
						t.Errorf("got the original %q, want %q in it", original, tt.want)
					}
				})
			})
		}
	}
}

// readReport returns the fields and the original of a report. Quoted-printable is decoded, in the parts of the original
// too.
func readReport(t *testing.T, data []byte) (status, original string) {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" {
		t.Fatalf("got a %s, %v, want a multipart/report", kind, err)
	}
	var parts []string
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := r.NextPart() // decodes quoted-printable
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, string(b))
	}
	if len(parts) != 3 {
		t.Fatalf("got %d parts, want 3, in %q", len(parts), data)
	}
	if strings.Contains(parts[2], "Content-Transfer-Encoding: quoted-printable") {
		b, _ := io.ReadAll(quotedprintable.NewReader(strings.NewReader(parts[2])))
		parts[2] = string(b)
	}
	return parts[1], parts[2]
}

// TestReportThatCantGo: a report to a local part in UTF-8 can't go to a host without SMTPUTF8. That is logged, once.
func TestReportThatCantGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		inet.MX("next.test", "mx.next.test").Reject("bob@next.test", nil)
		inet.MX("source.test", "mx.source.test").Without("SMTPUTF8")
		r := newRelay(inet)
		var log bytes.Buffer
		r.Logger = slog.New(slog.NewTextHandler(&log, nil))
		inet.Go(r.Run)
		mustSend(t, r, "änn@source.test", "bob@next.test")
		synctest.Wait()
		lost := regexp.MustCompile(`level=WARN msg=rejected to=änn@source.test .* reply="554 5.6.9 .* about=1\n`)
		if n := len(lost.FindAllString(log.String(), -1)); n != 1 || queued(t, r) != 0 {
			t.Errorf("got %d lines, %d tasks left, want 1 and 0, in\n%s", n, queued(t, r), log.String())
		}
	})
}
