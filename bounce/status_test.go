package bounce

import (
	"bytes"
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

func TestStatus(t *testing.T) {
	reply := func(code, class, subject, detail int) *smtp.Reply {
		return &smtp.Reply{Code: code, Enhanced: smtp.EnhancedCode{class, subject, detail}}
	}
	tests := []struct {
		name    string
		action  Action
		outcome smtp.Outcome
		reply   *smtp.Reply
		want    string
	}{
		{"refused", Failed, smtp.Rejected, reply(550, 5, 1, 1), "5.1.1"},
		{"refused without a code", Failed, smtp.Rejected, smtp.NewReply(550, "", ""), "5.0.0"},
		{"refused without a reply", Failed, smtp.Rejected, nil, "5.0.0"},
		{"refused with a temporary code", Failed, smtp.Rejected, reply(550, 4, 7, 1), "5.7.1"},
		{"refused with a code of success", Failed, smtp.Rejected, reply(550, 2, 1, 5), "5.0.0"},
		{"refused with a code out of range", Failed, smtp.Rejected, reply(550, 5, 1000, 1), "5.0.0"},
		{"refused with a negative code", Failed, smtp.Rejected, reply(550, 5, 1, -1), "5.0.0"},
		{"expired", Failed, smtp.Deferred, reply(451, 4, 2, 2), "4.2.2"},
		{"expired without a code", Failed, smtp.Deferred, smtp.NewReply(451, "", ""), "4.4.7"},
		{"expired without a reply", Failed, smtp.Deferred, nil, "4.4.7"},
		{"expired, refused at EHLO", Failed, smtp.Deferred, reply(550, 5, 7, 1), "4.7.1"},
		{"expired, outcome unknown", Failed, smtp.Unknown, reply(451, 4, 4, 2), "4.4.2"},
		{"delayed", Delayed, smtp.Deferred, reply(451, 4, 7, 1), "4.7.1"},
		{"delayed without a code", Delayed, smtp.Deferred, smtp.NewReply(421, "", ""), "4.0.0"},
		{"delayed, refused at EHLO", Delayed, smtp.Deferred, reply(554, 5, 3, 2), "4.3.2"},
		{"delivered", Delivered, smtp.Delivered, reply(250, 2, 1, 5), "2.1.5"},
		{"delivered without a code", Delivered, smtp.Delivered, smtp.NewReply(250, "", ""), "2.0.0"},
		{"relayed with a code of failure", Relayed, smtp.Delivered, reply(250, 5, 1, 1), "2.0.0"},
		{"expanded", Expanded, smtp.Deferred, nil, "2.1.5"},
		{"expanded with the reply of a host", Expanded, smtp.Rejected, reply(550, 5, 1, 1), "2.1.5"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			rcpt := Recipient{Action: test.action, Result: smtp.Result{Outcome: test.outcome, Reply: test.reply}}
			if got := rcpt.status().String(); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestTypedAddress(t *testing.T) {
	tests := []struct {
		name, addrType, address string
		allowUTF8               bool
		want                    string
	}{
		{"ASCII", "rfc822", "Ann+x@example.net", false, "rfc822; Ann+x@example.net"},
		{"ASCII, UTF-8 allowed", "rfc822", "ann@example.net", true, "rfc822; ann@example.net"},
		{"spaces", "rfc822", `"a  b"@example.net`, false, `rfc822; "a  b"@example.net`},
		{"UTF-8", "rfc822", "bøb@example.net", true, "utf-8; bøb@example.net"},
		{"UTF-8 in ASCII", "rfc822", "bøb@example.net", false, `utf-8; b\x{F8}b@example.net`},
		{"UTF-8 in ASCII, specials", "utf-8", `b ø+=\@example.net`, false,
			`utf-8; b\x{20}\x{F8}\x{2B}\x{3D}\x{5C}@example.net`},
		{"type utf-8, address ASCII", "UTF-8", "a+b@example.net", false, `utf-8; a\x{2B}b@example.net`},
		{"type utf-8, address ASCII, UTF-8 allowed", "utf-8", "a+b@example.net", true, "utf-8; a+b@example.net"},
		{"beyond 16 bits", "rfc822", "\U0001F600@example.net", false, `utf-8; \x{1F600}@example.net`},
		{"invisible", "rfc822", "a\u200db@example.net", true, `utf-8; a\x{200D}b@example.net`},
		{"reversed", "rfc822", "a\u202eb@example.net", true, `utf-8; a\x{202E}b@example.net`},
		{"line ends", "rfc822", "a\r\nb\x00@example.net", false, "rfc822; a??b?@example.net"},
		{"line ends in UTF-8", "rfc822", "ø\r\n\u0085@example.net", true, `utf-8; \x{F8}???@example.net`},
		{"not UTF-8", "rfc822", "a\xff@example.net", true, "utf-8; a?@example.net"},
		{"other type", "x400", "/C=NL/", false, "x400; /C=NL/"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := typedAddress(test.addrType, test.address, test.allowUTF8); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestORCPT(t *testing.T) {
	tests := []struct{ name, orcpt, wantType, wantAddress string }{
		{"rfc822", "rfc822;ann@example.net", "rfc822", "ann@example.net"},
		{"semicolon", "rfc822;a;b", "rfc822", "a;b"},
		{"no type", "ann@example.net", "unknown", "ann@example.net"},
		{"empty type", ";ann@example.net", "unknown", ";ann@example.net"},
		{"type with a line end", "a\r\nb;c", "unknown", "a\r\nb;c"},
		{"type that is long", strings.Repeat("a", 65) + ";c", "unknown", strings.Repeat("a", 65) + ";c"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if addrType, address := splitORCPT(test.orcpt); addrType != test.wantType || address != test.wantAddress {
				t.Errorf("got %q, %q, want %q, %q", addrType, address, test.wantType, test.wantAddress)
			}
		})
	}
}

func TestReplyLines(t *testing.T) {
	code := smtp.EnhancedCode{5, 1, 1}
	tests := []struct {
		name  string
		reply smtp.Reply
		want  []string
	}{
		{"one line", smtp.Reply{Code: 550, Enhanced: code, Text: "no"}, []string{"550 5.1.1 no"}},
		{"no enhanced code", smtp.Reply{Code: 550, Text: "no"}, []string{"550 no"}},
		{"no text", smtp.Reply{Code: 550, Enhanced: code}, []string{"550 5.1.1"}},
		{"two lines", smtp.Reply{Code: 550, Enhanced: code, Text: "no\nnever"},
			[]string{"550-5.1.1 no", "550 5.1.1 never"}},
		{"empty line", smtp.Reply{Code: 550, Text: "no\n\nnever\n"}, []string{"550-no", "550-", "550 never"}},
		{"CRLF", smtp.Reply{Code: 550, Text: "no\r\nnever\r\n"}, []string{"550-no", "550 never"}},
		{"bare CR", smtp.Reply{Code: 550, Text: "no\rnever\x00"}, []string{"550 no?never?"}},
		{"UTF-8", smtp.Reply{Code: 550, Text: "ça\u2028va\u00a0?"}, []string{"550 ?a?va ?"}},
		{"long line", smtp.Reply{Code: 550, Text: strings.Repeat("x", 600)},
			[]string{"550 " + strings.Repeat("x", 509) + "..."}},
		{"many lines", smtp.Reply{Code: 550, Text: strings.Repeat("x\n", 100)},
			append(strings.Fields(strings.Repeat("550-x ", 15)), "550 ...")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, want := strings.Join(replyLines(&test.reply, false), "\n"), strings.Join(test.want, "\n")
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestRemoteMTA(t *testing.T) {
	asked := rejected(550, smtp.EnhancedCode{5, 1, 1}, "no")
	socket := asked
	socket.Host = "/run/lmtp.sock"
	tests := []struct {
		name                  string
		action                Action
		result                smtp.Result
		wantMTA, wantDiagnose string
	}{
		{"answered", Failed, asked, "dns; mx.example.net", "smtp; 550 5.1.1 no"},
		{"our own words", Failed, local(asked), "", "x-postrider; 550 5.1.1 no"},
		{"a socket", Failed, socket, "", "smtp; 550 5.1.1 no"},
		{"no attempt", Failed, smtp.Result{}, "", ""},
		{"expanded here, whatever a host answered", Expanded, asked, "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			rcpt := Recipient{Action: test.action, Result: test.result}
			rcpt.Address, rcpt.Notify = "bob@example.net", smtp.NotifyFailure|smtp.NotifySuccess
			p := compose(t, report(rcpt))
			group := p.groups[0]
			mta, diagnose := group.Get("Remote-MTA"), group.Get("Diagnostic-Code")
			if mta != test.wantMTA || diagnose != test.wantDiagnose {
				t.Errorf("got %q, %q, want %q, %q", mta, diagnose, test.wantMTA, test.wantDiagnose)
			}
			if strings.Contains(p.text, "lmtp.sock") {
				t.Error("got the path of our socket in the text")
			}
		})
	}
}

func TestWillRetryUntil(t *testing.T) {
	for action := Failed; action <= Expanded; action++ {
		rcpt := Recipient{Action: action, WillRetryUntil: expiry}
		rcpt.Notify = smtp.NotifySuccess | smtp.NotifyFailure | smtp.NotifyDelay
		got := compose(t, report(rcpt)).groups[0].Get("Will-Retry-Until") != ""
		if want := action == Delayed; got != want {
			t.Errorf("%v: got Will-Retry-Until %v, want %v", action, got, want)
		}
	}
}

func TestWriteField(t *testing.T) {
	word := strings.Repeat("x", 40)
	long := strings.Repeat("x", 120)
	tests := []struct{ name, value, want string }{
		{"short", "a b", "F: a b\r\n"},
		{"78", strings.Repeat("x", 75), "F: " + strings.Repeat("x", 75) + "\r\n"},
		{"78 with a space", strings.Repeat("x", 70) + " yyyy", "F: " + strings.Repeat("x", 70) + " yyyy\r\n"},
		{"79 with a space", strings.Repeat("x", 70) + " yyyyy", "F: " + strings.Repeat("x", 70) + "\r\n yyyyy\r\n"},
		{"folded", word + " " + word + " " + word, "F: " + word + "\r\n " + word + "\r\n " + word + "\r\n"},
		{"spaces kept", word + "  " + word, "F: " + word + "\r\n  " + word + "\r\n"},
		{"many spaces", "a" + strings.Repeat(" ", 200) + "b", "F: a\r\n" + strings.Repeat(" ", 200) + "b\r\n"},
		{"long word", long, "F: " + long + "\r\n"},
		{"long word behind a short", "a " + long, "F: a\r\n " + long + "\r\n"},
		{"long word before a short", long + " b", "F: " + long + "\r\n b\r\n"},
		{"space at the end", "a   ", "F: a\r\n"},
		{"only spaces", "   ", "F:\r\n"},
		{"fold asked for", "a\nb", "F: a\r\n b\r\n"},
		{"no empty line", "a\n\n  \nb", "F: a\r\n b\r\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var b bytes.Buffer
			writeField(&b, "F", test.value)
			if got := b.String(); got != test.want {
				t.Errorf("got\n%q\nwant\n%q", got, test.want)
			}
		})
	}
}

func TestClip(t *testing.T) {
	tests := []struct{ s, want string }{
		{"12345678", "12345678"},
		{"123456789", "12345..."},
		{"1234øøø", "1234..."},
	}
	for _, test := range tests {
		if got := clip(test.s, 8); got != test.want {
			t.Errorf("clip(%q, 8): got %q, want %q", test.s, got, test.want)
		}
	}
}
