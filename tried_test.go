package postrider

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// TestTried: an operator sees each host that a waiting mail was offered to, and why it waits.
func TestTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		inet.MX("next.test", "mx1.next.test").Down()
		second := inet.MX("next.test", "mx2.next.test")
		second.Greylist(10 * time.Minute)
		r := newRelay(inet)
		var tries []string
		r.Transport = &client.Transport{Tried: func(ctx context.Context, tried client.Try) {
			job, _ := smtp.JobOf(ctx)
			what := "no transaction"
			if tried.Err == nil {
				what = tried.Results[0].Outcome.String()
			}
			tries = append(tries, fmt.Sprintf("%s %s %s", job.ID, tried.Session.Host, what))
		}}
		inet.Go(r.Run)
		id := mustSend(t, r, "ann@source.test", "bob@next.test")
		second.Wait(1)
		synctest.Wait()
		got := strings.Join(tries, "\n")
		want := strings.ReplaceAll("ID mx1.next.test no transaction\nID mx2.next.test deferred\n", "ID", string(id))
		last := fmt.Sprintf("%s mx2.next.test delivered", id)
		if !strings.HasPrefix(got, want) || !strings.HasSuffix(got, last) {
			t.Errorf("got\n%s\nwant it to begin with\n%sand to end in\n%s", got, want, last)
		}
	})
}

// TestOnlookersPanic: what only looks on can't have a message sent twice, nor end the process.
func TestOnlookersPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("next.test", "mx.next.test")
		var log bytes.Buffer
		r := newRelay(inet)
		r.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelError}))
		r.Transport = &client.Transport{
			Tried: func(context.Context, client.Try) { panic("Tried") },
			Trace: &client.Trace{
				Opened:   func(client.SessionInfo) { panic("Opened") },
				Secured:  func(client.SessionInfo, tls.ConnectionState) { panic("Secured") },
				Sent:     func(client.SessionInfo, string) { panic("Sent") },
				Content:  func(client.SessionInfo, int) { panic("Content") },
				Received: func(client.SessionInfo, *smtp.Reply) { panic("Received") },
				Broken:   func(client.SessionInfo, error) { panic("Broken") },
				Closed:   func(client.SessionInfo) { panic("Closed") },
			},
		}
		inet.Go(r.Run)
		mustSend(t, r, "ann@source.test", "bob@next.test")
		host.Wait(1)
		time.Sleep(24 * time.Hour)
		host.CloseAt(smtp.StageGreeting)
		mustSend(t, r, "ann@source.test", "bob@next.test")
		time.Sleep(time.Minute)
		host.Heal()
		time.Sleep(24 * time.Hour)
		if n, left := len(host.Messages()), queued(t, r); n != 2 || left != 0 {
			t.Errorf("got %d messages, and %d in the queue, want 2 and 0", n, left)
		}
		for _, who := range []string{"Tried", "Opened", "Secured", "Sent", "Content", "Received", "Broken", "Closed"} {
			if !strings.Contains(log.String(), "panic="+who) {
				t.Errorf("the panic of %s isn't logged", who)
			}
		}
	})
}

