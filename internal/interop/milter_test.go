package interop

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	netsmtp "net/smtp"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/milter"
	"github.com/postrider/postrider/smtp"
)

// filtered is a server whose mail is looked at by a filter.
type filtered struct {
	addr  string
	mu    sync.Mutex
	mails []string
	found []string
}

// serveFiltered serves at a free port.
func serveFiltered(t *testing.T, filter *milter.Filter) *filtered {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &filtered{addr: l.Addr().String()}
	srv := &server.Server{
		Hostname: "mx.test", Handler: f, Checks: []server.Check{filter.Check()},
		Found: func(_ context.Context, _ *server.Peer, found server.Finding) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.found = append(f.found, found.Moment+": "+found.Text)
		},
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- srv.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("found %q", f.found)
		}
	})
	return f
}

// Handle implements [server.Handler].
func (f *filtered) Handle(_ context.Context, _ *server.Peer, _ *smtp.Envelope, r io.Reader) (*smtp.Reply, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mails = append(f.mails, string(b))
	return nil, nil
}

// send sends a message from an address of this machine. It returns the message as the server has it, or its refusal.
func (f *filtered) send(from, mail string) (got, refusal string) {
	err := submitFrom(from, f.addr, "bob@next.test", mail)
	if refused, ok := errors.AsType[*textproto.Error](err); ok {
		return "", fmt.Sprint(refused.Code, " ", refused.Msg)
	}
	if err != nil {
		return "", err.Error()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.mails) == 0 {
		return "", "discarded"
	}
	got = f.mails[len(f.mails)-1]
	f.mails = nil
	return got, ""
}

// submitFrom sends a message by the standard library.
func submitFrom(from, addr, to, mail string) error {
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := d.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	c, err := netsmtp.NewClient(conn, "mx.test")
	if err != nil {
		return err
	}
	if err := c.Mail("ann@source.test"); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, mail); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

func plainMail(subject, text string) string {
	return strings.ReplaceAll(fmt.Sprintf(`From: Ann <ann@source.test>
To: bob@next.test
Subject: %s
Date: Mon, 30 Nov 2026 17:00:00 +0000
Message-ID: <1@source.test>

%s
`, subject, text), "\n", "\r\n")
}

const rspamdConf = `
options {
  pidfile = "%[1]s/pid";
  enable_test_patterns = true;
  disable_hyperscan = true;
  url_tld = "%[1]s/tlds";
  tempdir = "%[1]s";
  dns { nameserver = ["127.0.0.1:1"]; }
}
logging { type = "file"; filename = "%[1]s/log"; level = "info"; }
worker "rspamd_proxy" {
  bind_socket = "127.0.0.1:%[2]s";
  count = 1;
  milter = yes;
  timeout = 20s;
  upstream "local" { default = yes; self_scan = yes; }
}
actions { reject = 15; add_header = 6; greylist = 4; }
`

// rspamd starts an rspamd without lists and DNS, and returns its port for milters.
func rspamd(t *testing.T) (port string) {
	t.Helper()
	needRoot(t)
	need(t, "rspamd")
	uid, gid := account(t, "_rspamd")
	dir, port := t.TempDir(), freePort(t)
	mkdirs(t, uid, gid, dir, filepath.Join(dir, "db"))
	open(t, dir)
	write(t, filepath.Join(dir, "tlds"), "test\n")
	write(t, filepath.Join(dir, "conf"), fmt.Sprintf(rspamdConf, dir, port))
	startServer(t, filepath.Join(dir, "log"), "rspamd", "-f", "-u", "_rspamd", "-g", "_rspamd",
		"-c", filepath.Join(dir, "conf"), "--var", "DBDIR="+filepath.Join(dir, "db"), "--var", "RUNDIR="+dir)
	waitPort(t, port)
	return port
}

// gtube is the pattern of SpamAssassin's test mail. rspamd refuses "X" before it, tags "Y", and rewrites the subject at
// "Z".
const gtube = "JS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

