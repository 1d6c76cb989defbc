package interop

import (
	"bytes"
	"crypto/x509"
	"math/rand/v2"
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

// nextHost is a real mail program that mail is handed to. All of them take mail for their domain, "postfix.test" say, from
// anyone; offer STARTTLS and, under TLS, AUTH to ann with the password "secret"; and refuse recipients whose name
// begins with "nobody", and a mail over 10 MiB.
type nextHost struct {
	name    string
	version string
	route   string // value of examples/relay's -route, behind "domain="
	lmtp    bool
	port    string // at 127.0.0.1, with STARTTLS
	tlsPort string // at 127.0.0.1, where TLS begins at once
	imap    string // at 127.0.0.1; of Dovecot alone
	roots   *x509.CertPool
	mails   func(t *testing.T) []mail // what has come so far
}

func (h *nextHost) domain() string { return h.name + ".test" }

// mail is a stored message: as it was sent, behind the header fields that the host itself put on top.
type mail struct {
	to   string
	data []byte // CRLF line ends
}

// nextHosts are all that there are.
var nextHosts = []struct {
	name  string
	start func(t *testing.T) *nextHost
}{{"postfix", postfix}, {"exim", exim}, {"opensmtpd", opensmtpd}, {"dovecot", dovecot}, {"aiosmtpd", aiosmtpd}}

// unpacked is where programs lie that can't be installed beside others: by package, with the paths that they have there.
const unpacked = "/usr/local/lib/postrider-interop"

// lookProgram finds a program in the PATH or in an unpacked package.
func lookProgram(t *testing.T, name, pkg string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	path := filepath.Join(unpacked, pkg, "usr/sbin", name)
	if _, err := os.Stat(path); err != nil {
		missing(t, name+" isn't installed, nor unpacked in "+filepath.Dir(path))
	}
	return path
}

// programVersion gives what a program says of its version: what the pattern's group finds.
func programVersion(pattern, program string, args ...string) string {
	out, _ := exec.Command(program, args...).CombinedOutput()
	if m := regexp.MustCompile(pattern).FindSubmatch(out); m != nil {
		return string(m[1])
	}
	return "?"
}

// account gives the numbers of a user.
func account(t *testing.T, name string) (uid, gid int) {
	t.Helper()
	a, err := user.Lookup(name)
	if err != nil {
		missing(t, "there is no account "+name)
	}
	uid, _ = strconv.Atoi(a.Uid)
	gid, _ = strconv.Atoi(a.Gid)
	return uid, gid
}

// mkdirs makes directories and gives them to a user.
func mkdirs(t *testing.T, uid, gid int, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
}

// startServer starts a program that stays in the foreground; the end of the test interrupts it. What it wrote, and its log, are shown if
// the test fails.
func startServer(t *testing.T, log string, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	output := new(logs)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
		if text, _ := os.ReadFile(log); t.Failed() {
			t.Logf("%s wrote:\n%s%s", name, tail(output.String()), tail(string(text)))
		}
	})
}

// freePort gives a port for a host that starts soon. It is none of those that the system gives away by itself, from 32768 on: another test
// could get it first, and a dial that is too early could connect to itself.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		port := strconv.Itoa(20000 + rand.IntN(12000))
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return ""
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

// maildir reads a maildir whose mails have the recipient in a field that the host put on top.
func maildir(t *testing.T, dir, field string) []mail {
	t.Helper()
	recipient := regexp.MustCompile(`(?m)^` + field + `: ([^\r\n]+)`)
	mails := readMails(t, filepath.Join(dir, "new", "*"), func(_ string, data []byte) string {
		if m := recipient.FindSubmatch(data); m != nil {
			return string(m[1])
		}
		return ""
	})
	for i := range mails { // a maildir has LF line ends
		mails[i].data = bytes.ReplaceAll(mails[i].data, []byte("\n"), []byte("\r\n"))
	}
	return mails
}

func readMails(t *testing.T, pattern string, to func(name string, data []byte) string) []mail {
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
		mails = append(mails, mail{to: to(name, data), data: data})
	}
	return mails
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

// tail is the end of a log.
func tail(log string) string { return log[max(0, len(log)-8<<10):] }

// configured puts values into a configuration: pairs of a name, as in "@port@", and its value.
func configured(config string, pairs ...string) string {
	return strings.NewReplacer(pairs...).Replace(config)
}
