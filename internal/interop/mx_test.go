package interop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// zone answers for a few names: MX hosts by domain, in the order of their preference, and addresses by host.
type zone struct {
	mx map[string][]string
	a  map[string][4]byte
}

// serve answers on a UDP port of its own until the test ends.
func (z zone) serve(t *testing.T) (addr string) { return z.serveAt(t, "127.0.0.1:0") }

func (z zone) serveAt(t *testing.T, addr string) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", addr)
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

// unboundConf is for a port and the directory. About drop.example it gives no answer.
const unboundConf = `server:
  interface: 127.0.0.1
  port: %s
  directory: "%[2]s"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  do-ip6: no
  module-config: "iterator"
  local-zone: "test." nodefault
  local-zone: "drop.example." deny
auth-zone:
  name: "test."
  zonefile: "%[2]s/zone"
  for-downstream: no
  fallback-enabled: no
remote-control:
  control-enable: no
`

// unboundZone has broken.test in the care of an address that no resolver asks.
const unboundZone = `$ORIGIN test.
$TTL 300
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
ns A 192.0.2.53
null MX 0 .
null-beside MX 0 .
null-beside MX 10 ns
plain A 192.0.2.1
plain AAAA 2001:db8:1::1
six AAAA 2001:db8:1::6
text TXT "v=STSv1; " "id=1;"
to-null CNAME null
to-plain CNAME plain
c1 CNAME c2
c2 CNAME c3
c3 CNAME c4
c4 MX 10 c5
c5 CNAME c6
c6 CNAME plain
loop CNAME pool
pool CNAME loop
to-loop MX 10 loop
to-loop MX 20 plain
gone-hosts MX 10 gone
gone-hosts MX 20 text
a_b MX 10 mx_1.ab--c
mx_1.ab--c A 192.0.2.5
xn--bcher-kva MX 10 mx.xn--bcher-kva
mx.xn--bcher-kva A 192.0.2.6
inside A 127.0.0.1
inside AAAA ::ffff:10.0.0.1
number MX 10 192.0.2.9.
broken-hosts MX 10 mx.broken
broken-hosts MX 20 plain
broken NS ns.broken
ns.broken A 127.0.0.1
`

// startUnbound starts a name server of testZone, which resolves as that of any site does, and gives its address.
func startUnbound(t *testing.T) string {
	t.Helper()
	return unboundWith(t, testZone())
}

// unboundWith starts a name server of a zone "test.".
func unboundWith(t *testing.T, zone string) string {
	t.Helper()
	need(t, "unbound")
	dir, port := t.TempDir(), freePort(t)
	write(t, filepath.Join(dir, "conf"), fmt.Sprintf(unboundConf, port, dir))
	write(t, filepath.Join(dir, "zone"), zone)
	startServer(t, "", copied(t, dir, "unbound"), "-d", "-c", filepath.Join(dir, "conf"))
	waitPort(t, port)
	return "127.0.0.1:" + port
}

// testZone is unboundZone with a domain of 1,000 MX.
func testZone() string {
	zone := new(strings.Builder)
	zone.WriteString(unboundZone)
	for i := range 1000 {
		fmt.Fprintf(zone, "many MX %d host-%d.many\n", 1000-i, 999-i)
		fmt.Fprintf(zone, "host-%d.many A 192.0.2.%d\n", i, i%250)
	}
	return zone.String()
}

// copied copies a program into a directory, and gives its path there. A profile of AppArmor that is for the program
// where it was installed may keep it from reading elsewhere.
func copied(t *testing.T, dir, name string) string {
	t.Helper()
	path, _ := exec.LookPath(name)
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, program, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestNameServer has the Router ask a real name server.
func TestNameServer(t *testing.T) {
	resolver, err := mx.NameServer(startUnbound(t))
	if err != nil {
		t.Fatal(err)
	}
	var many []string
	for i := range mx.MaxHosts {
		many = append(many, fmt.Sprintf("host-%d.many.test=192.0.2.%d:25", i, i))
	}
	const plain = "192.0.2.1:25,[2001:db8:1::1]:25"
	tests := []struct{ name, domain, want string }{
		{"null MX", "null.test", "556 5.1.10"},
		{"null MX beside another", "null-beside.test", "ns.test=192.0.2.53:25"},
		{"implicit MX", "plain.test", "plain.test=" + plain},
		{"implicit MX, AAAA", "six.test", "six.test=[2001:db8:1::6]:25"},
		{"upper case, trailing dot", "PLAIN.test.", "plain.test=" + plain},
		{"no such name", "gone.test", "550 5.1.2"},
		{"no such records", "text.test", "text.test=550 5.1.2"},
		{"CNAME to a null MX", "to-null.test", "556 5.1.10"},
		{"CNAME to a host", "to-plain.test", "to-plain.test=" + plain},
		{"CNAME chains to the domain and the host", "c1.test", "c5.test=" + plain},
		{"CNAME loop", "loop.test", "451 4.4.3"},
		{"CNAME loop at one host", "to-loop.test", "loop.test=451 4.4.3 plain.test=" + plain},
		{"hosts without addresses", "gone-hosts.test", "gone.test=451 4.4.4 text.test=451 4.4.4"},
		{"SERVFAIL", "broken.test", "451 4.4.3"},
		{"SERVFAIL for one host", "broken-hosts.test", "mx.broken.test=451 4.4.3 plain.test=" + plain},
		{"no answer", "drop.example", "451 4.4.3"},
		{"1,000 MX, by TCP", "many.test", strings.Join(many, " ")},
		{"underscores, hyphens", "a_b.test", "mx_1.ab--c.test=192.0.2.5:25"},
		{"U-label", "BÜCHER.test", "mx.xn--bcher-kva.test=192.0.2.6:25"},
		{"A-label", "xn--bcher-kva.test", "mx.xn--bcher-kva.test=192.0.2.6:25"},
		{"inside", "inside.test", "inside.test=550 5.4.4"},
		{"MX is an address", "number.test", "451 4.4.4"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // "no answer" takes its time
			// IPv6 comes first if this machine has it.
			router := &mx.Router{Resolver: resolver}
			if test.domain == "drop.example" { // the others are answered, however busy the machine
				router.Timeout = 3 * time.Second
			}
			got := strings.ReplaceAll(plan(t.Context(), router, test.domain), "[2001:db8:1::1]:25,192.0.2.1:25", plain)
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// plan is what the Router says of a domain: "host=addr,addr host=code".
func plan(ctx context.Context, router *mx.Router, domain string) string {
	code := func(err error) string {
		reply, ok := errors.AsType[*smtp.Reply](err)
		if !ok {
			return err.Error()
		}
		return fmt.Sprintf("%d %s", reply.Code, reply.Enhanced)
	}
	route, err := router.Route(ctx, domain)
	if err != nil {
		return code(err)
	}
	var hosts []string
	for _, host := range route.Hosts {
		addrs, err := router.Addrs(ctx, route, host)
		var list []string
		for _, addr := range addrs {
			list = append(list, addr.String())
		}
		if err != nil {
			list = []string{code(err)}
		}
		hosts = append(hosts, host.Name+"="+strings.Join(list, ","))
	}
	return strings.Join(hosts, " ")
}
