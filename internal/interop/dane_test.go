package interop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/mx/dane"
	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/smtp"
)

// daneConf is for a port and the directory. It gives no answer about what is below _tcp.mx.slow.test.
const daneConf = `server:
  interface: 127.0.0.1
  port: %s
  directory: "%[2]s"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  do-ip6: no
  module-config: "validator iterator"
  trust-anchor-file: "%[2]s/test.key"
  local-zone: "test." nodefault
  local-zone: "_tcp.mx.slow.test." deny
remote-control:
  control-enable: no
`

const (
	daneSOA  = "$TTL 300\n@ SOA ns.test. hostmaster.test. 1 3600 600 86400 60\n@ NS ns.test.\n"
	daneHash = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
)

// daneZones are the zones by name. HASH is a digest. All are signed but plain.test, and the parent says so.
var daneZones = map[string]string{
	"test.": `ns A 192.0.2.53
good MX 10 mx.good
mx.good A 192.0.2.1
mx.good AAAA 2001:db8:1::1
_25._tcp.mx.good TLSA 3 1 1 HASH
good4 MX 10 mx.good4
mx.good4 A 192.0.2.2
_25._tcp.mx.good4 CNAME tlsa
tlsa TLSA 2 0 1 HASH
tlsa TLSA 3 1 1 HASH
alone A 192.0.2.3
_25._tcp.alone TLSA 3 1 1 HASH
none MX 10 mx.none
mx.none A 192.0.2.4
pkix MX 10 mx.pkix
mx.pkix A 192.0.2.5
_25._tcp.mx.pkix TLSA 1 1 1 HASH
star MX 10 mx.star
mx.star A 192.0.2.6
*.mx.star TLSA 3 1 1 HASH
domain-alias CNAME good
alias MX 10 to-good
to-good CNAME mx.good
alias-own MX 10 to-none
to-none CNAME mx.none
_25._tcp.to-none TLSA 3 1 1 HASH
alias-out MX 10 to-plain
to-plain CNAME mx.plain
_25._tcp.to-plain TLSA 3 1 1 HASH
alias-out-none MX 10 to-plain-none
to-plain-none CNAME mx.plain
out MX 10 mx.plain
slow MX 10 mx.slow
mx.slow A 192.0.2.7
forged-tlsa MX 10 mx.bogus
forged-alias MX 10 to-forged
to-forged CNAME alias.bogus
plain NS ns
bogus NS ns
expired NS ns
`,
	"plain.test.": `@ MX 10 mx
mx A 192.0.2.20
_25._tcp.mx TLSA 3 1 1 HASH
good MX 10 mx.good.test.
to-good CNAME good.test.
`,
	"bogus.test.": `@ MX 77 mx
mx A 192.0.2.30
_25._tcp.mx TLSA 3 1 1 HASH
alias CNAME mx.plain.test.
`,
	"expired.test.": `@ MX 10 mx.good.test.
`,
}

// startValidator starts a resolver that validates by the key of test. The MX, TLSA and CNAME records of bogus.test were
// changed after they were signed, and the signatures of expired.test ended a week ago: unbound allows a day for clocks.
func startValidator(t *testing.T) (addr string) {
	t.Helper()
	need(t, "unbound", "ldns-keygen", "ldns-signzone")
	dir, port := t.TempDir(), freePort(t)
	conf := fmt.Sprintf(daneConf, port, dir)
	parent := daneZones["test."]
	for _, zone := range []string{"plain.test.", "bogus.test.", "expired.test.", "test."} {
		text, end := daneZones[zone], time.Now().AddDate(0, 0, 7)
		switch zone {
		case "expired.test.":
			end = time.Now().AddDate(0, 0, -7)
		case "test.":
			text = parent
		}
		name := strings.TrimSuffix(zone, ".")
		file := filepath.Join(dir, name)
		write(t, file, "$ORIGIN "+zone+"\n"+daneSOA+strings.ReplaceAll(text, "HASH", daneHash))
		if zone != "plain.test." {
			parent += signZone(t, file, zone, end)
			file += ".signed"
		}
		if zone == "bogus.test." {
			changeFile(t, file, "MX\t77 ", "MX\t78 ", "TLSA\t3 1 1 0011", "TLSA\t3 1 1 ff11", "\tmx.plain.test.", "\tmx.good.test.")
		}
		conf += fmt.Sprintf("auth-zone:\n  name: %q\n  zonefile: %q\n  for-downstream: no\n  fallback-enabled: no\n", zone, file)
	}
	write(t, filepath.Join(dir, "conf"), conf)
	startServer(t, "", copied(t, dir, "unbound"), "-d", "-c", filepath.Join(dir, "conf"))
	waitPort(t, port)
	return "127.0.0.1:" + port
}

