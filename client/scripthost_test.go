package client

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

// play is a host that follows a script, one step a line:
//
//	S: line    says it; consecutive ones go out in one write
//	C: line    hears a line; what it heard takes its place in the transcript
//	tls        takes the handshake; "tls refused" is one that fails, "tls garbage" none at all
//	close      closes
//	eof        hears that the client has closed, within all time-outs
//	cancel     calls cancel
//	sleep d    waits
//
// It gives the script as it went.
func play(nc *pipeConn, script []string, cert *tls.Config, cancel func()) []string {
	var conn net.Conn = nc
	in := bufio.NewReader(conn)
	var said []string
	var out strings.Builder
	flush := func() {
		io.WriteString(conn, out.String())
		out.Reset()
	}
	defer nc.Close()
	for _, step := range script {
		kind, arg, _ := strings.Cut(step, " ")
		if kind != "S:" {
			flush()
		}
		switch kind {
		case "S:":
			out.WriteString(arg + "\r\n")
		case "C:":
			line, err := in.ReadString('\n')
			step = "C: " + strings.ReplaceAll(strings.TrimSuffix(line, "\r\n"), "\n", "\\n") // a bare LF is to be seen
			if err != nil {
				return append(said, fmt.Sprintf("read: %q, %v", line, err))
			}
		case "tls":
			if arg == "garbage" {
				in.ReadByte()
				io.WriteString(nc, "what?\r\n")
				break
			}
			tc := tls.Server(nc, cert)
			if err := tc.Handshake(); err != nil {
				return append(said, "tls refused")
			}
			conn = tc
			in.Reset(tc)
		case "close":
			return append(said, step)
		case "eof":
			if b, err := in.ReadByte(); err == nil {
				rest, _ := in.ReadString('\n')
				step = "C: " + string(b) + strings.TrimSuffix(rest, "\r\n")
			}
		case "cancel":
			synctest.Wait() // what was said is heard first
			cancel()
		case "sleep":
			d, err := time.ParseDuration(arg)
			if err != nil {
				panic(err)
			}
			time.Sleep(d)
		default:
			panic("step " + step)
		}
		said = append(said, step)
	}
	flush()
	return said
}

// testTLS makes a certificate for names, and the pool that trusts it. Inside a bubble its clock counts.
func testTLS(t testing.TB, names ...string) (*tls.Config, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "test"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(240 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool
}

// internet is hosts in memory, and a Resolver that knows them: "a.test" is at 192.0.2.1 and so on.
type internet struct {
	t    testing.TB
	mu   sync.Mutex
	mx   map[string][]*net.MX
	ips  map[string][]netip.Addr
	host map[string]func(*pipeConn) // by address; what it does with each connection
	wg   sync.WaitGroup

	dials []string
	conns []*pipeConn // the client's ends
}

func newInternet(t testing.TB) *internet {
	n := &internet{t: t, mx: make(map[string][]*net.MX), ips: make(map[string][]netip.Addr), host: make(map[string]func(*pipeConn))}
	t.Cleanup(n.wg.Wait)
	return n
}

// serve has a host at an address, "192.0.2.1:25", behave so.
func (n *internet) serve(addr string, f func(*pipeConn)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.host[addr] = f
}

// scripts serves one script a connection, in turn, and refuses further ones. Scripts are compared with what happened.
func (n *internet) scripts(addr string, scripts ...string) {
	next := 0
	n.serve(addr, func(c *pipeConn) {
		n.mu.Lock()
		i := next
		next++
		n.mu.Unlock()
		if i >= len(scripts) {
			n.t.Errorf("%s: got connection %d, want %d", addr, i+1, len(scripts))
			c.Close()
			return
		}
		script := steps(scripts[i])
		got := play(c, script, nil, nil)
		if g, w := strings.Join(got, "\n"), strings.Join(script, "\n"); g != w {
			n.t.Errorf("%s, connection %d: got\n%s\nwant\n%s", addr, i+1, g, w)
		}
	})
}

// steps parts a script at its lines.
func steps(script string) []string {
	var list []string
	for line := range strings.SplitSeq(strings.TrimSpace(script), "\n") {
		if line = strings.TrimSpace(line); line == "C:" {
			line = "C: " // an empty line, as play has it
		}
		list = append(list, line)
	}
	return list
}

func (n *internet) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n.mu.Lock()
	n.dials = append(n.dials, addr)
	f := n.host[addr]
	n.mu.Unlock()
	if f == nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: pipeAddr(addr), Err: errors.New("connection refused")}
	}
	client, server := pipe(addr)
	n.mu.Lock()
	n.conns = append(n.conns, client)
	n.mu.Unlock()
	n.wg.Go(func() { f(server); server.Close() })
	return client, nil
}

// dialled gives the addresses that were dialled since it was last asked.
func (n *internet) dialled() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := strings.Join(n.dials, " ")
	n.dials = nil
	return list
}

func (n *internet) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	if list := n.mx[name]; list != nil {
		return list, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (n *internet) LookupNetIP(_ context.Context, _, name string) ([]netip.Addr, error) {
	if list := n.ips[name]; list != nil {
		return list, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

// add gives a domain MX hosts, in order of preference, each "name=address[,address]".
func (n *internet) add(domain string, hosts ...string) {
	for i, h := range hosts {
		name, ips, _ := strings.Cut(h, "=")
		n.mx[domain+"."] = append(n.mx[domain+"."], &net.MX{Host: name + ".", Pref: uint16(i)})
		for ip := range strings.SplitSeq(ips, ",") {
			if ip != "" {
				n.ips[name+"."] = append(n.ips[name+"."], netip.MustParseAddr(ip))
			}
		}
	}
}

// show gives results one a line, with what each rests on.
func show(results []smtp.Result) string {
	var b strings.Builder
	for _, r := range results {
		fmt.Fprintf(&b, "%s %s %s: %s", r.Recipient, r.Outcome, r.Stage, r.Reply.Error())
		if r.Host != "" {
			fmt.Fprintf(&b, "; %s %s", r.Host, r.Addr)
		}
		for _, flag := range []struct {
			on   bool
			name string
		}{{r.Local, "local"}, {r.Relayed, "relayed"}, {r.DSN, "dsn"}, {r.TLS != "", r.TLS}} {
			if flag.on {
				fmt.Fprintf(&b, " %s", flag.name)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// failingContent reads well up to an offset.
type failingContent struct {
	smtp.Content
	after int64
	err   error
	scans int // reads of offset 0 that are let through whole: Scan is the first
}

func (c *failingContent) ReadAt(b []byte, off int64) (int, error) {
	if off == 0 {
		c.scans--
	}
	if c.scans < 0 && off+int64(len(b)) > c.after {
		return 0, c.err
	}
	return c.Content.ReadAt(b, off)
}
