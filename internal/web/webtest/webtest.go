// Package webtest checks pages with texts from outside.
package webtest

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// Markup checks that a page is printable UTF-8, and that no text in it is an element or an attribute that does
// something, or is one of more. Values of fields and of links, which are sent back as they are, must have been taken
// out.
func Markup(t *testing.T, name, page string, more ...string) {
	t.Helper()
	if !utf8.ValidString(page) {
		t.Errorf("%s isn't UTF-8", name)
	}
	for _, r := range page {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Errorf("%s has the character %U", name, r)
			break
		}
	}
	for _, bad := range append([]string{"<script", "<img", "\u0301\u0301\u0301"}, more...) {
		if strings.Contains(page, bad) {
			t.Errorf("%s has %q", name, bad)
		}
	}
	// An attribute ends only at our own quotes: no tag has an attribute that begins with "on".
	for rest := page; ; {
		_, after, ok := strings.Cut(rest, "<")
		if !ok {
			break
		}
		tag, after, _ := strings.Cut(after, ">")
		rest = after
		quoted := false
		for i, c := range tag {
			if c == '"' {
				quoted = !quoted
			}
			if !quoted && strings.HasPrefix(tag[i:], " on") {
				t.Errorf("%s has the tag <%s>", name, tag)
			}
		}
	}
}
