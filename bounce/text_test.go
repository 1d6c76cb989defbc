package bounce

import (
	"mime"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/smtp"
)

// languages are those that the package has.
var languages = map[string]func() *Texts{"en": English, "pt": Portuguese}

// reasons are all Reasons with a name.
func reasons() (all []smtp.Reason) {
	for r := range smtp.Reason(255) {
		if !strings.HasPrefix(r.String(), "reason-") && r != smtp.NoReason {
			all = append(all, r)
		}
	}
	return all
}

// TestTextsComplete has every text of every language be there, with the values that the English one has.
func TestTextsComplete(t *testing.T) {
	for name, language := range languages {
		got := language()
		if got.Language != name {
			t.Errorf("%s: got Language %q", name, got.Language)
		}
		sameTexts(t, name, reflect.ValueOf(*got), reflect.ValueOf(*English()))
		for _, reason := range reasons() {
			if texts, ok := got.Reasons[reason]; !ok || texts.What == "" || texts.Advice == "" {
				t.Errorf("%s: %v has no texts", name, reason)
			}
		}
		if len(got.Reasons) != len(reasons()) {
			t.Errorf("%s: got texts for %d Reasons, want %d", name, len(got.Reasons), len(reasons()))
		}
		for action := Failed; action <= Expanded; action++ {
			if got.Subject[action] == "" || got.List[action] == "" {
				t.Errorf("%s: %v has no Subject or no List", name, action)
			}
		}
		if got == language() {
			t.Errorf("%s: the same Texts twice: a change of one changes the other", name)
		}
	}
}

// sameTexts fails the test for a text of got that is empty, or has other values in braces than that of want.
func sameTexts(t *testing.T, name string, got, want reflect.Value) {
	t.Helper()
	switch got.Kind() {
	case reflect.Struct:
		for i := range got.NumField() {
			sameTexts(t, name+"."+got.Type().Field(i).Name, got.Field(i), want.Field(i))
		}
	case reflect.Map:
		for _, key := range want.MapKeys() {
			if got.MapIndex(key).IsValid() {
				sameTexts(t, name+"["+key.String()+"]", got.MapIndex(key), want.MapIndex(key))
			}
		}
	case reflect.String:
		values := func(s string) (names string) {
			for _, part := range strings.Split(s, "{")[1:] {
				value, _, _ := strings.Cut(part, "}")
				names += "{" + value + "}"
			}
			return names
		}
		if s := got.String(); s == "" || values(s) != values(want.String()) {
			t.Errorf("%s: got %q, want one with %s", name, s, values(want.String()))
		}
	}
}

