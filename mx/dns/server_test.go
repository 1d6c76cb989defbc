package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// servers are name servers in memory: what each does with a query, by address. A nil func doesn't answer.
type servers struct {
	t    *testing.T
	does map[string]func(*call)
	any  func(*call) // what all other servers do

	mu    sync.Mutex
	asked []string // "udp 192.0.2.53 example.net. MX", with " plain" if there is no EDNS0
	ids   map[uint16]bool
	names map[string]bool // as they were sent
	wg    sync.WaitGroup
}

// call is a query to a server.
type call struct {
	dnsmessage.Message
	network string
	server  string
	conn    net.Conn
	fail    func(format string, args ...any)
}

func newServers(t *testing.T, does map[string]func(*call)) *servers {
	s := &servers{t: t, does: does, ids: make(map[uint16]bool), names: make(map[string]bool)}
	t.Cleanup(s.wg.Wait)
	return s
}

// datagrams is an end of a pipe whose writes are datagrams.
type datagrams struct{ net.Conn }

func (datagrams) ReadFrom([]byte) (int, net.Addr, error) { return 0, nil, errors.ErrUnsupported }
func (datagrams) WriteTo([]byte, net.Addr) (int, error)  { return 0, errors.ErrUnsupported }

var errRefused = &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("10.9.9.9:1234->10.0.0.53:53: connection refused")}

// Dial is a Resolver.Dial.
func (s *servers) Dial(_ context.Context, network, address string) (net.Conn, error) {
	server, ok := strings.CutSuffix(address, ":53")
	do, known := s.does[server]
	if !known && s.any != nil {
		do, ok, known = s.any, true, true
	}
	if !ok || !known {
		s.log(network + " " + server + " refused")
		return nil, errRefused
	}
	ours, theirs := net.Pipe()
	s.wg.Go(func() {
		defer theirs.Close()
		c := &call{network: network, server: server, conn: theirs, fail: s.t.Errorf}
		msg, err := c.receive()
		if err != nil {
			return // the client has given up
		}
		if err := c.Unpack(msg); err != nil {
			s.t.Errorf("got query %x: %v", msg, err)
			return
		}
		s.count(c)
		if do == nil {
			io.Copy(io.Discard, theirs) // until the client has given up
			return
		}
		do(c)
	})
	if network == "udp" {
		return datagrams{ours}, nil
	}
	return ours, nil
}

func (s *servers) count(c *call) {
	if len(c.Questions) != 1 || !c.RecursionDesired || c.Response || len(c.Additionals) > 1 {
		s.t.Errorf("got query %+v, want one question", c.Message)
		return
	}
	q := c.Questions[0]
	plain := " plain"
	if len(c.Additionals) == 1 {
		plain = ""
		if h := c.Additionals[0].Header; h.Type != dnsmessage.TypeOPT || h.Class != udpSize || h.TTL != 0 {
			s.t.Errorf("got additional record %v, want EDNS0 with %d octets", h, udpSize)
		}
	}
	s.mu.Lock()
	s.ids[c.ID], s.names[q.Name.String()] = true, true
	s.mu.Unlock()
	s.log(fmt.Sprintf("%s %s %s %s%s", c.network, c.server, strings.ToLower(q.Name.String()), strings.TrimPrefix(q.Type.String(), "Type"), plain))
}

func (s *servers) log(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, line)
}

// queries returns the queries so far, all of which have arrived: the test is in a bubble.
func (s *servers) queries() []string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

func (c *call) receive() ([]byte, error) {
	buf := make([]byte, 1<<16)
	if c.network == "udp" {
		n, err := c.conn.Read(buf)
		return buf[:n], err
	}
	if _, err := io.ReadFull(c.conn, buf[:2]); err != nil {
		return nil, err
	}
	msg := buf[2:][:binary.BigEndian.Uint16(buf)]
	_, err := io.ReadFull(c.conn, msg)
	return msg, err
}

// send sends octets as a datagram, or with their length.
func (c *call) send(msg []byte) {
	if c.network != "udp" {
		msg = append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
	}
	c.conn.Write(msg) // fails if the client has its answer
}

// pack returns the answer to the query with these records. Records after "--" are of the authority section.
func (c *call) pack(change func(*dnsmessage.Message), records ...string) []byte {
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: c.ID, Response: true, RecursionDesired: true, RecursionAvailable: true},
		Questions: c.Questions}
	section := &m.Answers
	for _, r := range records {
		if r == "--" {
			section = &m.Authorities
			continue
		}
		*section = append(*section, resource(r))
	}
	if change != nil {
		change(&m)
	}
	msg, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return msg
}

// says is a server that answers with these records.
func says(records ...string) func(*call) {
	return func(c *call) { c.send(c.pack(nil, records...)) }
}

// changed is a server whose answer is changed.
func changed(change func(*dnsmessage.Message), records ...string) func(*call) {
	return func(c *call) { c.send(c.pack(change, records...)) }
}

