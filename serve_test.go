package postrider

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-sasl"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// serve has the relay listen as relay.test:25 until the test ends.
func serve(t *testing.T, inet *smtptest.Network, r *Relay) {
	t.Helper()
	hosts, err := inet.Listen("relay.test:25")
	if err != nil {
		t.Fatal(err)
	}
	listeners := []net.Listener{hosts}
	if r.Authenticate != nil {
		users, err := inet.Listen("relay.test:587")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, SubmissionListener(users))
	}
	inet.Go(func(ctx context.Context) error { return r.Serve(ctx, listeners...) })
}

// submission submits to relay.test.
func submission(inet *smtptest.Network) *client.Submission {
	return &client.Submission{
		LeaveIncomplete: true, Addr: "relay.test:25",
		Hostname:    "program.test",
		Resolver:    inet,
		DialContext: inet.DialContext,
		TLSConfig:   &tls.Config{RootCAs: inet.RootCAs()},
	}
}

func TestServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("next.test", "mx.next.test")
		r := newRelay(inet)
		r.TLSConfig = &tls.Config{Certificates: []tls.Certificate{inet.Certificate("relay.test")}}
		r.Authenticate = func(_ context.Context, _ *server.Peer, username, password string) error {
			if username != "ann" || password != "secret" {
				return server.ErrAuthFailed
			}
			return nil
		}
		accepted := make(chan Accepted, 1)
		r.Accepted = func(a Accepted) { accepted <- a }
		serve(t, inet, r)

		env := smtp.NewEnvelope("ann@source.test", "bob@next.test")
		for port, want := range map[string]string{"25": "550 5.7.1 ", "587": "530 5.7.0 "} {
			sub := submission(inet)
			sub.Addr = "relay.test:" + port
			results, _ := sub.Send(t.Context(), env, smtp.Text(text))
			if got := results[0].Reply.Error(); results[0].Outcome == smtp.Delivered || !strings.HasPrefix(got, want) {
				t.Errorf("without AUTH at port %s: got %v %s, want %s", port, results[0].Outcome, got, want)
			}
		}
		sub := submission(inet)
		sub.Addr = "relay.test:587"
		sub.Auth = smtp.AuthMechanism(func() smtp.AuthExchange { return sasl.NewPlainClient("", "ann", "secret") })
		if results, err := sub.Send(t.Context(), env, smtp.Text(text)); err != nil {
			t.Fatalf("with AUTH: got %v %v", results, err)
		}
		mail := host.Wait(1)[0]
		want := regexp.MustCompile(`^Received: from program\.test \(\[192\.0\.2\.1\]\)\r\n\tby relay\.test with ESMTPSA \(TLS 1\.3 \w+\) id (\w+-1)\r\n` +
			`\tfor <bob@next\.test>;\r\n\t[A-Z][^\r]+ \+0000\r\nDate: [A-Z][^\r]+ \+0000\r\nMessage-ID: <\w+@relay\.test>\r\nFrom: `)
		if !want.Match(mail.Data) {
			t.Errorf("got %.300q, want it to begin with %v", mail.Data, want)
		}
		if a := <-accepted; a.ID == "" || a.Peer == nil || a.Peer.Username != "ann" || a.Envelope.From != "ann@source.test" {
			t.Errorf("got event %+v", a)
		}
	})
}

