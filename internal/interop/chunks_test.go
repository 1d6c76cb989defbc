package interop

import (
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// chunkSenderConfig is that of an Exim that hands all mail to one host.
const chunkSenderConfig = `primary_hostname = sender.test
exim_path = @exim@
exim_user = Debian-exim
exim_group = Debian-exim
spool_directory = @dir@/spool
log_file_path = @dir@/log/%s
keep_environment =
host_lookup =
untrusted_set_sender = *
message_size_limit = 50M
begin routers
all:
  driver = manualroute
  route_list = * 127.0.0.1::@port@
  self = send
  transport = smtp
begin transports
smtp:
  driver = smtp
`

// keeper is a Handler that keeps each message.
type keeper struct {
	mu     sync.Mutex
	bodies []string
}

func (k *keeper) Handle(_ context.Context, _ *server.Peer, _ *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
	b, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.bodies = append(k.bodies, string(b))
	return nil, nil
}

// TestChunksOfExim: Exim sends by BDAT to a server that offers CHUNKING. What arrives is what it was given.
func TestChunksOfExim(t *testing.T) {
	needRoot(t)
	program := lookProgram(t, "exim4", "exim4-daemon-light")
	uid, gid := account(t, "Debian-exim")
	dir := serverDir(t, "exim-sender")
	mkdirs(t, uid, gid, filepath.Join(dir, "spool"), filepath.Join(dir, "log"))
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, k := &recorder{Listener: raw}, new(keeper)
	srv := &server.Server{Hostname: "mx.test", Handler: k}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(t.Context(), l) }()
	t.Cleanup(func() {
		srv.Close()
		<-done
	})
	conf := filepath.Join(dir, "exim.conf")
	port := fmt.Sprint(raw.Addr().(*net.TCPAddr).Port)
	write(t, conf, configured(chunkSenderConfig, "@exim@", program, "@dir@", dir, "@port@", port))

	for _, body := range []string{
		"Hello.\n",
		".\n..\n\n.\nMAIL FROM:<mallory@example.com>\n",
		strings.Repeat("a line of a large message\n.\n", 200_000),
	} {
		send := exec.Command(program, "-C", conf, "-i", "-odi", "-f", "ann@sender.test", "bob@mx.test")
		send.Stdin = strings.NewReader("Subject: chunks\n\n" + body)
		if out, err := send.CombinedOutput(); err != nil {
			t.Fatalf("exim: %v\n%s", err, out)
		}
		k.mu.Lock()
		bodies := k.bodies
		k.bodies = nil
		k.mu.Unlock()
		if len(bodies) != 1 {
			log, _ := exec.Command("cat", filepath.Join(dir, "log/main")).Output()
			t.Fatalf("got %d mails, want one\n%s", len(bodies), log)
		}
		if want := "\r\n\r\n" + strings.ReplaceAll(body, "\n", "\r\n"); !strings.HasSuffix(bodies[0], want) {
			t.Errorf("got %d octets, want the %d of the body at the end", len(bodies[0]), len(want))
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, sent := range l.sessions {
		if text := sent.String(); !strings.Contains(text, "\nBDAT ") || strings.Contains(text, "\nDATA\r\n") {
			t.Errorf("got %.300q, want BDAT and no DATA", text)
		}
	}
	if len(l.sessions) != 3 {
		t.Errorf("got %d sessions, want one for each mail", len(l.sessions))
	}
}
