package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	noName    = "! no such name, NXDOMAIN, not found"
	noRecords = "! no such records, not found"
	malformed = "! the answer was malformed, temporary (-1ns)"
	tooMany   = "! the aliases (CNAME) are too many, or a loop, temporary (-1ns)"
)

// chain returns n aliases from a0.test. on, without the last record.
func chain(n int) []string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("a%d.test. 60 CNAME a%d.test.", i, i+1))
	}
	return list
}

// sixArpa is the name of 2001:db8::cb01.
const sixArpa = "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa."

// TestLookup: one server, and what its answers mean.
func TestLookup(t *testing.T) {
	const mx = "example.net. 300 MX 10 mx.example.net."
	tests := []struct {
		name, kind, ask string
		server          func(*call)
		want            string
		queries         int // if zero, 1
	}{
		{name: "MX", server: says(mx), want: "10 mx.example.net. (5m0s)"},
		{name: "MX, no dot", ask: "example.net", server: says(mx), want: "10 mx.example.net. (5m0s)"},
		{name: "MX, case", ask: "EXAMPLE.net", server: says("Example.NET. 300 MX 10 MX.example.net."), want: "10 mx.example.net. (5m0s)"},
		{name: "MX, sorted, lowest TTL", server: says("example.net. 300 MX 20 b.", "example.net. 30 MX 5 a.", "example.net. 60 MX 10 c."), want: "5 a., 10 c., 20 b. (30s)"},
		{name: "null MX", server: says("example.net. 300 MX 0 ."), want: "0 . (5m0s)"},
		{name: "of the root", ask: ".", server: says(". 300 MX 10 mx.example.net."), want: "10 mx.example.net. (5m0s)"},
		{name: "A", kind: "ip4", server: says("example.net. 300 A 192.0.2.1", "example.net. 60 A 192.0.2.2"), want: "192.0.2.1, 192.0.2.2 (1m0s)"},
		{name: "AAAA", kind: "ip6", server: says("example.net. 300 AAAA 2001:db8::1"), want: "2001:db8::1 (5m0s)"},
		{name: "AAAA, mapped", kind: "ip6", server: says("example.net. 300 AAAA ::ffff:192.0.2.1"), want: "::ffff:192.0.2.1 (5m0s)"},
		{name: "TXT", kind: "TXT", server: says("example.net. 300 TXT v=spf1 -all", "example.net. 300 TXT x"), want: `"v=spf1-all", "x" (5m0s)`},
		{name: "PTR", kind: "PTR", ask: "192.0.2.10", server: byName(map[string]func(*call){"10.2.0.192.in-addr.arpa.": says("10.2.0.192.in-addr.arpa. 300 PTR Mail.example.net.", "10.2.0.192.in-addr.arpa. 60 PTR b.")}), want: `mail.example.net., b. (1m0s)`},
		{name: "PTR, mapped", kind: "PTR", ask: "::ffff:192.0.2.10", server: says("10.2.0.192.in-addr.arpa. 300 PTR a."), want: `a. (5m0s)`},
		{name: "PTR, IPv6", kind: "PTR", ask: "2001:db8::cb01%eth0", server: says(sixArpa + " 300 PTR a."), want: `a. (5m0s)`},
		{name: "PTR, alias", kind: "PTR", ask: "192.0.2.10", server: says("10.2.0.192.in-addr.arpa. 300 CNAME 10.0-63.2.0.192.in-addr.arpa.", "10.0-63.2.0.192.in-addr.arpa. 60 PTR a."), want: `a. (1m0s)`},
		{name: "TLSA", kind: "TLSA", ask: "_25._tcp.example.net", server: says("_25._tcp.example.net. 300 RAW 52 0301010a0b", "_25._tcp.example.net. 60 RAW 52 02000100"), want: "3 1 1 0a0b, 2 0 1 00 (1m0s)"},
		{name: "TLSA, alias", kind: "TLSA", ask: "_25._tcp.a.test", server: says("_25._tcp.a.test. 60 CNAME t.test.", "t.test. 300 RAW 52 0301010a0b"), want: "3 1 1 0a0b (1m0s)"},
		{name: "TLSA, one of two is too short", kind: "TLSA", server: says("example.net. 300 RAW 52 030101", "example.net. 300 RAW 52 0301010b"), want: "3 1 1 0b (5m0s)"},
		{name: "TLSA, too short", kind: "TLSA", server: says("example.net. 300 RAW 52 030101"), queries: 4, want: malformed},
		{name: "TLSA, none", kind: "TLSA", server: says("--", "example.net. 900 SOA 60"), want: noRecords + " (1m0s)"},
		{name: "CNAME", kind: "CNAME", server: says("example.net. 20 CNAME A.test.", "a.test. 10 CNAME b.test."), want: "a.test. (20s)"},
		{name: "CNAME, none", kind: "CNAME", server: says("--", "example.net. 900 SOA 60"), want: noRecords + " (1m0s)"},
		{name: "CNAME of another", kind: "CNAME", server: says("a.test. 10 CNAME b.test."), want: noRecords + " (0s)"},
		{name: "TTL zero", server: says("example.net. 0 MX 10 a."), want: "10 a. (0s)"},
		{name: "greatest TTL", server: says("example.net. 2147483647 MX 10 a."), want: "10 a. (596523h14m7s)"},
		{name: "TTL with the highest bit", server: says("example.net. 2147483648 MX 10 a."), want: "10 a. (0s)"},

		// Negative answers.
		{name: "NXDOMAIN", server: code(3, "--", "net. 900 SOA 60"), want: noName + " (1m0s)"},
		{name: "NXDOMAIN, TTL of the SOA", server: code(3, "--", "net. 30 SOA 60"), want: noName + " (30s)"},
		{name: "NXDOMAIN, no SOA", server: code(3), want: noName + " (0s)"},
		{name: "NXDOMAIN, SOA of the root", server: code(3, "--", ". 900 SOA 60"), want: noName + " (1m0s)"},
		{name: "NXDOMAIN, SOA of another zone", server: code(3, "--", "ple.net. 900 SOA 60"), want: noName + " (0s)"},
		{name: "NXDOMAIN, SOA of a zone below", server: code(3, "--", "a.example.net. 900 SOA 60"), want: noName + " (0s)"},
		{name: "NXDOMAIN beside records", server: code(3, mx, "--", "net. 900 SOA 60"), want: noName + " (1m0s)"},
		{name: "no data", server: says("--", "example.net. 900 SOA 60"), want: noRecords + " (1m0s)"},
		{name: "no data, no SOA", server: says(), want: noRecords + " (0s)"},
		{name: "no data, other types", kind: "ip6", server: says("example.net. 60 A 192.0.2.1", "--", "example.net. 900 SOA 60"), want: noRecords + " (1m0s)"},
		{name: "no data, short SOA", server: says("--", "example.net. 900 RAW 6 00"), want: noRecords + " (0s)"},
		{name: "no data, a dot in the mailbox of the SOA", server: says("--", "example.net. 900 RAW 6 0003612e6200"+strings.Repeat("00000001", 4)+"0000003c"), want: noRecords + " (1m0s)"},

		// Records of others.
		{name: "another owner", server: says("example.org. 300 MX 10 evil.", mx), want: "10 mx.example.net. (5m0s)"},
		{name: "only another owner", server: says("example.org. 300 MX 10 evil."), want: noRecords + " (0s)"},
		{name: "owner below", server: says("a.example.net. 300 MX 10 evil."), want: noRecords + " (0s)"},
		{name: "another class", server: changed(func(m *dnsmessage.Message) { m.Answers[0].Header.Class = dnsmessage.ClassCHAOS }, mx), want: noRecords + " (0s)"},
		{name: "in another section", server: says("--", mx), want: noRecords + " (0s)"},

		// Aliases.
		{name: "alias", server: says("example.net. 20 CNAME a.test.", "a.test. 300 MX 10 b."), want: "10 b. (20s)"},
		{name: "alias, last", server: says("a.test. 300 MX 10 b.", "example.net. 20 CNAME a.test."), want: "10 b. (20s)"},
		{name: "alias, other case", server: says("EXAMPLE.net. 20 CNAME A.test.", "a.TEST. 300 MX 10 b."), want: "10 b. (20s)"},
		{name: "aliases, in any order", ask: "a0.test", server: says(append(backward(chain(3)), "a3.test. 300 MX 10 b.")...), want: "10 b. (1m0s)"},
		{name: "alias beside the record", server: says("example.net. 20 CNAME a.test.", mx), want: "10 mx.example.net. (5m0s)"},
		{name: "alias to NXDOMAIN", server: code(3, "example.net. 20 CNAME a.test.", "--", "test. 900 SOA 60"), want: noName + " (20s)"},
		{name: "alias to no data", server: says("example.net. 20 CNAME a.test.", "--", "a.test. 900 SOA 60"), want: noRecords + " (20s)"},
		{name: "alias to a name of another's records", server: says("example.net. 20 CNAME a.test.", "b.test. 20 MX 10 evil.", "--", "a.test. 900 SOA 60"), want: noRecords + " (20s)"},
		{name: "11 aliases", ask: "a0.test", server: says(append(chain(11), "a11.test. 300 MX 10 b.")...), want: "10 b. (1m0s)"},
		{name: "12 aliases", ask: "a0.test", server: says(append(chain(12), "a12.test. 300 MX 10 b.")...), want: tooMany},
		{name: "alias of itself", server: says("example.net. 20 CNAME example.net."), want: tooMany},
		{name: "aliases in a loop", server: says("example.net. 20 CNAME a.test.", "a.test. 20 CNAME example.net."), want: tooMany},
		{name: "bare alias", queries: 2, server: byName(map[string]func(*call){"example.net.": says("example.net. 20 CNAME a.test."), "a.test.": says("a.test. 300 MX 10 b.")}), want: "10 b. (20s)"},
		{name: "bare alias, no such name", queries: 2, server: byName(map[string]func(*call){"example.net.": says("example.net. 20 CNAME a.test.")}), want: noName + " (0s)"},
		{name: "bare alias, no data", queries: 2, server: byName(map[string]func(*call){"example.net.": says("example.net. 20 CNAME a.test."), "a.test.": says()}), want: noRecords + " (0s)"},
		{name: "bare aliases in a loop", queries: 2, server: byName(map[string]func(*call){"example.net.": says("example.net. 20 CNAME a.test."), "a.test.": says("a.test. 20 CNAME example.net.")}), want: tooMany},
		{name: "bare aliases without end", queries: 12, ask: "a0.test", server: func(c *call) {
			n := 0
			fmt.Sscanf(strings.ToLower(c.Questions[0].Name.String()), "a%d", &n)
			says(fmt.Sprintf("a%d.test. 60 CNAME a%d.test.", n, n+1))(c)
		}, want: tooMany},
		{name: "alias to an invalid name", server: says("example.net. 20 CNAME a\x00b.test."), queries: 4, want: malformed},

		// Records that can't be read.
		{name: "A of 3 octets", kind: "ip4", server: says("example.net. 300 RAW 1 c00002"), queries: 4, want: malformed},
		{name: "A of 16 octets", kind: "ip4", server: says("example.net. 300 RAW 1 " + strings.Repeat("20", 16)), queries: 4, want: malformed},
		{name: "AAAA of 4 octets", kind: "ip6", server: says("example.net. 300 RAW 28 c0000201"), queries: 4, want: malformed},
		{name: "one of two", kind: "ip4", server: says("example.net. 300 RAW 1 c00002", "example.net. 300 A 192.0.2.1"), want: "192.0.2.1 (5m0s)"},
		{name: "empty MX", server: says("example.net. 300 RAW 15 -"), queries: 4, want: malformed},
		{name: "MX with a dot in a label", server: says("example.net. 300 RAW 15 000a03612e6200", "example.net. 300 MX 20 b."), want: "20 b. (5m0s)"},
		{name: "MX with a control character", server: says("example.net. 300 MX 10 a\x01b.", "example.net. 300 MX 20 b."), want: "20 b. (5m0s)"},
		{name: "MX with a backslash only", server: says("example.net. 300 MX 10 a\\032b."), queries: 4, want: malformed},
		{name: "MX whose name points to itself", server: func(c *call) {
			msg := c.pack(nil, "example.net. 300 RAW 15 000ac000")
			binary.BigEndian.PutUint16(msg[len(msg)-2:], 0xc000|uint16(len(msg)-2))
			c.send(msg)
		}, queries: 4, want: malformed},
		{name: "PTR with a control character", kind: "PTR", ask: "192.0.2.10", server: says("10.2.0.192.in-addr.arpa. 300 PTR a\x01b.", "10.2.0.192.in-addr.arpa. 300 PTR c."), want: `c. (5m0s)`},
		{name: "PTR, none", kind: "PTR", ask: "192.0.2.10", server: code(3, "--", "arpa. 900 SOA 60"), want: noName + " (1m0s)"},
		{name: "PTR, a failure", kind: "PTR", ask: "192.0.2.10", server: code(2), queries: 2, want: "! the name server answered SERVFAIL, temporary (-1ns)"},
		{name: "empty TXT", kind: "TXT", server: says("example.net. 300 RAW 16 00"), want: `"" (5m0s)`},
		{name: "TXT beyond its end", kind: "TXT", server: says("example.net. 300 RAW 16 0561"), queries: 4, want: malformed},
		{name: "more records announced", server: func(c *call) {
			msg := c.pack(nil, mx)
			msg[7] = 2 // ANCOUNT
			c.send(msg)
		}, queries: 4, want: malformed},

		// Names about which no server is asked.
		{name: "no address", kind: "PTR", ask: "mail.example.net", queries: -1, want: "! not an IP address, not found (596523h14m7s)"},
		{name: "empty name", ask: "-", queries: -1, want: "! not a valid name, not found (596523h14m7s)"},
		{name: "empty label", ask: "a..test", queries: -1, want: "! not a valid name, not found (596523h14m7s)"},
		{name: "space", ask: "a b.test", queries: -1, want: "! not a valid name, not found (596523h14m7s)"},
		{name: "no ASCII", ask: "bücher.test", queries: -1, want: "! not a valid name, not found (596523h14m7s)"},
		{name: "label of 64", ask: strings.Repeat("a", 64) + ".test", queries: -1, want: "! not a valid name, not found (596523h14m7s)"},
		{name: "255 octets of text", ask: strings.Repeat("a.", 127) + "b", queries: -1, want: "! not a valid name, not found (596523h14m7s)"},
		{name: "254 octets of text", ask: strings.Repeat("a.", 126) + "b.", server: says(), want: noRecords + " (0s)"},
		{name: "label of 63", ask: strings.Repeat("a", 63) + ".test", server: says(), want: noRecords + " (0s)"},
		{name: "IPv4 address", kind: "ip", ask: "192.0.2.1", queries: -1, want: "192.0.2.1 (596523h14m7s)"},
		{name: "IPv4 address as IPv6", kind: "ip6", ask: "192.0.2.1", queries: -1, want: "! no such records, not found (596523h14m7s)"},
		{name: "localhost", kind: "ip", ask: "LocalHost.", queries: -1, want: "::1, 127.0.0.1 (596523h14m7s)"},
		{name: "below localhost", kind: "ip4", ask: "a.localhost", queries: -1, want: "127.0.0.1 (596523h14m7s)"},
		{name: "MX of localhost", ask: "localhost", queries: -1, want: "! no such records, not found (596523h14m7s)"},
		{name: "network", kind: "tcp", queries: -1, want: "! unknown network tcp (-1ns)"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServers(t, map[string]func(*call){"192.0.2.53": test.server})
				r := &Resolver{Servers: []string{"192.0.2.53"}, Dial: s.Dial}
				if test.kind == "" {
					test.kind = "MX"
				}
				switch test.ask {
				case "":
					test.ask = "example.net."
				case "-":
					test.ask = ""
				}
				if got := result(t.Context(), r, test.kind, test.ask); got != test.want {
					t.Errorf("got %s, want %s", got, test.want)
				}
				switch test.queries {
				case 0:
					test.queries = 1
				case -1:
					test.queries = 0
				}
				if asked := s.queries(); len(asked) != test.queries {
					t.Errorf("got queries %q, want %d", asked, test.queries)
				}
			})
		})
	}
}

