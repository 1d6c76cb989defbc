package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// storm is many senders on one Transport, to hosts that fail.
type storm struct {
	tr      *Transport
	ledger  *ledger
	seed    uint64
	senders int
	mails   int           // of each sender
	most    time.Duration // between two of a sender, and before a Send is called off
	exact   bool          // a reply that was written was read, if nobody closed

	dials  atomic.Int64
	open   atomic.Int64 // connections
	peak   atomic.Int64
	closed atomic.Bool // Close has returned

	mu    sync.Mutex
	sends []*stormSend
}

// stormSend is one call of Send.
type stormSend struct {
	env       *smtp.Envelope
	broken    bool // its content can't be read to the end
	cancelled bool // it may have been
	dials     atomic.Int64
	results   []smtp.Result
	err       error
}

// stormConn counts as open until it is closed.
type stormConn struct {
	net.Conn
	once sync.Once
	gone func()
}

func (c *stormConn) Close() error {
	c.once.Do(c.gone)
	return c.Conn.Close()
}

type stormKey struct{}

// dial wraps what connects.
func (s *storm) dial(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if s.closed.Load() {
			s.ledger.fault("dialled after Close")
		}
		s.dials.Add(1)
		ctx.Value(stormKey{}).(*stormSend).dials.Add(1)
		nc, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		s.peak.Store(max(s.peak.Load(), s.open.Add(1)))
		return &stormConn{Conn: nc, gone: func() { s.open.Add(-1) }}, nil
	}
}

// run sends all, and closes the Transport when most of it is done.
func (s *storm) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var senders, others sync.WaitGroup
	var done atomic.Int64
	nearly := make(chan struct{})
	for i := range s.senders {
		senders.Go(func() {
			rnd := rand.New(rand.NewPCG(s.seed, uint64(i)))
			for n := range s.mails {
				if rnd.IntN(4) == 0 {
					time.Sleep(time.Duration(rnd.Int64N(int64(s.most))))
				}
				s.send(ctx, rnd, fmt.Sprintf("t%d-%d", i, n))
				if done.Add(1) == int64(s.senders*s.mails*9/10) {
					close(nearly)
				}
			}
		})
	}
	others.Go(func() {
		rnd := rand.New(rand.NewPCG(s.seed, 1<<32))
		for {
			select {
			case <-nearly: // what Close leaves open must be seen
				return
			case <-time.After(time.Duration(rnd.Int64N(10 * int64(s.most)))):
				s.tr.CloseIdle()
			}
		}
	})
	for range 2 {
		others.Go(func() {
			<-nearly
			s.tr.Close()
			s.closed.Store(true)
			if n := s.open.Load(); n != 0 {
				t.Errorf("got %d open connections after Close, want none", n)
			}
		})
	}
	senders.Wait()
	cancel()
	others.Wait()
}

// send makes one message for one to three recipients, and keeps what comes of it.
func (s *storm) send(ctx context.Context, rnd *rand.Rand, token string) {
	var to []string
	for k := range 1 + rnd.IntN(3) {
		domain := "example.net"
		if rnd.IntN(4) == 0 {
			domain = "local.test"
		}
		to = append(to, fmt.Sprintf("r%d.%s@%s", k, token, domain))
	}
	one := &stormSend{env: smtp.NewEnvelope(token+"@client.test", to...)}
	text := "Token: " + token + "\r\n\r\nHello.\r\n"
	if rnd.IntN(20) == 0 {
		text += strings.Repeat("0123456789012345678901234567890123456789012345678901234567890123456789\r\n", 1000)
	}
	content := smtp.Content(strings.NewReader(text))
	if len(text) > 64<<10 && rnd.IntN(4) == 0 {
		one.broken = true
		content = &failingContent{Content: content, after: 40 << 10, err: io.ErrNoProgress, scans: 1}
	}
	ctx, cancel := context.WithCancel(context.WithValue(ctx, stormKey{}, one))
	defer cancel()
	if one.cancelled = rnd.IntN(10) == 0; one.cancelled {
		timer := time.AfterFunc(time.Duration(rnd.Int64N(int64(s.most))), cancel)
		defer timer.Stop()
	}
	one.results, one.err = s.tr.Send(ctx, one.env, content)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sends = append(s.sends, one)
}

