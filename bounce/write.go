package bounce

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxLine = 78 // RFC 5322 §2.1.1

	// maxToken is the size in octets of the longest value without spaces. With the name of its field, it is shorter
	// than 998 octets (RFC 5322 §2.1.1).
	maxToken = 900
)

// writeField writes a field, folded at spaces into lines of at most maxLine octets where possible. A "\n" in value is a
// fold. The value must have no other control characters, and no more than maxToken octets between two spaces.
func writeField(b *bytes.Buffer, name, value string) {
	for i, line := range strings.Split(name+": "+value, "\n") {
		if i > 0 {
			line = " " + line
		}
		if line = strings.TrimRight(line, " "); line == "" {
			continue // some readers take a line of spaces as the end of the header
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

// foldAt returns the index of the space before which to fold: the last one with at most maxLine octets before it,
// otherwise the first one, or -1 if there is none after keep. The octets before it are not all spaces.
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

// clean returns s with each tab or Unicode space as a space, and with "?" for each control character, invalid octet and
// other character that doesn't print. Unless allowUTF8 is set, "?" also replaces each character that isn't ASCII.
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

// clip returns s, cut to at most n octets at the end of a character. If it was cut, it ends in "...".
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

// isASCII reports whether s has no octet above 127.
func isASCII[T ~string | ~[]byte](s T) bool {
	for i := range len(s) {
		if s[i] > unicode.MaxASCII {
			return false
		}
	}
	return true
}
