package interop

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/mx/dane"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

const inDANE = "POSTRIDER_INTEROP_DANE" // set in a process with a network and a resolv.conf of its own

// danePostfix is a Postfix that delivers by DANE. A failure at a destination doesn't hold up the next mail to it. Its
// ClientHello fits into one segment, with later versions of OpenSSL as well.
const danePostfix = postfixBase + `myhostname = client.test
mynetworks = 0.0.0.0/0
alias_maps =
alias_database =
smtp_dns_support_level = dnssec
smtp_tls_security_level = dane
tls_eecdh_auto_curves = X25519 prime256v1
default_destination_concurrency_failed_cohort_limit = 0
`

// TestDANEDelivery delivers to the hosts of daneZones in a network of its own, by a Transport and by Postfix: at first
// the hosts present the right certificate, then another one, and then they have no STARTTLS. From what arrives follows
// what each of the two has demanded.
func TestDANEDelivery(t *testing.T) {
	if os.Getenv(inDANE) != "" {
		checkDANE(t)
		return
	}
	needRoot(t)
	need(t, "unshare", "mount", "ip", "unbound", "ldns-keygen", "ldns-signzone", "postfix")
	account(t, "postfix")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "resolv.conf"), "nameserver 127.0.0.1\noptions trust-ad timeout:3 attempts:1\n")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const script = `ip link set lo up && for n in $(seq 44); do ip addr add 192.0.2.$n/32 dev lo || exit; done &&
		mount --bind "$1/resolv.conf" /etc/resolv.conf && exec "$2" -test.run '^TestDANEDelivery$'`
	cmd := exec.Command("unshare", "-m", "-n", "sh", "-c", script, "sh", dir, self)
	cmd.Env = append(os.Environ(), inDANE+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// arrivals are how mail arrived by its recipient: "clear", or "TLS" and the name in SNI.
type arrivals struct {
	mu sync.Mutex
	by map[string]string
}

func (a *arrivals) Handle(_ context.Context, p *server.Peer, env *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
	how := "clear"
	if p.TLS != nil {
		how = "TLS " + p.TLS.ServerName
	}
	if _, err := io.Copy(io.Discard, body); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, to := range env.Recipients {
		a.by[strings.ToLower(to.Address)] = how
	}
	return nil, nil
}

// of returns how mail arrived, or otherwise what became of it.
func (a *arrivals) of(to, otherwise string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if how, ok := a.by[strings.ToLower(to)]; ok {
		return how
	}
	return otherwise
}

// serveHosts starts the mail hosts of daneZones. Without certificates they have no STARTTLS.
func (a *arrivals) serveHosts(t *testing.T, cert *tls.Certificate) (stop func()) {
	t.Helper()
	srv := &server.Server{Hostname: "mx.test", Handler: a}
	if cert != nil {
		srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*cert}}
	}
	var wg sync.WaitGroup
	for n := range daneHosts {
		addr := fmt.Sprintf("192.0.2.%d", n+1)
		l, err := net.Listen("tcp", addr+":25")
		if err != nil {
			t.Fatal(err)
		}
		if addr == daneSmall {
			l = firewall{l}
		}
		wg.Go(func() { srv.Serve(t.Context(), l) })
	}
	return func() { srv.Close(); wg.Wait() }
}

// firewall breaks connections at a TLS record that doesn't fit into one segment of TCP.
type firewall struct{ net.Listener }

func (f firewall) Accept() (net.Conn, error) {
	conn, err := f.Listener.Accept()
	return brittle{conn}, err
}

type brittle struct{ net.Conn }

func (b brittle) Read(p []byte) (int, error) {
	n, err := b.Conn.Read(p)
	if n >= 5 && p[0] == 22 && int(p[3])<<8|int(p[4]) > 1400 {
		b.Conn.Close()
		return 0, errors.New("a large ClientHello")
	}
	return n, err
}

// concluded returns what a sender has demanded, by how its mail arrived with the right certificate, with the wrong one,
// and without STARTTLS.
func concluded(outcomes [3]string) string {
	sni, hasTLS := strings.CutPrefix(outcomes[0], "TLS ")
	rest := outcomes[1] + ", " + outcomes[2]
	switch {
	case !hasTLS && rest == outcomes[0]+", "+outcomes[0]:
		return outcomes[0] // deferred or gone
	case hasTLS && rest == outcomes[0]+", clear":
		return "nothing"
	case hasTLS && rest == outcomes[0]+", deferred":
		return strings.TrimSpace("encrypted " + sni)
	case hasTLS && rest == "deferred, deferred":
		return "verified " + sni
	}
	return strings.Join(outcomes[:], ", ")
}

