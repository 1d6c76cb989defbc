package preflight

import (
	"fmt"
	"strings"
)

// Severity is how bad a Finding is.
type Severity uint8

const (
	// Warning is a fault that costs trust or readability, or one that couldn't be looked for.
	Warning Severity = iota

	// Refusal is a fault for which a large receiver refuses mail or puts it into the junk folder, or which breaks a
	// MUST of an RFC.
	Refusal
)

// String returns "warning" or "refusal".
func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "refusal"
}

// Kind names what a Finding is about. The texts never change.
type Kind string

// Kinds of a message. The comment has the receiver or the rule.
const (
	Settings         Kind = "settings"           // a field of the Checker can't be used: see Checker.Check
	BadEnvelope      Kind = "bad-envelope"       // Envelope.Check: no host can be sent it
	Unreadable       Kind = "unreadable"         // the Content returns an error
	BareLineEnd      Kind = "bare-line-end"      // a bare CR, a bare LF or a NUL: RFC 5321 §2.3.8
	BadHeader        Kind = "bad-header"         // a line in the header is no field: RFC 5322 §2.2
	DuplicateField   Kind = "duplicate-field"    // RFC 5322 §3.6; Gmail refuses it
	NoFrom           Kind = "no-from"            // RFC 5322 §3.6.2
	SeveralFrom      Kind = "several-from"       // two fields or two addresses; Gmail refuses both
	BadFrom          Kind = "bad-from"           // RFC 5322 §3.4
	BadAddress       Kind = "bad-address"        // in To, Cc, Bcc, Reply-To or Sender: RFC 5322 §3.4
	ControlCharacter Kind = "control-character"  // in a field, also in an encoded-word: RFC 5322 §2.2
	VisibleBcc       Kind = "visible-bcc"        // a Bcc field shows its addresses to all recipients: RFC 5322 §3.6.3
	NoMessageID      Kind = "no-message-id"      // RFC 5322 §3.6.4; Gmail refuses it
	BadMessageID     Kind = "bad-message-id"     // RFC 5322 §3.6.4; Gmail takes 500 octets
	NoDate           Kind = "no-date"            // RFC 5322 §3.6.1
	BadDate          Kind = "bad-date"           // RFC 5322 §3.3
	DateRange        Kind = "date-range"         // over a day in the future, or over 7 days in the past
	LongLine         Kind = "long-line"          // over 998 octets: RFC 5321 §4.5.3.1.6
	LargeField       Kind = "large-field"        // beyond the bounds of Gmail
	LargeHeader      Kind = "large-header"       // beyond the bounds of Gmail
	LargeMessage     Kind = "large-message"      // over Checker.MaxSize
	MisplacedWord    Kind = "misplaced-word"     // an encoded-word where none may be: RFC 2047 §5
	BadWord          Kind = "bad-word"           // an encoded-word that readers don't decode: RFC 2047 §2
	EightBitHeader   Kind = "8bit-header"        // not UTF-8, or without SMTPUTF8: RFC 6532 §3.2, RFC 6531 §3.5
	EightBitBody     Kind = "8bit-body"          // without a Content-Transfer-Encoding that says so: RFC 2045 §6.1
	BadMIME          Kind = "bad-mime"           // MIME fields or boundaries that readers don't understand: RFC 2045
	BadEncoding      Kind = "bad-encoding"       // a body isn't the base64 or quoted-printable that it should be
	BadCharset       Kind = "bad-charset"        // UTF-7
	NoUnsubscribe    Kind = "no-unsubscribe"     // bulk mail: Gmail, Yahoo, RFC 8058
	BadUnsubscribe   Kind = "bad-unsubscribe"    // RFC 2369 §2, RFC 8058 §3.1
	UnsignedOneClick Kind = "unsigned-one-click" // a signature doesn't cover both fields: RFC 8058 §4
)

