package smtp_test

import (
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

func TestEnvelopeCheck(t *testing.T) {
	ann := smtp.Recipient{Address: "ann@example.net"}
	with := func(change func(*smtp.Envelope)) *smtp.Envelope {
		env := &smtp.Envelope{From: "billing@example.com", Recipients: []smtp.Recipient{ann}}
		change(env)
		return env
	}
	from := func(s string) *smtp.Envelope { return with(func(e *smtp.Envelope) { e.From = s }) }
	to := func(s string) *smtp.Envelope { return with(func(e *smtp.Envelope) { e.Recipients[0].Address = s }) }
	orcpt := func(s string) *smtp.Envelope { return with(func(e *smtp.Envelope) { e.Recipients[0].ORCPT = s }) }
	notify := func(n smtp.Notify) *smtp.Envelope {
		return with(func(e *smtp.Envelope) { e.Recipients[0].Notify = n })
	}
	envID := func(s string) *smtp.Envelope { return with(func(e *smtp.Envelope) { e.EnvID = s }) }
	auth := func(s string) *smtp.Envelope { return with(func(e *smtp.Envelope) { e.Auth = s }) }

	tests := []struct {
		name string
		env  *smtp.Envelope
		want string // what the error says, "" for none
	}{
		{"plain", smtp.NewEnvelope("billing@example.com", "ann@example.net", "postmaster"), ""},
		{"null reverse-path", smtp.NewEnvelope("", "ann@example.net"), ""},
		{"UTF-8", smtp.NewEnvelope("dürst@bücher.example", "\u560d\u560a@\u560d\u560a.example"), ""},
		{"quoted parameter", smtp.NewEnvelope(`"a> SIZE=1"@b`, `"a b"@c`), ""},
		{"all", with(func(e *smtp.Envelope) {
			*e = smtp.Envelope{From: "a@b", Body: smtp.BodyBinaryMIME, UTF8: true, Size: 1, Ret: smtp.RetFull, EnvID: "a b+=", Auth: "a=b@c",
				Recipients: []smtp.Recipient{{Address: "ann@example.net", Notify: smtp.NotifySuccess | smtp.NotifyDelay, ORCPT: "rfc822;a+b@c"}}}
		}), ""},
		{"AUTH unknown", auth("<>"), ""},
		{"NOTIFY never", notify(smtp.NotifyNever), ""},
		{"ORCPT in UTF-8", orcpt("utf-8;dürst@bücher.example"), ""},
		{"ENVID of 100", envID(strings.Repeat("x", 100)), ""},
		{"ORCPT of 500", orcpt("rfc822;" + strings.Repeat("x", 493)), ""},
		{"reverse-path of 498", from(strings.Repeat("a", 496) + "@b"), ""},
		{"recipient of 500", to(strings.Repeat("a", 498) + "@b"), ""},

		{"no recipients", smtp.NewEnvelope("a@b"), "without recipients"},
		{"reverse-path without domain", from("postmaster"), `reverse-path "postmaster": no "@"`},
		{"reverse-path of 499", from(strings.Repeat("a", 497) + "@b"), "over 498 octets (RFC 5321 section 4.5.3.1.4)"},
		{"recipient of 501", to(strings.Repeat("a", 499) + "@b"), "over 500 octets (RFC 5321 section 4.5.3.1.4)"},
		{"reverse-path CRLF", from("a@b>\r\nRCPT TO:<c@d"), `reverse-path "a@b>\r\nRCPT TO:<c@d": '@' out of place`},
		{"reverse-path quoted CRLF", from("\"a\r\nDATA\"@b"), `'\r' in the local part`},
		{"reverse-path brackets", from("<>"), `reverse-path "<>"`},
		{"reverse-path parameter", from("a@b> SIZE=1"), `'>' in a label`},
		{"empty recipient", to(""), `address "": empty local part`},
		{"recipient parameter", to(`a@b> NOTIFY=NEVER`), `'>' in a label`},
		{"recipient quote not closed", to(`"a> NOTIFY=NEVER@b`), "quote not closed"},
		{"recipient quoted then parameter", to(`"a"> NOTIFY="@b`), "after the quoted local part"},
		{"recipient LF", to("a@b\nDATA"), `'\n' in a label`},
		{"recipient NUL", to("a\x00@b"), `'\x00' out of place`},
		{"recipient C1 control", to("a\u0085@b"), "out of place"},
		{"second recipient", smtp.NewEnvelope("a@b", "ann@example.net", "bob"), `address "bob": no "@"`},
		{"BODY", with(func(e *smtp.Envelope) { e.Body = smtp.BodyBinaryMIME + 1 }), "BODY 4: no such type"},
		{"RET", with(func(e *smtp.Envelope) { e.Ret = smtp.RetFull + 1 }), "RET 3: no such value"},
		{"SIZE", with(func(e *smtp.Envelope) { e.Size = -1 }), "SIZE -1: negative"},
		{"NOTIFY never and more", notify(smtp.NotifyNever | smtp.NotifyDelay), "NOTIFY 9: NEVER must be alone"},
		{"NOTIFY flag", notify(16), "NOTIFY 16: no such flag"},
		{"ENVID CRLF", envID("a\r\nDATA"), `ENVID "a\r\nDATA": not printable ASCII`},
		{"ENVID 8 bit", envID("ü"), `ENVID "ü": not printable ASCII`},
		{"ENVID of 101", envID(strings.Repeat("x", 101)), "over 100 octets"},
		{"ENVID of 102 as xtext", envID(strings.Repeat("+", 34)), "over 100 octets"},
		{"AUTH CRLF", auth("a@b\r\nDATA"), `AUTH "a@b\r\nDATA"`},
		{"AUTH without domain", auth("ann"), `AUTH "ann": no "@"`},
		{"AUTH 8 bit", auth("ü@b"), "not ASCII"},
		{"ORCPT CRLF", orcpt("rfc822;a\r\nDATA"), "control character U+000D"},
		{"ORCPT CRLF in the type", orcpt("rfc822\r\nDATA;a"), `not "type;address"`},
		{"ORCPT space in the type", orcpt("rfc822 NOTIFY=NEVER;a"), `not "type;address"`},
		{"ORCPT without type", orcpt("ann@example.net"), `not "type;address"`},
		{"ORCPT without address", orcpt("rfc822;"), `not "type;address"`},
		{"ORCPT 8 bit", orcpt("rfc822;ü@b"), "not ASCII"},
		{"ORCPT not UTF-8", orcpt("utf-8;\xff@b"), "not UTF-8"},
		{"ORCPT of 501", orcpt("rfc822;" + strings.Repeat("x", 494)), "over 500 octets"},
		{"ORCPT of 501 in UTF-8", orcpt("utf-8;" + strings.Repeat("ü", 247) + "a"), "over 500 octets"},
		{"ORCPT of 1 MiB", orcpt("rfc822;" + strings.Repeat("x", 1<<20)), "over 500 octets"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.env.Check()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if err != nil && (len(err.Error()) > 500 || strings.ContainsAny(err.Error(), "\r\n\x00")) {
				t.Errorf("got %q, want it short and clean", err)
			}
			if err == nil {
				checkWire(t, tt.env)
			}
		})
	}
}