// TestServers: several servers, which fail in all manners.
func TestServers(t *testing.T) {
	const mx = "example.net. 300 MX 10 mx.example.net."
	const good = "10 mx.example.net. (5m0s)"
	truncated := changed(func(m *dnsmessage.Message) { m.Truncated = true }, mx)
	noEDNS := func(rcode dnsmessage.RCode) func(*call) {
		return func(c *call) {
			if len(c.Additionals) > 0 {
				code(rcode)(c)
			} else {
				says(mx)(c)
			}
		}
	}
	lowered := changed(func(m *dnsmessage.Message) {
		m.Questions[0].Name = dnsmessage.MustNewName(strings.ToLower(m.Questions[0].Name.String()))
	}, mx)
	// first has the server send something before its answer.
	first := func(f func(c *call, msg []byte)) func(*call) {
		return func(c *call) {
			f(c, c.pack(nil, "example.net. 300 MX 10 evil."))
			says(mx)(c)
		}
	}
	broken := func(c *call) {
		msg := c.pack(nil, mx)
		c.send(msg[:len(msg)-3])
	}
	closes := func(c *call) {}
	// megabyte has the server send some octets and then a megabyte, of which the client must not take more than one message.
	megabyte := func(begin func(*call) []byte) func(*call) {
		return func(c *call) {
			c.conn.Write(begin(c))
			if n, _ := c.conn.Write(make([]byte, 1<<20)); n > 1<<16 {
				c.fail("%d octets were read", n)
			}
		}
	}
	lame := changed(func(m *dnsmessage.Message) { m.RecursionAvailable = false }, "--", "net. 300 NS ns.example.")
	tests := []struct {
		name     string
		first    func(*call) // 192.0.2.1
		second   func(*call) // 192.0.2.2; closes: not there
		resolver Resolver
		want     string
		asked    string // with "MX" for "example.net. MX" and 1 and 2 for the servers
		took     time.Duration
	}{
		{name: "the first", first: says(mx), second: says(), want: good, asked: "udp 1"},
		{name: "no answer", second: says(mx), want: good, asked: "udp 1, udp 2", took: 5 * time.Second},
		{name: "no answer, own time-out", second: says(mx), resolver: Resolver{Timeout: time.Second}, want: good, asked: "udp 1, udp 2", took: time.Second},
		{name: "no answer of both", want: "! the name server did not answer in time, timeout, temporary (-1ns)",
			asked: "udp 1, udp 2, udp 1 plain, udp 2 plain", took: 20 * time.Second},
		{name: "no answer of both, once", resolver: Resolver{Attempts: 1, Timeout: time.Second}, want: "! the name server did not answer in time, timeout, temporary (-1ns)",
			asked: "udp 1, udp 2", took: 2 * time.Second},
		{name: "SERVFAIL", first: code(2), second: says(mx), want: good, asked: "udp 1, udp 2"},
		{name: "REFUSED", first: code(5), second: says(mx), want: good, asked: "udp 1, udp 2"},
		{name: "unknown error", first: code(9), second: says(mx), want: good, asked: "udp 1, udp 2"},
		{name: "SERVFAIL beside a record", first: code(2, mx), second: says(), want: noRecords + " (0s)", asked: "udp 1, udp 2"},
		{name: "SERVFAIL, then no answer", first: code(2), want: "! the name server answered SERVFAIL, temporary (-1ns)",
			asked: "udp 1, udp 2, udp 1 plain, udp 2 plain", took: 10 * time.Second},
		{name: "no answer, then REFUSED", second: code(5), want: "! the name server answered REFUSED, temporary (-1ns)",
			asked: "udp 1, udp 2, udp 1 plain, udp 2 plain", took: 10 * time.Second},
		{name: "referral", first: lame, second: says(mx), want: good, asked: "udp 1, udp 2"},
		{name: "referrals only", first: lame, second: lame, resolver: Resolver{Attempts: 1}, want: "! the name server does not answer for this name, temporary (-1ns)", asked: "udp 1, udp 2"},
		{name: "NXDOMAIN is an answer", first: code(3), second: says(mx), want: noName + " (0s)", asked: "udp 1"},
		{name: "NXDOMAIN of a server that knows nothing", first: changed(func(m *dnsmessage.Message) { m.RecursionAvailable, m.RCode = false, 3 }), second: says(mx), want: good, asked: "udp 1, udp 2"},
		{name: "no data of the zone's server", first: changed(func(m *dnsmessage.Message) { m.RecursionAvailable, m.Authoritative = false, true }), want: noRecords + " (0s)", asked: "udp 1"},
		{name: "not there", second: says(mx), resolver: Resolver{Servers: []string{"192.0.2.9", "192.0.2.2"}}, want: good, asked: "udp 9 refused, udp 2"},
		{name: "none is there", resolver: Resolver{Servers: []string{"192.0.2.9"}}, want: "! the name server could not be reached, temporary (-1ns)", asked: "udp 9 refused, udp 9 refused"},
		{name: "closes", first: closes, second: says(mx), want: good, asked: "udp 1, udp 2"},

		// EDNS0.
		{name: "FORMERR", first: noEDNS(1), second: says(), want: good, asked: "udp 1, udp 1 plain"},
		{name: "NOTIMP", first: noEDNS(4), second: says(), want: good, asked: "udp 1, udp 1 plain"},
		{name: "FORMERR, the header alone", first: func(c *call) {
			if len(c.Additionals) == 0 {
				says(mx)(c)
				return
			}
			changed(func(m *dnsmessage.Message) { m.Questions, m.RCode = nil, 1 })(c)
		}, second: says(), want: good, asked: "udp 1, udp 1 plain"},
		{name: "NXDOMAIN, the header alone", first: changed(func(m *dnsmessage.Message) { m.Questions, m.RCode = nil, 3 }), second: says(mx), want: good, asked: "udp 1, udp 2"},
		{name: "BADVERS", first: func(c *call) {
			if len(c.Additionals) == 0 {
				says(mx)(c)
				return
			}
			changed(func(m *dnsmessage.Message) {
				var h dnsmessage.ResourceHeader
				h.SetEDNS0(512, 16, false)
				m.Additionals = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.OPTResource{}}}
			})(c)
		}, second: says(), want: good, asked: "udp 1, udp 1 plain"},
		{name: "FORMERR always", first: code(1), second: says(mx), want: good, asked: "udp 1, udp 1 plain, udp 2"},
		{name: "EDNS0 is dropped", first: func(c *call) {
			if len(c.Additionals) == 0 {
				says(mx)(c)
			}
		}, resolver: Resolver{Servers: []string{"192.0.2.1"}}, want: good, asked: "udp 1, udp 1 plain"},

		// TCP.
		{name: "truncated", first: byNetwork(truncated, says(mx)), second: says(), want: good, asked: "udp 1, tcp 1 plain"},
		{name: "truncated, no TCP", first: byNetwork(truncated, closes), second: says(mx), want: good, asked: "udp 1, tcp 1 plain, udp 2"},
		{name: "truncated by TCP, too", first: truncated, second: says(mx), want: good, asked: "udp 1, tcp 1 plain, udp 2"},
		{name: "truncated, TCP doesn't answer", first: byNetwork(truncated, func(c *call) { c.receive() }), second: says(mx), want: good, asked: "udp 1, tcp 1 plain, udp 2", took: 5 * time.Second},
		{name: "malformed", first: byNetwork(broken, says(mx)), second: says(), want: good, asked: "udp 1, tcp 1 plain"},
		{name: "malformed by TCP, too", first: broken, second: says(mx), want: good, asked: "udp 1, tcp 1 plain, udp 2"},
		{name: "TCP only", first: says(mx), resolver: Resolver{TCP: true}, want: good, asked: "tcp 1 plain"},
		{name: "TCP ends in the length", first: func(c *call) { c.conn.Write([]byte{1}) }, second: says(mx), resolver: Resolver{TCP: true}, want: good, asked: "tcp 1 plain, tcp 2 plain"},
		{name: "TCP ends in the message", first: func(c *call) { c.conn.Write([]byte{1, 0, 7}) }, second: says(mx), resolver: Resolver{TCP: true}, want: good, asked: "tcp 1 plain, tcp 2 plain"},
		{name: "slow by TCP", first: func(c *call) {
			msg := c.pack(nil, mx)
			for _, b := range append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...) {
				if _, err := c.conn.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}, second: says(mx), resolver: Resolver{TCP: true}, want: good, asked: "tcp 1 plain, tcp 2 plain", took: 5 * time.Second},
		{name: "a megabyte by TCP", first: megabyte(func(c *call) []byte { return []byte{0xff, 0xff} }), second: says(mx), resolver: Resolver{TCP: true}, want: good, asked: "tcp 1 plain, tcp 2 plain"},
		{name: "a megabyte after the answer", first: megabyte(func(c *call) []byte {
			msg := c.pack(nil, mx)
			return append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
		}), resolver: Resolver{TCP: true}, want: good, asked: "tcp 1 plain"},
		{name: "another name by TCP", first: changed(func(m *dnsmessage.Message) { m.Questions[0].Name = dnsmessage.MustNewName("example.org.") }, mx), second: says(mx), resolver: Resolver{TCP: true}, want: good, asked: "tcp 1 plain, tcp 2 plain"},
		{name: "another type by TCP", first: changed(func(m *dnsmessage.Message) { m.Questions[0].Type = dnsmessage.TypeA }, mx), second: says(mx), resolver: Resolver{TCP: true}, want: good, asked: "tcp 1 plain, tcp 2 plain"},
		{name: "empty message by TCP", first: func(c *call) { c.conn.Write([]byte{0, 0}) }, second: says(mx), resolver: Resolver{TCP: true}, want: good, asked: "tcp 1 plain, tcp 2 plain"},
		{name: "another ID by TCP", first: changed(func(m *dnsmessage.Message) { m.ID++ }, mx), second: says(mx), resolver: Resolver{TCP: true}, want: good, asked: "tcp 1 plain, tcp 2 plain"},
		{name: "lower case by TCP", first: lowered, resolver: Resolver{TCP: true}, want: good, asked: "tcp 1 plain"},

		// Forged answers.
		{name: "other case", first: byNetwork(lowered, says(mx)), second: says(), want: good, asked: "udp 1, tcp 1 plain"},
		{name: "other case, no TCP", first: byNetwork(lowered, closes), resolver: Resolver{Servers: []string{"192.0.2.1"}}, want: good, asked: "udp 1, tcp 1 plain, udp 1 plain"},
		{name: "another ID before", first: first(func(c *call, msg []byte) { msg[1]++; c.send(msg) }), want: good, asked: "udp 1"},
		{name: "ID zero before", first: first(func(c *call, msg []byte) {
			if c.ID != 0 {
				msg[0], msg[1] = 0, 0
				c.send(msg)
			}
		}), want: good, asked: "udp 1"},
		{name: "a query before", first: first(func(c *call, msg []byte) { msg[2] &^= 0x80; c.send(msg) }), want: good, asked: "udp 1"},
		{name: "another opcode before", first: first(func(c *call, msg []byte) { msg[2] |= 0x10; c.send(msg) }), want: good, asked: "udp 1"},
		{name: "another question before", first: first(func(c *call, msg []byte) { msg[13] ^= 1; c.send(msg) }), want: good, asked: "udp 1"},
		{name: "another type before", first: first(func(c *call, msg []byte) { msg[12+13+1] = 1; c.send(msg) }), want: good, asked: "udp 1"},
		{name: "another class before", first: first(func(c *call, msg []byte) { msg[12+13+3] = 3; c.send(msg) }), want: good, asked: "udp 1"},
		{name: "no question before", first: first(func(c *call, msg []byte) { msg[5] = 0; c.send(msg) }), want: good, asked: "udp 1"},
		{name: "two questions before", first: first(func(c *call, msg []byte) { msg[5] = 2; c.send(msg) }), want: good, asked: "udp 1"},
		{name: "a few octets before", first: first(func(c *call, msg []byte) { c.send(msg[:5]) }), want: good, asked: "udp 1"},
		{name: "99 others before", first: first(func(c *call, msg []byte) {
			msg[1]++
			for range 99 {
				c.send(msg)
			}
		}), want: good, asked: "udp 1"},
		{name: "100 others before", first: first(func(c *call, msg []byte) {
			if msg[1]++; c.network == "udp" {
				for range 100 {
					c.send(msg)
				}
			}
		}), want: good, asked: "udp 1, tcp 1 plain"},
		{name: "only others", first: changed(func(m *dnsmessage.Message) { m.ID++ }, mx), second: says(mx), want: good, asked: "udp 1, udp 2"},
	}
	for i := range tests {
		test := &tests[i]
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServers(t, map[string]func(*call){"192.0.2.1": test.first, "192.0.2.2": test.second})
				r := &test.resolver
				r.Dial = s.Dial
				if r.Servers == nil {
					r.Servers = []string{"192.0.2.1", "192.0.2.2:53"}
				}
				begin := time.Now()
				if got := result(t.Context(), r, "MX", "example.net."); got != test.want {
					t.Errorf("got %s, want %s", got, test.want)
				}
				if took := time.Since(begin); took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
				asked := strings.NewReplacer(" example.net. MX", "", "192.0.2.", "").Replace(strings.Join(s.queries(), ", "))
				if asked != test.asked {
					t.Errorf("asked %s, want %s", asked, test.asked)
				}
			})
		})
	}
}

