package mtasts

import (
	"errors"
	"fmt"
	"strings"
)

// recordVersion begins a record of MTA-STS (RFC 8461 §3.1).
const recordVersion = "v=STSv1"

// errNoRecord is the error if none of the TXT records belongs to MTA-STS.
var errNoRecord = errors.New("no TXT record begins with " + recordVersion + ";")

// parseRecord returns the id in the TXT records of "_mta-sts." and a domain. Exactly one of them must be a record of
// MTA-STS.
func parseRecord(texts []string) (id string, err error) {
	// RFC 8461 §3.1: others are discarded, and if more or less than one remains, the domain has no policy.
	err = errNoRecord
	found := 0
	for _, text := range texts {
		rest, ok := strings.CutPrefix(text, recordVersion)
		if rest = trimSpace(rest); !ok || !strings.HasPrefix(rest, ";") {
			continue
		}
		if found++; found > 1 {
			return "", errors.New("several TXT records begin with " + recordVersion)
		}
		if id, err = parseFields(rest[1:]); err != nil {
			err = fmt.Errorf("TXT record %q: %w", shorten(text), err)
		}
	}
	return id, err
}

// parseFields returns the id in the fields that follow the version.
func parseFields(fields string) (id string, err error) {
	for more := true; more; {
		var field string
		field, fields, more = strings.Cut(fields, ";")
		field = trimSpace(field)
		if field == "" && !more {
			break // the last semicolon is optional
		}
		name, value, ok := strings.Cut(field, "=")
		switch {
		case !ok || !isName(name) || !isValue(value):
			return "", fmt.Errorf("field %q: want a name, \"=\" and a value", shorten(field))
		case name == "id" && id == "": // RFC 8461 §3.2: of a duplicate, the first one counts
			if !isID(value) {
				return "", fmt.Errorf("id %q: want 1 to 32 letters and digits", shorten(value))
			}
			id = strings.Clone(value) // a part of the record would keep all of it in memory
		}
	}
	if id == "" {
		return "", errors.New("it has no id")
	}
	return id, nil
}

// isID reports whether s is 1*32(ALPHA / DIGIT).
func isID(s string) bool { return s != "" && len(s) <= 32 && strings.IndexFunc(s, isNotAlnum) < 0 }

// isName reports whether s is the name of a field, known or not, in a record or a policy.
func isName(s string) bool {
	return s != "" && len(s) <= 32 && !isNotAlnum(rune(s[0])) &&
		strings.IndexFunc(s, func(r rune) bool { return isNotAlnum(r) && r != '_' && r != '-' && r != '.' }) < 0
}

// isValue reports whether s is a value in a record: printable ASCII without space, "=" and ";".
func isValue(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '=' || r == ';' }) < 0
}

func isNotAlnum(r rune) bool {
	return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}

// trimSpace removes the WSP of RFC 5234.
func trimSpace(s string) string { return strings.Trim(s, " \t") }

// shorten bounds a value from outside for an error.
func shorten(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}
