package postrider

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/mx/dane"
	"github.com/postrider/postrider/mx/mtasts"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
	"github.com/postrider/postrider/smtp/smtptest"
)

var wrongRules = &replies.Classifier{Rules: []replies.Rule{{Name: "odd", Says: []string{".. nothing"}, Reason: smtp.Other}}}

// TestParts: what a Relay fills in itself must be left to it, and the error names the field that has it.
func TestParts(t *testing.T) {
	noReason := &replies.Classifier{Rules: []replies.Rule{{Name: "mine"}}}
	for _, test := range []struct {
		name   string
		change func(*Relay)
		want   string
	}{
		{"Server.Hostname", func(r *Relay) { r.Server = &server.Server{Hostname: "a.test"} }, "Relay.Hostname"},
		{"Submission.Handler", func(r *Relay) { r.Submission = &server.Server{Handler: &handler{r}} }, "Relay.Handler"},
		{"Server: server: MaxSize", func(r *Relay) { r.Server = &server.Server{MaxSize: -1} }, "MaxSize"},
		{"Router.Routes", func(r *Relay) { r.Router = &mx.Router{Routes: map[string]mx.Route{"*": mx.Discard()}} }, "Relay.Routes"},
		{"Transport.Hostname", func(r *Relay) { r.Transport = &client.Transport{Hostname: "a.test"} }, "Relay.Hostname"},
		{"Transport.Router", func(r *Relay) { r.Transport = &client.Transport{Router: new(mx.Router)} }, "Relay.Router"},
		{"Transport.Timeouts", func(r *Relay) { r.Transport = &client.Transport{Timeouts: client.Timeouts{Envelope: -time.Second}} },
			"Transport.Timeouts.Envelope is -1s: set it"},
		{"Transport.Replies", func(r *Relay) { r.Transport = &client.Transport{Replies: noReason} }, "Transport.Replies: replies: rule \"mine\": "},
		{"delivery: Replies", func(r *Relay) { r.Runner = &delivery.Runner{Replies: noReason} }, "Replies: replies: rule \"mine\": "},
		{"Transport.Policies[0]", func(r *Relay) { r.Transport = &client.Transport{Policies: make([]mx.Policy, 1)} },
			"Transport.Policies[0] is nil"},
		{"Transport.Policies[1]", func(r *Relay) {
			r.Transport = &client.Transport{Policies: []mx.Policy{dane.Policy{}, &mtasts.Client{Timeout: -1}}}
		}, "Transport.Policies[1]: mtasts: Timeout is -1ns"},
		{"Transport.Sources", func(r *Relay) { r.Transport = &client.Transport{Sources: make([]client.Source, 1)} }, "Sources[0]"},
		{"Transport.Replies", func(r *Relay) { r.Transport = &client.Transport{Replies: wrongRules} }, `"odd"`},
		{"Runner.Queue", func(r *Relay) { r.Runner = &delivery.Runner{Queue: mem.New()} }, "Relay.Queue"},
		{"Runner.Sender", func(r *Relay) { r.Runner = &delivery.Runner{Sender: new(client.Transport)} }, "Relay.Wrap"},
		{"delivery: Replies", func(r *Relay) { r.Runner = &delivery.Runner{Replies: wrongRules} }, `"odd"`},
		{`Hostname "192.0.2.1"`, func(r *Relay) { r.Hostname = "192.0.2.1" }, "no host name"},
		{"MaxAge", func(r *Relay) { r.MaxAge = -time.Hour }, "5 days"},
		{`Limits["*"]`, func(r *Relay) { r.Limits = map[string]delivery.SiteLimits{"*": {}} }, "label"},
		{`Limits["a.test"]`, func(r *Relay) { r.Limits = map[string]delivery.SiteLimits{"a.test": {Initial: -1}} }, "Site.Initial is -1"},
		{"Wrap", func(r *Relay) { r.Wrap = func(smtp.Sender) smtp.Sender { return nil } }, "nil"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &Relay{Hostname: "relay.test", Queue: mem.New()}
			test.change(r)
			err := r.Check(t.Context())
			if err == nil || !strings.Contains(err.Error(), test.name) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q and %q", err, test.name, test.want)
			}
		})
	}
}

// TestRouterOfTwo: the routes of a second Relay would have no effect in a Router that is in use.
func TestRouterOfTwo(t *testing.T) {
	router := new(mx.Router)
	one := &Relay{Hostname: "one.test", Queue: mem.New(), Router: router}
	two := &Relay{Hostname: "two.test", Queue: mem.New(), Router: router, Routes: map[string]mx.Route{"*": mx.Discard()}}
	if err := one.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if err := two.Check(t.Context()); err == nil {
		destination, _ := two.Destination("next.test")
		t.Errorf("got no error, and %q for a domain that has the route discard", destination)
	}
}

