// Package words writes what the replies of checks say to people: times, and text from outside.
package words

import (
	"fmt"
	"strings"
	"time"
)

// Time returns a time in words, rounded up: in seconds up to 1 minute, in minutes up to 2 hours, and in hours beyond:
// "40 seconds", "5 minutes", "24 hours".
func Time(d time.Duration) string {
	unit, name := time.Second, "second"
	switch {
	case d > 2*time.Hour:
		unit, name = time.Hour, "hour"
	case d > time.Minute:
		unit, name = time.Minute, "minute"
	}
	n := (d + unit - 1) / unit
	if n == 1 {
		return "1 " + name
	}
	return fmt.Sprintf("%d %ss", n, name)
}

// Line returns text from outside as one line of printable ASCII with at most n octets. Every other character becomes
// "?".
func Line(text string, n int) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
	return text[:min(len(text), n)]
}