// code is a server that answers with an RCODE.
func code(rcode dnsmessage.RCode, records ...string) func(*call) {
	return changed(func(m *dnsmessage.Message) { m.RCode = rcode }, records...)
}

// byNetwork is a server that behaves by UDP and TCP as these two do.
func byNetwork(udp, tcp func(*call)) func(*call) {
	return func(c *call) {
		if c.network == "udp" {
			udp(c)
		} else {
			tcp(c)
		}
	}
}

// byName is a server that answers by the name in question.
func byName(names map[string]func(*call)) func(*call) {
	return func(c *call) {
		if do := names[strings.ToLower(c.Questions[0].Name.String())]; do != nil {
			do(c)
		} else {
			code(dnsmessage.RCodeNameError)(c)
		}
	}
}

// byType is a server that answers by the type in question.
func byType(types map[string]func(*call)) func(*call) {
	return func(c *call) {
		if do := types[strings.TrimPrefix(c.Questions[0].Type.String(), "Type")]; do != nil {
			do(c)
		} else {
			says()(c)
		}
	}
}

// resource reads a record as in a zone file: "example.net. 300 MX 10 mx.example.net.".
func resource(s string) dnsmessage.Resource {
	fields := strings.Fields(s)
	var ttl uint32
	fmt.Sscan(fields[1], &ttl)
	r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(fields[0]), Class: dnsmessage.ClassINET, TTL: ttl}}
	data := fields[3:]
	switch fields[2] {
	case "A":
		r.Body = &dnsmessage.AResource{A: netip.MustParseAddr(data[0]).As4()}
	case "AAAA":
		r.Body = &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(data[0]).As16()}
	case "MX":
		var pref uint16
		fmt.Sscan(data[0], &pref)
		r.Body = &dnsmessage.MXResource{Pref: pref, MX: dnsmessage.MustNewName(data[1])}
	case "CNAME":
		r.Body = &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(data[0])}
	case "PTR":
		r.Body = &dnsmessage.PTRResource{PTR: dnsmessage.MustNewName(data[0])}
	case "NS":
		r.Body = &dnsmessage.NSResource{NS: dnsmessage.MustNewName(data[0])}
	case "TXT":
		r.Body = &dnsmessage.TXTResource{TXT: data}
	case "SOA": // the minimum alone
		soa := &dnsmessage.SOAResource{NS: dnsmessage.MustNewName("ns.example."), MBox: dnsmessage.MustNewName("h.example.")}
		fmt.Sscan(data[0], &soa.MinTTL)
		r.Body = soa
	case "RAW": // a type and data in hexadecimal
		var typ uint16
		body := new(dnsmessage.UnknownResource)
		fmt.Sscan(data[0], &typ)
		fmt.Sscanf(data[1], "%x", &body.Data)
		body.Type = dnsmessage.Type(typ)
		r.Body = body
	default:
		panic(s)
	}
	return r
}

// result shows what a lookup has returned: the records and the TTL, or the error.
func result(ctx context.Context, r *Resolver, kind, name string) string {
	var (
		list []string
		ttl  time.Duration
		err  error
	)
	switch kind {
	case "MX":
		records, d, e := r.LookupMXTTL(ctx, name)
		for _, m := range records {
			list = append(list, fmt.Sprint(m.Pref, " ", m.Host))
		}
		ttl, err = d, e
	case "TXT":
		texts, d, e := r.LookupTXTTTL(ctx, name)
		for _, t := range texts {
			list = append(list, fmt.Sprintf("%q", t))
		}
		ttl, err = d, e
	case "TLSA":
		records, proof, e := r.LookupTLSA(ctx, name)
		for _, t := range records {
			list = append(list, fmt.Sprintf("%d %d %d %x", t.Usage, t.Selector, t.MatchingType, t.Data))
		}
		ttl, err = proof.TTL, e
	case "CNAME":
		target, proof, e := r.LookupAlias(ctx, name)
		if target != "" {
			list = []string{target}
		}
		ttl, err = proof.TTL, e
	case "PTR": // the name is an address
		list, ttl, err = r.LookupAddrTTL(ctx, name)
	default:
		ips, d, e := r.LookupNetIPTTL(ctx, kind, name)
		for _, ip := range ips {
			list = append(list, ip.String())
		}
		ttl, err = d, e
	}
	out := strings.Join(list, ", ")
	if err != nil {
		out += "! " + describe(err)
	}
	return fmt.Sprintf("%s (%v)", out, ttl)
}

// describe shows an error: its phrase and its flags.
func describe(err error) string {
	dns, ok := err.(*net.DNSError)
	if !ok {
		return fmt.Sprintf("%T %v", err, err)
	}
	out := dns.Err
	for _, flag := range []struct {
		on   bool
		name string
	}{{errors.Is(err, NXDomain), "NXDOMAIN"}, {dns.IsNotFound, "not found"}, {dns.IsTimeout, "timeout"}, {dns.IsTemporary, "temporary"}} {
		if flag.on {
			out += ", " + flag.name
		}
	}
	return out
}
