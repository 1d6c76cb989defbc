package dns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestParseResolvConf(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"plain", "nameserver 192.0.2.1\n", "[192.0.2.1:53] 5s 2 false false false"},
		{"empty", "", "[127.0.0.1:53 [::1]:53] 5s 2 false false false"},
		{"several, a search list and comments", "# x\n; nameserver 192.0.2.8\n#nameserver 192.0.2.9\nsearch a.test b.test\ndomain c.test\nnameserver\t192.0.2.1 # the first\nnameserver 2001:db8::53\n",
			"[192.0.2.1:53 [2001:db8::53]:53] 5s 2 false false false"},
		{"with a zone", "nameserver fe80::1%eth0", "[[fe80::1%eth0]:53] 5s 2 false false false"},
		{"CRLF", "nameserver 192.0.2.1\r\noptions rotate\r\n", "[192.0.2.1:53] 5s 2 true false false"},
		{"no address", "nameserver dns.example\nnameserver\nnameserver 192.0.2.1:53\nnameserver 192.0.2.1\n", "[192.0.2.1:53] 5s 2 false false false"},
		{"three at most", "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n", "[192.0.2.1:53 192.0.2.2:53 192.0.2.3:53] 5s 2 false false false"},
		{"options", "nameserver 192.0.2.1\noptions ndots:5 timeout:1 edns0 trust-ad\noptions attempts:3 use-vc rotate\n", "[192.0.2.1:53] 1s 3 true true true"},
		{"options, too low", "nameserver 192.0.2.1\noptions timeout:0 attempts:-1\n", "[192.0.2.1:53] 1s 1 false false false"},
		{"options, too high", "nameserver 192.0.2.1\noptions timeout:99999999999 attempts:100 timeout:31\n", "[192.0.2.1:53] 30s 5 false false false"},
		{"options, no numbers", "nameserver 192.0.2.1\noptions timeout attempts: timeout:x rotation\n", "[192.0.2.1:53] 5s 2 false false false"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := parseResolvConf(test.text)
			if got := fmt.Sprint(c.servers, c.timeout, c.attempts, c.rotate, c.tcp, c.trustAD); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// TestResolvConf: the fields go before the file, and a file that has changed is read again.
func TestResolvConf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "resolv.conf")
		write := func(text string) {
			if err := os.WriteFile(path+"~", []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path+"~", path); err != nil {
				t.Fatal(err)
			}
		}
		r := &Resolver{ResolvConf: path}
		check := func(when, want string) {
			t.Helper()
			c, err := r.config()
			if got := fmt.Sprint(c.servers, c.timeout, c.attempts, c.rotate, c.tcp, err); got != want {
				t.Errorf("%s: got %s, want %s", when, got, want)
			}
		}
		check("no file", "[] 5s 2 false false "+errStandard.Error())
		write("nameserver 192.0.2.1\noptions attempts:4 timeout:7\n")
		time.Sleep(recheck)
		check("at first", "[192.0.2.1:53] 7s 4 false false <nil>")
		write("nameserver 192.0.2.2\noptions attempts:4 timeout:7\n")
		time.Sleep(recheck - 1)
		check("too early", "[192.0.2.1:53] 7s 4 false false <nil>")
		time.Sleep(time.Nanosecond)
		check("changed", "[192.0.2.2:53] 7s 4 false false <nil>")
		time.Sleep(recheck)
		check("unchanged", "[192.0.2.2:53] 7s 4 false false <nil>")
		os.Remove(path)
		time.Sleep(recheck)
		check("removed", "[192.0.2.2:53] 7s 4 false false <nil>")
		write("nameserver 192.0.2.3\n")
		time.Sleep(recheck)
		check("back", "[192.0.2.3:53] 5s 2 false false <nil>")

		r.Timeout, r.Attempts, r.Rotate, r.TCP = time.Second, 3, true, true
		check("with fields", "[192.0.2.3:53] 1s 3 true true <nil>")
		r.Servers = []string{"192.0.2.4", "192.0.2.4:5353", "2001:db8::53", "[2001:db8::53]:5353", "dns.test"}
		check("with Servers", "[192.0.2.4:53 192.0.2.4:5353 [2001:db8::53]:53 [2001:db8::53]:5353 dns.test:53] 1s 3 true true <nil>")
	})
}

func TestCheck(t *testing.T) {
	for server, ok := range map[string]bool{"192.0.2.1": true, "192.0.2.1:5353": true, "::1": true, "[::1]:53": true, "dns.test": true, "dns.test:53": true, "fe80::1%eth0": true,
		"": false, ":53": false, "192.0.2.1:": false, "192.0.2.1:0": false, "192.0.2.1:65536": false, "192.0.2.1:dns": false, "[::1]": false, "::1::": false} {
		err := (&Resolver{Servers: []string{"192.0.2.53", server}}).Check()
		if (err == nil) != ok || err != nil && !strings.HasPrefix(err.Error(), fmt.Sprintf("dns: Servers[1] is %q: ", server)) {
			t.Errorf("%q: got %v, want error: %t", server, err, !ok)
		}
	}
	missing := filepath.Join(t.TempDir(), "none")
	if err := (&Resolver{ResolvConf: missing}).Check(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a ResolvConf that isn't there: got %v, want an error", err)
	}
	if err := (&Resolver{ResolvConf: missing, Servers: []string{"192.0.2.53"}}).Check(); err != nil {
		t.Errorf("a ResolvConf that isn't read: got %v, want none", err)
	}
}

