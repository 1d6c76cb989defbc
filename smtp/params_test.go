package smtp_test

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

// long is a local part over the 64 octets that each host must accept.
var long = strings.Repeat("long", 50)

func TestParseMail(t *testing.T) {
	tests := []struct {
		name string
		args string
		want smtp.Envelope
	}{
		{"null", "FROM:<>", smtp.Envelope{}},
		{"RFC 5321 D.1", "FROM:<Smith@bar.com>", smtp.Envelope{From: "Smith@bar.com"}},
		{"lower case", "from:<a@b> size=1 body=8bitmime ret=full smtputf8", smtp.Envelope{From: "a@b", Size: 1, Body: smtp.Body8BitMIME, Ret: smtp.RetFull, UTF8: true}},
		{"spaces after the colon", "FROM:  <a@b>", smtp.Envelope{From: "a@b"}},
		{"spaces at the end", "FROM:<a@b> SIZE=1  ", smtp.Envelope{From: "a@b", Size: 1}},
		{"space at the end, no parameters", "FROM:<a@b> ", smtp.Envelope{From: "a@b"}},
		{"source route", "FROM:<@one.example,@two.example:a@b>", smtp.Envelope{From: "a@b"}},
		{"quoted", `FROM:<"a> SIZE=1 \""@b>`, smtp.Envelope{From: `"a> SIZE=1 \""@b`}},
		{"RFC 1870", "FROM:<ned@thor.innosoft.com> SIZE=500000", smtp.Envelope{From: "ned@thor.innosoft.com", Size: 500000}},
		{"SRS", "FROM:<SRS1=" + long + "=HHH==TT=b=a@c>", smtp.Envelope{From: "SRS1=" + long + "=HHH==TT=b=a@c"}},
		{"reverse-path of 498", "FROM:<" + strings.Repeat("a", 496) + "@b>", smtp.Envelope{From: strings.Repeat("a", 496) + "@b"}},
		{"SIZE=0", "FROM:<> SIZE=0", smtp.Envelope{}},
		{"SIZE of int64", "FROM:<> SIZE=9223372036854775807", smtp.Envelope{Size: math.MaxInt64}},
		{"SIZE over int64", "FROM:<> SIZE=9223372036854775808", smtp.Envelope{Size: math.MaxInt64}},
		{"SIZE of 20 digits", "FROM:<> SIZE=99999999999999999999", smtp.Envelope{Size: math.MaxInt64}},
		{"SIZE with zeros", "FROM:<> SIZE=00000000000000000001", smtp.Envelope{Size: 1}},
		{"RFC 6152", "FROM:<ned@ymir.claremont.edu> BODY=8BITMIME", smtp.Envelope{From: "ned@ymir.claremont.edu", Body: smtp.Body8BitMIME}},
		{"RFC 3030", "FROM:<ned@ymir.claremont.edu> BODY=BINARYMIME", smtp.Envelope{From: "ned@ymir.claremont.edu", Body: smtp.BodyBinaryMIME}},
		{"BODY=7BIT", "FROM:<> BODY=7BIT", smtp.Envelope{Body: smtp.Body7Bit}},
		{"RFC 3461 section 10", "FROM:<Alice@Example.ORG> RET=HDRS ENVID=QQ314159", smtp.Envelope{From: "Alice@Example.ORG", Ret: smtp.RetHeaders, EnvID: "QQ314159"}},
		{"ENVID in xtext", "FROM:<> ENVID=a+20b+2B+3D", smtp.Envelope{EnvID: "a b+="}},
		{"ENVID of 100", "FROM:<> ENVID=" + strings.Repeat("x", 100), smtp.Envelope{EnvID: strings.Repeat("x", 100)}},
		{"RFC 4954 section 5", "FROM:<e=mc2@example.com> AUTH=e+3Dmc2@example.com", smtp.Envelope{From: "e=mc2@example.com", Auth: "e=mc2@example.com"}},
		{"AUTH=<>", "FROM:<john+@example.org> AUTH=<>", smtp.Envelope{From: "john+@example.org", Auth: "<>"}},
		{"AUTH without domain", "FROM:<a@b> AUTH=ann", smtp.Envelope{From: "a@b", Auth: "<>"}},
		{"AUTH in brackets", "FROM:<a@b> auth=<a@b.example>", smtp.Envelope{From: "a@b", Auth: "<>"}},
		{"AUTH not xtext", "FROM:<a@b> AUTH=a+GG@b", smtp.Envelope{From: "a@b", Auth: "<>"}},
		{"AUTH with equals", "FROM:<a@b> AUTH=e=mc2@b SIZE=1", smtp.Envelope{From: "a@b", Auth: "<>", Size: 1}},
		{"AUTH empty", "FROM:<a@b> AUTH=", smtp.Envelope{From: "a@b", Auth: "<>"}},
		{"AUTH without value", "FROM:<a@b> AUTH", smtp.Envelope{From: "a@b", Auth: "<>"}},
		{"AUTH with CRLF", "FROM:<a@b> AUTH=a+0D+0A@b", smtp.Envelope{From: "a@b", Auth: "<>"}},
		{"AUTH of 501", "FROM:<a@b> AUTH=" + strings.Repeat("x", 501), smtp.Envelope{From: "a@b", Auth: "<>"}},
		{"AUTH in UTF-8", "FROM:<a@b> AUTH=ü@b SMTPUTF8", smtp.Envelope{From: "a@b", UTF8: true, Auth: "<>"}},
		{"RFC 6531", "FROM:<dürst@bücher.example> SMTPUTF8", smtp.Envelope{From: "dürst@bücher.example", UTF8: true}},
		{"RFC 8689 A.1", "FROM:<roger@example.org> REQUIRETLS", smtp.Envelope{From: "roger@example.org", RequireTLS: true}},
		{"REQUIRETLS in lower case, null", "FROM:<> requiretls", smtp.Envelope{RequireTLS: true}},
		{"all", "FROM:<a@b> SIZE=9 BODY=8BITMIME REQUIRETLS SMTPUTF8 RET=FULL ENVID=e AUTH=c@d", smtp.Envelope{From: "a@b", Size: 9, Body: smtp.Body8BitMIME, UTF8: true, Ret: smtp.RetFull, EnvID: "e", Auth: "c@d", RequireTLS: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := smtp.ParseMail(tt.args)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*got, tt.want) {
				t.Errorf("got %+v, want %+v", *got, tt.want)
			}
		})
	}
}

