package words

import (
	"testing"
	"time"
)

func TestTime(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Millisecond:                "1 second",
		40 * time.Second:                "40 seconds",
		time.Minute:                     "60 seconds",
		time.Minute + 1:                 "2 minutes",
		time.Hour:                       "60 minutes",
		2*time.Hour + 1:                 "3 hours",
		24 * time.Hour:                  "24 hours",
		5*time.Minute - 1:               "5 minutes",
		30*time.Minute + 29*time.Second: "31 minutes",
	} {
		if got := Time(d); got != want {
			t.Errorf("Time(%v): got %q, want %q", d, got, want)
		}
	}
}

func TestLine(t *testing.T) {
	for text, want := range map[string]string{"": "", "as it is ~": "as it is ~", "a\r\nb\tc\x7f": "a??b?c?", "é\xff": "??", "12345678901": "1234567890"} {
		if got := Line(text, 10); got != want {
			t.Errorf("Line(%q): got %q, want %q", text, got, want)
		}
	}
}
