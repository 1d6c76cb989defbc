package interop

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// nextHost is a real mail program that mail is handed to.
type nextHost struct {
	name  string
	route string                    // value of examples/relay's -route, behind "domain="
	mails func(t *testing.T) []mail // what has come so far
}

// mail is a stored message: the bytes behind the header fields that the host itself put on top.
type mail struct {
	to   string
	data []byte // CRLF line ends
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func waitPort(t *testing.T, port string) {
	t.Helper()
	eventually(t, "something listens on port "+port, func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// startSink starts an aiosmtpd on a port; it keeps what comes in the directory.
func startSink(t *testing.T, port, dir string) (stop func()) {
	t.Helper()
	cmd := exec.Command(python, "testdata/sink.py", port, dir)
	stderr := new(logs)
	cmd.Stderr = stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var stopped bool
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		stdin.Close()
		cmd.Process.Kill()
		cmd.Wait()
	}
	t.Cleanup(stop)
	waitPort(t, port)
	return stop
}

// sinkMails reads what startSink's aiosmtpd has kept.
func sinkMails(t *testing.T, dir string) []mail {
	t.Helper()
	return readMails(t, filepath.Join(dir, "*.eml"), func(name string) string {
		parts := strings.SplitN(strings.TrimSuffix(filepath.Base(name), ".eml"), ".", 2)
		return parts[1]
	})
}

func readMails(t *testing.T, pattern string, to func(name string) string) []mail {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	var mails []mail
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		mails = append(mails, mail{to: to(name), data: data})
	}
	return mails
}

func aiosmtpd(t *testing.T) nextHost {
	needPython(t, "aiosmtpd")
	port, dir := freePort(t), t.TempDir()
	startSink(t, port, dir)
	return nextHost{"aiosmtpd", "127.0.0.1:" + port, func(t *testing.T) []mail { return sinkMails(t, dir) }}
}

// postfix starts a Postfix of its own that delivers everything for postfix.test into a maildir.
func postfix(t *testing.T) nextHost { return postfixWith(t, "") }

// postfixWith has more lines at the end of main.cf.
func postfixWith(t *testing.T, lines string) nextHost {
	needRoot(t)
	need(t, "postfix")
	port := freePort(t)
	dir := serverDir(t, "postfix")
	box := filepath.Join(dir, "box")
	account, err := user.Lookup("postfix")
	if err != nil {
		missing(t, "there is no account for postfix")
	}
	uid, _ := strconv.Atoi(account.Uid)
	gid, _ := strconv.Atoi(account.Gid)
	for _, d := range []string{"etc", "queue", "data", "box"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"data", "box"} {
		if err := os.Chown(filepath.Join(dir, d), uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	etc := filepath.Join(dir, "etc")
	for _, name := range []string{"dynamicmaps.cf", "postfix-files", "postfix-script", "post-install", "makedefs.out"} {
		if data, err := os.ReadFile("/etc/postfix/" + name); err == nil {
			write(t, filepath.Join(etc, name), string(data))
		}
	}
	write(t, filepath.Join(etc, "main.cf"), fmt.Sprintf(`compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = %[1]s/log
maillog_file_prefixes = %[1]s
myhostname = postfix.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
virtual_mailbox_domains = postfix.test
virtual_mailbox_base = %[1]s/box
virtual_mailbox_maps = static:all/
virtual_minimum_uid = 1
virtual_uid_maps = static:%[2]d
virtual_gid_maps = static:%[3]d
smtpd_tls_security_level = none
alias_maps =
alias_database =
`, dir, uid, gid)+lines)
	master, err := os.ReadFile("/etc/postfix/master.cf")
	if err != nil {
		master, err = os.ReadFile("/usr/share/postfix/master.cf.dist")
	}
	if err != nil {
		missing(t, "Postfix has no master.cf")
	}
	text := regexp.MustCompile(`(?m)^smtp +inet.*$`).ReplaceAllString(string(master), "127.0.0.1:"+port+" inet n - n - - smtpd")
	text = regexp.MustCompile(`(?m)^(\S+ +(?:unix|inet|fifo|pass|unix-dgram) +\S+ +\S+ +)y`).ReplaceAllString(text, "${1}n")
	if !strings.Contains(text, "postlogd") {
		text += "postlog unix-dgram n - n - 1 postlogd\n"
	}
	write(t, filepath.Join(etc, "master.cf"), text)
	if out, err := exec.Command("postfix", "-c", etc, "start").CombinedOutput(); err != nil {
		t.Fatalf("postfix start: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		exec.Command("postfix", "-c", etc, "stop").Run()
		if log, err := os.ReadFile(filepath.Join(dir, "log")); err == nil && t.Failed() {
			t.Logf("postfix logged:\n%s", log)
		}
	})
	waitPort(t, port)
	return nextHost{"postfix", "127.0.0.1:" + port, func(t *testing.T) []mail {
		mails := readMails(t, filepath.Join(box, "all", "new", "*"), func(string) string { return "" })
		for i := range mails { // a maildir has LF line ends
			mails[i].data = bytes.ReplaceAll(mails[i].data, []byte("\n"), []byte("\r\n"))
			if m := regexp.MustCompile(`(?m)^X-Original-To: (\S+)`).FindSubmatch(mails[i].data); m != nil {
				mails[i].to = string(m[1])
			}
		}
		return mails
	}}
}

// dovecot starts a Dovecot of its own: LMTP over a Unix socket and TCP, IMAP and POP3.
func dovecot(t *testing.T) nextHost {
	needRoot(t)
	need(t, "dovecot")
	needPython(t)
	dir := serverDir(t, "dovecot")
	imap, pop3, lmtp := freePort(t), freePort(t), freePort(t)
	conf := filepath.Join(dir, "dovecot.conf")
	account, err := user.Lookup("nobody")
	if err != nil {
		missing(t, "there is no account nobody")
	}
	uid, _ := strconv.Atoi(account.Uid)
	gid, _ := strconv.Atoi(account.Gid)
	box := filepath.Join(dir, "box")
	if err := os.Mkdir(box, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(box, uid, gid); err != nil {
		t.Fatal(err)
	}
	write(t, conf, fmt.Sprintf(`protocols = imap pop3 lmtp
base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
ssl = no
disable_plaintext_auth = no
listen = 127.0.0.1
first_valid_uid = 1
mail_location = maildir:%[1]s/box/%%u
passdb {
  driver = static
  args = password=secret
}
userdb {
  driver = static
  args = uid=%[2]d gid=%[3]d home=%[1]s/box allow_all_users=yes
}
service lmtp {
  unix_listener %[1]s/lmtp {
    mode = 0666
  }
  inet_listener lmtp {
    address = 127.0.0.1
    port = %[4]s
  }
}
service imap-login {
  inet_listener imap {
    port = %[5]s
  }
}
service pop3-login {
  inet_listener pop3 {
    port = %[6]s
  }
}
protocol lmtp {
  postmaster_address = postmaster@dovecot.test
}
`, dir, uid, gid, lmtp, imap, pop3))
	cmd := exec.Command("dovecot", "-F", "-c", conf)
	stderr := new(logs)
	cmd.Stdout, cmd.Stderr = stderr, stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		exec.Command("doveadm", "-c", conf, "stop").Run()
		cmd.Wait()
		if log, err := os.ReadFile(filepath.Join(dir, "log")); err == nil && t.Failed() {
			t.Logf("dovecot wrote:\n%s%s", stderr, log)
		}
	})
	waitPort(t, imap)
	waitPort(t, lmtp)
	return nextHost{"dovecot", "lmtp:" + filepath.Join(dir, "lmtp"), func(t *testing.T) []mail {
		boxes, _ := filepath.Glob(filepath.Join(box, "*@*"))
		var mails []mail
		for _, b := range boxes {
			got := t.TempDir()
			out, err := exec.Command(python, "testdata/fetch.py", "127.0.0.1", imap, pop3, filepath.Base(b), "secret", got).CombinedOutput()
			if err != nil {
				t.Fatalf("fetch: %v\n%s", err, out)
			}
			to := func(string) string { return filepath.Base(b) }
			byIMAP, byPOP3 := readMails(t, filepath.Join(got, "imap.*"), to), readMails(t, filepath.Join(got, "pop3.*"), to)
			if len(byIMAP) != len(byPOP3) {
				t.Fatalf("IMAP has %d mails and POP3 %d", len(byIMAP), len(byPOP3))
			}
			for i := range byIMAP {
				if !bytes.Equal(byIMAP[i].data, byPOP3[i].data) {
					t.Errorf("IMAP and POP3 give different bytes of mail %d", i)
				}
			}
			mails = append(mails, byIMAP...)
		}
		return mails
	}}
}

// serverDir is a directory that servers which change their user can reach.
func serverDir(t *testing.T, name string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "postrider-"+name+"-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