func TestReasons(t *testing.T) {
	open := func(reason smtp.Reason, local bool) Recipient {
		rcpt := Recipient{Action: Failed, Result: deferred(451, smtp.EnhancedCode{4, 2, 0}, "later")}
		rcpt.Result.Reason, rcpt.Result.Local = reason, local
		return rcpt
	}
	refused := func(reason smtp.Reason) Recipient {
		rcpt := unknownUser("bob@example.net")
		rcpt.Result.Reason = reason
		return rcpt
	}
	for name, language := range languages {
		texts := language()
		for _, reason := range reasons() {
			r := report(refused(reason))
			r.Texts = texts
			got := flat(compose(t, r).text)
			for _, want := range []string{texts.Reasons[reason].What, texts.Reasons[reason].Advice} {
				if !strings.Contains(got, want) {
					t.Errorf("%s, %v: got\n%s\nwant %q in it", name, reason, got, want)
				}
			}
		}
	}
	never := Recipient{Action: Failed}
	delayed := open(smtp.MailboxFull, false)
	delayed.Action = Delayed
	tests := []struct {
		name string
		rcpt Recipient
		want smtp.Reason
	}{
		{"none known, by its code", refused(smtp.NoReason), smtp.UserUnknown},
		{"a number that isn't known", refused(200), 200},
		{"expired, the last Reason known", open(smtp.MailboxFull, false), smtp.MailboxFull},
		{"expired, a host said something", open(smtp.Other, false), smtp.Other},
		{"expired, only we have", open(smtp.Other, true), smtp.Expired},
		{"expired without an attempt", never, smtp.Expired},
		{"delayed", delayed, smtp.MailboxFull},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.rcpt.reason(); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
	if got, want := English().why(200), English().Reasons[smtp.Other]; got != want {
		t.Errorf("a number that isn't known: got %v, want %v", got, want)
	}
}

// flat is a text without its line ends.
func flat(text string) string { return strings.Join(strings.Fields(text), " ") }

func TestText(t *testing.T) {
	res := deferred(451, smtp.EnhancedCode{4, 7, 1}, "later")
	res.Reason = smtp.Greylisted
	unheard := Recipient{Action: Delayed, Result: res}
	unheard.Notify = smtp.NotifyDelay
	mute := smtp.Result{Local: true, Reply: smtp.NewReply(451, "", "")}
	dns := smtp.Result{Local: true, Reply: smtp.NewReply(451, "", "no answer from the DNS"), Reason: smtp.Network}
	socket := smtp.Result{Outcome: smtp.Rejected, Host: "/lmtp", Reply: smtp.NewReply(550, "", "no")}
	expanded := func(notify smtp.Notify) Recipient {
		return Recipient{Action: Expanded, Recipient: smtp.Recipient{Notify: notify}}
	}
	tests := []struct {
		name          string
		rcpt          Recipient
		want, wantNot string
	}{
		{"delayed", Recipient{Action: Delayed, Result: res, WillRetryUntil: expiry},
			"when it does not know a sender yet. You do not need to do anything: the message will be tried again until " +
				"7 February 2026, 10:00 (UTC +0000). If it cannot be delivered", "Send the message again."},
		{"delayed, no end known", Recipient{Action: Delayed, Result: res},
			"will be tried again. If it cannot be delivered", "until"},
		{"delayed, failure not to be told", unheard, "will be tried again.", "you will be told"},
		{"delayed, no words", Recipient{Action: Delayed, Result: mute}, "will be tried again", "Details"},
		{"delayed, our own words", Recipient{Action: Delayed, Result: dns}, "could not be reached, or", "over by now"},
		{"expired, no host", Recipient{Action: Failed, Result: dns}, "Details: no answer from the DNS", "server"},
		{"expired, at a host", Recipient{Action: Failed, Result: res},
			"The server mx.example.net (192.0.2.25) answered: 451 4.7.1 later", ""},
		{"expired, no attempt", Recipient{Action: Failed},
			"It could not be sent in time. There will be no more attempts. You can send the message again.", "ended"},
		{"expanded", expanded(smtp.NotifySuccess | smtp.NotifyFailure),
			"no report on deliveries to the members. If it cannot be delivered to one of them, you will be told.", ""},
		{"expanded, failure not to be told", expanded(smtp.NotifySuccess),
			"There will be no report on deliveries to the members.", "you will be told"},
		{"expired, at a host that did not answer", Recipient{Action: Failed, Result: local(res)},
			"The last attempt failed at mx.example.net (192.0.2.25): later", "answered"},
		{"refused, no name of a host", Recipient{Action: Failed, Result: socket},
			"The next mail system answered: 550 no", "lmtp"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			text := flat(compose(t, report(test.rcpt)).text)
			if !strings.Contains(text, test.want) {
				t.Errorf("got\n%s\nwant %q in it", text, test.want)
			}
			if test.wantNot != "" && strings.Contains(text, test.wantNot) {
				t.Errorf("got\n%s\nwant no %q in it", text, test.wantNot)
			}
		})
	}
}

// TestSameSaidOnce: what is true of several recipients stands in the text once.
func TestSameSaidOnce(t *testing.T) {
	r := report(unknownUser("ann@example.net"), unknownUser("bob@example.net"), unknownUser("cas@example.net"))
	r.Recipients[1].Result.Reply.Text = "nobody of this name"
	text := compose(t, r).text
	if n := strings.Count(flat(text), English().Reasons[smtp.UserUnknown].What); n != 2 {
		t.Errorf("got the cause %d times, want 2:\n%s", n, text)
	}
	if want := "  ann@example.net\r\n  cas@example.net\r\n\r\n    This address"; !strings.Contains(text, want) {
		t.Errorf("got\n%s\nwant %q in it", text, want)
	}
}

func TestNoTimes(t *testing.T) {
	r := report(unknownUser("bob@example.net"))
	r.Arrival, r.Recipients[0].LastAttempt = time.Time{}, time.Time{}
	p := compose(t, r)
	arrival, last := p.message.Get("Arrival-Date"), p.groups[0].Get("Last-Attempt-Date")
	if strings.Contains(p.text, "Accepted") || arrival != "" || last != "" {
		t.Errorf("got times that aren't known:\n%s\n%v\n%v", p.text, p.message, p.groups)
	}
}

