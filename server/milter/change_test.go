package milter

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
)

// TestChanges: what the changes of a filter make of a message and its envelope.
func TestChanges(t *testing.T) {
	const body = "\r\nHello.\r\n"
	add := func(name, value string) string { return packet('h', name+"\x00"+value+"\x00") }
	insert := func(n uint32, name, value string) string { return packet('i', indexed(n, name, value)) }
	change := func(n uint32, name, value string) string { return packet('m', indexed(n, name, value)) }
	address := func(cmd byte, s string) string { return packet(cmd, s+"\x00") }
	tests := []struct {
		name     string
		protocol uint32
		changes  string
		header   string // of the message: Subject and X-Two before
		body     string
		from, to string
		held     string
		found    string
	}{
		{name: "none"},
		{name: "add", changes: add("X", "1") + add("Y", "2"), header: "Subject: hi\r\nX-Two: a\r\n\tb\r\nX: 1\r\nY: 2\r\n"},
		{name: "insert", changes: insert(1, "X", "1") + insert(0, "Y", "2") + insert(3, "Z", "3") + insert(99, "W", "4"),
			header: "Y: 2\r\nX: 1\r\nZ: 3\r\nSubject: hi\r\nX-Two: a\r\n\tb\r\nW: 4\r\n"},
		{name: "change", changes: change(1, "subject", "new"), header: "subject: new\r\nX-Two: a\r\n\tb\r\n"},
		{name: "change the index 0", changes: change(0, "Subject", "new"), header: "Subject: new\r\nX-Two: a\r\n\tb\r\n"},
		{name: "change what isn't there", changes: change(2, "Subject", "new"),
			header: "Subject: hi\r\nX-Two: a\r\n\tb\r\nSubject: new\r\n"},
		{name: "delete", changes: change(1, "X-Two", ""), header: "Subject: hi\r\n"},
		{name: "delete what isn't there", changes: change(7, "X-Two", "")},
		{name: "deleted fields count", changes: add("X", "1") + add("X", "2") + add("X", "3") + change(1, "X", "") + change(3, "X", ""),
			header: "Subject: hi\r\nX-Two: a\r\n\tb\r\nX: 2\r\n"},
		{name: "leading space is the filter's", protocol: leadingSpace, changes: add("X", "1") + add("Y", "\t2"),
			header: "Subject: hi\r\nX-Two: a\r\n\tb\r\nX:1\r\nY:\t2\r\n"},
		{name: "folded", changes: add("X", "1\n\t2\r\n 3\n"), header: "Subject: hi\r\nX-Two: a\r\n\tb\r\nX: 1\r\n\t2\r\n 3\r\n"},
		{name: "a new body", changes: packet('b', "one\n") + add("X", "1") + packet('b', "two"),
			header: "Subject: hi\r\nX-Two: a\r\n\tb\r\nX: 1\r\n", body: "\r\none\r\ntwo\r\n"},
		{name: "an empty body", changes: packet('b', ""), body: "\r\n"},
		{name: "from", changes: address('e', "<new@source.test>\x00SIZE=1"), from: "new@source.test"},
		{name: "the null reverse-path", changes: address('e', "<>"), from: "null"},
		{name: "add recipients", changes: address('+', "<eve@next.test>") + address('2', "sam@next.test\x00NOTIFY=NEVER") + address('+', "<bob@NEXT.test>"),
			to: "bob@next.test eve@next.test sam@next.test/NEVER"},
		{name: "a recipient whom the server refuses", changes: address('+', "<nobody@next.test>") + add("X", "1"),
			header: "Subject: hi\r\nX-Two: a\r\n\tb\r\nX: 1\r\n", found: "the recipient nobody@next.test, which the filter adds, is left out"},
		{name: "delete a recipient", changes: address('+', "<eve@next.test>") + address('-', "<bob@NEXT.TEST>") + address('-', "<x@y>"), to: "eve@next.test"},
		{name: "quarantine", changes: packet('q', "a virus\x00"), held: "a virus", found: "quarantined: a virus"},
		{name: "quarantine without a reason", changes: packet('q', "\x00"), held: "no reason given", found: "quarantined"},
	}
	for _, tt := range tests {
		for _, end := range []string{"a", "c"} {
			t.Run(tt.name+", "+end, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					octets := tt.changes + packet(end[0], "")
					f := &fake{protocol: tt.protocol, answer: func(cmd byte, _ string) (string, bool) { return octets, cmd == 'E' }}
					w := one(t, &Filter{}, f)
					c := w.dial().hello()
					if got, want := c.mail("ann@source.test", "bob@next.test"), "250, 250, 354, 250"; got != want {
						t.Errorf("got %s, want %s", got, want)
					}
					mails := w.accepted()
					if len(mails) != 1 {
						t.Fatalf("got %d messages, want 1; found %s", len(mails), w.findings())
					}
					header, rest := or(tt.header, "Subject: hi\r\nX-Two: a\r\n\tb\r\n"), or(tt.body, body)
					if got := mails[0].body; got != header+rest {
						t.Errorf("got the message\n%q\nwant\n%q", got, header+rest)
					}
					var to []string
					for _, r := range mails[0].env.Recipients {
						to = append(to, strings.TrimSuffix(r.Address+"/"+r.Notify.String(), "/"))
					}
					from := or(tt.from, "ann@source.test")
					if got := or(mails[0].env.From, "null"); got != from || strings.Join(to, " ") != or(tt.to, "bob@next.test") {
						t.Errorf("got an envelope from %s to %s, want from %s to %s", got, to, from, tt.to)
					}
					if mails[0].held != tt.held {
						t.Errorf("got held %q, want %q", mails[0].held, tt.held)
					}
					if found := w.findings(); !strings.Contains(found, tt.found) || tt.found == "" && found != "" {
						t.Errorf("got the finding %q, want %q", found, tt.found)
					}
					synctest.Wait()
					f.letters()
					if c.mail("ann@source.test", "bob@next.test"); f.letters() != "MRTLLNBE" {
						t.Errorf("the filter isn't asked about the next message as about the first")
					}
				})
			})
		}
	}
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// TestNoRecipientLeft: a message whose recipients the filter deletes is accepted, and reaches nobody.
func TestNoRecipientLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: func(cmd byte, _ string) (string, bool) {
			return packet('-', "<bob@next.test>\x00") + packet('c', ""), cmd == 'E'
		}}
		w := one(t, &Filter{}, f)
		if got := w.dial().hello().mail("ann@source.test", "bob@next.test"); got != "250, 250, 354, 250" || len(w.accepted()) > 0 {
			t.Errorf("got %s, and messages; want none", got)
		}
	})
}

