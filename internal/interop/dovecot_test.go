package interop

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const dovecotBase = `base_dir = @dir@/run
state_dir = @dir@/state
log_path = @dir@/log
disable_plaintext_auth = no
listen = 127.0.0.1
first_valid_uid = 1
passdb {
  driver = static
  args = password=secret
}
`

const dovecotMail = `protocols = imap pop3 lmtp
ssl = yes
ssl_cert = <@cert@
ssl_key = <@key@
mail_location = maildir:@dir@/box/%u
userdb {
  driver = passwd-file
  args = username_format=%{if;%n;~;^nobody;nobody;%{if;%n;~;^grey;grey;all}} @dir@/users
}
service lmtp {
  unix_listener @dir@/lmtp {
    mode = 0666
  }
  inet_listener lmtp {
    address = 127.0.0.1
    port = @lmtp@
  }
  inet_listener lmtps {
    address = 127.0.0.1
    port = @lmtps@
    ssl = yes
  }
}
service imap {
  service_count = 0
}
service pop3 {
  service_count = 0
}
service imap-login {
  service_count = 0
  inet_listener imap {
    port = @imap@
  }
  inet_listener imaps {
    port = 0
  }
}
service pop3-login {
  service_count = 0
  inet_listener pop3 {
    port = @pop3@
  }
  inet_listener pop3s {
    port = 0
  }
}
protocol lmtp {
  postmaster_address = postmaster@dovecot.test
}
`

const dovecotOnlyAuth = `protocols =
ssl = no
service auth {
  unix_listener @dir@/auth {
    mode = 0666
  }
}
`

// dovecot starts a Dovecot of its own: LMTP over a Unix socket and TCP, IMAP and POP3. Recipients whose name begins with
// "grey" can't be looked up for now.
func dovecot(t *testing.T) *nextHost { return dovecotWith(t, "") }

// dovecotWith has more lines of configuration, which go after those above.
func dovecotWith(t *testing.T, lines string) *nextHost {
	t.Helper()
	needRoot(t)
	need(t, "dovecot")
	needPython(t)
	dir := serverDir(t, "dovecot")
	imap, pop3 := freePort(t), freePort(t)
	uid, gid := account(t, "nobody")
	box := filepath.Join(dir, "box")
	mkdirs(t, uid, gid, box)
	cert := newCertificate(t, dir, "dovecot.test")
	h := &nextHost{
		name:    "dovecot",
		version: programVersion(`(\S+)`, "dovecot", "--version"),
		route:   "lmtp:" + filepath.Join(dir, "lmtp"),
		lmtp:    true,
		port:    freePort(t),
		tlsPort: freePort(t),
		roots:   cert.roots,
		imap:    imap,
		mails:   func(t *testing.T) []mail { return fetch(t, box, imap, pop3) },
	}
	write(t, filepath.Join(dir, "users"), fmt.Sprintf("all::%d:%d::%s::\ngrey::%d:%d::%s::userdb_tempfail=yes\n", uid, gid, box, uid, gid, box))
	startDovecot(t, dir, configured(dovecotMail+lines, "@dir@", dir, "@cert@", cert.cert, "@key@", cert.key,
		"@lmtp@", h.port, "@lmtps@", h.tlsPort, "@imap@", imap, "@pop3@", pop3))
	waitPort(t, imap)
	waitPort(t, h.port)
	return h
}

// dovecotAuth starts a Dovecot that only checks passwords, and gives its socket.
func dovecotAuth(t *testing.T) string {
	t.Helper()
	dir := serverDir(t, "auth")
	startDovecot(t, dir, configured(dovecotOnlyAuth, "@dir@", dir))
	return filepath.Join(dir, "auth")
}

func startDovecot(t *testing.T, dir, config string) {
	t.Helper()
	conf := filepath.Join(dir, "dovecot.conf")
	write(t, conf, configured(dovecotBase, "@dir@", dir)+config)
	startServer(t, filepath.Join(dir, "log"), "dovecot", "-F", "-c", conf)
}

// fetch reads all mailboxes by IMAP and then by POP3, which must give the same.
func fetch(t *testing.T, box, imap, pop3 string) []mail {
	t.Helper()
	byIMAP, byPOP3 := fetchBoth(t, box, imap, pop3)
	for tries := 0; len(byPOP3) > len(byIMAP) && tries < 10; tries++ { // one was saved between the two
		byIMAP, byPOP3 = fetchBoth(t, box, imap, pop3)
	}
	if len(byIMAP) != len(byPOP3) {
		t.Fatalf("IMAP has %d mails and POP3 %d", len(byIMAP), len(byPOP3))
	}
	for i := range byIMAP {
		lines := append(bytes.TrimSuffix(byIMAP[i].data, []byte("\r\n")), "\r\n"...) // POP3 can't say that the last has no end
		if !bytes.Equal(lines, byPOP3[i].data) {
			t.Errorf("IMAP and POP3 give different bytes of a mail to %s", byIMAP[i].to)
		}
	}
	return byIMAP
}

func fetchBoth(t *testing.T, box, imap, pop3 string) (byIMAP, byPOP3 []mail) {
	t.Helper()
	boxes, _ := filepath.Glob(filepath.Join(box, "*@*"))
	dir := t.TempDir()
	args := []string{"testdata/fetch.py", "127.0.0.1", imap, pop3, "secret", dir}
	for _, b := range boxes {
		args = append(args, filepath.Base(b))
	}
	if out, err := exec.Command(python, args...).CombinedOutput(); err != nil {
		t.Fatalf("fetch: %v\n%s", err, out)
	}
	to := func(name string, _ []byte) string { return strings.SplitN(filepath.Base(name), ".", 3)[2] }
	return readMails(t, filepath.Join(dir, "imap.*"), to), readMails(t, filepath.Join(dir, "pop3.*"), to)
}