// TestLanguage has a report in a language that isn't English: its parts for programs are the same, and its header is
// ASCII.
func TestLanguage(t *testing.T) {
	r := report(unknownUser("bob@example.net"))
	english := compose(t, r)
	r.Texts = Portuguese()
	p := compose(t, r)
	whole := readReport(t, r)
	if !isASCII(whole) || !strings.Contains(whole, "\r\nContent-Language: pt\r\n") {
		t.Errorf("got octets above 127, or no Content-Language:\n%s", whole)
	}
	decode := new(mime.WordDecoder)
	subject, err := decode.DecodeHeader(p.header.Get("Subject"))
	if want := r.Texts.Subject[Failed]; err != nil || subject != want {
		t.Errorf("got Subject %q, %v, want %q", subject, err, want)
	}
	if got, want := p.header.Get("From"), "Sistema de entrega de correio <postmaster@mx1.example.com>"; got != want {
		t.Errorf("got From %q, want %q", got, want)
	}
	if want := "A mensagem não pôde ser entregue a:"; !strings.Contains(p.text, want) {
		t.Errorf("got\n%s\nwant %q in it", p.text, want)
	}
	if !reflect.DeepEqual(p.groups, english.groups) || !reflect.DeepEqual(p.message, english.message) {
		t.Error("the fields for programs depend on the language")
	}
}

// TestOddTexts composes reports with texts that a user should not pass.
func TestOddTexts(t *testing.T) {
	long := strings.Repeat("x", 5000)
	tests := []struct {
		name   string
		change func(*Texts)
		want   string // in the mail
	}{
		{"zero", func(x *Texts) { *x = Texts{} }, "Subject: Your message could not be delivered\r\n"},
		{"only a Subject", func(x *Texts) { *x = Texts{Subject: map[Action]string{Failed: "Oh no"}} }, "Subject: Oh no\r\n"},
		{"empty Subjects", func(x *Texts) { x.Subject = nil }, "Subject: Your message could not be delivered\r\n"},
		{"no reasons", func(x *Texts) { x.Reasons = nil }, "550 5.1.1 No such user here"},
		{"line ends in the Subject", func(x *Texts) { x.Subject[Failed] = "a\r\nX-Evil: 1" }, "Subject: a X-Evil: 1\r\n"},
		{"line ends in the name", func(x *Texts) { x.From = "a\nX-Evil: 1" }, `From: "a X-Evil: 1" <postmaster@`},
		{"specials in the name", func(x *Texts) { x.From = `Post, "Inc."` }, `From: "Post, \"Inc.\"" <postmaster@`},
		{"a name in UTF-8", func(x *Texts) { x.From = "Poşta, Ş(x)" }, "From: =?utf-8?b?"},
		{"line ends in the language", func(x *Texts) { x.Language = "a\r\nX-Evil: 1" }, "Content-Language: a??X-Evil: 1\r\n"},
		{"line ends in a text", func(x *Texts) { x.Intro = "a\r\n\r\n--b\r\nc" }, "\r\na --b c\r\n"},
		{"lines that are long", func(x *Texts) { x.From, x.Intro, x.SentTo, x.Help = long, long, long, long }, "x=\r\n"},
		{"a long Subject in UTF-8", func(x *Texts) { x.Subject[Failed] = strings.Repeat("ø", 5000) }, "=?utf-8?q?"},
		{"values that no text has", func(x *Texts) { x.Intro = "{date} {host} {{host}}" },
			"{date} mx1.example.com {mx1.example.com}"},
		{"invalid UTF-8", func(x *Texts) { x.Intro, x.Subject[Failed] = "a\xffb", "c\xffd" }, "Subject: c?d\r\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := report(unknownUser("bob@example.net"))
			r.Texts = English()
			r.Recipients[0].ORCPT = "rfc822;Other@example.net"
			test.change(r.Texts)
			compose(t, r)
			if got := readReport(t, r); !strings.Contains(got, test.want) {
				t.Errorf("got\n%s\nwant %q in it", got, test.want)
			}
		})
	}
}

