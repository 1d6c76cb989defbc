package interop

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	netmail "net/mail"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// rawHeaders are header fields with octets above 127, as many devices write them. They don't declare SMTPUTF8 on MAIL.
var rawHeaders = []struct{ name, fields string }{
	{"latin1-subject", "Subject: caf\xe9\r\n"},
	{"utf8-subject", "Subject: café, 你好\r\n"},
	{"utf8-from", "From: Ännchen <ann@source.test>\r\n"},
	{"latin1-to", "To: \"J\xf6rg, B\xfcro\" <bob@next.test>\r\nX-Folded: a\r\n\tb\xdf\r\n"},
	{"latin1-filename", "Content-Disposition: attachment; filename=\"Gr\xfc\xdfe.txt\"\r\n"},
}

// TestRawHeader: mail with octets above 127 in its header, which came without SMTPUTF8, goes over our Relay and a Postfix
// to a host that has no SMTPUTF8. It arrives as it was sent, also with the null reverse-path.
func TestRawHeader(t *testing.T) {
	for _, enabled := range []string{"yes", "no"} {
		t.Run("smtputf8_enable="+enabled, func(t *testing.T) {
			inet := smtptest.NewNetwork(t)
			last := inet.Host("last.test")
			last.Without("SMTPUTF8", "STARTTLS")
			h := postfixWith(t, "smtputf8_enable = "+enabled+"\nrelayhost = [127.0.0.1]:"+bridge(t, inet, last)+"\n")
			own := serveRelay(t, &postrider.Relay{
				Routes: map[string]mx.Route{"*": h.mxRoute(t, ways[0])}, Resolver: loopback{}, DialContext: h.dial,
			})
			sent := make(map[string]string) // by recipient
			for _, header := range rawHeaders {
				for by, from := range map[string]string{"ann": "ann@source.test", "null": ""} {
					to := header.name + "." + by + "@next.test"
					sent[to] = header.fields + letter("Hello.\r\n")
					own.accepts(t, smtp.NewEnvelope(from, to), sent[to])
				}
			}
			for to := range sent {
				if res := own.result(t, to); res.Outcome != smtp.Delivered {
					t.Errorf("%s: got %s, want it delivered", to, describe(res))
					delete(sent, to)
				}
			}
			grows(len(sent), func() int { return len(last.Messages()) })
			for to, content := range sent {
				if got := messageTo(last, to); got == nil {
					t.Errorf("%s: got nothing at the last host, want the mail", to)
				} else if data := withoutReceived(got.Data); string(data) != content {
					t.Errorf("%s: got %s", to, firstDifference(data, []byte(content)))
				}
			}
		})
	}
}

// accepts hands a mail to the relay, byte by byte as it is, without SMTPUTF8 or BODY, as HELO clients do.
func (r *ownRelay) accepts(t *testing.T, env *smtp.Envelope, content string) {
	t.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+r.port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stuffed := strings.ReplaceAll("\r\n"+content, "\r\n.", "\r\n..")[2:]
	script := []string{"HELO source.test\r\n", "MAIL FROM:<" + env.From + ">\r\n",
		"RCPT TO:<" + env.Recipients[0].Address + ">\r\n", "DATA\r\n", stuffed + ".\r\n"}
	in := bufio.NewReader(conn)
	for i, want := range []string{"220", "250", "250", "250", "354", "250"} { // HELO's answers have one line each
		if got, _ := in.ReadString('\n'); !strings.HasPrefix(got, want+" ") {
			t.Fatalf("after %q: got %q, want %s", script[:i], got, want)
		}
		if i < len(script) {
			io.WriteString(conn, script[i])
		}
	}
}

// eightBitMails have octets above 127 in their bodies.
var eightBitMails = []struct{ name, content string }{
	{"text", letter("Grüße, 你好.\r\n.\r\n..\r\nFrom here\r\ntrailing   \r\n" +
		strings.Repeat("lang, länger ", 70) + "\r\n=3D\r\n")},
	{"no-final-crlf", letter("Grüße")},
	{"latin1", strings.Replace(letter("Gr\xfc\xdfe\r\n"), "utf-8", "iso-8859-1", 1)},
	{"not-declared", "Subject: not declared\r\nFrom: ann@source.test\r\n\r\nGr\xfc\xdfe\r\n"},
	{"raw-header", "Subject: caf\xe9\r\nFrom: ann@source.test\r\n\r\nGr\xfc\xdfe\r\n"},
	{"declared-7bit", strings.Replace(letter("Grüße\r\n"), "8bit", "7bit", 1)},
	{"octets", "Subject: octets\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n\r\n\x01\x7f\x80\xff\r\n"},
	{"nested", nestedMail},
	{"folded", "Subject: folded\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n\tboundary=\"b=_(1)\"\r\n\r\n" +
		"--b=_(1) \t\r\ncontent-type:\r\n text/plain\r\ncontent-transfer-encoding:8BIT\r\n\r\nGr\xfc\xdfe\r\n--b=_(1)--\r\n"},
	{"boundary-in-boundary", "Subject: two\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
		"--b\r\nContent-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\n\r\nGr\xfc\xdfe\r\n--bb--\r\n--b--\r\n"},
}

const nestedMail = "From: ann@source.test\r\nSubject: nested\r\nMIME-Version: 1.0\r\n" +
	"Content-Type: multipart/mixed; boundary=\"out er\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" +
	"A preamble.\r\n--out er\r\n" +
	"Content-Type: multipart/alternative; boundary=inner\r\n\r\n" +
	"--inner\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße.\r\n" +
	"--inner\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n<p>Grüße.</p>\r\n\r\n" +
	"--inner--\r\n\r\n--out er\r\n" +
	"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" +
	"From: bob@source.test\r\nSubject: within\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n" +
	"Content-Transfer-Encoding: 8bit\r\n\r\nWas zuvor war: müßig.\r\n\r\n--out er\r\n" +
	"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n/wD+\r\n--out er--\r\n"