// TestServeSCRAM: a relay without Authenticate serves users by the funcs of Submission.
func TestServeSCRAM(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("next.test", "mx.next.test")
		stored, err := server.NewSCRAMCredentials("secret", 4096)
		if err != nil {
			t.Fatal(err)
		}
		r := newRelay(inet)
		r.TLSConfig = &tls.Config{Certificates: []tls.Certificate{inet.Certificate("relay.test")}}
		r.Submission = &server.Server{
			StoredCredentials: func(_ context.Context, _ *server.Peer, username string) (*server.SCRAMCredentials, error) {
				if username != "ann" {
					return nil, server.ErrAuthFailed
				}
				return stored, nil
			},
			CheckToken: func(_ context.Context, _ *server.Peer, username, token string) (string, error) {
				if username != "ann" || token != "good" {
					return "", server.ErrAuthFailed
				}
				return "ann", nil
			},
		}
		users, err := inet.Listen("relay.test:587")
		if err != nil {
			t.Fatal(err)
		}
		inet.Go(func(ctx context.Context) error { return r.Serve(ctx, SubmissionListener(users)) })
		token := func(context.Context) (string, error) { return "good", nil }
		for i, auth := range []*client.Credentials{
			{Username: "ann", Password: "secret", Mechanisms: []string{"SCRAM-SHA-256-PLUS"}},
			{Username: "ann", Token: token},
			{Username: "ann", Password: "wrong"},
			{Username: "eve", Password: "secret"},
		} {
			sub := submission(inet)
			sub.Addr, sub.Auth = "relay.test:587", auth
			_, err := sub.Send(t.Context(), smtp.NewEnvelope("ann@source.test", "bob@next.test"), smtp.Text(text))
			if (err == nil) != (i < 2) {
				t.Errorf("%v: got %v", auth, err)
			}
		}
		host.Wait(2)
	})
}

// TestAcceptedPanics: a func that only looks on doesn't make a client send a message twice.
func TestAcceptedPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("next.test", "mx.next.test")
		r := newRelay(inet)
		r.Domains = []string{"next.test"}
		r.Accepted = func(Accepted) { panic("no such map") }
		var lines bytes.Buffer
		r.Logger = slog.New(slog.NewTextHandler(&lines, nil))
		serve(t, inet, r)
		sub := submission(inet)
		sub.TLS = mx.TLSNone
		if _, err := sub.Send(t.Context(), smtp.NewEnvelope("x@source.test", "bob@next.test"), smtp.Text(text)); err != nil {
			t.Errorf("got %v, want the message to be accepted", err)
		}
		host.Wait(1)
		synctest.Wait()
		if !strings.Contains(lines.String(), "no such map") {
			t.Errorf("got %s, want the panic in the log", &lines)
		}
	})
}

func TestServeFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		one, err := inet.Listen("relay.test:25")
		if err != nil {
			t.Fatal(err)
		}
		other, err := inet.Listen("relay.test:587")
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Hour, func() { other.Close() })
		err = newRelay(inet).Serve(t.Context(), one, other)
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v, want the error of the listener that broke", err)
		}
	})
}

// TestPostmaster: <postmaster> is taken from anyone, and goes where it is said to.
func TestPostmaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("here.test", "mx.here.test")
		r := newRelay(inet)
		r.Domains = []string{"here.test"}
		r.TLSConfig = &tls.Config{Certificates: []tls.Certificate{inet.Certificate("relay.test")}}
		serve(t, inet, r)
		env := smtp.NewEnvelope("ann@source.test", "postmaster")
		if _, err := submission(inet).Send(t.Context(), env, smtp.Text(text)); err != nil {
			t.Fatal(err)
		}
		if got := host.Wait(1)[0].Envelope.Recipients[0].Address; got != "postmaster@here.test" {
			t.Errorf("got %q, want postmaster@here.test", got)
		}

		m, err := r.Prepare(t.Context(), env, strings.NewReader(text))
		if err != nil || m.Envelope.Recipients[0].Address != "postmaster@here.test" || m.Destinations[0] != "here.test" {
			t.Errorf("got %+v, %v", m, err)
		}
		if got := env.Recipients[0].Address; got != "postmaster" {
			t.Errorf("the caller's envelope has %q now, want it as it was", got)
		}
	})
}

// failing is a Queue whose Enqueue fails.
type failing struct {
	queue.Queue
	err error
}

