package server

import (
	"strings"
	"testing"
)

func authIsUnknown(t *testing.T, m taken) {
	if m.env.Auth != "<>" {
		t.Errorf("got AUTH %q, want <>: nobody has authenticated", m.env.Auth)
	}
}

// param is a parameter, the code of its MAIL or RCPT, and the source.
type param struct{ text, code, source string }

// syntaxVectors: a parameter that can't be read is refused, and never lets another one in.
func syntaxVectors() []vector {
	list := []vector{
		{name: "EHLO with an address literal", source: "RFC 5321 §4.1.3", in: "EHLO [192.0.2.1]\r\n", codes: "250"},
		{name: "EHLO without a name", source: "RFC 5321 §4.1.1.1", in: "EHLO\r\n" + mail, codes: "501 503"},
		{name: "EHLO with spaces only", source: "RFC 5321 §4.1.1.1", in: "EHLO   \r\n" + mail, codes: "501 503"},
		{name: "EHLO of 500 octets", source: "CVE-2019-16928", in: "EHLO " + strings.Repeat("a", 500) + "\r\n" + mail, codes: "250 250"},
		{name: "EHLO of 11,000 octets", source: "CVE-2019-16928", in: "EHLO " + strings.Repeat("a", 11000) + "\r\n" + mail,
			codes: "500 503"},
		{name: "EHLO with 8-bit octets", source: "RFC 5321 §4.1.4", in: "EHLO \xff\xfe\r\n" + mail, codes: "250 250"},
		{name: "EHLO with a format", source: "CWE-134", in: "EHLO %s%n%x\r\n" + mail, codes: "250 250"},
		{name: "verb only", source: "RFC 5321 §4.1.2", in: ehlo + "MAIL\r\nRCPT\r\nVRFY\r\n", codes: "250 501 503 501"},
		{name: "verb and colon in one", source: "RFC 5321 §4.1.2", in: ehlo + "MAIL:FROM<ann@example.com>\r\n", codes: "250 500"},
		{name: "long verb", source: "RFC 5321 §4.2.4", in: strings.Repeat("A", 400) + "\r\n", codes: "500"},
		{name: "space before the verb", source: "RFC 5321 §4.1.1", in: " NOOP\r\n", codes: "500"},
		{name: "8-bit verb", source: "RFC 5321 §2.4", in: "NOOP\xff\r\n\xff\xfb\xff\xfd\r\n", codes: "500 500"},
		{name: "DATA with an argument", source: "RFC 5321 §4.1.1.4", in: talked + "DATA x\r\n" + data + body,
			codes: "250 250 250 501 354 250", mails: []string{taken1}},
		{name: "RSET with an argument", source: "RFC 5321 §4.1.1.5", in: talked + "RSET x\r\n" + data + body,
			codes: "250 250 250 501 354 250", mails: []string{taken1}},
		{name: "QUIT with an argument", source: "RFC 5321 §4.1.1.10", in: "QUIT now\r\n", codes: "501"},
		{name: "NOOP with an argument", source: "RFC 5321 §4.1.1.9", in: "NOOP \"a b\"\r\n", codes: "250"},
		{name: "VRFY with a format", source: "CWE-134", in: "VRFY %s%s%n\r\n", codes: "252"},
		{name: "HELP with a long argument", source: "RFC 5321 §4.1.1.8", in: "HELP " + strings.Repeat("x", 600) + "\r\n", codes: "500"},
	}
	long := strings.Repeat("x", 101)
	for _, p := range []param{
		{"SIZE=", "501", "RFC 1870 §3"}, {"SIZE", "501", "RFC 1870 §3"}, {"SIZE=-1", "501", "RFC 1870 §3"},
		{"SIZE=1e3", "501", "RFC 1870 §3"}, {"SIZE=0x10", "501", "RFC 1870 §3"}, {"SIZE=+1", "501", "RFC 1870 §3"},
		{"SIZE=99999999999999999999", "552", "RFC 1870 §6.1"}, {"SIZE=18446744073709551617", "552", "RFC 1870 §6.1"},
		{"SIZE=9223372036854775808", "552", "RFC 1870 §6.1"}, {"SIZE=52428801", "552", "RFC 1870 §6.1"},
		{"SIZE=999999999999999999999", "501", "RFC 1870 §3"}, {"SIZE=1 SIZE=2", "501", "RFC 5321 §4.1.2"},
		{"SIZE=52428800", "250", "RFC 1870 §6.1"}, {"SIZE=\u0661", "501", "RFC 1870 §3"}, {"SIZE=1,2", "501", "RFC 1870 §3"},
		{"BODY=8BIT", "501", "RFC 6152 §2"}, {"BODY=", "501", "RFC 6152 §2"}, {"BODY=BINARYMIME", "555", "RFC 3030 §3"},
		{"BODY=7BIT BODY=8BITMIME", "501", "RFC 5321 §4.1.2"}, {"SMTPUTF8=1", "501", "RFC 6531 §3.1"},
		{"RET=ALL", "501", "RFC 3461 §4.3"}, {"RET=FULL,HDRS", "501", "RFC 3461 §4.3"}, {"ENVID=", "501", "RFC 3461 §4.4"},
		{"ENVID=a+0D+0ABcc:+20x", "501", "CVE-2020-28026"}, {"ENVID=a+00", "501", "RFC 3461 §4.4"}, {"ENVID=a+", "501", "RFC 3461 §4"},
		{"ENVID=a+0", "501", "RFC 3461 §4"}, {"ENVID=a+0d", "501", "RFC 3461 §4"}, {"ENVID=a+zz", "501", "RFC 3461 §4"},
		{"ENVID=" + long, "501", "RFC 3461 §4.4"}, {"NOTIFY=NEVER", "555", "RFC 3461 §4.1"}, {"XYZZY=1", "555", "RFC 5321 §4.1.1.11"},
		{"XYZZY", "555", "RFC 5321 §4.1.1.11"}, {"=1", "501", "RFC 5321 §4.1.2"}, {"-A=1", "501", "RFC 5321 §4.1.2"},
		{" SIZE=1", "501", "RFC 5321 §4.1.2"}, {"SIZE =1", "501", "RFC 5321 §4.1.2"}, {"SIZE=1=2", "501", "RFC 5321 §4.1.2"},
		{"BY=120;R", "555", "RFC 2852 §4"}, {"HOLDFOR=60", "555", "RFC 4865 §4.2"}, {"MT-PRIORITY=9", "555", "RFC 6710 §3"},
		{"REQUIRETLS", "555", "RFC 8689 §2"}, {"SIZE=1;BODY=7BIT", "501", "RFC 1870 §3"}, {strings.Repeat("A=1 ", 400), "500", "RFC 5321 §4.5.3.1.4"},
		{strings.Repeat("A", 300) + "=1", "555", "RFC 5321 §4.1.1.11"},
	} {
		list = append(list, paramVector("MAIL", mail, p))
	}
	for _, p := range []param{
		{"NOTIFY=NEVER,SUCCESS", "501", "RFC 3461 §4.1"}, {"NOTIFY=", "501", "RFC 3461 §4.1"}, {"NOTIFY=,", "501", "RFC 3461 §4.1"},
		{"NOTIFY=SOMETIMES", "501", "RFC 3461 §4.1"}, {"NOTIFY=NEVER NOTIFY=NEVER", "501", "RFC 5321 §4.1.2"},
		{"ORCPT=rfc822", "501", "RFC 3461 §4.2"}, {"ORCPT=;x", "501", "RFC 3461 §4.2"}, {"ORCPT=rfc822;a+0D+0ABcc:x", "501", "CVE-2020-28026"},
		{"ORCPT=rfc822;a+00", "501", "RFC 3461 §4.2"}, {"ORCPT=rfc822;" + strings.Repeat("x", 500), "501", "RFC 3461 §4.2"},
		{"ORCPT=utf-8;\\x{D}", "501", "RFC 6533 §3"}, {"ORCPT=utf-8;\\x{110000}", "501", "RFC 6533 §3"},
		{"ORCPT=utf-8;\\x{D800}", "501", "RFC 6533 §3"}, {"SIZE=1", "555", "RFC 5321 §4.1.1.11"}, {"RET=FULL", "555", "RFC 3461 §4.3"},
		{"X", "555", "RFC 5321 §4.1.1.11"},
	} {
		list = append(list, paramVector("RCPT", rcpt, p))
	}
	return list
}

