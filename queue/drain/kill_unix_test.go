//go:build unix

package drain

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/spool"
)

// These are what the test tells its processes, by their environment.
const (
	roleEnv = "POSTRIDER_DRAIN_ROLE"
	dirEnv  = "POSTRIDER_DRAIN_DIR"
	sizeEnv = "POSTRIDER_DRAIN_MESSAGES"
)

// request is an Import for the other process.
type request struct {
	Tasks []queue.Task
	Body  []byte
	Key   string
	Held  bool
}

type response struct {
	ID      queue.ID
	Repeats bool
	Err     string
}

// remote is the Queue of another process.
type remote struct {
	queue.Queue
	addr string
}

func (r *remote) Import(_ context.Context, in queue.Import) (queue.ID, bool, error) {
	body, err := io.ReadAll(in.Body)
	if err != nil {
		return "", false, err
	}
	nc, err := net.Dial("unix", r.addr)
	if err != nil {
		return "", false, err
	}
	defer nc.Close()
	if err := gob.NewEncoder(nc).Encode(request{in.Tasks, body, in.Key, in.Held}); err != nil {
		return "", false, err
	}
	var got response
	if err := gob.NewDecoder(nc).Decode(&got); err != nil {
		return "", false, err // it may have stored the message
	}
	if got.Err != "" {
		return "", false, errors.New(got.Err)
	}
	return got.ID, got.Repeats, nil
}

// serveImports is the process that gets the messages.
func serveImports(dir string) error {
	q, err := spool.Open(filepath.Join(dir, "to"))
	if err != nil {
		return err
	}
	addr := filepath.Join(dir, "sock")
	os.Remove(addr) // of a process that was killed
	l, err := net.Listen("unix", addr)
	if err != nil {
		return err
	}
	for {
		nc, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer nc.Close()
			var in request
			if gob.NewDecoder(nc).Decode(&in) != nil {
				return
			}
			var out response
			var err error
			out.ID, out.Repeats, err = q.Import(context.Background(),
				queue.Import{Tasks: in.Tasks, Body: bytes.NewReader(in.Body), Key: in.Key, Held: in.Held})
			if err != nil {
				out.Err = err.Error()
			}
			gob.NewEncoder(nc).Encode(out)
		}()
	}
}

// drainAll is the process that has the messages.
func drainAll(dir string) error {
	q, err := spool.Open(filepath.Join(dir, "from"))
	if err != nil {
		return err
	}
	defer q.Close()
	var last Progress
	d := &Drain{From: q, To: &remote{addr: filepath.Join(dir, "sock")}, Name: "mx1",
		Journal: filepath.Join(dir, "journal"), Batch: 200, Progress: func(p Progress) { last = p }}
	for d.Run(context.Background()) != nil {
		time.Sleep(10 * time.Millisecond) // the other process isn't there
	}
	fmt.Printf("moved %d, %d of them repeated\n", last.Moved, last.Repeated)
	return nil
}

// TestMain does what the processes of TestKilled do, in these, and otherwise runs the tests.
func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(roleEnv) {
	case "from":
		err = drainAll(os.Getenv(dirEnv))
	case "to":
		err = serveImports(os.Getenv(dirEnv))
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// process is one of the two, which is started again when it was killed.
type process struct {
	role, dir string
	cmd       *exec.Cmd
	out       bytes.Buffer
	done      chan error // has the end of the process; closed after that
}

func (p *process) start(t *testing.T) {
	t.Helper()
	p.out.Reset()
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), roleEnv+"="+p.role, dirEnv+"="+p.dir)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd, done := p.cmd, make(chan error, 1)
	p.done = done
	go func() {
		done <- cmd.Wait()
		close(done)
	}()
}

func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// TestKilled: both processes are killed again and again while messages are moved. All arrive, once, as they were.
// POSTRIDER_DRAIN_MESSAGES says how many there are.
func TestKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	n := 2000
	if v, err := strconv.Atoi(os.Getenv(sizeEnv)); err == nil {
		n = v
	}
	dir, err := os.MkdirTemp("", "drain") // a short name, for the socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	want := fill(t, filepath.Join(dir, "from"), n)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	both := []*process{{role: "from", dir: dir}, {role: "to", dir: dir}}
	for _, p := range both {
		p.start(t)
	}
	defer func() {
		for _, p := range both {
			p.kill()
		}
	}()
	kills := make(map[string]int)
	for over := false; !over; {
		var timer <-chan time.Time
		if sum := kills["from"] + kills["to"]; sum < max(12, n/500) {
			timer = time.After(time.Duration(rnd.IntN(200+n/20)) * time.Millisecond)
		}
		select {
		case err := <-both[0].done:
			if err != nil {
				t.Fatalf("it failed: %v\n%s", err, both[0].out.String())
			}
			over = true
		case err := <-both[1].done:
			t.Fatalf("it ended: %v\n%s", err, both[1].out.String())
		case <-timer:
			p := both[rnd.IntN(2)]
			p.kill()
			kills[p.role]++
			p.start(t)
		}
	}
	both[1].kill()
	t.Logf("killed: %v; the last one: %s", kills, strings.Join(strings.Fields(both[0].out.String()), " "))
	check := func(name string, want []string) {
		q, err := spool.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		got := tasks(t, q)
		if !slices.Equal(got, want) {
			at := 0
			for at < min(len(got), len(want)) && got[at] == want[at] {
				at++
			}
			t.Errorf("%s: got %d tasks, want %d; from %d on, got %q, want %q", name, len(got), len(want), at,
				got[at:min(at+3, len(got))], want[at:min(at+3, len(want))])
		}
	}
	check("from", nil)
	check("to", want)
}

// fill makes a spool with n messages, some of them held, and some with attempts.
func fill(t *testing.T, dir string, n int) []string {
	t.Helper()
	q, err := spool.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			from, to := i*n/50, (i+1)*n/50
			enqueue(t, q, from, to-from, i%7 == 0)
		})
	}
	wg.Wait()
	settleSome(t, q)
	return tasks(t, q)
}
