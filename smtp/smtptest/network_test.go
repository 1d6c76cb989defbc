package smtptest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

// recorder is a testing.TB that may fail: it keeps its log, and ends when run returns.
type recorder struct {
	testing.TB
	ctx    context.Context
	cancel context.CancelFunc

	mu       sync.Mutex
	text     strings.Builder
	failed   bool
	cleanups []func()
}

func record(t *testing.T) *recorder {
	r := &recorder{TB: t}
	r.ctx, r.cancel = context.WithCancel(t.Context())
	return r
}

func (r *recorder) Helper()                  {}
func (r *recorder) Context() context.Context { return r.ctx }
func (r *recorder) Cleanup(f func())         { r.cleanups = append(r.cleanups, f) }

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *recorder) Logf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(&r.text, format+"\n", args...)
}

func (r *recorder) Errorf(format string, args ...any) {
	r.Logf(format, args...)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// run calls test and then the cleanups, and returns the log.
func (r *recorder) run(test func()) string {
	done := make(chan struct{})
	go func() {
		defer close(done)
		test()
	}()
	<-done
	r.cancel()
	for len(r.cleanups) > 0 {
		last := len(r.cleanups) - 1
		f := r.cleanups[last]
		r.cleanups = r.cleanups[:last]
		f()
	}
	return r.text.String()
}

func TestGo(t *testing.T) {
	broken := errors.New("broken")
	tests := []struct {
		name string
		run  func(context.Context) error
		want string
	}{
		{"until the end", func(ctx context.Context) error { <-ctx.Done(); return nil }, ""},
		{"canceled", func(ctx context.Context) error { <-ctx.Done(); return fmt.Errorf("run: %w", ctx.Err()) }, ""},
		{"slow to stop", func(ctx context.Context) error { <-ctx.Done(); time.Sleep(time.Hour); return nil }, ""},
		{"early", func(ctx context.Context) error { return nil }, ""},
		{"fails", func(ctx context.Context) error { return broken },
			"smtptest: the func of Network.Go returned an error: broken\n"},
		{"fails late", func(ctx context.Context) error { <-ctx.Done(); time.Sleep(time.Hour); return broken },
			"smtptest: the func of Network.Go returned an error: broken\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := record(t)
				n := NewNetwork(r)
				ended := false
				got := r.run(func() {
					n.Go(func(ctx context.Context) error {
						defer func() { ended = true }()
						return test.run(ctx)
					})
				})
				if got != test.want || r.failed != (test.want != "") {
					t.Errorf("got %q, failed %v, want %q", got, r.failed, test.want)
				}
				if !ended {
					t.Error("the cleanup didn't wait")
				}
			})
		})
	}
}

// TestGoOrder: a Cleanup that is registered before Go runs after the func of Go has returned.
func TestGoOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(t)
		n.Host("mx.example.net")
		released := false
		t.Cleanup(func() { released = true })
		n.Go(func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(time.Minute)
			if released {
				return errors.New("released before the end of Go")
			}
			c, err := n.DialContext(context.WithoutCancel(ctx), "tcp", "mx.example.net:25")
			if err != nil {
				return fmt.Errorf("no network before the end of Go: %w", err)
			}
			return c.Close()
		})
	})
}

func TestWaitFails(t *testing.T) {
	tests := []struct {
		name  string
		limit time.Duration
		want  string
		took  time.Duration
	}{
		{"by default", 0, "smtptest: mx.example.net got 1 messages in 720h0m0s, want 2\n", 720 * time.Hour},
		{"by a limit", time.Hour, "smtptest: mx.example.net got 1 messages in 1h0m0s, want 2\n", time.Hour},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := record(t)
				n := NewNetwork(r)
				n.WaitLimit = test.limit
				h := n.Host("mx.example.net")
				h.NoTLS()
				start := time.Now()
				got := r.run(func() {
					if err := post(n, "mx.example.net:25", "ann@example.com", "bob@example.net"); err != nil {
						t.Error(err)
					}
					h.Wait(2)
					t.Error("Wait returned")
				})
				if took := time.Since(start); took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
				if !strings.HasPrefix(got, test.want) {
					t.Errorf("got %q, want %q", got, test.want)
				}
				for _, line := range []string{
					"transcript of mx.example.net:\n#1 +0s connection from 192.0.2.1:",
					"\n#1 +0s C: RCPT TO:<bob@example.net>\n#1 +0s S: 250 2.1.5 ok\n",
					"\n#1 +0s C: (24 octets, and the final dot)\n",
				} {
					if !strings.Contains(got, line) {
						t.Errorf("no %q in:\n%s", line, got)
					}
				}
			})
		})
	}
}

// TestWaitEnds: Wait ends with the context of the test.
func TestWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(t)
		n := NewNetwork(r)
		h := n.Host("mx.example.net")
		time.AfterFunc(time.Minute, r.cancel)
		got := r.run(func() { h.Wait(1) })
		if want := "smtptest: mx.example.net got 0 messages in 1m0s, want 1\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestMisuse: an argument that makes no sense fails the test at once.
