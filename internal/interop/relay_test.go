// Package interop runs the built examples/relay as its users do: against real mail programs, and
// through crashes. Tests that need a program which isn't installed skip and name it; with
// POSTRIDER_INTEROP=required they fail instead.
package interop

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// relayBinary builds examples/relay once, and examples/inbox into the same directory.
var relayBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "postrider-interop-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "relay")
	out, err := exec.Command("go", "build", "-o", dir+"/", "../../examples/relay", "../../examples/inbox").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return bin, nil
})

func TestMain(m *testing.M) {
	for env, process := range map[string]func(dir string) error{killerDir: killerProcess, onceDir: onceProcess} {
		if dir := os.Getenv(env); dir != "" {
			if err := process(dir); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	code := m.Run()
	if bin, err := relayBinary(); err == nil {
		os.RemoveAll(filepath.Dir(bin))
	}
	os.Exit(code)
}

// relay is a running examples/relay.
type relay struct {
	addr       string
	submission string // the address of -submission; empty without that flag
	try        string // the command that sends a first mail
	cmd        *exec.Cmd
	logs       *logs
	done       chan struct{} // closed when the process has ended
}

// logs is what a process wrote; safe for concurrent use.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// startRelay starts the relay on a free port, with these flags behind its -spool and -hostname.
func startRelay(t *testing.T, spool string, flags ...string) *relay {
	t.Helper()
	return startRelayUnder(t, nil, spool, flags...)
}

// startRelayUnder has another program start it, which becomes the relay's process.
func startRelayUnder(t *testing.T, program []string, spool string, flags ...string) *relay {
	t.Helper()
	bin, err := relayBinary()
	if err != nil {
		t.Fatal(err)
	}
	args := append(slices.Clone(program), bin, "-listen", "127.0.0.1:0", "-spool", spool, "-hostname", "relay.test")
	args = append(args, flags...)
	r := &relay{cmd: exec.Command(args[0], args[1:]...), logs: new(logs), done: make(chan struct{})}
	r.cmd.Stderr = r.logs
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(out)
	r.addr, err = readLine(in, "listening on ")
	if err == nil && slices.Contains(flags, "-submission") {
		r.submission, err = readLine(in, "submission on ")
	}
	if err == nil {
		r.try, err = readLine(in, "try: ")
	}
	go func() {
		r.cmd.Wait()
		close(r.done)
	}()
	t.Cleanup(func() {
		r.kill()
		if t.Failed() {
			t.Logf("the relay logged:\n%s", r.logs)
		}
	})
	if err != nil {
		r.kill()
		t.Fatalf("%v; the relay logged:\n%s", err, r.logs)
	}
	return r
}

// readLine reads the relay's next line on standard output, and returns what follows its prefix.
func readLine(in *bufio.Reader, prefix string) (string, error) {
	line, err := in.ReadString('\n')
	rest, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), prefix)
	if !ok || err != nil {
		return "", fmt.Errorf("on standard output: got %q (%v), want a line that begins with %q", line, err, prefix)
	}
	return rest, nil
}

// stop ends the relay by SIGTERM, and fails the test if it doesn't leave in peace.
func (r *relay) stop(t *testing.T) {
	t.Helper()
	r.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.done:
	case <-time.After(30 * time.Second):
		t.Fatalf("the relay doesn't leave on SIGTERM")
	}
	if code := r.cmd.ProcessState.ExitCode(); code != 0 {
		t.Fatalf("the relay left with status %d; it logged:\n%s", code, r.logs)
	}
}

func (r *relay) running() bool {
	select {
	case <-r.done:
		return false
	default:
		return true
	}
}

// kill ends it by SIGKILL.
func (r *relay) kill() {
	r.cmd.Process.Kill()
	<-r.done
}

// need skips the test where a program is missing, or fails it where all must be there.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err == nil {
			continue
		}
		missing(t, program+" isn't installed")
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		missing(t, "only root can do this")
	}
}

// needPython skips where Debian's Python lacks a module.
func needPython(t *testing.T, modules ...string) {
	t.Helper()
	need(t, python)
	for _, module := range modules {
		if exec.Command(python, "-c", "import "+module).Run() != nil {
			missing(t, "Python's "+module+" isn't installed")
		}
	}
}

// python is Debian's, which sees Debian's modules.
const python = "/usr/bin/python3"

func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("POSTRIDER_INTEROP") == "required" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// patience is how long others may take for one thing. It only says when a test that has failed ends.
const patience = 2 * time.Minute

// eventually waits until ok holds: other processes tell no one when they are done.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	if !within(patience, ok) {
		t.Fatalf("after %v still not: %s", patience, what)
	}
}

// within waits as eventually does, and reports whether ok held in time.
func within(d time.Duration, ok func() bool) bool {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return false
}

// grows waits until there are as many as wanted, and returns how many there are. It waits as long as there are more and
// more: how long all take together depends on how many they are, and on what else the machine does.
func grows(want int, count func() int) int {
	n := count()
	for n < want {
		was := n
		if !within(patience, func() bool { n = count(); return n > was }) {
			break
		}
	}
	return n
}