// postfixHosts are the domains whose hosts are Postfix, with the right certificate and the one above it, and by what that
// is verified. If empty, it isn't.
var postfixHosts = map[string]string{
	"postfix-ee.test":    "TLSA 3 1 1",
	"postfix-ta.test":    "TLSA 2 1 1",
	"postfix-wrong.test": "", // the record is of something else
	"postfix-name.test":  "", // the certificate has another name
}

// checkDANE is TestDANEDelivery in its own network.
func checkDANE(t *testing.T) {
	const names = "mx.ta.test ta-domain.test mx.postfix-ta.test"
	root, other := daneCertificate(t, nil, "root", "", time.Hour), daneCertificate(t, nil, "other", "", time.Hour)
	leaf, stranger := daneCertificate(t, root, "leaf", names, time.Hour), daneCertificate(t, other, "stranger", names, time.Hour)
	digest := func(fields string, of *daneCert) string { return hex.EncodeToString(daneRecord(fields, of).Data) }
	startValidator(t, "53", strings.NewReplacer("HASH", digest("3 1 1", leaf), "ROOT", digest("2 0 1", root), "KEY", digest("2 1 1", root), "OTHER", otherDigest))
	dir := serverDir(t, "dane")
	startPostfix(t, dir, configured(danePostfix, "@dir@", dir), postfixServers(t, dir, leaf, root)...)

	right, wrong := daneChain(leaf, root), daneChain(stranger, other)
	ours, postfixs := make(map[string]*[3]string), make(map[string]*[3]string)
	var domains []string
	for _, d := range daneDomains {
		domains = append(domains, d.domain)
	}
	domains = slices.AppendSeq(domains, maps.Keys(postfixHosts))
	for _, domain := range domains {
		ours[domain], postfixs[domain] = new([3]string), new([3]string)
	}
	verifiedBy := make(map[string]string)
	for pass, cert := range []*tls.Certificate{&right, &wrong, nil} {
		a := &arrivals{by: make(map[string]string)}
		stop := a.serveHosts(t, cert)
		sending := make(chan map[string]sent, 1)
		go func() { sending <- sendAll(t, domains) }()
		byPostfix := postfixAll(t, dir, domains)
		byUs := <-sending
		for _, domain := range domains {
			ours[domain][pass] = a.of("ours@"+domain, byUs[domain].outcome)
			postfixs[domain][pass] = a.of("postfix@"+domain, byPostfix[domain])
			if pass == 0 {
				verifiedBy[domain] = byUs[domain].VerifiedBy
			}
		}
		stop()
	}
	for _, d := range daneDomains {
		want := d.mail
		switch {
		case want != "":
		case strings.HasPrefix(d.want, "4"):
			want = "deferred"
		case strings.HasPrefix(d.want, "5"):
			want = "gone"
		default:
			want = d.want
		}
		if got := concluded(*ours[d.domain]); got != want {
			t.Errorf("%s: got %s, want %s", d.domain, got, want)
		}
		if by := verifiedBy[d.domain]; strings.HasPrefix(want, "verified ") != strings.HasPrefix(by, "TLSA ") {
			t.Errorf("%s: got a certificate verified by %q, want %s", d.domain, by, want)
		}
		if d.postfix != "" {
			want = d.postfix
		}
		got := concluded(*postfixs[d.domain])
		if strings.HasPrefix(want, "encrypted ") && got == "encrypted" {
			got = want // Postfix sends no SNI for the usages 0 and 1; nothing depends on it without verification
		}
		if got != want {
			t.Errorf("%s, Postfix: got %s, want %s %s", d.domain, got, want, d.why)
		}
	}
	for domain, by := range postfixHosts {
		want := "gone" // from the queues; a Postfix is no Handler of ours
		if by == "" {
			want = "deferred"
		}
		if got := ours[domain][0]; got != want || !strings.HasPrefix(verifiedBy[domain], by) || by == "" && verifiedBy[domain] != "" {
			t.Errorf("%s: got %s by %q, want %s by %q", domain, got, verifiedBy[domain], want, by)
		}
		if got := postfixs[domain][0]; got != want {
			t.Errorf("%s, Postfix: got %s, want %s", domain, got, want)
		}
	}
}

