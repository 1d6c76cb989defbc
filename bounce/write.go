package bounce

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxLine = 78 // RFC 5322 §2.1.1

	// maxToken bounds a value without spaces: with the name of its field it stays under 998 octets
	// (RFC 5322 §2.1.1).
	maxToken = 900
)

// writeField writes a field, folded where spaces allow it. A "\n" in value folds there; value has no
// other control characters, and what stands between spaces is at most maxToken octets long.
func writeField(b *bytes.Buffer, name, value string) {
	for i, line := range strings.Split(name+": "+value, "\n") {
		if i > 0 {
			line = " " + line
		}
		if line = strings.TrimRight(line, " "); line == "" {
			continue // a line of spaces would end the fields for some readers
		}
		keep := len(name) + 1 // don't fold between name and value
		for len(line) > maxLine {
			at := foldAt(line, keep)
			if at < 0 {
				break
			}
			b.WriteString(line[:at])
			b.WriteString("\r\n")
			line, keep = line[at:], 0
		}
		b.WriteString(line)
		b.WriteString("\r\n")
	}
}

// foldAt finds the space before which to fold: the last that leaves at most maxLine octets before it,
// else the first one there is; -1 if there is none past keep. Octets before it aren't all spaces.
func foldAt(line string, keep int) int {
	start := keep
	for start < len(line) && line[start] == ' ' {
		start++
	}
	if start < maxLine {
		if i := strings.LastIndexByte(line[start:maxLine+1], ' '); i >= 0 {
			return len(strings.TrimRight(line[:start+i], " "))
		}
	}
	if i := strings.IndexByte(line[start:], ' '); i >= 0 {
		return start + i
	}
	return -1
}

// clean makes a value from outside fit for a line: no control characters, no invalid UTF-8, nothing
// that doesn't print. Without allowUTF8, all beyond ASCII goes too.
func clean(s string, allowUTF8 bool) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t', unicode.Is(unicode.Zs, r):
			return ' '
		case r > unicode.MaxASCII && !allowUTF8, r == unicode.ReplacementChar, !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, s)
}

// clip cuts s to n octets, dots included, at the end of a character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	n -= len("...")
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}

func isASCII[T ~string | ~[]byte](s T) bool {
	for i := range len(s) {
		if s[i] > unicode.MaxASCII {
			return false
		}
	}
	return true
}
