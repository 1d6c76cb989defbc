package clip

import (
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	tests := []struct {
		name, s string
		most    int
		want    string
	}{
		{"empty", "", 10, ""},
		{"as long as it may be", "0123456789", 10, "0123456789"},
		{"too long", "0123456789a", 10, "0123456…"},
		{"cut within a character", "012345üäö", 10, "012345…"},
		{"cut within four octets", "01234😀😀", 10, "01234…"},
		{"characters that fit", "üüüüü", 10, "üüüüü"},
		{"not UTF-8", "a\xffb\xc3", 10, "ab"},
		{"too long, not UTF-8", strings.Repeat("\xff", 20), 10, "…"},
		{"cut twice", Text(strings.Repeat("ü", 20), 10), 10, "üüü…"},
		{"no room", "abcdef", 2, "…"},
		{"negative", "a", -1, "…"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Text(tt.s, tt.most)
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if tt.most >= len(mark) && len(got) > tt.most {
				t.Errorf("got %d octets, want at most %d", len(got), tt.most)
			}
		})
	}
}
