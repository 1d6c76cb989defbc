package oauth

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// host is a submission server that takes one token at a time.
type host struct {
	mu    sync.Mutex
	good  string
	asked []string
	mail  int
}

func (h *host) set(good string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.good = good
}

func (h *host) check(_ context.Context, _ *server.Peer, user, token string) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, token)
	if token != h.good {
		return "", smtp.NewReply(535, "5.7.8", "the token is refused")
	}
	return user, nil
}

func (h *host) Handle(_ context.Context, _ *server.Peer, _ *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
	_, err := io.Copy(io.Discard, body)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mail++
	return nil, err
}

// took returns the tokens that the host was shown since the last call, and its mail so far.
func (h *host) took() (asked string, mail int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	asked = strings.Join(h.asked, " ")
	h.asked = nil
	return asked, h.mail
}

// TestHost: a host takes the token by either mechanism. A token that it refuses is replaced once and at once, a new one
// isn't, and no log has a token.
func TestHost(t *testing.T) {
	for _, mechanism := range []string{"XOAUTH2", "OAUTHBEARER"} {
		t.Run(mechanism, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				l, err := inet.Listen("smtp.example:587")
				if err != nil {
					t.Fatal(err)
				}
				h := &host{good: "token-1"}
				var log bytes.Buffer
				logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
				srv := &server.Server{
					Hostname: "smtp.example", Handler: h, CheckToken: h.check, RequireAuth: true,
					TLSConfig: &tls.Config{Certificates: []tls.Certificate{inet.Certificate("smtp.example")}},
				}
				inet.Go(func(ctx context.Context) error {
					if err := srv.Serve(ctx, l); ctx.Err() == nil {
						return err
					}
					return nil
				})
				a := &answers{answer: tokens}
				source := newSource(a)
				sub := &client.Submission{
					Addr: "smtp.example:587", Resolver: inet, DialContext: inet.DialContext,
					TLSConfig: &tls.Config{RootCAs: inet.RootCAs()},
					Auth:      &client.Credentials{Username: "ann", Token: source.Token, Mechanisms: []string{mechanism}},
				}
				defer sub.Close()
				sender := source.Wrap(sub)
				send := func(tokens string, mail int) {
					t.Helper()
					results, err := sender.Send(t.Context(), smtp.NewEnvelope("a@example.com", "b@example.net"), smtp.Text("A: b\n\n"))
					asked, took := h.took()
					if asked != tokens || took != mail || (err == nil) != (mail > 0 && results[0].Outcome == smtp.Delivered) {
						t.Errorf("got tokens %q, %d mails, %v %v, want %q and %d", asked, took, results, err, tokens, mail)
					}
					logger.Info("sent", "results", results, "error", err, "source", source)
					time.Sleep(20 * time.Minute) // the session ends
				}
				send("token-1", 1)
				h.set("token-2")
				send("token-1 token-2", 2) // revoked: replaced in the same Send
				send("token-2", 3)
				h.set("none")
				send("token-2 token-3", 3) // the new one is refused, too: once only
				if n := a.count(); n != 3 {
					t.Errorf("got %d fetches, want 3", n)
				}
				for _, secret := range []string{"token-1", "token-2", "token-3", "secret"} {
					if strings.Contains(log.String(), secret) {
						t.Errorf("the log has %s:\n%s", secret, log.String())
					}
				}
			})
		})
	}
}

// TestPlainRefusal: a host that answers 535 without a challenge, as Microsoft's do, is asked once more.
func TestPlainRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		h := inet.Host("smtp.example")
		h.Offer("AUTH XOAUTH2")
		h.Refuse("AUTH XOAUTH2", smtp.NewReply(535, "5.7.3", "Authentication unsuccessful"))
		a := &answers{answer: tokens}
		source := newSource(a)
		sub := &client.Submission{
			Addr: "smtp.example:25", Resolver: inet, DialContext: inet.DialContext, TLSConfig: &tls.Config{RootCAs: inet.RootCAs()},
			Auth: &client.Credentials{Username: "ann", Token: source.Token},
		}
		defer sub.Close()
		source.Token(t.Context())
		time.Sleep(10 * time.Minute)
		results, err := source.Wrap(sub).Send(t.Context(), smtp.NewEnvelope("a@example.com", "b@example.net"), smtp.Text("A: b\n\n"))
		if err == nil || results[0].Outcome != smtp.Deferred || results[0].Reply.Code != 535 {
			t.Errorf("got %v, %v, want Deferred by 535", results, err)
		}
		if n, auths := a.count(), strings.Count(h.Transcript(), "535 5.7.3"); n != 2 || auths != 2 {
			t.Errorf("got %d fetches and %d refusals, want 2 and 2:\n%s", n, auths, h.Transcript())
		}
	})
}

