package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// crowd is a server that counts its sessions from the dial to the close, and keeps the order of recipients.
type crowd struct {
	took  time.Duration // to answer a message
	ehlo  string        // extensions
	bye   time.Duration // to answer QUIT
	mu    sync.Mutex
	open  int
	peak  int
	dials int
	rcpts []string
}

func (h *crowd) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	h.mu.Lock()
	h.dials++
	h.open++
	h.peak = max(h.peak, h.open)
	h.mu.Unlock()
	client, server := pipe(addr)
	go h.serve(server)
	return &stormConn{Conn: client, gone: func() {
		h.mu.Lock()
		h.open--
		h.mu.Unlock()
	}}, nil
}

func (h *crowd) serve(c *pipeConn) {
	defer c.Close()
	in := bufio.NewReader(c)
	reply := "220 hi\r\n"
	for data := false; ; {
		io.WriteString(c, reply)
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		switch {
		case data && line != ".\r\n":
			reply = ""
			continue
		case data:
			time.Sleep(h.took)
			data = false
		case strings.HasPrefix(line, "RCPT"):
			h.mu.Lock()
			h.rcpts = append(h.rcpts, strings.TrimSuffix(strings.TrimPrefix(line, "RCPT TO:<"), ">\r\n"))
			h.mu.Unlock()
		case line == "DATA\r\n":
			reply, data = "354 go\r\n", true
			continue
		case line == "QUIT\r\n":
			time.Sleep(h.bye)
			io.WriteString(c, "221 bye\r\n")
			return
		case strings.HasPrefix(line, "EHLO"):
			reply = "250-host\r\n250 " + h.ehlo + "\r\n"
			continue
		}
		reply = "250 ok\r\n"
	}
}

func (h *crowd) submission(sessions int) *Submission {
	return &Submission{LeaveIncomplete: true, Addr: "127.0.0.1:25", TLS: mx.TLSNone, Hostname: "client.test", DialContext: h.dial, MaxSessions: sessions}
}

// send sends one message for each of the recipients, begun one after the other, and returns how long each Send took.
func (h *crowd) send(t *testing.T, sub *Submission, ctx context.Context, rcpts ...string) (wait func() []time.Duration) {
	t.Helper()
	took := make([]time.Duration, len(rcpts))
	var wg sync.WaitGroup
	for i, rcpt := range rcpts {
		wg.Go(func() {
			begun := time.Now()
			results, err := sub.Send(ctx, smtp.NewEnvelope("ann@client.test", rcpt), smtp.Text("Hello.\n"))
			took[i] = time.Since(begun)
			checkError(t, results, err)
			if err != nil {
				t.Error(err)
			}
		})
		synctest.Wait() // the next one arrives after this one
	}
	return func() []time.Duration { wg.Wait(); return took }
}

func recipients(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("u%02d@example.net", i)
	}
	return list
}

// TestMaxSessions: many Sends at a time share MaxSessions sessions, in order of arrival.
func TestMaxSessions(t *testing.T) {
	tests := []struct {
		name       string
		max        int
		sessions   int           // open at a time, and in all
		lastWaited time.Duration // of 60 Sends of a second each
	}{
		{"default", 0, 3, 20 * time.Second},
		{"one", 1, 1, 60 * time.Second},
		{"ten", 10, 10, 6 * time.Second},
		{"more than Sends", 100, 60, time.Second},
		{"no bound", -1, 60, time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &crowd{took: time.Second, ehlo: "PIPELINING"}
				sub := h.submission(test.max)
				to := recipients(60)
				took := h.send(t, sub, t.Context(), to...)()
				if h.peak != test.sessions || h.dials != test.sessions {
					t.Errorf("got %d sessions at a time, and %d in all, want %d", h.peak, h.dials, test.sessions)
				}
				if !slices.IsSorted(took) || took[59] != test.lastWaited {
					t.Errorf("got Sends that took %v, want the last one done after %v", took, test.lastWaited)
				}
				if !slices.Equal(slices.Sorted(slices.Values(h.rcpts)), to) {
					t.Errorf("got recipients %v, want each once", h.rcpts)
				}
				sub.Close()
				if h.open != 0 {
					t.Errorf("got %d open sessions after Close, want none", h.open)
				}
			})
		})
	}
}

