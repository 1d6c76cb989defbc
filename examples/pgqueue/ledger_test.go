package pgqueue

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
)

// ledger is what nodes have stored and sent, and what has happened to them. Their clock is that of this machine.
type ledger struct {
	mu       sync.Mutex
	stored   map[string]bool
	sent     map[string][]*dot
	by       map[int]int // how many messages each node has sent
	troubles []trouble
}

// dot is the final dot of a message: from then on, the host has it.
type dot struct {
	node    int
	at      time.Time
	settled time.Time // when Settle had returned nil; zero: it hasn't
}

// trouble is what may be the cause of copies. At a moment, from and to are the same.
type trouble struct {
	what     string
	node     int // 0: it concerns all nodes
	from, to time.Time
	// undone is how long before from a settlement may be that the trouble undoes.
	undone time.Duration
}

func newLedger() *ledger {
	return &ledger{stored: map[string]bool{}, sent: map[string][]*dot{}, by: map[int]int{}}
}

// wasStored notes that Enqueue has returned an ID.
func (l *ledger) wasStored(id queue.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stored[string(id)] = true
}

// wasSent notes a final dot.
func (l *ledger) wasSent(node int, id queue.ID, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[string(id)] = append(l.sent[string(id)], &dot{node: node, at: at})
	l.by[node]++
}

// wasSettled notes that a Settle of a node has returned nil.
func (l *ledger) wasSettled(node int, id queue.ID, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range slices.Backward(l.sent[string(id)]) {
		if d.node == node {
			d.settled = at
			return
		}
	}
}

// happened notes a trouble that began at from and is over now.
func (l *ledger) happened(what string, node int, from time.Time) {
	l.trouble(trouble{what: what, node: node, from: from, to: time.Now()})
}

func (l *ledger) trouble(tr trouble) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.troubles = append(l.troubles, tr)
}

// deliver is deliver, with what it does in the ledger.
func (l *ledger) deliver(ctx context.Context, node int, q *pgqueue.Queue) {
	deliver(ctx, q, func(t queue.Task) { l.wasSent(node, t.ID, time.Now()) }, func(t queue.Task, err error) {
		if err == nil {
			l.wasSettled(node, t.ID, time.Now())
		}
	})
}

// untilSent waits until each of some nodes has sent n more messages.
func (l *ledger) untilSent(t *testing.T, n int, nodes ...int) {
	t.Helper()
	l.mu.Lock()
	want := map[int]int{}
	for _, node := range nodes {
		want[node] = l.by[node] + n
	}
	l.mu.Unlock()
	until(t, fmt.Sprintf("the nodes %v have each sent %d more messages", nodes, n), func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return !slices.ContainsFunc(nodes, func(node int) bool { return l.by[node] < want[node] })
	})
}

// check delivers what is left, and checks that each acknowledged message was sent, and that each copy has a cause. It
// returns the number of copies, and prints their causes.
func (l *ledger) check(t *testing.T, q *pgqueue.Queue) (copies int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() {
		defer cancel()
		for ctx.Err() == nil {
			if s, err := q.Stats(ctx); err == nil && s.Messages == 0 && l.missing() == 0 {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	l.deliver(ctx, 0, q)
	if n := l.missing(); n > 0 {
		t.Errorf("each acknowledged message is sent: %d of %d are not", n, len(l.stored))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	causes := map[string]int{}
	for id, dots := range l.sent {
		slices.SortFunc(dots, func(a, b *dot) int { return a.at.Compare(b.at) })
		for i := range dots[1:] {
			copies++
			what := l.cause(dots[i], dots[i+1])
			if causes[what]++; what == "" {
				t.Errorf("message %s was sent again without a cause: %v, then %v", id, dots[i], dots[i+1])
			}
		}
	}
	t.Logf("%d messages, %d of them acknowledged, sent by node %v; %d copies %v", len(l.sent), len(l.stored), l.by,
		copies, causes)
	return copies
}

func (l *ledger) missing() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.stored {
		if len(l.sent[id]) == 0 {
			n++
		}
	}
	return n
}

// cause returns why a message was sent again: between the two final dots, something has happened to the node that
// sent it first, and its settlement isn't known to be stored. If there is no cause, it returns "". l.mu is held.
func (l *ledger) cause(first, second *dot) string {
	for _, tr := range l.troubles {
		if tr.node != 0 && tr.node != first.node || tr.from.After(second.at) || tr.to.Before(first.at) {
			continue
		}
		switch {
		case first.settled.IsZero():
			return tr.what
		case first.settled.After(tr.from.Add(-tr.undone)) && first.settled.Before(tr.to):
			return tr.what + ", after the settlement"
		}
	}
	return ""
}

func (d *dot) String() string {
	const form = "15:04:05.000"
	settled := "not settled"
	if !d.settled.IsZero() {
		settled = "settled at " + d.settled.Format(form)
	}
	return fmt.Sprintf("by node %d at %s, %s", d.node, d.at.Format(form), settled)
}

// process is a process that is a node.
type process struct {
	cmd *exec.Cmd
	in  io.Closer
	end chan struct{} // closed when all of its output is read
}

// startProcess starts this program as a node. read is called for each line of its output.
func startProcess(t *testing.T, read func(line string), env ...string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = t.Output()
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd, in, make(chan struct{})}
	go func() {
		defer close(p.end)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			read(lines.Text())
		}
	}()
	return p
}

func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.end
	p.cmd.Wait()
}

func (p *process) stop() {
	p.in.Close()
	<-p.end
	p.cmd.Wait()
}

// nodes are processes that enqueue and deliver, with a ledger of what they print.
type nodes struct {
	*ledger
	schema  string
	numbers []int
	running map[int]*process
}

func newNodes(schema string) *nodes {
	return &nodes{ledger: newLedger(), schema: schema, running: map[int]*process{}}
}

// start starts another node, and returns its number.
func (n *nodes) start(t *testing.T, dsn string) int {
	t.Helper()
	number := len(n.numbers) + 1
	n.numbers = append(n.numbers, number)
	n.running[number] = startProcess(t, func(line string) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return
		}
		nanos, _ := strconv.ParseInt(fields[0], 10, 64)
		at, id := time.Unix(0, nanos), queue.ID(fields[2])
		switch fields[1] {
		case "stored":
			n.wasStored(id)
		case "sent":
			n.wasSent(number, id, at)
		case "settled":
			n.wasSettled(number, id, at)
		}
	}, inNode+"="+dsn, inNode+"_SCHEMA="+n.schema)
	t.Cleanup(func() { n.running[number].kill() })
	return number
}

// kill kills a node.
func (n *nodes) kill(number int) {
	from := time.Now()
	n.running[number].kill()
	n.happened("killed", number, from)
}

// stop stops all nodes.
func (n *nodes) stop() {
	for _, p := range n.running {
		p.stop()
	}
}

// alive returns the numbers of the nodes that weren't killed, the oldest first.
func (n *nodes) alive() []int {
	var alive []int
	for _, number := range n.numbers {
		if !slices.ContainsFunc(n.troubles, func(tr trouble) bool { return tr.what == "killed" && tr.node == number }) {
			alive = append(alive, number)
		}
	}
	return alive
}
