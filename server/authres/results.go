package authres

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/postrider/postrider/smtp/dmarc"
	"github.com/postrider/postrider/smtp/spf"
)

// Verdict is the result of a DKIM signature or of iprev (RFC 8601 §2.7.1, §2.7.3).
type Verdict uint8

const (
	None      Verdict = iota // there was nothing to verify
	Pass                     // it is right
	Fail                     // it is wrong: the message has changed, for example
	Policy                   // it isn't accepted here: the key is too short, for example
	Neutral                  // it has an error of syntax
	TempError                // a lookup failed: another try may succeed
	PermError                // it can't be verified: there is no key, for example
)

var verdicts = [...]string{"none", "pass", "fail", "policy", "neutral", "temperror", "permerror"}

// String returns the name of the verdict in RFC 8601, such as "pass".
func (v Verdict) String() string {
	if int(v) < len(verdicts) {
		return verdicts[v]
	}
	return "unknown"
}

// Results is what is known of a message and its client. It must not be changed.
type Results struct {
	// IP is the address of the client.
	IP netip.Addr

	// IPRev says whether the client has a name that leads back to its address (RFC 8601 §3). Name is the first such
	// name, without a trailing dot, or "".
	IPRev Verdict
	Name  string

	// Hello is the SPF result of the name in HELO or EHLO, SPF that of the reverse-path. For a null reverse-path, they
	// are the same.
	Hello, SPF spf.Result

	// DKIM has a result for each signature, in their order: at most 8, and one more if there are others.
	DKIM []Signature

	// From has the domains in the From field, at most 10.
	From []string

	// DMARC is the result of the domain in the From field. It is None before the message has come.
	DMARC dmarc.Result

	null bool // the reverse-path
}

// Signature is the result of a DKIM signature.
type Signature struct {
	Verdict   Verdict
	Domain    string // d=
	Selector  string // s=
	Identity  string // i=, or "@" and the domain
	Algorithm string // a=
	Start     string // the first 8 characters of b=
	Testing   bool   // the key has t=y: its owner is testing
	Err       error  // why the verdict isn't Pass
}

// String returns the results in one line, for a log:
// "iprev=pass spf=pass dkim=pass (example.net) dmarc=pass (example.net)". Nil Results are "none".
func (r *Results) String() string {
	if r == nil {
		return "none"
	}
	words := []string{"iprev=" + r.IPRev.String(), "helo=" + r.Hello.Code.String(), "spf=" + r.SPF.Code.String()}
	for _, s := range r.DKIM {
		words = append(words, fmt.Sprintf("dkim=%s (%s)", s.Verdict, s.Domain))
	}
	words = append(words, fmt.Sprintf("dmarc=%s (%s)", r.DMARC.Code, r.DMARC.Domain))
	return strings.Join(words, " ")
}