// TestFresh: a token younger than a minute isn't replaced, so that a host that refuses all tokens costs no fetch for
// each message.
func TestFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &answers{answer: tokens}
		source := newSource(a)
		sends := 0
		sender := source.Wrap(smtp.SenderFunc(func(ctx context.Context, env *smtp.Envelope, _ smtp.Content) ([]smtp.Result, error) {
			sends++
			if _, err := source.Token(ctx); err != nil {
				return nil, err
			}
			r := smtp.NewReply(535, "5.7.3", "no")
			return []smtp.Result{{Outcome: smtp.Deferred, Stage: smtp.StageAuth, Reply: r}}, r
		}))
		for range 60 {
			sender.Send(t.Context(), nil, nil)
			time.Sleep(time.Second)
		}
		if n := a.count(); n > 2 || sends > 61 {
			t.Errorf("got %d fetches and %d sends in a minute, want 1 and 60", n, sends)
		}
	})
}

// TestWrapTogether: 50 Sends whose token is refused replace it once, and each sends once more.
func TestWrapTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &answers{answer: tokens}
		source := newSource(a)
		var calls atomic.Int32
		sender := source.Wrap(smtp.SenderFunc(func(ctx context.Context, env *smtp.Envelope, _ smtp.Content) ([]smtp.Result, error) {
			token, err := source.Token(ctx)
			n := calls.Add(1)
			time.Sleep(time.Duration(n%3) * 10 * time.Second) // some are told after the token was replaced
			if err == nil && token == "token-1" {
				r := smtp.NewReply(535, "5.7.3", "no")
				return []smtp.Result{{Outcome: smtp.Deferred, Stage: smtp.StageAuth, Reply: r}}, r
			}
			return nil, err
		}))
		source.Token(t.Context())
		time.Sleep(30 * time.Minute)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := sender.Send(t.Context(), nil, nil); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := a.count(); n != 2 {
			t.Errorf("got %d fetches, want 2", n)
		}
	})
}

// TestWrapLeaves: a result that isn't about the token is passed on.
func TestWrapLeaves(t *testing.T) {
	refused := smtp.Result{Outcome: smtp.Deferred, Stage: smtp.StageAuth, Reply: smtp.NewReply(535, "5.7.3", "no")}
	for name, results := range map[string][]smtp.Result{
		"none":       nil,
		"delivered":  {{Outcome: smtp.Delivered, Stage: smtp.StageFinal, Reply: smtp.NewReply(250, "", "")}},
		"one of two": {refused, {Outcome: smtp.Rejected, Stage: smtp.StageRcpt, Reply: smtp.NewReply(550, "5.1.1", "")}},
		"454":        {{Outcome: smtp.Deferred, Stage: smtp.StageAuth, Reply: smtp.NewReply(454, "4.7.0", "")}},
		"no reply":   {{Outcome: smtp.Deferred, Stage: smtp.StageAuth}},
		"535 later":  {{Outcome: smtp.Rejected, Stage: smtp.StageMail, Reply: smtp.NewReply(535, "5.7.3", "no")}},
		"unknown":    {{Outcome: smtp.Unknown, Stage: smtp.StageAuth, Reply: refused.Reply}},
	} {
		source := &Source{token: "old", version: 1}
		sends := 0
		source.Wrap(smtp.SenderFunc(func(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) {
			sends++
			return results, fmt.Errorf("x")
		})).Send(t.Context(), nil, nil)
		if sends != 1 || source.token != "old" {
			t.Errorf("%s: got %d sends and token %q, want 1 and the old one", name, sends, source.token)
		}
	}
	var none *Source
	none.Wrap(smtp.SenderFunc(func(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) {
		return []smtp.Result{refused}, refused.Reply
	})).Send(t.Context(), nil, nil)
}
