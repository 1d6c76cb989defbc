package spf

import (
	"errors"
	"fmt"
	"strings"
)

const version = "v=spf1"

// record is a parsed record.
type record struct {
	directives []directive
	redirect   macroString // nil if absent
	exp        macroString
}

// isRecord reports whether a TXT record is an SPF record (RFC 7208 §4.5): one of another version isn't.
func isRecord(txt string) bool {
	return len(txt) >= len(version) && strings.EqualFold(txt[:len(version)], version) &&
		(len(txt) == len(version) || txt[len(version)] == ' ')
}

// parseRecord parses a text for which isRecord is true. The error names the term and the rule. RFC 7208 §4.6: an error
// anywhere makes the whole record void, so a record is parsed before any term is evaluated.
func parseRecord(txt string) (*record, error) {
	r := new(record)
	for text := range strings.SplitSeq(txt[len(version):], " ") {
		if text == "" {
			continue
		}
		if err := r.add(text); err != nil {
			return nil, fmt.Errorf("term %.100q: %w", text, err)
		}
	}
	return r, nil
}

// add adds a term. A modifier has a "=" behind its name (RFC 7208 §4.6.1).
func (r *record) add(text string) error {
	n := nameLength(text)
	if n == 0 || n == len(text) || text[n] != '=' {
		d, err := parseDirective(text)
		if err == nil {
			r.directives = append(r.directives, d)
		}
		return err
	}
	name, value := strings.ToLower(text[:n]), text[n+1:]
	switch name {
	case "redirect":
		return setOnce(&r.redirect, value)
	case "exp":
		return setOnce(&r.exp, value)
	}
	// RFC 7208 §6: other modifiers are ignored, but their macros must be valid.
	_, err := parseMacros(value, false)
	return err
}

// setOnce sets a modifier that a record may have once.
func setOnce(modifier *macroString, value string) (err error) {
	if *modifier != nil {
		return errors.New("the modifier appears twice (RFC 7208 section 6)")
	}
	*modifier, err = parseDomainSpec(value)
	return err
}

// nameLength returns the length of the name of a modifier at the start of text.
func nameLength(text string) int {
	for i := range len(text) {
		if c := text[i]; !isAlpha(c) && (i == 0 || !isDigit(c) && strings.IndexByte("-_.", c) < 0) {
			return i
		}
	}
	return len(text)
}

// parseDomainSpec parses a domain-spec. It ends in a macro, or in a dot and a top label (RFC 7208 §7.1).
func parseDomainSpec(s string) (macroString, error) {
	parts, err := parseMacros(s, false)
	if err != nil {
		return nil, err
	}
	if len(parts) == 0 {
		return nil, errors.New("the domain is missing (RFC 7208 section 7.1)")
	}
	last := parts[len(parts)-1]
	if last.letter != 0 {
		return parts, nil
	}
	name := strings.TrimSuffix(last.literal, ".")
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 || !isTopLabel(name[dot+1:]) {
		return nil, fmt.Errorf("%.100q doesn't end in a dot and a top-level domain (RFC 7208 section 7.1)", s)
	}
	return parts, nil
}

// isTopLabel reports whether s is a toplabel: letters, digits and hyphens, a hyphen neither first nor last, and not
// digits alone.
func isTopLabel(s string) bool {
	if s == "" || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	digits := true
	for i := range len(s) {
		if !isAlnum(s[i]) && s[i] != '-' {
			return false
		}
		digits = digits && isDigit(s[i])
	}
	return !digits
}
