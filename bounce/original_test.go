package bounce

import (
	"bytes"
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

func TestReturned(t *testing.T) {
	header, _, _ := strings.Cut(original, "\r\n\r\n")
	header += "\r\n"
	size := int64(len(original))
	latin1 := "X-Note: Mer\xe7i\r\n"
	utf8 := "X-Note: Merçi\r\n"
	long := original + strings.Repeat("x\r\n", 30000)
	const multipart = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n"
	wide := "X-Wide: " + strings.Repeat("x", 1000) + "\r\n"
	const full, hdrs = smtp.RetFull, smtp.RetHeaders
	const headers, message = "text/rfc822-headers", "message/rfc822"
	tests := []struct {
		name     string
		ret      smtp.Ret
		action   Action
		max      int64
		utf8     bool
		original string
		wantType string
		encoding string // "" for quoted-printable
		want     string
	}{
		{"no RET", 0, Failed, 0, false, original, headers, "7bit", header},
		{"HDRS", hdrs, Failed, 0, false, original, headers, "7bit", header},
		{"FULL", full, Failed, 0, false, original, message, "7bit", original},
		{"FULL, SMTPUTF8 but no need of it", full, Failed, 0, true, original, message, "7bit", original},
		{"FULL, delayed", full, Delayed, 0, false, original, headers, "7bit", header},
		{"FULL, at the bound", full, Failed, size, false, original, message, "7bit", original},
		{"FULL, over the bound", full, Failed, size - 1, false, original, headers, "7bit", header},
		{"FULL, over the default", full, Failed, 0, false, long, headers, "7bit", header},
		{"FULL, never", full, Failed, -1, false, original, headers, "7bit", header},
		{"FULL, 8-bit body", full, Failed, 0, false, original + "ç\r\n", message, "8bit", original + "ç\r\n"},
		{"FULL, 8-bit header of a part", full, Failed, 0, false, multipart + "\r\n--b\r\nX-Note: \xe7\r\n\r\nç\r\n--b--\r\n", headers, "7bit", multipart},
		{"FULL, 8-bit part", full, Failed, 0, false, multipart + "\r\n--b\r\n\r\nç\r\n--b--\r\n", message, "8bit", multipart + "\r\n--b\r\n\r\nç\r\n--b--\r\n"},
		{"FULL, 8-bit multipart without parts", full, Failed, 0, false, multipart + "\r\nç\r\n", headers, "7bit", multipart},
		{"FULL, 8-bit and of an unknown encoding", full, Failed, 0, false, "Content-Transfer-Encoding: x-y\r\n\r\nç\r\n", headers, "7bit", "Content-Transfer-Encoding: x-y\r\n"},
		{"FULL, 8-bit header", full, Failed, 0, false, utf8 + original, headers, "", utf8 + header},
		{"FULL, UTF-8 header, SMTPUTF8", full, Failed, 0, true, utf8 + original, "message/global", "8bit",
			utf8 + original},
		{"FULL, Latin-1 header, SMTPUTF8", full, Failed, 0, true, latin1 + original, headers, "", latin1 + header},
		{"UTF-8 header, SMTPUTF8", hdrs, Failed, 0, true, utf8 + original, "message/global-headers", "8bit",
			utf8 + header},
		{"Latin-1 header", hdrs, Failed, 0, false, latin1 + original, headers, "", latin1 + header},
		{"FULL, long line in the header", full, Failed, 0, false, wide + original, headers, "", wide + header},
		{"FULL, long line in the body", full, Failed, 0, false, original + wide, headers, "7bit", header},
		{"FULL, bare LF in the body", full, Failed, 0, false, original + "a\nb\r\n", headers, "7bit", header},
		{"bare LF and NUL in the header", hdrs, Failed, 0, false, "A: b\nC: \x00\r\n\r\n", headers, "",
			"A: b\r\nC: \x00\r\n"},
		{"only a header", hdrs, Failed, 0, false, header, headers, "7bit", header},
		{"no header", hdrs, Failed, 0, false, "\r\nHi.\r\n", headers, "7bit", ""},
		{"empty", full, Failed, 0, false, "", message, "7bit", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			rcpt := unknownUser("bob@example.net")
			rcpt.Action = test.action
			r := report(rcpt)
			r.Envelope.Ret, r.Envelope.UTF8, r.MaxReturn = test.ret, test.utf8, test.max
			r.Original = strings.NewReader(test.original)
			p := compose(t, r)
			if p.types[2] != test.wantType || p.encoding[2] != test.encoding {
				t.Errorf("got %s in %q, want %s in %q", p.types[2], p.encoding[2], test.wantType, test.encoding)
			}
			if p.original != test.want {
				t.Errorf("got %q, want %q", p.original, test.want)
			}
			whole := strings.HasPrefix(test.wantType, "message/") && test.wantType != "message/global-headers"
			if got := strings.Contains(p.text, "Your message is attached"); got != whole {
				t.Errorf("got a text that promises the whole message: %v, want %v", got, whole)
			}
		})
	}
}

