package queueweb

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	maxText = 120  // runes of an address or a name in a table
	maxLong = 1000 // runes of a reply
	maxKept = 2000 // octets of a text in JSON and in the history
)

// visible returns s so that all of it can be seen: each character that isn't printed, changes the direction of the text
// or is drawn over others becomes its number, "⟨U+202E⟩", and each octet that isn't UTF-8 "⟨0xFF⟩". It has at most most
// runes of s.
func visible(s string, most int) string {
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

// cut bounds a text for JSON and the history, in octets, and says so by "…". No link works with a text that was cut, as
// maxValue is less than maxKept.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for i := range utf8.UTFMax {
		if utf8.RuneStart(s[most-i]) {
			return s[:most-i] + "…"
		}
	}
	return s[:most] + "…"
}

// ages are the upper bounds of the columns of a table by age, as those of Postfix's qshape. The last column is open.
var ages = [...]time.Duration{
	5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 40 * time.Minute, 80 * time.Minute, 160 * time.Minute,
	320 * time.Minute, 640 * time.Minute, 1280 * time.Minute,
}

// columns has one more number than ages.
type columns [len(ages) + 1]int

func ageColumn(age time.Duration) int {
	for i, most := range ages {
		if age < most {
			return i
		}
	}
	return len(ages)
}

// span returns a duration in its one or two largest units.
func span(d time.Duration) string {
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

// relative returns when a time is, seen from now.
func relative(t, now time.Time) string {
	switch d := t.Sub(now); {
	case d > 0:
		return "in " + span(d)
	default:
		return span(d) + " ago"
	}
}

// octets returns a size in its largest unit.
func octets(n int64) string {
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