// TestSources: a greylisted mail comes again from the same address, and one that is on a blocklist is left out, seen in
// what the relay's operator can ask for.
func TestSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("next.test", "mx.next.test")
		host.Greylist(10 * time.Minute)
		r := newRelay(inet)
		a, b := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")
		r.Transport = &client.Transport{Sources: []client.Source{{Addrs: []netip.Addr{a}, Hostname: "out1.relay.test"}, {Addrs: []netip.Addr{b}, Hostname: "out2.relay.test"}}}
		counted := make(map[string]bool)
		r.Runner = &delivery.Runner{SourceFor: func(name string) delivery.Rate {
			counted[name] = true
			return delivery.Rate{}
		}}
		var dialled []netip.Addr
		r.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			dialled = append(dialled, client.SourceAddr(ctx))
			return inet.DialContext(ctx, network, addr)
		}
		inet.Go(r.Run)
		mustSend(t, r, "ann@source.test", "bob@next.test")
		first := host.Wait(1)[0]
		if len(dialled) < 2 || !dialled[0].IsValid() || dialled[len(dialled)-1] != dialled[0] {
			t.Errorf("dialled from %v, want one address all the time", dialled)
		}
		if !counted[dialled[0].String()] {
			t.Errorf("got limits asked for %v, want for %v too", counted, dialled[0])
		}
		r.Transport.Block(client.Block{Site: "mx.next.test", SourceAddr: dialled[0], Until: time.Now().Add(time.Hour)})
		if blocks := r.Transport.Blocks(); len(blocks) != 1 || blocks[0].Site != "mx.next.test" {
			t.Errorf("got %+v", blocks)
		}
		mustSend(t, r, "ann@source.test", "bob@next.test")
		second := host.Wait(2)[1]
		if first.Hello == second.Hello || !strings.HasSuffix(second.Hello, ".relay.test") {
			t.Errorf("got EHLO %s and then %s, want the other's", first.Hello, second.Hello)
		}
	})
}

func TestSourcesFault(t *testing.T) {
	r := newRelay(smtptest.NewNetwork(t))
	r.Transport = &client.Transport{Sources: []client.Source{{}}}
	if err := r.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "Sources") {
		t.Errorf("got %v, want an error about Sources", err)
	}
}

// TestFuncRoute: mail for a func is delivered, with Return-Path on top, and reported as such.
func TestFuncRoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		sender := inet.MX("source.test", "mx.source.test")
		r := newRelay(inet)
		var box []string
		r.Routes = map[string]mx.Route{"app.test": mx.Func("app", func(_ context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
			b, err := io.ReadAll(smtp.NewReader(c))
			box = append(box, string(b))
			return nil, err
		})}
		inet.Go(r.Run)
		env := smtp.NewEnvelope("ann@source.test", "box@app.test")
		env.Recipients[0].Notify = smtp.NotifySuccess
		if _, err := r.Send(t.Context(), env, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		report := sender.Wait(1)[0]
		if !strings.Contains(string(report.Data), "\r\nAction: delivered\r\n") {
			t.Errorf("got\n%s\nwant a report of delivery", report.Data)
		}
		if len(box) != 1 || !strings.HasPrefix(box[0], "Return-Path: <ann@source.test>\r\nReceived: ") {
			t.Errorf("got %q, want one mail with Return-Path and Received on top", box)
		}
	})
}

// TestFuncError: what the func of a route fails with isn't for others, and so not in the result. The operator hears it.
func TestFuncError(t *testing.T) {
	for _, tt := range []struct {
		name    string
		results []smtp.Result
		err     error
		want    string
	}{
		{"error", nil, errors.New("the table is full"), "the table is full"},
		{"too many results", make([]smtp.Result, 7), nil, "got 7 results for 1 recipients"},
		{"no results, which isn't nil", []smtp.Result{}, nil, "got 0 results for 1 recipients"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRelay(smtptest.NewNetwork(t))
				var log bytes.Buffer
				r.Logger = slog.New(slog.NewTextHandler(&log, nil))
				tried := make(chan error, 1)
				r.Transport = &client.Transport{Tried: func(_ context.Context, x client.Try) { tried <- x.Err }}
				r.Routes = map[string]mx.Route{"app.test": mx.Func("app", func(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) {
					return tt.results, tt.err
				})}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- r.Run(ctx) }()
				mustSend(t, r, "ann@source.test", "bob@app.test")
				if err := <-tried; err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("Tried: got %v, want %q", err, tt.want)
				}
				cancel()
				if err := <-done; err != nil || !strings.Contains(log.String(), tt.want) {
					t.Errorf("got %v, and in the log\n%s\nwant %q", err, &log, tt.want)
				}
			})
		})
	}
}
