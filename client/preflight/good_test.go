package preflight

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// zone is the internet in memory with PTR records.
type zone struct {
	*smtptest.Network
	names map[string][]string // by address
}

func (z zone) LookupAddr(_ context.Context, addr string) ([]string, error) {
	if names := z.names[addr]; names != nil {
		return names, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: addr, IsNotFound: true}
}

// rsaKey returns the p= of an RSA key of so many bits.
func rsaKey(bits int) string {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	der, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65537})
	if err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// newZone returns the DNS of a good sender, example.com, which sends from mx1.example.com.
func newZone(t *testing.T) (zone, netip.Addr) {
	inet := smtptest.NewNetwork(t)
	host := inet.MX("example.com", "mx1.example.com")
	inet.MX("bounces.example.com", "mx1.example.com")
	inet.MX("lists.example.com", "mx1.example.com")
	source := host.Addrs()[0]
	record := fmt.Sprintf("v=spf1 ip4:%s -all", source)
	for _, name := range []string{"example.com", "bounces.example.com", "lists.example.com", "mx1.example.com"} {
		inet.TXT(name, record)
	}
	inet.FailDNS("example.net", smtptest.ServFail) // the domain of the recipients: nobody asks about it
	inet.TXT("s1._domainkey.example.com", "v=DKIM1; k=rsa; p="+rsaKey(2048))
	inet.TXT("_dmarc.example.com", "v=DMARC1; p=reject; rua=mailto:dmarc@example.com")
	return zone{inet, map[string][]string{source.String(): {"mx1.example.com."}}}, source
}

// sample is a mail with its sender, which a fault changes.
type sample struct {
	zone    zone
	source  netip.Addr
	checker *Checker
	env     *smtp.Envelope
	text    string // with "\n" line ends; DATE and IN-A-YEAR stand for times
	content smtp.Content
}

func newSample(t *testing.T, text string) *sample {
	z, source := newZone(t)
	return &sample{
		zone:   z,
		source: source,
		checker: &Checker{
			Resolver: z, Sources: []netip.Addr{source}, Hostname: "mx1.example.com",
			Keys: []Key{{Domain: "example.com", Selector: "s1"}},
		},
		env:  smtp.NewEnvelope("bounces@bounces.example.com", "ann@example.net"),
		text: text,
	}
}

// replace changes the text. What it replaces must be there.
func (s *sample) replace(t *testing.T, old, by string) {
	t.Helper()
	if !strings.Contains(s.text, old) {
		t.Fatalf("no %q in the text", old)
	}
	s.text = strings.Replace(s.text, old, by, 1)
}

func (s *sample) findings(t *testing.T) Findings {
	if s.content == nil {
		now := time.Now()
		text := strings.ReplaceAll(s.text, "DATE", now.Format(time.RFC1123Z))
		text = strings.ReplaceAll(text, "IN-A-YEAR", now.AddDate(1, 0, 0).Format(time.RFC1123Z))
		s.content = smtp.Text(text)
	}
	return append(s.checker.Message(s.env, s.content), s.checker.Sender(t.Context(), s.env, s.content)...)
}

const transactional = `From: Shop <shop@example.com>
To: Ann <ann@example.net>
Subject: =?utf-8?q?Your_order_=E2=84=9617?=
Date: DATE
Message-ID: <order.17@example.com>
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

Thank you for your order =E2=84=9617.
`

const newsletter = `From: =?utf-8?q?Tee_&_S=C3=B6hne?= <news@example.com>
To: ann@example.net
Reply-To: "Tea, and more" <help@example.com>
Subject: Tea of the month
Date: DATE
Message-ID: <issue.7.ann@example.com>
List-ID: Tea of the month <tea.example.com>
List-Unsubscribe: <https://example.com/unsubscribe?k=abc>, <mailto:unsubscribe@example.com?subject=abc>
List-Unsubscribe-Post: List-Unsubscribe=One-Click
Feedback-ID: issue7:tea:example.com
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=s1;
	h=from:to:subject:date:message-id:list-unsubscribe:list-unsubscribe-post;
	bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary="b 1"

--b 1
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

Grüner Tee.
--b 1
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: base64

PHA+R3LDvG5lciBUZWUuPC9wPg==
--b 1--
`

const report = `From: Mail System <postmaster@example.com>
To: bob@example.com
Subject: Your message could not be delivered
Date: DATE
Message-ID: <report.1@mx1.example.com>
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=r

--r
Content-Type: text/plain; charset=utf-8

Your message could not be delivered.
--r
Content-Type: message/delivery-status

Reporting-MTA: dns; mx1.example.com

Final-Recipient: rfc822; ann@example.net
Action: failed
Status: 5.1.1
--r
Content-Type: text/rfc822-headers

From: bob@example.com
From: bob@example.com
Subject: =?broken
--r--
`

const calendar = `From: Bob <bob@example.com>
Sender: calendar@example.com
To: Ann <ann@example.net>, "Carl (Sales)" <carl@example.org>
Subject: Tea
Date: DATE
Message-ID: <tea.1@[192.0.2.1]>
MIME-Version: 1.0 (a comment)
Content-Type: text/calendar; charset=utf-8; method=REQUEST; name*=utf-8''tee%20f%C3%BCr%20zwei.ics
Content-Transfer-Encoding: 7bit

BEGIN:VCALENDAR
END:VCALENDAR
`

