package interop

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// gateways are mail servers that hand all mail of others to a Relay, as a user. start returns the func that gives them
// a mail.
var gateways = []struct {
	name  string
	utf8  bool // it gets SMTPUTF8 with the mail, and passes that on
	start func(t *testing.T, port, how string) (send func(to, mail string) error)
}{{"postfix", true, postfixGateway}, {"exim", false, eximGateway}, {"opensmtpd", false, opensmtpdGateway}}

const postfixRelayhost = `relayhost = [127.0.0.1]:@port@
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = static:ann:secret
smtp_sasl_security_options = noanonymous
smtp_tls_security_level = encrypt
smtp_tls_wrappermode = @wrapped@
`

func postfixGateway(t *testing.T, port, how string) func(to, mail string) error {
	wrapped := map[string]string{"starttls": "no", "tls": "yes"}[how]
	h := postfixWith(t, configured(postfixRelayhost, "@port@", port, "@wrapped@", wrapped))
	return func(to, mail string) error { return submitFrom("127.0.0.1", "127.0.0.1:"+h.port, to, mail) }
}

const opensmtpdRelay = `table secrets { ann = "ann:secret" }
action smarthost relay host "@scheme@://ann@127.0.0.1:@port@" auth <secrets> tls no-verify
match from any for any action smarthost
`

func opensmtpdGateway(t *testing.T, port, how string) func(to, mail string) error {
	scheme := map[string]string{"starttls": "smtp+tls", "tls": "smtps"}[how]
	h := opensmtpdWith(t, configured(opensmtpdRelay, "@scheme@", scheme, "@port@", port))
	return func(to, mail string) error { return submitFrom("127.0.0.1", "127.0.0.1:"+h.port, to, mail) }
}

const eximSmarthost = `  protocol = @protocol@
  hosts_require_auth = *
  hosts_require_tls = *
  tls_verify_certificates =
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  client_send = ^ann^secret
`

func eximGateway(t *testing.T, port, how string) func(to, mail string) error {
	needRoot(t)
	program := lookProgram(t, "exim4", "exim4-daemon-light")
	uid, gid := account(t, "Debian-exim")
	dir := serverDir(t, "exim-gateway")
	mkdirs(t, uid, gid, filepath.Join(dir, "spool"), filepath.Join(dir, "log"))
	conf := filepath.Join(dir, "exim.conf")
	protocol := map[string]string{"starttls": "smtp", "tls": "smtps"}[how]
	write(t, conf, configured(chunkSenderConfig+eximSmarthost, "@exim@", program, "@dir@", dir, "@port@", port, "@protocol@", protocol))
	return func(to, mail string) error {
		cmd := exec.Command(program, "-C", conf, "-i", "-odi", "-f", "ann@source.test", to)
		cmd.Stdin = strings.NewReader(mail)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	}
}

// TestGateways: Postfix, Exim and OpenSMTPD have a Relay as their smarthost, by STARTTLS and by implicit TLS, with AUTH.
func TestGateways(t *testing.T) {
	r := serveUsers(t)
	for _, g := range gateways {
		for how, port := range r.ports {
			t.Run(g.name+"/"+how, func(t *testing.T) {
				t.Parallel() // Postfix takes seconds
				send := g.start(t, port, how)
				to := []string{g.name + "." + how + "@next.test"}
				if g.utf8 {
					to = append(to, "é."+to[0])
				}
				for _, to := range to {
					if err := send(to, crlf(userLetter)); err != nil {
						t.Fatal(err)
					}
					r.got(t, to, g.utf8)
				}
			})
		}
	}
}
