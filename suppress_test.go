package postrider

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/bounce"
	"github.com/postrider/postrider/bounce/suppress"
	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// suppressAddress adds an entry of an operator.
func suppressAddress(t *testing.T, list suppress.List, tenant, address string) {
	t.Helper()
	k, err := suppress.KeyOf(tenant, address)
	if err == nil {
		err = list.Add(t.Context(), suppress.Entry{Key: k, Time: time.Now()})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestSuppress: a host refuses a recipient, to whom nothing more is sent.
func TestSuppress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("next.test", "mx.next.test")
		host.Reject("nobody@next.test", smtp.NewReply(550, "5.1.1", "no such user"))
		inet.MX("source.test", "mx.source.test") // for the reports
		r, list := newRelay(inet), new(suppress.Memory)
		r.Suppress = &suppress.Policy{List: list, ByTenant: true}
		var rejected []smtp.Result
		r.Events.Rejected = func(e delivery.Event) { rejected = append(rejected, e.Result) }
		inet.Go(r.Run)
		if err := r.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustSend(t, r, "ann@source.test", "nobody@next.test", "bob@next.test")
		host.Wait(1)
		synctest.Wait()
		if e, err := r.Suppress.Find(t.Context(), "", "nobody@next.test"); err != nil || e == nil {
			t.Fatalf("got %+v and %v, want it suppressed", e, err)
		}

		env := smtp.NewEnvelope("ann@source.test", "bob@next.test", "nobody@next.test")
		_, err := r.Send(t.Context(), env, strings.NewReader(text))
		reply, _ := errors.AsType[*smtp.Reply](err)
		if reply == nil || reply.Code != 550 || reply.Enhanced != (smtp.EnhancedCode{5, 7, 1}) || !strings.Contains(err.Error(), "recipient nobody@next.test: ") {
			t.Errorf("Send: got %v, want 550 5.7.1 for nobody", err)
		}
		// A report, and mail of another tenant, if the entry isn't for all.
		mustSend(t, r, "", "nobody@next.test")
		suppressAddress(t, list, "acme", "bob@next.test")
		for tenant, want := range map[string]bool{"acme": false, "other": true} {
			m, err := r.Prepare(t.Context(), smtp.NewEnvelope("ann@source.test", "bob@next.test"), strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			m.Tenant = tenant
			if _, err := r.Enqueue(t.Context(), m); (err == nil) != want {
				t.Errorf("Enqueue of tenant %s: got %v, want it stored: %t", tenant, err, want)
			}
		}
		host.Wait(2)
		synctest.Wait()
		rejected = nil

		// Suppressed after the message was queued.
		host.Defer(time.Hour, nil)
		mustSend(t, r, "ann@source.test", "carl@next.test", "bob@next.test")
		synctest.Wait()
		suppressAddress(t, list, "", "carl@next.test")
		for _, m := range host.Wait(3) {
			for _, to := range m.Envelope.Recipients {
				if to.Address == "carl@next.test" {
					t.Error("carl got the mail")
				}
			}
		}
		synctest.Wait()
		if len(rejected) != 1 || rejected[0].Recipient != "carl@next.test" || !rejected[0].Local || rejected[0].Reason != smtp.Other ||
			!strings.Contains(rejected[0].Reply.Text, "suppressed since 2000-01-01 (manual)") {
			t.Errorf("got %+v, want carl rejected by the list", rejected)
		}
	})
}

// brokenList is a List that fails.
type brokenList struct{ *suppress.Memory }

func (brokenList) Has(context.Context, suppress.Key) (suppress.Entry, bool, error) {
	return suppress.Entry{}, false, errors.New("the database is down")
}

// TestSuppressRcpt has clients name a recipient who is suppressed.
func TestSuppressRcpt(t *testing.T) {
	for _, test := range []struct {
		name    string
		allowed bool
		from    string
		broken  bool
		want    int
	}{
		{"allowed", true, "ann@source.test", false, 550},
		{"a report of one who is allowed", true, "", false, 250},
		{"a stranger", false, "ann@source.test", false, 250},
		{"the list fails", true, "ann@source.test", true, 451},
		{"the list fails, a stranger", false, "ann@source.test", true, 250},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				inet.MX("next.test", "mx.next.test")
				r, list := newRelay(inet), new(suppress.Memory)
				r.Suppress = &suppress.Policy{List: list}
				if test.broken {
					r.Suppress.List = brokenList{list}
				}
				suppressAddress(t, list, "", "bob@next.test")
				r.Domains = []string{"next.test"}
				if test.allowed {
					r.Allow = AllowNetworks(netip.MustParsePrefix("0.0.0.0/0"))
				}
				l, err := inet.Listen("relay.test:25")
				if err != nil {
					t.Fatal(err)
				}
				inet.Go(func(ctx context.Context) error { return r.Serve(ctx, l) })
				sub := &client.Submission{LeaveIncomplete: true, Addr: "relay.test:25", TLS: mx.TLSNone, Resolver: inet, DialContext: inet.DialContext}
				defer sub.Close()
				results, err := sub.Send(t.Context(), smtp.NewEnvelope(test.from, "bob@next.test"), smtp.Text(text))
				if len(results) != 1 || results[0].Reply.Code != test.want {
					t.Errorf("got %+v and %v, want %d", results, err, test.want)
				}
			})
		})
	}
}

