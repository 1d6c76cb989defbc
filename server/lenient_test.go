package server

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/smtp"
)

// TestLenient: what devices send, with Lenient and without. A message comes through, or the command is refused.
func TestLenient(t *testing.T) {
	const normal = "<ann@example.com> <bob@example.net>"
	tests := []struct {
		name, mail, rcpt string
		strict, lenient  string // the envelope, or the codes of the refusals
	}{
		{"by the RFC", "MAIL FROM:<ann@example.com>", "RCPT TO:<bob@example.net>", normal, normal},
		{"space after the colon", "MAIL FROM: <ann@example.com>", "RCPT TO:  <bob@example.net>", normal, normal},
		{"lower case", "mail from:<ann@example.com>", "rcpt to:<bob@example.net>", normal, normal},
		{"spaces and tabs at the end", "MAIL FROM:<ann@example.com> \t ", "RCPT TO:<bob@example.net> ", normal, normal},
		{"null reverse-path", "MAIL FROM:<>", "RCPT TO:<bob@example.net>", "<> <bob@example.net>", "<> <bob@example.net>"},
		{"two spaces in a quoted local part", `MAIL FROM:<"a  b"@example.com>`, `RCPT TO:<" <c>  "@example.net>`,
			`<"a  b"@example.com> <" <c>  "@example.net>`, `<"a  b"@example.com> <" <c>  "@example.net>`},

		{"no brackets", "MAIL FROM:ann@example.com", "RCPT TO:bob@example.net", "501 503", normal},
		{"no brackets, space after the colon", "MAIL FROM: ann@example.com", "RCPT TO: bob@example.net", "501 503", normal},
		{"no brackets, parameters", "MAIL FROM:ann@example.com SIZE=100", "RCPT TO:bob@example.net NOTIFY=NEVER", "501 503", normal},
		{"no brackets, quoted", `MAIL FROM:"a > b"@example.com SIZE=100`, `RCPT TO:"b \" c"@example.net`,
			"501 503", `<"a > b"@example.com> <"b \" c"@example.net>`},
		{"no brackets, postmaster", "MAIL FROM:ann@example.com", "RCPT TO:postmaster", "501 503", "<ann@example.com> <postmaster>"},
		{"no brackets, source route", "MAIL FROM:@c.example:ann@example.com", "RCPT TO:bob@example.net", "501 503", normal},
		{"spaces within the brackets", "MAIL FROM:< ann@example.com >", "RCPT TO:<bob@example.net >", "501 503", normal},
		{"two spaces after the verb", "MAIL  FROM:<ann@example.com>", "RCPT   TO:<bob@example.net>", "501 503", normal},
		{"space before the verb", " MAIL FROM:<ann@example.com>", "  RCPT TO:<bob@example.net>", "500 500", normal},
		{"space before the colon", "MAIL FROM :<ann@example.com>", "RCPT TO : <bob@example.net>", "501 503", normal},
		{"two spaces between parameters", "MAIL FROM:<ann@example.com>  SIZE=100   BODY=8BITMIME", "RCPT TO:<bob@example.net>  NOTIFY=NEVER",
			"501 503", normal},
		{"all at once", "  mail  from :  ann@example.com   size=100  ", "rcpt  to :  bob@example.net  ", "500 503", normal},

		{"no path", "MAIL FROM:", "RCPT TO:bob@example.net", "501 503", "501 503"},
		{"only parameters", "MAIL FROM: SIZE=100", "RCPT TO:bob@example.net", "501 503", "501 503"},
		{"brackets not closed", "MAIL FROM:<ann@example.com", "RCPT TO:<bob@example.net>", "501 503", "501 503"},
		{"brackets not opened", "MAIL FROM:ann@example.com>", "RCPT TO:<bob@example.net>", "501 503", "501 503"},
		{"brackets twice", "MAIL FROM:<<ann@example.com>>", "RCPT TO:<bob@example.net>", "501 503", "501 503"},
		{"name and brackets", "MAIL FROM:Ann <ann@example.com>", "RCPT TO:<bob@example.net>", "501 503", "501 503"},
		{"quote not closed", `MAIL FROM:"ann@example.com SIZE=100`, "RCPT TO:<bob@example.net>", "501 503", "501 503"},
		{"two paths", "MAIL FROM:ann@example.com eve@example.com", "RCPT TO:<bob@example.net>", "501 503", "501 503"},
		{"comma", "MAIL FROM:ann@example.com,eve@example.com", "RCPT TO:<bob@example.net>", "501 503", "501 503"},
		{"no space after the path", "MAIL FROM:<ann@example.com>SIZE=100", "RCPT TO:<bob@example.net>", "501 503", "501 503"},
		{"spaces around the equals sign", "MAIL FROM:<ann@example.com> SIZE = 100", "RCPT TO:<bob@example.net>", "501 503", "501 503"},
		{"no domain", "MAIL FROM:ann", "RCPT TO:<bob@example.net>", "501 503", "501 503"},
		{"tab after the verb", "MAIL\tFROM:<ann@example.com>", "RCPT TO:<bob@example.net>", "500 503", "500 503"},
		{"tab after the colon", "MAIL FROM:\tann@example.com", "RCPT TO:<bob@example.net>", "500 503", "500 503"},
		{"tab in a quoted local part", "MAIL FROM:\"a\tb\"@example.com", "RCPT TO:<bob@example.net>", "500 503", "500 503"},
		{"bare CR", "MAIL FROM:ann@example.com\rRSET", "RCPT TO:<bob@example.net>", "500 503", "500 503"},
		{"bare LF", "MAIL FROM:ann@example.com\nRSET", "RCPT TO:<bob@example.net>", "500 503", "500 503"},
		{"NUL", "MAIL FROM:ann\x00@example.com", "RCPT TO:<bob@example.net>", "500 503", "500 503"},
		{"8 bit", "MAIL FROM:\xe4nn@example.com", "RCPT TO:<bob@example.net>", "500 503", "500 503"},
		{"UTF-8 without SMTPUTF8", "MAIL FROM:änn@example.com", "RCPT TO:<bob@example.net>", "501 503", "553 503"},
		{"no-break space", "MAIL FROM:\u00a0ann@example.com  SMTPUTF8", "RCPT TO:<bob@example.net>", "501 503",
			"<\u00a0ann@example.com> <bob@example.net>"}, // RFC 6531 §3.3 has it as part of an atom
		{"two words in one", "MAILFROM:<ann@example.com>", "RCPT TO:<bob@example.net>", "500 503", "500 503"},
	}
	for _, tt := range tests {
		for _, lenient := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%t", tt.name, lenient), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d := &desk{}
					c := newWorld(t, &Server{Handler: d, Lenient: lenient}).dial()
					c.want(ehlo, "220", "250")
					got := strings.Join(replyCodes(c.ask(tt.mail+"\r\n"+tt.rcpt+"\r\n")), " ")
					if got == "250 250" {
						c.want(data+body, "354", "250")
						env := d.all()[0].env
						got = "<" + env.From + "> <" + env.Recipients[0].Address + ">"
					}
					want := tt.strict
					if lenient {
						want = tt.lenient
					}
					if got != want {
						t.Errorf("got %s, want %s", got, want)
					}
				})
			})
		}
	}
}

