package interop

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// smallSenders are Debian's programs that take mail as sendmail does, and hand it to one host. Each is a
// mail-transport-agent: none can be installed beside Postfix. The script runs in the package's root directory. Its
// arguments are the sender and the recipient.
var smallSenders = []struct {
	name   string
	files  map[string]string // the configuration
	script string
}{
	{"ssmtp", map[string]string{
		"etc/ssmtp/ssmtp.conf": "mailhub=127.0.0.1:@port@\nhostname=@hello@\nFromLineOverride=YES\n",
	}, `chroot . /usr/sbin/ssmtp -i -f "$1" "$2"`},
	{"esmtp", map[string]string{
		"etc/esmtprc": "hostname=127.0.0.1:@port@\n",
	}, `chroot . /usr/bin/esmtp -i -f "$1" "$2"`},
	{"nullmailer", map[string]string{
		"etc/mailname":             "@hello@\n",
		"etc/nullmailer/remotes":   "127.0.0.1 smtp --port=@port@\n",
		"etc/nullmailer/pausetime": "0\n", // it ends when the queue is empty
	}, `chroot . /usr/sbin/sendmail -i -f "$1" "$2" && chroot . /usr/sbin/nullmailer-send`},
	{"dma", map[string]string{
		"etc/dma/dma.conf": "SMARTHOST 127.0.0.1\nPORT @port@\nMAILNAME @hello@\n",
	}, `chroot . /usr/sbin/dma -D -i -f "$1" "$2"`},
}

// smallStart has the system's libraries in a root directory, in a mount namespace that ends with it.
const smallStart = `cd "$1" && shift || exit
for dir in /usr/lib/*-linux-* /usr/lib32 /usr/lib64; do
	[ ! -d "$dir" ] || { mkdir -p ".$dir" && mount --bind -o ro "$dir" ".$dir"; } || exit
done
mount --bind /dev dev || exit
`

