package interop

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// message is a mail with an attachment and what is easily broken: dots at the start of lines, 8-bit
// text, trailing spaces, a long line, an empty last line. Line ends are LF.
func message(id, to string) string {
	attachment := make([]byte, 30_000)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(attachment)
	encoded := base64.StdEncoding.EncodeToString(attachment)
	var lines []string
	for len(encoded) > 76 {
		lines, encoded = append(lines, encoded[:76]), encoded[76:]
	}
	return fmt.Sprintf(`From: Ann <ann@source.test>
To: <%s>
Subject: to %s
Message-ID: <%s@source.test>
Date: Sun, 22 Nov 2026 12:00:00 +0000
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=sep

--sep
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

Grüße, 你好.
.
..
.leading dot
trailing spaces   
%s
From the start of a line.

--sep
Content-Type: application/octet-stream
Content-Disposition: attachment; filename=data.bin
Content-Transfer-Encoding: base64

%s
%s
--sep--

`, to, to, id, strings.Repeat("long ", 190), strings.Join(lines, "\n"), encoded)
}

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

// submitters are the programs that hand mail to the relay.
var submitters = []struct {
	name   string
	submit func(t *testing.T, port, from, to, message string) *exec.Cmd
}{
	{"swaks", func(t *testing.T, port, from, to, message string) *exec.Cmd {
		need(t, "swaks")
		file := filepath.Join(t.TempDir(), "mail")
		write(t, file, strings.TrimSuffix(message, "\n")) // swaks ends the last line once more
		return exec.Command("swaks", "--server", "127.0.0.1", "--port", port, "--from", from, "--to", to,
			"--data", "@"+file, "--hide-informational", "--suppress-data")
	}},
	{"msmtp", func(t *testing.T, port, from, to, message string) *exec.Cmd {
		need(t, "msmtp")
		cmd := exec.Command("msmtp", "--host=127.0.0.1", "--port="+port, "--from="+from, "--", to)
		cmd.Stdin = strings.NewReader(message)
		return cmd
	}},
	{"curl", func(t *testing.T, port, from, to, message string) *exec.Cmd {
		need(t, "curl")
		cmd := exec.Command("curl", "--silent", "--show-error", "smtp://127.0.0.1:"+port, "--mail-from", from, "--mail-rcpt", to, "-T", "-")
		cmd.Stdin = strings.NewReader(crlf(message))
		return cmd
	}},
	{"smtplib", func(t *testing.T, port, from, to, message string) *exec.Cmd {
		needPython(t)
		cmd := exec.Command(python, "testdata/submit.py", port, from, to)
		cmd.Stdin = strings.NewReader(crlf(message))
		return cmd
	}},
}

var ourReceived = regexp.MustCompile(`(?s)Received: from [^\r]+\r\n\tby relay\.test with [^;]+;\r\n\t[^\r]+\r\n`)

// TestPrograms: each program hands a mail to the relay for each host, which must have the same bytes
// behind our Received line.
func TestPrograms(t *testing.T) {
	for _, start := range nextHosts {
		t.Run(start.name, func(t *testing.T) {
			host := start.start(t)
			domain := host.domain()
			r := startRelay(t, t.TempDir(), "-route", domain+"="+host.route)
			_, port, _ := net.SplitHostPort(r.addr)
			for _, program := range submitters {
				t.Run(program.name, func(t *testing.T) {
					to := program.name + "@" + domain
					sent := message(program.name, to)
					cmd := program.submit(t, port, "ann@source.test", to, sent)
					if out, err := cmd.CombinedOutput(); err != nil {
						t.Fatalf("%s: %v\n%s", program.name, err, out)
					}
					var got []byte
					eventually(t, "the mail is there", func() bool {
						for _, m := range host.mails(t) {
							if m.to == to {
								got = m.data
							}
						}
						return got != nil
					})
					at := ourReceived.FindIndex(got)
					if at == nil {
						t.Fatalf("no Received line of ours in:\n%.600s", got)
					}
					if behind := got[at[1]:]; !bytes.Equal(behind, []byte(crlf(sent))) {
						t.Errorf("got other bytes than were accepted: %s", firstDifference(behind, []byte(crlf(sent))))
					}
				})
			}
			r.stop(t)
		})
	}
}

func firstDifference(got, want []byte) string {
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	from := max(0, i-20)
	return fmt.Sprintf("%d octets, want %d; at octet %d got %.60q, want %.60q", len(got), len(want), i, got[from:], want[from:])
}

// TestNextHostDown: mail waits while the next host is down, over a restart of the relay, and arrives
// once the host is up.
func TestNextHostDown(t *testing.T) {
	needPython(t, "aiosmtpd")
	port, dir, spool := freePort(t), t.TempDir(), t.TempDir()
	flags := []string{"-smarthost", "127.0.0.1:" + port, "-retry", "200ms"}
	r := startRelay(t, spool, flags...)
	submit(t, r, "ann@source.test", "bob@next.test", message("down", "bob@next.test"))
	eventually(t, "a first attempt fails", func() bool { return strings.Contains(r.logs.String(), "refused") })
	r.stop(t)

	bin, _ := relayBinary()
	out, err := exec.Command(bin, "-spool", spool, "-list").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("<bob@next.test>")) {
		t.Errorf("-list: %v; got %q, want a line for <bob@next.test>", err, out)
	}
	r = startRelay(t, spool, flags...)
	out, err = exec.Command(bin, "-spool", spool, "-list").CombinedOutput()
	if err == nil || !bytes.Contains(out, fmt.Append(nil, r.cmd.Process.Pid)) {
		t.Errorf("-list on a spool in use: %v; got %q, want a line that names process %d", err, out, r.cmd.Process.Pid)
	}
	startSink(t, port, dir)
	eventually(t, "the mail is there", func() bool { return len(sinkMails(t, dir)) == 1 })
	r.stop(t)
}

