package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/examples/pgqueue/pgtest"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// asProgram is set in the environment of a process that is this program.
const asProgram = "POSTRIDER_CLUSTER"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// program returns a command that runs this program.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// database starts a server, and returns its DSN.
func database(t *testing.T) string {
	t.Helper()
	s, err := pgtest.Start()
	pgtest.Need(t, err)
	t.Cleanup(s.Remove)
	return s.DSN()
}

// cluster is a running program.
type cluster struct {
	first int // port of the first relay
	cmd   *exec.Cmd
	pids  map[int]int // of the relays, from 1
	end   chan struct{}
}

// start starts the program with relays on ports in a row, and waits until they listen. It is ended with the test.
func start(t *testing.T, relays, first int, args ...string) *cluster {
	t.Helper()
	c := &cluster{first: first, pids: make(map[int]int), end: make(chan struct{})}
	c.cmd = program(t, append([]string{"-relays", strconv.Itoa(relays), "-hostname", "cluster.test",
		"-listen", "127.0.0.1:" + strconv.Itoa(first)}, args...)...)
	var log strings.Builder // complete when the process has ended
	c.cmd.Stderr = &log
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(30*time.Second, func() { c.cmd.Process.Signal(syscall.SIGTERM) })
	defer late.Stop()
	lines, n := bufio.NewScanner(out), 0
	for n < relays && lines.Scan() {
		var relay, pid int
		if _, err := fmt.Sscanf(lines.Text(), "relay %d is process %d", &relay, &pid); err == nil {
			c.pids[relay] = pid
		}
		if strings.HasPrefix(lines.Text(), "try: ") { // after all addresses
			n++
		}
	}
	go func() {
		defer close(c.end)
		io.Copy(io.Discard, out)
		c.cmd.Wait()
	}()
	t.Cleanup(func() {
		c.stop(t)
		if t.Failed() {
			t.Logf("the cluster logged:\n%s", &log)
		}
	})
	if n < relays || len(c.pids) != relays {
		t.Fatalf("got relays %v, of which %d listen, want %d", c.pids, n, relays)
	}
	return c
}

// stop ends the program as Ctrl-C does.
func (c *cluster) stop(t *testing.T) {
	t.Helper()
	c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.end:
	case <-time.After(time.Minute):
		t.Error("the cluster doesn't end")
		c.cmd.Process.Kill()
		for _, pid := range c.pids {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		<-c.end
	}
}

// addr returns the address of a relay, from 1.
func (c *cluster) addr(relay int) string { return "127.0.0.1:" + strconv.Itoa(c.first+relay-1) }

// sink is a host that takes all mail, and notes when which recipient got his.
type sink struct {
	addr string
	wait time.Duration // with each mail

	mu  sync.Mutex
	got map[string][]time.Time
}

func newSink(t *testing.T, wait time.Duration) *sink {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{addr: l.Addr().String(), wait: wait, got: make(map[string][]time.Time)}
	host := &server.Server{Handler: s}
	go host.Serve(context.WithoutCancel(t.Context()), l)
	t.Cleanup(func() { host.Close() })
	return s
}

func (s *sink) Handle(_ context.Context, _ *server.Peer, env *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
	if _, err := io.Copy(io.Discard, body); err != nil {
		return nil, err
	}
	time.Sleep(s.wait)
	s.mu.Lock()
	defer s.mu.Unlock()
	to := env.Recipients[0].Address
	s.got[to] = append(s.got[to], time.Now())
	return nil, nil
}

// mails returns what has arrived.
func (s *sink) mails() map[string][]time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.got)
}

// until waits for a condition.
func until(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v, %s", limit, what)
		}
	}
}

// freePorts returns the first of some ports in a row that nobody listens on.
func freePorts(t *testing.T, n int) int {
	t.Helper()
next:
	for first := 23000; first < 60000; first += n {
		var open []net.Listener
		for i := range n {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+i))
			if err != nil {
				for _, l := range open {
					l.Close()
				}
				continue next
			}
			open = append(open, l)
		}
		for _, l := range open {
			l.Close()
		}
		return first
	}
	t.Fatal("no ports are free")
	return 0
}
