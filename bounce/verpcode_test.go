package bounce

import (
	"strings"
	"testing"
	"time"
)

// TestMarks: a symbol of a text stands for one character.
func TestMarks(t *testing.T) {
	if len(marks) != 26 {
		t.Errorf("got %d marks, want 26", len(marks))
	}
	for i := range marks {
		if strings.IndexByte(marks, marks[i]) != i || isLetter(marks[i]) || strings.IndexByte(".@-", marks[i]) >= 0 {
			t.Errorf("%q has two symbols", marks[i])
		}
	}
}

// FuzzVERPText has any text encoded and decoded, with another one behind it.
func FuzzVERPText(f *testing.F) {
	for _, text := range []string{"", "ann@example.net", "A", "AB-cd", "aB", "1", "12345x", "1.2.3.4-5", "ü", "\xff", "A1B2C3D4E5"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b := appendText(appendText(nil, text), "next")
		if len(b) > 5*len(text)+10 {
			t.Errorf("%q: got %d symbols", text, len(b))
		}
		got, rest, ok := cutText(b)
		if next, _, _ := cutText(rest); !ok || got != text || next != "next" {
			t.Errorf("%q: got %q, %t, and %q after it", text, got, ok, next)
		}
	})
}

// FuzzVERPContent has any content decoded, as if it were signed. What is decoded can be encoded again.
func FuzzVERPContent(f *testing.F) {
	now, key := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC), []byte("a key")
	for _, s := range []Sent{
		{ID: "2", Recipient: "ann@example.net"},
		{ID: "YFY7-1", Recipient: "Ann+1@example.net", Tenant: "acme", Ref: "news-7"},
		{ID: "1k7", Recipient: strings.Repeat("a", 60) + "@example.net", Tenant: "acme"},
	} {
		s.Day = now
		f.Add(text32(encodeSent(s, key, 46)))
	}
	f.Add("aaaa")
	f.Add("b7777")
	f.Add("aaaa47")
	f.Fuzz(func(t *testing.T, content string) {
		symbols, ok := symbols32(content)
		if !ok {
			return
		}
		s, ok := decodeSent(symbols, now)
		if !ok {
			return
		}
		if s.Recipient == "" {
			if symbols[0]&flagHash == 0 {
				t.Fatalf("%q: got no recipient", content)
			}
			s.Recipient = "ann@example.net"
		}
		again, ok := decodeSent(encodeSent(*s, key, 1<<20), now)
		if !ok || again.ID != s.ID || again.Recipient != canonical(s.Recipient) || again.Tenant != s.Tenant ||
			again.Ref != s.Ref || !again.Day.Equal(s.Day) {
			t.Errorf("%q: got %+v, and again %+v", content, s, again)
		}
	})
}
