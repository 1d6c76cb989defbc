package canonical

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Tags is a list of tags (RFC 6376 §3.2): the values by their names.
type Tags map[string]string

// ParseTags parses a list of tags. A tag that appears twice makes all of it void.
func ParseTags(s string) (Tags, error) {
	tags := make(Tags)
	specs := strings.Split(s, ";")
	for i, spec := range specs {
		spec = trimSpace(spec)
		if spec == "" && i == len(specs)-1 && i > 0 {
			break
		}
		name, value, ok := strings.Cut(spec, "=")
		name, value = trimSpace(name), trimSpace(value)
		if !ok || !isTagName(name) {
			return nil, fmt.Errorf("%.40q is no tag (RFC 6376 section 3.2)", spec)
		}
		if _, twice := tags[name]; twice {
			return nil, fmt.Errorf("the tag %.40s appears twice (RFC 6376 section 3.2)", name)
		}
		tags[name] = value
	}
	return tags, nil
}

func isTagName(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if !('a' <= c && c <= 'z' || i > 0 && ('0' <= s[i] && s[i] <= '9' || s[i] == '_')) {
			return false
		}
	}
	return s != ""
}

// List returns the parts of a value that are separated by colons.
func (t Tags) List(name string) []string {
	parts := strings.Split(t[name], ":")
	for i := range parts {
		parts[i] = trimSpace(parts[i])
	}
	return parts
}

var errBase64 = errors.New("isn't base64 (RFC 6376 section 2.10)")

// Base64 returns the octets of a value, in which white space is ignored.
func (t Tags) Base64(name string) ([]byte, error) {
	text := strings.Map(func(c rune) rune {
		if IsSpace(c) {
			return -1
		}
		return c
	}, t[name])
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("the tag %s %w", name, errBase64)
	}
	return b, nil
}

// IsSpace reports whether c is white space of a tag list.
func IsSpace(c rune) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func trimSpace(s string) string { return strings.TrimFunc(s, IsSpace) }

// WithoutSignature returns a DKIM-Signature field without the value of its tag b, and without its line end
// (RFC 6376 §3.7).
func WithoutSignature(field string) string {
	start := strings.IndexByte(field, ':') + 1
	for start <= len(field) {
		end := strings.IndexByte(field[start:], ';')
		if end < 0 {
			end = len(field)
		} else {
			end += start
		}
		name, _, ok := strings.Cut(field[start:end], "=")
		if ok && trimSpace(name) == "b" {
			return strings.TrimSuffix(field[:start+len(name)+1]+field[end:], "\r\n")
		}
		start = end + 1
	}
	return strings.TrimSuffix(field, "\r\n")
}
