package interop

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// userRelay is a Relay that demands TLS and AUTH. The password of ann is "secret".
type userRelay struct {
	*ownRelay
	host  *smtptest.Host    // has its mail
	ports map[string]string // "starttls", and "tls" where it begins at once
}

func serveUsers(t *testing.T) *userRelay {
	t.Helper()
	c := newCertificate(t, t.TempDir(), "relay.test")
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}}
	inet := smtptest.NewNetwork(t)
	r := &userRelay{host: inet.MX("next.test", "mx.next.test"), ports: make(map[string]string)}
	var listeners []net.Listener
	for _, how := range []string{"starttls", "tls"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, r.ports[how], _ = net.SplitHostPort(l.Addr().String())
		if how == "tls" {
			l = server.NewTLSListener(l, config)
		}
		listeners = append(listeners, postrider.SubmissionListener(l))
	}
	r.ownRelay = serveRelay(t, &postrider.Relay{
		Resolver: inet, DialContext: inet.DialContext, TLSConfig: config, Submission: &server.Server{AuthDelay: 1},
		Authenticate: func(_ context.Context, _ *server.Peer, username, password string) error {
			if username != "ann" || password != "secret" {
				return server.ErrAuthFailed
			}
			return nil
		},
	}, listeners...)
	return r
}

// userLetter is a mail with text in 8 bits. Its body ends in one line end.
const userLetter = "From: ann@source.test\nTo: bob@next.test\nSubject: hello\nMIME-Version: 1.0\n" +
	"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nGrüße, 你好.\n.\n..\nend\n"

// got waits for a mail at the next host, and compares it with userLetter and how it should have come. With utf8, the
// sender has declared SMTPUTF8. The Relay passes that on if an address needs it.
func (r *userRelay) got(t *testing.T, to string, utf8 bool) {
	t.Helper()
	if res := r.result(t, to); res.Outcome != smtp.Delivered {
		t.Fatalf("got %s, want it delivered", describe(res))
	}
	m := messageTo(r.host, to)
	with := "ESMTPSA"
	if utf8 {
		with = "UTF8SMTPSA"
	}
	header, body, _ := strings.Cut(string(m.Data), "\r\n\r\n")
	if !regexp.MustCompile(`\AReceived: from [^;]*\r\n\tby relay\.test with ` + with + ` \(TLS `).MatchString(header) {
		t.Errorf("got the header %.400q, want a Received on top with %s", header, with)
	}
	if _, want, _ := strings.Cut(crlf(userLetter), "\r\n\r\n"); strings.TrimRight(body, "\r\n") != strings.TrimRight(want, "\r\n") {
		t.Errorf("got the body %q, want %q", body, want)
	}
	if needed := strings.HasPrefix(to, "é"); m.Envelope.UTF8 != needed {
		t.Errorf("got SMTPUTF8 %v at the next host, want %v", m.Envelope.UTF8, needed)
	}
}

// javaClasses is the directory for what javac makes, once for all calls. It is set by TestUsers.
var javaClasses string

