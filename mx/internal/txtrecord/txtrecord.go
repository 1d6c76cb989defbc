// Package txtrecord reads the TXT records of MTA-STS (RFC 8461 §3.1) and of TLS reporting (RFC 8460 §3): a version and
// fields, such as "v=STSv1; id=1".
package txtrecord

import (
	"iter"
	"strings"
)

// Find returns the first of the records that begins with version, which is "v=STSv1" for example, and the fields in it.
// n is how many of them do. Both RFCs discard the others, and demand that exactly one remains.
func Find(texts []string, version string) (record, fields string, n int) {
	for _, text := range texts {
		rest, ok := strings.CutPrefix(text, version)
		if rest = TrimSpace(rest); !ok || !strings.HasPrefix(rest, ";") {
			continue
		}
		if n++; n == 1 {
			record, fields = text, rest[1:]
		}
	}
	return record, fields, n
}

// Field is a field of a record.
type Field struct {
	Text        string // all of it
	Name, Value string
	Valid       bool // it has a name, "=" and a value that isn't empty
}

// Fields yields the fields of a record.
func Fields(fields string) iter.Seq[Field] {
	return func(yield func(Field) bool) {
		for more := true; more; {
			var f Field
			f.Text, fields, more = strings.Cut(fields, ";")
			f.Text = TrimSpace(f.Text)
			if f.Text == "" && !more {
				return // the last semicolon is optional
			}
			f.Name, f.Value, f.Valid = strings.Cut(f.Text, "=")
			f.Valid = f.Valid && IsName(f.Name) && f.Value != ""
			if !yield(f) {
				return
			}
		}
	}
}

// IsName reports whether s is the name of a field, known or not.
func IsName(s string) bool {
	return s != "" && len(s) <= 32 && !IsNotAlnum(rune(s[0])) &&
		strings.IndexFunc(s, func(r rune) bool { return IsNotAlnum(r) && r != '_' && r != '-' && r != '.' }) < 0
}

// IsNotAlnum reports whether r is neither ALPHA nor DIGIT of RFC 5234.
func IsNotAlnum(r rune) bool {
	return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}

// IsNotVisible reports whether a character can't be in a value: printable ASCII without space and ";".
func IsNotVisible(r rune) bool { return r <= ' ' || r > '~' || r == ';' }

// TrimSpace removes the WSP of RFC 5234.
func TrimSpace(s string) string { return strings.Trim(s, " \t") }
