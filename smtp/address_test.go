package smtp_test

import (
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

func TestSplitAddress(t *testing.T) {
	tests := []struct{ address, local, domain string }{
		{"a@b", "a", "b"},
		{"postmaster", "postmaster", ""},
		{"", "", ""},
		{"@b", "", "b"},
		{"a@", "a", ""},
		{"a@b@c", "a@b", "c"},
		{"a%b@c", "a%b", "c"},
		{`"a@b"@c`, `"a@b"`, "c"},
		{`"a\"@b"@c`, `"a\"@b"`, "c"},
		{`"a\\"@c`, `"a\\"`, "c"},
		{`"a@b`, `"a@b`, ""},
		{`a\@b`, `a\`, "b"},
		{"a@[IPv6:::1]", "a", "[IPv6:::1]"},
	}
	for _, tt := range tests {
		t.Run(tt.address, func(t *testing.T) {
			local, domain := smtp.SplitAddress(tt.address)
			if local != tt.local || domain != tt.domain {
				t.Errorf("got %q, %q, want %q, %q", local, domain, tt.local, tt.domain)
			}
		})
	}
}

// labels makes a name of so many octets, in labels of at most 63.
func labels(octets int) string {
	name := strings.Repeat(strings.Repeat("d", 63)+".", octets/64)
	if rest := octets - len(name); rest > 0 {
		return name + strings.Repeat("e", rest)
	}
	return name[:len(name)-2] + ".e"
}

var addresses = []struct {
	name    string
	address string
	ok      bool
}{
	{"plain", "ann@example.net", true},
	{"dots", "a.b.c@example.net", true},
	{"all atext", "!#$%&'*+-/=?^_`{|}~@example.net", true},
	{"percent", "a%b@c", true},
	{"quoted", `"a b"@c`, true},
	{"quoted at", `"a@b"@c`, true},
	{"quoted specials", `"<>()[]:;,.@"@c`, true},
	{"quoted empty", `""@c`, true},
	{"quoted pairs", `"a\"b\\c\ "@c`, true},
	{"postmaster", "postmaster", true},
	{"Postmaster", "PostMaster", true},
	{"literal", "a@[192.0.2.1]", true},
	{"IPv6 literal", "a@[IPv6:2001:db8::1]", true},
	{"ipv6 literal", "a@[ipv6:::ffff:192.0.2.1]", true},
	{"underscore", "a@_dmarc.x", true},
	{"hyphens", "a@ab--c.com", true},
	{"digits", "a@1.2", true},
	{"UTF-8", "dürst@bücher.example", true},
	{"UTF-8 quoted", `"dü rst"@bücher.example`, true},
	{"U+560D U+560A", "\u560d\u560a@\u560d\u560a.example", true},
	{"A-label", "a@xn--bcher-kva.example", true},
	{"local part of 64", strings.Repeat("a", 64) + "@b", true},
	{"quoted local part of 64", `"` + strings.Repeat("a", 62) + `"@b`, true},
	{"label of 63", "a@" + strings.Repeat("b", 63), true},
	{"domain of 253", "a@" + labels(253), true},
	{"SRS", "SRS1=" + strings.Repeat("a", 60) + "=HHH==TT=example.org=ann@forwarder.example", true},
	{"local part of 65", strings.Repeat("a", 65) + "@b", true},
	{"local part of 65 octets in UTF-8", strings.Repeat("ü", 32) + "a@b", true},
	{"local part of 400", strings.Repeat("a", 400) + "@example.net", true},
	{"address of 500", strings.Repeat("a", 498) + "@b", true},
	{"address of 500, long domain", strings.Repeat("a", 246) + "@" + labels(253), true},
	{"address of 500, quoted", `"` + strings.Repeat(`\"`, 248) + `"@b`, true},

	{"empty", "", false},
	{"no domain", "ann", false},
	{"empty domain", "ann@", false},
	{"empty local part", "@example.net", false},
	{"only at", "@", false},
	{"two ats", "a@b@c", false},
	{"dot first", ".a@b", false},
	{"dot last", "a.@b", false},
	{"two dots", "a..b@c", false},
	{"space", "a b@c", false},
	{"space in domain", "a@b c", false},
	{"parameter", "a@b> SIZE=1", false},
	{"parameter in local part", "a> SIZE=1@b", false},
	{"brackets", "<a@b>", false},
	{"quote not closed", `"a@b`, false},
	{"quote closed twice", `"a"b"@c`, false},
	{"quote within", `a"b"@c`, false},
	{"quote then text", `"a"b@c`, false},
	{"quote escaped at the end", `"a\"@c`, false},
	{"backslash outside", `a\@b@c`, false},
	{"CR", "a\r@b", false},
	{"LF", "a\n@b", false},
	{"CRLF in domain", "a@b\r\nDATA", false},
	{"CRLF quoted", "\"a\r\nDATA\r\n\"@b", false},
	{"CRLF quoted pair", "\"a\\\r\\\n\"@b", false},
	{"CRLF in UTF-8 domain", "a@ü\r\nDATA", false},
	{"NUL", "a\x00@b", false},
	{"NUL quoted", "\"a\x00\"@b", false},
	{"NUL in UTF-8 domain", "a@ü\x00", false},
	{"tab quoted", "\"a\tb\"@c", false},
	{"DEL", "a\x7f@b", false},
	{"C1 control", "a\u0085b@c", false},
	{"C1 control in domain", "a@b\u0085", false},
	{"not UTF-8", "a\xff@b", false},
	{"not UTF-8 in domain", "a@b\xff", false},
	{"overlong UTF-8 CR", "a\xc0\x8d@b", false},
	{"escaped UTF-8", `"\ü"@b`, false},
	{"ideographic dot", "a@bücher\u3002example", false},
	{"ideographic dot in ASCII", "a@b\u3002example", false},
	{"fullwidth dot", "a@b\uff0eexample", false},
	{"halfwidth dot", "a@b\uff61example", false},
	{"fullwidth dot at the end", "a@bücher.example\uff0e", false},
	{"one dot leader", "a@b\u2024example", false},
	{"fullwidth letters", "a@\uff42.example", true},
	{"fullwidth at", "a@b\uff20c", false},
	{"fullwidth CR picture", "a@b\u240d", true},
	{"no-break space in domain", "a@b\u00a0c", false},
	{"dot at the end", "a@b.", false},
	{"empty label", "a@b..c", false},
	{"dot first in domain", "a@.b", false},
	{"hyphen first", "a@-b", false},
	{"hyphen last", "a@b-.c", false},
	{"star", "a@*.b", false},
	{"invalid A-label", "a@xn--a", false},
	{"right to left", "a@\u05d0b.example", false},
	{"literal without brackets", "a@IPv6:::1", false},
	{"literal not closed", "a@[192.0.2.1", false},
	{"literal out of range", "a@[192.0.2.256]", false},
	{"literal of four groups", "a@[192.0.2]", false},
	{"IPv6 literal without tag", "a@[2001:db8::1]", false},
	{"IPv6 literal with IPv4", "a@[IPv6:192.0.2.1]", false},
	{"IPv6 literal with zone", "a@[IPv6:fe80::1%eth0]", false},
	{"empty literal", "a@[]", false},
	{"general literal", "a@[x:y]", false},
	{"literal with CRLF", "a@[192.0.2.1\r\n]", false},
	{"label of 64", "a@" + strings.Repeat("b", 64), false},
	{"address of 501", strings.Repeat("a", 499) + "@b", false},
	{"domain of 254", "a@" + labels(254), false},
	{"domain of 256", "a@" + labels(256), false},
}

func TestCheckAddress(t *testing.T) {
	for _, tt := range addresses {
		t.Run(tt.name, func(t *testing.T) {
			err := smtp.CheckAddress(tt.address)
			if (err == nil) != tt.ok {
				t.Errorf("%q: got %v, want good: %t", tt.address, err, tt.ok)
			}
			if err != nil && strings.ContainsAny(err.Error(), "\r\n\x00") {
				t.Errorf("the error holds control characters: %q", err)
			}
		})
	}
}

func TestCheckAddressError(t *testing.T) {
	tests := []struct{ address, want string }{
		{"a b@c", `smtp: address "a b@c": ' ' out of place in the local part (RFC 5321 section 4.1.2)`},
		{"a@b\r\n", `smtp: address "a@b\r\n": '\r' in a label (RFC 5321 section 4.1.2)`},
		{"a@" + strings.Repeat("b", 64), `smtp: address "a@` + strings.Repeat("b", 64) + `": label over 63 octets (RFC 1035 section 2.3.4)`},
		{strings.Repeat("a", 1000), `smtp: address "` + strings.Repeat("a", 320) + `…": over 500 octets (RFC 5321 section 4.5.3.1.4)`},
	}
	for _, tt := range tests {
		t.Run(tt.address, func(t *testing.T) {
			if err := smtp.CheckAddress(tt.address); err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestASCIIDomain(t *testing.T) {
	tests := []struct {
		name   string
		domain string
		want   string // "" for an error
	}{
		{"plain", "example.net", "example.net"},
		{"upper case", "EXAMPLE.Net", "example.net"},
		{"dot at the end", "example.net.", "example.net"},
		{"one label", "localhost", "localhost"},
		{"underscore", "_dmarc.Example.net", "_dmarc.example.net"},
		{"hyphens in the third place", "ab--c.com", "ab--c.com"},
		{"digits", "127.0.0.1", "127.0.0.1"},
		{"U-label", "Bücher.example", "xn--bcher-kva.example"},
		{"underscore and U-label", "_dmarc.Bücher.example", "_dmarc.xn--bcher-kva.example"},
		{"hyphens and U-label", "ab--c.bücher.example", "ab--c.xn--bcher-kva.example"},
		{"decomposed", "bu\u0308cher.example", "xn--bcher-kva.example"},
		{"A-label", "XN--Bcher-KVA.example", "xn--bcher-kva.example"},
		{"sharp s stays", "faß.de", "xn--fa-hia.de"},
		{"fullwidth", "ｅｘａｍｐｌｅ．net", "example.net"},
		{"ideographic dot", "例え。jp。", "xn--r8jz45g.jp"},
		{"U+560D U+560A", "\u560d\u560a.com", "xn--x4rf.com"},
		{"Kelvin sign", "\u212a.com", "k.com"},
		{"soft hyphen", "a\u00adb.com", "ab.com"},
		{"right to left", "\u05d0\u05d1.example", "xn--4dbc.example"},
		{"literal", "[192.0.2.1]", "[192.0.2.1]"},
		{"IPv6 literal", "[IPv6:2001:DB8:0:0::1]", "[ipv6:2001:db8::1]"},
		{"label of 63", strings.Repeat("a", 63) + ".b", strings.Repeat("a", 63) + ".b"},
		{"253 octets", labels(253), labels(253)},
		{"253 octets and a dot", labels(253) + ".", labels(253)},

		{"empty", "", ""},
		{"dot", ".", ""},
		{"two dots at the end", "a..", ""},
		{"empty label", "a..b", ""},
		{"empty label of nothing", "a.\u00ad.b", ""},
		{"label of 64", strings.Repeat("a", 64) + ".b", ""},
		{"label of 64 as A-label", strings.Repeat("ü", 60) + strings.Repeat("é", 60), ""},
		{"254 octets", labels(254), ""},
		{"very long", strings.Repeat("ü", 1<<16), ""},
		{"space", "a b", ""},
		{"at", "a@b", ""},
		{"fullwidth at", "a\uff20b", ""},
		{"fullwidth dot makes empty label", "a．．b", ""},
		{"no-break space", "a\u00a0b", ""},
		{"CRLF", "a\r\nb", ""},
		{"CRLF in U-label", "ü\r\nb", ""},
		{"CRLF before A-label", "\r\n.xn--bcher-kva", ""},
		{"NUL in U-label", "ü\x00", ""},
		{"hyphen first", "-a", ""},
		{"hyphen last", "a-.b", ""},
		{"hyphen last in U-label", "ü.b-", ""},
		{"invalid A-label", "xn--a", ""},
		{"A-label of ASCII", "xn--abc-.com", ""},
		{"A-label of nothing", "xn--.com", ""},
		{"right to left and not", "\u05d0b.example", ""},
		{"joiner without context", "a\u200db.example", ""},
		{"not UTF-8", "a\xff", ""},
		{"literal not closed", "[192.0.2.1", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := smtp.ASCIIDomain(tt.domain)
			if got != tt.want || (err != nil) != (tt.want == "") {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
			if again, err := smtp.ASCIIDomain(got); tt.want != "" && (again != got || err != nil) {
				t.Errorf("its own form: got %q, %v, want %q", again, err, got)
			}
		})
	}
	if n := testing.AllocsPerRun(100, func() { smtp.ASCIIDomain("mx1.example.net") }); n != 0 {
		t.Errorf("got %v allocations for a plain domain, want 0", n)
	}
}

func TestASCIIAddress(t *testing.T) {
	tests := []struct {
		name    string
		address string
		utf8    bool
		ascii   string
		ok      bool
	}{
		{"ASCII", "Ann@Example.net", false, "Ann@Example.net", true},
		{"U-label", "ann@Bücher.example", true, "ann@xn--bcher-kva.example", true},
		{"quoted", `"a@ b"@bücher.example`, true, `"a@ b"@xn--bcher-kva.example`, true},
		{"local part", "dürst@bücher.example", true, "dürst@xn--bcher-kva.example", false},
		{"local part only", "dürst@example", true, "dürst@example", false},
		{"no such domain", "ann@ü\r\n", true, "ann@ü\r\n", false},
		{"null", "", false, "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := smtp.NeedsUTF8(tt.address); got != tt.utf8 {
				t.Errorf("NeedsUTF8: got %t, want %t", got, tt.utf8)
			}
			ascii, ok := smtp.ASCIIAddress(tt.address)
			if ascii != tt.ascii || ok != tt.ok {
				t.Errorf("ASCIIAddress: got %q, %t, want %q, %t", ascii, ok, tt.ascii, tt.ok)
			}
		})
	}
}

// FuzzAddress holds that an address that passes is one path in a command and nothing besides.
func FuzzAddress(f *testing.F) {
	for _, tt := range addresses {
		f.Add(tt.address)
	}
	f.Fuzz(func(t *testing.T, address string) {
		local, domain := smtp.SplitAddress(address)
		if joined := local + "@" + domain; joined != address && local != address {
			t.Errorf("SplitAddress(%q): got %q, %q", address, local, domain)
		}
		if ascii, err := smtp.ASCIIDomain(domain); err == nil {
			if strings.Trim(ascii, "abcdefghijklmnopqrstuvwxyz0123456789-_.[]:") != "" || ascii == "" {
				t.Errorf("ASCIIDomain(%q): got %q", domain, ascii)
			}
			if again, err := smtp.ASCIIDomain(ascii); again != ascii || err != nil {
				t.Errorf("ASCIIDomain(%q): got %q, %v", ascii, again, err)
			}
		}
		if smtp.CheckAddress(address) != nil {
			return
		}
		rcpt, err := smtp.ParseRcpt("TO:<" + address + ">")
		if err != nil || rcpt != (smtp.Recipient{Address: address}) {
			t.Errorf("%q in RCPT: got %+v, %v", address, rcpt, err)
		}
		if strings.ContainsAny(address, "\r\n\x00") {
			t.Errorf("%q passed", address)
		}
		if ascii, ok := smtp.ASCIIAddress(address); ok && (smtp.NeedsUTF8(ascii) || smtp.CheckAddress(ascii) != nil && len(ascii) <= 500) {
			t.Errorf("ASCIIAddress(%q): got %q", address, ascii)
		}
	})
}

func BenchmarkASCIIDomain(b *testing.B) {
	for _, domain := range []string{"mx1.example.net", "MX1.Example.NET", "bücher.example"} {
		b.Run(domain, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := smtp.ASCIIDomain(domain); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCheckAddress(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if err := smtp.CheckAddress("ann.example@mx1.example.net"); err != nil {
			b.Fatal(err)
		}
	}
}
