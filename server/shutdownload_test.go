package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

// TestShutdownLoad: 50 clients, each in a state of its own, meet Shutdown, Close or the end of the context at a moment
// chosen by a seed. Each message that a client has a 250 for was stored, no message has two replies, and no session,
// goroutine, connection, file or counted memory is left. POSTRIDER_SHUTDOWN_SEEDS is the number of seeds.
func TestShutdownLoad(t *testing.T) {
	seeds := 100
	if s := os.Getenv("POSTRIDER_SHUTDOWN_SEEDS"); s != "" {
		seeds = must(strconv.Atoi(s))
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			l := newSiege(t, uint64(seed))
			l.run()
			if t.Failed() {
				t.Fatalf("seed %d, stopped by %s after %v", seed, l.way, l.moment)
			}
		})
		if t.Failed() {
			return
		}
	}
}

// siege is a server and its clients.
type siege struct {
	t      *testing.T
	seed   uint64
	rng    *rand.Rand
	w      *world
	dir    string // for temporary files
	way    string // how the server is stopped
	moment time.Duration
	grace  time.Duration
	begun  time.Time // of the stop

	mu      sync.Mutex
	stored  map[string]int // calls of Handle that accepted a message, by its name
	far     []*pipe        // the server's ends
	clients sync.WaitGroup
}

func newSiege(t *testing.T, seed uint64) *siege {
	l := &siege{t: t, seed: seed << 8, rng: rand.New(rand.NewPCG(seed, 13)), dir: t.TempDir(), stored: make(map[string]int)}
	l.way = []string{"Shutdown", "Shutdown with a deadline", "the end of ctx", "Close", "the end of ctx, then Close"}[l.rng.IntN(5)]
	l.moment = time.Duration(l.rng.Int64N(int64(8 * time.Second)))
	l.grace = time.Duration(l.rng.Int64N(int64(20*time.Second))) + 1
	srv := &Server{
		Handler: &desk{handle: l.handle}, TLSConfig: testTLS(t), Authenticate: authenticate, AllowInsecureAuth: true,
		AuthDelay: time.Second, Grace: l.grace, TempDir: l.dir, MaxAuthFailures: 1 << 20,
	}
	if seed%2 == 0 {
		withCheck(srv, nil) // long messages go to files
	}
	l.w = newWorld(t, srv)
	return l
}

// handle stores a message, slowly. Its first line is its name.
func (l *siege) handle(ctx context.Context, p *Peer, _ *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
	network := p.RemoteAddr.(*net.TCPAddr).IP.To4()[2] // of the client
	rng := rand.New(rand.NewPCG(l.seed+uint64(network), uint64(p.Tx)))
	before, after, refuses := rng.IntN(3), rng.IntN(3), rng.IntN(10) == 0
	time.Sleep(time.Duration(before) * time.Second)
	b, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	if refuses {
		return smtp.NewReply(451, "", "not now"), nil
	}
	name, _, _ := strings.Cut(string(b), "\r\n")
	l.mu.Lock()
	l.stored[name]++
	l.mu.Unlock()
	time.Sleep(time.Duration(after) * time.Second)
	return nil, nil
}

func (l *siege) run() {
	kinds := []func(*loadClient){
		(*loadClient).silent, (*loadClient).idle, (*loadClient).inTransaction, (*loadClient).inData, (*loadClient).inChunk,
		(*loadClient).betweenChunks, (*loadClient).inAuth, (*loadClient).guesses, (*loadClient).inHandshake, (*loadClient).overTLS,
	}
	for i := range 50 {
		c := &loadClient{siege: l, n: i, rng: rand.New(rand.NewPCG(l.rng.Uint64(), 0)), acked: make(map[string]int)}
		do := (*loadClient).sends
		if i < 25 {
			do = kinds[i%len(kinds)]
		}
		l.clients.Go(func() { c.run(do) })
	}
	time.Sleep(l.moment)
	l.mu.Lock()
	l.begun = time.Now()
	l.mu.Unlock()
	l.stop()
	if err := <-l.w.stopped; err != nil {
		l.t.Errorf("got %v from Serve, want nil", err)
	}
	l.inTime()
	l.clients.Wait()
	l.nothingLeft()
}

