package interop

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/mx/dns"
)

const nsdConf = `server:
  ip-address: 127.0.0.1@%s
  do-ip6: no
  username: "root"
  chroot: ""
  server-count: 1
  database: ""
  pidfile: ""
  zonesdir: "%[2]s"
  zonelistfile: "%[2]s/zones"
  xfrdfile: "%[2]s/xfrd"
  xfrdir: "%[2]s"
  rrl-ratelimit: 0
remote-control:
  control-enable: no
zone:
  name: "test."
  zonefile: "zone"
`

// startNSD starts an authoritative server of the zone that unbound has, and gives its address.
func startNSD(t *testing.T) string {
	t.Helper()
	needRoot(t)
	need(t, "nsd")
	dir, port := t.TempDir(), freePort(t)
	write(t, filepath.Join(dir, "conf"), fmt.Sprintf(nsdConf, port, dir))
	write(t, filepath.Join(dir, "zone"), testZone())
	startServer(t, "", copied(t, dir, "nsd"), "-d", "-c", filepath.Join(dir, "conf"))
	waitPort(t, port)
	return "127.0.0.1:" + port
}

// lossy is a way to a name server on which datagrams get lost, come twice or cut, and strangers answer first. Some TCP
// connections end at once.
type lossy struct {
	server string
	mu     sync.Mutex
	random *rand.Rand
	wg     sync.WaitGroup
}

func newLossy(t *testing.T, server string) (addr string) {
	t.Helper()
	addr = "127.0.0.1:" + freePort(t)
	packets, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	streams, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	l := &lossy{server: server, random: rand.New(rand.NewPCG(1, 2))}
	t.Cleanup(func() {
		packets.Close()
		streams.Close()
		l.wg.Wait()
	})
	l.wg.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			n, peer, err := packets.ReadFrom(buf)
			if err != nil {
				return
			}
			query := slices.Clone(buf[:n])
			l.wg.Go(func() { l.datagram(packets, peer, query) })
		}
	})
	l.wg.Go(func() {
		for {
			conn, err := streams.Accept()
			if err != nil {
				return
			}
			l.wg.Go(func() { l.stream(conn) })
		}
	})
	return addr
}

// chance is true n times of ten.
func (l *lossy) chance(n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.random.IntN(10) < n
}

func (l *lossy) datagram(to net.PacketConn, peer net.Addr, query []byte) {
	if l.chance(2) {
		return
	}
	conn, err := net.Dial("udp", l.server)
	if err != nil {
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	conn.Write(query)
	answer := make([]byte, 1<<16)
	n, err := conn.Read(answer)
	if err != nil || l.chance(2) {
		return
	}
	answer = answer[:n]
	if l.chance(3) {
		forged := slices.Clone(query)
		forged[0]++
		forged[2] |= 0x80 // an answer: there are no records
		forged[3] |= 0x80
		to.WriteTo(forged, peer)
	}
	if l.chance(1) {
		answer = answer[:n-n/4]
	}
	to.WriteTo(answer, peer)
	if l.chance(2) {
		to.WriteTo(answer, peer)
	}
}

func (l *lossy) stream(conn net.Conn) {
	defer conn.Close()
	if l.chance(2) {
		return
	}
	server, err := net.Dial("tcp", l.server)
	if err != nil {
		return
	}
	defer server.Close()
	for _, c := range []net.Conn{conn, server} {
		c.SetDeadline(time.Now().Add(2 * time.Second))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer server.Close()
		conn.(*net.TCPConn).WriteTo(server)
	}()
	server.(*net.TCPConn).WriteTo(conn)
	conn.Close()
	<-done
}

// lookups are those of both resolvers.
type lookups interface {
	mx.Resolver
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// lookedUp shows an answer, or the kind of the error.
func lookedUp(ctx context.Context, r lookups, kind, name string) string {
	var (
		list []string
		err  error
	)
	switch kind {
	case "mx":
		var records []*net.MX
		records, err = r.LookupMX(ctx, name)
		for _, m := range records {
			list = append(list, fmt.Sprintf("%d %s", m.Pref, strings.ToLower(m.Host)))
		}
	case "txt":
		list, err = r.LookupTXT(ctx, name)
	default:
		var ips []netip.Addr
		ips, err = r.LookupNetIP(ctx, kind, name)
		for _, ip := range ips {
			list = append(list, ip.Unmap().String())
		}
	}
	slices.Sort(list)
	switch failed, ok := errors.AsType[*net.DNSError](err); {
	case err == nil:
		return strings.Join(list, ", ")
	case ok && failed.IsNotFound:
		return "not found"
	case ok:
		return "failed"
	}
	return err.Error()
}

// TestResolver compares the answers of dns.Resolver with those of net.Resolver, from unbound and nsd, and over a way on
// which datagrams get lost.
func TestResolver(t *testing.T) {
	names := strings.Fields("null null-beside plain six text to-null to-plain c1 c2 c3 c4 c5 c6 to-loop gone-hosts a_b mx_1.ab--c" +
		" xn--bcher-kva mx.xn--bcher-kva inside number broken-hosts many host-7.many gone gone.gone ns loop broken x.broken")
	for _, server := range []struct {
		name  string
		start func(*testing.T) string
		fails []string // where net.Resolver has no such name: a referral, and a loop of aliases
	}{{"unbound", startUnbound, nil}, {"nsd", startNSD, []string{"loop", "broken", "x.broken"}}} {
		t.Run(server.name, func(t *testing.T) {
			addr := server.start(t)
			standard := &net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, addr)
			}}
			lossy := []string{newLossy(t, addr), newLossy(t, addr)}
			ours := map[string]*dns.Resolver{
				"UDP":       {Servers: []string{addr}},
				"UDP, AD":   {Servers: []string{addr}, TrustAD: true},
				"TCP":       {Servers: []string{addr}, TCP: true},
				"lossy":     {Servers: lossy, Timeout: 500 * time.Millisecond, Attempts: 10, Rotate: true},
				"lossy, AD": {Servers: lossy, Timeout: 500 * time.Millisecond, Attempts: 10, Rotate: true, TrustAD: true},
			}
			var wg sync.WaitGroup
			for _, name := range names {
				for _, kind := range []string{"mx", "txt", "ip4", "ip6"} {
					want := lookedUp(t.Context(), standard, kind, name+".test.")
					switch {
					case slices.Contains(server.fails, name):
						want = "failed"
					case name == "inside" && kind == "ip6":
						want = "10.0.0.1" // net.Resolver drops ::ffff:10.0.0.1
					}
					for way, r := range ours {
						wg.Go(func() {
							if got := lookedUp(t.Context(), r, kind, name+".test."); got != want {
								t.Errorf("%s %s, %s: got %.200s, want %.200s", kind, name, way, got, want)
							}
						})
					}
				}
			}
			wg.Wait()
		})
	}
}

