package interop

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// logins are a server's handler that keeps who sent each message.
type logins struct {
	mu    sync.Mutex
	users []string
}

func (l *logins) Handle(_ context.Context, p *server.Peer, _ *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
	if _, err := io.Copy(io.Discard, body); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.users = append(l.users, p.Username)
	return nil, nil
}

// TestLogins: programs of others log in to a server over STARTTLS, by each mechanism that they have, and are refused
// with a wrong password or token.
func TestLogins(t *testing.T) {
	dir := t.TempDir()
	c := newCertificate(t, dir, "relay.test")
	letter := filepath.Join(dir, "letter")
	write(t, letter, "From: ann@source.test\nSubject: hello\n\nHello.\n")
	curl := func(port, mechanism, secret string) *exec.Cmd {
		args := []string{"-sS", "--max-time", "20", "--ssl-reqd", "-k", "smtp://127.0.0.1:" + port, "--crlf",
			"--login-options", "AUTH=" + mechanism, "--mail-from", "ann@source.test", "--mail-rcpt", "bob@next.test", "-T", letter}
		if strings.Contains(mechanism, "AUTH") {
			return exec.Command("curl", append(args, "--oauth2-bearer", secret, "--user", "ann:")...)
		}
		return exec.Command("curl", append(args, "--user", "ann:"+secret)...)
	}
	msmtp := func(port, mechanism, secret string) *exec.Cmd {
		cmd := exec.Command("msmtp", "--host=127.0.0.1", "--port="+port, "--auth="+strings.ToLower(mechanism), "--user=ann",
			"--passwordeval=echo "+secret, "--tls=on", "--tls-certcheck=off", "--timeout=20", "--from=ann@source.test", "bob@next.test")
		cmd.Stdin = strings.NewReader("From: ann@source.test\nSubject: hello\n\nHello.\n")
		return cmd
	}
	swaks := func(port, mechanism, secret string) *exec.Cmd {
		return exec.Command("swaks", "--server", "127.0.0.1", "--port", port, "--tls", "--auth", mechanism, "--auth-user", "ann",
			"--auth-password", secret, "--from", "ann@source.test", "--to", "bob@next.test", "--timeout", "20")
	}
	for _, p := range []struct {
		name       string
		mechanisms string
		command    func(port, mechanism, secret string) *exec.Cmd
	}{
		{"curl", "PLAIN LOGIN SCRAM-SHA-256 OAUTHBEARER XOAUTH2", curl},
		{"msmtp", "PLAIN LOGIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS OAUTHBEARER XOAUTH2", msmtp},
		{"swaks", "PLAIN LOGIN", swaks},
	} {
		for mechanism := range strings.FieldsSeq(p.mechanisms) {
			if p.name != "swaks" && strings.HasPrefix(mechanism, "SCRAM") && !knows(p.name, mechanism) {
				continue // what this version of a program can't do isn't tested
			}
			t.Run(p.name+"/"+mechanism, func(t *testing.T) {
				t.Parallel()
				need(t, p.name)
				l := new(logins)
				port := serveLogins(t, c, l)
				for _, secret := range []string{"wrong", "secret"} {
					out, err := p.command(port, mechanism, secret).CombinedOutput()
					if (err == nil) != (secret == "secret") {
						t.Errorf("with %q: got %v\n%s", secret, err, out)
					}
				}
				l.mu.Lock()
				defer l.mu.Unlock()
				if strings.Join(l.users, " ") != "ann" {
					t.Errorf("got mail from %q, want one from ann", l.users)
				}
			})
		}
	}
}

// knows reports whether a program was built with a mechanism.
func knows(program, mechanism string) bool {
	out, _ := exec.Command(program, "--version").CombinedOutput()
	text := strings.ToLower(string(out))
	return strings.Contains(text, strings.ToLower(mechanism)) || program == "curl" && strings.Contains(text, "gsasl")
}

// serveLogins serves users on a port of loopback until the test ends. The password and the token of ann are "secret".
func serveLogins(t *testing.T, c certificate, h server.Handler) (port string) {
	t.Helper()
	stored, err := server.NewSCRAMCredentials("secret", 4096)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &server.Server{
		Hostname: "relay.test", Handler: h, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}, RequireAuth: true, AuthDelay: 1,
		Authenticate: func(_ context.Context, _ *server.Peer, username, password string) error {
			if username != "ann" || !stored.Verify(password) {
				return server.ErrAuthFailed
			}
			return nil
		},
		StoredCredentials: func(_ context.Context, _ *server.Peer, username string) (*server.SCRAMCredentials, error) {
			if username != "ann" {
				return nil, server.ErrAuthFailed
			}
			return stored, nil
		},
		CheckToken: func(_ context.Context, _ *server.Peer, username, token string) (string, error) {
			if username != "ann" || token != "secret" {
				return "", server.ErrAuthFailed
			}
			return "ann", nil
		},
	}
	stopped := make(chan error, 1)
	go func() { stopped <- srv.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		srv.Close()
		<-stopped
	})
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port
}
