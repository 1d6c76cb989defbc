package dns

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// script is a name server whose answers a fuzzer makes up, and the connection to it at the same time. Its octets are
// pieces: flags, a length in units of 4 octets, and so many octets. By UDP each piece is a datagram, and by TCP all of
// them are one stream.
type script struct {
	net.Conn // nil: no other methods are called
	pieces   []byte
	tcp      bool
	query    []byte // without its length
	stream   bytes.Buffer
	seen     *seen
}

// seen is what scripts have seen and done.
type seen struct {
	dials, datagrams, octets int
	ours                     bool // a response with the ID of its query was sent
	authentic                bool // and one with AD
}

// Flags of a piece.
const (
	answers    = 1 << iota // its octets are flags, counts and records, between which ID and question are as in the query
	sameID                 // its octets are a message, with the ID of the query
	withLength             // by TCP its length comes before it
)

func (s *script) SetDeadline(time.Time) error { return nil }
func (s *script) Close() error                { return nil }

func (s *script) Write(b []byte) (int, error) {
	s.query = bytes.Clone(b)
	if s.tcp {
		s.query = s.query[2:]
		for msg, ok := s.next(); ok; msg, ok = s.next() {
			s.stream.Write(msg)
		}
	}
	return len(b), nil
}

func (s *script) Read(b []byte) (int, error) {
	if s.tcp {
		n, err := s.stream.Read(b)
		s.seen.octets += n
		return n, err
	}
	msg, ok := s.next()
	if !ok {
		return 0, os.ErrDeadlineExceeded
	}
	s.seen.datagrams++
	return copy(b, msg), nil
}

// next returns the next piece as it is sent.
func (s *script) next() (msg []byte, ok bool) {
	if len(s.pieces) < 2 {
		return nil, false
	}
	flags, end := s.pieces[0], min(2+int(s.pieces[1])*4, len(s.pieces))
	msg, s.pieces = bytes.Clone(s.pieces[2:end]), s.pieces[end:]
	switch {
	case flags&answers != 0 && len(msg) >= 8:
		question := s.query[12 : 12+bytes.IndexByte(s.query[12:], 0)+5]
		msg = slices.Concat(s.query[:2], msg[:2], []byte{0, 1}, msg[2:8], question, msg[8:])
		msg[2] |= 0x80
	case flags&sameID != 0:
		copy(msg, s.query[:2])
	}
	if len(msg) > 3 && bytes.Equal(msg[:2], s.query[:2]) && msg[2]&0x80 != 0 {
		s.seen.ours, s.seen.authentic = true, s.seen.authentic || msg[3]&0x20 != 0
	}
	if s.tcp && flags&withLength != 0 {
		msg = append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
	}
	return msg, true
}

// piece returns a piece of a script.
func piece(flags byte, octets ...byte) []byte {
	octets = append(octets, make([]byte, -len(octets)&3)...)
	return append([]byte{flags, byte(len(octets) / 4)}, octets...)
}

// asAnswer returns the piece for an answer with records, with these flags in the header.
func asAnswer(flags byte, header uint16, records ...string) []byte {
	msg := (&call{}).pack(nil, records...)
	return piece(flags|answers, slices.Concat(binary.BigEndian.AppendUint16(nil, header), msg[6:12], msg[12:])...)
}