// TestMaxSessionsCancel: the end of ctx ends the wait; the place in the queue is given up.
func TestMaxSessionsCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &crowd{took: time.Minute, ehlo: "PIPELINING"}
		sub := h.submission(1)
		defer sub.Close()
		first := h.send(t, sub, t.Context(), "first@example.net")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("the user left"))
		defer cancel()
		begun := time.Now()
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			results, err := sub.Send(ctx, smtp.NewEnvelope("ann@client.test", "gone@example.net", "away@example.net"), smtp.Text("Hello.\n"))
			checkError(t, results, err)
			want := "gone@example.net deferred connect: 451 4.4.2 the attempt was cancelled local\n" +
				"away@example.net deferred connect: 451 4.4.2 the attempt was cancelled local\n"
			if show(results) != want || !errors.Is(err, context.Cause(ctx)) || time.Since(begun) != time.Second {
				t.Errorf("got %s and %v after %v, want\n%s and the cause after 1s", show(results), err, time.Since(begun), want)
			}
		}()
		synctest.Wait()
		last := h.send(t, sub, t.Context(), "last@example.net")
		<-gone
		first()
		if took := last()[0]; took != 2*time.Minute {
			t.Errorf("got %v for the last one, want 2m: its turn and its message", took)
		}
		if got := strings.Join(h.rcpts, " "); got != "first@example.net last@example.net" || h.dials != 1 {
			t.Errorf("got recipients %s in %d sessions", got, h.dials)
		}
	})
}

// TestMaxSessionsClose: Close finishes the Sends that wait, in the sessions that there are.
func TestMaxSessionsClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &crowd{took: time.Second, ehlo: "PIPELINING"}
		sub := h.submission(2)
		wait := h.send(t, sub, t.Context(), recipients(10)...)
		begun := time.Now()
		sub.Close()
		if took := time.Since(begun); took != 5*time.Second || h.open != 0 || len(h.rcpts) != 10 {
			t.Errorf("Close took %v with %d open sessions and %d messages, want 5s, none and 10", took, h.open, len(h.rcpts))
		}
		wait()
		if h.dials != 2 {
			t.Errorf("got %d sessions, want the 2 that were there", h.dials)
		}
		results, err := sub.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n"))
		if !errors.Is(err, ErrClosed) || len(results) != 1 || results[0].Outcome != smtp.Deferred {
			t.Errorf("got %s and %v after Close, want deferred and ErrClosed", show(results), err)
		}
	})
}

