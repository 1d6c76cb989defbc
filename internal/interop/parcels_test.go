package interop

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/postrider/postrider/smtp"
)

// parcel is a message whose bytes a host must have as they were sent.
type parcel struct {
	name    string
	content string
	to      []string // local parts in place of the parcel's own name
	from    string   // in place of ann@source.test
	utf8    bool     // it needs SMTPUTF8
	dsn     bool     // with all parameters of DSN
}

// parcels are what is easily broken on the way, a thing each. Those over 1 MiB go by BDAT to a host with CHUNKING, which needs
// no CRLF at the end of the content, as DATA does.
func parcels() []parcel {
	long := strings.Repeat("0123456789", 99) + "01234567"
	var many []string
	for i := range 10 {
		many = append(many, fmt.Sprintf("many%d", i))
	}
	many[7] = "nobody"
	var eightBit []byte
	for c := 0x80; c <= 0xff; c++ {
		eightBit = append(eightBit, byte(c))
	}
	return []parcel{
		{name: "text", content: letter("Hello.\r\n")},
		{name: "folded, spaced and empty fields", content: "X-Tight:tight\r\nX-Wide:   wide \t \r\nX-Empty:\r\nX-Folded: a\r\n\tb\r\n  c \r\n" + letter("Hello.\r\n")},
		{name: "dots", content: letter(".\r\n..\r\n...\r\n.a\r\n..b\r\n. \r\na.\r\n.\r\n")},
		{name: "a dot first", content: letter(".")},
		{name: "trailing spaces", content: letter("one \r\ntabs\t\t\r\n   \r\n \t \r\nlast   \r\n")},
		{name: "empty lines at the end", content: letter("Hello.\r\n\r\n\r\n\r\n\r\n")},
		{name: "lines of 998 octets", content: letter(long + "\r\n." + long[1:] + "\r\n" + long + "\r\n")},
		{name: "8-bit body", content: letter(string(eightBit) + "\r\nGrüße\r\n")},
		{name: "no final CRLF", content: letter("Hello.")},
		{name: "body of one CRLF", content: letter("\r\n")},
		{name: "empty body", content: letter("")},
		{name: "header alone", content: strings.TrimSuffix(letter(""), "\r\n")},
		{name: "empty header", content: "\r\nHello.\r\n"},
		{name: "no header", content: ".This is no header field.\r\nHello.\r\n"},
		{name: "nothing", content: ""},
		{name: "900 KiB of short lines", content: letter(strings.Repeat(".a\r\n..\r\nb\r\n", 900<<10/11))}, // each falls on an edge of a buffer somewhere
		{name: "3 MiB", content: letter(strings.Repeat("."+long[:77]+"\r\n", 3<<20/80))},
		{name: "3 MiB of 8 bits, no final CRLF", content: letter(strings.Repeat(string(eightBit[:78])+"\r\n", 3<<20/80) + "end")},
		{name: "10 recipients, one refused", content: letter("Hello.\r\n"), to: many},
		{name: "DSN parameters", content: letter("Hello.\r\n"), dsn: true},
		// At the end, as Exim calls all that comes behind them in a session UTF8, too.
		{name: "UTF-8 header", content: "X-Greeting: Grüße, 你好\r\n" + letter("Hello.\r\n"), utf8: true},
		{name: "UTF-8 address", content: letter("Hello.\r\n"), to: []string{"grüße"}, from: "jörg@source.test", utf8: true},
	}
}

// letter puts a header on a body. It has what some hosts add where it's missing.
func letter(body string) string {
	return "From: Ann <ann@source.test>\r\nTo: Bob <bob@next.test>\r\nSubject: a letter\r\n" +
		"Message-ID: <letter@source.test>\r\nDate: Sun, 22 Nov 2026 12:00:00 +0000\r\n" +
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + body
}

const envelopeID = "QQ314159+x=y" // travels as xtext

// envelope addresses the parcel within a domain; names begin with the prefix, unless they are to be refused.
func (p *parcel) envelope(prefix, domain string) *smtp.Envelope {
	names := p.to
	if names == nil {
		names = []string{strings.ToLower(strings.NewReplacer(" ", "-", ",", "").Replace(p.name))} // Dovecot makes it lower case
	}
	from := cmp.Or(p.from, "ann@source.test")
	if p.dsn {
		from = prefix + ".sender@" + domain // the host's report comes back to it
	}
	env := smtp.NewEnvelope(from)
	env.UTF8 = p.utf8
	for _, name := range names {
		if name != "nobody" {
			name = prefix + "." + name
		}
		env.Recipients = append(env.Recipients, smtp.Recipient{Address: name + "@" + domain})
	}
	if p.dsn {
		env.Ret, env.EnvID = smtp.RetHeaders, envelopeID
		env.Recipients[0].Notify, env.Recipients[0].ORCPT = smtp.NotifySuccess|smtp.NotifyFailure, "rfc822;first+x=y@source.test"
	}
	return env
}
