package postrider

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// TestStrangersReport: what a forged sender gets back, and what a known one does.
func TestStrangersReport(t *testing.T) {
	for _, tt := range []struct {
		name   string
		peer   *server.Peer // nil: from code
		whole  bool
		report string // on success
	}{
		{"a stranger", &server.Peer{ID: "abc"}, false, ""},
		{"an allowed client", &server.Peer{ID: "abc", Allowed: true}, true, "relayed"},
		{"a user", &server.Peer{ID: "abc", Username: "ann"}, true, "relayed"},
		{"code", nil, true, "relayed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				sender := inet.MX("source.test", "mx.source.test")
				host := inet.MX("next.test", "mx.next.test")
				host.Without("DSN")
				host.Refuse("bad@next.test", smtp.NewReply(550, "5.1.1", "no such user at backend.internal"))
				r := newRelay(inet)
				inet.Go(r.Run)
				env := smtp.NewEnvelope("ann@source.test", "bad@next.test", "good@next.test")
				env.Ret = smtp.RetFull
				for i := range env.Recipients {
					env.Recipients[i].Notify = smtp.NotifySuccess | smtp.NotifyFailure
				}
				var err error
				if tt.peer == nil {
					_, err = r.Send(t.Context(), env, strings.NewReader(text))
				} else {
					err = handle(t, r, tt.peer, env, text)
				}
				if err != nil {
					t.Fatal(err)
				}
				got := string(sender.Wait(1)[0].Data)
				if has := strings.Contains(got, "message/rfc822"); has != tt.whole {
					t.Errorf("got the whole message back: %t, want %t", has, tt.whole)
				}
				if has := strings.Contains(got, "backend.internal") && strings.Contains(got, "mx.next.test"); has != tt.whole {
					t.Errorf("got the inside names: %t, want %t:\n%s", has, tt.whole, got)
				}
				if has := strings.Contains(got, "Action: relayed"); has != (tt.report != "") {
					t.Errorf("got a success report: %t, want %t", has, tt.report != "")
				}
			})
		})
	}
}

// handle passes a message to the relay as a server does.
func handle(t *testing.T, r *Relay, p *server.Peer, env *smtp.Envelope, body string) error {
	t.Helper()
	h, err := r.Handler()
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.Handle(t.Context(), p, env, smtp.CRLFReader(strings.NewReader(body)))
	return err
}

// TestStrangersAlias: a stranger doesn't learn who is behind an alias, or who the postmaster is.
func TestStrangersAlias(t *testing.T) {
	for _, tt := range []struct {
		name, to, orcpt string
		peer            *server.Peer
		known           string // the final recipient in the report
		reports         int    // on recipients
	}{
		{"a stranger", "info@ours.test", "", &server.Peer{ID: "abc"}, "info@ours.test", 1},
		{"with an ORCPT", "info@ours.test", "rfc822;else@source.test", &server.Peer{ID: "abc"}, "info@ours.test", 1},
		{"postmaster", "postmaster", "", &server.Peer{ID: "abc"}, "postmaster", 1},
		{"no alias", "bob@ours.test", "rfc822;else@source.test", &server.Peer{ID: "abc"}, "bob@ours.test", 1},
		{"a user", "info@ours.test", "", &server.Peer{ID: "abc", Username: "ann"}, "secret-a@inner.test", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				sender := inet.MX("source.test", "mx.source.test")
				no := smtp.NewReply(550, "5.1.1", "no such user")
				inner, ours := inet.MX("inner.test", "mx.inner.test"), inet.MX("ours.test", "mx.ours.test")
				for _, address := range []string{"secret-a@inner.test", "secret-b@inner.test"} {
					inner.Refuse(address, no)
				}
				ours.Refuse("bob@ours.test", no)
				r := newRelay(inet)
				r.Domains, r.Postmaster = []string{"ours.test"}, "secret-a@inner.test"
				r.Expand = func(_ context.Context, rcpt smtp.Recipient) ([]string, error) {
					if rcpt.Address == "info@ours.test" {
						return []string{"secret-a@inner.test", "secret-b@inner.test"}, nil
					}
					return nil, nil
				}
				inet.Go(r.Run)
				env := smtp.NewEnvelope("ann@source.test", tt.to)
				env.Recipients[0].ORCPT = tt.orcpt
				if err := handle(t, r, tt.peer, env, text); err != nil {
					t.Fatal(err)
				}
				got := string(sender.Wait(1)[0].Data)
				if !strings.Contains(got, "Final-Recipient: rfc822; "+tt.known+"\r\n") {
					t.Errorf("got no final recipient %s:\n%s", tt.known, got)
				}
				if n := strings.Count(got, "Final-Recipient:"); n != tt.reports {
					t.Errorf("got reports on %d recipients, want %d", n, tt.reports)
				}
				if tt.peer.Username == "" && strings.Contains(got, "secret") {
					t.Errorf("got the members:\n%s", got)
				}
			})
		})
	}
}