func TestParseMailErrors(t *testing.T) {
	const syntax, path, utf8, unknown = "501 5.5.4", "501 5.1.7", "553 5.6.7", "555 5.5.4"
	tests := []struct{ name, args, want string }{
		{"nothing", "", syntax},
		{"wrong word", "TO:<a@b>", syntax},
		{"no colon", "FROM<a@b>", syntax},
		{"space before the colon", "FROM :<a@b>", syntax},
		{"space first", " FROM:<a@b>", syntax},
		{"tab after the colon", "FROM:\t<a@b>", syntax},
		{"colon from another octet", "FROM\x1a<a@b>", syntax},
		{"no brackets", "FROM:a@b", syntax},
		{"not closed", "FROM:<a@b", syntax},
		{"quote not closed", `FROM:<"a@b> SIZE=1`, syntax},
		{"text after", "FROM:<a@b>SIZE=1", syntax},
		{"two spaces", "FROM:<a@b>  SIZE=1", syntax},
		{"tab between", "FROM:<a@b>\tSIZE=1", syntax},
		{"source route alone", "FROM:<@one.example:>", syntax},
		{"source route not ended", "FROM:<@one.example>", syntax},
		{"source route without at", "FROM:<@one.example,two.example:a@b>", syntax},
		{"source route with space", "FROM:<@one .example:a@b>", syntax},
		{"folded word", "\u017f", syntax},
		{"no domain", "FROM:<a>", path},
		{"postmaster", "FROM:<postmaster>", path},
		{"space", "FROM:< >", path},
		{"two dots", "FROM:<a..b@c>", path},
		{"bracket within", "FROM:<<a@b>", path},
		{"bare CR", "FROM:<a\r@b>", path},
		{"NUL", "FROM:<a\x00@b>", path},
		{"not UTF-8", "FROM:<a\xff@b> SMTPUTF8", path},
		{"RFC 2047", "FROM:<=?utf-8?q?a?= b@c>", path},
		{"reverse-path of 499", "FROM:<" + strings.Repeat("a", 497) + "@b>", path},
		{"UTF-8 without SMTPUTF8", "FROM:<dürst@b>", utf8},
		{"UTF-8 domain without SMTPUTF8", "FROM:<a@bücher.example> SIZE=1", utf8},
		{"unknown", "FROM:<a@b> X=1", unknown},
		{"unknown without value", "FROM:<a@b> X-Y", unknown},
		{"NOTIFY", "FROM:<a@b> NOTIFY=NEVER", unknown},
		{"ORCPT", "FROM:<a@b> ORCPT=rfc822;a@b", unknown},
		{"keyword from U+017F", "FROM:<a@b> \u017fIZE=1", syntax},
		{"twice", "FROM:<a@b> SIZE=1 size=1", syntax},
		{"twice without value", "FROM:<a@b> SMTPUTF8 SMTPUTF8", syntax},
		{"keyword empty", "FROM:<a@b> =1", syntax},
		{"keyword begins with hyphen", "FROM:<a@b> -X=1", syntax},
		{"keyword with dot", "FROM:<a@b> X.Y=1", syntax},
		{"value empty", "FROM:<a@b> ENVID=", syntax},
		{"value with equals", "FROM:<a@b> ENVID=a=b", syntax},
		{"value with control", "FROM:<a@b> ENVID=a\x01", syntax},
		{"value with DEL", "FROM:<a@b> X=\x7f", syntax},
		{"value not UTF-8", "FROM:<a@b> X=\xff", syntax},
		{"SIZE without value", "FROM:<a@b> SIZE", syntax},
		{"SIZE negative", "FROM:<a@b> SIZE=-1", syntax},
		{"SIZE with plus", "FROM:<a@b> SIZE=+1", syntax},
		{"SIZE hexadecimal", "FROM:<a@b> SIZE=0x1", syntax},
		{"SIZE of 21 digits", "FROM:<a@b> SIZE=000000000000000000001", syntax},
		{"BODY unknown", "FROM:<a@b> BODY=9BIT", syntax},
		{"BODY without value", "FROM:<a@b> BODY", syntax},
		{"SMTPUTF8 with value", "FROM:<a@b> SMTPUTF8=1", syntax},
		{"REQUIRETLS with value", "FROM:<a@b> REQUIRETLS=yes", syntax},
		{"REQUIRETLS with empty value", "FROM:<a@b> REQUIRETLS=", syntax},
		{"REQUIRETLS twice", "FROM:<a@b> REQUIRETLS RequireTLS", syntax},
		{"REQUIRETLS and more", "FROM:<a@b> REQUIRETLSX", unknown},
		{"RET unknown", "FROM:<a@b> RET=BODY", syntax},
		{"RET without value", "FROM:<a@b> RET", syntax},
		{"ENVID without value", "FROM:<a@b> ENVID", syntax},
		{"ENVID of 101", "FROM:<a@b> ENVID=" + strings.Repeat("x", 101), syntax},
		{"ENVID with CRLF", "FROM:<a@b> ENVID=a+0D+0A", syntax},
		{"ENVID with 8 bit", "FROM:<a@b> ENVID=+FF", syntax},
		{"ENVID cut", "FROM:<a@b> ENVID=a+2", syntax},
		{"ENVID not xtext", "FROM:<a@b> ENVID=ü", syntax},
		{"AUTH with a control character", "FROM:<a@b> AUTH=a\x01", syntax},
		{"AUTH with a space", "FROM:<a@b> AUTH=ann b", unknown},
		{"AUTH twice", "FROM:<a@b> AUTH=<> AUTH=<>", syntax},
		{"AUTH with 8 bit", "FROM:<a@b> AUTH=ü@b", utf8},
		{"AUTH not UTF-8", "FROM:<a@b> AUTH=\xfc SMTPUTF8", syntax},
		{"bad parameter after AUTH", "FROM:<a@b> AUTH=ann SIZE=x", syntax},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			env, err := smtp.ParseMail(tt.args)
			checkReply(t, err, tt.want)
			if env != nil {
				t.Errorf("got %+v with the error", env)
			}
		})
	}
}