// TestRecipientLater: while the server can't say whether it takes a recipient whom the filter adds, the message is deferred,
// whatever Failure is.
func TestRecipientLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: func(cmd byte, _ string) (string, bool) {
			return packet('+', "<later@next.test>\x00") + packet('c', ""), cmd == 'E'
		}}
		w := one(t, &Filter{Failure: Accept}, f)
		if got := w.dial().hello().mail("ann@source.test", "bob@next.test"); got != "250, 250, 354, 451 4.3.0" || len(w.accepted()) > 0 {
			t.Errorf("got %s, want the message deferred", got)
		}
	})
}

// TestBadChanges: if one of several changes can't be made, the filter has failed, and none is made.
func TestBadChanges(t *testing.T) {
	good := packet('h', "X\x00y\x00") + packet('e', "<new@source.test>\x00") + packet('+', "<eve@next.test>\x00") +
		packet('b', "new\r\n") + packet('q', "reason\x00")
	tests := []struct{ name, change string }{
		{"a field that ends the header", packet('h', "X\x00y\n\nbody\x00")},
		{"a field that is two", packet('h', "X\x00y\nBcc: z\x00")},
		{"a field with a bare CR", packet('h', "X\x00y\rz\x00")},
		{"a name with a colon", packet('h', "X: y\nZ\x00y\x00")},
		{"a name with a space", packet('i', indexed(1, "X Y", "z"))},
		{"no name", packet('h', "\x00y\x00")},
		{"three strings", packet('h', "X\x00y\x00z\x00")},
		{"a changed field that is two", packet('m', indexed(1, "Subject", "y\nBcc: z"))},
		{"no index", packet('m', "\x00\x00\x01")},
		{"a recipient with CRLF", packet('+', "<a@b>\r\nDATA\x00")},
		{"no recipient", packet('+', "<>\x00")},
		{"a recipient that needs SMTPUTF8", packet('+', "<ü@next.test>\x00")},
		{"a parameter that isn't there", packet('2', "<a@next.test>\x00X=Y\x00")},
		{"a reverse-path with a space", packet('e', "<a b@source.test>\x00")},
		{"a body with a bare CR", packet('b', "a\rb\r\n")},
		{"a body with a NUL", packet('b', "a\x00b\r\n")},
		{"too many changes", strings.Repeat(packet('h', "X\x00y\x00"), maxChanges)},
		{"too long changes", strings.Repeat(packet('h', "X\x00"+strings.Repeat("y", maxPacket-3)+"\x00"), 5)},
		{"an unknown answer", packet('Z', "")},
		{"an answer to negotiation", packet('O', "")},
		{"a reply that isn't one", packet('y', "hello\x00")},
		{"a positive reply", packet('y', "250 2.0.0 ok\x00")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				octets := good + tt.change + packet('c', "")
				f := &fake{answer: func(cmd byte, _ string) (string, bool) { return octets, cmd == 'E' }}
				w := one(t, &Filter{Failure: Accept}, f)
				c := w.dial().hello()
				if got := c.mail("ann@source.test", "bob@next.test"); got != "250, 250, 354, 250" {
					t.Errorf("got %s, want the message accepted", got)
				}
				mails := w.accepted()
				if len(mails) != 1 {
					t.Fatalf("got %d messages, want 1", len(mails))
				}
				got := fmt.Sprintf("%s %s %v %q", mails[0].env.From, mails[0].held, mails[0].env.Recipients, mails[0].body)
				want := fmt.Sprintf("ann@source.test  [{bob@next.test  }] %q", text)
				if got != want {
					t.Errorf("got %s, want it as it came: %s", got, want)
				}
				if found := w.findings(); !strings.Contains(found, "content: the filter at filter0.test:8891 fails: ") {
					t.Errorf("got the finding %q", found)
				}
			})
		})
	}
}