// TestRspamd: rspamd refuses GTUBE, tags mail that it finds to be spam, rewrites a subject, and lets good mail through.
func TestRspamd(t *testing.T) {
	f := serveFiltered(t, &milter.Filter{Addr: "127.0.0.1:" + rspamd(t)})
	for _, tt := range []struct {
		name, mail string
		refusal    string
		want       string // in the message
		same       bool   // the message is as it was sent
	}{
		{"good mail", plainMail("hello", "Hello Bob."), "", "Subject: hello\r\n", true},
		{"GTUBE", plainMail("hello", "X"+gtube), "554 5.7.1 ", "", false},
		{"spam", plainMail("hello", "Y"+gtube), "", "X-Spam: Yes\r\n", false},
		{"spam with another subject", plainMail("hello", "Z"+gtube), "", "Subject: *** SPAM *** hello\r\n", false},
		{"good mail again", plainMail("hello", strings.Repeat("Hello Bob.\n", 50_000)), "", "Subject: hello\r\n", true},
	} {
		got, refusal := f.send("127.0.0.1", tt.mail)
		if !strings.HasPrefix(refusal, tt.refusal) || tt.refusal == "" && refusal != "" || !strings.Contains(got, tt.want) ||
			tt.same && got != tt.mail {
			t.Errorf("%s: got %.600q, refused %q; want %q, refused %q", tt.name, got, refusal, tt.want, tt.refusal)
		}
	}
}

// open lets the users of other accounts into a directory of the test.
func open(t *testing.T, dir string) {
	t.Helper()
	for ; len(dir) > len(os.TempDir()); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

const opendkimConf = `
Socket inet:@port@@127.0.0.1
InternalHosts @dir@/internal
Domain source.test
Selector sel
KeyFile @dir@/key
TestPublicKeys @dir@/public
AuthservID mx.test
AlwaysAddARHeader yes
UserID root
RequireSafeKeys no
Syslog no
`

// openDKIM is a running OpenDKIM, and a server whose mail it looks at.
type openDKIM struct {
	*filtered
	record string // of its key, at sel._domainkey.source.test
}

// startOpenDKIM starts an OpenDKIM that signs the mail that comes from 127.0.0.1, and verifies all other. It knows its own
// key and those of more.
func startOpenDKIM(t *testing.T, lines string, more ...string) *openDKIM {
	t.Helper()
	need(t, "opendkim")
	needRoot(t)
	dir := t.TempDir()
	private, record := newRSAKey(t)
	write(t, filepath.Join(dir, "key"), private)
	write(t, filepath.Join(dir, "public"), "sel._domainkey.source.test "+record+"\n"+strings.Join(more, "\n")+"\n")
	write(t, filepath.Join(dir, "internal"), "127.0.0.1\n")
	port, conf := freePort(t), filepath.Join(dir, "conf")
	write(t, conf, configured(opendkimConf+lines, "@port@", port, "@dir@", dir))
	startServer(t, "", "opendkim", "-f", "-x", conf)
	waitPort(t, port)
	return &openDKIM{serveFiltered(t, &milter.Filter{Name: "opendkim", Addr: "127.0.0.1:" + port}), record}
}

// newRSAKey returns a private key in PEM and its DKIM record.
func newRSAKey(t *testing.T) (private, record string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	return string(pem.EncodeToMemory(block)), "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(public)
}

// TestOpenDKIM: OpenDKIM signs a message, and verifies what it has signed, and what was changed since.
func TestOpenDKIM(t *testing.T) {
	f := startOpenDKIM(t, "")
	mail := plainMail("hello\n  folded", strings.Repeat("Hello Bob.  \n..\n", 5000))
	forged := "Authentication-Results: mx.test; dkim=pass header.d=bank.test\r\n"
	signed, refusal := f.send("127.0.0.1", mail)
	if !strings.HasPrefix(signed, "DKIM-Signature: v=1;") || !strings.HasSuffix(signed, mail) {
		t.Fatalf("got %.600q, refused %q; want a signature on top of the message", signed, refusal)
	}
	for _, tt := range []struct{ name, mail, want string }{
		{"as it was signed", signed, `dkim=pass`},
		{"with another body", strings.Replace(signed, "Hello Bob.", "Hello Eve.", 1), `dkim=fail`},
		{"with another subject", strings.Replace(signed, "Subject: hello", "Subject: hi", 1), `dkim=fail`},
		{"with forged results", forged + signed, `dkim=pass`},
		{"without a signature", mail, `dkim=none`},
	} {
		got, refusal := f.send("127.0.0.2", tt.mail)
		found := regexp.MustCompile(`(?m)^Authentication-Results: mx\.test;\s+dkim=\w+`).FindAllString(got, -1)
		if refusal != "" || len(found) != 1 || !strings.HasSuffix(found[0], tt.want) || strings.Contains(got, "bank.test") {
			t.Errorf("%s: got %q in %.900q, refused %q; want %s alone", tt.name, found, got, refusal, tt.want)
		}
	}
}