// signZone signs a zone file by a new key, to file.signed, and writes the key to file.key. It returns the DS record.
func signZone(t *testing.T, file, zone string, end time.Time) (ds string) {
	t.Helper()
	run := func(name string, args ...string) string {
		cmd := exec.Command(name, args...)
		cmd.Dir = filepath.Dir(file)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	key := run("ldns-keygen", "-k", "-a", "ECDSAP256SHA256", zone)
	const date = "20060102150405"
	run("ldns-signzone", "-i", end.AddDate(0, -1, 0).UTC().Format(date), "-e", end.UTC().Format(date), filepath.Base(file), key)
	read := func(suffix string) string {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(file), key+suffix))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	write(t, file+".key", read(".key"))
	return read(".ds")
}

// changeFile replaces texts, each of which must be there.
func changeFile(t *testing.T, file string, pairs ...string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(string(text), pairs[i]) {
			t.Fatalf("%s has no %q:\n%s", file, pairs[i], text)
		}
		text = []byte(strings.ReplaceAll(string(text), pairs[i], pairs[i+1]))
	}
	write(t, file, string(text))
}

// demanded shows what DANE demands of the first host of a domain: level and SNI, or the reply.
func demanded(ctx context.Context, r *mx.Router, domain string) string {
	reply := func(err error) string {
		if r, ok := errors.AsType[*smtp.Reply](err); ok {
			return fmt.Sprintf("%d %s", r.Code, r.Enhanced)
		}
		return err.Error()
	}
	route, err := r.Route(ctx, domain)
	if err != nil {
		return reply(err)
	}
	if _, err := r.Addrs(ctx, route, route.Hosts[0]); err != nil {
		return reply(err)
	}
	to, err := r.Target(ctx, route, route.Hosts[0])
	if err != nil {
		return reply(err)
	}
	need, err := dane.Policy{}.Require(ctx, to)
	if err != nil {
		return reply(err)
	}
	return strings.TrimSpace(need.Level.String() + " " + need.ServerName)
}

// TestDANE: what DANE demands by the answers of a resolver that validates, by UDP and by TCP.
func TestDANE(t *testing.T) {
	addr := startValidator(t)
	untrusted := &mx.Router{Resolver: &dns.Resolver{Servers: []string{addr}}}
	if got := demanded(t.Context(), untrusted, "good.test"); got != "nothing" {
		t.Errorf("without TrustAD: got %s, want nothing", got)
	}
	for way, resolver := range map[string]*dns.Resolver{
		"UDP": {Servers: []string{addr}, TrustAD: true, Timeout: 2 * time.Second},
		"TCP": {Servers: []string{addr}, TrustAD: true, Timeout: 2 * time.Second, TCP: true},
	} {
		r := &mx.Router{Resolver: resolver}
		for domain, want := range map[string]string{
			"good.test":           "verified mx.good.test",
			"GOOD.test":           "verified mx.good.test",
			"good4.test":          "verified mx.good4.test",
			"alone.test":          "verified alone.test",
			"none.test":           "nothing",
			"pkix.test":           "encrypted mx.pkix.test",
			"star.test":           "verified mx.star.test",
			"domain-alias.test":   "verified mx.good.test",
			"alias.test":          "verified mx.good.test",
			"alias-own.test":      "verified to-none.test",
			"alias-out.test":      "verified to-plain.test",
			"alias-out-none.test": "nothing",
			"out.test":            "nothing",
			"plain.test":          "nothing",
			"good.plain.test":     "nothing", // the MX record is insecure
			"to-good.plain.test":  "nothing", // the alias is
			"gone.test":           "550 5.1.2",
			"slow.test":           "451 4.4.3",
			"forged-tlsa.test":    "451 4.4.3",
			"forged-alias.test":   "451 4.4.3",
			"bogus.test":          "451 4.4.3",
			"expired.test":        "451 4.4.3",
		} {
			if got := demanded(t.Context(), r, domain); got != want {
				t.Errorf("%s, %s: got %s, want %s", domain, way, got, want)
			}
		}
	}
}
