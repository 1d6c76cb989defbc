package relayd

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/queue/queueweb"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// parse parses flags of a relay with a spool.
func parse(args []string) (*Flags, error) {
	set := flag.NewFlagSet("relay", flag.ContinueOnError)
	set.String("spool", "./spool", "")
	return Parse(set, "spool", args)
}

// TestRetry checks that Runner keeps its schedule unless -retry is given.
func TestRetry(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want []time.Duration
	}{
		{"not given", nil, nil},
		{"given", []string{"-retry", "1m,2h"}, []time.Duration{time.Minute, 2 * time.Hour}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, err := parse(append(test.args, "-hostname", "relay.test"))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(f.retry, test.want) { // nil is not the same as empty
				t.Errorf("got %v, want %v", f.retry, test.want)
			}
		})
	}
}

// TestHTTP checks that the page of the queue can't be opened to others, by an address or by a name in someone's DNS, and
// that it asks for a password if there is one.
func TestHTTP(t *testing.T) {
	for addr, good := range map[string]bool{
		"127.0.0.1:8025": true, "[::1]:8025": true, "127.0.0.2:0": true, ":8025": false, "0.0.0.0:8025": false,
		"192.0.2.1:8025": false, "relay.test:8025": false, "127.0.0.1": false, "[::]:8025": false,
	} {
		if _, err := parse([]string{"-hostname", "relay.test", "-http", addr}); (err == nil) != good {
			t.Errorf("%s: got error %v, want good %v", addr, err, good)
		}
	}
	log := slog.New(slog.DiscardHandler)
	open := page(&delivery.Runner{Queue: mem.New()}, log, nil)
	defer open.Close()
	locked := page(&delivery.Runner{Queue: mem.New()}, log, func(user, password string) error {
		if user != "ann" || password != "secret" {
			return errors.New("no")
		}
		return nil
	})
	defer locked.Close()
	for _, test := range []struct {
		web            *queueweb.Handler
		host, password string
		want           int
	}{
		{open, "127.0.0.1:8025", "", 200}, {open, "localhost:8025", "", 200}, {open, "[::1]:8025", "", 200},
		{open, "evil.test:8025", "", 403}, {open, "localhost.evil.test:8025", "", 403}, {open, "", "", 403},
		{locked, "127.0.0.1:8025", "", 401}, {locked, "127.0.0.1:8025", "wrong", 401},
		{locked, "127.0.0.1:8025", "secret", 200}, {locked, "evil.test:8025", "secret", 401},
	} {
		r := httptest.NewRequest("GET", "/messages", nil)
		if r.Host = test.host; test.password != "" {
			r.SetBasicAuth("ann", test.password)
		}
		w := httptest.NewRecorder()
		if test.web.ServeHTTP(w, r); w.Code != test.want {
			t.Errorf("host %q, password %q: got %d, want %d", test.host, test.password, w.Code, test.want)
		}
	}
}

// TestDKIM checks that the flags for DKIM come together, and that the key is read.
func TestDKIM(t *testing.T) {
	args := []string{"-hostname", "relay.test", "-dkim-domain", "relay.test", "-dkim-selector", "a"}
	if _, err := parse(args); err == nil {
		t.Error("got no error without -dkim-key")
	}
	private, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	f, err := parse(append(args, "-dkim-key", file))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.signer(nil); err == nil {
		t.Error("got no error for a file that isn't there")
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if wrap, err := f.signer(nil); wrap == nil || err != nil {
		t.Errorf("got %v, want a Wrap", err)
	}
}

// TestRequireTLS checks that -require-tls comes with what proves the hosts, and whose mail it is about.
func TestRequireTLS(t *testing.T) {
	for _, test := range []struct {
		args string
		ok   bool
	}{
		{"-require-tls lax", true},
		{"-require-tls strict", false},
		{"-require-tls strict -dane", true},
		{"-require-tls strict -mta-sts", true},
		{"-require-tls strict -smarthost relay.test:587", true},
		{"-require-tls yes", false},
	} {
		_, err := parse(append(strings.Fields(test.args), "-hostname", "relay.test"))
		if (err == nil) != test.ok {
			t.Errorf("%s: got %v, valid: want %t", test.args, err, test.ok)
		}
	}
	for _, test := range []struct {
		name   string
		peer   server.Peer
		header []server.Field
		want   bool
	}{
		{name: "a user", peer: server.Peer{Username: "ann"}, want: true},
		{name: "a network", peer: server.Peer{Allowed: true}, want: true},
		{name: "a stranger"},
		{name: "TLS-Required: No", peer: server.Peer{Allowed: true}, header: []server.Field{{Name: "tls-required", Value: "No"}}},
	} {
		s := &server.Session{Peer: &test.peer, Envelope: smtp.NewEnvelope("ann@relay.test", "bob@next.test")}
		if err := requireTLS().Content(t.Context(), s, &server.Message{Header: test.header}); err != nil {
			t.Fatal(err)
		}
		if got := s.Envelope.RequireTLS; got != test.want {
			t.Errorf("%s: got %t, want %t", test.name, got, test.want)
		}
	}
}