// postfixServers returns the SMTP servers of Postfix in master.cf, which present a chain and discard the mail. Their
// name is another one than that of its client, which would find a loop.
func postfixServers(t *testing.T, dir string, chain ...*daneCert) (lines []string) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(chain[0].key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	for _, c := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	file := filepath.Join(dir, "chain.pem")
	write(t, file, string(text))
	for n := range len(postfixHosts) {
		lines = append(lines, fmt.Sprintf("192.0.2.%d:25 inet n - n - - smtpd -o myhostname=mx.test -o content_filter=discard:"+
			" -o smtpd_tls_security_level=may -o smtpd_tls_chain_files=%s", daneHosts+1+n, file))
	}
	return lines
}

// sent is what became of a mail of ours, "deferred" or "gone", and the Security of its last session.
type sent struct {
	client.Security
	outcome string
}

// sendAll sends a mail to each domain by a Transport that has just started. It asks the servers of resolv.conf.
func sendAll(t *testing.T, domains []string) map[string]sent {
	t.Helper()
	tr := &client.Transport{Hostname: "client.test", Router: &mx.Router{AllowPrivate: true}, Policies: []mx.Policy{dane.Policy{}}, IdleTimeout: -1}
	all := make(map[string]sent)
	var mu sync.Mutex
	tr.Tried = func(ctx context.Context, try client.Try) {
		mu.Lock()
		defer mu.Unlock()
		all[ctx.Value(tr).(string)] = sent{Security: try.Security}
	}
	defer tr.Close()
	var wg sync.WaitGroup
	for _, domain := range domains {
		wg.Go(func() {
			ctx := context.WithValue(t.Context(), tr, domain)
			results, _ := tr.Send(ctx, smtp.NewEnvelope("ann@client.test", "ours@"+domain), smtp.Text("Hello.\n"))
			mu.Lock()
			defer mu.Unlock()
			s := all[domain]
			if s.outcome = "gone"; results[0].Outcome == smtp.Deferred {
				s.outcome = "deferred"
			}
			all[domain] = s
		})
	}
	wg.Wait()
	return all
}

// postfixAll has Postfix send a mail to all domains, and returns for each domain "deferred" if it is in the queue at the
// end, and "gone" otherwise. It empties the queue.
func postfixAll(t *testing.T, dir string, domains []string) map[string]string {
	t.Helper()
	etc := filepath.Join(dir, "etc")
	args := []string{"-C", etc, "-i", "-f", ""}
	all := make(map[string]string)
	for _, domain := range domains {
		args, all[domain] = append(args, "postfix@"+domain), "gone"
	}
	cmd := exec.Command("sendmail", args...)
	cmd.Stdin = strings.NewReader("Subject: hello\n\nHello.\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sendmail: %v\n%s", err, out)
	}
	type queued struct {
		Queue      string `json:"queue_name"`
		Recipients []struct {
			Address string
			Reason  string `json:"delay_reason"`
		}
	}
	var queue []queued
	eventually(t, "Postfix has tried all domains", func() bool {
		out, err := exec.Command("postqueue", "-c", etc, "-j").CombinedOutput()
		if err != nil {
			t.Fatalf("postqueue: %v\n%s", err, out)
		}
		queue = nil
		for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
			var m queued
			if err := dec.Decode(&m); err != nil {
				t.Fatalf("postqueue: %v\n%s", err, out)
			}
			queue = append(queue, m)
		}
		return len(queue) == 1 && queue[0].Queue == "deferred" // some are always deferred
	})
	for _, to := range queue[0].Recipients {
		for _, domain := range domains {
			if strings.EqualFold(to.Address, "postfix@"+domain) {
				all[domain] = "deferred"
			}
		}
		t.Logf("%s: %s", to.Address, to.Reason)
	}
	if out, err := exec.Command("postsuper", "-c", etc, "-d", "ALL").CombinedOutput(); err != nil {
		t.Fatalf("postsuper: %v\n%s", err, out)
	}
	return all
}
