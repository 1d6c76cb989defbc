package postrider

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// idle is a body that returns nothing, and ends ctx after so many reads.
type idle struct {
	reads int
	end   func()
}

func (r *idle) Read(p []byte) (int, error) {
	if r.reads--; r.reads == 0 && r.end != nil {
		r.end()
	}
	return 0, nil
}

// endless is a body without an end.
type endless struct{ end func() }

func (r *endless) Read(p []byte) (int, error) {
	r.end()
	return copy(p, "Hello.\r\n"), nil
}

// TestOddBodies: a body that makes no progress, and one that doesn't end when ctx does, are errors of Send, of Prepare
// and of Enqueue, and nothing is stored.
func TestOddBodies(t *testing.T) {
	const head = "Subject: hi\r\n\r\n"
	tests := []struct {
		name string
		body func(end func()) io.Reader
		want error // nil: any
	}{
		{"nothing", func(func()) io.Reader { return new(idle) }, io.ErrNoProgress},
		{"nothing after the header", func(func()) io.Reader { return io.MultiReader(strings.NewReader(head), new(idle)) }, io.ErrNoProgress},
		{"nothing, and ctx ends", func(end func()) io.Reader { return &idle{reads: 3, end: end} }, nil},
		{"ctx ends in the header", func(end func()) io.Reader { return &endless{end} }, context.Canceled},
		{"ctx ends in the body", func(end func()) io.Reader { return io.MultiReader(strings.NewReader(head), &endless{end}) }, context.Canceled},
		{"too many octets", func(func()) io.Reader { return badReader(1 << 20) }, nil},
		{"a negative number", func(func()) io.Reader { return badReader(-1) }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &Relay{Hostname: "relay.test", Queue: mem.New()}
			env := smtp.NewEnvelope("ann@source.test", "bob@next.test")
			for _, prepared := range []bool{false, true} {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var err error
				if prepared {
					var m queue.Message
					if m, err = r.Prepare(ctx, env, strings.NewReader(head)); err == nil {
						m.Body = tt.body(cancel) // one of the caller's own
						_, err = r.Enqueue(ctx, m)
					}
				} else {
					_, err = r.Send(ctx, env, tt.body(cancel))
				}
				if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
					t.Errorf("prepared: %v: got %v, want %v", prepared, err, tt.want)
				}
			}
			if n := queued(t, r); n != 0 {
				t.Errorf("got %d tasks in the queue, want none", n)
			}
		})
	}
}

// badReader returns that number of octets.
type badReader int

func (n badReader) Read([]byte) (int, error) { return int(n), nil }

// TestOddRelay calls the methods of a Relay with values that nobody should pass: an error, and no panic.
func TestOddRelay(t *testing.T) {
	ctx := t.Context()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	good := func() *Relay { return &Relay{Hostname: "relay.test", Queue: mem.New()} }
	env := smtp.NewEnvelope("ann@source.test", "bob@next.test")
	last := func(_ any, err error) error { return err }
	tests := []struct {
		name string
		do   func(r *Relay) error
		want string
	}{
		{"Send, nil envelope", func(r *Relay) error { return last(r.Send(ctx, nil, strings.NewReader(""))) }, "the envelope or the body is nil"},
		{"Send, nil body", func(r *Relay) error { return last(r.Send(ctx, env, nil)) }, "the envelope or the body is nil"},
		{"Send, zero envelope", func(r *Relay) error { return last(r.Send(ctx, new(smtp.Envelope), strings.NewReader(""))) }, "without recipients"},
		{"Prepare, nil envelope", func(r *Relay) error { return last(r.Prepare(ctx, nil, nil)) }, "nil"},
		{"Enqueue, zero", func(r *Relay) error { return last(r.Enqueue(ctx, queue.Message{})) }, "no recipient"},
		{"Enqueue, no body", func(r *Relay) error {
			return last(r.Enqueue(ctx, queue.Message{Envelope: env, Destinations: []string{"next.test"}}))
		}, "no body"},
		{"Enqueue, no destination", func(r *Relay) error {
			return last(r.Enqueue(ctx, queue.Message{Envelope: env, Body: strings.NewReader("")}))
		}, "destination"},
		{"Serve, nil", func(r *Relay) error { return r.Serve(ctx, nil) }, "listener 0 is nil"},
		{"Serve, nil among others", func(r *Relay) error { return r.Serve(ctx, listener, nil) }, "listener 1 is nil"},
		{"Serve, nil for users", func(r *Relay) error { return r.Serve(ctx, SubmissionListener(nil)) }, "listener 0 is nil"},
		{"Serve, no address", func(r *Relay) error { return r.Serve(ctx, noAddr{}) }, "address is nil"},
		{"ListenAndServe", func(r *Relay) error { return r.ListenAndServe(ctx, "nowhere") }, "nowhere"},
		{"Destination, empty", func(r *Relay) error { return last(r.Destination("")) }, "no domain"},
		{"Flush, empty", func(r *Relay) error { return last(r.Flush(ctx, "")) }, "empty"},
		{"Suspend, empty", func(r *Relay) error { return last(r.Suspend(ctx, "", time.Time{})) }, "empty"},
		{"Redirect, empty", func(r *Relay) error { return r.Redirect(ctx, "", nil) }, "empty"},
		{"Redirect, a zero route", func(r *Relay) error { return r.Redirect(ctx, "next.test", new(mx.Route)) }, "Name is empty"},
		{"Explain, empty", func(r *Relay) error { return last(r.Explain(ctx, "")) }, "no such message"},
		{"the zero Relay", func(*Relay) error { return new(Relay).Check(ctx) }, "Queue is nil"},
		{"the zero Relay, Send", func(*Relay) error { return last(new(Relay).Send(ctx, env, strings.NewReader(""))) }, "Queue is nil"},
		{"the zero Relay, Serve", func(*Relay) error { return new(Relay).Serve(ctx) }, "Queue is nil"},
		{"the zero Relay, Handler", func(*Relay) error { return last(new(Relay).Handler()) }, "Queue is nil"},
		{"the zero Relay, Redirect", func(*Relay) error { return new(Relay).Redirect(ctx, "next.test", nil) }, "Queue is nil"},
		{"Sources, zero", func(r *Relay) error {
			r.Transport = &client.Transport{Sources: make([]client.Source, 1)}
			return r.Check(ctx)
		}, "Sources[0]"},
		{"two users, one name", func(r *Relay) error {
			ann, bob := smarthost(t), smarthost(t)
			ann.Auth, bob.Auth = &client.Credentials{Username: "ann"}, &client.Credentials{Username: "bob"}
			r.Routes = map[string]mx.Route{"a.test": ann, "b.test": bob}
			return r.Check(ctx)
		}, `Routes["a.test"] and Routes["b.test"] are different and have the same Name`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.do(good()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if ok, err := AllowNetworks()(ctx, nil, smtp.Recipient{}); ok || err != nil {
		t.Errorf("AllowNetworks of nobody: got %v, %v, want false", ok, err)
	}
	if ok, err := AllowNetworks(prefixes("0.0.0.0/0")...)(ctx, new(server.Peer), smtp.Recipient{}); ok || err != nil {
		t.Errorf("AllowNetworks of a peer without an address: got %v, %v, want false", ok, err)
	}
}

func smarthost(t *testing.T) mx.Route {
	route, err := mx.Smarthost("smtp.provider.test:587")
	if err != nil {
		t.Fatal(err)
	}
	return route
}

// noAddr is a net.Listener without an address.
type noAddr struct{}

func (noAddr) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (noAddr) Close() error              { return nil }
func (noAddr) Addr() net.Addr            { return nil }

// TestOddAges: the longest MaxAge and DelayNotice are for ever, and the lowest DelayNotice is never.
func TestOddAges(t *testing.T) {
	for name, notice := range map[string]time.Duration{"longest": math.MaxInt64, "lowest": math.MinInt64} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				host := inet.MX("next.test", "mx.next.test")
				host.Down()
				sender := inet.MX("source.test", "mx.source.test")
				r := newRelay(inet)
				r.MaxAge, r.DelayNotice = math.MaxInt64, notice
				inet.Go(r.Run)
				mustSend(t, r, "ann@source.test", "bob@next.test")
				time.Sleep(30 * 24 * time.Hour)
				if n := queued(t, r); n != 1 || len(sender.Messages()) != 0 {
					t.Errorf("got %d tasks and %d reports, want the message to wait, without a report", n, len(sender.Messages()))
				}
				host.Up()
				host.Wait(1)
			})
		})
	}
}

