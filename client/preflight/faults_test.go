package preflight

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// broken is a content that can't be read.
type broken struct{}

func (broken) ReadAt([]byte, int64) (int, error) { return 0, errors.New("the disk fails") }
func (broken) Size() int64                       { return 10 }

// fault is one planted fault. Only its own kinds are found.
type fault struct {
	name  string
	text  string // if empty, transactional
	plant func(t *testing.T, s *sample)
	want  string // the kinds with their severities, sorted and in the order of Findings
}

// replaced plants a fault in the text.
func replaced(old, by string) func(*testing.T, *sample) {
	return func(t *testing.T, s *sample) { s.replace(t, old, by) }
}

var messageFaults = []fault{
	{"nil envelope", "", func(t *testing.T, s *sample) { s.env = nil }, "refusal bad-envelope"},
	{"bad recipient", "", func(t *testing.T, s *sample) { s.env.Recipients[0].Address = "ann" }, "refusal bad-envelope"},
	{"unreadable", "", func(t *testing.T, s *sample) { s.content = broken{} }, "refusal unreadable"},
	{"bare LF", "", func(t *testing.T, s *sample) { s.content = strings.NewReader(s.text) }, "refusal bare-line-end"},
	{"no empty line", "", replaced("\n\nThank", "\nThank"), "refusal bad-header"},
	{"an unfolded line", "", replaced("To: Ann", "To: Bob <bob@example.net>,\nAnn"), "refusal bad-header refusal no-date refusal no-message-id"},
	{"mbox", "", replaced("From: Shop", "From shop@example.com Mon\nFrom: Shop"), "refusal bad-header"},
	{"byte order mark", "", replaced("From: Shop", "\ufeffFrom: Shop"), "refusal bad-header"},
	{"two Subjects", "", replaced("Date:", "subject: again\nDate:"), "refusal duplicate-field"},
	{"two Message-IDs", "", replaced("Date:", "Message-Id: <2@example.com>\nDate:"), "refusal duplicate-field"},
	{"two Content-Types", "", replaced("Date:", "Content-Type: text/plain\nDate:"), "refusal duplicate-field"},
	{"no From", "", replaced("From: Shop <shop@example.com>\n", ""), "refusal no-from"},
	{"two From fields", "", replaced("To:", "From: Evil <evil@example.com>\nTo:"), "refusal several-from"},
	{"two From addresses", "", replaced("<shop@example.com>", "<shop@example.com>, b@example.com"), "refusal several-from"},
	{"From is a name", "", replaced("Shop <shop@example.com>", "Shop"), "refusal bad-from"},
	{"From has a comma", "", replaced("Shop <", "Shop, Inc. <"), "refusal bad-from"},
	{"From is an empty group", "", replaced("Shop <shop@example.com>", "Shop:;"), "refusal bad-from"},
	{"From is at an address", "", replaced("shop@example.com", "shop@[192.0.2.1]"), "refusal bad-from"},
	{"To is no address", "", replaced("<ann@example.net>", "<ann>"), "refusal bad-address"},
	{"To is empty", "", replaced("Ann <ann@example.net>", ""), "refusal bad-address"},
	{"Reply-To has a bad domain", "", replaced("To:", "Reply-To: a@b..example\nTo:"), "refusal bad-address"},
	{"Bcc", "", replaced("To:", "Bcc: carl@example.net\nTo:"), "refusal visible-bcc"},
	{"Resent-Bcc", "", replaced("To:", "Resent-Bcc: carl@example.net\nTo:"), "refusal visible-bcc"},
	{"no Message-ID", "", replaced("Message-ID: <order.17@example.com>\n", ""), "refusal no-message-id"},
	{"Message-ID without brackets", "", replaced("<order.17@example.com>", "order.17@example.com"), "refusal bad-message-id"},
	{"Message-ID without domain", "", replaced("<order.17@example.com>", "<order.17>"), "refusal bad-message-id"},
	{"Message-ID with a blank", "", replaced("<order.17@", "<order 17@"), "refusal bad-message-id"},
	{"Message-ID with two @", "", replaced("<order.17@", "<order@17@"), "refusal bad-message-id"},
	{"Message-ID with dots", "", replaced("<order.17@", "<order..17@"), "refusal bad-message-id"},
	{"Message-ID with an open literal", "", replaced("@example.com>\nM", "@[192.0.2.1>\nM"), "refusal bad-message-id"},
	{"no Date", "", replaced("Date: DATE\n", ""), "refusal no-date"},
	{"Date in another form", "", replaced("DATE", "2026-12-01 10:00"), "refusal bad-date"},
	{"Date in the future", "", replaced("DATE", "IN-A-YEAR"), "refusal date-range"},
	{"Date in the past", "", replaced("DATE", "Thu, 1 Jan 1970 00:00:00 +0000"), "refusal date-range"},
	{"long line", "", replaced("Thank", strings.Repeat("x", 999)+"\nThank"), "refusal long-line"},
	{"long Subject", "", replaced("Your", "Your?="+strings.Repeat("\n x", 600)+"\n =?utf-8?q?"), "refusal large-field"},
	{"long Message-ID", "", replaced("<order", "<"+strings.Repeat("x", 500)), "refusal large-field"},
	{"long field", "", replaced("To:", "X-A: a"+strings.Repeat("\n "+strings.Repeat("x", 900), 40)+"\nTo:"), "refusal large-field"},
	{"large header", "", replaced("To:", strings.Repeat("X-A: "+strings.Repeat("x", 900)+"\n", 600)+"To:"), "refusal large-header"},
	{"many fields", "", replaced("To:", strings.Repeat("X-A: b\n", 5000)+"To:"), "refusal large-header"},
	{"endless header", "", replaced("To:", strings.Repeat("X-A: "+strings.Repeat("x", 900)+"\n", 1200)+"To:"), "refusal large-header"},
	{"large message", "", large(25_000_000, "ann@example.net"), "refusal large-message"},
	{"message too large for Apple", "", large(20_000_000, "ann@iCloud.com"), "refusal large-message"},
	{"message over MaxSize", "", func(t *testing.T, s *sample) { s.checker.MaxSize = 100 }, "refusal large-message"},
	{"encoded-word in quotes", "", replaced("Shop <", `"=?utf-8?q?Sh=C3=B6p?=" <`), "refusal misplaced-word"},
	{"encoded-word in an address", "", replaced("<ann@", "<=?utf-8?q?ann?=@"), "refusal misplaced-word"},
	{"encoded-word in a bare address", "", replaced("Ann <ann@example.net>", "=?utf-8?q?ann?=@example.net"), "refusal misplaced-word"},
	{"encoded-word in a Message-ID", "", replaced("<order.17@", "<=?utf-8?q?=E2=84=96?=@"), "refusal misplaced-word"},
	{"encoded-word in a parameter", "", replaced("charset=utf-8", `charset=utf-8; name="=?utf-8?q?=E2=84=96?="`), "warning misplaced-word"},
	{"encoded-word too long", "", replaced("17?=", strings.Repeat("17", 40)+"?="), "warning bad-word"},
	{"encoded-word amid text", "", replaced("Subject: =", "Subject: Re:x="), "warning bad-word"},
	{"encoded-word before text", "", replaced("17?=", "17?=!"), "warning bad-word"},
	{"encoded-word with a blank", "", replaced("Your_", "Your "), "warning bad-word"},
	{"encoded-word of bad base64", "", replaced("=?utf-8?q?Your_order_=E2=84=9617?=", "=?utf-8?b?!!!?="), "warning bad-word"},
	{"Latin-1 in the header", "", replaced("Shop <", "Sh\xf6p <"), "refusal 8bit-header refusal bad-from"},
	{"UTF-8 without SMTPUTF8", "", replaced("Shop <", "Shöp <"), "refusal 8bit-header"},
	{"UTF-8 in the header of a part", newsletter, replaced("text/html;", `text/html; name="ö";`), "refusal 8bit-header"},
	{"8-bit body in disguise", "", replaced("=E2=84=9617.", "№ 17."), "refusal 8bit-body"},
	{"8-bit body as 7bit", "", func(t *testing.T, s *sample) {
		s.replace(t, "quoted-printable", "7bit")
		s.replace(t, "=E2=84=9617.", "№ 17.")
	}, "refusal 8bit-body"},
	{"8-bit body without charset", "", func(t *testing.T, s *sample) {
		s.replace(t, "quoted-printable", "8bit")
		s.replace(t, "=E2=84=9617.", "№ 17.")
		s.replace(t, "; charset=utf-8", "")
	}, "refusal 8bit-body"},
	{"no MIME-Version", "", replaced("MIME-Version: 1.0\n", ""), "warning bad-mime"},
	{"MIME-Version 2", "", replaced("MIME-Version: 1.0", "MIME-Version: 2.0"), "warning bad-mime"},
	{"Content-Type is none", "", replaced("text/plain;", "text/;"), "refusal bad-mime"},
	{"no boundary", newsletter, replaced(`; boundary="b 1"`, ""), "refusal bad-mime"},
	{"encoded multipart", newsletter, replaced("MIME-Version", "Content-Transfer-Encoding: base64\nMIME-Version"), "refusal bad-mime"},
	{"boundary of no line", newsletter, replaced(`boundary="b 1"`, `boundary="b 2"`), "refusal bad-mime"},
	{"multipart without an end", newsletter, replaced("--b 1--\n", ""), "refusal bad-mime"},
	{"multipart cut within a part", newsletter, replaced("PC9wPg==\n--b 1--\n", "PC9"), "refusal bad-encoding refusal bad-mime"},
	{"inner multipart without an end", newsletter, replaced("Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nGrüner Tee.\n",
		"Content-Type: multipart/related; boundary=c\n\n--c\n\nTea.\n"), "refusal bad-mime"},
	{"part whose type is none", newsletter, replaced("text/html;", "text/;"), "refusal bad-mime"},
	{"part with an unknown encoding", newsletter, replaced("base64", "base-64"), "refusal bad-mime"},
	{"part with a broken header", newsletter, replaced("Content-Transfer-Encoding: base64", "Content-Transfer-Encoding"), "refusal bad-mime"},
	{"multiparts without end", newsletter, nested(30), "warning bad-mime"},
	{"base64 with another character", newsletter, replaced("PHA+", "PHA-"), "refusal bad-encoding"},
	{"base64 after padding", newsletter, replaced("PC9wPg==", "PC9wPg==\nPHA+"), "refusal bad-encoding"},
	{"base64 cut short", newsletter, replaced("PC9wPg==", "PC9wP"), "refusal bad-encoding"},
	{"base64 with a footer", newsletter, replaced("PC9wPg==", "PC9wPg==\n-- \nTea Club"), "refusal bad-encoding"},
	{"base64 that is text", "", replaced("quoted-printable", "base64"), "refusal bad-encoding"},
	{"quoted-printable with a bare =", "", replaced("=E2=84=9617.", "https://example.com/?n=1&v=x"), "refusal bad-encoding"},
	{"quoted-printable cut short", "", replaced("=E2=84=9617.", "=E2=84=9"), "refusal bad-encoding"},
	{"UTF-7", "", replaced("charset=utf-8", "charset=UTF-7"), "warning bad-charset"},
	{"UTF-7 of a part", newsletter, replaced("text/html; charset=utf-8", "text/html; charset=utf-7"), "warning bad-charset"},
	{"UTF-7 in a Subject", "", replaced("=?utf-8?q?Your_order_=E2=84=9617?=", "=?utf-7?q?Your_order_+IRY-17?="), "warning bad-word"},
	{"control character in a Subject", "", replaced("Subject: ", "Subject: \x07 "), "refusal control-character"},
	{"control character in an encoded-word", "", replaced("Your_", "Your=0A"), "refusal control-character"},
	{"C1 control character in an encoded-word", "", replaced("Your_", "Your=C2=85"), "refusal control-character"},
	{"escape outside encoded-words", "", replaced("Subject: ", "Subject: \x1b$B$F\x1b(B "), "refusal control-character"},
	{"escape in a name", "", replaced("To: Ann", "To: =?utf-8?q?Ann=1B?="), "refusal control-character"},
	{"unknown encoding", "", replaced("quoted-printable", "8-bit"), "refusal bad-mime"},
	{"bulk without unsubscription", "", bulk("", ""), "refusal no-unsubscribe"},
	{"bulk without one-click", newsletter, bulk("List-Unsubscribe-Post: List-Unsubscribe=One-Click\n", ""), "refusal no-unsubscribe"},
	{"one-click without a URI", newsletter, bulk("List-Unsubscribe: <https://example.com/unsubscribe?k=abc>, <mailto:unsubscribe@example.com?subject=abc>\n", ""), "refusal bad-unsubscribe refusal no-unsubscribe"},
	{"unsubscription by http", newsletter, bulk("<https:", "<http:"), "refusal bad-unsubscribe"},
	{"unsubscription without brackets", newsletter, func(t *testing.T, s *sample) {
		s.replace(t, "<https://example.com/unsubscribe?k=abc>, <mailto:unsubscribe@example.com?subject=abc>", "https://example.com/u")
	}, "refusal bad-unsubscribe"},
	{"one-click misspelt", newsletter, bulk("=One-Click", "=one-click"), "refusal bad-unsubscribe"},
	{"one-click unsigned", newsletter, bulk(":list-unsubscribe-post;", ";"), "refusal unsigned-one-click"},
}

