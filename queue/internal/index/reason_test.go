package index

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/postrider/postrider/queue"
)

// TestCutReason: a reason that is too long ends in an ellipsis, within the bound, and is valid UTF-8.
func TestCutReason(t *testing.T) {
	tests := []struct{ name, reason, want string }{
		{"none", "", ""},
		{"short", "a check", "a check"},
		{"just fits", strings.Repeat("x", 500), strings.Repeat("x", 500)},
		{"too long", strings.Repeat("x", 501), strings.Repeat("x", 497) + "…"},
		{"cut within a character", strings.Repeat("ü", 251), strings.Repeat("ü", 248) + "…"},
		{"not UTF-8", "a\xffb", "ab"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := CutReason(tt.reason)
			if got != tt.want || len(got) > queue.MaxHeldFor || !utf8.ValidString(got) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
