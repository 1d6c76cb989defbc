package mimetext

import "testing"

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
