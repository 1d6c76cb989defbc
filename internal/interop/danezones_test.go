package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
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

const daneSOA = "$TTL 300\n@ SOA ns.test. hostmaster.test. 1 3600 600 86400 60\n@ NS ns.test.\n"

// daneHosts is how many addresses of daneZones have a mail host: 192.0.2.1 to 192.0.2.40. daneSmall is the one behind a
// firewall that breaks a connection with a large ClientHello.
const (
	daneHosts = 40
	daneSmall = "192.0.2.40"
)

// daneZone is a zone and how it is signed. A parent comes after its children.
type daneZone struct {
	name, text string

	unsigned bool          // and so is the delegation
	life     time.Duration // of the signatures; if zero, a week
	lateTLSA bool          // the signatures of the TLSA records are those of a week ago; unbound allows a day for clocks
	nsec3    bool          // with opt-out
	strange  bool          // the digest in the parent is of a type that nobody knows
	rolled   bool          // the parent knows another key
	changes  []string      // texts that were replaced after it was signed
	removed  string        // a pattern of lines that were removed after it was signed
}

// daneZones have the digests HASH of a host's key, ROOT of the certificate above it, KEY of its key, and OTHER of nothing.
var daneZones = []daneZone{
	{name: "plain.test.", unsigned: true, text: `@ MX 10 mx
mx A 192.0.2.20
_25._tcp.mx TLSA 3 1 1 HASH
good MX 10 mx.good.test.
to-good CNAME good.test.
`},
	{name: "bogus.test.", changes: []string{"MX\t77 ", "MX\t78 ", "TLSA\t3 1 1 ffee", "TLSA\t3 1 1 0000", "\tmx.plain.test.", "\tmx.good.test.", "A\t192.0.2.31", "A\t192.0.2.1"},
		removed: `(?m)^_25\._tcp\.stripped.*\t(RRSIG\t)?TLSA[\t ].*\n`, text: `@ MX 77 mx
mx A 192.0.2.30
_25._tcp.mx TLSA 3 1 1 OTHER
alias CNAME mx.plain.test.
addr A 192.0.2.31
stripped A 192.0.2.32
_25._tcp.stripped TLSA 3 0 1 HASH
`},
	{name: "expired.test.", life: -7 * 24 * time.Hour, text: "@ MX 10 mx.good.test.\n"},
	{name: "late.test.", lateTLSA: true, text: "@ MX 10 mx\nmx A 192.0.2.33\n_25._tcp.mx TLSA 3 1 1 HASH\n"},
	{name: "rolled.test.", rolled: true, text: "@ MX 10 mx.good.test.\n"},
	{name: "strange.test.", strange: true, text: "@ MX 10 mx\nmx A 192.0.2.34\n_25._tcp.mx TLSA 3 1 1 HASH\n"},
	{name: "hole.optout.test.", unsigned: true, text: "@ MX 10 mx\nmx A 192.0.2.35\n_25._tcp.mx TLSA 3 1 1 HASH\n"},
	{name: "optout.test.", nsec3: true, text: `@ MX 10 mx
mx A 192.0.2.36
_25._tcp.mx TLSA 3 1 1 HASH
none MX 10 mx.none
mx.none A 192.0.2.37
hole NS ns.test.
`},
	{name: "test.", text: `ns A 192.0.2.53
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
alone-alias CNAME alone
none MX 10 mx.none
mx.none A 192.0.2.4
nodata MX 10 mx.nodata
mx.nodata A 192.0.2.12
_25._tcp.mx.nodata TXT "no TLSA records"
pkix-ta MX 10 mx.pkix-ta
mx.pkix-ta A 192.0.2.13
_25._tcp.mx.pkix-ta TLSA 0 0 1 ROOT
pkix-ee MX 10 mx.pkix-ee
mx.pkix-ee A 192.0.2.5
_25._tcp.mx.pkix-ee TLSA 1 1 1 HASH
pkix-both MX 10 mx.pkix-both
mx.pkix-both A 192.0.2.14
_25._tcp.mx.pkix-both TLSA 1 1 1 OTHER
_25._tcp.mx.pkix-both TLSA 3 1 1 HASH
short MX 10 mx.short
mx.short A 192.0.2.15
_25._tcp.mx.short TLSA 3 1 1 ffee
ta MX 10 mx.ta
mx.ta A 192.0.2.8
_25._tcp.mx.ta TLSA 2 0 1 ROOT
ta-domain MX 10 mx.ta-domain
mx.ta-domain A 192.0.2.9
_25._tcp.mx.ta-domain TLSA 2 0 1 ROOT
ta-other MX 10 mx.ta-other
mx.ta-other A 192.0.2.10
_25._tcp.mx.ta-other TLSA 2 0 1 ROOT
star MX 10 mx.star
mx.star A 192.0.2.6
*.mx.star TLSA 3 1 1 HASH
star-alias MX 10 mx.star-alias
mx.star-alias A 192.0.2.11
*._tcp.mx.star-alias CNAME tlsa
*.wild MX 10 mx.good
domain-alias CNAME good
alias MX 10 to-good
to-good CNAME mx.good
alias-own MX 10 to-none
to-none CNAME mx.none
_25._tcp.to-none TLSA 3 1 1 HASH
alias-both MX 10 to-good4
to-good4 CNAME mx.good4
_25._tcp.to-good4 TLSA 3 1 1 OTHER
alias-out MX 10 to-plain
to-plain CNAME mx.plain
_25._tcp.to-plain TLSA 3 1 1 HASH
alias-out-none MX 10 to-plain-none
to-plain-none CNAME mx.plain
moved DNAME new
x.new MX 10 mx.good
mx.new CNAME mx.good
to-moved MX 10 mx.moved
tcp-moved MX 10 mx.tcp-moved
mx.tcp-moved A 192.0.2.16
_tcp.mx.tcp-moved DNAME _tcp.mx.good
out MX 10 mx.plain
slow MX 10 mx.slow
mx.slow A 192.0.2.7
slow-first MX 10 mx.slow
slow-first MX 20 mx.good
lame MX 10 mx.lame
mx.lame A 192.0.2.17
_tcp.mx.lame NS ns.lame
ns.lame A 127.0.0.1
small MX 10 mx.small
mx.small A 192.0.2.40
_25._tcp.mx.small TLSA 3 1 1 HASH
postfix-ee MX 10 mx.postfix-ee
mx.postfix-ee A 192.0.2.41
_25._tcp.mx.postfix-ee TLSA 3 1 1 HASH
postfix-ta MX 10 mx.postfix-ta
mx.postfix-ta A 192.0.2.42
_25._tcp.mx.postfix-ta TLSA 2 1 1 KEY
postfix-wrong MX 10 mx.postfix-wrong
mx.postfix-wrong A 192.0.2.43
_25._tcp.mx.postfix-wrong TLSA 3 1 1 OTHER
postfix-name MX 10 mx.postfix-name
mx.postfix-name A 192.0.2.44
_25._tcp.mx.postfix-name TLSA 2 1 1 KEY
forged-tlsa MX 10 mx.bogus
forged-alias MX 10 to-forged
to-forged CNAME alias.bogus
forged-addr MX 10 addr.bogus
stripped MX 10 stripped.bogus
plain NS ns
bogus NS ns
expired NS ns
late NS ns
rolled NS ns
strange NS ns
optout NS ns
`},
}