// stop stops the server in one of the ways.
func (l *siege) stop() {
	srv := l.w.srv
	switch l.way {
	case "Shutdown":
		if err := srv.Shutdown(context.Background()); err != nil {
			l.t.Errorf("got %v from Shutdown, want nil", err)
		}
	case "Shutdown with a deadline":
		ctx, cancel := context.WithTimeout(context.Background(), l.grace)
		defer cancel()
		srv.Shutdown(ctx)
	case "the end of ctx, then Close":
		l.w.stop()
		time.Sleep(time.Duration(l.rng.Int64N(int64(time.Second))))
		srv.Close()
	case "the end of ctx":
		l.w.stop()
	case "Close":
		srv.Close()
	}
}

// inTime checks that the stop didn't wait for more than it may: for a running transaction without a bound, else for
// the Handler, which takes 4 seconds and ignores its context.
func (l *siege) inTime() {
	most := l.grace
	switch l.way {
	case "Shutdown":
		most = 2 * defaultDataTimeout // a client that has stopped
	case "Close":
		most = 0
	case "the end of ctx, then Close":
		most = min(l.grace, time.Second)
	}
	if d := time.Since(l.begun); d > most+4*time.Second+linger {
		l.t.Errorf("got a stop of %v, want %v at most", d, most+4*time.Second+linger)
	}
}

func (l *siege) nothingLeft() {
	if sessions, sources := l.w.books(); sessions+sources != 0 {
		l.t.Errorf("got %d sessions and %d sources in the books, want none", sessions, sources)
	}
	if n := l.w.srv.memory.Load(); n != 0 {
		l.t.Errorf("got %d octets of memory counted, want none", n)
	}
	for _, p := range l.far {
		if _, err := p.Write(nil); err == nil {
			l.t.Error("got an open connection, want all closed")
		}
	}
	if files := must(os.ReadDir(l.dir)); len(files) != 0 {
		l.t.Errorf("got %d files, want none", len(files))
	}
	for name, n := range l.stored {
		if n != 1 {
			l.t.Errorf("got message %q stored %d times, want once", name, n)
		}
	}
}

// loadClient is one client. Its methods return when the session has ended.
type loadClient struct {
	*siege
	n     int
	rng   *rand.Rand
	near  *pipe
	conn  net.Conn
	r     *bufio.Reader
	acked map[string]int // 250 for a message, by its name
	sent  int            // messages
	over  bool
	quiet bool // it never has a transaction, so that a stop ends its session at once
}

// run connects, does one thing, and checks the replies.
func (c *loadClient) run(do func(*loadClient)) {
	c.pause()
	near, far := newPipe(fmt.Sprintf("198.51.%d.7", c.n))
	select {
	case c.w.net.queue <- far:
	case <-c.w.net.done:
		return
	}
	c.mu.Lock()
	c.far = append(c.far, far)
	c.mu.Unlock()
	c.near, c.conn, c.r = near, near, bufio.NewReader(near)
	defer near.Close()
	c.reply()
	do(c)
	c.ends()
	c.mu.Lock()
	late := time.Since(c.begun)
	c.mu.Unlock()
	if c.quiet && late > time.Second+linger { // AuthDelay
		c.t.Errorf("client %d: got its session open %v after the stop began, want it ended at once", c.n, late)
	}
	for name, n := range c.acked {
		c.mu.Lock()
		stored := c.stored[name]
		c.mu.Unlock()
		if n != 1 || stored != 1 {
			c.t.Errorf("client %d: message %q was stored %d times and answered 250 %d times, want once", c.n, name, stored, n)
		}
	}
}

// pause waits for up to a second.
func (c *loadClient) pause() { time.Sleep(time.Duration(c.rng.Int64N(int64(time.Second)))) }

// write sends octets. An error is seen by the next reply.
func (c *loadClient) write(raw string) { io.WriteString(c.conn, raw) }

// ask sends a command and returns the code of its reply, or "" if the session is over.
func (c *loadClient) ask(raw string) string {
	c.write(raw)
	return c.reply()
}