// checkReply checks that err is a *Reply with these codes, itself, and that no text of the client's makes a
// line of its own.
func checkReply(t *testing.T, err error, want string) {
	t.Helper()
	reply, ok := err.(*smtp.Reply)
	if !ok {
		t.Fatalf("got %v, want a Reply", err)
	}
	if got := fmt.Sprint(reply.Code, " ", reply.Enhanced); got != want || reply.Text == "" {
		t.Errorf("got %v, want %s", err, want)
	}
	if line := reply.AppendTo(nil); strings.Count(string(line), "\n") != 1 {
		t.Errorf("got %q, want one line", line)
	}
}

func TestParseRcpt(t *testing.T) {
	tests := []struct {
		name string
		args string
		want smtp.Recipient
	}{
		{"RFC 5321 D.1", "TO:<Jones@foo.com>", smtp.Recipient{Address: "Jones@foo.com"}},
		{"RFC 5321 F.2", "TO:<@hosta.int,@jkl.org:userc@d.bar.org>", smtp.Recipient{Address: "userc@d.bar.org"}},
		{"postmaster", "TO:<Postmaster>", smtp.Recipient{Address: "Postmaster"}},
		{"space after the colon", "to: <a@b> ", smtp.Recipient{Address: "a@b"}},
		{"quoted at", `TO:<"a@b"@c>`, smtp.Recipient{Address: `"a@b"@c`}},
		{"quoted space", `TO:<"a b"@c> NOTIFY=NEVER`, smtp.Recipient{Address: `"a b"@c`, Notify: smtp.NotifyNever}},
		{"percent", "TO:<a%b@c>", smtp.Recipient{Address: "a%b@c"}},
		{"literal", "TO:<a@[192.0.2.1]>", smtp.Recipient{Address: "a@[192.0.2.1]"}},
		{"IPv6 literal", "TO:<a@[IPv6:2001:db8::1]>", smtp.Recipient{Address: "a@[IPv6:2001:db8::1]"}},
		{"UTF-8", "TO:<dürst@bücher.example>", smtp.Recipient{Address: "dürst@bücher.example"}},
		{"RFC 3461 section 10 Bob", "TO:<Bob@Example.COM> NOTIFY=SUCCESS ORCPT=rfc822;Bob@Example.COM", smtp.Recipient{Address: "Bob@Example.COM", Notify: smtp.NotifySuccess, ORCPT: "rfc822;Bob@Example.COM"}},
		{"RFC 3461 section 10 Dana", "TO:<Dana@Ivory.EDU> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Dana@Ivory.EDU", smtp.Recipient{Address: "Dana@Ivory.EDU", Notify: smtp.NotifySuccess | smtp.NotifyFailure, ORCPT: "rfc822;Dana@Ivory.EDU"}},
		{"RFC 3461 section 10 Fred", "TO:<Fred@Bombs.AF.MIL> NOTIFY=NEVER", smtp.Recipient{Address: "Fred@Bombs.AF.MIL", Notify: smtp.NotifyNever}},
		{"NOTIFY all", "TO:<a@b> notify=delay,Failure,SUCCESS", smtp.Recipient{Address: "a@b", Notify: smtp.NotifyDelay | smtp.NotifyFailure | smtp.NotifySuccess}},
		{"forward-path of 500", "TO:<" + strings.Repeat("a", 498) + "@b>", smtp.Recipient{Address: strings.Repeat("a", 498) + "@b"}},
		{"ORCPT of a long address", "TO:<a@b> ORCPT=rfc822;" + long + "@c", smtp.Recipient{Address: "a@b", ORCPT: "rfc822;" + long + "@c"}},
		{"ORCPT in xtext", "TO:<a@b> ORCPT=rfc822;a+2Bb+3D@c", smtp.Recipient{Address: "a@b", ORCPT: "rfc822;a+b=@c"}},
		{"ORCPT of another type", "TO:<a@b> ORCPT=x400;/S+3Da/", smtp.Recipient{Address: "a@b", ORCPT: "x400;/S=a/"}},
		{"RFC 6533 unitext", "TO:<a@b> ORCPT=utf-8;dürst@bücher.example", smtp.Recipient{Address: "a@b", ORCPT: "utf-8;dürst@bücher.example"}},
		{"RFC 6533 xtext", `TO:<a@b> ORCPT=UTF-8;d\x{FC}rst\x{2B}\x{5C}\x{1F600}@c`, smtp.Recipient{Address: "a@b", ORCPT: "UTF-8;dürst+\\\U0001F600@c"}},
		{"UTF-8 in xtext, as Postfix sends it", "TO:<a@b> ORCPT=rfc822;d+C3+BCrst@c", smtp.Recipient{Address: "a@b", ORCPT: "utf-8;dürst@c"}},
		{"ORCPT of 500", "TO:<a@b> ORCPT=rfc822;" + strings.Repeat("x", 493), smtp.Recipient{Address: "a@b", ORCPT: "rfc822;" + strings.Repeat("x", 493)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := smtp.ParseRcpt(tt.args)
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestParseRcptErrors(t *testing.T) {
	const syntax, path, unknown = "501 5.5.4", "501 5.1.3", "555 5.5.4"
	tests := []struct{ name, args, want string }{
		{"nothing", "", syntax},
		{"wrong word", "FROM:<a@b>", syntax},
		{"no brackets", "TO:a@b", syntax},
		{"null", "TO:<>", path},
		{"no domain", "TO:<ann>", path},
		{"two ats", "TO:<a@b@c>", path},
		{"bang and space", "TO:<a!b c>", path},
		{"literal", "TO:<a@[192.0.2.1>", path},
		{"forward-path of 501", "TO:<" + strings.Repeat("a", 499) + "@b>", path},
		{"long domain", "TO:<a@" + labels(256) + ">", path},
		{"RET", "TO:<a@b> RET=FULL", unknown},
		{"SIZE", "TO:<a@b> SIZE=1", unknown},
		{"ENVID", "TO:<a@b> ENVID=x", unknown},
		{"AUTH", "TO:<a@b> AUTH=<>", unknown},
		{"SMTPUTF8", "TO:<a@b> SMTPUTF8", unknown},
		{"twice", "TO:<a@b> NOTIFY=NEVER NOTIFY=NEVER", syntax},
		{"NOTIFY without value", "TO:<a@b> NOTIFY", syntax},
		{"NOTIFY unknown", "TO:<a@b> NOTIFY=ALWAYS", syntax},
		{"NOTIFY empty element", "TO:<a@b> NOTIFY=SUCCESS,,DELAY", syntax},
		{"NOTIFY never and more", "TO:<a@b> NOTIFY=NEVER,DELAY", syntax},
		{"NOTIFY from U+017F", "TO:<a@b> NOTIFY=\u017fUCCESS", syntax},
		{"ORCPT without value", "TO:<a@b> ORCPT", syntax},
		{"ORCPT without type", "TO:<a@b> ORCPT=;a@b", syntax},
		{"ORCPT without address", "TO:<a@b> ORCPT=rfc822;", syntax},
		{"ORCPT without semicolon", "TO:<a@b> ORCPT=a@b", syntax},
		{"ORCPT type no atom", "TO:<a@b> ORCPT=a@b;c", syntax},
		{"ORCPT with CRLF", "TO:<a@b> ORCPT=rfc822;a+0D+0A@b", syntax},
		{"ORCPT with 8 bit", "TO:<a@b> ORCPT=rfc822;ü@b", syntax},
		{"ORCPT with Latin-1 in xtext", "TO:<a@b> ORCPT=rfc822;+FC@b", syntax},
		{"ORCPT with 8 bit of another type", "TO:<a@b> ORCPT=x400;+C3+BC@b", syntax},
		{"ORCPT with UTF-8 in xtext of over 500", "TO:<a@b> ORCPT=rfc822;+C3+BC" + strings.Repeat("+2B", 90), syntax},
		{"ORCPT of 501", "TO:<a@b> ORCPT=rfc822;" + strings.Repeat("x", 494), syntax},
		{"unitext CRLF", `TO:<a@b> ORCPT=utf-8;\x{0D}\x{0A}`, syntax},
		{"unitext C1 control", `TO:<a@b> ORCPT=utf-8;\x{85}`, syntax},
		{"unitext surrogate", `TO:<a@b> ORCPT=utf-8;\x{D800}`, syntax},
		{"unitext too great", `TO:<a@b> ORCPT=utf-8;\x{110000}`, syntax},
		{"unitext one digit", `TO:<a@b> ORCPT=utf-8;\x{F}`, syntax},
		{"unitext not closed", `TO:<a@b> ORCPT=utf-8;\x{FC`, syntax},
		{"unitext no digits", `TO:<a@b> ORCPT=utf-8;\x{FG}`, syntax},
		{"unitext backslash", `TO:<a@b> ORCPT=utf-8;a\b`, syntax},
		{"unitext plus", `TO:<a@b> ORCPT=utf-8;a+2Bb`, syntax},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rcpt, err := smtp.ParseRcpt(tt.args)
			checkReply(t, err, tt.want)
			if rcpt != (smtp.Recipient{}) {
				t.Errorf("got %+v with the error", rcpt)
			}
		})
	}
}

// mailArgs is what a client makes of an envelope.
func mailArgs(env *smtp.Envelope) string {
	args := "FROM:<" + env.From + ">"
	if env.Size != 0 {
		args += fmt.Sprintf(" SIZE=%d", env.Size)
	}
	if env.Body != smtp.BodyUnknown {
		args += " BODY=" + env.Body.String()
	}
	if env.UTF8 {
		args += " SMTPUTF8"
	}
	if env.Ret != smtp.RetUnknown {
		args += " RET=" + env.Ret.String()
	}
	if env.EnvID != "" {
		args += " ENVID=" + smtp.EncodeXtext(env.EnvID)
	}
	if env.Auth != "" {
		args += " AUTH=" + smtp.EncodeXtext(env.Auth)
	}
	if env.RequireTLS {
		args += " REQUIRETLS"
	}
	return args
}

func rcptArgs(rcpt smtp.Recipient, utf8 bool) string {
	args := "TO:<" + rcpt.Address + ">"
	if rcpt.Notify != 0 {
		args += " NOTIFY=" + rcpt.Notify.String()
	}
	if rcpt.ORCPT != "" {
		args += " ORCPT=" + smtp.EncodeORCPT(rcpt.ORCPT, utf8)
	}
	return args
}

// FuzzParseMail holds that what is parsed passes Check, and that its wire form is parsed as the same.
func FuzzParseMail(f *testing.F) {
	f.Add("FROM:<>")
	f.Add("FROM:<@one.example:\"a> b\"@c> SIZE=99999999999999999999 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=a+20b AUTH=e+3Dmc2@example.com")
	f.Add("from: <dürst@bücher.example> smtputf8 AUTH=<> ")
	f.Add("FROM:<a@b> RequireTLS")
	f.Fuzz(func(t *testing.T, args string) {
		env, err := smtp.ParseMail(args)
		if err != nil {
			if _, ok := err.(*smtp.Reply); !ok || env != nil {
				t.Errorf("got %+v, %v", env, err)
			}
			return
		}
		if got, err := smtp.ParseMail(mailArgs(env)); err != nil || !reflect.DeepEqual(got, env) {
			t.Errorf("%q: got %+v, %v, want %+v", mailArgs(env), got, err, env)
		}
		env.Recipients = []smtp.Recipient{{Address: "postmaster"}}
		if err := env.Check(); err != nil {
			t.Errorf("%q: %v", args, err)
		}
	})
}

// FuzzParseRcpt holds the same for RCPT.
func FuzzParseRcpt(f *testing.F) {
	f.Add("TO:<Postmaster> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb@c")
	f.Add(`TO:<@one.example:a@[IPv6:::1]> ORCPT=utf-8;d\x{FC}rst@bücher.example`)
	f.Add("to: <\"a\\\">\"@c> ")
	f.Fuzz(func(t *testing.T, args string) {
		rcpt, err := smtp.ParseRcpt(args)
		if err != nil {
			if _, ok := errors.AsType[*smtp.Reply](err); !ok || rcpt != (smtp.Recipient{}) {
				t.Errorf("got %+v, %v", rcpt, err)
			}
			return
		}
		if got, err := smtp.ParseRcpt(rcptArgs(rcpt, true)); err != nil || got != rcpt {
			t.Errorf("%q: got %+v, %v, want %+v", rcptArgs(rcpt, true), got, err, rcpt)
		}
		line := rcptArgs(smtp.Recipient{Address: "a@b", Notify: rcpt.Notify, ORCPT: rcpt.ORCPT}, false)
		if smtp.NeedsUTF8(line) || strings.ContainsAny(line, "\r\n\x00") {
			t.Errorf("%q: not ASCII", line)
		}
		env := smtp.Envelope{Recipients: []smtp.Recipient{rcpt}}
		if err := env.Check(); err != nil {
			t.Errorf("%q: %v", args, err)
		}
	})
}

func BenchmarkParseMail(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := smtp.ParseMail("FROM:<ann@mail.example.net> SIZE=12345 BODY=8BITMIME RET=HDRS ENVID=QQ314159"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseRcpt(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := smtp.ParseRcpt("TO:<bob@example.com> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob@example.com"); err != nil {
			b.Fatal(err)
		}
	}
}