// TestNo8BITMIME: mail with an 8-bit body goes to a Postfix that doesn't offer 8BITMIME: from a Submission, and by the
// Relay. It arrives in 7 bits, and its parts decode to the octets that were sent.
func TestNo8BITMIME(t *testing.T) {
	h := postfixWith(t, "smtpd_discard_ehlo_keywords = 8bitmime, smtputf8, chunking\n")
	relay := &postrider.Relay{
		Routes: map[string]mx.Route{"*": h.mxRoute(t, ways[0])}, Resolver: loopback{}, DialContext: h.dial,
	}
	own := serveRelay(t, relay)
	s := &client.Submission{
		Addr: h.domain() + ":25", TLS: mx.TLSNone, Hostname: "source.test", Resolver: loopback{}, DialContext: h.dial,
	}
	defer s.Close()
	for _, m := range eightBitMails {
		t.Run(m.name, func(t *testing.T) {
			submitted, relayed := m.name+".submitted@"+h.domain(), m.name+".relayed@"+h.domain()
			env := smtp.NewEnvelope("ann@source.test", submitted)
			sent, _ := s.Send(t.Context(), env, strings.NewReader(m.content))
			own.accepts(t, smtp.NewEnvelope("ann@source.test", relayed), strings.TrimSuffix(m.content, "\r\n")+"\r\n")
			for _, res := range []smtp.Result{sent[0], own.result(t, relayed)} {
				if res.Outcome != smtp.Delivered {
					t.Errorf("%s: got %s, want it delivered", res.Recipient, describe(res))
				} else if err := converted(m.content, h.await(t, []string{res.Recipient})[res.Recipient]); err != nil {
					t.Errorf("%s: %v", res.Recipient, err)
				}
			}
		})
		t.Run("report on "+m.name, func(t *testing.T) {
			sender, unknown := m.name+".sender@"+h.domain(), "nobody."+m.name+"@"+h.domain()
			env := smtp.NewEnvelope(sender, unknown)
			env.Ret = smtp.RetFull
			if _, err := relay.Send(t.Context(), env, strings.NewReader(m.content)); err != nil {
				t.Fatal(err)
			}
			if res := own.result(t, sender); res.Outcome != smtp.Delivered {
				t.Fatalf("got %s, want the report delivered", describe(res))
			}
			report := h.await(t, []string{sender})[sender]
			if at := bytes.IndexFunc(report, func(c rune) bool { return c >= 0x80 }); at >= 0 {
				t.Errorf("got %.60q in the report, want 7 bits", report[at:])
			}
			if want := "Final-Recipient: rfc822; " + unknown; !bytes.Contains(report, []byte(want)) {
				t.Errorf("got %q, want %q in it", report, want)
			}
		})
	}
}

// converted compares a mail that was sent with 8 bits with its form of 7 bits.
func converted(sent string, got []byte) error {
	got = withoutReceived(got)
	header, body, _ := bytes.Cut(got, []byte("\r\n\r\n"))
	if at := bytes.IndexFunc(body, func(c rune) bool { return c >= 0x80 }); at >= 0 {
		return fmt.Errorf("got %.60q in the body, want 7 bits", body[at:])
	}
	sentHeader, _, _ := strings.Cut(sent, "\r\n\r\n")
	if subject := subjectOf(sentHeader); subjectOf(string(header)) != subject {
		return fmt.Errorf("got the header %q, want the subject %q", header, subject)
	}
	want, err := decoded([]byte(sent))
	if err != nil {
		return fmt.Errorf("in what was sent: %w", err)
	}
	if leaves, err := decoded(got); err != nil || !slices.Equal(leaves, want) {
		return fmt.Errorf("got the texts %q (%v), want %q, in %q", leaves, err, want, got)
	}
	return nil
}

func subjectOf(header string) string {
	_, rest, _ := strings.Cut("\r\n"+header, "\r\nSubject: ")
	line, _, _ := strings.Cut(rest, "\r\n")
	return line
}

// decoded returns the decoded contents of all parts of a message that have no parts, without CRLFs at their ends.
func decoded(message []byte) (leaves []string, err error) {
	m, err := netmail.ReadMessage(bytes.NewReader(message))
	if err != nil {
		return nil, err
	}
	return decodedPart(m.Header.Get, m.Body)
}

func decodedPart(field func(string) string, body io.Reader) (leaves []string, err error) {
	switch strings.ToLower(field("Content-Transfer-Encoding")) {
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	kind, params, err := mime.ParseMediaType(field("Content-Type"))
	switch {
	case field("Content-Type") != "" && err != nil:
		return nil, err
	case kind == "message/rfc822":
		inner, err := io.ReadAll(body)
		if err != nil {
			return nil, err
		}
		return decoded(inner)
	case !strings.HasPrefix(kind, "multipart/"):
		text, err := io.ReadAll(body)
		return []string{strings.TrimRight(string(text), "\r\n")}, err
	}
	for r := multipart.NewReader(body, params["boundary"]); ; {
		part, err := r.NextRawPart()
		if err == io.EOF {
			return leaves, nil
		}
		if err != nil {
			return nil, fmt.Errorf("multipart: %w", err)
		}
		within, err := decodedPart(part.Header.Get, part)
		if err != nil {
			return nil, err
		}
		leaves = append(leaves, within...)
	}
}