func TestMisuse(t *testing.T) {
	tests := []struct {
		name string
		do   func(*Network, *Host)
		want string
	}{
		{"host", func(n *Network, h *Host) { n.Host("a b") }, `host "a b": `},
		{"domain", func(n *Network, h *Host) { n.NullMX("a..b") }, `name "a..b": `},
		{"certificate", func(n *Network, h *Host) { n.Certificate("a b") }, `certificate of "a b": `},
		{"stage", func(n *Network, h *Host) { h.CloseAt(smtp.StageConnect) }, "a host has no reply at stage connect"},
		{"answer", func(n *Network, h *Host) { h.Answer(smtp.StageBody, smtp.NewReply(451, "", "")) },
			"a host has no reply at stage body: call Host.Chunking first"},
		{"babble", func(n *Network, h *Host) { h.BabbleAt(smtp.StageBody) },
			"a host has no reply at stage body: call Host.Chunking first"},
		{"early", func(n *Network, h *Host) { h.AnswerEarly(smtp.StageRoute, smtp.NewReply(250, "", "")) },
			"a host has no reply at stage route"},
		{"slow", func(n *Network, h *Host) { h.Slow(1, smtp.StageBody) },
			"a host has no reply at stage body: call Host.Chunking first"},
		{"limit", func(n *Network, h *Host) { h.MaxSessions(-1, smtp.NewReply(421, "", "")) },
			"mx.example.net can't have a limit of -1"},
		{"rate", func(n *Network, h *Host) { h.RateLimit(smtp.StageMail, 1, 0, smtp.NewReply(450, "", "")) },
			"mx.example.net can't limit the rate at stage mail for 0s"},
		{"rate of finals", func(n *Network, h *Host) { h.RateLimit(smtp.StageFinal, 1, 1, smtp.NewReply(450, "", "")) },
			"mx.example.net can't limit the rate at stage final"},
		{"rate of chunks", func(n *Network, h *Host) { h.Chunking(); h.RateLimit(smtp.StageBody, 1, 1, smtp.NewReply(450, "", "")) },
			"mx.example.net can't limit the rate at stage body"},
		{"announced", func(n *Network, h *Host) { h.Limit(Limits{RcptMax: 1000000}) },
			"mx.example.net can't announce a limit of 1000000"},
		{"announced", func(n *Network, h *Host) { h.Limit(Limits{MailMax: -1}) },
			"mx.example.net can't announce a limit of -1"},
		{"offer", func(n *Network, h *Host) { h.Offer("X", " Y") }, `mx.example.net can't offer " Y"`},
		{"after", func(n *Network, h *Host) { h.AfterMessages(0, h.Down) },
			"mx.example.net can't do anything after 0 messages"},
		{"link", func(n *Network, h *Host) { h.Link(-1, 0) },
			"mx.example.net can't have a link of -1ns and 0 octets a second"},
		{"size", func(n *Network, h *Host) { h.MaxSize(-1) }, "mx.example.net can't have a limit of -1"},
		{"greylist", func(n *Network, h *Host) { h.Greylist(-1) }, "mx.example.net can't do anything for -1ns"},
		{"defer", func(n *Network, h *Host) { h.Defer(-1, nil) }, "mx.example.net can't do anything for -1ns"},
		{"slow for", func(n *Network, h *Host) { h.Slow(-1) }, "mx.example.net can't do anything for -1ns"},
		{"reject", func(n *Network, h *Host) { h.Reject("<bob@example.net>", nil) },
			`mx.example.net can't refuse "<bob@example.net>": `},
		{"reject finally", func(n *Network, h *Host) { h.RejectFinal("bob", nil) }, `mx.example.net can't refuse "bob": `},
		{"alias", func(n *Network, h *Host) { n.CNAME("a.test", "b..test") }, `name "b..test": `},
		{"reply", func(n *Network, h *Host) { h.Reject("a@b.test", new(smtp.Reply)) },
			"mx.example.net can't answer 0: "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := record(t)
			n := NewNetwork(r)
			h := n.Host("mx.example.net")
			got := r.run(func() { test.do(n, h) })
			if !strings.HasPrefix(got, "smtptest: "+test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestEnd: the end of a test ends all connections, listeners and dials.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(t)
		n := NewNetwork(r)
		n.Host("mx.example.net")
		l, err := n.Listen("mx1.test:25")
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("accept: got %v, want %v", err, net.ErrClosed)
			}
		})
		c, err := n.DialContext(t.Context(), "tcp", "mx.example.net:25")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		n.Host("hangs.test").Hang()
		wg.Go(func() {
			if _, err := n.DialContext(t.Context(), "tcp", "hangs.test:25"); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("dial: got %v, want %v", err, syscall.ECONNREFUSED)
			}
		})
		synctest.Wait()
		r.run(func() {})
		if got := n.Host("mx.example.net").Transcript(); !strings.Contains(got, "connection lost") {
			t.Errorf("the session hasn't ended:\n%s", got)
		}
		wg.Wait()
		if _, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read: got %v, want %v", err, syscall.ECONNRESET)
		}
		if _, err := n.Listen("mx2.test:25"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("listen: got %v, want %v", err, net.ErrClosed)
		}
	})
}

func TestTranscriptBound(t *testing.T) {
	n := NewNetwork(t)
	h := n.Host("mx.example.net")
	for i := range maxLines + 5 {
		h.log(1, "C: line %d %s", i, strings.Repeat("x", 2*maxLine))
	}
	got := h.Transcript()
	if !strings.HasPrefix(got, "(5 earlier lines)\n#1 ") || strings.Count(got, "\n") != maxLines+1 || len(got) > (maxLines+1)*(maxLine+100) {
		t.Errorf("got %d octets in %d lines", len(got), strings.Count(got, "\n"))
	}
	if !strings.Contains(got, fmt.Sprintf("C: line %d ", maxLines+4)) {
		t.Error("the last line isn't there")
	}
}
