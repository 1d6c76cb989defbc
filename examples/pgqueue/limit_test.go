package pgqueue

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/pgqueue"
	"github.com/postrider/postrider/smtp"
)

// These are set in a process that is a node with a Runner.
const (
	inSender     = "POSTRIDER_PG_SENDER" // the address of the host
	senderDSN    = inSender + "_DSN"
	senderSchema = inSender + "_SCHEMA"
	senderLimit  = inSender + "_LIMIT" // of the site
	senderName   = inSender + "_NAME"
)

// sendingNode delivers until its stdin is closed or it is killed. All mail is for one site. An attempt is a connection
// that lasts as long as the host wants.
func sendingNode(addr string) error {
	db, err := sql.Open("pgx", os.Getenv(senderDSN))
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	o := pgqueue.Options{Schema: os.Getenv(senderSchema), Poll: 10 * time.Millisecond, NodeLease: 2 * time.Second}
	q, err := o.Open(ctx, db)
	if err != nil {
		return err
	}
	defer q.Close()
	limit, err := strconv.Atoi(os.Getenv(senderLimit))
	if err != nil {
		return err
	}
	r := &delivery.Runner{
		Queue:  q,
		Site:   delivery.SiteLimits{Concurrency: limit},
		SiteOf: func(context.Context, string) (delivery.Site, error) { return delivery.Site{Name: "host"}, nil },
		Sender: smtp.SenderFunc(func(ctx context.Context, env *smtp.Envelope, _ smtp.Content) ([]smtp.Result, error) {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				return nil, err
			}
			defer c.Close()
			defer context.AfterFunc(ctx, func() { c.Close() })()
			fmt.Fprintln(c, os.Getenv(senderName))
			_, err = bufio.NewReader(c).ReadString('\n')
			return nil, err
		}),
	}
	return r.Run(ctx)
}

// TestLimit has three nodes share a site with a limit, while nodes are started, stopped and killed. The host never has
// more connections than the limit. After each change, all three send again: together or, if the limit is 1, each in its
// turn. POSTRIDER_PG_LIMIT sets how many changes there are. With fewer than 20, nobody is killed while the limit is 1,
// as the others get the permit of such a node after 30 seconds, and only the node that sends next is awaited.
func TestLimit(t *testing.T) {
	changes := often("POSTRIDER_PG_LIMIT", 2)
	for _, limit := range []int{1, 6} {
		t.Run(strconv.Itoa(limit), func(t *testing.T) { testLimit(t, limit, changes, changes >= 20) })
	}
}

func testLimit(t *testing.T, limit, changes int, long bool) {
	s := newStore(t, drivers[0])
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	host := &site{now: map[string]int{}, by: map[string]int{}}
	go host.serve(l)
	q, err := (&pgqueue.Options{Schema: s.schema}).Open(t.Context(), s.admin)
	if err != nil {
		t.Fatal(err)
	}
	var storing sync.WaitGroup
	for w := range 50 {
		storing.Go(func() {
			for i := w; i < 1000*(changes+3); i += 50 {
				if _, err := q.Enqueue(t.Context(), mail(i, "x")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	storing.Wait()
	q.Close()
	running := map[string]*process{}
	started := 0
	start := func() {
		started++
		name := fmt.Sprint("node", started)
		running[name] = startProcess(t, func(string) {}, inSender+"="+l.Addr().String(), senderDSN+"="+s.server.DSN(),
			senderSchema+"="+s.schema, senderLimit+"="+strconv.Itoa(limit), senderName+"="+name)
	}
	t.Cleanup(func() {
		for _, p := range running {
			p.kill()
		}
	})
	for range 3 {
		start()
	}
	begun := time.Now()
	for i := range changes + 1 {
		var names []string
		for name := range running {
			names = append(names, name)
		}
		var what string
		var is func() bool
		switch {
		case limit > 1:
			what, is = "all nodes send at a time", func() bool { return host.isShared(names) }
		case long:
			what, is = "all nodes have sent", func() bool { return host.haveSent(names) == len(names) }
		default:
			what, is = "a node sends", func() bool { return host.haveSent(names) > 0 }
		}
		until(t, what, is)
		if i == changes {
			break
		}
		name := host.sender(names)
		if i%2 == 0 || limit == 1 && !long {
			running[name].stop()
		} else {
			running[name].kill()
		}
		delete(running, name)
		host.reset()
		start()
	}
	host.mu.Lock()
	defer host.mu.Unlock()
	if host.most != limit {
		t.Errorf("the host had %d connections at a time, want %d", host.most, limit)
	}
	t.Logf("%d messages in %v, up to %d at a time, %d nodes", host.total, time.Since(begun).Round(time.Second), host.most,
		started)
}

// site is a host that counts its connections.
type site struct {
	mu         sync.Mutex
	open, most int            // connections
	now        map[string]int // those of each node
	total      int            // messages
	by         map[string]int // those of each node since the last reset
}

func (h *site) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go h.take(c)
	}
}

// take takes a message, for a fifth of a second or until its node ends.
func (h *site) take(c net.Conn) {
	defer c.Close()
	h.mu.Lock()
	h.open++
	h.most = max(h.most, h.open)
	h.mu.Unlock()
	name, _ := bufio.NewReader(c).ReadString('\n')
	name = strings.TrimSpace(name)
	h.mu.Lock()
	h.now[name]++
	h.total++
	h.by[name]++
	h.mu.Unlock()
	c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	c.Read(make([]byte, 1))
	h.mu.Lock()
	h.open-- // before the node can know
	h.now[name]--
	h.mu.Unlock()
	fmt.Fprintln(c)
}

// isShared reports whether all of these nodes are sending now.
func (h *site) isShared(names []string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !slices.ContainsFunc(names, func(name string) bool { return h.now[name] == 0 })
}

// haveSent returns how many of these nodes have sent since the last reset.
func (h *site) haveSent(names []string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range names {
		if h.by[name] > 0 {
			n++
		}
	}
	return n
}

// sender returns one of these nodes: if one is sending now, such a node.
func (h *site) sender(names []string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range names {
		if h.now[name] > 0 {
			return name
		}
	}
	return names[0]
}

func (h *site) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.by)
}
