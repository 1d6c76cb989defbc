package server

import "strings"

// path is the argument of MAIL or RCPT, the code of its reply, and if that is 250, the address.
type path struct{ arg, code, address, source string }

// reverseVectors: a reverse-path that can't be read begins no transaction.
func reverseVectors() []vector {
	label := strings.Repeat("a", 63)
	var list []vector
	for _, p := range []path{
		{"<>", "250", "", "RFC 5321 §4.5.5"},
		{"<ann@example.com>", "250", "ann@example.com", "RFC 5321 §4.1.2"},
		{`<"a b"@example.com>`, "250", `"a b"@example.com`, "RFC 5321 §4.1.2"},
		{`<"a@b"@example.com>`, "250", `"a@b"@example.com`, "RFC 5321 §4.1.2"},
		{`<"a>b"@example.com>`, "250", `"a>b"@example.com`, "RFC 5321 §4.1.2"},
		{`<"a\"b"@example.com>`, "250", `"a\"b"@example.com`, "RFC 5321 §4.1.2"},
		{`<"> SIZE=1"@example.com>`, "250", `"> SIZE=1"@example.com`, "RFC 5321 §4.1.2"},
		{"<@a.example,@b.example:ann@example.com>", "250", "ann@example.com", "RFC 5321 §4.1.2"},
		{"<ann@[192.0.2.1]>", "250", "ann@[192.0.2.1]", "RFC 5321 §4.1.3"},
		{"<ann@[IPv6:2001:db8::1]>", "250", "ann@[IPv6:2001:db8::1]", "RFC 5321 §4.1.3"},
		{" <ann@example.com>", "250", "ann@example.com", "RFC 5321 §3.3"},

		{"ann@example.com", "501", "", "RFC 5321 §4.1.2"},
		{"", "501", "", "RFC 5321 §4.1.2"},
		{"<", "501", "", "RFC 5321 §4.1.2"},
		{">", "501", "", "RFC 5321 §4.1.2"},
		{"<<>>", "501", "", "RFC 5321 §4.1.2"},
		{"<<ann@example.com>>", "501", "", "RFC 5321 §4.1.2"},
		{"<ann@example.com", "501", "", "RFC 5321 §4.1.2"},
		{"<ann@example.com>x", "501", "", "RFC 5321 §4.1.2"},
		{"<ann@example.com><mallory@example.com>", "501", "", "RFC 5321 §4.1.2"},
		{"<ann@example.com> <mallory@example.com>", "501", "", "RFC 5321 §4.1.2"},
		{"Ann <ann@example.com>", "501", "", "RFC 5321 §4.1.2"},
		{"<ann>", "501", "", "RFC 5321 §4.1.2"},
		{"<postmaster>", "501", "", "RFC 5321 §4.1.1.3"},
		{"<@example.com>", "501", "", "RFC 5321 §4.1.2"},
		{"<ann@>", "501", "", "RFC 5321 §4.1.2"},
		{"<ann@example..com>", "501", "", "RFC 5321 §4.1.2"},
		{"<ann@.example.com>", "501", "", "RFC 5321 §4.1.2"},
		{"<ann@example.com.>", "501", "", "RFC 5321 §4.1.2"},
		{"<ann@-example.com>", "501", "", "RFC 5321 §4.1.2"},
		{"<.ann@example.com>", "501", "", "RFC 5321 §4.1.2"},
		{"<ann.@example.com>", "501", "", "RFC 5321 §4.1.2"},
		{"<a..n@example.com>", "501", "", "RFC 5321 §4.1.2"},
		{"<a b@example.com>", "501", "", "RFC 5321 §4.1.2"},
		{"<ann@exam ple.com>", "501", "", "RFC 5321 §4.1.2"},
		{"<a@b@example.com>", "501", "", "RFC 5321 §4.1.2"},
		{`<"ann@example.com>`, "501", "", "RFC 5321 §4.1.2"},
		{`<"a"b@example.com>`, "501", "", "RFC 5321 §4.1.2"},
		{`<""a""@example.com>`, "501", "", "RFC 5321 §4.1.2"},
		{`<a\@b@example.com>`, "501", "", "RFC 5321 §4.1.2"},
		{`<"ann\"@example.com>`, "501", "", "CVE-2019-15846"},
		{"<(a)ann@example.com>", "501", "", "CVE-2002-1337"},
		{"<ann@example.com(a)>", "501", "", "CVE-2002-1337"},
		{strings.Repeat("<", 200) + strings.Repeat(">", 200), "501", "", "CVE-2002-1337"},
		{"<" + strings.Repeat("(", 400) + "@example.com>", "501", "", "CVE-2003-0161"},
		{"<ann@[192.0.2.999]>", "501", "", "RFC 5321 §4.1.3"},
		{"<ann@[192.0.2]>", "501", "", "RFC 5321 §4.1.3"},
		{"<ann@[192.0.2.1>", "501", "", "RFC 5321 §4.1.3"},
		{"<ann@[2001:db8::1]>", "501", "", "RFC 5321 §4.1.3"},
		{"<ann@[IPv6:2001:db8::1%eth0]>", "501", "", "RFC 5321 §4.1.3"},
		{"<ann@[IPv6:" + strings.Repeat("0:", 100) + "]>", "501", "", "RFC 5321 §4.1.3"},
		{"<ann@[]>", "501", "", "RFC 5321 §4.1.3"},
		{"<ann@" + label + "a.example>", "501", "", "RFC 1035 §2.3.4"},
		{"<ann@" + strings.Repeat(label+".", 4) + "example>", "501", "", "RFC 1035 §2.3.4"},
		{"<@:ann@example.com>", "501", "", "RFC 5321 §4.1.2"},
		{"<@a.example ann@example.com>", "501", "", "RFC 5321 §4.1.2"},
		{"<a.example:ann@example.com>", "501", "", "RFC 5321 §4.1.2"},
		{"<@a.example,:ann@example.com>", "501", "", "RFC 5321 §4.1.2"},
		{"<" + strings.Repeat("@a.example,", 40) + "@b.example:>", "501", "", "RFC 5321 §4.1.2"},
		{"<" + strings.Repeat("a", 600) + "@example.com>", "501", "", "RFC 5321 §4.5.3.1"},
		{"<" + strings.Repeat("a", 1800) + "@example.com>", "500", "", "RFC 5321 §4.5.3.1.4"},
		{"<\xff@example.com>", "500", "", "RFC 5321 §2.4"},
		{"<\xff@example.com> SMTPUTF8", "500", "", "RFC 6531 §3.3"},
		{"<\xc0\xae@example.com> SMTPUTF8", "500", "", "RFC 6531 §3.3"},
		{"<\xed\xa0\x80@example.com> SMTPUTF8", "500", "", "RFC 6531 §3.3"},
		{"<\u00e4@example.com>", "553", "", "RFC 6531 §3.5"},
		{"<ann@b\u00fccher.example>", "553", "", "RFC 6531 §3.5"},
		{"<\u0085@example.com> SMTPUTF8", "501", "", "RFC 6531 §3.3"},
	} {
		v := vector{name: p.arg, source: p.source}
		if p.code == "250" {
			v.in, v.codes = ehlo+"MAIL FROM:"+p.arg+"\r\n"+rcpt+data+body, "250 250 250 354 250"
			v.mails, v.env = []string{taken1}, p.address+">bob@example.net"
		} else {
			v.in, v.codes = ehlo+"MAIL FROM:"+p.arg+"\r\n"+rcpt+data, "250 "+p.code+" 503 503"
		}
		list = append(list, v)
	}
	return append(list,
		vector{name: "TO in MAIL", source: "RFC 5321 §4.1.1.2", in: ehlo + "MAIL TO:<ann@example.com>\r\n" + rcpt, codes: "250 501 503"},
		vector{name: "space before the colon", source: "RFC 5321 §4.1.1.2", in: ehlo + "MAIL FROM :<ann@example.com>\r\n" + rcpt,
			codes: "250 501 503"},
		vector{name: "no colon", source: "RFC 5321 §4.1.1.2", in: ehlo + "MAIL FROM<ann@example.com>\r\n" + rcpt, codes: "250 501 503"},
	)
}