// TestAbout has the lines about the message: its Subject as a person reads it, and not for everybody.
func TestAbout(t *testing.T) {
	tests := []struct {
		name, subject string
		change        func(*Report)
		want          string
	}{
		{"plain", "Your bill", nil, "  Subject: Your bill\r\n  Accepted: 2 February 2026, 10:00 (UTC +0000)\r\n"},
		{"encoded", "=?utf-8?q?N=C3=BAmero?= 1", nil, "  Subject: Número 1\r\n"},
		{"encoded line ends", "=?utf-8?q?a=0D=0A=0D=0AX-Evil:_1?=", nil, "  Subject: a X-Evil: 1\r\n"},
		{"a charset that isn't known", "=?x-none?q?a?=", nil, "  Subject: =?x-none?q?a?=\r\n"},
		{"folded", "a\r\n b", nil, "  Subject: a b\r\n"},
		{"8-bit", "\xe9t\xe9", nil, "  Subject: ?t?\r\n"},
		{"long", strings.Repeat("x", 500), nil, "xxx...\r\n"},
		{"empty", "", nil, "\r\n\r\n  Accepted:"},
		{"a stranger", "Buy now", func(r *Report) { r.Stranger = true }, "\r\n\r\n  Accepted:"},
		{"REQUIRETLS", "Secret", func(r *Report) { r.RequireTLS = true }, "\r\n\r\n  Accepted:"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := report(unknownUser("bob@example.net"))
			r.Original = smtp.Text("Subject: " + test.subject + "\r\n\r\nbody\r\n")
			if test.change != nil {
				test.change(r)
			}
			if got := compose(t, r).text; !strings.Contains(got, test.want) {
				t.Errorf("got\n%q\nwant %q in it", got, test.want)
			}
		})
	}
}

// TestRequireTLSTexts: only a message with REQUIRETLS, and only 5.7.10 and 5.7.30, have those texts. A host that was
// never connected to isn't where an attempt failed.
func TestRequireTLSTexts(t *testing.T) {
	const own, other = "(REQUIRETLS)", "There was no secure connection"
	tests := []struct {
		name       string
		requireTLS bool
		code       int // of 5.7.X
		zero       bool
		addr, want string
		failedAt   string
	}{
		{"not offered", true, 30, false, "192.0.2.25:25", own, "failed at mx.example.net (192.0.2.25): no"},
		{"no verified TLS", true, 10, false, "192.0.2.25:25", own, "failed at mx.example.net (192.0.2.25): no"},
		{"never connected to", true, 10, false, "", own, "Details: mx.example.net: no"},
		{"another code", true, 5, false, "192.0.2.25:25", other, "failed at"},
		{"without REQUIRETLS", false, 10, false, "192.0.2.25:25", other, "failed at"},
		{"no texts of one's own", true, 10, true, "192.0.2.25:25", other, "failed at"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rcpt := unknownUser("bob@example.net")
			rcpt.Result = local(rejected(550, smtp.EnhancedCode{5, 7, tt.code}, "no"))
			rcpt.Result.Addr, rcpt.Result.Reason = tt.addr, smtp.TLS
			r := report(rcpt)
			r.RequireTLS, r.Texts = tt.requireTLS, English()
			if tt.zero {
				r.Texts.RequireTLS = ReasonTexts{}
			}
			got := flat(compose(t, r).text)
			if !strings.Contains(got, tt.want) || !strings.Contains(got, tt.failedAt) {
				t.Errorf("got\n%s\nwant %q and %q in it", got, tt.want, tt.failedAt)
			}
		})
	}
}

// TestRequireTLS: RFC 8689 §5: of such a message, no body comes back.
func TestRequireTLS(t *testing.T) {
	r := report(unknownUser("bob@example.net"))
	r.Envelope.Ret = smtp.RetFull
	if p := compose(t, r); !strings.Contains(p.original, "Please pay.") {
		t.Fatalf("without REQUIRETLS, got\n%s\nwant the whole message", p.original)
	}
	r.RequireTLS = true
	p := compose(t, r)
	if p.types[2] != "text/rfc822-headers" || strings.Contains(p.original, "Please pay.") ||
		!strings.Contains(p.original, "Message-ID: <bill.1@example.com>") {
		t.Errorf("got %s\n%s\nwant the header alone", p.types[2], p.original)
	}
}