// TestLenientCommands: the same for commands other than MAIL and RCPT.
func TestLenientCommands(t *testing.T) {
	tests := []struct {
		name, raw       string
		strict, lenient string
	}{
		{"HELO without a name", "HELO\r\n", "501", "250"},
		{"EHLO without a name", "EHLO \r\n", "501", "250"},
		{"space before EHLO", " EHLO there\r\n", "500", "250"},
		{"space before a verb", ehlo + " NOOP\r\n", "250 500", "250 250"},
		{"arguments where there are none", ehlo + "RSET now\r\n", "250 501", "250 501"},
		{"AUTH with two spaces", ehlo + "AUTH  PLAIN  AGFubgBzZWNyZXQ=\r\n", "250 504", "250 235"},
		{"AUTH with a space before the response", ehlo + "AUTH PLAIN\r\n AGFubgBzZWNyZXQ= \r\n", "250 334 501", "250 334 235"},
		{"AUTH cancelled with a space", ehlo + "AUTH PLAIN\r\n* \r\n", "250 334 501", "250 334 501"},
		{"spaces alone", ehlo + "   \r\n", "250 500", "250 500"},
		{"bare LF", ehlo + " NOOP\n NOOP\r\n", "250 500", "250 500"},
	}
	for _, tt := range tests {
		for _, lenient := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%t", tt.name, lenient), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					want := tt.strict
					if lenient {
						want = tt.lenient
					}
					srv := &Server{Authenticate: authenticate, AllowInsecureAuth: true, Lenient: lenient}
					newWorld(t, srv).dial().want(tt.raw, strings.Fields("220 "+want)...)
				})
			})
		}
	}
}

// FuzzTidy: what the parsers accept without tidy means the same with it, and nothing that is accepted with it has more
// than printable characters.
func FuzzTidy(f *testing.F) {
	for _, args := range []string{
		"FROM:<ann@example.com> SIZE=1", `  from :  "a > b"@example.com   BODY=8BITMIME  `, "FROM:< @c:a@b >", "FROM:<>",
		"TO:bob@example.net  NOTIFY=NEVER", `TO:<"b \" c"@example.net>`, "TO:postmaster", `TO:"\`, "TO:<\"a\tb\"@c>",
		"FROM:a@b\r\nDATA", "FROM:a\x00@b", "FROM:ü@b  SMTPUTF8", "FROM:a@b  AUTH=\x01",
	} {
		f.Add(args)
	}
	f.Fuzz(func(t *testing.T, args string) {
		strict, err := smtp.ParseMail(args)
		lenient, lerr := smtp.ParseMail(tidy(args, "FROM"))
		if err == nil && (lerr != nil || fmt.Sprint(*strict) != fmt.Sprint(*lenient)) {
			t.Errorf("%q as MAIL: got %+v and %v, want %+v", args, lenient, lerr, strict)
		}
		to, err := smtp.ParseRcpt(args)
		lto, rerr := smtp.ParseRcpt(tidy(args, "TO"))
		if err == nil && (rerr != nil || to != lto) {
			t.Errorf("%q as RCPT: got %+v and %v, want %+v", args, lto, rerr, to)
		}
		if (lerr == nil || rerr == nil) && lineFault("MAIL", []byte(args)) != "" && len(args) < lineMax {
			t.Errorf("got %q accepted, want no control character in it", args)
		}
	})
}
