package web

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/postrider/postrider/internal/clip"
)

// Visible returns s so that all of it can be seen: each character that isn't printed, changes the direction of the text
// or is drawn over others becomes its number, "⟨U+202E⟩", and each octet that isn't UTF-8 "⟨0xFF⟩". It has at most most
// runes of s.
func Visible(s string, most int) string {
	var b strings.Builder
	marks := 0 // in a row
	for i, n := 0, 0; i < len(s); n++ {
		if n == most {
			fmt.Fprintf(&b, "… (%d octets)", len(s))
			break
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if marks++; !unicode.Is(unicode.M, r) {
			marks = 0
		}
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, "⟨0x%02X⟩", s[i])
		case !unicode.IsPrint(r), isBlank(r), marks > 2:
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		default:
			b.WriteRune(r)
		}
		i += size
	}
	return b.String()
}

// isBlank reports whether a character counts as printed and can't be seen: fillers of Hangul, and the blank of Braille.
func isBlank(r rune) bool {
	switch r {
	case 0x115F, 0x1160, 0x2800, 0x3164, 0xFFA0:
		return true
	}
	return unicode.Is(unicode.Variation_Selector, r)
}

// Cut bounds a text for JSON and the history, in octets. No link works with a text that was cut, as MaxValue is less
// than MaxKept.
func Cut(s string, most int) string { return clip.Text(s, most) }

// Span returns a duration in its one or two largest units.
func Span(d time.Duration) string {
	d = d.Abs()
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d d %d h", int(d.Hours())/24, int(d.Hours())%24)
}

// Relative returns when a time is, seen from now.
func Relative(t, now time.Time) string {
	switch d := t.Sub(now); {
	case d > 0:
		return "in " + Span(d)
	default:
		return Span(d) + " ago"
	}
}

// Octets returns a size in its largest unit.
func Octets(n int64) string {
	units := []string{"octets", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d %s", n, units[i])
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

// Number writes 1234567 as "1,234,567".
func Number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Plural returns "1 message was" or "2 messages were".
func Plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Number(n) + " " + many
}

// Link returns the URL of a page with parameters, those that are empty left out. It is relative: no page is below
// another one.
func Link(page string, pairs ...any) string {
	given := make([]string, len(pairs))
	for i, v := range pairs {
		given[i] = fmt.Sprint(v)
	}
	return LinkWith(page, nil, given)
}

// LinkWith is Link with values and pairs.
func LinkWith(page string, values url.Values, pairs []string) string {
	all := make(url.Values)
	for name, v := range values {
		all[name] = v
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		all.Set(pairs[i], pairs[i+1])
	}
	for name := range all {
		if all.Get(name) == "" {
			all.Del(name)
		}
	}
	return "./" + page + "?" + all.Encode()
}

// Source is Visible for a text of many lines. Each line has at most most runes.
func Source(s string, most int) string {
	lines := strings.Split(strings.ReplaceAll(s, "\r\n", "\n"), "\n")
	for i, line := range lines {
		lines[i] = Visible(strings.ReplaceAll(line, "\t", "    "), most)
	}
	return strings.Join(lines, "\n")
}