func (f failing) Enqueue(context.Context, queue.Message) (queue.ID, error) { return "", f.err }

func TestEnqueueFails(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		want string
	}{
		{"disk full", &net.OpError{Err: syscall.ENOSPC}, "452 4.3.1 "},
		{"anything else", errors.New("secret"), "451 4.3.0 internal error"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &Relay{Hostname: "relay.test", Queue: failing{mem.New(), test.err}}
			if err := r.init(); err != nil {
				t.Fatal(err)
			}
			peer := &server.Peer{RemoteAddr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}}
			_, err := (&handler{r}).Handle(t.Context(), peer, smtp.NewEnvelope("", "bob@next.test"), strings.NewReader("\r\n"))
			got := "451 4.3.0 internal error" // what the server makes of an error that is no reply
			if reply, ok := errors.AsType[*smtp.Reply](err); ok {
				got = reply.Error()
			}
			if !strings.HasPrefix(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestHeldByCheck: a message that a check holds is in the queue from the start as held, and the next one is delivered.
// A Queue that can't hold refuses it.
func TestHeldByCheck(t *testing.T) {
	for _, test := range []struct {
		name  string
		queue queue.Queue
		want  string // of the reply
		log   string
		held  int
	}{
		{"held", mem.New(), "250 2.0.0 queued as ", "mail held", 1},
		{"no Holder", struct{ queue.Queue }{mem.New()}, "451 4.3.0 ", "mail refused: a check holds it", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				host := inet.MX("next.test", "mx.next.test")
				r := newRelay(inet)
				r.Queue, r.Domains = test.queue, []string{"next.test"}
				var lines bytes.Buffer
				r.Logger = slog.New(slog.NewTextHandler(&lines, nil))
				var accepted []queue.ID
				r.Accepted = func(a Accepted) {
					accepted = append(accepted, a.ID)
					if want := map[string]string{"virus@source.test": "a virus"}[a.Envelope.From]; a.Held != want {
						t.Errorf("got Held %q for the mail from %s, want %q", a.Held, a.Envelope.From, want)
					}
				}
				r.Server = &server.Server{Checks: []server.Check{{
					Name: "c",
					Content: func(_ context.Context, s *server.Session, _ *server.Message) error {
						if s.Envelope.From == "virus@source.test" {
							s.Hold("a virus")
						}
						return nil
					},
				}}}
				serve(t, inet, r)
				sub := submission(inet)
				sub.TLS = mx.TLSNone
				results, err := sub.Send(t.Context(), smtp.NewEnvelope("virus@source.test", "bob@next.test"), smtp.Text(text))
				if len(results) != 1 || results[0].Reply == nil || !strings.HasPrefix(results[0].Reply.Error(), test.want) {
					t.Errorf("got %v %v, want %s", results, err, test.want)
				}
				if _, err := sub.Send(t.Context(), smtp.NewEnvelope("good@source.test", "bob@next.test"), smtp.Text(text)); err != nil {
					t.Fatal(err)
				}
				if mail := host.Wait(1)[0]; mail.Envelope.From != "good@source.test" {
					t.Errorf("got the mail from %s delivered", mail.Envelope.From)
				}
				time.Sleep(30 * 24 * time.Hour) // past the deadline
				if n := len(host.Messages()); n != 1 {
					t.Errorf("got %d mails delivered, want the second alone", n)
				}
				held := 0
				if q, ok := test.queue.(queue.Lister); ok {
					for task, err := range q.List(t.Context(), queue.Filter{State: queue.Held}) {
						if err != nil || task.Envelope.From != "virus@source.test" || task.ID != accepted[0] {
							t.Errorf("got %+v held, and %v", task, err)
						}
						held++
					}
				}
				if held != test.held || len(accepted) != 1+held {
					t.Errorf("got %d messages held and %d accepted, want %d held", held, len(accepted), test.held)
				}
				synctest.Wait()
				if log := lines.String(); !strings.Contains(log, test.log) || !strings.Contains(log, `reason="a virus"`) {
					t.Errorf("got the log\n%s\nwant %q with its reason", log, test.log)
				}
			})
		})
	}
}

func TestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		for _, test := range []struct {
			name             string
			relay            *Relay
			from             string
			notice, deadline time.Duration // from now; zero: none
		}{
			{"defaults", new(Relay), "ann@source.test", 4 * time.Hour, 120 * time.Hour},
			{"null reverse-path", new(Relay), "", 0, 120 * time.Hour},
			{"fields", &Relay{MaxAge: time.Hour, DelayNotice: time.Minute}, "ann@source.test", time.Minute, time.Hour},
			{"no notice", &Relay{DelayNotice: -1}, "ann@source.test", 0, 120 * time.Hour},
		} {
			r := test.relay
			r.Hostname, r.Queue = "relay.test", mem.New()
			m, err := r.Prepare(t.Context(), smtp.NewEnvelope(test.from, "bob@next.test"), strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			var notice time.Time
			if test.notice > 0 {
				notice = now.Add(test.notice)
			}
			if !m.NoticeAt.Equal(notice) || !m.Deadline.Equal(now.Add(test.deadline)) {
				t.Errorf("%s: got notice at %v and deadline %v, want %v and %v after %v", test.name, m.NoticeAt, m.Deadline, test.notice, test.deadline, now)
			}
		}
	})
}

// TestDelivery: the fields that say how mail goes out.
func TestDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("next.test", "mx.next.test")
		host.SetAddrs(netip.MustParseAddr("10.0.0.1"))
		host.Defer(time.Minute, smtp.NewReply(451, "4.3.0", ""))
		r := newRelay(inet)
		r.Router = &mx.Router{Port: 587, AllowPrivate: true}
		r.Runner = &delivery.Runner{Retry: []time.Duration{2 * time.Minute}}
		r.Transport = &client.Transport{TLSConfig: &tls.Config{MaxVersion: tls.VersionTLS12}}
		tlsVersion := make(chan string, 1)
		r.Events.Delivered = func(e delivery.Event) { tlsVersion <- e.Result.TLS + " at " + e.Result.Addr }
		inet.Go(r.Run)
		begin := time.Now()
		mustSend(t, r, "ann@source.test", "bob@next.test")
		host.Wait(1)
		if got, want := <-tlsVersion, "TLS 1.2 at 10.0.0.1:587"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if took := time.Since(begin); took > 3*time.Minute {
			t.Errorf("got it after %v, want it after 2 minutes", took)
		}
	})
}

// TestOurselves: a domain whose best MX we are is a loop, not a delivery to ourselves.
func TestOurselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		inet.MX("next.test", "relay.test")
		sender := inet.MX("source.test", "mx.source.test")
		r := newRelay(inet)
		inet.Go(r.Run)
		mustSend(t, r, "ann@source.test", "bob@next.test")
		if report := sender.Wait(1)[0]; !bytes.Contains(report.Data, []byte("\r\nStatus: 5.4.6\r\n")) {
			t.Errorf("got %s, want a report of 5.4.6", report.Data)
		}
	})
}

// unreadable is a Content that has become so.
type unreadable struct{}

func (unreadable) ReadAt([]byte, int64) (int, error) { return 0, errors.New("damaged") }
func (unreadable) Size() int64                       { return 1000 }

