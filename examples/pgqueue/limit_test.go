package pgqueue

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/pgqueue"
	"github.com/postrider/postrider/smtp"
)

// inSender is set in a process that is a node with a Runner, to the address of the host.
const inSender = "POSTRIDER_PG_SENDER"

// sendingNode delivers until its stdin is closed or it is killed. All mail is for one site, which takes one connection.
// An attempt is a connection that lasts as long as the host wants.
func sendingNode(addr string) error {
	db, err := sql.Open("pgx", os.Getenv(inSender+"_DSN"))
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	o := pgqueue.Options{Schema: os.Getenv(inSender + "_SCHEMA"), Poll: 10 * time.Millisecond, NodeLease: 2 * time.Second}
	q, err := o.Open(ctx, db)
	if err != nil {
		return err
	}
	defer q.Close()
	r := &delivery.Runner{
		Queue:  q,
		Site:   delivery.SiteLimits{Concurrency: 1},
		SiteOf: func(context.Context, string) (delivery.Site, error) { return delivery.Site{Name: "host"}, nil },
		Sender: smtp.SenderFunc(func(ctx context.Context, env *smtp.Envelope, _ smtp.Content) ([]smtp.Result, error) {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				return nil, err
			}
			defer c.Close()
			defer context.AfterFunc(ctx, func() { c.Close() })()
			fmt.Fprintf(c, "%d\n", os.Getpid())
			_, err = bufio.NewReader(c).ReadString('\n')
			return nil, err
		}),
	}
	return r.Run(ctx)
}

// TestLimit has three nodes share a site that takes one connection, while nodes are started, stopped and killed.
func TestLimit(t *testing.T) {
	s := newStore(t, drivers[0])
	host := &oneConnection{by: map[string]int{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go host.serve(l)
	q, err := (&pgqueue.Options{Schema: s.schema}).Open(t.Context(), s.admin)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4000 {
		if _, err := q.Enqueue(t.Context(), mail(i, "x")); err != nil {
			t.Fatal(err)
		}
	}
	q.Close()
	start := func() *process {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), inSender+"="+l.Addr().String(), inSender+"_DSN="+s.server.DSN(),
			inSender+"_SCHEMA="+s.schema)
		cmd.Stderr = os.Stderr
		in, _ := cmd.StdinPipe()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		p := &process{cmd, in, make(chan struct{})}
		close(p.end)
		return p
	}
	nodes := []*process{start(), start(), start()}
	t.Cleanup(func() {
		for _, p := range nodes {
			p.kill()
		}
	})
	begun := time.Now()
	rounds := often("POSTRIDER_PG_LIMIT", 2)
	for i := range rounds {
		time.Sleep(5 * time.Second)
		n := rand.IntN(len(nodes))
		if i%2 == 0 {
			nodes[n].stop()
		} else {
			nodes[n].kill()
		}
		nodes[n] = start()
	}
	time.Sleep(2 * time.Second)
	host.mu.Lock()
	defer host.mu.Unlock()
	if host.most != 1 {
		t.Errorf("the host had %d connections at a time, want 1", host.most)
	}
	// The permit of a node that was killed is free after half a minute.
	if host.total < 20 || rounds > 10 && len(host.by) < 3 {
		t.Errorf("the host got %d messages, by node %v", host.total, host.by)
	}
	t.Logf("%d messages in %v, by node %v", host.total, time.Since(begun).Round(time.Second), host.by)
}

// oneConnection is a host that counts its connections.
type oneConnection struct {
	mu               sync.Mutex
	now, most, total int
	by               map[string]int
}

func (h *oneConnection) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			h.mu.Lock()
			h.now++
			h.most = max(h.most, h.now)
			h.mu.Unlock()
			name, _ := bufio.NewReader(c).ReadString('\n')
			time.Sleep(50 * time.Millisecond)
			h.mu.Lock()
			h.now-- // before the node can know
			h.total++
			h.by[strings.TrimSpace(name)]++
			h.mu.Unlock()
			fmt.Fprintln(c)
		}()
	}
}