// TestBadRecipientsFromCode: Send stores all or nothing, and names who is at fault.
func TestBadRecipientsFromCode(t *testing.T) {
	refused, err := mx.Refuse(smtp.NewReply(550, "5.7.1", "no mail here"))
	if err != nil {
		t.Fatal(err)
	}
	many := make([]string, 30)
	for i := range many {
		many[i] = "oops@"
	}
	tests := []struct {
		name string
		to   []string
		bad  string // ORCPT of the last one
		code string
		want []string // in the error
	}{
		{"one", []string{"ann@next.test", "oops@", "bob@next.test"}, "", "501 5.1.3", []string{`"oops@"`}},
		{"two", []string{"oops@", "ann@next.test", "no at"}, "", "501 5.1.3", []string{`"oops@"`, `"no at"`}},
		{"many", many, "", "501 5.1.3", []string{"and 20 more"}},
		{"a parameter", []string{"ann@next.test", "bob@next.test"}, "oops", "501 5.5.4", []string{"bob@next.test", `"oops"`}},
		{"a route that refuses", []string{"ann@next.test", "bob@refused.test", "eve@refused.test"}, "", "550 5.7.1",
			[]string{"bob@refused.test", "eve@refused.test", "no mail here"}},
		{"an address for a domain", []string{"ann@next.test", "bob@192.0.2.1"}, "", "550 5.1.2", []string{"bob@192.0.2.1"}},
		{"an alias of nobody", []string{"ann@next.test", "loop@next.test"}, "", "554 5.4.6", []string{"loop@next.test"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &Relay{
				Hostname: "relay.test", Queue: mem.New(), Domains: []string{"next.test"}, Routes: map[string]mx.Route{"refused.test": refused},
				Expand: func(_ context.Context, rcpt smtp.Recipient) ([]string, error) {
					if rcpt.Address == "loop@next.test" {
						return []string{"pool@next.test"}, nil
					} else if rcpt.Address == "pool@next.test" {
						return []string{"loop@next.test"}, nil
					}
					return nil, nil
				},
			}
			env := smtp.NewEnvelope("ann@source.test", tt.to...)
			env.Recipients[len(tt.to)-1].ORCPT = tt.bad
			_, err := r.Send(t.Context(), env, strings.NewReader(text))
			reply, ok := errors.AsType[*smtp.Reply](err)
			if !ok || !strings.HasPrefix(reply.Error(), tt.code) {
				t.Fatalf("got %v, want a Reply %s", err, tt.code)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
					t.Errorf("got %v, want %s in one line", err, want)
				}
			}
			if n := queued(t, r); n != 0 {
				t.Errorf("got %d tasks in the queue, want none", n)
			}
		})
	}
}