func TestHeaderBounded(t *testing.T) {
	line := "X-Filler: " + strings.Repeat("x", 60) + "\r\n"
	tests := []struct {
		name, header string
	}{
		{"long", strings.Repeat(line, 5000)},
		{"line end at the bound", strings.Repeat(strings.Repeat("x", 62)+"\r\n", 2000)},
		{"CR at the bound", "x" + strings.Repeat(strings.Repeat("x", 62)+"\r\n", 2000)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := report(unknownUser("bob@example.net"))
			r.Original = strings.NewReader(test.header + "\r\nbody\r\n")
			got := compose(t, r).original
			if len(got) > maxHeader || len(got) < maxHeader-100 ||
				!strings.HasPrefix(test.header, got) || !strings.HasSuffix(got, "\r\n") {
				t.Errorf("got %d octets that end in %q, want up to %d, whole lines",
					len(got), got[max(0, len(got)-10):], maxHeader)
			}
		})
	}
	t.Run("one endless line", func(t *testing.T) {
		r := report(unknownUser("bob@example.net"))
		r.Original = bytes.NewReader(bytes.Repeat([]byte("x"), 1<<20))
		if got := compose(t, r).original; got != "" {
			t.Errorf("got %d octets, want none", len(got))
		}
	})
}

func TestInReplyTo(t *testing.T) {
	tests := []struct{ name, header, want string }{
		{"plain", "Message-ID: <a@b>\r\n", "<a@b>"},
		{"other case, space around", "MESSAGE-id:   <a@b>  \r\n", "<a@b>"},
		{"folded", "Message-ID:\r\n\t<a@b>\r\nX: y\r\n", "<a@b>"},
		{"first of two", "Message-ID: <a@b>\r\nMessage-ID: <c@d>\r\n", "<a@b>"},
		{"none", "X-Message-ID: <a@b>\r\n", ""},
		{"in a folded line of another", "X: y\r\n Message-ID: <a@b>\r\n", ""},
		{"no brackets", "Message-ID: a@b\r\n", ""},
		{"two", "Message-ID: <a@b> <c@d>\r\n", ""},
		{"space", "Message-ID: <a b@c>\r\n", ""},
		{"CR", "Message-ID: <a\rb@c>\r\n", ""},
		{"8-bit", "Message-ID: <ä@b>\r\n", ""},
		{"no at", "Message-ID: <a>\r\n", ""},
		{"long", "Message-ID: <" + strings.Repeat("a", 300) + "@b>\r\n", ""},
		{"folded in the middle", "Message-ID: <a@\r\n Bcc: x>\r\n", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := report(unknownUser("bob@example.net"))
			r.Original = strings.NewReader(test.header + "\r\n")
			h := compose(t, r).header
			if _, ok := h["In-Reply-To"]; ok != (test.want != "") {
				t.Errorf("got In-Reply-To %v, want %v", ok, test.want != "")
			}
			if h.Get("In-Reply-To") != test.want || h.Get("References") != test.want {
				t.Errorf("got %q, %q, want %q", h.Get("In-Reply-To"), h.Get("References"), test.want)
			}
		})
	}
}
