package client

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// TestForm holds every combination of what a message asks and what a host has against this table. A message is written as
// what is 8-bit in it:
//
//	d  its sender declared SMTPUTF8
//	s  the address of the sender has no ASCII form
//	r  that of a recipient has none
//	u  the header is UTF-8
//	x  the header is 8-bit, and not UTF-8
//	b  the body is 8-bit
//
// How it goes to a host is "U" (SMTPUTF8), "8" (BODY=8BITMIME), "c" (the body converted), "-" (none of these), or the
// detail of the code 5.6 by which it isn't sent.
func TestForm(t *testing.T) {
	hosts := []extensions{{}, {eightBit: true}, {utf8: true}, {eightBit: true, utf8: true}}
	const table = `
		message | neither | 8BITMIME | SMTPUTF8 | both

		        | -       | -        | -        | -
		b       | c       | 8        | c        | 8
		x       | -       | 8        | -        | 8
		xb      | c       | 8        | c        | 8
		u       | -       | 8        | -        | 8
		ub      | c       | 8        | c        | 8

		d       | -       | -        | -        | -
		db      | c       | 8        | c        | 8
		dx      | -       | 8        | -        | 8
		dxb     | c       | 8        | c        | 8
		du      | 9       | 9        | U        | 8U
		dub     | 9       | 9        | Uc       | 8U

		r       | -       | -        | U        | U
		rb      | c       | 8        | Uc       | 8U
		rx      | -       | 8        | U        | 8U
		rxb     | c       | 8        | Uc       | 8U
		ru      | -       | 8        | U        | 8U
		rub     | c       | 8        | Uc       | 8U
		rd      | -       | -        | U        | U
		rdb     | c       | 8        | Uc       | 8U
		rdx     | -       | 8        | U        | 8U
		rdxb    | c       | 8        | Uc       | 8U
		rdu     | 9       | 9        | U        | 8U
		rdub    | 9       | 9        | Uc       | 8U

		s       | 7       | 7        | U        | U
		sb      | 7       | 7        | Uc       | 8U
		sx      | 7       | 7        | U        | 8U
		sxb     | 7       | 7        | Uc       | 8U
		su      | 7       | 7        | U        | 8U
		sub     | 7       | 7        | Uc       | 8U
		sd      | 7       | 7        | U        | U
		sdb     | 7       | 7        | Uc       | 8U
		sdx     | 7       | 7        | U        | 8U
		sdxb    | 7       | 7        | Uc       | 8U
		sdu     | 7       | 7        | U        | 8U
		sdub    | 7       | 7        | Uc       | 8U
		`
	rows := 0
	for line := range strings.SplitSeq(table, "\n") {
		cells := strings.Split(line, "|")
		if len(cells) == 1 || strings.Contains(line, "message") {
			continue
		}
		rows++
		message := strings.TrimSpace(cells[0])
		has := func(c string) bool { return strings.Contains(message, c) }
		env := smtp.NewEnvelope("ann@client.test", "eve@bücher.test", "bob@example.net")
		env.UTF8 = has("d")
		if has("s") {
			env.From = "änn@client.test"
		}
		if has("r") {
			env.Recipients[1].Address = "böb@example.net"
		}
		content := "Subject: hi\r\n"
		if has("u") {
			content += "X: caf\u00e9\r\n"
		}
		if has("x") {
			content += "X: caf\xe9\r\n"
		}
		content += "\r\nHello\r\n"
		if has("b") {
			content += "caf\xe9\r\n"
		}
		m := newMessage(env, strings.NewReader(content))
		if f := m.check(); f != nil {
			t.Fatal(f)
		}
		for i := range hosts {
			f, no := m.demand().form(&hosts[i])
			var got string
			if f.body == smtp.Body8BitMIME {
				got = "8"
			}
			if f.utf8 {
				got += "U"
			}
			if f.convert {
				got += "c"
			}
			switch {
			case no != nil:
				got += fmt.Sprint(no.Enhanced[2])
			case got == "":
				got = "-"
			}
			if want := strings.TrimSpace(cells[1+i]); got != want {
				t.Errorf("message %q for host %d: got %s, want %s", message, i, got, want)
			}
		}
	}
	if rows != 36 {
		t.Errorf("got %d rows, want 36", rows)
	}
}