// paramVector is a MAIL or RCPT with a parameter. If it is refused, no transaction or no recipient is left.
func paramVector(verb, line string, p param) vector {
	line = strings.TrimSuffix(line, "\r\n") + " " + p.text + "\r\n"
	v := vector{name: verb + " " + p.text, source: p.source}
	switch {
	case verb == "MAIL" && p.code == "250":
		v.in, v.codes = ehlo+line+rcpt+rset, "250 250 250 250"
	case verb == "MAIL":
		v.in, v.codes = ehlo+line+rcpt+data, "250 "+p.code+" 503 503"
	default:
		v.in, v.codes = ehlo+mail+line+data, "250 250 "+p.code+" 554"
	}
	return v
}

// foldingVectors: keywords are ASCII (RFC 5321 §2.4). U+017F isn't "s", U+212A isn't "k", U+0131 and U+0130 aren't "i".
func foldingVectors() []vector {
	list := []vector{
		{name: "case of verbs", source: "RFC 5321 §2.4", in: "eHlO client.example\r\nmAiL fRoM:<ann@example.com> bOdY=8bItMiMe\r\n" +
			"rCpT tO:<bob@example.net>\r\ndAtA\r\n" + body, codes: "250 250 250 354 250", mails: []string{taken1}},
		{name: "local part keeps its case", source: "RFC 5321 §2.4", in: ehlo + "MAIL FROM:<ANN@example.com>\r\nRCPT TO:<bOb@example.net>\r\n" +
			data + body, codes: "250 250 250 354 250", mails: []string{taken1}, env: "ANN@example.com>bOb@example.net"},
		{name: "MAIL FROM with fullwidth letters", source: "RFC 5321 §2.4", in: ehlo + "MAIL \uff26\uff32\uff2f\uff2d:<ann@example.com>\r\n" + rcpt,
			codes: "250 501 503"},
		{name: "MAIL SMTPUTF8 with a long s", source: "RFC 5321 §2.4", in: ehlo + "MAIL FROM:<ann@example.com> \u017fMTPUTF8\r\n" + rcpt,
			codes: "250 501 503"},
		{name: "MAIL SIZE with a dotless i", source: "RFC 5321 §2.4", in: ehlo + "MAIL FROM:<ann@example.com> S\u0131ZE=1 SMTPUTF8\r\n" + rcpt,
			codes: "250 501 503"},
		{name: "MAIL SIZE with a dotted I", source: "RFC 5321 §2.4", in: ehlo + "MAIL FROM:<ann@example.com> S\u0130ZE=1 SMTPUTF8\r\n" + rcpt,
			codes: "250 501 503"},
		{name: "BODY with a long s", source: "RFC 5321 §2.4", in: ehlo + "MAIL FROM:<ann@example.com> BODY=8BITM\u0131ME SMTPUTF8\r\n" + rcpt,
			codes: "250 501 503"},
		{name: "NOTIFY with a long s", source: "RFC 5321 §2.4", in: ehlo + "MAIL FROM:<ann@example.com> SMTPUTF8\r\nRCPT TO:<bob@example.net> NOTIFY=\u017fUCCESS\r\n" +
			data, codes: "250 250 501 554"},
		{name: "postmaster with a long s", source: "RFC 5321 §4.5.1", in: ehlo + "MAIL FROM:<ann@example.com> SMTPUTF8\r\nRCPT TO:<po\u017ftmaster>\r\n" +
			data, codes: "250 250 501 554"},
		{name: "mechanism with a long s", source: "RFC 5321 §2.4", in: ehlo + "AUTH \u017fCRAM-SHA-256 " + b64("n,,n=ann,r=a") + "\r\n" + mail,
			codes: "250 500 530", set: mustAuth},
		{name: "mechanism in lower case", source: "RFC 4954 §4", in: ehlo + "auth plain " + b64("\x00ann\x00secret") + "\r\n" + mail,
			codes: "250 235 250", set: mustAuth},
	}
	for _, verb := range []string{"\u017fTARTTLS", "R\u017fET", "EHLO\u212a x", "QU\u0131T", "QU\u0130T", "MA\u0131L FROM:<a@b.example>", "\uff31\uff35\uff29\uff34",
		"NOOP\u0301", "\u200bNOOP", "\ufeffNOOP"} {
		list = append(list, vector{name: verb, source: "RFC 5321 §2.4", in: ehlo + verb + "\r\n" + rcpt, codes: "250 500 503", set: withTLS})
	}
	return list
}
