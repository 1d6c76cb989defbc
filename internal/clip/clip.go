// Package clip shortens texts from elsewhere before they are stored, shown or put into an error.
package clip

import "strings"

const mark = "…"

// Text returns s in valid UTF-8: octets that aren't are left out. If s has more than most octets, it is cut between two
// characters, and ends in "…"; the result has at most most octets with it. If most is less than 3, the result of such
// an s is "…". A character that is composed of several code points may lose the last of them.
func Text(s string, most int) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:max(0, most-len(mark))], "") + mark
	}
	return strings.ToValidUTF8(s, "")
}
