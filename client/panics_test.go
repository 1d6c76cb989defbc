package client

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// bad are the funcs of a user that do something bad, in the step of that name.
type bad struct {
	inet *smtptest.Network
	at   string
	do   func()
}

func (b *bad) in(step string) {
	if b.at == step {
		b.do()
	}
}

func (b *bad) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	b.in("Resolver")
	return b.inet.LookupMX(ctx, name)
}

func (b *bad) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	b.in("Resolver, addresses")
	return b.inet.LookupNetIP(ctx, network, host)
}

func (b *bad) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	b.in("DialContext")
	if b.at == "DialContext, nothing" {
		return nil, nil
	}
	return b.inet.DialContext(ctx, network, addr)
}

func (b *bad) verify(tls.ConnectionState) error {
	b.in("tls")
	return nil
}

func (b *bad) Begin(context.Context, smtp.AuthHost) (smtp.AuthExchange, error) {
	b.in("auth, Begin")
	return b, nil
}

func (b *bad) Start() (string, []byte, error) {
	b.in("auth, Start")
	return "PLAIN", nil, nil
}

func (b *bad) Next([]byte) ([]byte, error) {
	b.in("auth, Next")
	return []byte("\x00ann\x00secret"), nil
}

func (b *bad) Complete() error {
	b.in("auth, Complete")
	return nil
}

func (b *bad) Send(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) {
	b.in("the Sender of a route")
	return nil, nil
}

// transport returns a Transport with the funcs of b and room for one session.
func (b *bad) transport(log *strings.Builder) *Transport {
	router := &mx.Router{Resolver: b, Routes: map[string]mx.Route{"auth.test": {
		Name: "auth", Hosts: []mx.Host{{Name: "mx.auth.test", Port: 25}}, TLS: mx.TLSRequired, Auth: b,
	}, "func.test": {Name: "func", Sender: b}}}
	return &Transport{
		Hostname: "client.test", Router: router, DialContext: b.dial, maxSessions: 1, MaxIdle: 1,
		TLSConfig: &tls.Config{RootCAs: b.inet.RootCAs(), VerifyConnection: b.verify},
		Logger:    slog.New(slog.NewTextHandler(log, nil)),
	}
}

// TestDecidersPanic has a func of the user panic, or end its goroutine, in a Send: the recipient is Deferred, or Unknown
// where a Sender may have delivered, a line says why, and the only slot is free for the next Send.
func TestDecidersPanic(t *testing.T) {
	tests := []struct {
		at, domain string
		want       smtp.Outcome
		stage      smtp.Stage
	}{
		{"Resolver", "next.test", smtp.Deferred, smtp.StageRoute},
		{"Resolver, addresses", "next.test", smtp.Deferred, smtp.StageRoute},
		{"DialContext", "next.test", smtp.Deferred, smtp.StageConnect},
		{"DialContext, nothing", "next.test", smtp.Deferred, smtp.StageConnect},
		{"tls", "auth.test", smtp.Deferred, smtp.StageTLS},
		{"auth, Begin", "auth.test", smtp.Deferred, smtp.StageAuth},
		{"auth, Start", "auth.test", smtp.Deferred, smtp.StageAuth},
		{"auth, Next", "auth.test", smtp.Deferred, smtp.StageAuth},
		{"auth, Complete", "auth.test", smtp.Deferred, smtp.StageAuth},
		{"the Sender of a route", "func.test", smtp.Unknown, smtp.StageFinal},
	}
	for _, tt := range tests {
		for name, do := range map[string]func(){"panic": func() { panic("my secret") }, "Goexit": runtime.Goexit} {
			t.Run(tt.at+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					inet := smtptest.NewNetwork(t)
					inet.MX("next.test", "mx.next.test")
					inet.Host("mx.auth.test").Auth("ann", "secret")
					var log strings.Builder
					b := &bad{inet, tt.at, do}
					tr := b.transport(&log)
					defer tr.Close()
					env := smtp.NewEnvelope("ann@source.test", "bob@"+tt.domain)
					sent := make(chan []smtp.Result, 1)
					go func() {
						defer close(sent)
						results, err := tr.Send(t.Context(), env, smtp.Text("Hello.\n"))
						checkError(t, results, err)
						sent <- results
					}()
					r, returned := <-sent
					if returned && (r[0].Outcome != tt.want || r[0].Stage != tt.stage || !r[0].Local || strings.Contains(r[0].Reply.Text, "secret")) {
						t.Errorf("got %+v: %v, want %v at %v", r[0], r[0].Reply, tt.want, tt.stage)
					}
					what, _, _ := strings.Cut(tt.at, ",")
					if name == "panic" && tt.at != "DialContext, nothing" && !strings.Contains(log.String(), what+" panics") {
						t.Errorf("got log\n%s\nwant %q", log.String(), what+" panics")
					}
					if what == "auth" && strings.Contains(log.String(), "secret") {
						t.Errorf("got a secret in the log\n%s", log.String())
					}
					b.at = ""
					time.Sleep(time.Minute) // a failed lookup is remembered for a while
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					if _, err := tr.Send(ctx, env, smtp.Text("Hello.\n")); err != nil {
						t.Errorf("the next Send: got %v, want none", err)
					}
				})
			})
		}
	}
}

