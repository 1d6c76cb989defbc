package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// TestCluster sends mail through three relays: each mail arrives once.
func TestCluster(t *testing.T) {
	const relays, each = 3, 20
	inbox := newSink(t, 0)
	c := start(t, relays, freePorts(t, relays), "-dsn", database(t), "-smarthost", inbox.addr)
	for i := range relays {
		sub := &client.Submission{Addr: c.addr(i + 1), TLS: mx.TLSNone, LeaveIncomplete: true}
		for n := range each {
			send(t, sub, fmt.Sprintf("sender%d@example.com", n), fmt.Sprintf("r%d-%d@example.net", i, n))
		}
		sub.Close()
	}
	until(t, 30*time.Second, "some mail is missing", func() bool { return len(inbox.mails()) == relays*each })
	c.stop(t)
	for to, when := range inbox.mails() {
		if len(when) != 1 {
			t.Errorf("got %d mails to %s, want 1", len(when), to)
		}
	}
}

func send(t *testing.T, sub *client.Submission, from, to string) {
	t.Helper()
	results, err := sub.Send(t.Context(), smtp.NewEnvelope(from, to), smtp.Text("Subject: hello\n\nHello.\n"))
	if err != nil || results[0].Outcome != smtp.Delivered {
		t.Fatalf("%s: got %v and %v", to, results, err)
	}
}

// TestRelayFlags has flags of examples/relay apply to each relay: all listen at each role, have files and a page of their
// own, and all show the same queue.
func TestRelayFlags(t *testing.T) {
	const relays = 2
	dsn, dir, inbox := database(t), t.TempDir(), newSink(t, 0)
	network := smtptest.NewNetwork(t)
	writeKeys(t, dir, network.Certificate("cluster.test"))
	write(t, dir, "password", "secret\n")
	ports := freePorts(t, 3*relays)
	c := start(t, relays, ports, "-dsn", dsn, "-schema", "mail", "-connections", "12", "-site-limit", "3",
		"-smarthost", inbox.addr, "-route", "example.org=127.0.0.1:1", // nobody listens there
		"-submission", fmt.Sprintf("127.0.0.1:%d", ports+relays), "-http", fmt.Sprintf("127.0.0.1:%d", ports+2*relays),
		"-user", "ann", "-password-file", filepath.Join(dir, "password"), "-lmtp", filepath.Join(dir, "lmtp"),
		"-cert", filepath.Join(dir, "cert"), "-key", filepath.Join(dir, "key"), "-accept", "cluster.test",
		"-greylist", "-state", filepath.Join(dir, "state"))
	for i := range relays {
		sub := &client.Submission{
			Addr: fmt.Sprintf("127.0.0.1:%d", ports+relays+i), Auth: &client.Credentials{Username: "ann", Password: "secret"},
			TLSConfig: &tls.Config{RootCAs: network.RootCAs(), ServerName: "cluster.test"},
		}
		send(t, sub, "ann@cluster.test", fmt.Sprintf("r%d@example.net", i))
		send(t, sub, "ann@cluster.test", fmt.Sprintf("r%d@example.org", i))
		sub.Close()
		for _, name := range []string{numbered("lmtp", i), numbered("state", i) + ".greylist"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
				t.Errorf("relay %d: %s: %v", i+1, name, err)
			}
		}
	}
	until(t, 30*time.Second, "some mail is missing", func() bool { return len(inbox.mails()) == relays })
	for i := range relays {
		r, err := http.NewRequest("GET", fmt.Sprintf("http://127.0.0.1:%d/messages", ports+2*relays+i), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("ann", "secret")
		until(t, 10*time.Second, "a page lacks mail", func() bool {
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			page := new(strings.Builder)
			if err := resp.Write(page); err != nil {
				t.Fatal(err)
			}
			return strings.Contains(page.String(), "r0@example.org") && strings.Contains(page.String(), "r1@example.org")
		})
	}
	out, err := program(t, "-dsn", dsn, "-schema", "mail", "-list").CombinedOutput()
	if lines := strings.Count(string(out), "\n"); err != nil || lines != 1+relays || !strings.Contains(string(out), "<r1@example.org>") {
		t.Errorf("-list: got %v and\n%s\nwant %d mails", err, out, relays)
	}
	c.stop(t)
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// writeKeys writes a certificate and its key.
func writeKeys(t *testing.T, dir string, pair tls.Certificate) {
	t.Helper()
	var certs []byte
	for _, c := range pair.Certificate {
		certs = append(certs, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})...)
	}
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "cert", string(certs))
	write(t, dir, "key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
}

