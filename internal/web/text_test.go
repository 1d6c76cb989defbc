package web

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// TestShown: what is hostile isn't only harmless: it can be seen.
func TestShown(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"plain", "ann@example.com", "ann@example.com"},
		{"letters", "jürgen@例え.jp שלום", "jürgen@例え.jp שלום"},
		{"direction", "a\u202Eb\u2069", "a⟨U+202E⟩b⟨U+2069⟩"},
		{"invisible", "a\u200Bb\u00ADc\u3164", "a⟨U+200B⟩b⟨U+00AD⟩c⟨U+3164⟩"},
		{"control", "a\r\n\x00\x1b", "a⟨U+000D⟩⟨U+000A⟩⟨U+0000⟩⟨U+001B⟩"},
		{"other space", "a\u00A0b\tc", "a⟨U+00A0⟩b⟨U+0009⟩c"},
		{"octets", "a\xFFb\xE2\x82", "a⟨0xFF⟩b⟨0xE2⟩⟨0x82⟩"},
		{"tags", "a\U000E0041", "a⟨U+E0041⟩"},
		{"marks", "e\u0301\u0302\u0303", "e\u0301\u0302⟨U+0303⟩"},
		{"replacement", "\uFFFD", "\uFFFD"},
		{"long", strings.Repeat("x", 21), strings.Repeat("x", 20) + "… (21 octets)"},
		{"not long", strings.Repeat("ü", 20), strings.Repeat("ü", 20)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Visible(tt.in, 20); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// FuzzVisible: what is shown is printable, bounded, and shows printable ASCII as it is.
func FuzzVisible(f *testing.F) {
	f.Add("plain", 10)
	f.Add("<script>\u202Eevil\u2066\u200B\x00\x1B[31m\xFF\xC0a\u0301\u0301\u0301\U000E0041\u3164", 100)
	f.Fuzz(func(t *testing.T, s string, most int) {
		most = min(max(most, 0), 1000)
		got := Visible(s, most)
		ascii := true
		for _, r := range got {
			if !unicode.IsPrint(r) || isBlank(r) {
				t.Fatalf("%q has %U", got, r)
			}
		}
		for _, r := range s {
			ascii = ascii && r >= ' ' && r < 0x7F
		}
		if ascii && len(s) <= most && got != s {
			t.Errorf("got %q, want %q", got, s)
		}
		if n := utf8.RuneCountInString(got); n > most*len("⟨U+10FFFF⟩")+40 {
			t.Errorf("%d runes for %d", n, most)
		}
	})
}