// badContent panics when it is read at that time, counted from 1.
type badContent struct {
	smtp.Content
	reads, at int
}

func (c *badContent) ReadAt(p []byte, off int64) (int, error) {
	if c.reads++; c.reads == c.at {
		panic("gone")
	}
	return c.Content.ReadAt(p, off)
}

// TestContentPanics has a content panic in the middle of a message: the session isn't kept, so that the next message
// doesn't become a part of it.
func TestContentPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("next.test", "mx.next.test")
		host.Chunking()
		long := smtp.Text(strings.Repeat("Hello.\r\n", 20_000))
		for _, chunk := range []int64{0, 64 << 10} {
			tr := &Transport{Hostname: "client.test", Router: &mx.Router{Resolver: inet}, DialContext: inet.DialContext, ChunkSize: chunk,
				maxSessions: 1}
			env := smtp.NewEnvelope("ann@source.test", "bob@next.test")
			before := len(host.Messages())
			for at := 1; at < 13; at++ {
				func() {
					defer func() { recover() }()
					tr.Send(t.Context(), env, &badContent{Content: long, at: at})
				}()
				if _, err := tr.Send(t.Context(), env, smtp.Text("Hello.\n")); err != nil {
					t.Errorf("after a panic at read %d: got %v", at, err)
				}
			}
			tr.Close()
			for _, m := range host.Messages()[before:] {
				if n := len(m.Data); n != len("Hello.\r\n") && int64(n) != long.Size() {
					t.Errorf("got a message of %d octets, want whole ones only", n)
				}
			}
		}
	})
}

// TestLoggerPanics has the Handler of the Logger panic: the mail is sent.
func TestLoggerPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		inet.MX("next.test", "mx1.next.test").Down()
		inet.MX("next.test", "mx2.next.test").FailTLS(smtptest.TLSAlert)
		failing := mx.Func("failing", func(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) {
			return nil, errors.New("no room")
		})
		tr := &Transport{
			Hostname: "client.test", DialContext: inet.DialContext, Logger: slog.New(badLog{}),
			Router: &mx.Router{Resolver: inet, Routes: map[string]mx.Route{"func.test": failing}},
			Tried:  func(context.Context, Try) { panic("boom") },
		}
		env := smtp.NewEnvelope("ann@source.test", "bob@next.test", "eve@func.test")
		results, _ := tr.Send(t.Context(), env, smtp.Text("Hello.\n"))
		if results[0].Outcome != smtp.Delivered || results[1].Outcome != smtp.Deferred {
			t.Errorf("got %v, want bob's delivered and eve's deferred", results)
		}
		tr.Close()
	})
}

// badLog is a slog.Handler that panics.
type badLog struct{}

func (badLog) Enabled(context.Context, slog.Level) bool  { return true }
func (badLog) Handle(context.Context, slog.Record) error { panic("no log") }
func (badLog) WithAttrs([]slog.Attr) slog.Handler        { panic("no log") }
func (badLog) WithGroup(string) slog.Handler             { panic("no log") }

// TestTraceExits has a func of Trace end its goroutine at the begin or the end of a session: the connection is closed,
// and the only slot is free for the next Send.
func TestTraceExits(t *testing.T) {
	for _, at := range []string{"Opened", "Closed"} {
		t.Run(at, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				inet.MX("next.test", "mx.next.test")
				var log strings.Builder
				b := &bad{inet, at, runtime.Goexit}
				tr := b.transport(&log)
				defer tr.Close()
				tr.SessionLifetime = -1
				tr.Trace = &Trace{
					Opened: func(SessionInfo) { b.in("Opened") },
					Closed: func(SessionInfo) { b.in("Closed") },
				}
				env := smtp.NewEnvelope("ann@source.test", "bob@next.test")
				var wg sync.WaitGroup
				wg.Go(func() { tr.Send(t.Context(), env, smtp.Text("Hello.\n")) })
				wg.Wait()
				synctest.Wait()
				b.at = ""
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if _, err := tr.Send(ctx, env, smtp.Text("Hello.\n")); err != nil {
					t.Errorf("the next Send: got %v, want none", err)
				}
			})
		})
	}
}