// TestSuppressRcptTenant: RCPT asks for the Tenant that the message will have.
func TestSuppressRcptTenant(t *testing.T) {
	for _, test := range []struct {
		name, entry string // entry is the Tenant of the entry for bob
		byTenant    bool
		tenant      string // that TenantOf returns; if empty, TenantOf is nil
		want        int
	}{
		{"its own", "acme", true, "acme", 550},
		{"another one's", "acme", true, "other", 250},
		{"for all", "", true, "acme", 550},
		{"no TenantOf", "acme", true, "", 250},
		{"not by tenant", "", false, "acme", 550},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				inet.MX("next.test", "mx.next.test")
				r, list := newRelay(inet), new(suppress.Memory)
				r.Suppress = &suppress.Policy{List: list, ByTenant: test.byTenant}
				r.Allow = AllowNetworks(netip.MustParsePrefix("0.0.0.0/0"))
				asked := 0
				if test.tenant != "" {
					r.TenantOf = func(_ context.Context, _ *server.Peer, env *smtp.Envelope) (tenant, ref string) {
						if asked++; env.From != "ann@source.test" || len(env.Recipients) != 1 || env.Recipients[0].Address != "bob@next.test" {
							t.Errorf("TenantOf got %+v", env)
						}
						return test.tenant, ""
					}
				}
				suppressAddress(t, list, test.entry, "bob@next.test")
				l, err := inet.Listen("relay.test:25")
				if err != nil {
					t.Fatal(err)
				}
				inet.Go(func(ctx context.Context) error { return r.Serve(ctx, l) })
				sub := &client.Submission{LeaveIncomplete: true, Addr: "relay.test:25", TLS: mx.TLSNone, Resolver: inet, DialContext: inet.DialContext}
				defer sub.Close()
				results, err := sub.Send(t.Context(), smtp.NewEnvelope("ann@source.test", "bob@next.test"), smtp.Text(text))
				if len(results) != 1 || results[0].Reply.Code != test.want {
					t.Errorf("got %+v and %v, want %d", results, err, test.want)
				}
				if !test.byTenant && asked != 0 {
					t.Errorf("TenantOf was called %d times for a refused RCPT, want 0", asked)
				}
			})
		})
	}
}

func TestSuppressCheck(t *testing.T) {
	r := newRelay(smtptest.NewNetwork(t))
	r.Suppress = new(suppress.Policy)
	if err := r.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "List") {
		t.Errorf("got %v, want an error that names the List", err)
	}
	r = newRelay(smtptest.NewNetwork(t))
	r.Suppress = &suppress.Policy{List: new(suppress.Memory)}
	r.Wrap = new(bounce.VERP).Wrap
	if err := r.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "VERP.Domain") {
		t.Errorf("got %v, want the error of the Sender inside", err)
	}
}

// TestBounces: hosts accept mail and return it later, to the signed reverse-path.
func TestBounces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("next.test", "mx.next.test")
		list := new(suppress.Memory)
		policy := &suppress.Policy{List: list}
		verp := &bounce.VERP{Domain: "bounces.test", Keys: [][]byte{make([]byte, 16)}}
		down := true // the first calls fail
		handler := &bounce.Handler{VERP: verp, Handle: func(ctx context.Context, e bounce.Event) error {
			if down {
				down = false
				return errors.New("the database is down")
			}
			return policy.Handle(ctx, e)
		}}
		r := newRelay(inet)
		r.Domains, r.Wrap, r.Suppress = []string{"bounces.test"}, verp.Wrap, policy
		r.Routes = map[string]mx.Route{"bounces.test": mx.Func("bounces", handler.Send)}
		r.CheckRcpt = func(ctx context.Context, _ *server.Peer, rcpt smtp.Recipient) error {
			return handler.CheckRcpt(ctx, rcpt.Address)
		}
		l, err := inet.Listen("relay.test:25")
		if err != nil {
			t.Fatal(err)
		}
		inet.Go(func(ctx context.Context) error { return r.Serve(ctx, l) })
		id := mustSend(t, r, "news@source.test", "nobody@next.test", "bob@next.test")
		far := &client.Submission{LeaveIncomplete: true, Addr: "relay.test:25", TLS: mx.TLSNone, Resolver: inet, DialContext: inet.DialContext}
		defer far.Close()
		var forBob string
		for _, m := range host.Wait(2) {
			if len(m.Envelope.Recipients) != 1 || m.Envelope.Recipients[0].Notify != smtp.NotifyFailure {
				t.Fatalf("got %+v, want a message for each recipient", m.Envelope)
			}
			to := m.Envelope.Recipients[0]
			sent, err := verp.Read(m.Envelope.From)
			if err != nil || sent.ID != string(id) || sent.Recipient != to.Address {
				t.Fatalf("got the reverse-path %s for %s: %+v and %v", m.Envelope.From, to.Address, sent, err)
			}
			if to.Address == "bob@next.test" {
				forBob = m.Envelope.From
				continue
			}
			report := bounce.Report{ReportingMTA: "mx.next.test", Envelope: m.Envelope, Original: smtp.Text(text),
				Recipients: []bounce.Recipient{{Recipient: to, Action: bounce.Failed, Result: smtp.Result{
					Outcome: smtp.Rejected, Stage: smtp.StageRcpt, Reply: smtp.NewReply(550, "5.1.1", "no such user")}}}}
			env, content, err := report.Compose()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := far.Send(t.Context(), env, content); err != nil {
				t.Fatal(err)
			}
			// The same report about bob: without his address it goes nowhere, and at nobody's it is about nobody.
			env.Recipients[0].Address = "b" + m.Envelope.From[1:5] + "aaaaa" + m.Envelope.From[10:]
			if _, err := far.Send(t.Context(), env, content); err == nil {
				t.Error("a forged address was accepted")
			}
		}
		time.Sleep(time.Hour)
		if got := list.Entries(); len(got) != 1 || got[0].Address != "nobody@next.test" || got[0].Source != suppress.FromBounce || got[0].ID != string(id) {
			t.Errorf("got %+v, want nobody@next.test", got)
		}
		if down || forBob == "" {
			t.Error("got no bounce, or no mail for bob")
		}
	})
}
