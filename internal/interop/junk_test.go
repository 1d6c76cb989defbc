package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/milter"
	"github.com/postrider/postrider/smtp"
)

const sieveConfig = `
protocol lmtp {
  mail_plugins = sieve
}
plugin {
  sieve_before = @script@
}
`

const junkScript = `require ["fileinto", "mailbox"];
if header :is "X-Spam" "Yes" { fileinto :create "Junk"; }
`

// TestJunk: a Relay asks rspamd about mail of strangers, and delivers it to Dovecot by LMTP. What rspamd tags, Sieve
// files into Junk. All is read by IMAP.
func TestJunk(t *testing.T) {
	need(t, "curl", "sievec")
	filter := rspamd(t)
	script := filepath.Join(serverDir(t, "sieve"), "junk.sieve")
	write(t, script, junkScript)
	if out, err := exec.Command("sievec", script).CombinedOutput(); err != nil {
		t.Fatalf("sievec: %v\n%s", err, out)
	}
	if err := os.Chmod(strings.TrimSuffix(script, "sieve")+"svbin", 0o644); err != nil {
		t.Fatal(err)
	}
	host := dovecotWith(t, configured(sieveConfig, "@script@", script))
	route, err := mx.LMTP(strings.TrimPrefix(host.route, "lmtp:"))
	if err != nil {
		t.Fatal(err)
	}
	own := serveRelay(t, &postrider.Relay{
		Domains: []string{host.domain()},
		Routes:  map[string]mx.Route{host.domain(): route},
		Server:  &server.Server{Checks: []server.Check{(&milter.Filter{Name: "rspamd", Addr: "127.0.0.1:" + filter}).Check()}},
	})

	for _, tt := range []struct {
		name, text    string
		folder, other string
		want          string // in the header
	}{
		{"good", "Hello Bob.", "INBOX", "Junk", "Subject: good\r\n"},
		{"spam", "Y" + gtube, "Junk", "INBOX", "X-Spam: Yes\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			to := tt.name + "@" + host.domain()
			sent := plainMail(tt.name, tt.text)
			if err := submitFrom("127.0.0.1", "127.0.0.1:"+own.port, to, sent); err != nil {
				t.Fatal(err)
			}
			if res := own.result(t, to); res.Outcome != smtp.Delivered {
				t.Fatalf("got %s, want it delivered", describe(res))
			}
			got, err := host.byIMAP(to, tt.folder)
			header, body, _ := strings.Cut(got, "\r\n\r\n")
			if err != nil || !strings.Contains(header, "\r\nReceived: from ") || !strings.Contains(header, "\tby relay.test with ") ||
				!strings.Contains(header+"\r\n", tt.want) || !strings.HasSuffix(sent, "\r\n\r\n"+body) {
				t.Errorf("%s: got %.900q (%v), want the mail with our Received, and %q", tt.folder, got, err, tt.want)
			}
			if got, err := host.byIMAP(to, tt.other); err == nil {
				t.Errorf("%s: got %.600q, want nothing", tt.other, got)
			}
		})
	}
}

// byIMAP fetches the first mail of a user's folder.
func (h *nextHost) byIMAP(user, folder string) (string, error) {
	url := fmt.Sprintf("imap://127.0.0.1:%s/%s;MAILINDEX=1", h.imap, folder)
	out, err := exec.Command("curl", "-sS", "--max-time", "20", "--user", user+":secret", url).Output()
	return string(out), err
}