// TestTemplates: every field of a template reaches the server that is made of it, and the template stays as it is.
func TestTemplates(t *testing.T) {
	certificates := make([]tls.Certificate, 1)
	template := &server.Server{MaxRecipients: 7, MaxConns: 3, Grace: time.Hour, Lenient: true,
		Checks:    []server.Check{{Name: "c"}},
		TLSConfig: &tls.Config{ServerName: "own", Certificates: certificates}}
	shared := &tls.Config{Certificates: certificates}
	r := &Relay{Hostname: "relay.test", Queue: mem.New(), Server: template, TLSConfig: shared}
	if err := r.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := r.server(r.Server, nil)
	if got.Hostname != "relay.test" || got.Handler == nil {
		t.Errorf("got %q and %v, want them filled in", got.Hostname, got.Handler)
	}
	if template.Hostname != "" || template.Handler != nil {
		t.Error("the template was changed")
	}
	got.Hostname, got.Handler, got.Logger, got.Logins = "", nil, nil, nil
	for i := range reflect.TypeFor[server.Server]().NumField() {
		f := reflect.TypeFor[server.Server]().Field(i)
		if !f.IsExported() || f.Type.Kind() == reflect.Func {
			continue
		}
		a, b := reflect.ValueOf(got).Elem().Field(i), reflect.ValueOf(template).Elem().Field(i)
		if f.Type.Kind() == reflect.Slice {
			if a.Pointer() != b.Pointer() {
				t.Errorf("%s: got %v, want %v", f.Name, a, b)
			}
		} else if !a.Equal(b) {
			t.Errorf("%s: got %v, want %v", f.Name, a, b)
		}
	}
}

// TestSubmissionTemplate: a template for users may say what the Relay fills in anyway.
func TestSubmissionTemplate(t *testing.T) {
	for _, test := range []struct {
		name  string
		login func(context.Context, *server.Peer, string, string) error
		want  string // in the error; "" for none
	}{
		{"Authenticate", func(context.Context, *server.Peer, string, string) error { return nil }, ""},
		{"no Authenticate", nil, "Submission: server: RequireAuth"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &Relay{
				Hostname: "relay.test", Queue: mem.New(), Authenticate: test.login,
				Submission: &server.Server{RequireAuth: true},
			}
			if err := r.Check(t.Context()); err == nil != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// checked is a Sender with a Check.
type checked struct {
	smtp.SenderFunc
	err error
}

func (c checked) Check(context.Context) error { return c.err }

func TestCheckWrap(t *testing.T) {
	fault := errors.New("the key has expired")
	r := &Relay{Hostname: "relay.test", Queue: mem.New(), Wrap: func(next smtp.Sender) smtp.Sender { return checked{next.Send, fault} }}
	if err := r.Check(t.Context()); !errors.Is(err, fault) {
		t.Errorf("got %v, want the error of the Sender that Wrap returned", err)
	}
}

// TestJob: what wraps the sending learns whose mail it is, across a restart of nothing but the relay.
func TestJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("next.test", "mx.next.test")
		host.Defer(time.Minute, smtp.NewReply(451, "4.3.0", ""))
		r := newRelay(inet)
		r.TLSConfig = &tls.Config{Certificates: []tls.Certificate{inet.Certificate("relay.test")}}
		r.Allow = func(_ context.Context, p *server.Peer, rcpt smtp.Recipient) (bool, error) {
			return p.Hello == "friend.test", nil
		}
		r.Domains = []string{"next.test"}
		var lines bytes.Buffer
		r.Logger = slog.New(slog.NewTextHandler(&lines, nil))
		r.Authenticate = func(context.Context, *server.Peer, string, string) error { return nil }
		r.TenantOf = func(_ context.Context, p *server.Peer, env *smtp.Envelope) (tenant, ref string) {
			if p.Username == "" {
				return "", ""
			}
			return p.Username, "to " + env.Recipients[0].Address + " "
		}
		var jobs []string
		r.Wrap = func(next smtp.Sender) smtp.Sender {
			return smtp.SenderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
				job, ok := smtp.JobOf(ctx)
				jobs = append(jobs, fmt.Sprint(ok, job.ID != "", " ", job.Origin, " ", job.FromDomain, " ", job.Ref, job.Tenant, " ", job.Attempt))
				return next.Send(ctx, env, c)
			})
		}
		serve(t, inet, r)
		send := func(hello, port, user string) {
			before := len(host.Messages())
			sub := submission(inet)
			sub.Addr, sub.Hostname = "relay.test:"+port, hello
			if user != "" {
				sub.Auth = &client.Credentials{Username: user, Password: "secret"}
			}
			if _, err := sub.Send(t.Context(), smtp.NewEnvelope("x@source.test", "bob@next.test"), smtp.Text(text)); err != nil {
				t.Fatal(err)
			}
			if err := sub.Close(); err != nil {
				t.Fatal(err)
			}
			host.Wait(before + 1)
			synctest.Wait()
		}
		send("stranger.test", "25", "")
		send("friend.test", "25", "")
		lines.Reset()
		send("program.test", "587", "ann")
		for line := range strings.Lines(lines.String()) {
			about := strings.Contains(line, " msg=mail ") || strings.Contains(line, " msg=delivered ")
			if about && (!strings.Contains(line, " id=3 ") || !strings.Contains(line, ` ref="to bob@next.test " tenant=ann`)) {
				t.Errorf("got %swant the ID, the Ref and the Tenant in it", line)
			}
		}
		m, err := r.Prepare(t.Context(), smtp.NewEnvelope("x@source.test", "bob@next.test"), strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		m.Ref, m.Tenant = "order 17", "shop"
		if _, err := r.Enqueue(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		host.Wait(4)
		got := strings.Join(jobs, "\n")
		want := "true true stranger source.test  1\ntrue true stranger source.test  2\ntrue true allowed source.test  1\n" +
			"true true authenticated source.test to bob@next.test ann 1\ntrue true code source.test order 17shop 1"
		if got != want {
			t.Errorf("got jobs\n%s\nwant\n%s", got, want)
		}
	})
}