// reply returns the code of the next reply, or "" if the session is over.
func (c *loadClient) reply() string {
	for !c.over {
		line, err := c.r.ReadString('\n')
		switch {
		case err != nil:
			c.over = true
			return ""
		case strings.HasPrefix(line, "421 "):
			c.ends()
			return ""
		case line[3] == ' ':
			return line[:3]
		}
	}
	return ""
}

// ends waits for the end of the session. Nothing but a 421 may come before it.
func (c *loadClient) ends() {
	if c.over {
		return
	}
	c.over = true
	rest, _ := io.ReadAll(c.r)
	if len(rest) > 0 && (!strings.HasPrefix(string(rest), "421 ") || strings.Count(string(rest), "\n") > 1) {
		c.t.Errorf("client %d: got %.200q at the end of the session, want a 421 at most", c.n, rest)
	}
}

func (c *loadClient) silent() { c.quiet = true }

func (c *loadClient) idle() {
	c.quiet = true
	c.ask(ehlo)
	c.ask("NOOP\r\n")
}

func (c *loadClient) inTransaction() { c.ask(ehlo); c.ask(mail); c.ask(rcpt) }

func (c *loadClient) inData() {
	c.inTransaction()
	if c.ask(data) == "354" {
		c.write("Subject: x\r\n\r\nhello\r\n.\r"[:c.rng.IntN(24)])
	}
}

func (c *loadClient) inChunk() {
	c.inTransaction()
	c.write("BDAT 10 LAST\r\nabc")
}

func (c *loadClient) betweenChunks() {
	c.inTransaction()
	c.ask("BDAT 3\r\nabc")
}

func (c *loadClient) inAuth() {
	c.quiet = true
	c.ask(ehlo)
	c.ask("AUTH LOGIN\r\n")
	if c.rng.IntN(2) == 0 {
		c.ask(b64("ann") + "\r\n")
	}
}

func (c *loadClient) guesses() {
	c.quiet = true
	c.ask(ehlo)
	for !c.over {
		c.ask("AUTH PLAIN " + b64("\x00ann\x00x") + "\r\n") // takes AuthDelay
	}
}

func (c *loadClient) inHandshake() {
	c.quiet = true
	c.ask(ehlo)
	if c.ask(startTLS) != "220" {
		return
	}
	c.write("\x16\x03\x01\x00\xa5\x01\x00\x00"[:c.rng.IntN(9)])
	c.over = true // what comes may be an alert
	io.Copy(io.Discard, c.r)
}

func (c *loadClient) overTLS() {
	c.ask(ehlo)
	if c.ask(startTLS) != "220" {
		return
	}
	t := tls.Client(c.near, &tls.Config{InsecureSkipVerify: true})
	if t.Handshake() != nil {
		c.over = true
		return
	}
	c.conn, c.r = t, bufio.NewReader(t)
	c.sends()
}

// sends sends messages in different ways, until the session is over.
func (c *loadClient) sends() {
	c.ask(ehlo)
	for !c.over {
		c.pause()
		name := fmt.Sprintf("%d-%d", c.n, c.sent)
		c.sent++
		content := name + "\r\n" + strings.Repeat("x\r\n", 1+c.rng.IntN(10))
		if c.rng.IntN(10) == 0 {
			content += strings.Repeat(strings.Repeat("x", 98)+"\r\n", 800) // for a file
		}
		if c.ask(mail) != "250" {
			return
		}
		c.pause()
		code := ""
		if c.ask(rcpt) != "250" {
			c.over = true
		} else if c.rng.IntN(2) == 0 {
			code = c.byData(content)
		} else {
			code = c.byChunks(content)
		}
		switch {
		case code == "250":
			c.acked[name]++
		case code == "" && c.way == "Shutdown":
			c.t.Errorf("client %d: got no reply to message %q, want its transaction finished", c.n, name)
		}
	}
}

// byData returns the code of the reply to a message, or "".
func (c *loadClient) byData(content string) string {
	if c.ask(data) != "354" {
		return ""
	}
	at := c.rng.IntN(len(content))
	c.write(content[:at])
	c.pause()
	return c.ask(content[at:] + ".\r\n")
}

func (c *loadClient) byChunks(content string) string {
	at := c.rng.IntN(len(content))
	if code := c.ask(octets(content[:at])); code != "250" {
		return code
	}
	c.pause()
	return c.ask(final(content[at:]))
}
