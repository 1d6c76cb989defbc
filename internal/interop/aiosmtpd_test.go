package interop

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// startSink starts an aiosmtpd on a port; it keeps what comes in the directory. See testdata/sink.py for what may follow.
func startSink(t *testing.T, port, dir string, args ...string) (stop func()) {
	t.Helper()
	cmd := exec.Command(python, append([]string{"testdata/sink.py", port, dir}, args...)...)
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
		if t.Failed() {
			t.Logf("aiosmtpd wrote:\n%s", stderr)
		}
	}
	t.Cleanup(stop)
	waitPort(t, port)
	return stop
}

// sinkMails reads what startSink's aiosmtpd has kept, a mail for each recipient.
func sinkMails(t *testing.T, dir string) []mail {
	t.Helper()
	var mails []mail
	for _, m := range readMails(t, filepath.Join(dir, "*.eml"), func(_ string, data []byte) string {
		_, behind, _ := strings.Cut(string(data), "\r\n\tfor ")
		to, _, _ := strings.Cut(behind, "\r\n")
		return to
	}) {
		for to := range strings.SplitSeq(m.to, ",") {
			mails = append(mails, mail{to: to, data: m.data})
		}
	}
	return mails
}

func aiosmtpd(t *testing.T) *nextHost {
	needPython(t, "aiosmtpd")
	dir := t.TempDir()
	cert := newCertificate(t, dir, "aiosmtpd.test")
	h := &nextHost{
		name:    "aiosmtpd",
		version: programVersion(`(\S+)`, python, "-c", "import aiosmtpd; print(aiosmtpd.__version__)"),
		port:    freePort(t),
		tlsPort: freePort(t),
		roots:   cert.roots,
		mails:   func(t *testing.T) []mail { return sinkMails(t, dir) },
	}
	h.route = "127.0.0.1:" + h.port
	startSink(t, h.port, dir, h.tlsPort, cert.cert, cert.key)
	waitPort(t, h.tlsPort)
	return h
}