// TestFamilies: a family that fails doesn't hide the other one.
func TestFamilies(t *testing.T) {
	a, aaaa := says("h.test. 300 A 192.0.2.1"), says("h.test. 60 AAAA 2001:db8::1")
	none := says("--", "h.test. 900 SOA 20")
	tests := []struct {
		name     string
		ip4, ip6 func(*call)
		want     string
	}{
		{"both", a, aaaa, "2001:db8::1, 192.0.2.1 (1m0s)"},
		{"one", a, none, "192.0.2.1 (20s)"},
		{"the other", none, aaaa, "2001:db8::1 (20s)"},
		{"AAAA fails", a, code(2), "192.0.2.1 (-1ns)"},
		{"A fails", code(2), aaaa, "2001:db8::1 (-1ns)"},
		{"AAAA isn't answered", a, nil, "192.0.2.1 (-1ns)"},
		{"no such name", code(3), code(3), noName + " (0s)"},
		{"no such name by AAAA", a, code(3), "192.0.2.1 (0s)"},
		{"no A, AAAA fails", none, code(2), "! the name server answered SERVFAIL, temporary (-1ns)"},
		{"A fails, no AAAA", code(2), none, "! the name server answered SERVFAIL, temporary (-1ns)"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServers(t, map[string]func(*call){"192.0.2.53": func(c *call) {
					do := test.ip4
					if c.Questions[0].Type == dnsmessage.TypeAAAA {
						do = test.ip6
					}
					if do != nil {
						do(c)
					} else {
						c.receive()
					}
				}})
				r := &Resolver{Servers: []string{"192.0.2.53"}, Dial: s.Dial}
				if got := result(t.Context(), r, "ip", "h.test"); got != test.want {
					t.Errorf("got %s, want %s", got, test.want)
				}
			})
		})
	}
}