// judge holds what Send said against what the hosts did.
func (s *storm) judge(t *testing.T) {
	l := s.ledger
	count := make(map[string]int)
	for _, f := range l.faults {
		t.Error(f)
	}
	for _, one := range s.sends {
		// Two hosts and their one address each for example.net, one for local.test; and one more for each further
		// transaction that a host refuses in a session in which it has taken one.
		if n, most := int(one.dials.Load()), 3+len(one.env.Recipients)-1; n > most {
			t.Errorf("%s: got %d dials, want %d at most", one.env.From, n, most)
		}
		if len(one.results) != len(one.env.Recipients) {
			t.Fatalf("%s: got %d results, want %d", one.env.From, len(one.results), len(one.env.Recipients))
		}
		all := true
		for i, r := range one.results {
			count[r.Outcome.String()]++
			all = all && r.Outcome == smtp.Delivered
			if fault := s.fault(one, one.env.Recipients[i].Address, r); fault != "" {
				t.Errorf("%s, commits %d, 250 said %t, 5xx said %t, results\n%s", fault, l.commits[r.Recipient], l.said[r.Recipient], l.refused[r.Recipient], show(one.results))
			}
		}
		if reply, ok := errors.AsType[*smtp.Reply](one.err); all != (one.err == nil) || !all && (!ok || reply == nil) {
			t.Errorf("%s: got error %v, results\n%s", one.env.From, one.err, show(one.results))
		}
		if t.Failed() && len(s.sends) > 5000 {
			t.FailNow() // one is enough
		}
	}
	if got, want := len(s.sends), s.senders*s.mails; got != want {
		t.Errorf("got %d Sends, want %d", got, want)
	}
	for _, outcome := range []smtp.Outcome{smtp.Delivered, smtp.Deferred, smtp.Rejected, smtp.Unknown} {
		if count[outcome.String()] == 0 {
			t.Errorf("got no recipient %s: the storm is too weak", outcome)
		}
	}
	// With few sessions for all hosts, one often has to go for another. Over sockets, it is the machine's scheduler that
	// says how often CloseIdle finds sessions that would have been used again.
	if got, most := s.dials.Load(), int64(len(s.sends)); got > most && s.tr.maxSessions == 0 && s.exact {
		t.Errorf("got %d dials for %d Sends, want fewer", got, most)
	}
	most := int64(cmp.Or(s.tr.maxSessions, s.senders+100)) // one a sender, and the idle ones
	if got := s.peak.Load(); got > most {
		t.Errorf("got %d connections at a time, want %d at most", got, most)
	}
	t.Logf("%d Sends, %d dials, %d connections at a time, %v", len(s.sends), s.dials.Load(), s.peak.Load(), count)
}

// fault gives the promise that a result breaks.
func (s *storm) fault(one *stormSend, rcpt string, r smtp.Result) string {
	l := s.ledger
	commits, said := l.commits[rcpt], l.said[rcpt]
	refused := l.refused[rcpt] || l.refused[strings.TrimSuffix(one.env.From, "@client.test")]
	switch {
	case r.Recipient != rcpt:
		return "a result of someone else"
	case r.Reply == nil:
		return "a result without a reply"
	case commits > 1:
		return "taken twice"
	case l.asked[rcpt] > 4: // at each of the two in a kept session, and then in a new one
		return "offered to more than one further host"
	case one.broken && commits > 0:
		return "half a message was taken"
	case errors.Is(one.err, ErrClosed) && r.Outcome != smtp.Deferred:
		return "sent by a closed Transport"
	case r.Outcome == smtp.Delivered && (commits != 1 || r.Stage != smtp.StageFinal || r.Local || s.exact && !said):
		return "delivered, and the host never said so"
	case r.Outcome == smtp.Rejected && (commits != 0 || !refused || r.Local):
		return "rejected, and the host never said so"
	case r.Outcome == smtp.Deferred && commits != 0:
		return "deferred, and the host has it"
	case r.Outcome == smtp.Unknown && r.Stage != smtp.StageFinal:
		return "unknown before the final dot"
	case r.Outcome == smtp.Unknown && said && s.exact && !one.cancelled:
		return "unknown, and the host said that it has it"
	}
	return ""
}