// TestRefusedRecipient: a refused recipient makes a report that others understand, and the other
// recipient gets the mail.
func TestRefusedRecipient(t *testing.T) {
	needPython(t, "aiosmtpd", "flufl.bounce")
	port, dir := freePort(t), t.TempDir()
	startSink(t, port, dir)
	r := startRelay(t, t.TempDir(), "-smarthost", "127.0.0.1:"+port)
	submit(t, r, "ann@source.test", "nobody@next.test,bob@next.test", message("refused", "nobody@next.test"))
	eventually(t, "the mail and the report are there", func() bool { return len(sinkMails(t, dir)) == 2 })
	for _, m := range sinkMails(t, dir) {
		switch m.to {
		case "bob@next.test":
		case "ann@source.test":
			cmd := exec.Command(python, "testdata/report.py")
			cmd.Stdin = bytes.NewReader(m.data)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("report.py: %v\n%s\n%s", err, out, m.data)
			}
			for _, want := range []string{"email rfc822; nobody@next.test failed 5.1.1\n", "flufl [] ['nobody@next.test']\n", "auto-submitted auto-replied\n"} {
				if !strings.Contains(string(out), want) {
					t.Errorf("no %q in what the readers found:\n%s", want, out)
				}
			}
		default:
			t.Errorf("got a mail for %q", m.to)
		}
	}
	// A report that fails makes no report.
	submit(t, r, "nobody@source.test", "nobody@next.test", message("lost", "nobody@next.test"))
	eventually(t, "the report is refused", func() bool { return strings.Count(r.logs.String(), "to=nobody@source.test") > 0 })
	r.stop(t)
	if n := len(sinkMails(t, dir)); n != 2 {
		t.Errorf("got %d mails, want 2: no report on a report", n)
	}
}

// TestFlags: a wrong flag or an unusable spool gives one clear line and a non-zero status.
func TestFlags(t *testing.T) {
	bin, err := relayBinary()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"spool is a file", []string{"-spool", file}, file},
		{"no spool", []string{"-spool", ""}, "-spool is empty"},
		{"the list of a spool that isn't there", []string{"-spool", file + "-not", "-list"}, "file-not: no such file"},
		{"no size", []string{"-spool", t.TempDir(), "-max-size", "0"}, "-max-size"},
		{"no port", []string{"-listen", "127.0.0.1", "-spool", t.TempDir()}, "missing port"},
		{"bad network", []string{"-allow", "127.0.0.0/99"}, "-allow"},
		{"bad retry", []string{"-retry", "5m,never"}, "never"},
		{"bad route", []string{"-route", "example.com"}, "-route"},
		{"stray argument", []string{"-spool", t.TempDir(), "now"}, "now"},
		{"no certificate", []string{"-spool", t.TempDir(), "-cert", "/nowhere", "-key", "/nowhere"}, "/nowhere"},
		{"user without TLS", []string{"-spool", t.TempDir(), "-user", "ann"}, "-cert"},
		{"submission without a user", []string{"-spool", t.TempDir(), "-submission", "127.0.0.1:0"}, "-user"},
		{"certificate without a key", []string{"-spool", t.TempDir(), "-cert", "/nowhere"}, "-key"},
		{"two routes", []string{"-route", "example.com=a:25", "-route", "Example.com=b:25"}, "example.com"},
		{"a time that has passed", []string{"-max-age", "-1h"}, "-max-age"},
		{"no host name", []string{"-hostname", "a..b"}, "-hostname"},
		{"unknown flag", []string{"-frobnicate"}, "-help"},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, err := exec.Command(bin, test.args...).CombinedOutput()
			if err == nil {
				t.Errorf("got status 0, want another")
			}
			if first, _, _ := strings.Cut(string(out), "\n"); !strings.Contains(first, test.want) {
				t.Errorf("got %q, want a first line with %q", out, test.want)
			}
		})
	}
}

// TestHelp asks for the flags, which are printed on standard output.
func TestHelp(t *testing.T) {
	bin, err := relayBinary()
	if err != nil {
		t.Fatal(err)
	}
	for _, arg := range []string{"-h", "-help", "--help"} {
		out, err := exec.Command(bin, arg).Output()
		if err != nil || !strings.Contains(string(out), "-smarthost host:port\n") {
			t.Errorf("%s: got %v and %q, want status 0 and the flags", arg, err, out)
		}
	}
}

// submit hands a message to the relay by smtplib.
func submit(t *testing.T, r *relay, from, to, message string) {
	t.Helper()
	_, port, _ := net.SplitHostPort(r.addr)
	cmd := exec.Command(python, "testdata/submit.py", port, from, to)
	cmd.Stdin = strings.NewReader(crlf(message))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("smtplib: %v\n%s", err, out)
	}
}
