package mimetext

import (
	"strings"
	"testing"
)

// TestReadDisposition: the name of a file is found as mail programs write it, rightly or not.
func TestReadDisposition(t *testing.T) {
	for _, tt := range []struct {
		name, disposition, contentType string
		want                           string
		attached                       bool
	}{
		{"none", "", "text/plain", "", false},
		{"plain", `attachment; filename="a.txt"`, "text/plain", "a.txt", true},
		{"inline", `INLINE; filename=a.txt`, "", "a.txt", false},
		{"of the type", "", `image/png; name="a.png"`, "a.png", false},
		{"both", `attachment; filename="b.png"`, `image/png; name="a.png"`, "b.png", true},
		{"RFC 2231", `attachment; filename*=utf-8''%C3%BC.txt`, "", "ü.txt", true},
		{"RFC 2231 in parts", `attachment; filename*0=long; filename*1=name.txt`, "", "longname.txt", true},
		{"RFC 2047", `attachment; filename="=?utf-8?q?=C3=BC.txt?="`, "", "ü.txt", true},
		{"no quote at the end", `attachment; filename="a b.txt`, "", "a b.txt", true},
		{"no quotes", `attachment; filename=a b.txt; size=3`, "", "a b.txt", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, attached := ReadDisposition(tt.disposition, tt.contentType)
			if got != tt.want || attached != tt.attached {
				t.Errorf("got %q, %t, want %q, %t", got, attached, tt.want, tt.attached)
			}
		})
	}
}

// TestReadTypeBoundary: a boundary has at most 70 octets (RFC 2046 §5.1.1), without the spaces behind it.
func TestReadTypeBoundary(t *testing.T) {
	long := strings.Repeat("x", 70)
	for _, tt := range []struct{ name, value, want string }{
		{"plain", "multipart/mixed; boundary=b", "b"},
		{"spaces", `multipart/mixed; boundary="a b "`, "a b"},
		{"70 octets", "multipart/mixed; boundary=" + long, long},
		{"70 octets and spaces", `multipart/mixed; boundary="` + long + `  "`, long},
		{"71 octets", "multipart/mixed; boundary=y" + long, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := ReadType(tt.value).Boundary; got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestIsDelimiter: a delimiter is "--", the boundary, "--" if it is the last one, and white space.
func TestIsDelimiter(t *testing.T) {
	for _, tt := range []struct {
		name, line, boundary string
		ok, last             bool
	}{
		{"first", "--b", "b", true, false},
		{"last", "--b--", "b", true, true},
		{"white space", "--b \t", "b", true, false},
		{"white space after the last", "--b-- ", "b", true, true},
		{"white space in the last", "--b --", "b", false, false},
		{"longer", "--bb", "b", false, false},
		{"shorter", "--b", "bb", false, false},
		{"no dashes", "b", "b", false, false},
		{"one dash", "-b", "b", false, false},
		{"empty", "", "b", false, false},
		{"dashes alone", "--", "b", false, false},
		{"dashes in the boundary", "--b--", "b--", true, false},
		{"another", "--c", "b", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if ok, last := IsDelimiter([]byte(tt.line), tt.boundary); ok != tt.ok || last != tt.last {
				t.Errorf("got %t, %t, want %t, %t", ok, last, tt.ok, tt.last)
			}
		})
	}
}