// insecureMX is why Postfix demands more. RFC 7672 §2.2.1 leaves it open, and Postfix leaves it to the setting
// smtp_tls_dane_insecure_mx_policy. It protects nothing: an attacker who forges the MX record names a host of his own,
// whose records match.
const insecureMX = "RFC 7672 §2.2.1: the MX record is insecure, so the host may be anybody's"

// daneDomains are the domains of daneZones.
var daneDomains = []struct {
	domain string
	want   string // what is demanded of the first host: level and SNI, or the reply

	// mail is how it arrives. If empty, as want has it: "deferred" for a 4xx, "gone" for a 5xx.
	mail string
	// postfix is how it arrives by Postfix, with why this differs. If empty, as by us.
	postfix, why string
}{
	{domain: "good.test", want: "verified mx.good.test"},
	{domain: "GOOD.test", want: "verified mx.good.test"},
	{domain: "good4.test", want: "verified mx.good4.test"},
	{domain: "alone.test", want: "verified alone.test"},
	{domain: "alone-alias.test", want: "verified alone.test"},
	{domain: "none.test", want: "nothing"},
	{domain: "nodata.test", want: "nothing"},
	{domain: "pkix-ta.test", want: "encrypted mx.pkix-ta.test"},
	{domain: "pkix-ee.test", want: "encrypted mx.pkix-ee.test"},
	{domain: "pkix-both.test", want: "verified mx.pkix-both.test"},
	{domain: "short.test", want: "encrypted mx.short.test"},
	{domain: "ta.test", want: "verified mx.ta.test"},
	{domain: "ta-domain.test", want: "verified mx.ta-domain.test"},
	{domain: "ta-other.test", want: "verified mx.ta-other.test", mail: "deferred"}, // the certificate has neither name
	{domain: "star.test", want: "verified mx.star.test"},
	{domain: "star-alias.test", want: "verified mx.star-alias.test"},
	{domain: "x.wild.test", want: "verified mx.good.test"},
	{domain: "domain-alias.test", want: "verified mx.good.test"},

	// RFC 7672 §2.2.2: the name at the end of the aliases comes first, if it is secure, and then the host's own one.
	{domain: "alias.test", want: "verified mx.good.test"},
	{domain: "alias-own.test", want: "verified to-none.test"},
	{domain: "alias-both.test", want: "verified mx.good4.test"},
	{domain: "alias-out.test", want: "verified to-plain.test"},
	{domain: "alias-out-none.test", want: "nothing"},
	{domain: "x.moved.test", want: "verified mx.good.test"},
	{domain: "to-moved.test", want: "verified mx.good.test"},
	{domain: "tcp-moved.test", want: "verified mx.tcp-moved.test"},

	// Without DNSSEC on the whole way there is no DANE.
	{domain: "out.test", want: "nothing"},
	{domain: "plain.test", want: "nothing"},
	{domain: "good.plain.test", want: "nothing", postfix: "verified mx.good.test", why: insecureMX},
	{domain: "to-good.plain.test", want: "nothing", postfix: "verified mx.good.test", why: insecureMX}, // by an alias
	{domain: "strange.test", want: "nothing"},
	{domain: "hole.optout.test", want: "nothing"},
	{domain: "optout.test", want: "verified mx.optout.test"},
	{domain: "none.optout.test", want: "nothing"},

	// Nothing is delivered while the answer isn't known.
	{domain: "gone.test", want: "550 5.1.2"},
	{domain: "slow.test", want: "451 4.4.3"},
	{domain: "slow-first.test", want: "451 4.4.3", mail: "verified mx.good.test"},
	{domain: "lame.test", want: "451 4.4.3"},
	{domain: "forged-tlsa.test", want: "451 4.4.3"},
	{domain: "forged-alias.test", want: "451 4.4.3"},
	{domain: "forged-addr.test", want: "451 4.4.3"},
	{domain: "stripped.test", want: "451 4.4.3"},
	{domain: "bogus.test", want: "451 4.4.3"},
	{domain: "expired.test", want: "451 4.4.3"},
	{domain: "late.test", want: "451 4.4.3"},
	{domain: "rolled.test", want: "451 4.4.3"},

	{domain: "small.test", want: "verified mx.small.test"},
}