// TestForgedResults: an Authentication-Results field that claims to be ours is removed from mail of clients.
func TestForgedResults(t *testing.T) {
	const forged, other = "Authentication-Results: relay.test; spf=pass\r\n", "Authentication-Results: mx.other; spf=pass\r\n"
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("next.test", "mx.next.test")
		r := newRelay(inet)
		inet.Go(r.Run)
		env := smtp.NewEnvelope("ann@source.test", "bob@next.test")
		if err := handle(t, r, &server.Peer{ID: "abc"}, env, forged+other+"Subject: hi\r\n\r\n"+forged); err != nil {
			t.Fatal(err)
		}
		got := string(host.Wait(1)[0].Data)
		if want := other + "Subject: hi\r\n\r\n" + forged; !strings.HasSuffix(got, want) || strings.Count(got, forged) != 1 {
			t.Errorf("got %q, want it to end in %q", got, want)
		}
	})
}

// TestForgedResultsElsewhere: they are removed as well if the Handler belongs to a server with another name, and checks.
func TestForgedResultsElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("next.test", "mx.next.test")
		r := newRelay(inet)
		r.Domains = []string{"next.test"}
		inet.Go(r.Run)
		h, err := r.Handler()
		if err != nil {
			t.Fatal(err)
		}
		l, err := inet.Listen("front.test:25")
		if err != nil {
			t.Fatal(err)
		}
		const told = "Authentication-Results: front.test; none"
		config := &tls.Config{Certificates: []tls.Certificate{inet.Certificate("front.test")}}
		srv := &server.Server{Hostname: "front.test", TLSConfig: config, Handler: h, Checks: []server.Check{{
			Name: "c", Mail: func(_ context.Context, s *server.Session) error {
				s.AddField(server.Field{Name: "Authentication-Results", Value: " front.test; none"})
				return nil
			},
		}}}
		inet.Go(func(ctx context.Context) error { return srv.Serve(ctx, l) })
		sub := submission(inet)
		sub.Addr = "front.test:25"
		const forged = "Authentication-Results: relay.test; spf=pass\n"
		env := smtp.NewEnvelope("ann@source.test", "bob@next.test")
		if _, err := sub.Send(t.Context(), env, smtp.Text(forged+"Subject: hi\n\nhi\n")); err != nil {
			t.Fatal(err)
		}
		got := string(host.Wait(1)[0].Data)
		if strings.Contains(got, "spf=pass") || !strings.Contains(got, told) {
			t.Errorf("got %q, want it without the forged results, and with those of the check", got)
		}
	})
}

// TestHideUsers: Received doesn't name the client of a user.
func TestHideUsers(t *testing.T) {
	for _, hide := range []bool{false, true} {
		for _, username := range []string{"", "ann"} {
			t.Run(fmt.Sprintf("%t %q", hide, username), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					inet := smtptest.NewNetwork(t)
					host := inet.MX("next.test", "mx.next.test")
					r := newRelay(inet)
					r.HideUsers = hide
					inet.Go(r.Run)
					conn, err := inet.DialContext(t.Context(), "tcp", "mx.next.test:25")
					if err != nil {
						t.Fatal(err)
					}
					defer conn.Close()
					p := &server.Peer{ID: "abc", Hello: "laptop", Username: username, RemoteAddr: conn.RemoteAddr()}
					if err := handle(t, r, p, smtp.NewEnvelope("", "bob@next.test"), text); err != nil {
						t.Fatal(err)
					}
					got := string(host.Wait(1)[0].Data)
					if named := strings.Contains(got, "laptop"); named == (hide && username != "") {
						t.Errorf("got the client named: %t:\n%s", named, got)
					}
				})
			})
		}
	}
}

// TestPostmasterLoops: mail for a postmaster whose host we are is refused at RCPT. To set such a Postmaster is an error.
func TestPostmasterLoops(t *testing.T) {
	inet := smtptest.NewNetwork(t)
	inet.MX("relay.test", "relay.test")
	inet.MX("here.test", "relay.test")
	inet.MX("far.test", "mx.far.test")
	for _, tt := range []struct {
		postmaster string
		domains    []string
		ok         bool
	}{
		{"postmaster@relay.test", nil, false},
		{"pm@here.test", []string{"here.test"}, false},
		{"pm@far.test", nil, true},
	} {
		r := newRelay(inet)
		r.Postmaster, r.Domains = tt.postmaster, tt.domains
		if err := r.Check(t.Context()); (err == nil) != tt.ok || err != nil && !strings.Contains(err.Error(), "Postmaster") {
			t.Errorf("%s: got %v from Check, want an error: %t", tt.postmaster, err, !tt.ok)
		}
		for _, address := range []string{"postmaster", "postmaster@relay.test"} {
			err := checkRcpt(t, r, &server.Peer{}, smtp.Recipient{Address: address})
			reply, refused := errors.AsType[*smtp.Reply](err)
			if refused == tt.ok || refused && reply.Enhanced != (smtp.EnhancedCode{5, 4, 6}) {
				t.Errorf("%s for %s: got %v, want 5.4.6: %t", address, tt.postmaster, err, !tt.ok)
			}
		}
	}
	r := newRelay(inet)
	boxes, err := mx.LMTP("/run/lmtp")
	if err != nil {
		t.Fatal(err)
	}
	r.Postmaster, r.Routes = "postmaster@relay.test", map[string]mx.Route{"relay.test": boxes}
	if err := r.Check(t.Context()); err != nil {
		t.Errorf("with a route: got %v, want none", err)
	}
}