// nested puts so many multiparts around the text.
func nested(n int) func(*testing.T, *sample) {
	return func(t *testing.T, s *sample) {
		top, text, _ := strings.Cut(s.text, "Content-Type: multipart")
		text = "Content-Type: multipart" + text
		for i := range n {
			text = fmt.Sprintf("Content-Type: multipart/mixed; boundary=n%d\n\n--n%[1]d\n%s\n--n%[1]d--\n", i, text)
		}
		s.text = top + text
	}
}

// large appends lines up to a size.
func large(size int, to string) func(*testing.T, *sample) {
	return func(t *testing.T, s *sample) {
		s.env.Recipients[0].Address = to
		s.text += strings.Repeat(strings.Repeat("x", 98)+"\n", size/100)
	}
}

func bulk(old, by string) func(*testing.T, *sample) {
	return func(t *testing.T, s *sample) {
		s.replace(t, old, by)
		s.checker.Bulk = true
	}
}

var senderFaults = []fault{
	{"no SPF", "", txt("bounces.example.com"), "refusal no-spf"},
	{"two SPF records", "", txt("bounces.example.com", "v=spf1 -all", "v=spf1 mx -all"), "refusal bad-spf"},
	{"SPF with a mistake", "", txt("bounces.example.com", "v=spf1 ipv4:192.0.2.1 -all"), "refusal bad-spf"},
	{"SPF for everyone", "", txt("bounces.example.com", "v=spf1 +all"), "refusal bad-spf"},
	{"SPF without the source", "", txt("bounces.example.com", "v=spf1 ip4:198.51.100.1 ~all"), "refusal spf-fail"},
	{"SPF fails one of two sources", "", func(t *testing.T, s *sample) {
		other := netip.MustParseAddr("2001:db8::7")
		s.checker.Sources = append(s.checker.Sources, other)
		s.zone.names[other.String()] = []string{"mx2.example.com."}
		s.zone.Host("mx2.example.com").SetAddrs(other)
	}, "refusal spf-fail"},
	{"SPF isn't answered", "", func(t *testing.T, s *sample) { s.zone.FailDNS("bounces.example.com", smtptest.ServFail) }, "warning failed-lookup"},
	{"SPF of a report", report, func(t *testing.T, s *sample) { s.env.From = ""; s.zone.TXT("mx1.example.com") }, "refusal no-spf"},
	{"unsigned", "", func(t *testing.T, s *sample) { s.checker.Keys = nil }, "warning unsigned"},
	{"unsigned bulk", newsletter, func(t *testing.T, s *sample) {
		s.checker.Bulk, s.checker.Keys = true, nil
		start, end := strings.Index(s.text, "DKIM-Sig"), strings.Index(s.text, "MIME-V")
		s.text = s.text[:start] + s.text[end:]
	}, "refusal unsigned"},
	{"signature by SHA-1", newsletter, replaced("rsa-sha256", "rsa-sha1"), "refusal bad-signature"},
	{"signature without From", newsletter, replaced("h=from:", "h="), "refusal bad-signature"},
	{"signature expired", newsletter, replaced("a=rsa-sha256;", "a=rsa-sha256; x=1700000000;"), "refusal bad-signature"},
	{"signature without d", newsletter, replaced("d=example.com;", ""), "refusal bad-signature"},
	{"signature with d twice", newsletter, replaced("d=example.com;", "d=example.com; d=example.net;"), "refusal bad-signature refusal unsigned-one-click"},
	{"no key", "", txt("s1._domainkey.example.com"), "refusal no-key"},
	{"two keys", "", txt("s1._domainkey.example.com", "p=AAAA", "p=AAAA"), "refusal bad-key"},
	{"key revoked", "", txt("s1._domainkey.example.com", "v=DKIM1; p="), "refusal bad-key"},
	{"key isn't base64", "", txt("s1._domainkey.example.com", "v=DKIM1; p=!"), "refusal bad-key"},
	{"key isn't RSA", "", txt("s1._domainkey.example.com", "v=DKIM1; p=AAAA"), "refusal bad-key"},
	{"key cut short", "", txt("s1._domainkey.example.com", "v=DKIM1; k=ed25519; p=AAAA"), "refusal bad-key"},
	{"key of another kind", "", txt("s1._domainkey.example.com", "v=DKIM1; k=dsa; p=AAAA"), "refusal bad-key"},
	{"key with another version", "", txt("s1._domainkey.example.com", "v=DKIM2; p=AAAA"), "refusal bad-key"},
	{"key for SHA-1", "", txt("s1._domainkey.example.com", "h=sha1; p=AAAA"), "refusal bad-key"},
	{"key not for mail", "", txt("s1._domainkey.example.com", "s=tlsrpt; p=AAAA"), "refusal bad-key"},
	{"key record malformed", "", txt("s1._domainkey.example.com", "hello"), "refusal bad-key"},
	{"key record too long", "", txt("s1._domainkey.example.com", "p="+strings.Repeat("A", 4096)), "refusal bad-key"},
	{"key of 512 bits", "", txt("s1._domainkey.example.com", "p="+rsaKey(512)), "refusal short-key"},
	{"key of 1024 bits", "", txt("s1._domainkey.example.com", "p="+rsaKey(1024)), "warning short-key"},
	{"key in testing", "", txt("s1._domainkey.example.com", "t=y:s; p="+rsaKey(2048)), "refusal testing-key"},
	{"key isn't answered", "", func(t *testing.T, s *sample) {
		s.zone.FailDNS("s1._domainkey.example.com", smtptest.ServFail)
	}, "warning failed-lookup"},
	{"no DMARC", "", txt("_dmarc.example.com"), "warning no-dmarc"},
	{"no DMARC for bulk", newsletter, func(t *testing.T, s *sample) {
		s.checker.Bulk = true
		s.zone.TXT("_dmarc.example.com")
	}, "refusal no-dmarc"},
	{"two DMARC records", "", txt("_dmarc.example.com", "v=DMARC1; p=none", "v=DMARC1; p=none"), "warning no-dmarc"},
	{"DMARC with a mistake", "", txt("_dmarc.example.com", "v=DMARC1; p=reject; adkim=relaxed"), "warning bad-dmarc"},
	{"DMARC with many mistakes", "", txt("_dmarc.example.com", "v=DMARC1; p=reject"+strings.Repeat("; aspf=\x01\r\n", 50)+"; adkim=x; fo=x; t=x"), "warning bad-dmarc"},
	{"DMARC with a bad policy", "", txt("_dmarc.example.com", "v=DMARC1; p=refuse"), "refusal bad-dmarc"},
	{"DMARC isn't answered", "", func(t *testing.T, s *sample) {
		s.zone.FailDNS("_dmarc.example.com", smtptest.ServFail)
		s.env.From = "b@other.example"
		s.zone.MX("other.example", "mx1.example.com")
		s.zone.TXT("other.example", "v=spf1 ip4:"+s.source.String()+" -all")
		s.checker.Keys = nil
	}, "warning failed-lookup warning unsigned"},
	{"unaligned", "", func(t *testing.T, s *sample) { unalign(s) }, "refusal unaligned"},
	{"unaligned, strictly", "", func(t *testing.T, s *sample) {
		s.zone.TXT("_dmarc.example.com", "v=DMARC1; p=reject; adkim=s; aspf=s")
		s.zone.TXT("s2._domainkey.mail.example.com", "p="+rsaKey(2048))
		s.checker.Keys = []Key{{Domain: "mail.example.com", Selector: "s2"}}
	}, "refusal unaligned"},
	{"unaligned without DMARC", "", func(t *testing.T, s *sample) {
		unalign(s)
		s.zone.TXT("_dmarc.example.com")
	}, "refusal unaligned warning no-dmarc"},
	{"posing as Gmail", "", func(t *testing.T, s *sample) {
		s.replace(t, "shop@example.com", "shop@gmail.com")
		s.zone.MX("gmail.com", "mx.gmail.com")
		s.zone.TXT("_dmarc.gmail.com", "v=DMARC1; p=none; sp=quarantine")
	}, "refusal unaligned"},
	{"no PTR", "", func(t *testing.T, s *sample) { clear(s.zone.names) }, "refusal no-ptr"},
	{"PTR to another host", "", func(t *testing.T, s *sample) {
		s.zone.names[s.source.String()] = []string{"mx.example.org."}
		s.zone.Host("mx.example.org")
	}, "refusal forged-ptr"},
	{"PTR to nowhere", "", func(t *testing.T, s *sample) {
		s.zone.names[s.source.String()] = []string{"nowhere.example.org."}
	}, "refusal forged-ptr"},
	{"PTR isn't answered", "", func(t *testing.T, s *sample) {
		s.zone.names[s.source.String()] = []string{"mx.example.org."}
		s.zone.FailDNS("mx.example.org", smtptest.ServFail)
	}, "warning failed-lookup"},
	{"Hostname has no address", "", func(t *testing.T, s *sample) { s.checker.Hostname = "mx9.example.com" }, "warning bad-hostname"},
	{"no MX and no address", "", func(t *testing.T, s *sample) {
		s.env.From = "b@nowhere.example.com"
		s.zone.TXT("nowhere.example.com", "v=spf1 ip4:"+s.source.String()+" -all")
	}, "refusal no-mail-exchange"},
	{"null MX", "", func(t *testing.T, s *sample) { s.zone.NullMX("bounces.example.com") }, "refusal no-mail-exchange"},
	{"no TLS", "", func(t *testing.T, s *sample) { s.checker.TLS = mx.TLSNone }, "refusal no-tls"},
}