// TestFlags gives flags that are wrong. Each is one line, before a relay is started.
func TestFlags(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, filepath.Dir(file), "file", "")
	user := []string{"-user", "ann", "-password-file", file, "-cert", "/nowhere", "-key", "/nowhere"}
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"no database", []string{"-dsn", ""}, "-dsn is missing"},
		{"not a database", []string{"-dsn", "x"}, "cannot parse"},
		{"a database that isn't there", []string{"-dsn", "postgres://127.0.0.1:1/x"}, "failed to connect"},
		{"no relays", []string{"-relays", "0"}, "-relays"},
		{"no connections", []string{"-connections", "1"}, "-connections"},
		{"no state", []string{"-state", ""}, "-state"},
		{"a spool", []string{"-spool", "x"}, "-spool"},
		{"no address", []string{"-listen", ""}, "-listen: missing port"},
		{"no port", []string{"-listen", "127.0.0.1"}, "-listen"},
		{"a port without a next one", []string{"-listen", "127.0.0.1:65534"}, "relay 3 would have port 65536"},
		{"an unknown port", []string{"-listen", "127.0.0.1:mail!"}, "-listen"},
		{"ports that meet", []string{"-listen", "127.0.0.1:25", "-lmtp", "127.0.0.1:27"},
			"-lmtp of relay 1 and -listen of relay 3 are both 127.0.0.1:27"},
		{"bad network", []string{"-allow", "127.0.0.0/99"}, "-allow"},
		{"bad retry", []string{"-retry", "5m,never"}, "never"},
		{"bad route", []string{"-route", "example.com"}, "-route"},
		{"stray argument", []string{"now"}, "now"},
		{"no certificate", []string{"-cert", "/nowhere", "-key", "/nowhere"}, "/nowhere"},
		{"no certificate for users", append(user, "-submission", "127.0.0.1:0"), "/nowhere"},
		{"no DKIM key", []string{"-dkim-domain", "a.test", "-dkim-selector", "a", "-dkim-key", file}, "-dkim-key"},
		{"no address for reports", []string{"-tls-report", "reports"}, "-tls-report"},
		{"no source", []string{"-source", "mail.example.com"}, "-source"},
		{"user without TLS", []string{"-user", "ann"}, "-cert"},
		{"submission without a user", []string{"-submission", "127.0.0.1:0"}, "-user"},
		{"certificate without a key", []string{"-cert", "/nowhere"}, "-key"},
		{"two routes", []string{"-route", "example.com=a:25", "-route", "Example.com=b:25"}, "example.com"},
		{"a time that has passed", []string{"-max-age", "-1h"}, "-max-age"},
		{"a page for others", []string{"-http", "0.0.0.0:8025"}, "-http"},
		{"no size", []string{"-max-size", "0"}, "-max-size"},
		{"no such port", []string{"-port", "65536"}, "-port"},
		{"no limit of a site", []string{"-site-limit", "-1"}, "-site-limit"},
		{"no host name", []string{"-hostname", "a..b"}, "-hostname"},
		{"unknown flag", []string{"-frobnicate"}, "-help"},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := append([]string{"-dsn", "host=/nowhere", "-hostname", "cluster.test"}, test.args...)
			out, err := program(t, args...).CombinedOutput()
			if err == nil {
				t.Error("got status 0, want another")
			}
			if got := string(out); !strings.Contains(got, test.want) || strings.Index(got, "\n") != len(got)-1 {
				t.Errorf("got %q, want one line with %q", got, test.want)
			}
		})
	}
}

// TestHelp asks for the flags: those of this program and those of examples/relay.
func TestHelp(t *testing.T) {
	out, err := program(t, "-help").Output()
	for _, want := range []string{"  -dsn address\n", "  -smarthost host:port\n", "PATH is that of -state\n"} {
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("got %v and %q, want status 0 and %q", err, out, want)
		}
	}
}

// TestSplit compares the arguments of each relay.
func TestSplit(t *testing.T) {
	args := []string{"-dsn", "x", "-hostname", "cluster.test", "-relays", "3", "-listen", ":smtp", "-lmtp", "/run/lmtp",
		"-http", "[::1]:0", "-accept", "a.test", "-accept", "b.test"}
	f, err := parseFlags(args)
	if err != nil {
		t.Fatal(err)
	}
	relays, err := f.split(args)
	if err != nil || len(relays) != 3 {
		t.Fatalf("got %d relays and %v, want 3", len(relays), err)
	}
	for i, want := range []string{
		"-relays 1 -state ./cluster -listen :25 -lmtp /run/lmtp -http [::1]:0",
		"-relays 1 -state ./cluster-2 -listen :26 -lmtp /run/lmtp-2 -http [::1]:0",
		"-relays 1 -state ./cluster-3 -listen :27 -lmtp /run/lmtp-3 -http [::1]:0",
	} {
		if got := strings.Join(relays[i], " "); got != strings.Join(args, " ")+" "+want {
			t.Errorf("relay %s: got %s, want the arguments and %s", strconv.Itoa(i+1), got, want)
		}
	}
}
