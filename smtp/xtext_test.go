package smtp_test

import (
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

func TestXtext(t *testing.T) {
	tests := []struct{ name, decoded, encoded string }{
		{"empty", "", ""},
		{"plain", "QQ314159", "QQ314159"},
		{"plus and equals", "e=mc2+@example.com", "e+3Dmc2+2B@example.com"},
		{"space", "a b", "a+20b"},
		{"controls", "\r\n\x00\x7f", "+0D+0A+00+7F"},
		{"8 bit", "ü", "+C3+BC"},
		{"brackets", "<>", "<>"},
		{"plus at the end", "a+", "a+2B"},
		{"bounds of xchar", "!~", "!~"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := smtp.EncodeXtext(tt.decoded); got != tt.encoded {
				t.Errorf("EncodeXtext: got %q, want %q", got, tt.encoded)
			}
			if got, err := smtp.DecodeXtext(tt.encoded); got != tt.decoded || err != nil {
				t.Errorf("DecodeXtext: got %q, %v, want %q", got, err, tt.decoded)
			}
		})
	}
	if got, err := smtp.DecodeXtext("a+3db"); got != "a=b" || err != nil {
		t.Errorf("lower case: got %q, %v, want a=b", got, err)
	}
	for _, bad := range []string{"+", "a+", "a+2", "a+2g", "+g0", "++2B", "a=b", "a b", "a\r\n", "ü", "+2B ", "\x7f"} {
		if got, err := smtp.DecodeXtext(bad); err == nil || got != "" {
			t.Errorf("DecodeXtext(%q): got %q, %v, want an error", bad, got, err)
		}
	}
}

func TestEncodeORCPT(t *testing.T) {
	tests := []struct{ name, orcpt, ascii, utf8 string }{
		{"rfc822", "rfc822;a+b@c", "rfc822;a+2Bb@c", "rfc822;a+2Bb@c"},
		{"utf-8", "utf-8;dürst@c", `utf-8;d\x{FC}rst@c`, "utf-8;dürst@c"},
		{"utf-8 in upper case", "UTF-8;\u560d", `UTF-8;\x{560D}`, "UTF-8;\u560d"},
		{"utf-8 ASCII", `utf-8;"a b"+=\@c`, `utf-8;"a\x{20}b"\x{2B}\x{3D}\x{5C}@c`, `utf-8;"a\x{20}b"\x{2B}\x{3D}\x{5C}@c`},
		{"beyond the BMP", "utf-8;\U0010ffff", `utf-8;\x{10FFFF}`, "utf-8;\U0010ffff"},
		{"controls can't get out", "utf-8;\r\n", `utf-8;\x{0D}\x{0A}`, `utf-8;\x{0D}\x{0A}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := smtp.EncodeORCPT(tt.orcpt, false); got != tt.ascii {
				t.Errorf("ASCII: got %q, want %q", got, tt.ascii)
			}
			if got := smtp.EncodeORCPT(tt.orcpt, true); got != tt.utf8 {
				t.Errorf("UTF-8: got %q, want %q", got, tt.utf8)
			}
		})
	}
}

func FuzzXtext(f *testing.F) {
	f.Add("a+2Bb")
	f.Add("e=mc2 \r\n\xff")
	f.Fuzz(func(t *testing.T, s string) {
		encoded := smtp.EncodeXtext(s)
		if got, err := smtp.DecodeXtext(encoded); got != s || err != nil {
			t.Errorf("%q: got %q, %v, want %q", encoded, got, err, s)
		}
		if smtp.NeedsUTF8(encoded) || strings.ContainsAny(encoded, " =\r\n\x00") {
			t.Errorf("%q isn't xtext", encoded)
		}
		if decoded, err := smtp.DecodeXtext(s); err == nil {
			if got, err := smtp.DecodeXtext(smtp.EncodeXtext(decoded)); got != decoded || err != nil {
				t.Errorf("%q: got %q, %v, want %q", s, got, err, decoded)
			}
		}
	})
}