// userPrograms log in over TLS, and send userLetter. how is "starttls" or "tls".
var userPrograms = []struct {
	name string
	utf8 bool // it speaks SMTPUTF8
	send func(t *testing.T, port, how, password, to string) *exec.Cmd
}{
	{"nodemailer", true, func(t *testing.T, port, how, password, to string) *exec.Cmd {
		need(t, "node")
		modules := filepath.Join(unpacked, "nodemailer/node_modules")
		if _, err := os.Stat(modules); err != nil {
			missing(t, "nodemailer isn't installed in "+modules)
		}
		cmd := exec.Command("node", "testdata/submit.js", port, how, password, "ann@source.test", to)
		cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
		return cmd
	}},
	{"smtplib", true, func(t *testing.T, port, how, password, to string) *exec.Cmd {
		needPython(t)
		return exec.Command(python, "testdata/submit_users.py", port, how, password, "ann@source.test", to)
	}},
	{"phpmailer", false, func(t *testing.T, port, how, password, to string) *exec.Cmd {
		need(t, "php")
		if _, err := os.Stat("/usr/share/php/libphp-phpmailer"); err != nil {
			missing(t, "PHPMailer isn't installed")
		}
		return exec.Command("php", "testdata/submit.php", port, how, password, "ann@source.test", to)
	}},
	{"javamail", true, func(t *testing.T, port, how, password, to string) *exec.Cmd {
		need(t, "java", "javac")
		const jar = "/usr/share/java/javax.mail.jar"
		if _, err := os.Stat(jar); err != nil {
			missing(t, "JavaMail isn't installed")
		}
		if _, err := os.Stat(filepath.Join(javaClasses, "Submit.class")); err != nil {
			if out, err := exec.Command("javac", "-d", javaClasses, "-cp", jar, "testdata/Submit.java").CombinedOutput(); err != nil {
				t.Fatalf("javac: %v\n%s", err, out)
			}
		}
		cmd := exec.Command("java", "-XX:TieredStopAtLevel=1", "-cp", jar+":"+javaClasses, "Submit", port, how, password,
			"ann@source.test", to)
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
		return cmd
	}},
	{"swaks", false, func(t *testing.T, port, how, password, to string) *exec.Cmd {
		need(t, "swaks")
		option := map[string]string{"starttls": "--tls", "tls": "--tls-on-connect"}[how]
		return exec.Command("swaks", "--server", "127.0.0.1", "--port", port, option, "--auth", "--auth-user", "ann",
			"--auth-password", password, "--from", "ann@source.test", "--to", to, "--data", strings.TrimSuffix(userLetter, "\n"))
	}},
	{"curl", true, func(t *testing.T, port, how, password, to string) *exec.Cmd {
		need(t, "curl")
		scheme := map[string]string{"starttls": "smtp", "tls": "smtps"}[how]
		cmd := exec.Command("curl", "-sS", "--max-time", "20", "--ssl-reqd", "-k", "--user", "ann:"+password, "--crlf",
			"--mail-from", "ann@source.test", "--mail-rcpt", to, "-T", "-", scheme+"://127.0.0.1:"+port)
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
		return cmd
	}},
	{"msmtp", false, func(t *testing.T, port, how, password, to string) *exec.Cmd {
		need(t, "msmtp")
		option := map[string]string{"starttls": "--tls-starttls=on", "tls": "--tls-starttls=off"}[how]
		return exec.Command("msmtp", "--host=127.0.0.1", "--port="+port, "--auth=on", "--user=ann", "--passwordeval=echo "+password,
			"--tls=on", option, "--tls-certcheck=off", "--from=ann@source.test", "--", to)
	}},
	{"s-nail", false, func(t *testing.T, port, how, password, to string) *exec.Cmd {
		need(t, "s-nail")
		scheme := map[string]string{"starttls": "smtp", "tls": "smtps"}[how]
		cmd := exec.Command("s-nail", "-n", "-S", "v15-compat", "-S", "mta="+scheme+"://ann:"+password+"@127.0.0.1:"+port,
			"-S", "smtp-auth=plain", "-S", "smtp-use-starttls", "-S", "tls-verify=ignore", "-S", "hostname=source.test",
			"-S", "mime-encoding=8bit", "-S", "ttycharset=utf-8", "-S", "sendcharsets=utf-8", "-r", "ann@source.test", "-s", "hello", to)
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "HOME="+t.TempDir(), "MAILRC=/dev/null")
		_, body, _ := strings.Cut(userLetter, "\n\n")
		cmd.Stdin = strings.NewReader(body)
		return cmd
	}},
}

// TestUsers: programs of users send by STARTTLS and by implicit TLS, with AUTH, to ASCII addresses and others. A wrong
// password sends nothing.
func TestUsers(t *testing.T) {
	r := serveUsers(t)
	javaClasses = t.TempDir()
	for _, p := range userPrograms {
		for how, port := range r.ports {
			t.Run(p.name+"/"+how, func(t *testing.T) {
				send := func(password, to string) error {
					cmd := p.send(t, port, how, password, to)
					if cmd.Stdin == nil {
						cmd.Stdin = strings.NewReader(userLetter)
					}
					out, err := cmd.CombinedOutput()
					if err != nil {
						err = fmt.Errorf("%w\n%s", err, out)
					}
					return err
				}
				to := p.name + "." + how + "@next.test"
				if err := send("wrong", "wrong."+to); err == nil {
					t.Errorf("with a wrong password: got no error")
				}
				if err := send("secret", to); err != nil {
					t.Fatal(err)
				}
				r.got(t, to, false)
				if p.utf8 {
					if err := send("secret", "é."+to); err != nil {
						t.Fatal(err)
					}
					r.got(t, "é."+to, true)
				}
				if got := r.told.of("wrong." + to); got != nil {
					t.Errorf("with a wrong password: got a mail")
				}
			})
		}
	}
}