// TestMaxSessionsRoom: a session is closed, and has said QUIT, before one too many is opened.
func TestMaxSessionsRoom(t *testing.T) {
	tests := []struct {
		name  string
		ehlo  string
		bye   time.Duration
		run   func(t *testing.T, h *crowd, sub *Submission)
		dials int
	}{
		{name: "for a second domain of a message", ehlo: "LIMITS RCPTDOMAINMAX=1", dials: 2, run: func(t *testing.T, h *crowd, sub *Submission) {
			results, err := sub.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net", "eve@example.org"), smtp.Text("Hello.\n"))
			if checkError(t, results, err); err != nil {
				t.Error(err)
			}
		}},
		{name: "for the domain of the next message", ehlo: "LIMITS RCPTDOMAINMAX=1", bye: time.Second, dials: 2, run: func(t *testing.T, h *crowd, sub *Submission) {
			h.send(t, sub, t.Context(), "bob@example.net")()
			if took := h.send(t, sub, t.Context(), "eve@example.org")()[0]; took != time.Second {
				t.Errorf("got %v, want 1s: the QUIT of the idle session", took)
			}
		}},
		{name: "while an idle session ends", bye: 3 * time.Second, dials: 2, run: func(t *testing.T, h *crowd, sub *Submission) {
			h.send(t, sub, t.Context(), "bob@example.net")()
			time.Sleep(6 * time.Second)
			if took := h.send(t, sub, t.Context(), "bob@example.net")()[0]; took != 2*time.Second {
				t.Errorf("got %v, want 2s: the rest of the QUIT", took)
			}
		}},
		{name: "while a used-up session ends", ehlo: "LIMITS MAILMAX=1", bye: time.Second, dials: 3, run: func(t *testing.T, h *crowd, sub *Submission) {
			h.send(t, sub, t.Context(), recipients(3)...)()
		}},
		{name: "but not longer than ctx", bye: 3 * time.Second, dials: 1, run: func(t *testing.T, h *crowd, sub *Submission) {
			h.send(t, sub, t.Context(), "bob@example.net")()
			time.Sleep(6 * time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			begun := time.Now()
			results, err := sub.Send(ctx, smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n"))
			if checkError(t, results, err); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Second {
				t.Errorf("got %v after %v, want the end of ctx after 1s", err, time.Since(begun))
			}
		}},
		{name: "for Check", dials: 2, run: func(t *testing.T, h *crowd, sub *Submission) {
			h.send(t, sub, t.Context(), "bob@example.net")()
			if err := sub.Check(t.Context()); err != nil {
				t.Error(err)
			}
		}},
		{name: "for Check in its turn", dials: 2, run: func(t *testing.T, h *crowd, sub *Submission) {
			h.took = time.Minute
			wait := h.send(t, sub, t.Context(), "bob@example.net")
			begun := time.Now()
			if err := sub.Check(t.Context()); err != nil || time.Since(begun) != time.Minute {
				t.Errorf("got %v after %v, want no error after 1m", err, time.Since(begun))
			}
			wait()
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &crowd{ehlo: test.ehlo, bye: test.bye}
				if h.ehlo == "" {
					h.ehlo = "PIPELINING"
				}
				sub := h.submission(1)
				test.run(t, h, sub)
				sub.Close()
				if h.peak != 1 || h.dials != test.dials || h.open != 0 {
					t.Errorf("got %d sessions at a time, %d in all, %d after Close; want 1, %d, 0", h.peak, h.dials, h.open, test.dials)
				}
			})
		})
	}
}

// TestTurnAtTheEnd: a turn that comes as ctx ends is passed on.
func TestTurnAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pool
		for i := range 100 {
			p.takeTurn(t.Context(), "", 1)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- p.takeTurn(ctx, "", 1) }()
			synctest.Wait()
			if i%2 == 0 {
				cancel()
			}
			p.giveTurn("", 1)
			cancel()
			if <-done == nil {
				p.giveTurn("", 1)
			}
			if len(p.rooms) != 0 {
				t.Fatalf("got turns, or Sends that wait: %+v, want none", p.rooms[""])
			}
		}
	})
}

// slow is a Resolver that answers after a minute.
type slow struct{ mx.Resolver }

func (slow) LookupMX(context.Context, string) ([]*net.MX, error) {
	time.Sleep(time.Minute)
	return nil, errors.New("no name server answers")
}

// TestCloseLeavesNone: a session that is kept for a Send that waits, and that the Send has no use for, is closed, too.
func TestCloseLeavesNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &crowd{took: time.Second, ehlo: "PIPELINING"}
		one, two := mustRoute(mx.Smarthost("127.0.0.1:25")), mustRoute(mx.Smarthost("127.0.0.2:25"))
		tr := &Transport{Hostname: "client.test", DialContext: h.dial, maxSessions: 2,
			Router: &mx.Router{Resolver: slow{}, Routes: map[string]mx.Route{"one.test": one, "two.test": two}}}
		var wg sync.WaitGroup
		for _, rcpt := range []string{"bob@slow.test", "bob@one.test", "bob@two.test"} {
			wg.Go(func() { tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", rcpt), smtp.Text("Hello.\n")) })
			synctest.Wait()
		}
		tr.Close()
		if h.open != 0 || h.dials != 2 {
			t.Errorf("got %d open of %d sessions after Close, want 0 of 2", h.open, h.dials)
		}
		wg.Wait()
	})
}
