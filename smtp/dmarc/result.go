package dmarc

import "strings"

// Code is the result of an evaluation (RFC 9989 §9.2).
type Code uint8

const (
	None      Code = iota // no DMARC record applies
	Pass                  // SPF or DKIM has authenticated a domain that is aligned with that of the From field
	Fail                  // neither has
	TempError             // a lookup failed, or took too long: another try may succeed
	PermError             // the From field or the record has an error
)

var codes = [...]string{"none", "pass", "fail", "temperror", "permerror"}

// String returns the name of the code in RFC 9989 and RFC 8601, such as "pass".
func (c Code) String() string {
	if int(c) < len(codes) {
		return codes[c]
	}
	return "unknown"
}

// Result is the result of an evaluation.
type Result struct {
	Code Code

	// Domain is the domain in the From field that decided, as A-labels in lower case (RFC 9989: Author Domain). It is
	// empty if there is none.
	Domain string

	// OrgDomain is the organizational domain of Domain. It is empty if it isn't known, as with None or after a failed
	// lookup.
	OrgDomain string

	// RecordDomain is the domain that has the record: Domain, OrgDomain or their public suffix. Record is that record.
	// It is nil if there is none.
	RecordDomain string
	Record       *Record

	// Policy is what the owner asks for a message from Domain that fails. It is one level less than the record has if
	// that has t=y. It is empty unless the result is Pass or Fail. The policy for domains that don't exist is
	// considered only with Fail.
	Policy Policy

	// SPF and DKIM say which of them authenticated an aligned domain.
	SPF, DKIM bool

	// Err says why the result is None, TempError or PermError. It is nil otherwise.
	Err error
}

// String returns the result in one line, for a log: "fail: example.net: reject".
func (r Result) String() string {
	switch {
	case r.Err != nil:
		problem := strings.ReplaceAll(r.Err.Error(), "\n", "; ")
		return r.Code.String() + ": " + strings.TrimPrefix(problem, "dmarc: ")
	case r.Code == Fail:
		return "fail: " + r.Domain + ": " + string(r.Policy)
	}
	return r.Code.String() + ": " + r.Domain
}

// worse reports whether r is the stricter result of two.
func (r *Result) worse(other *Result) bool {
	rank := map[Code]int{Pass: 0, None: 1, PermError: 2, TempError: 3, Fail: 4}
	policies := map[Policy]int{NoPolicy: 0, Quarantine: 1, Reject: 2}
	if r.Code != other.Code {
		return rank[r.Code] > rank[other.Code]
	}
	return policies[r.Policy] > policies[other.Policy]
}