// TestUnpredictable: IDs and the case of names differ from query to query, the latter by UDP only.
func TestUnpredictable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServers(t, map[string]func(*call){"192.0.2.53": says()})
		r := &Resolver{Servers: []string{"192.0.2.53"}, Dial: s.Dial}
		const name = "a-name-with-many-letters.example.net."
		for range 100 {
			r.LookupTXT(t.Context(), name)
		}
		if len(s.ids) < 90 || len(s.names) < 90 {
			t.Errorf("got %d IDs and %d forms of the name in 100 queries", len(s.ids), len(s.names))
		}
		clear(s.names)
		r.TCP = true
		r.LookupTXT(t.Context(), name)
		if !s.names[name] {
			t.Errorf("by TCP: got %v, want %s", s.names, name)
		}
	})
}

func TestRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServers(t, map[string]func(*call){"192.0.2.1": says(), "192.0.2.2": says(), "192.0.2.3": code(2)})
		r := &Resolver{Servers: []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}, Rotate: true, Dial: s.Dial}
		for range 4 {
			r.LookupMX(t.Context(), "x.test")
		}
		got := strings.NewReplacer("udp 192.0.2.", "", " x.test. MX", "").Replace(strings.Join(s.queries(), " "))
		if want := "1 2 3 1 1"; got != want {
			t.Errorf("got servers %s, want %s", got, want)
		}
	})
}