// forwardVectors: a forward-path that can't be read is no recipient. What is read is passed on as it is: it is no
// command of a shell, and no name of a file.
func forwardVectors() []vector {
	var list []vector
	for _, p := range []path{
		{"<postmaster>", "250", "postmaster", "RFC 5321 §4.5.1"},
		{"<PostMaster>", "250", "PostMaster", "RFC 5321 §4.5.1"},
		{"<@a.example,@b.example:bob@example.net>", "250", "bob@example.net", "RFC 5321 §3.6.1"},
		{"<${run{id}}@example.net>", "250", "${run{id}}@example.net", "CVE-2019-10149"},
		{"<|/bin/sh@example.net>", "250", "|/bin/sh@example.net", "CVE-1999-0203"},
		{"</etc/passwd@example.net>", "250", "/etc/passwd@example.net", "CVE-1999-0203"},
		{"<`id`@example.net>", "250", "`id`@example.net", "CVE-2020-7247"},
		{"<-froot@example.net>", "250", "-froot@example.net", "CVE-2016-10033"},
		{"<a%b.example@example.net>", "250", "a%b.example@example.net", "RFC 5321 §3.6.1"},
		{"<b.example!a@example.net>", "250", "b.example!a@example.net", "RFC 5321 §3.6.1"},
		{"<%s%n@example.net>", "250", "%s%n@example.net", "CWE-134"},

		{"<>", "501", "", "RFC 5321 §4.1.1.3"},
		{"bob@example.net", "501", "", "RFC 5321 §4.1.2"},
		{"<bob>", "501", "", "RFC 5321 §4.1.2"},
		{"<;id@example.net>", "501", "", "CVE-2020-7247"},
		{"<../../etc/passwd@example.net>", "501", "", "RFC 5321 §4.1.2"},
		{"<bob@../../etc>", "501", "", "RFC 5321 §4.1.2"},
		{"<bob@example.net,carl@example.net>", "501", "", "RFC 5321 §4.1.2"},
		{"<bob@example.net>,<carl@example.net>", "501", "", "RFC 5321 §4.1.2"},
		{"<bob@example.net> carl@example.net", "501", "", "RFC 5321 §4.1.2"},
		{"<bob@example.net:25>", "501", "", "RFC 5321 §4.1.2"},
		{"<bob@example.net;carl@example.net>", "501", "", "RFC 5321 §4.1.2"},
		{"<bob@[127.0.0.1]x>", "501", "", "RFC 5321 §4.1.3"},
		{"<postmaster@>", "501", "", "RFC 5321 §4.5.1"},
		{`<"bob@example.net>`, "501", "", "RFC 5321 §4.1.2"},
		{"<\u00e4@example.net>", "553", "", "RFC 6531 §3.5"},
		{"<" + strings.Repeat("b", 495) + "@example.net>", "501", "", "RFC 5321 §4.5.3.1"},
		{"<" + strings.Repeat("b", 1200) + "@example.net>", "500", "", "RFC 5321 §4.5.3.1.4"},
	} {
		v := vector{name: p.arg, source: p.source}
		if p.code == "250" {
			v.in, v.codes = ehlo+mail+"RCPT TO:"+p.arg+"\r\n"+data+body, "250 250 250 354 250"
			v.mails, v.env = []string{taken1}, "ann@example.com>"+p.address
		} else {
			v.in, v.codes = ehlo+mail+"RCPT TO:"+p.arg+"\r\n"+data, "250 250 "+p.code+" 554"
			if p.code == "500" {
				v.codes = "250 250 500 503" // it doesn't count as a RCPT
			}
		}
		list = append(list, v)
	}
	return append(list,
		vector{name: "FROM in RCPT", source: "RFC 5321 §4.1.1.3", in: ehlo + mail + "RCPT FROM:<bob@example.net>\r\n" + data,
			codes: "250 250 501 554"},
		vector{name: "the same recipient twice", source: "RFC 5321 §3.3", in: talked + rcpt + data + body,
			codes: "250 250 250 250 354 250", mails: []string{taken1}, env: "ann@example.com>bob@example.net,bob@example.net"},
	)
}
