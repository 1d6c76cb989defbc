package interop

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFirstMail has a new user run examples/inbox, examples/relay with the inbox as its smarthost, and the command that the
// relay prints. Then the same to an unknown user: the report comes back to the inbox.
func TestFirstMail(t *testing.T) {
	need(t, "sh", "curl")
	bin, err := relayBinary()
	if err != nil {
		t.Fatal(err)
	}
	addr, printed := "127.0.0.1:"+freePort(t), new(logs)
	inbox := exec.Command(filepath.Join(filepath.Dir(bin), "inbox"),
		"-listen", addr, "-user", "ann@example.net", "-user", "bob@example.com")
	inbox.Stdout = printed
	if err := inbox.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		inbox.Process.Kill()
		inbox.Wait()
	})
	r := startRelay(t, t.TempDir(), "-smarthost", addr)
	try := func(command string) {
		t.Helper()
		if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("%s: got %v and %q, want no output", command, err, out)
		}
	}
	has := func(texts ...string) func() bool {
		return func() bool {
			for _, text := range texts {
				if !strings.Contains(printed.String(), text) {
					return false
				}
			}
			return true
		}
	}

	try(r.try)
	eventually(t, "the inbox has printed the mail",
		has("==== from <bob@example.com> to <ann@example.net>\nReceived: ", "\nSubject: hello\n\nHello.\n"))
	try(strings.ReplaceAll(r.try, "ann@", "nobody@"))
	eventually(t, "the inbox has printed the report",
		has("==== from <> to <bob@example.com>\n", "\nFinal-Recipient: rfc822; nobody@example.net\n", "\nStatus: 5.1.1\n"))
	if n := strings.Count(printed.String(), "==== from "); n != 2 {
		t.Errorf("got %d mails, want 2:\n%s", n, printed)
	}
	r.stop(t)
}