// TestContext: the end of ctx ends a lookup at once, by UDP and TCP.
func TestContext(t *testing.T) {
	for _, tcp := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newServers(t, map[string]func(*call){"192.0.2.1": nil, "192.0.2.2": nil})
			r := &Resolver{Servers: []string{"192.0.2.1", "192.0.2.2"}, TCP: tcp, Dial: s.Dial}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			begin := time.Now()
			_, err := r.LookupMX(ctx, "example.net")
			if took := time.Since(begin); took != 2*time.Second || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("deadline: got %v after %v, want its end after 2s", err, took)
			}
			if got, want := describe(err), "the name server did not answer in time, timeout, temporary"; got != want {
				t.Errorf("deadline: got %s, want %s", got, want)
			}
			ctx, cancel = context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			_, err = r.LookupMX(ctx, "example.net")
			if got, want := describe(err), "the lookup was cancelled, temporary"; got != want || !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: got %s, want %s", got, want)
			}
			asked := len(s.queries())
			if _, err = r.LookupMX(ctx, "example.net"); !errors.Is(err, context.Canceled) || len(s.queries()) != asked {
				t.Errorf("cancelled before: got %v and %d queries, want none", err, len(s.queries())-asked)
			}
		})
	}
}

// TestPhrases: what reaches a report has no address of ours or of the name server.
func TestPhrases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServers(t, map[string]func(*call){"192.0.2.1": nil, "192.0.2.2": code(2)})
		for _, server := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
			r := &Resolver{Servers: []string{server}, Dial: s.Dial}
			_, err := r.LookupMX(t.Context(), "example.net.")
			dns, ok := errors.AsType[*net.DNSError](err)
			if !ok || strings.ContainsAny(dns.Err, ":>0123456789") || dns.Server != server+":53" || dns.Name != "example.net." {
				t.Errorf("got %#v, want a phrase, the server and the name", err)
			}
		}
	})
}

func backward(list []string) []string {
	slices.Reverse(list)
	return list
}