// TestSendAs: a user sends by the addresses that are theirs, in the envelope and in the From field.
func TestSendAs(t *testing.T) {
	for _, test := range []struct{ name, from, author, want string }{
		{"own", "ann@source.test", "ann@source.test", ""},
		{"null reverse-path", "", "ann@source.test", ""},
		{"another's reverse-path", "eve@source.test", "ann@source.test", "5.7.1"},
		{"another's From", "ann@source.test", "eve@source.test", "5.7.1"},
		{"another among the authors", "ann@source.test", "ann@source.test, eve@source.test", "5.7.1"},
		{"no From", "ann@source.test", "", "5.6.0"},
		{"the directory fails", "err@source.test", "ann@source.test", "4.3.0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				host := inet.MX("next.test", "mx.next.test")
				r := newRelay(inet)
				r.TLSConfig = &tls.Config{Certificates: []tls.Certificate{inet.Certificate("relay.test")}}
				r.Authenticate = func(context.Context, *server.Peer, string, string) error { return nil }
				r.SendAs = func(_ context.Context, p *server.Peer, address string) (bool, error) {
					if address == "err@source.test" {
						return false, errors.New("the directory is away")
					}
					return address == p.Username+"@source.test", nil
				}
				serve(t, inet, r)
				sub := submission(inet)
				sub.Addr, sub.Auth = "relay.test:587", &client.Credentials{Username: "ann", Password: "secret"}
				message := "Subject: hi\n\nHello.\n"
				if test.author != "" {
					message = "From: " + test.author + "\n" + message
				}
				results, err := sub.Send(t.Context(), smtp.NewEnvelope(test.from, "bob@next.test"), smtp.Text(message))
				if (err == nil) != (test.want == "") || err != nil && !strings.Contains(results[0].Reply.Error(), test.want) {
					t.Errorf("got %+v and %v, want %q", results, err, test.want)
				}
				if test.want == "" {
					host.Wait(1)
				}
			})
		})
	}
}

// TestSubmissionNeedsAuth: a submission listener without Authenticate would be an open relay, or useless.
func TestSubmissionNeedsAuth(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{Hostname: "relay.test", Queue: mem.New()}
	if err := r.Serve(t.Context(), SubmissionListener(l)); err == nil || !strings.Contains(err.Error(), "Authenticate") {
		t.Errorf("got %v, want an error about Authenticate", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: got %v, want the listener closed", err)
	}
}

// TestSubmissionNeedsTLS: without a certificate nobody could authenticate at a submission port, nor send.
func TestSubmissionNeedsTLS(t *testing.T) {
	for _, port := range []string{"587", "465"} {
		r := &Relay{Hostname: "relay.test", Queue: mem.New()}
		r.Authenticate = func(context.Context, *server.Peer, string, string) error { return nil }
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // a Serve that begins ends at once
		err := r.ListenAndServe(ctx, "127.0.0.88:"+port)
		if errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EADDRINUSE) ||
			errors.Is(err, context.Canceled) {
			t.Skipf("port %s can't be listened at here: %v", port, err)
		}
		if err == nil || !strings.Contains(err.Error(), "TLSConfig is nil") {
			t.Errorf("port %s: got %v, want an error about TLSConfig", port, err)
		}
	}
}

