package spf

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Bounds of RFC 7208 §4.6.4, for one evaluation.
const (
	maxLookups = 10 // terms that cause lookups
	maxVoid    = 2  // terms whose lookups find nothing
	maxHosts   = 10 // of an mx term
	maxNames   = 10 // of the client
)

// maxExplanation is the length of the longest explanation that is used.
const maxExplanation = 500

// evaluation is the state of one Check.
//
// lookups and void only grow, and evaluation ends before one of them is above its bound. The names of the client are
// looked up once.
type evaluation struct {
	resolver Resolver
	ip       netip.Addr // an IPv4 address is no IPv6 address
	local    string     // of the sender
	domain   string     // of the sender
	helo     string
	receiver string

	lookups, void int
	names         []string // see clientNames
	named         bool
}

// verdict is the result of the RFC's check_host() function for one domain.
type verdict struct {
	code   Code
	err    error
	text   string  // the term that matched
	domain string  // whose record decided
	record *record // nil if there is none
}

// failed returns a verdict that ends the evaluation. err says why, for the record of domain.
func failed(code Code, domain string, err error) verdict {
	return verdict{code: code, err: fmt.Errorf("%s: %w", domain, err)}
}

// result evaluates the domain of the sender.
func (e *evaluation) result(ctx context.Context) Result {
	v := e.checkHost(ctx, e.domain)
	r := Result{Code: v.code, Domain: e.domain, Mechanism: v.text, Lookups: e.lookups}
	if v.err != nil {
		r.Err = fmt.Errorf("spf: %w", v.err)
	}
	// RFC 7208 §6.2: the record that decided explains, which is not that of an include.
	if v.code == Fail && v.record.exp != nil {
		r.Explanation = e.explain(ctx, v.domain, v.record.exp)
	}
	return r
}

// checkHost evaluates the record of a domain (RFC 7208 §4). domain is in lower case, without a trailing dot. Include
// and redirect call it again: each has been counted as a lookup, so that the depth has a bound.
func (e *evaluation) checkHost(ctx context.Context, domain string) verdict {
	if !isName(domain) || !strings.Contains(domain, ".") {
		return verdict{code: None, err: fmt.Errorf("%.300q isn't a valid domain (RFC 7208 section 4.3)", domain)}
	}
	texts, err := found(e.resolver.LookupTXT(ctx, domain+"."))
	if err != nil {
		return failed(TempError, domain, err)
	}
	r, code, err := selectRecord(texts)
	if err != nil {
		return failed(code, domain, err)
	}
	for i := range r.directives {
		d := &r.directives[i]
		matched, v := e.match(ctx, domain, d)
		switch {
		case v.err != nil:
			return v
		case matched:
			return verdict{code: d.result, text: d.text, domain: domain, record: r}
		}
	}
	// A record with "all" never comes here: RFC 7208 §5.1 has its redirect ignored.
	if r.redirect != nil {
		return e.redirect(ctx, domain, r.redirect)
	}
	return verdict{code: Neutral, domain: domain, record: r}
}

// selectRecord returns the one SPF record among TXT records (RFC 7208 §4.5).
func selectRecord(texts []string) (*record, Code, error) {
	var text string
	n := 0
	for _, t := range texts {
		if isRecord(t) {
			text = t
			n++
		}
	}
	switch {
	case n == 0:
		return nil, None, errors.New("no SPF record")
	case n > 1:
		return nil, PermError, fmt.Errorf("%d SPF records: want one (RFC 7208 section 3.2)", n)
	}
	r, err := parseRecord(text)
	return r, PermError, err
}

// redirect evaluates the record of another domain instead (RFC 7208 §6.1).
func (e *evaluation) redirect(ctx context.Context, domain string, target macroString) verdict {
	if v := e.count(domain, "redirect"); v.err != nil {
		return v
	}
	v := e.checkHost(ctx, e.expand(ctx, domain, target))
	if v.code == None {
		v.code, v.err = PermError, fmt.Errorf("%s: redirect: %w", domain, v.err)
	}
	return v
}

// count counts a term that causes lookups. A verdict with an error ends the evaluation.
func (e *evaluation) count(domain, term string) verdict {
	if e.lookups == maxLookups {
		return failed(PermError, domain, fmt.Errorf(
			"term %.100q: more than %d terms cause lookups (RFC 7208 section 4.6.4)", term, maxLookups))
	}
	e.lookups++
	return verdict{}
}

// expand returns the name that a domain-spec stands for in the record of a domain: in lower case, without a trailing
// dot, and shortened on the left to the length of a name (RFC 7208 §7.3). It isn't always valid: see isName.
func (e *evaluation) expand(ctx context.Context, domain string, target macroString) string {
	// From the right, so that the work has a bound: what is left of maxName octets is dropped, up to a dot.
	name := ""
	for i := len(target) - 1; i >= 0 && len(name) <= maxName+1; i-- {
		name = e.value(ctx, domain, &target[i]) + name
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	for len(name) > maxName {
		_, rest, ok := strings.Cut(name, ".")
		if !ok {
			break
		}
		name = rest
	}
	return name
}

// value returns what a part of a macro-string stands for in the record of a domain (RFC 7208 §7.2).
func (e *evaluation) value(ctx context.Context, domain string, p *macroPart) string {
	var value string
	switch p.letter {
	case 0, '%':
		return p.literal
	case 's':
		value = e.local + "@" + e.domain
	case 'l':
		value = e.local
	case 'o':
		value = e.domain
	case 'd':
		value = domain
	case 'i':
		value = dotted(e.ip)
	case 'p':
		value = e.validated(ctx, domain)
	case 'v':
		value = "in-addr"
		if e.ip.Is6() {
			value = "ip6"
		}
	case 'h':
		value = e.helo
	case 'c':
		value = e.ip.String()
	case 'r':
		value = e.receiver
	case 't':
		value = strconv.FormatInt(time.Now().Unix(), 10)
	}
	return p.transform(value)
}

// explain returns the explanation of a failure, or "" if there is none that can be used (RFC 7208 §6.2).
func (e *evaluation) explain(ctx context.Context, domain string, target macroString) string {
	name := e.expand(ctx, domain, target)
	if !isName(name) {
		return ""
	}
	texts, err := found(e.resolver.LookupTXT(ctx, name+"."))
	if err != nil || len(texts) != 1 {
		return ""
	}
	parts, err := parseMacros(texts[0], true)
	if err != nil {
		return ""
	}
	var b strings.Builder
	for i := range parts {
		b.WriteString(e.value(ctx, domain, &parts[i]))
		if b.Len() > maxExplanation {
			return ""
		}
	}
	if text := b.String(); isPrintable(text) {
		return text
	}
	return ""
}

// isPrintable reports whether s consists of printable ASCII. Macros may bring anything that a client says.
func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