// txt replaces TXT records.
func txt(name string, texts ...string) func(*testing.T, *sample) {
	return func(t *testing.T, s *sample) { s.zone.TXT(name, texts...) }
}

// unalign makes SPF and DKIM pass for another domain.
func unalign(s *sample) {
	s.zone.MX("provider.example", "mx1.example.com")
	s.zone.TXT("provider.example", "v=spf1 ip4:"+s.source.String()+" -all")
	s.zone.TXT("s1._domainkey.provider.example", "p="+rsaKey(2048))
	s.env.From = "b@provider.example"
	s.checker.Keys = []Key{{Domain: "provider.example", Selector: "s1"}}
}

// kinds returns the severities and kinds, sorted and each once.
func kinds(f Findings) string {
	var list []string
	for _, finding := range f {
		list = append(list, fmt.Sprint(finding.Severity, " ", finding.Kind))
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), " ")
}

// TestFaults: each planted fault is found by its own kind, and by no other.
func TestFaults(t *testing.T) {
	found := make(map[Kind]bool)
	for _, tt := range slices.Concat(messageFaults, senderFaults) {
		t.Run(tt.name, func(t *testing.T) {
			if tt.text == "" {
				tt.text = transactional
			}
			s := newSample(t, tt.text)
			tt.plant(t, s)
			findings := s.findings(t)
			for _, f := range findings {
				found[f.Kind] = true
				if f.Where == "" || f.Problem == "" || f.Remedy == "" || strings.ContainsAny(f.String(), "\r\n") ||
					len(f.String()) > 1000 {
					t.Errorf("incomplete: %q", f)
				}
			}
			if got := kinds(findings); got != tt.want {
				t.Errorf("got\n%s\nwant %s", findings, tt.want)
			}
		})
	}
	t.Logf("%d faults of %d kinds", len(messageFaults)+len(senderFaults), len(found))
}

