package spf

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// directive is a mechanism with its qualifier.
type directive struct {
	text   string // as in the record
	result Code   // of a match
	name   string // of the mechanism, in lower case
	target macroString
	prefix netip.Prefix // of ip4 and ip6
	bits   [2]int       // of a and mx, by family: the length of the prefix
}

var qualifiers = map[byte]Code{'+': Pass, '-': Fail, '?': Neutral, '~': SoftFail}

// argument is what a mechanism has behind its name.
type argument uint8

const (
	noArgument argument = iota
	needsDomain
	mayDomain
	mayDomainAndCIDR
	needsNetwork
)

var mechanisms = map[string]argument{
	"all":     noArgument,       // RFC 7208 §5.1
	"include": needsDomain,      // §5.2
	"a":       mayDomainAndCIDR, // §5.3
	"mx":      mayDomainAndCIDR, // §5.4
	"ptr":     mayDomain,        // §5.5
	"ip4":     needsNetwork,     // §5.6
	"ip6":     needsNetwork,
	"exists":  needsDomain, // §5.7
}

// parseDirective parses a directive (RFC 7208 §4.6.1).
func parseDirective(text string) (directive, error) {
	d := directive{text: text, result: Pass, bits: [2]int{32, 128}}
	rest := text
	if result, ok := qualifiers[rest[0]]; ok {
		d.result, rest = result, rest[1:]
	}
	end := strings.IndexAny(rest, ":/")
	if end < 0 {
		end = len(rest)
	}
	d.name = strings.ToLower(rest[:end])
	kind, ok := mechanisms[d.name]
	if !ok {
		return d, fmt.Errorf("%.40q isn't a mechanism (RFC 7208 section 4.6.1)", rest[:end])
	}
	value, hasValue := strings.CutPrefix(rest[end:], ":")
	var err error
	switch {
	case kind == noArgument:
		if end < len(rest) {
			err = fmt.Errorf("%q must stand alone (RFC 7208 section 5.1)", d.name)
		}
	case kind == needsNetwork:
		err = d.setNetwork(value)
	case kind == mayDomainAndCIDR:
		err = d.setHosts(rest[end:])
	case hasValue:
		d.target, err = parseDomainSpec(value)
	case kind == needsDomain || end < len(rest):
		err = fmt.Errorf(`want a domain as in "%s:example.com" (RFC 7208 section 5)`, d.name)
	}
	return d, err
}

// setNetwork sets the network of ip4 or ip6 (RFC 7208 §5.6).
func (d *directive) setNetwork(value string) error {
	most, example := 32, "192.0.2.0/24"
	if d.name == "ip6" {
		most, example = 128, "2001:db8::/32"
	}
	text, length, hasLength := strings.Cut(value, "/")
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" || addr.BitLen() != most {
		return fmt.Errorf(`%.60q isn't an address: want one as in "%s:%s" (RFC 7208 section 5.6)`,
			text, d.name, example)
	}
	bits := most
	if hasLength {
		if bits, err = parseLength(length, most); err != nil {
			return err
		}
	}
	// An IPv4 address in IPv6 form is one of ip6, and no client has it.
	d.prefix = netip.PrefixFrom(addr, bits)
	return nil
}

// setHosts sets the domain and the prefix lengths of a and mx: s is [":" domain-spec] ["/" length] ["//" length].
func (d *directive) setHosts(s string) (err error) {
	s, six, hasSix := cutLength(s, "//")
	s, four, hasFour := cutLength(s, "/")
	if hasFour {
		if d.bits[0], err = parseLength(four, 32); err != nil {
			return err
		}
	}
	if hasSix {
		if d.bits[1], err = parseLength(six, 128); err != nil {
			return err
		}
	}
	value, hasValue := strings.CutPrefix(s, ":")
	switch {
	case hasValue:
		d.target, err = parseDomainSpec(value)
	case s != "":
		err = errors.New(`the prefix length isn't as in "/24", "//64" or "/24//64" (RFC 7208 section 5.6)`)
	}
	return err
}

// cutLength cuts the slashes and the digits from the end of s. A domain-spec may contain slashes, but a top label
// can't.
func cutLength(s, slashes string) (before, digits string, ok bool) {
	before = strings.TrimRight(s, "0123456789")
	digits = s[len(before):]
	if digits == "" || !strings.HasSuffix(before, slashes) {
		return s, "", false
	}
	return strings.TrimSuffix(before, slashes), digits, true
}

// parseLength parses a length without leading zeros.
func parseLength(s string, most int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n > most || n < 0 || strconv.Itoa(n) != s {
		return 0, fmt.Errorf("prefix length %.20q: want 0 to %d (RFC 7208 section 5.6)", s, most)
	}
	return n, nil
}