// TestUsersNeedPort: users at a port that ListenAndServe takes for other hosts could not log in, without a word.
func TestUsersNeedPort(t *testing.T) {
	r := &Relay{Hostname: "relay.test", Queue: mem.New(),
		Authenticate: func(context.Context, *server.Peer, string, string) error { return nil }}
	err := r.ListenAndServe(t.Context(), "127.0.0.1:0")
	if err == nil || !strings.Contains(err.Error(), "SubmissionListener") {
		t.Errorf("got %v, want an error that names SubmissionListener", err)
	}
}

// TestMarkInsideTLS: the order of the mark and TLS doesn't count.
func TestMarkInsideTLS(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, mark := range []func(net.Listener) net.Listener{SubmissionListener, LMTPListener} {
		_, want := roleOf(mark(l))
		inner, got := roleOf(server.NewTLSListener(mark(l), new(tls.Config)))
		if got != want {
			t.Errorf("got role %d, want %d", got, want)
		}
		if _, ok := inner.(roleListener); ok || inner == l {
			t.Errorf("got %T inside, want one of TLS", inner)
		}
		if inner, _ := roleOf(server.NewTLSListener(mark(nil), new(tls.Config))); inner != nil {
			t.Errorf("got %T around no listener, want nil", inner)
		}
	}
}

// TestServeWarns: without a listener for users, nobody can use Authenticate. Serve says so.
func TestServeWarns(t *testing.T) {
	for _, users := range []bool{false, true} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if users {
			l = SubmissionListener(l)
		}
		var lines bytes.Buffer
		r := &Relay{Hostname: "relay.test", Queue: mem.New(), Logger: slog.New(slog.NewTextHandler(&lines, nil)),
			Submission:   &server.Server{AllowInsecureAuth: true},
			Authenticate: func(context.Context, *server.Peer, string, string) error { return nil }}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.Serve(ctx, l); err != nil {
			t.Errorf("got %v, want no error", err)
		}
		if got := strings.Contains(lines.String(), "no user can log in"); got == users {
			t.Errorf("users %t: got a warning: %t, want %t", users, got, !users)
		}
	}
}

// TestPlain465: a client at port 465 begins with TLS, and would wait for the answer.
func TestPlain465(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.89:465")
	if err != nil {
		t.Skipf("port 465 can't be listened at here: %v", err)
	}
	r := &Relay{Hostname: "relay.test", Queue: mem.New(), TLSConfig: new(tls.Config),
		Authenticate: func(context.Context, *server.Peer, string, string) error { return nil }}
	if err := r.Serve(t.Context(), SubmissionListener(l)); err == nil || !strings.Contains(err.Error(), "NewTLSListener") {
		t.Errorf("got %v, want an error that names NewTLSListener", err)
	}
}

// TestServeTwice: a second Serve says that one is enough, and leaves the first alone.
func TestServeTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &Relay{Hostname: "relay.test", Queue: mem.New()}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- r.Run(ctx) }()
		synctest.Wait()
		if err := r.Serve(ctx); err == nil || !strings.Contains(err.Error(), "pass all listeners to one Serve") {
			t.Errorf("got %v, want an error that says what to do", err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the first: got %v, want no error", err)
		}
	})
}

// TestPorts: ListenAndServe knows the submission ports.
func TestPorts(t *testing.T) {
	inet := smtptest.NewNetwork(t)
	r := &Relay{Hostname: "relay.test", Queue: mem.New(), TLSConfig: &tls.Config{Certificates: []tls.Certificate{inet.Certificate("relay.test")}}}
	if err := r.init(); err != nil {
		t.Fatal(err)
	}
	for port, want := range map[string]string{"0": "*net.TCPListener", "587": "submission *net.TCPListener", "465": "submission *tls.listener"} {
		l, err := r.listen(t.Context(), "127.0.0.87:"+port)
		if errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EADDRINUSE) {
			t.Skipf("port %s can't be listened at here: %v", port, err)
		}
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprintf("%T", l)
		l.Close()
		if s, ok := l.(roleListener); ok {
			got = fmt.Sprintf("submission %T", s.Listener)
		}
		if got != want {
			t.Errorf("port %s: got %s, want %s", port, got, want)
		}
	}
	r = &Relay{Hostname: "relay.test", Queue: mem.New()}
	if err := r.ListenAndServe(t.Context(), "127.0.0.87:465"); err == nil || !strings.Contains(err.Error(), "TLSConfig") {
		t.Errorf("port 465 without a certificate: got %v, want an error about TLSConfig", err)
	}
}

