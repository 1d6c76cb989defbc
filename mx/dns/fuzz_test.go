package dns

import (
	"math"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// seed returns a query whose ID and case don't change, with the messages that answer it.
func seed(t testing.TB, kind dnsmessage.Type, plain bool) *query {
	q, err := newQuery(question{name: "example.net.", kind: kind, plain: plain, proof: plain})
	if err != nil {
		t.Fatal(err)
	}
	q.id, q.sent = 0x1234, dnsmessage.MustNewName("example.net.")
	if !plain {
		q.sent = dnsmessage.MustNewName("eXample.nEt.")
	}
	return q
}

// FuzzAnswer reads a message from a server. What it finds in it has bounds, and answers the question.
func FuzzAnswer(f *testing.F) {
	kinds := []dnsmessage.Type{dnsmessage.TypeMX, dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeTXT, dnsmessage.TypePTR, typeTLSA, dnsmessage.TypeCNAME}
	for i, records := range [][]string{
		{"example.net. 300 MX 10 mx.example.net.", "example.net. 300 MX 20 .", "example.net. 60 MX 10 a\x01b."},
		{"example.net. 60 CNAME a.example.net.", "a.example.net. 300 A 192.0.2.1", "example.net. 300 RAW 1 00"},
		{"example.net. 60 CNAME a.test.", "a.test. 60 CNAME example.net.", "example.net. 300 AAAA 2001:db8::1", "--", "net. 900 SOA 60"},
		{"example.net. 2147483648 TXT a b", "--", "net. 300 NS ns.example."},
		{"example.net. 60 CNAME a.test.", "a.test. 300 PTR b.", "a.test. 300 PTR a\x01b."},
		{"example.net. 60 CNAME a.test.", "a.test. 300 RAW 52 0301010a0b", "a.test. 300 RAW 52 030101"},
		{"example.net. 60 CNAME a.test.", "a.test. 60 CNAME b.test."},
	} {
		q := seed(f, kinds[i], false)
		c := &call{Message: dnsmessage.Message{Header: dnsmessage.Header{ID: q.id}, Questions: []dnsmessage.Question{{Name: q.sent, Type: q.kind, Class: dnsmessage.ClassINET}}}}
		f.Add(uint8(i), false, c.pack(nil, records...))
		f.Add(uint8(i), true, c.pack(func(m *dnsmessage.Message) {
			var h dnsmessage.ResourceHeader
			h.SetEDNS0(512, 16, false)
			m.AuthenticData = true
			m.Additionals = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.OPTResource{}}}
		}, records...))
	}
	f.Fuzz(func(t *testing.T, kind uint8, plain bool, msg []byte) {
		q := seed(t, kinds[int(kind)%len(kinds)], plain)
		var p dnsmessage.Parser
		h, of := q.start(&p, msg)
		if of == another {
			return
		}
		if len(msg) < 12 || msg[0] != 0x12 || msg[1] != 0x34 || msg[2]>>3 != 0x80>>3 {
			t.Fatalf("took % x, which is no answer", msg[:min(len(msg), 12)])
		}
		a, err := q.read(&p, h)
		if err != nil {
			if _, ok := err.(RCode); !ok && err != errLame && err != errMalformed {
				t.Errorf("got %T %v, want one of three", err, err)
			}
			return
		}
		if a.ttl < 0 || a.ttl > math.MaxInt32*time.Second || len(a.aliases) > maxAliases+1 {
			t.Errorf("got TTL %v and %d aliases, want bounds", a.ttl, len(a.aliases))
		}
		if len(a.mx) > 0 && q.kind != dnsmessage.TypeMX || len(a.txt) > 0 && q.kind != dnsmessage.TypeTXT || len(a.ptr) > 0 && q.kind != dnsmessage.TypePTR ||
			len(a.tlsa) > 0 && q.kind != typeTLSA || a.cname != "" && (q.kind != dnsmessage.TypeCNAME || len(a.aliases) > 0) ||
			a.authentic != (q.proof && msg[3]&0x20 != 0) ||
			a.rcode == NXDomain && !a.empty() || a.open && (!a.empty() || len(a.aliases) == 0) {
			t.Errorf("got %+v for %v", a, q.kind)
		}
		for _, ip := range a.ip {
			if ip.Is4() != (q.kind == dnsmessage.TypeA) {
				t.Errorf("got %v for %v", ip, q.kind)
			}
		}
		for _, r := range a.tlsa {
			if len(r.Data) == 0 {
				t.Errorf("got %+v", r)
			}
		}
		names := append(a.aliases, a.ptr...)
		if a.cname != "" {
			names = append(names, a.cname)
		}
		for _, m := range a.mx {
			names = append(names, m.Host)
		}
		for _, name := range names {
			if !isValid(name) || strings.ToLower(name) != name {
				t.Errorf("got name %q", name)
			}
		}
		if n := len(a.mx) + len(a.ip) + len(a.txt) + len(a.ptr) + len(a.tlsa); n > len(msg)/10 {
			t.Errorf("got %d records from %d octets", n, len(msg))
		}
	})
}

// FuzzResolvConf: whatever the file says, there are servers and bounds.
func FuzzResolvConf(f *testing.F) {
	f.Add("nameserver 192.0.2.1\noptions timeout:3 attempts:2 rotate\n")
	f.Add("search a\nnameserver fe80::1%eth0\n#x\noptions\n")
	f.Fuzz(func(t *testing.T, text string) {
		c := parseResolvConf(text)
		if n := len(c.servers); n < 1 || n > maxServers || c.timeout < time.Second || c.timeout > maxTimeout || c.attempts < 1 || c.attempts > maxAttempts {
			t.Errorf("got %+v", c)
		}
		if err := (&Resolver{Servers: c.servers}).Check(); err != nil {
			t.Error(err)
		}
	})
}