// Kinds of the sender's DNS and settings.
const (
	FailedLookup   Kind = "failed-lookup"    // the DNS didn't answer: look again later
	NoSPF          Kind = "no-spf"           // Gmail, Yahoo, Microsoft, Apple
	BadSPF         Kind = "bad-spf"          // RFC 7208: permerror, or a record that lets everyone send
	SPFFail        Kind = "spf-fail"         // the record doesn't let a source send
	Unsigned       Kind = "unsigned"         // neither a key of the Checker nor a signature
	BadSignature   Kind = "bad-signature"    // a DKIM-Signature that can't be valid: RFC 6376 §3.5
	NoKey          Kind = "no-key"           // RFC 6376 §3.6.1
	BadKey         Kind = "bad-key"          // malformed, revoked, several records, not for mail
	ShortKey       Kind = "short-key"        // under 1024 bits: RFC 8301 §3.2; under 2048: a warning
	TestingKey     Kind = "testing-key"      // t=y: receivers treat the mail as unsigned
	NoDMARC        Kind = "no-dmarc"         // Gmail, Yahoo and Microsoft, of bulk mail; Apple
	BadDMARC       Kind = "bad-dmarc"        // RFC 9989 §4.7
	Unaligned      Kind = "unaligned"        // neither reverse-path nor signatures belong to the domain of From
	NoPTR          Kind = "no-ptr"           // Gmail, Yahoo, Apple
	ForgedPTR      Kind = "forged-ptr"       // the name of a source leads to other addresses
	BadHostname    Kind = "bad-hostname"     // the name in EHLO has no address: RFC 5321 §4.1.4
	NoMailExchange Kind = "no-mail-exchange" // reports and answers can't arrive: RFC 5321 §4.1.1.2, RFC 7505
	NoTLS          Kind = "no-tls"           // Gmail
)

// Finding is one fault.
type Finding struct {
	Kind     Kind
	Severity Severity

	// Where is the place: the name of a header field, "envelope", "body", or a name or an address in the DNS.
	Where string

	// Problem says what is wrong, with the value, which is clipped. Remedy says what to do.
	Problem, Remedy string

	// Reference has the rules, separated by "; ": RFCs with their sections, and URLs of receivers' pages. If empty,
	// there is none.
	Reference string
}

// String returns the finding on one line, with the first Reference:
//
//	refusal: no-message-id: Message-ID: there is none: add one, unique for each mail (RFC 5322 §3.6.4)
func (f Finding) String() string {
	s := fmt.Sprintf("%s: %s: %s: %s: %s", f.Severity, f.Kind, f.Where, f.Problem, f.Remedy)
	if first, _, _ := strings.Cut(f.Reference, "; "); first != "" {
		s += " (" + first + ")"
	}
	return s
}

// Findings are the faults of one message or sender.
type Findings []Finding

// String returns one line for each finding. Without findings, it is "nothing found".
func (f Findings) String() string {
	if len(f) == 0 {
		return "nothing found"
	}
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].String()
	}
	return strings.Join(lines, "\n")
}

// Refusals returns the findings that are no Warnings. A program that wants to send nothing in vain looks whether there
// are any.
func (f Findings) Refusals() Findings {
	var refusals Findings
	for _, finding := range f {
		if finding.Severity == Refusal {
			refusals = append(refusals, finding)
		}
	}
	return refusals
}

// TB is the part of [testing.TB] that Test needs.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
	Logf(format string, args ...any)
}

// Test makes a test fail for each Refusal, and logs each Warning.
func Test(t TB, findings Findings) {
	t.Helper()
	for _, f := range findings {
		if f.Severity == Refusal {
			t.Errorf("%s", f)
		} else {
			t.Logf("%s", f)
		}
	}
}

// Receivers' pages.
const (
	gmailPage     = "https://support.google.com/mail/answer/81126"
	gmailHeaders  = "https://support.google.com/a/answer/14016360"
	yahooPage     = "https://senders.yahooinc.com/best-practices/"
	microsoftPage = "https://techcommunity.microsoft.com/blog/microsoftdefenderforoffice365blog/" +
		"strengthening-email-ecosystem-outlook%E2%80%99s-new-requirements-for-high%E2%80%90volume-senders/4399730"
	applePage = "https://support.apple.com/102322"
)

// clip returns a value for a Problem, quoted, in ASCII and in at most about 100 octets.
func clip(s string) string { return fmt.Sprintf("%+.80q", s) }
