package postrider

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// TestDecidersPanic has each func that decides about a message panic for Eve: her mail is refused for now, by SMTP and
// from code, Bob's is delivered, and a line says why.
func TestDecidersPanic(t *testing.T) {
	isEve := func(address string) {
		if strings.HasPrefix(address, "eve@") {
			panic("boom")
		}
	}
	tests := []struct {
		name string
		set  func(*Relay)
		self bool // it is asked about mail from code, too
	}{
		{"Allow", func(r *Relay) {
			r.Allow = func(_ context.Context, _ *server.Peer, rcpt smtp.Recipient) (bool, error) {
				isEve(rcpt.Address)
				return false, nil
			}
		}, false},
		{"CheckRcpt", func(r *Relay) {
			r.CheckRcpt = func(_ context.Context, _ *server.Peer, rcpt smtp.Recipient) error {
				isEve(rcpt.Address)
				return nil
			}
		}, false},
		{"Expand", func(r *Relay) {
			r.Expand = func(_ context.Context, rcpt smtp.Recipient) ([]string, error) {
				isEve(rcpt.Address)
				return nil, nil
			}
		}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				host := inet.MX("next.test", "mx.next.test")
				var log bytes.Buffer
				r := newRelay(inet)
				r.Domains = []string{"next.test"}
				r.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelError}))
				tt.set(r)
				serve(t, inet, r)
				sub := submission(inet)
				sub.TLS = mx.TLSNone
				defer sub.Close()
				results, _ := sub.Send(t.Context(), smtp.NewEnvelope("ann@source.test", "eve@next.test", "bob@next.test"), smtp.Text(text))
				if got := results[0]; got.Outcome != smtp.Deferred || got.Reply.Code != 451 || got.Local {
					t.Errorf("eve: got %v, %v, want 451", got.Outcome, got.Reply)
				}
				if got := results[1]; got.Outcome != smtp.Delivered {
					t.Errorf("bob: got %v, %v, want it delivered", got.Outcome, got.Reply)
				}
				_, err := r.Send(t.Context(), smtp.NewEnvelope("ann@source.test", "eve@next.test"), strings.NewReader(text))
				if (err != nil) != tt.self {
					t.Errorf("from code: got %v, want an error: %v", err, tt.self)
				}
				if err == nil {
					host.Wait(2)
				} else {
					host.Wait(1)
				}
				synctest.Wait()
				if want := `msg="` + tt.name + ` panics" panic=boom`; !strings.Contains(log.String(), want) {
					t.Errorf("got log\n%s\nwant %s", &log, want)
				}
			})
		})
	}
}

// TestSubmissionPanics has what decides about users panic: nobody gets in by that, and the next session is served.
func TestSubmissionPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("next.test", "mx.next.test")
		var log bytes.Buffer
		panics := "Authenticate"
		in := func(name string) {
			if name == panics {
				panic("boom")
			}
		}
		r := newRelay(inet)
		r.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelError}))
		r.TLSConfig = &tls.Config{Certificates: []tls.Certificate{inet.Certificate("relay.test")}}
		r.Submission = &server.Server{MaxConns: 1}
		r.Authenticate = func(context.Context, *server.Peer, string, string) error { in("Authenticate"); return nil }
		r.SendAs = func(_ context.Context, _ *server.Peer, address string) (bool, error) { in("SendAs"); return true, nil }
		r.TenantOf = func(_ context.Context, p *server.Peer, _ *smtp.Envelope) (string, string) {
			in("TenantOf")
			return p.Username, ""
		}
		serve(t, inet, r)
		for _, panics = range []string{"Authenticate", "SendAs", "TenantOf", ""} {
			sub := submission(inet)
			sub.Addr, sub.Auth, sub.IdleTimeout = "relay.test:587", &client.Credentials{Username: "ann", Password: "secret"}, -1
			results, _ := sub.Send(t.Context(), smtp.NewEnvelope("ann@source.test", "bob@next.test"), smtp.Text("From: <ann@source.test>\n\nHi.\n"))
			if got := results[0]; (got.Outcome == smtp.Delivered) != (panics == "") || got.Outcome == smtp.Rejected {
				t.Errorf("%q panics: got %v, %v", panics, got.Outcome, got.Reply)
			}
			sub.Close()
			synctest.Wait()
			if panics != "" && !strings.Contains(log.String(), "panic=boom") {
				t.Errorf("%q panics: got log\n%s\nwant the panic", panics, &log)
			}
			log.Reset()
		}
		host.Wait(1)
	})
}

// badSender is a Sender whose Check panics.
type badSender struct{ smtp.Sender }

func (badSender) Check(context.Context) error { panic("no key") }

// TestWrapPanics: a Wrap that panics, and a Check of what it returned, are errors of Check and of every other method.
func TestWrapPanics(t *testing.T) {
	for name, wrap := range map[string]func(smtp.Sender) smtp.Sender{
		"Wrap":  func(smtp.Sender) smtp.Sender { panic("no key") },
		"Check": func(next smtp.Sender) smtp.Sender { return badSender{next} },
	} {
		r := &Relay{Hostname: "relay.test", Queue: mem.New(), Wrap: wrap}
		for range 2 {
			if err := r.Check(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "relay: Wrap") {
				t.Errorf("%s: got %v, want an error of Wrap", name, err)
			}
		}
	}
}

// badQueue is a Queue that panics when it stores a report.
type badQueue struct{ *mem.Queue }

func (q badQueue) Enqueue(ctx context.Context, m queue.Message) (queue.ID, error) {
	if m.About != "" {
		panic("no reports")
	}
	return q.Queue.Enqueue(ctx, m)
}

// badLog is a slog.Handler that panics.
type badLog struct{ slog.Handler }

// TestAcceptedStands: once a message is durable, nothing that panics makes its client send it again.
func TestAcceptedStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("next.test", "mx.next.test")
		r := newRelay(inet)
		r.Queue = badQueue{mem.New()}
		r.Domains = []string{"next.test"}
		r.Logger = slog.New(badLog{})
		r.Accepted = func(Accepted) { panic("boom") }
		r.Expand = func(_ context.Context, rcpt smtp.Recipient) ([]string, error) {
			if strings.HasPrefix(rcpt.Address, "all@") {
				return []string{"bob@next.test", "eve@next.test"}, nil
			}
			return nil, nil
		}
		r.Allow = func(context.Context, *server.Peer, smtp.Recipient) (bool, error) { return true, nil }
		serve(t, inet, r)
		env := smtp.NewEnvelope("ann@source.test", "all@next.test")
		env.Recipients[0].Notify = smtp.NotifySuccess
		sub := submission(inet)
		sub.TLS = mx.TLSNone
		defer sub.Close()
		if results, err := sub.Send(t.Context(), env, smtp.Text(text)); err != nil {
			t.Errorf("by SMTP: got %v, %v, want it accepted", results, err)
		}
		if _, err := r.Send(t.Context(), env, strings.NewReader(text)); err != nil {
			t.Errorf("from code: got %v, want it accepted", err)
		}
		host.Wait(2)
	})
}
