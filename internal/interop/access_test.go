package interop

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/smtp"
)

// TestOpenRelay: whoever is outside -allow and didn't authenticate can't relay beyond -accept, whatever
// the address is dressed as.
func TestOpenRelay(t *testing.T) {
	r := startRelay(t, t.TempDir(), "-allow", "192.0.2.0/24", "-accept", "here.test", "-route", "here.test=127.0.0.1:1")
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	say := func(line string) string {
		if line != "" {
			fmt.Fprint(conn, line+"\r\n")
		}
		for {
			reply, err := in.ReadString('\n')
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if reply[3] == ' ' {
				return reply
			}
		}
	}
	for _, line := range []string{"", "EHLO stranger.test", "MAIL FROM:<ann@here.test>"} {
		if reply := say(line); reply[0] != '2' {
			t.Fatalf("%s: got %q", line, reply)
		}
	}
	for _, test := range []struct{ path, want string }{
		{"<bob@there.test>", "550 5.7.1 "},
		{`<"bob@here.test"@there.test>`, "550 5.7.1 "},
		{`<"bob@there.test"@here.test>`, "550 5.7.1 "},
		{"<bob%here.test@there.test>", "550 5.7.1 "},
		{"<bob%there.test@here.test>", "550 5.7.1 "},
		{"<@here.test:bob@there.test>", "550 5.7.1 "},
		{"<@here.test,@there.test:bob@there.test>", "550 5.7.1 "},
		{"<there.test!bob@here.test>", "550 5.7.1 "},
		{"<bob@[127.0.0.1]>", "550 5.7.1 "},
		{"<there.test!bob>", "501 "},
		{"<bob>", "501 "},
		{"<bob@here.test@there.test>", "501 "},
		{"bob@there.test", "501 "},
		{"<bob@here.test>", "250 "},
		{"<@there.test:bob@here.test>", "250 "},
		{"<Postmaster>", "250 "},
	} {
		if reply := say("RCPT TO:" + test.path); !strings.HasPrefix(reply, test.want) {
			t.Errorf("RCPT TO:%s: got %q, want %q", test.path, reply, test.want)
		}
	}
	if reply := say("AUTH PLAIN AGFubgBzZWNyZXQ="); reply[0] != '5' {
		t.Errorf("AUTH without TLS: got %q, want it refused", reply)
	}
}

// TestSubmission has a user send by the submission port: with the right password it may relay. The port for other hosts
// offers no AUTH.
func TestSubmission(t *testing.T) {
	dir := t.TempDir()
	c := newCertificate(t, dir, "relay.test")
	passwords := filepath.Join(dir, "password")
	write(t, passwords, "secret\n")
	r := startRelay(t, t.TempDir(), "-allow", "192.0.2.0/24", "-submission", "127.0.0.1:0", "-cert", c.cert, "-key", c.key,
		"-user", "ann", "-password-file", passwords)
	send := func(addr, password string) error {
		plain := smtp.AuthMechanism(func() smtp.AuthExchange { return sasl.NewPlainClient("", "ann", password) })
		sub := &client.Submission{Addr: addr, Auth: plain, TLSConfig: &tls.Config{RootCAs: c.roots}}
		defer sub.Close()
		_, err := sub.Send(t.Context(), smtp.NewEnvelope("ann@here.test", "bob@there.test"), smtp.Text("Subject: hello\n\nHello.\n"))
		return err
	}
	if err := send(r.submission, "secret"); err != nil {
		t.Errorf("with the password: got %v", err)
	}
	if err := send(r.addr, "secret"); err == nil {
		t.Error("with the password at the port for other hosts: got no error, want no AUTH there")
	}
	err := send(r.submission, "wrong")
	if reply, ok := errors.AsType[*smtp.Reply](err); !ok || reply.Code != 535 {
		t.Errorf("with a wrong password: got %v, want 535", err)
	}
}