const (
	inHosts    = "POSTRIDER_INTEROP_HOSTS" // set in a process that has a hosts file of its own
	hostsServe = "127.83.7.53"
)

// TestHostsFile has a machine whose hosts file names an MX host and a smarthost, and whose resolv.conf names a server.
func TestHostsFile(t *testing.T) {
	if os.Getenv(inHosts) != "" {
		checkHosts(t)
		return
	}
	needRoot(t)
	need(t, "unshare", "mount")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "hosts"), "127.0.0.1 localhost\n127.0.1.1 mx.next.test\n127.0.0.5 relay.next.test relay\n::1 six.next.test\n")
	write(t, filepath.Join(dir, "resolv.conf"), "nameserver "+hostsServe+"\n")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const script = `mount --bind "$1/hosts" /etc/hosts && mount --bind "$1/resolv.conf" /etc/resolv.conf && exec "$2" -test.run '^TestHostsFile$'`
	cmd := exec.Command("unshare", "-m", "sh", "-c", script, "sh", dir, self)
	cmd.Env = append(os.Environ(), inHosts+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func checkHosts(t *testing.T) {
	server := zone{
		mx: map[string][]string{"next.test": {"mx.next.test"}},
		a:  map[string][4]byte{"mx.next.test": {192, 0, 2, 25}, "only.next.test": {192, 0, 2, 26}},
	}
	server.serveAt(t, hostsServe+":53")
	routes := make(map[string]mx.Route)
	for domain, host := range map[string]string{"a.test": "relay.next.test:25", "b.test": "relay:25", "c.test": "localhost:25", "d.test": "only.next.test:25",
		"e.test": "mx.next.test:25", "f.test": "six.next.test:25", "g.test": "gone.next.test:25"} {
		route, err := mx.Smarthost(host)
		if err != nil {
			t.Fatal(err)
		}
		routes[domain] = route
	}
	named, err := mx.NameServer(hostsServe + ":53")
	if err != nil {
		t.Fatal(err)
	}
	for name, resolver := range map[string]mx.Resolver{"nil": nil, "NameServer": named} {
		router := &mx.Router{Resolver: resolver, Routes: routes}
		for domain, want := range map[string]string{
			"next.test": "mx.next.test=192.0.2.25:25", // not 127.0.1.1
			"a.test":    "relay.next.test=127.0.0.5:25",
			"b.test":    "relay=127.0.0.5:25",
			"c.test":    "localhost=127.0.0.1:25",
			"d.test":    "only.next.test=192.0.2.26:25",
			"e.test":    "mx.next.test=127.0.1.1:25",
			"f.test":    "six.next.test=[::1]:25",
			"g.test":    "gone.next.test=451 4.4.4",
		} {
			if got := plan(t.Context(), router, domain); got != want {
				t.Errorf("%s, %s: got %s, want %s", name, domain, got, want)
			}
		}
	}
}
