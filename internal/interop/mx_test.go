package interop

import (
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// zone answers for a few names: MX hosts by domain, in the order of their preference, and addresses by host.
type zone struct {
	mx map[string][]string
	a  map[string][4]byte
}

// serve answers on a UDP port of its own until the test ends.
func (z zone) serve(t *testing.T) (addr string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, peer, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if answer, err := z.answer(buf[:n]); err == nil {
				conn.WriteTo(answer, peer)
			}
		}
	}()
	return conn.LocalAddr().String()
}

func (z zone) answer(query []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return nil, err
	}
	q := m.Questions[0]
	m.Response, m.Authoritative, m.RecursionAvailable, m.Additionals = true, true, true, nil
	name := strings.TrimSuffix(strings.ToLower(q.Name.String()), ".")
	header := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60}
	mx, isDomain := z.mx[name]
	a, isHost := z.a[name]
	switch {
	case !isDomain && !isHost:
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeMX:
		for i, host := range mx {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header,
				Body: &dnsmessage.MXResource{Pref: uint16(10 * i), MX: dnsmessage.MustNewName(host + ".")}})
		}
	case q.Type == dnsmessage.TypeA && isHost:
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: a}})
	}
	return m.Pack()
}

// TestSecondMX: the first MX is down and the second up, so the mail arrives at once.
func TestSecondMX(t *testing.T) {
	needPython(t, "aiosmtpd")
	dns := zone{
		mx: map[string][]string{"next.test": {"mx1.next.test", "mx2.next.test"}},
		a:  map[string][4]byte{"mx1.next.test": {127, 0, 0, 2}, "mx2.next.test": {127, 0, 0, 1}},
	}
	port, dir := freePort(t), t.TempDir()
	startSink(t, port, dir)
	r := startRelay(t, t.TempDir(), "-dns", dns.serve(t), "-port", port, "-allow-private", "-retry", "1h")
	begin := time.Now()
	submit(t, r, "ann@source.test", "bob@next.test", message("mx", "bob@next.test"))
	eventually(t, "the mail is there", func() bool { return len(sinkMails(t, dir)) == 1 })
	t.Logf("it took %v", time.Since(begin).Round(time.Millisecond))
	r.stop(t)
}