const international = `From: Bücher <bücher@example.com>
To: Ånn <ånn@example.net>
Subject: Grüße aus Zürich
Date: DATE (a comment)
Message-ID: <grüße.1@example.com>
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

Grüße.
`

const listed = `Return-Path: <tea-bounces@lists.example.com>
Received: from a.example by mx1.example.com with ESMTP id 1
	for <tea@lists.example.com>; DATE
Received: from b.example by a.example with ESMTP id 2; DATE
From: Ann via Tea <tea@lists.example.com>
Reply-To: Ann <ann@example.net>
To: tea@lists.example.com
Cc: undisclosed-recipients:;
Subject: [Tea] =?ISO-8859-1?Q?gr=FCn?= =?iso-8859-2?B?6Q==?= and black
Date: DATE
Message-ID: <CAF+x=_-/1@mail.example.net>
In-Reply-To: <1@example.net>
References: <0@example.net>
	<1@example.net>
Precedence: list
List-ID: <tea.lists.example.com>
List-Post: <mailto:tea@lists.example.com>
List-Unsubscribe: <mailto:tea-leave@lists.example.com>

I prefer black tea.
`

// mixed has parts of all encodings, a signature, and messages and texts that look like faults where none is.
const mixed = `From: Shop <shop@example.com>
To: Ann <ann@example.net>
Subject: =?ISO-2022-JP?B?GyRCJEYbKEI=?= =?iso-8859-1?q?T=E9?=
	with a tab	inside
Date: DATE
Message-ID: <mixed.1@example.com>
MIME-Version: 1.0
Content-Type: multipart/signed; micalg=sha-256; protocol="application/pkcs7-signature"; boundary=x

Old programs show this: --x2 or =zz.
--x
Content-Type: multipart/mixed; boundary="b b"

--b b
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

Gr=c3=bcn, a long line that ends =
here, and with blanks = 	
here. --b b-- isn't the end: 1=3D1.=20
--b b  
Content-Type: application/pdf; name="a.pdf"
Content-Transfer-Encoding: BASE64

JVBERi0xLjQK
 JVBERi0xLjQ=

--b b
Content-Type: message/rfc822

From: bob@example.net
Content-Type: multipart/mixed; boundary=c
Subject: cut short

--c
Content-Transfer-Encoding: base64

!
--b b

No header.
--b b
Content-Type: text/plain; charset="utf-8"
Content-Transfer-Encoding: base64

--b b--
after the end = !
--x
Content-Type: application/pkcs7-signature; name=smime.p7s
Content-Transfer-Encoding: base64 (a comment)

MIIB
--x--
`

// TestGoodMail: nothing is found in a good mail of each kind, and no host is connected to.
func TestGoodMail(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		change     func(*sample)
	}{
		{"transactional", transactional, nil},
		{"transactional, of a large sender", transactional, func(s *sample) {
			s.text = strings.Replace(s.text, "MIME-V", "List-Unsubscribe: <https://example.com/u>\n"+
				"List-Unsubscribe-Post: List-Unsubscribe=One-Click\nMIME-V", 1)
			s.checker.Bulk = true
		}},
		{"an unknown name, as Mailchimp writes it", transactional, func(s *sample) {
			s.text = strings.Replace(s.text, "\nTo: Ann ", "\nTo: =?utf-8?Q??= ", 1)
		}},
		{"through a provider", transactional, func(s *sample) { s.checker.Sources, s.checker.Hostname = nil, "" }},
		{"newsletter", newsletter, func(s *sample) { s.checker.Bulk, s.checker.Keys = true, nil }},
		{"report", report, func(s *sample) { s.env.From = "" }},
		{"report, Hostname unknown", report, func(s *sample) { s.env.From, s.checker.Hostname = "", "" }},
		{"calendar", calendar, nil},
		{"mixed", mixed, nil},
		{"without the last line end", strings.TrimSuffix(mixed, "\n"), nil},
		{"SMTPUTF8", international, func(s *sample) { s.env.Recipients[0].Address = "ånn@example.net" }},
		{"SMTPUTF8, declared", international, func(s *sample) { s.env.UTF8 = true }},
		{"list", listed, func(s *sample) { s.env.From = "tea-bounces@lists.example.com" }},
		{"Ed25519", transactional, func(s *sample) {
			s.zone.TXT("s1._domainkey.example.com", "k=ed25519; p="+base64.StdEncoding.EncodeToString(make([]byte, 32)))
		}},
		{"a CNAME for the key", transactional, func(s *sample) {
			s.zone.CNAME("s1._domainkey.example.com", "key.provider.example")
			s.zone.TXT("key.provider.example", "p="+rsaKey(2048)+";")
		}},
		{"no MX, an address", transactional, func(s *sample) {
			s.env.From = "bounces@mx1.example.com"
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSample(t, tt.text)
			if tt.change != nil {
				tt.change(s)
			}
			if got := s.findings(t); len(got) != 0 {
				t.Errorf("got\n%s\nwant nothing", got)
			}
			if n := s.zone.Host("mx1.example.com").Connections(); n > 0 {
				t.Errorf("got %d connections, want none", n)
			}
		})
	}
}