// TestStandard: without a resolv.conf, the standard resolver is asked. Its errors get phrases.
func TestStandard(t *testing.T) {
	s := newServers(t, nil)
	s.any = byName(map[string]func(*call){
		"example.net.":             byType(map[string]func(*call){"MX": says("example.net. 300 MX 10 mx.example.net."), "A": says("example.net. 300 A 192.0.2.1"), "TXT": says("example.net. 300 TXT x")}),
		"10.2.0.192.in-addr.arpa.": says("10.2.0.192.in-addr.arpa. 300 PTR a.example."),
		"fails.test.":              code(2),
		"refused.test.":            func(*call) {},
	})
	r := &Resolver{ResolvConf: filepath.Join(t.TempDir(), "none"), Dial: s.Dial}
	tests := []struct{ kind, name, want string }{
		{"MX", "example.net", "10 mx.example.net. (-1ns)"},
		{"TXT", "example.net", `"x" (-1ns)`},
		{"PTR", "192.0.2.10", "a.example. (-1ns)"},
		{"PTR", "192.0.2.11", "! no such records, not found (-1ns)"},
		{"ip4", "example.net", "192.0.2.1 (-1ns)"},
		{"ip6", "example.net", "! no such records, not found (-1ns)"},
		{"ip", "example.net", "192.0.2.1 (-1ns)"},
		{"MX", "gone.test", "! no such records, not found (-1ns)"},
		{"MX", "fails.test", "! the name servers of the system failed, temporary (-1ns)"},
		{"ip4", "fails.test", "! the name servers of the system failed, temporary (-1ns)"},
		{"MX", "a..b", "! not a valid name, not found (596523h14m7s)"},
	}
	for _, test := range tests {
		if got := result(t.Context(), r, test.kind, test.name); got != test.want {
			t.Errorf("%s %s: got %s, want %s", test.kind, test.name, got, test.want)
		}
	}
	for _, line := range s.asked {
		if strings.Contains(line, "localdomain") || strings.Contains(line, "example.net.example.net") {
			t.Errorf("asked %s, by a search list", line)
		}
	}
	_, err := r.LookupMX(t.Context(), "refused.test")
	if got, want := describe(err), "the name servers of the system failed, temporary"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestSystem: the resolver for the operator's names sends its queries to our servers.
func TestSystem(t *testing.T) {
	s := newServers(t, map[string]func(*call){"192.0.2.1": code(2), "192.0.2.2": byType(map[string]func(*call){"A": says("mail.test. 60 A 192.0.2.25")})})
	r := &Resolver{Servers: []string{"192.0.2.1", "192.0.2.2"}, Dial: s.Dial}
	ips, err := r.System().LookupNetIP(t.Context(), "ip4", "mail.test.")
	if err != nil || len(ips) != 1 || ips[0].Unmap().String() != "192.0.2.25" {
		t.Errorf("got %v, %v, want 192.0.2.25", ips, err)
	}
	if !slices.ContainsFunc(s.asked, func(line string) bool { return strings.HasPrefix(line, "udp 192.0.2.2") }) {
		t.Errorf("got queries %q, want both servers asked", s.asked)
	}
	if plain := new(Resolver).System(); plain.Dial != nil || !plain.PreferGo || !plain.StrictErrors {
		t.Errorf("got %+v, want the system's resolver", plain)
	}
	ips, err = r.System().LookupNetIP(t.Context(), "ip4", "localhost")
	if err != nil || len(ips) == 0 || !ips[0].IsLoopback() && !ips[0].Unmap().IsLoopback() {
		t.Errorf("localhost: got %v, %v, want what the hosts file has", ips, err)
	}
}

// TestSystemServerDown: a lookup goes on to the server that is up, even if another lookup is made after each failure.
func TestSystemServerDown(t *testing.T) {
	up := byType(map[string]func(*call){"A": says("mail.test. 60 A 192.0.2.25")})
	for _, test := range []struct {
		name string
		down func(*call)
	}{{"closes", func(*call) {}}, {"SERVFAIL", code(2)}, {"REFUSED", code(5)}} {
		t.Run(test.name, func(t *testing.T) {
			var r *Resolver
			down := func(c *call) {
				test.down(c)
				c.conn.Close()
				other, err := r.System().Dial(t.Context(), "udp", "192.0.2.53:53")
				if err != nil {
					t.Errorf("got error %v, want a connection", err)
					return
				}
				other.Close()
			}
			s := newServers(t, map[string]func(*call){"192.0.2.1": down, "192.0.2.2": up})
			r = &Resolver{Servers: []string{"192.0.2.1", "192.0.2.2"}, Dial: s.Dial}
			for range 3 {
				ips, err := r.System().LookupNetIP(t.Context(), "ip4", "mail.test.")
				if err != nil || len(ips) != 1 || ips[0].Unmap().String() != "192.0.2.25" {
					t.Errorf("got %v, %v, want 192.0.2.25", ips, err)
				}
			}
		})
	}
}

// TestSystemResolvConf: the servers of another resolv.conf and its use-vc apply to the operator's names, too.
func TestSystemResolvConf(t *testing.T) {
	s := newServers(t, map[string]func(*call){"192.0.2.1": byType(map[string]func(*call){"A": says("mail.test. 60 A 192.0.2.25")})})
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, []byte("nameserver 192.0.2.1\noptions use-vc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &Resolver{ResolvConf: file, Dial: s.Dial}
	ips, err := r.System().LookupNetIP(t.Context(), "ip4", "mail.test.")
	if err != nil || len(ips) != 1 || ips[0].Unmap().String() != "192.0.2.25" {
		t.Errorf("got %v, %v, want 192.0.2.25", ips, err)
	}
	if want := []string{"tcp 192.0.2.1 mail.test. A"}; !slices.Equal(s.asked, want) {
		t.Errorf("got queries %q, want %q", s.asked, want)
	}
}
