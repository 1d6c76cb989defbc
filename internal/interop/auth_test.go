package interop

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// The user at dovecotMechanisms. The name has what SCRAM and OAUTHBEARER escape.
const (
	authUser     = "ann=of,here@postfix.test"
	authPassword = "gr\u00fcn und blau"
)

var tokenKey = []byte("a key of thirty-two octets, shared")

// dovecotMechanisms starts a Dovecot that does nothing but authentication, and gives its socket.
func dovecotMechanisms(t *testing.T) string {
	t.Helper()
	needRoot(t)
	need(t, "dovecot")
	dir := serverDir(t, "dovecot-auth")
	keys := filepath.Join(dir, "keys", "default", "HS256")
	if err := os.MkdirAll(keys, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(keys, "default"), base64.StdEncoding.EncodeToString(tokenKey))
	write(t, filepath.Join(dir, "users"), authUser+":{PLAIN}"+authPassword+"\n")
	write(t, filepath.Join(dir, "oauth2"), fmt.Sprintf(`introspection_mode = local
local_validation_key_dict = fs:posix:prefix=%s/keys/
username_attribute = sub
`, dir))
	conf := filepath.Join(dir, "dovecot.conf")
	// anvil-auth-penalty has failures answered ever more slowly.
	write(t, conf, fmt.Sprintf(`protocols =
base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
auth_verbose = yes
auth_failure_delay = 0
ssl = no
auth_username_chars =
auth_mechanisms = plain login scram-sha-256 oauthbearer xoauth2
passdb {
  driver = oauth2
  mechanisms = oauthbearer xoauth2
  args = %[1]s/oauth2
}
passdb {
  driver = passwd-file
  mechanisms = plain login scram-sha-256
  args = username_format=%%u %[1]s/users
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=%[1]s
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service auth {
  unix_listener %[1]s/auth {
    mode = 0666
  }
}
`, dir))
	startServer(t, filepath.Join(dir, "log"), "dovecot", "-F", "-c", conf)
	socket := filepath.Join(dir, "auth")
	eventually(t, "dovecot listens at "+socket, func() bool {
		_, err := os.Stat(socket)
		return err == nil
	})
	return socket
}

// token makes an access token (RFC 7519), signed with HS256.
func token(user string, until time.Time) string {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	signed := part(`{"alg":"HS256","typ":"JWT"}`) + "." + part(fmt.Sprintf(`{"sub":%q,"iat":%d,"exp":%d}`, user, time.Now().Unix()-1, until.Unix()))
	h := hmac.New(sha256.New, tokenKey)
	h.Write([]byte(signed))
	return signed + "." + part(string(h.Sum(nil)))
}

