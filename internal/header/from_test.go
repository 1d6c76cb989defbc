package header

import (
	"slices"
	"strings"
	"testing"
)

func TestFromDomains(t *testing.T) {
	for value, want := range map[string]string{
		" ann@example.net":                          "example.net",
		" Ann <ann@Example.Net>":                    "example.net",
		" \"ceo@bank.example\" <x@evil.example>":    "evil.example",
		" =?gb2312?B?1tC5+g==?= <ann@example.net>":  "example.net",
		" ann@example.net, bob@example.org":         "example.net example.org",
		" ann@example.net, bob@Example.net":         "example.net",
		" group: ann@example.net, bob@example.org;": "example.net example.org",
		" group:;":                           "",
		"":                                   "",
		" Ann":                               "",
		" ann":                               "",
		" ann@[192.0.2.1]":                   "", // no domain: DMARC calls it a permerror
		" \"a@b\"@example.net":               "example.net",
		" ann@bücher.example":                "bücher.example",
		" Foo, Inc. <ann@example.net>":       "example.net",
		" ceo@bank.example <x@evil.example>": "bank.example evil.example",
		" Foo, \"x@y.example\" (z@z.example) <a@b.example>,":                   "b.example",
		" John @ Acme, <a@b.example":                                           "b.example",
		"\r\n\tann@example.net (comment)":                                      "example.net",
		" a@1.t,a@2.t,a@3.t,a@4.t,a@5.t,a@6.t,a@7.t,a@8.t,a@9.t,a@10.t,a@11.t": "1.t 2.t 3.t 4.t 5.t 6.t 7.t 8.t 9.t 10.t",
	} {
		if got := strings.Join(FromDomains([]string{"Subject: a@x.example\r\n", "from :" + value + "\r\n"}), " "); got != want {
			t.Errorf("%q: got %q, want %q", value, got, want)
		}
	}
	if got := FromDomains([]string{"From: a@x.example\r\n", "FROM: b@y.example\r\n"}); !slices.Equal(got, []string{"x.example", "y.example"}) {
		t.Errorf("two fields: got %q", got)
	}
}
