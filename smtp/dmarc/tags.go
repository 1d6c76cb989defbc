package dmarc

import (
	"net/url"
	"slices"
	"strings"

	"github.com/postrider/postrider/smtp"
)

// tag reads one tag with its value.
func (p *parser) tag(text string) {
	name, value, ok := strings.Cut(text, "=")
	name, value = trim(name), trim(value)
	switch {
	case trim(text) == "":
		p.problem("there is an empty tag between two semicolons")
		return
	case !ok || !isLetters(name):
		p.problem(`%.60q is no tag: want one as in "p=reject", and ";" behind it`, trim(text))
		return
	case slices.Contains(p.seen, name):
		p.problem("the tag %s appears twice: the first one counts", name)
		return
	}
	p.seen = append(p.seen, name)
	r := p.record
	switch name {
	case "p":
		r.Policy = p.policy(name, value, NoPolicy)
	case "sp":
		r.Subdomains = p.policy(name, value, "")
	case "np":
		r.NonExistent = p.policy(name, value, "")
	case "adkim":
		r.StrictDKIM = p.oneOf(name, value, "r", "s") == 1
	case "aspf":
		r.StrictSPF = p.oneOf(name, value, "r", "s") == 1
	case "psd":
		r.PSD = PSD(p.oneOf(name, value, "u", "y", "n"))
	case "t":
		r.Testing = p.oneOf(name, value, "n", "y") == 1
	case "rua":
		r.AggregateURIs = p.uris(name, value)
	case "ruf":
		r.FailureURIs = p.uris(name, value)
	case "fo":
		p.failureOptions(value)
	default:
		// RFC 9989 §4.7: unknown tags are ignored.
		r.Unknown = append(r.Unknown, name)
	}
}

// policy returns the value of p, sp or np.
func (p *parser) policy(name, value string, otherwise Policy) Policy {
	i := p.oneOf(name, value, string(NoPolicy), string(Quarantine), string(Reject))
	if i < 0 {
		p.record.policyError = true
		return otherwise
	}
	return [...]Policy{NoPolicy, Quarantine, Reject}[i]
}

// oneOf returns the index of a value among those allowed, the first of which is the default of most tags. It is -1 for
// a policy that isn't allowed, and 0 for other values.
func (p *parser) oneOf(name, value string, allowed ...string) int {
	for i, a := range allowed {
		if len(value) == len(a) && strings.EqualFold(value, a) {
			return i
		}
	}
	p.problem("%s=%.40s: want %s", name, printable(value), strings.Join(allowed, " or "))
	if strings.HasSuffix(name, "p") {
		return -1
	}
	return 0
}

// failureOptions reads fo: "0" or "1", "d" and "s", each once (RFC 9989 §4.8).
func (p *parser) failureOptions(value string) {
	options := strings.Split(strings.ToLower(value), ":")
	for i, o := range options {
		other := map[string]string{"0": "1", "1": "0"}[o]
		if len(o) != 1 || !strings.Contains("01ds", o) || slices.Contains(options[:i], o) ||
			slices.Contains(options[:i], other) {
			p.problem("fo=%.40s: want 0, 1, d and s, separated by colons, each once, and not both 0 and 1",
				printable(value))
			return
		}
	}
	p.record.FailureOptions = value
}

// uris reads a list of addresses for reports (RFC 9989 §4.6). It leaves out those with an error.
func (p *parser) uris(name, value string) []string {
	var list []string
	for text := range strings.SplitSeq(value, ",") {
		text = trim(text)
		// RFC 9989 §4.8: an obsolete size, such as "!10m", is ignored.
		text, size, hasSize := strings.Cut(text, "!")
		if hasSize && !isSize(size) {
			p.problem("%s: %.200q: \"!\" must be written as %%21", name, text+"!"+size)
			continue
		}
		u, err := url.Parse(text)
		switch {
		case err != nil || u.Scheme == "" || strings.ContainsFunc(text, notVisible):
			p.problem(`%s: %.200q is no URI: want one as in "mailto:dmarc@example.com"`, name, text)
		case u.Scheme == "mailto" && !isMailto(u):
			p.problem("%s: %.200q has no valid address", name, text)
		default:
			list = append(list, text)
		}
	}
	return list
}

// isMailto reports whether a mailto URI has one valid address (RFC 6068).
func isMailto(u *url.URL) bool {
	address, err := url.PathUnescape(u.Opaque)
	return err == nil && strings.Contains(address, "@") && smtp.CheckAddress(address) == nil
}

// isSize reports whether s is an obs-dmarc-report-size without its "!".
func isSize(s string) bool {
	digits := strings.TrimRight(strings.ToLower(s), "kmgt")
	return digits != "" && len(s)-len(digits) <= 1 && strings.Trim(digits, "0123456789") == ""
}

func isLetters(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool { return c < 'A' || 'Z' < c && c < 'a' || c > 'z' })
}

func notVisible(c rune) bool { return c <= ' ' || c > '~' }

// printable returns s with a "?" in place of what isn't printable ASCII.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, s)
}