// TestAuth: each mechanism at Postfix's submission service, with Dovecot behind it, which relays for those who
// have authenticated and nobody else.
func TestAuth(t *testing.T) {
	host := postfixWith(t, "smtpd_sasl_path = "+dovecotMechanisms(t)+`
smtpd_sasl_authenticated_header = yes
mynetworks = 192.0.2.1
smtpd_recipient_restrictions = permit_sasl_authenticated, reject
`)
	roots := host.roots

	good := token(authUser, time.Now().Add(time.Hour))
	tests := []struct {
		name      string
		mechanism string // insisted on; if empty, the strongest
		password  string
		token     string
		tls12     bool
		want      int // reply
	}{
		{name: "strongest", password: authPassword, want: 250},
		{name: "strongest, TLS 1.2", password: authPassword, tls12: true, want: 250},
		{name: "SCRAM-SHA-256", mechanism: "SCRAM-SHA-256", password: authPassword, want: 250},
		{name: "SCRAM-SHA-256, decomposed", mechanism: "SCRAM-SHA-256", password: strings.Replace(authPassword, "\u00fc", "u\u0308", 1), want: 250},
		{name: "PLAIN", mechanism: "PLAIN", password: authPassword, want: 250},
		{name: "LOGIN", mechanism: "LOGIN", password: authPassword, want: 250},
		{name: "strongest, token", token: good, want: 250},
		{name: "XOAUTH2", mechanism: "XOAUTH2", token: good, want: 250},
		{name: "OAUTHBEARER", mechanism: "OAUTHBEARER", token: good, want: 250},
		{name: "SCRAM-SHA-256, wrong", mechanism: "SCRAM-SHA-256", password: "hidden-away", want: 535},
		{name: "PLAIN, wrong", mechanism: "PLAIN", password: "hidden-away", want: 535},
		{name: "LOGIN, wrong", mechanism: "LOGIN", password: "hidden-away", want: 535},
		{name: "XOAUTH2, expired", mechanism: "XOAUTH2", token: token(authUser, time.Now().Add(-time.Hour)), want: 535},
		{name: "OAUTHBEARER, expired", mechanism: "OAUTHBEARER", token: token(authUser, time.Now().Add(-time.Hour)), want: 535},
		{name: "SCRAM-SHA-256-PLUS", mechanism: "SCRAM-SHA-256-PLUS", password: authPassword, want: 451}, // which neither of them has
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			auth := &client.Credentials{Username: authUser, Password: test.password}
			if test.token != "" {
				auth.Token = func(context.Context) (string, error) { return test.token, nil }
			}
			if test.mechanism != "" {
				auth.Mechanisms = []string{test.mechanism}
			}
			sub := &client.Submission{Addr: host.route, Hostname: "client.test", Auth: auth, TLSConfig: &tls.Config{RootCAs: roots},
				Timeouts: client.Timeouts{Greeting: 30 * time.Second, Hello: 30 * time.Second}}
			defer sub.Close()
			if test.tls12 {
				sub.TLSConfig.MaxVersion = tls.VersionTLS12
			}
			to := fmt.Sprintf("box%d@postfix.test", i)
			results, err := sub.Send(t.Context(), smtp.NewEnvelope("ann@postfix.test", to), smtp.Text("Subject: hello\n\nHello.\n"))
			if got := results[0].Reply.Code; got != test.want {
				t.Fatalf("got %v, want %d", err, test.want)
			}
			if test.want != 250 {
				if r := results[0]; r.Outcome != smtp.Deferred || r.Stage != smtp.StageAuth {
					t.Errorf("got %s at %s, want it deferred at auth", r.Outcome, r.Stage)
				}
				for _, secret := range []string{"hidden", base64.StdEncoding.EncodeToString([]byte("hidden-away")), "eyJ"} {
					if text := err.Error() + results[0].Reply.Text; strings.Contains(text, secret) {
						t.Errorf("%q has %q", text, secret)
					}
				}
				return
			}
			eventually(t, "the mail is in the box", func() bool {
				for _, m := range host.mails(t) {
					if m.to == to && strings.Contains(string(m.data), "(Authenticated sender: "+authUser+")") {
						return true
					}
				}
				return false
			})
		})
	}
	sub := &client.Submission{Addr: host.route, Hostname: "client.test", TLSConfig: &tls.Config{RootCAs: roots}}
	if results, _ := sub.Send(t.Context(), smtp.NewEnvelope("ann@postfix.test", "box@postfix.test"), smtp.Text("\n")); results[0].Outcome != smtp.Rejected {
		t.Errorf("without AUTH: got %s, want it rejected", results[0].Outcome)
	}
}

// TestSCRAMPlus: bound to what OpenSSL says of the TLS session, in the words of GNU SASL.
func TestSCRAMPlus(t *testing.T) {
	need(t, "openssl")
	needPython(t)
	if exec.Command(python, "-c", "import ctypes; ctypes.CDLL('libgsasl.so.18')").Run() != nil {
		missing(t, "GNU SASL isn't installed")
	}
	cert := newCertificate(t, t.TempDir(), "here.test")
	for _, test := range []struct {
		name     string
		password string
		want     string
	}{
		{"good", authPassword, "250"},
		{"wrong", "hidden-away", "535"},
	} {
		t.Run(test.name, func(t *testing.T) {
			port := freePort(t)
			startServer(t, "", python, "testdata/scramplus.py", port, cert.cert, cert.key, authPassword)
			sub := &client.Submission{Addr: "127.0.0.1:" + port, TLS: mx.TLSRequired, TLSStart: mx.TLSImplicit, Hostname: "client.test", TLSConfig: &tls.Config{RootCAs: cert.roots},
				Auth: &client.Credentials{Username: authUser, Password: test.password, Mechanisms: []string{"SCRAM-SHA-256-PLUS"}}}
			var results []smtp.Result
			var err error
			eventually(t, "openssl listens", func() bool { // it takes one session: one to see whether it does would be that
				results, err = sub.Send(t.Context(), smtp.NewEnvelope("ann@here.test", "bob@there.test"), smtp.Text("Hello.\n"))
				return results[0].Stage != smtp.StageConnect
			})
			if got := results[0].Reply.Error(); !strings.HasPrefix(got, test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}