// FuzzServer: whatever a server sends, a lookup ends with an answer or an error, within its bounds. An answer comes from
// a response with the ID of its query, and isn't authentic without AD and without trust in the server.
func FuzzServer(f *testing.F) {
	kinds := []dnsmessage.Type{dnsmessage.TypeMX, dnsmessage.TypeA, dnsmessage.TypeTXT, dnsmessage.TypeCNAME, typeTLSA}
	const mx, tlsa = "example.net. 300 MX 10 a.", "example.net. 300 RAW 52 0301010a0b"
	const ok, secure, truncated, servfail, nxdomain = 0x8180, 0x81a0, 0x8380, 0x8182, 0x81a3
	plain := &call{Message: dnsmessage.Message{Header: dnsmessage.Header{ID: 0x0102}, Questions: []dnsmessage.Question{
		{Name: dnsmessage.MustNewName("example.net."), Type: dnsmessage.TypeMX, Class: dnsmessage.ClassINET}}}}
	forged := plain.pack(func(m *dnsmessage.Message) { m.AuthenticData = true }, mx)
	for i, pieces := range [][2][]byte{
		{asAnswer(0, ok, mx), nil},
		{asAnswer(0, truncated, mx), asAnswer(withLength, secure, mx)},
		{asAnswer(0, servfail), nil},
		{piece(0, make([]byte, 12)...), asAnswer(withLength, nxdomain, "--", "net. 900 SOA 60")},
		{slices.Concat(piece(sameID, 0, 0, 0x81, 0x80), asAnswer(0, secure, tlsa)), nil},
		{asAnswer(0, secure, "example.net. 60 CNAME example.net."), nil},
		{asAnswer(0, secure, "example.net. 60 CNAME a.example.net."), nil},
		{asAnswer(0, ok, "example.net. 300 RAW 15 000ac00c", "example.net. 300 RAW 15 000ac0ff"), piece(0, 0xff, 0xff, 1)},
		{bytes.Repeat(piece(0, 1, 2, 3, 4), 200), nil},
		{piece(0, forged...), piece(withLength, forged...)},
		{asAnswer(0, truncated), piece(withLength, forged...)},
	} {
		for _, kind := range []uint8{0, uint8(i), 4} {
			f.Add(pieces[0], pieces[1], kind, true)
			f.Add(pieces[0], pieces[1], kind, false)
		}
	}
	f.Fuzz(func(t *testing.T, udp, tcp []byte, kind uint8, trust bool) {
		did := new(seen)
		r := &Resolver{Servers: []string{"192.0.2.53"}, TrustAD: trust, Dial: func(_ context.Context, network, _ string) (net.Conn, error) {
			did.dials++
			if network == "tcp" {
				return &script{pieces: tcp, tcp: true, seen: did}, nil
			}
			return datagrams{&script{pieces: udp, seen: did}}, nil
		}}
		a, err := r.lookup(t.Context(), "example.net", kinds[int(kind)%len(kinds)])
		if (err == nil || isNotFound(err)) && !did.ours {
			t.Errorf("got %+v, %v, without a response to the query", a, err)
		}
		if a.authentic && (!trust || !did.authentic) || err != nil && !isNotFound(err) && (a.authentic || !a.empty()) {
			t.Errorf("got %+v, %v, trusted %t, AD sent %t", a, err, trust, did.authentic)
		}
		// Two rounds, each by UDP, without EDNS and by TCP, for each alias.
		if most := 2 * 3 * (maxAliases + 1); did.dials > most || did.datagrams > did.dials*maxDatagrams || did.octets > did.dials*(2+1<<16) {
			t.Errorf("got %+v", did)
		}
	})
}

// TestMemory: the largest messages that a server can send take a few megabytes to read.
func TestMemory(t *testing.T) {
	long := strings.Repeat(strings.Repeat("a", 62)+".", 4) // 253 octets
	for _, tt := range []struct {
		name   string
		kind   dnsmessage.Type
		record string // each has its owner compressed
	}{
		{"MX with long names", dnsmessage.TypeMX, "example.net. 300 MX 10 " + long},
		{"aliases with long names", dnsmessage.TypeMX, "example.net. 300 CNAME " + long},
		{"addresses", dnsmessage.TypeA, "example.net. 300 A 192.0.2.1"},
		{"empty strings", dnsmessage.TypeTXT, "example.net. 300 RAW 16 " + strings.Repeat("00", 30_000)},
		{"TLSA", typeTLSA, "example.net. 300 RAW 52 03010100"},
		{"records of others", dnsmessage.TypeMX, "example.org. 300 RAW 99 00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := seed(t, tt.kind, true)
			c := &call{Message: dnsmessage.Message{Header: dnsmessage.Header{ID: q.id}, Questions: []dnsmessage.Question{{Name: q.sent, Type: q.kind, Class: dnsmessage.ClassINET}}}}
			one, two := len(c.pack(nil, tt.record)), len(c.pack(nil, tt.record, tt.record))
			msg := c.pack(nil, slices.Repeat([]string{tt.record}, 1+(1<<16-1-one)/(two-one))...)
			if len(msg) > 1<<16-1 || len(msg) < 1<<15 {
				t.Fatalf("got a message of %d octets", len(msg))
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			var p dnsmessage.Parser
			h, of := q.start(&p, msg)
			a, err := q.read(&p, h)
			runtime.ReadMemStats(&after)
			if of != ours || err != nil && err != errMalformed {
				t.Errorf("got %v, %v", of, err)
			}
			took := after.TotalAlloc - before.TotalAlloc
			t.Logf("%d octets, %d allocated", len(msg), took)
			if took > 8<<20 {
				t.Errorf("got %d octets allocated for %d, %d records", took, len(msg), len(a.mx)+len(a.ip)+len(a.txt)+len(a.tlsa))
			}
		})
	}
}