// TestSettings: a Checker that can't be used says so, and finds nothing else.
func TestSettings(t *testing.T) {
	many := make([]netip.Addr, mostSources+1)
	for name, c := range map[string]*Checker{
		"MaxSize":    {MaxSize: -1},
		"Timeout":    {Timeout: -1},
		"TLS":        {TLS: 9},
		"Sources[0]": {Sources: []netip.Addr{{}}},
		"Sources":    {Sources: many},
		"Keys[1]":    {Keys: []Key{{"example.com", "s1"}, {"example.com", ""}}},
		"Keys has":   {Keys: make([]Key, mostKeys+1)},
		"Hostname":   {Hostname: "[192.0.2.1]"},
		"Checker":    nil,
	} {
		t.Run(name, func(t *testing.T) {
			if err := c.Check(); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("got %v, want an error about %s", err, name)
			}
			env, content := smtp.NewEnvelope("a@example.com", "b@example.net"), smtp.Text(transactional)
			for _, got := range []Findings{c.Message(env, content), c.Sender(t.Context(), env, content)} {
				if len(got) != 1 || got[0].Kind != Settings || got[0].Remedy == "" {
					t.Errorf("got %s, want one about the settings", got)
				}
			}
		})
	}
	if err := (&Checker{Sources: []netip.Addr{netip.MustParseAddr("::1")}}).Check(); err != nil {
		t.Error(err)
	}
}

