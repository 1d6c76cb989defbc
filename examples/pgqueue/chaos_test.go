package pgqueue

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/examples/pgqueue/pgtest"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
	"github.com/postrider/postrider/smtp"
)

// inNode is set in a process that is a node.
const inNode = "POSTRIDER_PG_NODE"

// often returns the number of repetitions that an environment variable sets.
func often(name string, usually int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return usually
}

func mail(n int, body string) queue.Message {
	from := fmt.Sprintf("sender%d@example.com", n%40) // some owners, so that each node has some of the mail
	to := fmt.Sprintf("d%d.example", n%7)
	return queue.Message{
		Envelope: smtp.NewEnvelope(from, "to@"+to), Destinations: []string{to}, Body: strings.NewReader(body),
	}
}

// deliver claims what is due, calls each for it, and settles it. It returns when ctx ends, or each returns false. Some
// tasks are settled only at their second attempt.
func deliver(ctx context.Context, q *pgqueue.Queue, each func(queue.Task) bool) {
	for ctx.Err() == nil {
		var wants []queue.Want
		for d, err := range q.Lanes(ctx) {
			if err == nil && !d.Due.After(time.Now()) {
				wants = append(wants, queue.Want{Lane: d.Lane, Max: 5})
			}
		}
		tasks, err := q.Claim(ctx, wants, 10*time.Second)
		if err != nil || len(tasks) == 0 {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		var wg sync.WaitGroup
		more := true
		for _, t := range tasks {
			s := queue.Settlement{}
			if len(t.ID)%3 == 0 && t.Attempts == 1 {
				s = queue.Settlement{Next: time.Now()}
			} else if !each(t) {
				more = false
			}
			wg.Go(func() { q.Settle(context.WithoutCancel(ctx), t.Lease, s) })
		}
		if wg.Wait(); !more {
			return
		}
	}
}

// node is the work of a process: it enqueues and delivers until its stdin is closed or it is killed. It prints each ID
// that Enqueue has returned, and each that it delivers, before it settles it.
func node(dsn, schema string) error {
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	o := pgqueue.Options{Schema: schema, Poll: 10 * time.Millisecond, NodeLease: 2 * time.Second, Timeout: 5 * time.Second}
	var q *pgqueue.Queue
	for q == nil { // the server may be down
		if q, err = o.Open(ctx, db); err != nil {
			if ctx.Err() != nil {
				return err
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	defer q.Close()
	var out sync.Mutex
	print := func(what string, id queue.ID) {
		out.Lock()
		defer out.Unlock()
		fmt.Println(what, id)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for w := range 4 {
		wg.Go(func() {
			for n := w; ctx.Err() == nil; n += 4 {
				if id, err := q.Enqueue(ctx, mail(n, "x")); err == nil {
					print("stored", id)
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	deliver(ctx, q, func(t queue.Task) bool {
		print("sent", t.ID)
		return true
	})
	return nil
}

// ledger is what the nodes have printed.
type ledger struct {
	mu     sync.Mutex
	stored map[string]bool
	sent   map[string]int
}

// process is a process that is a node.
type process struct {
	cmd *exec.Cmd
	in  io.Closer
	end chan struct{} // closed when all of its output is read
}

// run starts a process.
func (l *ledger) run(t *testing.T, s *pgtest.Server, schema string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), inNode+"="+s.DSN(), inNode+"_SCHEMA="+schema)
	cmd.Stderr = os.Stderr
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd, in, make(chan struct{})}
	go func() {
		defer close(p.end)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			what, id, ok := strings.Cut(lines.Text(), " ")
			if !ok || !strings.HasSuffix(lines.Text(), id) {
				continue
			}
			l.mu.Lock()
			switch what {
			case "stored":
				l.stored[id] = true
			case "sent":
				l.sent[id]++
			}
			l.mu.Unlock()
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

// check delivers what is left, and checks that each acknowledged message was sent. It returns the number of copies.
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
	deliver(ctx, q, func(t queue.Task) bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.sent[string(t.ID)]++
		return true
	})
	if n := l.missing(); n > 0 {
		t.Errorf("each acknowledged message is sent: %d of %d are not", n, len(l.stored))
	}
	for _, n := range l.sent {
		copies += n - 1
	}
	return copies
}

func (l *ledger) missing() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.stored {
		if l.sent[id] == 0 {
			n++
		}
	}
	return n
}

// newSchema makes a schema with the driver pgx.
func newSchema(t *testing.T, s *pgtest.Server) (db *sql.DB, schema string) {
	t.Helper()
	db, err := sql.Open("pgx", s.DSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	schema = fmt.Sprintf("chaos%d", schemas.Add(1))
	if err := pgqueue.Migrate(t.Context(), db, schema); err != nil {
		t.Fatal(err)
	}
	return db, schema
}

func open(t *testing.T, db *sql.DB, o pgqueue.Options) *pgqueue.Queue {
	t.Helper()
	q, err := o.Open(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

// TestNodesKilled kills one of three nodes again and again. POSTRIDER_PG_KILLS sets how often.
func TestNodesKilled(t *testing.T) {
	s := theServer(t)
	db, schema := newSchema(t, s)
	l := &ledger{stored: map[string]bool{}, sent: map[string]int{}}
	nodes := []*process{l.run(t, s, schema), l.run(t, s, schema), l.run(t, s, schema)}
	kills := often("POSTRIDER_PG_KILLS", 2)
	for i := range kills {
		time.Sleep(time.Second)
		nodes[i%3].kill()
		nodes[i%3] = l.run(t, s, schema)
	}
	time.Sleep(time.Second)
	for _, p := range nodes {
		p.stop()
	}
	q := open(t, db, pgqueue.Options{Schema: schema, Poll: 10 * time.Millisecond, NodeLease: 2 * time.Second})
	copies := l.check(t, q)
	t.Logf("%d kills, %d messages, %d copies", kills, len(l.stored), copies)
	// A process prints an ID before it settles the task: what it has claimed when it is killed comes again.
	if most := kills * 200; copies > most || kills > 0 && len(l.stored) < 100 {
		t.Errorf("got %d messages and %d copies, want at least 100 and at most %d", len(l.stored), copies, most)
	}
}

// TestServerKilled kills the server again and again. POSTRIDER_PG_CRASHES sets how often.
func TestServerKilled(t *testing.T) {
	theServer(t)
	s, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Remove)
	db, schema := newSchema(t, s)
	l := &ledger{stored: map[string]bool{}, sent: map[string]int{}}
	nodes := []*process{l.run(t, s, schema), l.run(t, s, schema)}
	crashes := often("POSTRIDER_PG_CRASHES", 1)
	for range crashes {
		time.Sleep(1500 * time.Millisecond)
		restart(t, s)
	}
	time.Sleep(time.Second)
	for _, p := range nodes {
		p.stop()
	}
	q := open(t, db, pgqueue.Options{Schema: schema, Poll: 10 * time.Millisecond, NodeLease: 2 * time.Second})
	t.Logf("%d crashes, %d messages, %d copies", crashes, len(l.stored), l.check(t, q))
	if len(l.stored) < 100 {
		t.Errorf("got %d messages, want at least 100", len(l.stored))
	}
}

// TestCutOff cuts a Queue off for longer than its lease: another one gets its messages, and its leases are lost.
func TestCutOff(t *testing.T) {
	s := theServer(t)
	admin, schema := newSchema(t, s)
	o := pgqueue.Options{Schema: schema, Poll: 5 * time.Millisecond, NodeLease: 500 * time.Millisecond, Timeout: time.Second}
	l := &line{Connector: connector(t, "pgx", s.DSN())}
	a := open(t, l.open(t), o)
	id, err := a.Enqueue(t.Context(), mail(0, "x"))
	if err != nil {
		t.Fatal(err)
	}
	claim := func(q *pgqueue.Queue) (tasks []queue.Task) {
		t.Helper()
		for range 2000 {
			var wants []queue.Want
			for d := range q.Lanes(t.Context()) {
				wants = append(wants, queue.Want{Lane: d.Lane, Max: 1})
			}
			if tasks, _ = q.Claim(t.Context(), wants, time.Hour); len(tasks) > 0 {
				return tasks
			}
			time.Sleep(5 * time.Millisecond)
		}
		t.Fatal("no task can be claimed")
		return nil
	}
	first := claim(a)
	l.cut.Store(true)
	b := open(t, admin, o)
	second := claim(b)
	if second[0].ID != id || second[0].Attempts != 2 || second[0].Deaths != 1 {
		t.Errorf("got %+v, want message %s at its second attempt, after one death", second[0], id)
	}
	l.cut.Store(false)
	if err := a.Settle(t.Context(), first[0].Lease, queue.Settlement{}); !errors.Is(err, queue.ErrLeaseLost) {
		t.Errorf("Settle at the Queue that was cut off: got %v, want ErrLeaseLost", err)
	}
	if err := b.Settle(t.Context(), second[0].Lease, queue.Settlement{}); err != nil {
		t.Errorf("Settle at the Queue that took over: %v", err)
	}
	if _, err := a.Enqueue(t.Context(), mail(1, "x")); err != nil {
		t.Errorf("Enqueue at the Queue that was cut off: %v", err)
	}
}

// TestClockJumps has the clock of the server jump by an hour, ahead and back, while two Queues deliver. A jump ahead
// ends the leases of Queues, so that messages which are being sent then may be sent twice. None is lost or delayed.
func TestClockJumps(t *testing.T) {
	s := theServer(t)
	admin, schema := newSchema(t, s)
	o := pgqueue.Options{Schema: schema, Poll: 5 * time.Millisecond, NodeLease: 400 * time.Millisecond}
	ahead := new(atomic.Int64)
	ctx, stop := context.WithCancel(t.Context())
	l := &ledger{stored: map[string]bool{}, sent: map[string]int{}}
	var wg sync.WaitGroup
	var queues []*pgqueue.Queue
	for range 2 {
		way := &line{Connector: connector(t, "pgx", s.DSN()), bubble: true, jumps: true, ahead: ahead}
		q := open(t, way.open(t), o)
		queues = append(queues, q)
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if id, err := q.Enqueue(ctx, mail(n, "x")); err == nil {
					l.mu.Lock()
					l.stored[string(id)] = true
					l.mu.Unlock()
				}
			}
		})
		wg.Go(func() {
			deliver(ctx, q, func(t queue.Task) bool {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.sent[string(t.ID)]++
				return true
			})
		})
	}
	jumps := []time.Duration{time.Hour, -time.Hour, -time.Hour, 2 * time.Hour, -time.Hour}
	for _, jump := range jumps {
		time.Sleep(300 * time.Millisecond)
		ahead.Add(int64(jump))
	}
	time.Sleep(300 * time.Millisecond)
	stop()
	wg.Wait()
	for _, q := range queues {
		q.Close()
	}
	q := open(t, admin, o)
	copies := l.check(t, q)
	t.Logf("%d jumps, %d messages, %d copies", len(jumps), len(l.stored), copies)
	if most := len(jumps) * 100; copies > most || len(l.stored) < 100 {
		t.Errorf("got %d messages and %d copies, want at least 100 and at most %d", len(l.stored), copies, most)
	}
}

// TestHandOver opens and closes Queues while another one delivers: each delivers a part, and nothing is sent twice.
func TestHandOver(t *testing.T) {
	s := theServer(t)
	db, schema := newSchema(t, s)
	o := pgqueue.Options{Schema: schema, Poll: 5 * time.Millisecond}
	ctx, stop := context.WithCancel(t.Context())
	l := &ledger{stored: map[string]bool{}, sent: map[string]int{}}
	var wg sync.WaitGroup
	work := func(ctx context.Context, q *pgqueue.Queue, wg *sync.WaitGroup, delivered *int) {
		wg.Go(func() {
			deliver(ctx, q, func(t queue.Task) bool {
				time.Sleep(3 * time.Millisecond) // so that lanes that are given up have leases
				l.mu.Lock()
				defer l.mu.Unlock()
				l.sent[string(t.ID)]++
				*delivered++
				return true
			})
		})
	}
	first := open(t, db, o)
	var byFirst int
	var byOthers [3]int
	work(ctx, first, &wg, &byFirst)
	wg.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			id, err := first.Enqueue(ctx, mail(n, "x"))
			if err == nil {
				l.mu.Lock()
				l.stored[string(id)] = true
				l.mu.Unlock()
			}
		}
	})
	for i := range byOthers {
		q := open(t, db, o)
		during, done := context.WithCancel(ctx)
		var ended sync.WaitGroup
		work(during, q, &ended, &byOthers[i])
		time.Sleep(300 * time.Millisecond)
		done()
		ended.Wait()
		q.Close()
	}
	stop()
	wg.Wait()
	copies := l.check(t, first)
	t.Logf("%d messages: %d by the first Queue, %d by the others; %d copies", len(l.stored), byFirst, byOthers, copies)
	if copies > 0 || byFirst == 0 || slices.Contains(byOthers[:], 0) {
		t.Errorf("got %d copies of %d messages, %d sent by the first Queue and %d by the others; want no copies, and some by each",
			copies, len(l.stored), byFirst, byOthers)
	}
}