// TestOperateByDomain: Flush and Suspend take a domain, also one behind a smarthost, and show that a misspelt one
// matches nothing.
func TestOperateByDomain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.Host("smart.test")
		host.Defer(time.Minute, smtp.NewReply(451, "4.3.0", ""))
		smart, err := mx.Smarthost("smart.test:25")
		if err != nil {
			t.Fatal(err)
		}
		r := newRelay(inet)
		r.Routes = map[string]mx.Route{"*": smart, "other.test": mx.Discard()}
		inet.Go(r.Run)
		mustSend(t, r, "ann@source.test", "bob@next.test")
		synctest.Wait()
		for domain, want := range map[string]int{"next.test": 1, "other.test": 0} {
			if n, err := r.Suspend(t.Context(), domain, time.Now().Add(time.Hour)); n != want || err != nil {
				t.Errorf("Suspend(%q): got %d and %v, want %d", domain, n, err, want)
			}
		}
		if _, err := r.Suspend(t.Context(), "no domain", time.Now().Add(time.Hour)); err == nil {
			t.Error("Suspend of no domain: got no error")
		}
		time.Sleep(30 * time.Minute)
		if n := len(host.Messages()); n != 0 {
			t.Errorf("got %d messages while suspended, want 0", n)
		}
		if n, err := r.Suspend(t.Context(), "next.test", time.Now()); n != 1 || err != nil {
			t.Errorf("Suspend that ends it: got %d and %v, want 1", n, err)
		}
		host.Wait(1)

		host.Defer(time.Minute, smtp.NewReply(451, "4.3.0", ""))
		mustSend(t, r, "ann@source.test", "bob@next.test")
		time.Sleep(2 * time.Minute)
		begin := time.Now()
		for domain, want := range map[string]int{"next.test": 1, "other.test": 0} {
			if n, err := r.Flush(t.Context(), domain); n != want || err != nil {
				t.Errorf("Flush(%q): got %d and %v, want %d", domain, n, err, want)
			}
		}
		host.Wait(2)
		if took := time.Since(begin); took > time.Second {
			t.Errorf("got it %v after the Flush, want it at once", took)
		}
	})
	type bare struct{ queue.Queue } // no abilities
	r := &Relay{Hostname: "relay.test", Queue: bare{mem.New()}}
	if _, err := r.Flush(t.Context(), "next.test"); err == nil {
		t.Error("Flush of a Queue that can't: got no error")
	}
}

// TestLimits: the limits of a domain hold for its hosts, whichever domain's mail goes there, and for no other hosts.
func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		shared, free := inet.MX("big.test", "mx.big.test"), inet.MX("free.test", "mx.free.test")
		inet.MX("guest.test", "mx.big.test")
		for _, h := range []*smtptest.Host{shared, free} {
			h.Slow(time.Second)
		}
		r := newRelay(inet)
		r.Limits = map[string]delivery.SiteLimits{"BIG.test": {Concurrency: 1}}
		for i := range 5 {
			for _, domain := range []string{"guest.test", "big.test", "free.test"} {
				mustSend(t, r, "ann@source.test", fmt.Sprintf("bob%d@%s", i, domain))
			}
		}
		inet.Go(r.Run)
		shared.Wait(10)
		free.Wait(5)
		if n, m := shared.MostSessions(), free.MostSessions(); n != 1 || m < 2 {
			t.Errorf("got %d sessions at the limited hosts and %d at the others, want 1 and more", n, m)
		}
	})
}

// TestLimitsDNS: the domains of Limits whose DNS is dead delay other mail by one time-out, not by one each.
func TestLimitsDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("free.test", "mx.free.test")
		r := newRelay(inet)
		r.Limits = make(map[string]delivery.SiteLimits)
		for i := range 10 {
			domain := fmt.Sprintf("dead%d.test", i)
			inet.FailDNS(domain, smtptest.DNSTimeout)
			r.Limits[domain] = delivery.SiteLimits{Concurrency: 1}
		}
		begin := time.Now()
		mustSend(t, r, "ann@source.test", "bob@free.test")
		inet.Go(r.Run)
		host.Wait(1)
		if took := time.Since(begin); took > 15*time.Second {
			t.Errorf("the mail took %v, want about 10 s", took)
		}
	})
}