func TestReport(t *testing.T) {
	r := &Relay{Hostname: "relay.test", Queue: mem.New()}
	if err := r.init(); err != nil {
		t.Fatal(err)
	}
	no := smtp.NewReply(550, "5.1.1", "")
	yes := smtp.NewReply(250, "2.0.0", "")
	later := smtp.NewReply(451, "4.4.1", "")
	for _, test := range []struct {
		name    string
		result  smtp.Result
		content smtp.Content
		expired bool
		delayed bool
		want    string // action, "" for no report
	}{
		{"rejected", smtp.Result{Outcome: smtp.Rejected, Reply: no}, smtp.Text(text), false, false, "failed"},
		{"original unreadable", smtp.Result{Outcome: smtp.Rejected, Reply: no}, unreadable{}, false, false, "failed"},
		{"original gone", smtp.Result{Outcome: smtp.Rejected, Reply: no}, nil, false, false, "failed"},
		{"deferred", smtp.Result{Outcome: smtp.Deferred, Reply: later}, smtp.Text(text), false, false, ""},
		{"expired", smtp.Result{Outcome: smtp.Deferred, Reply: later}, smtp.Text(text), true, false, "failed"},
		{"delayed", smtp.Result{Outcome: smtp.Unknown, Reply: later}, smtp.Text(text), false, true, "delayed"},
		{"delivered", smtp.Result{Outcome: smtp.Delivered, Reply: yes}, smtp.Text(text), false, false, "delivered"},
		{"relayed", smtp.Result{Outcome: smtp.Delivered, Reply: yes, Relayed: true}, smtp.Text(text), false, false, "relayed"},
		{"relayed with DSN", smtp.Result{Outcome: smtp.Delivered, Reply: yes, Relayed: true, DSN: true}, smtp.Text(text), false, false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			env := smtp.NewEnvelope("ann@source.test", "bob@next.test")
			env.Recipients[0].Notify = smtp.NotifySuccess | smtp.NotifyFailure | smtp.NotifyDelay
			messages, err := r.reporter.Report(t.Context(), delivery.Occasion{
				Task:    queue.Task{Envelope: env, Arrival: time.Now(), Tenant: "shop", Origin: smtp.OriginCode},
				Results: []smtp.Result{test.result},
				Expired: test.expired,
				Delayed: test.delayed,
				Content: test.content,
			})
			if err != nil {
				t.Fatal(err)
			}
			if test.want == "" {
				if len(messages) > 0 {
					t.Errorf("got a report, want none")
				}
				return
			}
			if len(messages) != 1 {
				t.Fatalf("got %d reports, want 1", len(messages))
			}
			m := messages[0]
			if m.Envelope.From != "" || m.Envelope.Recipients[0].Address != "ann@source.test" || m.Destinations[0] != "source.test" ||
				m.Tenant != "shop" || !m.NoticeAt.IsZero() || m.Deadline.IsZero() {
				t.Errorf("got %+v", m)
			}
			var data bytes.Buffer
			data.ReadFrom(m.Body)
			if !strings.Contains(data.String(), "\r\nAction: "+test.want+"\r\n") {
				t.Errorf("got %s, want action %s", &data, test.want)
			}
		})
	}
}

// TestManyRecipients: more recipients than the next host takes at once go in several transactions.
func TestManyRecipients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("next.test", "mx.next.test")
		far := newRelay(inet)
		far.Allow = allowAll
		serve(t, inet, far)

		near := newRelay(inet)
		near.Hostname = "near.test"
		route, err := mx.Smarthost("relay.test:25")
		if err != nil {
			t.Fatal(err)
		}
		near.Routes = map[string]mx.Route{"*": route}
		inet.Go(near.Run)
		env := &smtp.Envelope{}
		for i := range 2500 {
			env.Recipients = append(env.Recipients, smtp.Recipient{Address: fmt.Sprintf("r%d@next.test", i)})
		}
		if _, err := near.Send(t.Context(), env, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // before the first retry
		got := make(map[string]int)
		for _, m := range host.Messages() {
			for _, rcpt := range m.Envelope.Recipients {
				got[rcpt.Address]++
			}
		}
		for _, rcpt := range env.Recipients {
			if got[rcpt.Address] != 1 {
				t.Errorf("%s got %d mails, want 1", rcpt.Address, got[rcpt.Address])
			}
		}
	})
}
