package mtasts

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/mx/internal/txtrecord"
	"github.com/postrider/postrider/smtp"
)

// Mode is how strictly a policy applies (RFC 8461 §5).
type Mode uint8

const (
	None    Mode = iota // the domain has no policy any more
	Testing             // a failure is reported, and the mail is sent regardless
	Enforce             // mail goes only to hosts that satisfy the policy
)

var modes = [...]string{"none", "testing", "enforce"}

// String returns "none", "testing" or "enforce".
func (m Mode) String() string {
	if int(m) < len(modes) {
		return modes[m]
	}
	return "unknown"
}

// Policy is the policy of a domain (RFC 8461 §3.2).
type Policy struct {
	// ID is the id of the TXT record that was valid when the policy was fetched.
	ID string

	Mode Mode

	// MaxAge is how long the policy may be used after it was fetched, 0 to 31,557,600 seconds.
	MaxAge time.Duration

	// MX are the patterns of MX hosts, as A-labels in lower case: "mx.example.com", "*.example.com". With [None], there
	// may be none.
	MX []string
}

// maxMaxAge is the longest max_age (RFC 8461 §3.2).
const maxMaxAge = 31557600 * time.Second

// Match reports whether one of the patterns matches an MX host (RFC 8461 §4.1). The host is a name as A-label or in
// Unicode, in upper or lower case. The wildcard matches one label: "*.example.com" matches mx.example.com, but neither
// example.com nor a.mx.example.com.
func (p *Policy) Match(host string) bool {
	host, err := smtp.ASCIIDomain(host)
	if err != nil || host[0] == '[' {
		return false
	}
	_, parent, _ := strings.Cut(host, ".")
	return slices.ContainsFunc(p.MX, func(pattern string) bool {
		suffix, wildcard := strings.CutPrefix(pattern, "*.")
		return pattern == host || wildcard && suffix == parent
	})
}

// parsePolicy reads the body of a policy (RFC 8461 §3.2). The ID is left empty. Lines end in LF or CRLF. Unknown fields
// are ignored, and so are empty lines. Of a field other than mx, the first one counts. A max_age above the longest one
// is the longest one: a domain that asks for more safety than there is doesn't get none.
func parsePolicy(body string) (*Policy, error) {
	p := &Policy{}
	seen := make(map[string]bool, 4)
	for number := 1; body != ""; number++ {
		var line string
		line, body, _ = strings.Cut(body, "\n")
		line = strings.TrimRight(strings.TrimSuffix(line, "\r"), " \t")
		if line == "" {
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if !ok || !txtrecord.IsName(key) {
			return nil, fmt.Errorf("line %d: %q: want a key, \":\" and a value", number, shorten(line))
		}
		if seen[key] {
			continue
		}
		if err := p.set(key, txtrecord.TrimSpace(value), seen); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	for _, key := range []string{"version", "mode", "max_age"} {
		if !seen[key] {
			return nil, fmt.Errorf("it has no %s", key)
		}
	}
	if p.Mode != None && len(p.MX) == 0 {
		return nil, errors.New("it has no mx")
	}
	return p, nil
}

// set sets a field, and adds its key to seen unless the field may be repeated.
func (p *Policy) set(key, value string, seen map[string]bool) error {
	switch key {
	case "version":
		if value != "STSv1" {
			return fmt.Errorf("version %q: want STSv1", shorten(value))
		}
	case "mode":
		mode := slices.Index(modes[:], value)
		if mode < 0 {
			return fmt.Errorf("mode %q: want enforce, testing or none", shorten(value))
		}
		p.Mode = Mode(mode)
	case "max_age":
		seconds, err := strconv.ParseUint(value, 10, 64)
		if err != nil || len(value) > 10 || value[0] == '+' {
			return fmt.Errorf("max_age %q: want seconds, in up to 10 digits", shorten(value))
		}
		p.MaxAge = time.Duration(min(seconds, uint64(maxMaxAge/time.Second))) * time.Second
	case "mx":
		pattern, err := parsePattern(value)
		if err != nil {
			return err
		}
		p.MX = append(p.MX, pattern)
		return nil
	default:
		return nil
	}
	seen[key] = true
	return nil
}

// parsePattern returns a pattern as A-labels.
func parsePattern(s string) (string, error) {
	parent, wildcard := strings.CutPrefix(s, "*.")
	name, err := smtp.ASCIIDomain(parent)
	if err != nil || name[0] == '[' {
		return "", fmt.Errorf("mx %q: want a host name, or \"*.\" and a domain", shorten(s))
	}
	if wildcard {
		return "*." + name, nil
	}
	return strings.Clone(name), nil // a part of the body would keep all of it in memory
}