// startValidator starts a resolver at a port that validates by the key of test.
func startValidator(t *testing.T, port string, digests *strings.Replacer) (addr string) {
	t.Helper()
	need(t, "unbound", "ldns-keygen", "ldns-signzone")
	dir := t.TempDir()
	conf, delegations := fmt.Sprintf(daneConf, port, dir), ""
	for _, zone := range daneZones {
		file := filepath.Join(dir, strings.TrimSuffix(zone.name, "."))
		text := "$ORIGIN " + zone.name + "\n" + daneSOA + digests.Replace(zone.text)
		if zone.name == "test." {
			text += delegations
		}
		write(t, file, text)
		if !zone.unsigned {
			delegations += zone.sign(t, file)
			file += ".signed"
		}
		conf += fmt.Sprintf("auth-zone:\n  name: %q\n  zonefile: %q\n  for-downstream: no\n  fallback-enabled: no\n", zone.name, file)
	}
	write(t, filepath.Join(dir, "conf"), conf)
	startServer(t, "", copied(t, dir, "unbound"), "-d", "-c", filepath.Join(dir, "conf"))
	waitPort(t, port)
	return "127.0.0.1:" + port
}

// sign signs a zone file by a new key, to file.signed, and writes the key to file.key. It returns the DS record.
func (z *daneZone) sign(t *testing.T, file string) (ds string) {
	t.Helper()
	dir := filepath.Dir(file)
	run := func(name string, args ...string) string {
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	newKey := func() string { return run("ldns-keygen", "-k", "-a", "ECDSAP256SHA256", z.name) }
	key := newKey()
	to := func(out string, life time.Duration) string {
		const date = "20060102150405"
		end := time.Now().Add(life).UTC()
		args := []string{"-i", end.AddDate(0, -1, 0).Format(date), "-e", end.Format(date), "-f", out}
		if z.nsec3 {
			args = append(args, "-n", "-p", "-t", "0")
		}
		run("ldns-signzone", append(args, file, key)...)
		return read(t, out)
	}
	const week = 7 * 24 * time.Hour
	life := z.life
	if life == 0 {
		life = week
	}
	signed := to(file+".signed", life)
	if z.lateTLSA {
		signature := regexp.MustCompile(`(?m)^.*\tRRSIG\tTLSA .*$`)
		late := signature.FindString(to(file+".late", -week))
		if late == "" || !signature.MatchString(signed) {
			t.Fatalf("no signature of a TLSA record in %s", signed)
		}
		signed = signature.ReplaceAllLiteralString(signed, late)
	}
	for i := 0; i < len(z.changes); i += 2 {
		if !strings.Contains(signed, z.changes[i]) {
			t.Fatalf("%s has no %q:\n%s", z.name, z.changes[i], signed)
		}
		signed = strings.ReplaceAll(signed, z.changes[i], z.changes[i+1])
	}
	if z.removed != "" {
		lines := regexp.MustCompile(z.removed)
		if !lines.MatchString(signed) {
			t.Fatalf("%s has no %s:\n%s", z.name, z.removed, signed)
		}
		signed = lines.ReplaceAllString(signed, "")
	}
	write(t, file+".signed", signed)
	write(t, file+".key", read(t, filepath.Join(dir, key+".key")))
	if z.rolled {
		key = newKey()
	}
	ds = read(t, filepath.Join(dir, key+".ds"))
	if z.strange {
		ds = regexp.MustCompile(`(DS\t\d+ \d+) 2 `).ReplaceAllString(ds, "$1 200 ")
		if !strings.Contains(ds, " 200 ") {
			t.Fatalf("got DS record %s", ds)
		}
	}
	return ds + "\n"
}

// read returns the text of a file.
func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