// checkWire checks that the commands made of an envelope say what is in it, and nothing else.
func checkWire(t *testing.T, env *smtp.Envelope) {
	t.Helper()
	mail := *env
	mail.UTF8 = true
	got, err := smtp.ParseMail(mailArgs(&mail))
	if err != nil {
		t.Fatal(err)
	}
	if got.From != env.From || got.EnvID != env.EnvID || got.Auth != env.Auth || got.Size != env.Size || got.Ret != env.Ret || got.Body != env.Body {
		t.Errorf("got %+v, want %+v", got, env)
	}
	for _, rcpt := range env.Recipients {
		for _, utf8 := range []bool{false, true} {
			if got, err := smtp.ParseRcpt(rcptArgs(rcpt, utf8)); err != nil || got != rcpt {
				t.Errorf("got %+v, %v, want %+v", got, err, rcpt)
			}
		}
	}
}

func TestNotify(t *testing.T) {
	const success, failure, delay = smtp.NotifySuccess, smtp.NotifyFailure, smtp.NotifyDelay
	tests := []struct {
		notify smtp.Notify
		text   string
		wants  smtp.Notify
	}{
		{0, "", failure | delay},
		{smtp.NotifyNever, "NEVER", 0},
		{success, "SUCCESS", success},
		{failure, "FAILURE", failure},
		{delay, "DELAY", delay},
		{success | delay, "SUCCESS,DELAY", success | delay},
		{success | failure | delay, "SUCCESS,FAILURE,DELAY", success | failure | delay},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			if got := tt.notify.String(); got != tt.text {
				t.Errorf("String: got %q, want %q", got, tt.text)
			}
			for _, kind := range []smtp.Notify{success, failure, delay} {
				if got, want := tt.notify.Wants(kind), tt.wants&kind != 0; got != want {
					t.Errorf("Wants(%v): got %t, want %t", kind, got, want)
				}
			}
		})
	}
}

func TestStrings(t *testing.T) {
	tests := []struct{ got, want string }{
		{smtp.BodyUnknown.String(), ""}, {smtp.Body7Bit.String(), "7BIT"}, {smtp.Body8BitMIME.String(), "8BITMIME"},
		{smtp.BodyBinaryMIME.String(), "BINARYMIME"}, {smtp.BodyType(9).String(), ""},
		{smtp.RetUnknown.String(), ""}, {smtp.RetHeaders.String(), "HDRS"}, {smtp.RetFull.String(), "FULL"},
		{smtp.Ret(9).String(), ""},
		{smtp.Outcome(9).String(), "unknown"}, {smtp.Stage(99).String(), "unknown"},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
	for o, want := range map[smtp.Outcome]bool{smtp.Deferred: false, smtp.Delivered: true, smtp.Rejected: true, smtp.Unknown: false} {
		if got := o.Final(); got != want {
			t.Errorf("%v: got %t, want %t", o, got, want)
		}
	}
}