// TestDeclaredForAPart: a UTF-8 header of a part needs SMTPUTF8 too, if the sender declared it.
func TestDeclaredForAPart(t *testing.T) {
	const content = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" +
		"Content-Disposition: attachment; filename=\"café\"\r\n\r\nHello\r\n--b--\r\n"
	for _, declared := range []bool{false, true} {
		env := smtp.NewEnvelope("ann@client.test", "bob@example.net")
		env.UTF8 = declared
		m := newMessage(env, strings.NewReader(content))
		if f := m.check(); f != nil {
			t.Fatal(f)
		}
		if f, no := m.demand().form(&extensions{eightBit: true, utf8: true}); f.utf8 != declared || no != nil {
			t.Errorf("declared %v: got SMTPUTF8 %v, %v, want %v", declared, f.utf8, no, declared)
		}
	}
}

// TestSevenBitHosts sends an 8-bit message to hosts of which some take 7 bits or ASCII only.
func TestSevenBitHosts(t *testing.T) {
	const (
		plain     = "Subject: hi\r\n\r\ncafé\r\n"
		signed    = "DKIM-Signature: v=1\r\nSubject: hi\r\n\r\ncafé\r\n"
		converted = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ncaf=C3=A9\r\n"
		unsent    = "rejected 5.6.3"
	)
	lacks := func(keywords ...string) func(*smtptest.Host) {
		return func(h *smtptest.Host) { h.Without(keywords...) }
	}
	down := (*smtptest.Host).Down
	busy := func(h *smtptest.Host) {
		h.Without("8BITMIME")
		h.Answer(smtp.StageMail, smtp.NewReply(451, "4.3.0", "later"))
	}
	seven := lacks("8BITMIME")
	fine := func(*smtptest.Host) {}
	type hosts []func(*smtptest.Host)
	tests := []struct {
		name    string
		hosts   hosts
		content string
		env     func(*smtp.Envelope)
		tr      func(*Transport)
		at      int    // the host that has it
		want    string // what it has, or the outcome
	}{
		{name: "converted at the first host", hosts: hosts{seven, fine}, content: plain, want: "Subject: hi\r\n" + converted},
		{name: "signed, another host takes it", hosts: hosts{seven, fine}, content: signed, at: 1, want: signed},
		{name: "signed, only the third host takes it", hosts: hosts{seven, seven, fine}, content: signed, at: 2, want: signed},
		{name: "signed, no host takes it", hosts: hosts{seven, seven}, content: signed, want: unsent},
		{name: "signed, no host takes it, to be converted", hosts: hosts{seven, seven}, content: signed,
			tr: func(tr *Transport) { tr.ConvertSigned = true }, want: "DKIM-Signature: v=1\r\nSubject: hi\r\n" + converted},
		{name: "to be converted, but another host takes it", hosts: hosts{seven, fine}, content: signed,
			tr: func(tr *Transport) { tr.ConvertSigned = true }, at: 1, want: signed},
		{name: "to be converted, the only host", hosts: hosts{seven}, content: signed,
			tr: func(tr *Transport) { tr.ConvertSigned, tr.MaxAddrs = true, 1 }, want: "DKIM-Signature: v=1\r\nSubject: hi\r\n" + converted},
		{name: "to be converted, another host is down", hosts: hosts{seven, down}, content: signed,
			tr: func(tr *Transport) { tr.ConvertSigned = true }, want: "DKIM-Signature: v=1\r\nSubject: hi\r\n" + converted},
		{name: "signed, with the null reverse-path", hosts: hosts{seven, seven}, content: signed,
			env: func(env *smtp.Envelope) { env.From = "" }, want: "DKIM-Signature: v=1\r\nSubject: hi\r\n" + converted},
		{name: "signed, the other host is down", hosts: hosts{seven, down}, content: signed, want: "deferred 4.4.1"},
		{name: "signed, the first host is down", hosts: hosts{down, seven}, content: signed, want: "deferred 4.4.1"},
		{name: "signed, the first host defers", hosts: hosts{busy, seven}, content: plain, at: 1, want: "Subject: hi\r\n" + converted},
		{name: "7-bit and signed", hosts: hosts{seven, fine}, content: "DKIM-Signature: v=1\r\n\r\nHello\r\n", want: "DKIM-Signature: v=1\r\n\r\nHello\r\n"},
		{name: "can't be converted", hosts: hosts{seven, fine}, content: "Content-Transfer-Encoding: x-y\r\n\r\n\xff\r\n", at: 1,
			want: "Content-Transfer-Encoding: x-y\r\n\r\n\xff\r\n"},
		{name: "can't be converted anywhere", hosts: hosts{seven, seven}, content: "Content-Transfer-Encoding: x-y\r\n\r\n\xff\r\n", want: unsent},
		{name: "header", hosts: hosts{lacks("8BITMIME", "SMTPUTF8")}, content: "Subject: caf\xe9\r\n\r\nHello\r\n", want: "Subject: caf\xe9\r\n\r\nHello\r\n"},
		{name: "header in UTF-8, declared, another host takes it", hosts: hosts{lacks("SMTPUTF8"), fine}, content: "Subject: café\r\n\r\nHello\r\n",
			env: func(env *smtp.Envelope) { env.UTF8 = true }, at: 1, want: "Subject: café\r\n\r\nHello\r\n"},
		{name: "header in UTF-8, declared, no host takes it", hosts: hosts{lacks("SMTPUTF8"), lacks("SMTPUTF8")}, content: "Subject: café\r\n\r\nHello\r\n",
			env: func(env *smtp.Envelope) { env.UTF8 = true }, want: "rejected 5.6.9"},
		{name: "recipient in UTF-8, another host takes it", hosts: hosts{lacks("SMTPUTF8"), fine}, content: plain,
			env: func(env *smtp.Envelope) { env.Recipients[0].Address = "böb@example.net" }, at: 1, want: plain},
		{name: "recipient in UTF-8, another host is down", hosts: hosts{lacks("SMTPUTF8"), down}, content: plain,
			env: func(env *smtp.Envelope) { env.Recipients[0].Address = "böb@example.net" }, want: "deferred 4.4.1"},
		{name: "recipient in UTF-8, no host takes it", hosts: hosts{lacks("SMTPUTF8")}, content: plain,
			env: func(env *smtp.Envelope) { env.Recipients[0].Address = "böb@example.net" }, want: "rejected 5.6.7"},
		{name: "too big for one host", hosts: hosts{func(h *smtptest.Host) { h.MaxSize(10) }, fine}, content: plain, at: 1, want: plain},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				var list []*smtptest.Host
				for i, set := range tt.hosts {
					h := inet.MX("example.net", fmt.Sprintf("mx%d.example.net", i))
					set(h)
					list = append(list, h)
				}
				tr := &Transport{Hostname: "client.test", Router: &mx.Router{Resolver: inet}, DialContext: inet.DialContext}
				defer tr.Close()
				env := smtp.NewEnvelope("ann@client.test", "bob@example.net")
				if tt.tr != nil {
					tt.tr(tr)
				}
				if tt.env != nil {
					tt.env(env)
				}
				results, _ := tr.Send(context.Background(), env, strings.NewReader(tt.content))
				r := results[0]
				got := fmt.Sprintf("%s %s", r.Outcome, r.Reply.Enhanced)
				for i, h := range list {
					for _, m := range h.Messages() {
						got = string(m.Data)
						if i != tt.at {
							t.Errorf("got it at host %d, want host %d", i, tt.at)
						}
					}
				}
				if got != tt.want || len(list[tt.at].Messages()) > 1 {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// TestConvertsOnce: a message is converted once for all of its hosts and recipients.
func TestConvertsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		var to []string
		for i := range 5 {
			domain := fmt.Sprintf("d%d.test", i)
			inet.MX(domain, "mx."+domain).Without("8BITMIME")
			to = append(to, "bob@"+domain)
		}
		tr := &Transport{Hostname: "client.test", Router: &mx.Router{Resolver: inet}, DialContext: inet.DialContext}
		defer tr.Close()
		content := &counting{Content: strings.NewReader("Subject: hi\r\n\r\ncafé\r\n")}
		if _, err := tr.Send(context.Background(), smtp.NewEnvelope("ann@client.test", to...), content); err != nil {
			t.Fatal(err)
		}
		// One scan, one walk through the parts, one measure of the body; and for each host the header, the empty line and
		// the body.
		if want := 3 + 5*3; content.reads != want {
			t.Errorf("got %d reads, want %d", content.reads, want)
		}
	})
}

type counting struct {
	smtp.Content
	reads int
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	c.reads++
	return c.Content.ReadAt(p, off)
}
