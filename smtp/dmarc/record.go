package dmarc

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Policy is what the owner of a domain asks for messages that fail.
type Policy string

const (
	NoPolicy   Policy = "none"       // no preference
	Quarantine Policy = "quarantine" // such a message is suspicious
	Reject     Policy = "reject"     // such a message isn't from this domain
)

// PSD says whether a domain is a public suffix, such as "com".
type PSD uint8

const (
	PSDUnknown PSD = iota // the tree walk decides whether the domain is an organizational domain
	PSDYes                // the domain is a public suffix
	PSDNo                 // the domain is an organizational domain
)

// Record is a DMARC policy record (RFC 9989 §4.7). Tags that are missing have their defaults.
type Record struct {
	Policy        Policy // p: for the domain, and for subdomains without a policy of their own. The default is "none".
	Subdomains    Policy // sp: for subdomains. Empty if absent: Policy applies.
	NonExistent   Policy // np: for subdomains that don't exist in the DNS. Empty if absent: Subdomains applies.
	StrictDKIM    bool   // adkim=s: the domain of a signature must be equal
	StrictSPF     bool   // aspf=s: the domain that SPF checked must be equal
	PSD           PSD    // psd
	Testing       bool   // t=y: the policies are tested only. One level less is asked for.
	AggregateURIs []string
	FailureURIs   []string // ruf

	// FailureOptions says which failures are reported (fo), as in the record. It is "0" by default, and applies only if
	// there are FailureURIs.
	FailureOptions string

	// Unknown has the tags that were ignored: unknown ones, and pct, rf and ri, which RFC 9989 has removed.
	Unknown []string

	// policyError says that p, sp or np has an error.
	policyError bool
}

// Parse parses the text of a TXT record. The strings of the record are joined (RFC 9989 §4.5).
//
// The record is what a receiver makes of the text: a tag with an error has its default value (RFC 9989 §4.8). The
// error has all that is wrong, joined, or the first 20 mistakes. It names the tag, the value and the correction.
// Unknown tags aren't errors.
//
// If the text is no DMARC record at all, the record is nil.
func Parse(text string) (*Record, error) {
	r, err := parse(text)
	if err != nil {
		err = fmt.Errorf("dmarc: %w", err)
	}
	return r, err
}

func parse(text string) (*Record, error) {
	tags := strings.Split(text, ";")
	if !isVersion(tags[0]) {
		return nil, fmt.Errorf(`%.60q is no DMARC record: it must begin with "v=DMARC1;" (RFC 9989 section 4.7)`, text)
	}
	p := &parser{record: &Record{Policy: NoPolicy, FailureOptions: "0"}}
	p.seen = append(p.seen, "v")
	if trimmed := strings.TrimRight(text, "; \t"); strings.Count(text[len(trimmed):], ";") > 1 {
		p.problem("there are several semicolons at the end")
	}
	tags = tags[1:]
	for len(tags) > 0 && trim(tags[len(tags)-1]) == "" {
		tags = tags[:len(tags)-1]
	}
	for _, tag := range tags {
		p.tag(tag)
	}
	if !slices.Contains(p.seen, "p") && !p.record.policyError {
		// RFC 9989 §4.7: p is recommended.
		p.problem(`the tag p is missing, which counts as "p=none"`)
	}
	return p.record, errors.Join(p.problems...)
}

// isVersion reports whether the first tag of a text makes it a DMARC record. The value has no other case.
func isVersion(tag string) bool {
	name, value, ok := strings.Cut(tag, "=")
	return ok && strings.TrimRight(name, " \t") == "v" && trim(value) == "DMARC1"
}

// trim cuts white space, which is WSP (RFC 5234).
func trim(s string) string { return strings.Trim(s, " \t") }

// parser collects what is wrong with a record.
type parser struct {
	record   *Record
	seen     []string // tags
	problems []error
}

// maxProblems bounds the error for a record that has nothing else.
const maxProblems = 20

func (p *parser) problem(format string, args ...any) {
	if len(p.problems) == maxProblems {
		return
	}
	p.problems = append(p.problems, fmt.Errorf(format+" (RFC 9989 section 4.7)", args...))
}