// stormRouter sends example.net to two hosts, and local.test to one that speaks LMTP.
func stormRouter(a, b, local string) *mx.Router {
	lmtp := mustRoute(mx.LMTP(local))
	return &mx.Router{Routes: map[string]mx.Route{"example.net": mustRoute(mx.Smarthost(a, b)), "local.test": lmtp}}
}

// TestStorm: in virtual time, with all time-outs at their defaults.
func TestStorm(t *testing.T) {
	mails := 60
	if testing.Short() {
		mails = 10
	}
	tests := []struct {
		name     string
		seed     uint64
		sessions int // at a time; zero: no bound
	}{
		{"first", 0, 0}, {"second", 1, 0}, {"eight sessions", 2, 8},
	}
	for _, test := range tests {
		seed := test.seed
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, inet := newLedger(), newInternet(t)
				for i, addr := range []string{"192.0.2.1:25", "192.0.2.2:25", "192.0.2.3:24"} {
					h := &stormHost{ledger: l, seed: seed<<8 | uint64(i), lmtp: i == 2, pause: 3 * time.Second, stall: 11 * time.Minute, idle: 40 * time.Second}
					inet.serve(addr, func(c *pipeConn) { h.serve(c) })
				}
				s := &storm{ledger: l, seed: seed, senders: 200, mails: mails, most: 10 * time.Second, exact: true}
				s.tr = &Transport{Hostname: "client.test", Router: stormRouter("192.0.2.1:25", "192.0.2.2:25", "192.0.2.3:24"),
					DialContext: s.dial(inet.DialContext), maxSessions: test.sessions}
				s.run(t)
				synctest.Wait() // the hosts, too, have noted what they did
				s.judge(t)
			})
		})
	}
}

// TestStormSockets: the same over real sockets, in real time.
func TestStormSockets(t *testing.T) {
	l := newLedger()
	var hosts sync.WaitGroup
	var addrs []string
	var listeners []net.Listener
	for i := range 3 {
		h := &stormHost{ledger: l, seed: 1<<20 | uint64(i), lmtp: i == 2, pause: 20 * time.Millisecond, stall: 500 * time.Millisecond, idle: 20 * time.Millisecond}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, listener.Addr().String())
		hosts.Go(func() {
			for {
				c, err := listener.Accept()
				if err != nil {
					return
				}
				hosts.Go(func() { h.serve(c) })
			}
		})
		listeners = append(listeners, listener)
	}
	mails := 10
	if testing.Short() {
		mails = 3
	}
	s := &storm{ledger: l, seed: 1, senders: 200, mails: mails, most: 30 * time.Millisecond}
	wait := 300 * time.Millisecond
	s.tr = &Transport{Hostname: "client.test", Router: stormRouter(addrs[0], addrs[1], addrs[2]), DialContext: s.dial(new(net.Dialer).DialContext),
		Timeouts: Timeouts{Greeting: wait, Hello: wait, Mail: wait, Rcpt: wait, Data: wait, DataBlock: wait, Final: wait, Quit: wait}}
	s.run(t)
	for _, listener := range listeners {
		listener.Close()
	}
	hosts.Wait() // every session has seen its end
	s.judge(t)
}