// sendsTo prepares a root directory for a small sender, and returns the func that makes its command.
func sendsTo(t *testing.T, i int, port, hello string) func(from, to, message string) *exec.Cmd {
	t.Helper()
	needRoot(t)
	need(t, "unshare", "chroot", "mount", "mkfifo")
	s := smallSenders[i]
	files := filepath.Join(unpacked, s.name)
	if _, err := os.Stat(files); err != nil {
		missing(t, s.name+" isn't unpacked in "+files)
	}
	root := serverDir(t, s.name)
	if out, err := exec.Command("cp", "-a", files+"/.", root).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
	os.RemoveAll(filepath.Join(root, "lib")) // units of systemd
	for _, dir := range []string{"lib", "lib32", "lib64"} {
		if err := os.Symlink("usr/"+dir, filepath.Join(root, dir)); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"dev", "etc", "tmp", "root"} {
		mkdirs(t, 0, 0, filepath.Join(root, dir))
	}
	write(t, filepath.Join(root, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nmail:x:8:8:mail:/var/mail:/bin/false\n")
	write(t, filepath.Join(root, "etc/group"), "root:x:0:\nmail:x:8:\n")
	for name, text := range s.files {
		mkdirs(t, 0, 0, filepath.Dir(filepath.Join(root, name)))
		write(t, filepath.Join(root, name), configured(text, "@port@", port, "@hello@", hello))
	}
	switch s.name {
	case "nullmailer":
		if err := exec.Command("mkfifo", filepath.Join(root, "var/spool/nullmailer/trigger")).Run(); err != nil {
			t.Fatalf("mkfifo: %v", err)
		}
	case "dma": // the program isn't setgid here, and has the user mail
		if err := os.Chmod(filepath.Join(root, "var/spool/dma"), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	return func(from, to, message string) *exec.Cmd {
		cmd := exec.Command("unshare", "-m", "sh", "-c", smallStart+s.script, "sh", root, from, to)
		cmd.Stdin = strings.NewReader(message)
		return cmd
	}
}

const mboxLine = "From ann@source.test Sun Nov 22 12:00:00 2026\n"

// letters are handed to a sendmail by programs and scripts. Line ends are LF, except in crlf-header.
var letters = []struct {
	name, header, body string
	refused            []string // from these programs, which make CR CR LF of CR LF
}{
	{
		name: "latin1-header",
		header: "From: ann@source.test\nSubject: caf\xe9\nContent-Type: text/plain; charset=iso-8859-1\n" +
			"Content-Transfer-Encoding: 8bit\n",
		body: "Gr\xfc\xdfe\n.\n..\nFrom here\nend  \n",
	},
	{name: "utf8-header", header: "From: \"Ännchen\" <ann@source.test>\nSubject: café, 你好\n", body: "Grüße\n"},
	{name: "few-fields", header: "Subject: few\n", body: "Hello.\n\n\n"},
	{name: "mbox-line", header: mboxLine + "From: ann@source.test\nSubject: mbox\n", body: "Hello.\n"},
	{name: "quoted-mbox-line", header: ">" + mboxLine + "From: ann@source.test\nSubject: mbox\n", body: "Hello.\n"},
	{name: "no-final-newline", header: "From: ann@source.test\nSubject: no newline\n", body: "Grüße\nend"},
	// As mail() of PHP 8 makes it, unless mail.mixed_lf_and_crlf is on.
	{
		name: "crlf-header", header: "From: ann@source.test\r\nSubject: caf\xe9\r\n", body: "Hello.\n",
		refused: []string{"nullmailer", "dma"},
	},
}

// TestSenders: each program hands each letter to a Relay with its defaults. The next host offers SMTPUTF8, and gets the
// letter without. It has the octets that the program sent, without a mbox line on top.
func TestSenders(t *testing.T) {
	type command = func(from, to, message string) *exec.Cmd
	senders := make(map[string]func(t *testing.T, port string) command)
	for i, s := range smallSenders {
		senders[s.name] = func(t *testing.T, port string) command { return sendsTo(t, i, port, "source.test") }
	}
	for _, s := range submitters {
		senders[s.name] = func(t *testing.T, port string) command {
			return func(from, to, message string) *exec.Cmd {
				return s.submit(t, port, from, to, strings.ReplaceAll(message, "\r\n", "\n"))
			}
		}
	}
	for name, start := range senders {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // some take seconds
			inet := smtptest.NewNetwork(t)
			host := inet.MX("next.test", "mx.next.test")
			own := serveRelay(t, &postrider.Relay{Resolver: inet, DialContext: inet.DialContext})
			send := start(t, own.port)
			for _, l := range letters {
				to := name + "." + l.name + "@next.test"
				out, err := send("ann@source.test", to, l.header+"\n"+l.body).CombinedOutput()
				if slices.Contains(l.refused, name) {
					if text := own.wire.session(to); messageTo(host, to) != nil || !strings.Contains(text, "\r\r\n") {
						t.Errorf("%s: got the session %q, want CR CR LF, and the mail refused", l.name, text)
					}
					continue
				}
				if err != nil {
					t.Errorf("%s: got %v\n%s", l.name, err, out)
					continue
				}
				if err := own.passed(t, host, to, l.body); err != nil {
					t.Errorf("%s: %v", l.name, err)
				}
			}
			commands, _, _ := cutSession(own.wire.session(name + ".latin1-header@next.test"))
			t.Logf("its commands: %q", commands)
		})
	}
}

// TestHelloNames: the small senders, with names of devices that can't be in the DNS. RFC 5321 §4.1.4: mail isn't refused
// for the client's name.
func TestHelloNames(t *testing.T) {
	names := map[string]string{"latin1": "b\xfcro", "utf8": "büro.local", "space": "front desk", "underscore": "fax_2"}
	for i, s := range smallSenders {
		if s.name == "esmtp" { // has the system's name alone
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			inet := smtptest.NewNetwork(t)
			host := inet.MX("next.test", "mx.next.test")
			own := serveRelay(t, &postrider.Relay{Resolver: inet, DialContext: inet.DialContext})
			for name, hello := range names {
				to := s.name + "." + name + "@next.test"
				cmd := sendsTo(t, i, own.port, hello)("ann@source.test", to, "From: ann@source.test\nSubject: hello\n\nHello.\n")
				out, err := cmd.CombinedOutput()
				if err != nil || own.wire.session(to) == "" {
					t.Errorf("%q: got no RCPT, and %v: %s", hello, err, out)
				} else if err := own.passed(t, host, to, "Hello.\n"); err != nil {
					t.Errorf("%q: %v", hello, err)
				}
			}
		})
	}
}

// passed waits for the mail at the host, and compares it with the octets of the session that brought it, and with the
// body unless that is empty.
func (r *ownRelay) passed(t *testing.T, host *smtptest.Host, to, body string) error {
	t.Helper()
	if res := r.result(t, to); res.Outcome != smtp.Delivered {
		return fmt.Errorf("got %s, want it delivered", describe(res))
	}
	got, session := messageTo(host, to), r.wire.session(to)
	_, sent, ok := cutSession(session)
	if !ok {
		return fmt.Errorf("got the session %.900q, want DATA and its end in it", session)
	}
	if first, rest, _ := strings.Cut(sent, "\r\n"); strings.HasPrefix(strings.TrimPrefix(first, ">"), "From ") {
		sent = rest
	}
	at := ourReceived.FindIndex(got.Data)
	if at == nil || at[0] != 0 {
		return fmt.Errorf("got no Received line of ours on top of %.600q", got.Data)
	}
	behind := got.Data[at[1]:]
	if !bytes.Equal(behind, []byte(sent)) {
		return fmt.Errorf("got %s", firstDifference(behind, []byte(sent)))
	}
	header, gotBody, _ := bytes.Cut(behind, []byte("\r\n\r\n"))
	if !bytes.Contains(header, []byte("\r\nSubject: ")) && !bytes.HasPrefix(header, []byte("Subject: ")) {
		return fmt.Errorf("got the header %q, want Subject in it", header)
	}
	want := strings.TrimSuffix(crlf(body), "\r\n")
	if body != "" && strings.TrimSuffix(string(gotBody), "\r\n") != want {
		return fmt.Errorf("got the body %q, want %q", gotBody, want)
	}
	if got.Envelope.UTF8 {
		return fmt.Errorf("got SMTPUTF8 on MAIL, want it only where the sender declared it: the session was %.300q", session)
	}
	return nil
}

// TestComposers: programs that compose their mail themselves, with text in UTF-8 and in Latin-1, in 8 bits.
func TestComposers(t *testing.T) {
	inet := smtptest.NewNetwork(t)
	host := inet.MX("next.test", "mx.next.test")
	own := serveRelay(t, &postrider.Relay{Resolver: inet, DialContext: inet.DialContext})
	const text, latin1 = "Grüße.\n.\n..leading\n", "Gr\xfc\xdfe.\n.\n..leading\n"
	snail := func(charset string) func(t *testing.T, to string) *exec.Cmd {
		return func(t *testing.T, to string) *exec.Cmd {
			need(t, "s-nail")
			args := []string{"-n", "-r", "ann@source.test", "-s", "hello", to}
			for _, option := range []string{
				"v15-compat", "mta=smtp://127.0.0.1:" + own.port, "smtp-auth=none", "nosmtp-use-starttls", "hostname=source.test",
				"mime-encoding=8bit", "ttycharset=" + charset, "sendcharsets=" + charset,
			} {
				args = append([]string{"-S", option}, args...)
			}
			cmd := exec.Command("s-nail", args...)
			cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "HOME="+t.TempDir(), "MAILRC=/dev/null")
			return cmd
		}
	}
	php := func(how string) func(t *testing.T, to string) *exec.Cmd {
		return func(t *testing.T, to string) *exec.Cmd {
			need(t, "php", "msmtp")
			if _, err := os.Stat("/usr/share/php/libphp-phpmailer"); err != nil {
				missing(t, "PHPMailer isn't installed")
			}
			sendmail := `sendmail_path="msmtp --host=127.0.0.1 --port=` + own.port + ` --from=ann@source.test -t"`
			return exec.Command("php", "-d", sendmail, "testdata/compose.php", how, own.port, to)
		}
	}
	for _, c := range []struct {
		name, text string
		cmd        func(t *testing.T, to string) *exec.Cmd
		want       []string
	}{
		{"s-nail", text, snail("utf-8"), []string{text}},
		{"s-nail-latin1", latin1, snail("iso-8859-1"), []string{latin1}},
		{"phpmailer", text, php("utf-8"), []string{text, text}},
		{"phpmailer-latin1", latin1, php("iso-8859-1"), []string{latin1, latin1}},
		{"php-mail", latin1, php("mail"), []string{latin1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			to := c.name + "@next.test"
			cmd := c.cmd(t, to)
			cmd.Stdin = strings.NewReader(c.text)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", c.name, err, out)
			}
			if err := own.passed(t, host, to, ""); err != nil {
				t.Fatal(err)
			}
			got, err := decoded(messageTo(host, to).Data)
			var want []string
			for _, text := range c.want {
				want = append(want, strings.TrimRight(crlf(text), "\r\n"))
			}
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("got the texts %q (%v), want %q", got, err, want)
			}
		})
	}
}
