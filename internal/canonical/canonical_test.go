package canonical

import (
	"crypto/sha256"
	"encoding/base64"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// TestCanonical has the examples of RFC 6376 §3.4.3 to §3.4.6.
func TestCanonical(t *testing.T) {
	const body = " C \r\nD \t E\r\n\r\n\r\n"
	for _, c := range []struct {
		name, body string
		relaxed    bool
		want       string
	}{
		{"simple", body, false, " C \r\nD \t E\r\n"},
		{"relaxed", body, true, " C\r\nD E\r\n"},
		{"simple and empty", "", false, "\r\n"},
		{"relaxed and empty", "", true, ""},
		{"simple, empty lines", "\r\n\r\n\r\n", false, "\r\n"},
		{"relaxed, empty lines", "\r\n \t\r\n\r\n", true, ""},
		{"simple, a line of spaces", " \r\n\r\n", false, " \r\n"},
		{"simple, no line end", "a", false, "a\r\n"},
		{"relaxed, no line end", "a \t", true, "a\r\n"},
		{"empty lines in between", "\r\n\r\na\r\n\r\n\r\nb", true, "\r\n\r\na\r\n\r\n\r\nb\r\n"},
		{"white space at the start", "\t a", true, " a\r\n"},
		{"a bare CR", "a\rb\r", false, "a\rb\r\r\n"},
		{"CR CR LF", "a\r\r\nb", true, "a\r\r\nb\r\n"},
		{"a bare CR after white space", "a \r b", true, "a \r b\r\n"},
		{"a bare LF", "a\nb", true, "a\nb\r\n"},
		{"long", strings.Repeat("x", 3*maxOut) + "  y", true, strings.Repeat("x", 3*maxOut) + " y\r\n"},
	} {
		for _, limit := range []int64{-1, 0, 2, 1 << 30} {
			for _, one := range []bool{false, true} {
				h := NewHash(c.relaxed, limit)
				b := &Body{Relaxed: c.relaxed, Hashes: []*Hash{h}}
				r := io.Reader(strings.NewReader(c.body))
				if one {
					r = iotest.OneByteReader(r)
				}
				io.Copy(struct{ io.Writer }{b}, r)
				b.End()
				part := c.want
				if limit >= 0 {
					part = part[:min(int64(len(part)), limit)]
				}
				sum := sha256.Sum256([]byte(part))
				if string(h.Sum(nil)) != string(sum[:]) || h.Octets != int64(len(c.want)) {
					t.Errorf("%s, limit %d: another hash; %d octets, want %d", c.name, limit, h.Octets, len(c.want))
				}
			}
		}
	}
	for _, c := range []struct{ field, relaxed string }{
		{"A: X\r\n", "a:X\r\n"},
		{"B : Y\t\r\n\tZ  \r\n", "b:Y Z\r\n"},
		{"SUBJECT:\r\n", "subject:\r\n"},
		{"A: x\ry\n z\r\n", "a:x\ry\n z\r\n"}, // binary content may have these
		{"Subject:  a\r\n  b \t c \r\n", "subject:a b c\r\n"},
	} {
		if got := string(AppendField(nil, c.field, true)); got != c.relaxed {
			t.Errorf("%q: got %q, want %q", c.field, got, c.relaxed)
		}
		if got := string(AppendField(nil, c.field, false)); got != c.field {
			t.Errorf("%q, simple: got %q", c.field, got)
		}
	}
	// RFC 6376 §3.4.3 and §3.4.4 have the sums of an empty body.
	for relaxed, want := range map[bool]string{false: "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=", true: "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="} {
		h := NewHash(relaxed, -1)
		(&Body{Relaxed: relaxed, Hashes: []*Hash{h}}).End()
		if got := base64.StdEncoding.EncodeToString(h.Sum(nil)); got != want {
			t.Errorf("relaxed=%t: got %s, want %s", relaxed, got, want)
		}
	}
}
