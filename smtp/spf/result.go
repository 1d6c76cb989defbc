package spf

import "strings"

// Code is the result of an evaluation (RFC 7208 §2.6).
type Code uint8

const (
	None      Code = iota // there is no domain to check, or it has no SPF record
	Neutral               // the domain says nothing about the client
	Pass                  // the client may send mail for the domain
	Fail                  // the client may not
	SoftFail              // the client probably may not
	TempError             // a lookup failed, or took too long: another try may succeed
	PermError             // the records have an error that their owner must correct
)

var codes = [...]string{"none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"}

// String returns the name of the code in RFC 7208 and RFC 8601, such as "softfail".
func (c Code) String() string {
	if int(c) < len(codes) {
		return codes[c]
	}
	return "unknown"
}

// Result is the result of one evaluation.
type Result struct {
	Code Code

	// Domain is the domain that was checked, as A-labels in lower case and without a trailing dot: that of the
	// reverse-path, or the argument of HELO. If that isn't a valid name, Domain is empty.
	Domain string

	// Mechanism is the term that decided, as its record has it: "-all" or "include:_spf.example.net". It is empty if no
	// mechanism matched, or if the result is None, TempError or PermError.
	Mechanism string

	// Explanation is the text that the domain has for its failures (RFC 7208 §6.2). It is set only with Fail, and only
	// if the domain has such a text. It consists of at most 500 printable characters of ASCII. A stranger wrote it:
	// say so where it is shown.
	Explanation string

	// Err says why the result is None, TempError or PermError. It is nil otherwise.
	Err error

	// Lookups is the number of terms that caused lookups. RFC 7208 §4.6.4 allows 10.
	Lookups int
}

// String returns the result in one line, for a log: "fail: example.net: -all".
func (r Result) String() string {
	parts := []string{r.Code.String()}
	switch {
	case r.Err != nil:
		parts = append(parts, strings.TrimPrefix(r.Err.Error(), "spf: "))
	case r.Mechanism != "":
		parts = append(parts, r.Domain, r.Mechanism)
	default:
		parts = append(parts, r.Domain, "no mechanism matched")
	}
	return strings.Join(parts, ": ")
}