// TestNil: nil arguments are findings.
func TestNil(t *testing.T) {
	var c Checker
	if got := kinds(c.Message(nil, nil)); got != "refusal bad-envelope refusal unreadable" {
		t.Errorf("got %s", got)
	}
	if got := kinds(c.Sender(t.Context(), nil, nil)); got != "refusal unreadable" {
		t.Errorf("got %s", got)
	}
}

// TestMany: a message with many faults has few findings.
func TestMany(t *testing.T) {
	text := strings.Repeat("To: a\n", 1000) + strings.Repeat("Cc: =?utf-8?q?"+strings.Repeat("x", 80)+"?=\n", 1000)
	got := new(Checker).Message(smtp.NewEnvelope("a@example.com", "b@example.net"), smtp.Text(text))
	if len(got) > 200 {
		t.Errorf("got %d findings, want a few", len(got))
	}
}

// recorder is a TB.
type recorder struct{ errors, logs int }

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.errors++ }
func (r *recorder) Logf(string, ...any)   { r.logs++ }

var _ TB = testing.TB(nil)

func TestTest(t *testing.T) {
	findings := Findings{{Severity: Refusal}, {Severity: Warning}, {Severity: Refusal}}
	var r recorder
	Test(&r, findings)
	if r.errors != 2 || r.logs != 1 {
		t.Errorf("got %d errors and %d lines, want 2 and 1", r.errors, r.logs)
	}
	if n := len(findings.Refusals()); n != 2 {
		t.Errorf("got %d refusals, want 2", n)
	}
}

// TestTimeout: no lookup outlasts Timeout.
func TestTimeout(t *testing.T) {
	s := newSample(t, transactional)
	s.zone.FailDNS("example.com", smtptest.ServFail)
	s.checker.Timeout = 1
	for _, f := range s.findings(t) {
		if f.Severity == Refusal {
			t.Errorf("got %s, want failed lookups only", f)
		}
	}
}
