package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// checkTakenBack: nobody is blamed, and the Transport remembers nothing.
func checkTakenBack(t *testing.T, tr *Transport, results []smtp.Result, err error) {
	t.Helper()
	if !errors.Is(err, smtp.ErrTakenBack) {
		t.Errorf("got error %v, want %v", err, smtp.ErrTakenBack)
	}
	for _, r := range results {
		want := smtp.Result{Recipient: r.Recipient, Outcome: smtp.Deferred, Stage: r.Stage, Reply: r.Reply, Local: true,
			Reason: smtp.Other}
		if r != want || r.Stage >= smtp.StageMail || r.Reply.Error() != "451 4.3.2 the attempt gave way to other mail" {
			t.Errorf("got %+v: %v", r, r.Reply)
		}
	}
	checkNothingLearned(t, tr)
}

func checkNothingLearned(t *testing.T, tr *Transport) {
	t.Helper()
	if n := len(tr.memory.hosts) + len(tr.sources.blocks) + len(tr.sources.last); n != 0 {
		t.Errorf("got %d memories of hosts, want none", n)
	}
}

// silentDNS is a Resolver that doesn't answer for some names, and notices the end of ctx.
type silentDNS struct {
	*internet
	silent string // "MX example.net." or "IP a.test."
	asked  func()
}

func (r silentDNS) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	if err := r.ask(ctx, "MX "+name); err != nil {
		return nil, err
	}
	return r.internet.LookupMX(ctx, name)
}

func (r silentDNS) LookupNetIP(ctx context.Context, network, name string) ([]netip.Addr, error) {
	if err := r.ask(ctx, "IP "+name); err != nil {
		return nil, err
	}
	return r.internet.LookupNetIP(ctx, network, name)
}

func (r silentDNS) ask(ctx context.Context, question string) error {
	if question != r.silent {
		return nil
	}
	r.asked()
	<-ctx.Done()
	return ctx.Err()
}

// TestTakenBack takes the slot back at every stage before MAIL: the Send ends at once, sends nothing and learns
// nothing.
func TestTakenBack(t *testing.T) {
	const a, b = "192.0.2.1:25", "192.0.2.2:25"
	dial := func(nth int) func(*Transport, *internet, func()) { // which dial is interrupted
		return func(tr *Transport, inet *internet, take func()) {
			tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				if nth--; nth > 0 {
					return inet.DialContext(ctx, network, addr)
				}
				inet.dials = append(inet.dials, addr)
				take()
				<-ctx.Done()
				return nil, ctx.Err()
			}
		}
	}
	resolve := func(silent string) func(*Transport, *internet, func()) {
		return func(tr *Transport, inet *internet, take func()) {
			tr.Router = &mx.Router{Resolver: silentDNS{inet, silent, take}}
		}
	}
	route := func(change func(*mx.Route)) func(*Transport, *internet, func()) {
		return func(tr *Transport, _ *internet, _ func()) {
			r := mustRoute(mx.Smarthost("a.test:25"))
			change(&r)
			tr.Router.Routes = map[string]mx.Route{"*": r}
		}
	}
	password := route(func(r *mx.Route) {
		r.Auth, r.TLS = &Credentials{Username: "ann", Password: "secret"}, mx.TLSRequired
	})
	tests := []struct {
		name  string
		setup func(tr *Transport, inet *internet, take func())
		host  string // the script of a.test, up to where the slot is taken back
		next  string // of b.test, if a.test refuses connections
		dials string
	}{
		{name: "MX lookup", setup: resolve("MX example.net.")},
		{name: "address lookup", setup: resolve("IP a.test.")},
		{name: "dial", setup: dial(1), dials: a},
		{name: "dial to the next host", setup: dial(2), dials: a + " " + b},
		{name: "address lookup of the next host", setup: resolve("IP b.test."), dials: a},
		{name: "greeting", host: "flush", dials: a},
		{name: "greeting of the next host", next: "flush", dials: a + " " + b},
		{name: "half a greeting", host: "S: 220-hi", dials: a},
		{name: "EHLO", host: greeted, dials: a},
		{name: "HELO", host: greeted + "S: 500 what?\nC: HELO", dials: a},
		{name: "STARTTLS", host: offersTLS, dials: a},
		{name: "handshake", host: offersTLS + "S: 220 go\npart 5", dials: a},
		{name: "EHLO behind TLS", host: secured + "C: EHLO", dials: a},
		{name: "AUTH", setup: password, host: secured + "C: EHLO\nS: 250-host\nS: 250 AUTH PLAIN\nC: AUTH", dials: a},
		{name: "dial without TLS after TLS failed", setup: dial(2), dials: a + " " + a,
			host: offersTLS + "S: 220 go\npart 5\nS: what?\nclose"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr, inet := newTransport(t)
				tr.Sources = []Source{{Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.1")}}}
				cert, roots := testTLS(t, "a.test")
				tr.TLSConfig = &tls.Config{RootCAs: roots}
				var log strings.Builder
				tr.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
				var steps []error
				tr.Tried = func(_ context.Context, try Try) { steps = append(steps, try.Err) }
				slot := new(smtp.Slot)
				took := 0
				take := func() {
					if slot.TakeBack() {
						took++
					}
				}
				if tt.setup != nil {
					tt.setup(tr, inet, take)
				}
				v := &villain{cert: cert, cancel: take}
				if tt.host != "" {
					inet.serve(a, v.play(tt.host+"\ncancel"))
				}
				if tt.next != "" {
					inet.serve(b, v.play(tt.next+"\ncancel"))
				}
				env := smtp.NewEnvelope("ann@client.test", "bob@example.net", "eve@example.net")
				begun := time.Now()
				results, err := tr.Send(smtp.WithSlot(t.Context(), slot), env, smtp.Text("Hello.\n"))
				checkTakenBack(t, tr, results, err)
				if d := time.Since(begun); d != 0 {
					t.Errorf("took %v, want it at once", d)
				}
				if n := idle(tr); n != 0 {
					t.Errorf("%d sessions are kept", n)
				}
				refused := slices.DeleteFunc(steps, func(err error) bool { return errors.Is(err, smtp.ErrTakenBack) })
				if blamed := strings.Count(log.String(), "host failed"); blamed != len(refused) {
					t.Errorf("the log blames hosts %d times, want %d:\n%s", blamed, len(refused), log.String())
				}
				tr.Close()
				inet.wg.Wait()
				if took != 1 || !slot.TakenBack() {
					t.Errorf("the slot was taken back %d times, want once", took)
				}
				if got := inet.dialled(); got != tt.dials {
					t.Errorf("dialled %q, want %q", got, tt.dials)
				}
				v.check(t, 0, "*")
			})
		})
	}
}

// lastMoment is a context that calls take when smtp.Keep looks for the slot.
type lastMoment struct {
	context.Context
	asked *int
	take  func() bool
}

func (c lastMoment) Value(key any) any {
	if fmt.Sprintf("%T", key) == "smtp.slotKey" {
		if *c.asked++; *c.asked == 2 { // after Lend
			c.take()
		}
	}
	return c.Context.Value(key)
}

// TestTakenBackReady: a session that is ready when the slot is taken back takes the next message.
func TestTakenBackReady(t *testing.T) {
	for _, first := range []bool{false, true} {
		t.Run(fmt.Sprintf("kept before %t", first), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr, inet := newTransport(t)
				script := hello
				if first {
					script += toBob + ready + body + taken
				}
				inet.scripts("192.0.2.1:25", script+toBob+ready+body+taken+quit)
				if first {
					sendBob(t, tr)
				}
				slot := new(smtp.Slot)
				ctx := lastMoment{smtp.WithSlot(t.Context(), slot), new(int), slot.TakeBack}
				env := smtp.NewEnvelope("ann@client.test", "bob@example.net")
				results, err := tr.Send(ctx, env, smtp.Text("Hello.\n"))
				checkTakenBack(t, tr, results, err)
				if n := idle(tr); n != 1 || !slot.TakenBack() {
					t.Errorf("got %d idle sessions, and a slot taken back %t; want 1, true", n, slot.TakenBack())
				}
				if got := sendBob(t, tr); got != "delivered final" {
					t.Errorf("got %s in that session", got)
				}
				if got := inet.dialled(); got != "192.0.2.1:25" {
					t.Errorf("dialled %s, want one session", got)
				}
				tr.Close()
			})
		})
	}
}

// TestTakenBackTurn: the wait for one of a Submission's sessions can be interrupted, and the place in the queue is
// given up.
func TestTakenBackTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &crowd{took: time.Minute, ehlo: "PIPELINING"}
		sub := h.submission(1)
		defer sub.Close()
		first := h.send(t, sub, t.Context(), "first@example.net")
		slot := new(smtp.Slot)
		begun := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() {
			env := smtp.NewEnvelope("ann@client.test", "gone@example.net")
			results, err := sub.Send(smtp.WithSlot(t.Context(), slot), env, smtp.Text("Hello.\n"))
			checkTakenBack(t, sub.transport, results, err)
			if time.Since(begun) != 0 {
				t.Errorf("took %v, want it at once", time.Since(begun))
			}
		})
		synctest.Wait()
		last := h.send(t, sub, t.Context(), "last@example.net")
		if !slot.TakeBack() {
			t.Error("the slot wasn't lent")
		}
		wg.Wait()
		first()
		if took := last()[0]; took != 2*time.Minute || h.dials != 1 {
			t.Errorf("got %v for the last one in %d sessions, want 2m in 1", took, h.dials)
		}
	})
}

// TestNotTakenBack: from MAIL on, the slot isn't taken back any more, whatever follows.
func TestNotTakenBack(t *testing.T) {
	const a, b = "192.0.2.1:25", "192.0.2.2:25"
	const mail = "C: MAIL\nC: RCPT\nC: DATA\n"
	tests := []struct {
		name  string
		hosts map[string]string
		want  string
	}{
		{"MAIL", map[string]string{a: hello + mail + "cancel\n" + ready + "message\n" + taken}, "delivered final 250"},
		{"RCPT", map[string]string{a: hello + mail + "S: 250 ok\ncancel\nS: 250 ok\nS: 354 go\nmessage\n" + taken},
			"delivered final 250"},
		{"DATA", map[string]string{a: hello + mail + "S: 250 ok\nS: 250 ok\ncancel\nS: 354 go\nmessage\n" + taken},
			"delivered final 250"},
		{"final", map[string]string{a: hello + mail + ready + "message\ncancel\n" + taken}, "delivered final 250"},
		{"rejected", map[string]string{a: hello + mail + "cancel\nS: 550 no\nS: 503 no\nS: 503 no"},
			"rejected mail 550"},
		{"the next host after a refusal", map[string]string{
			a: hello + mail + "S: 451 later\nS: 503 no\nS: 503 no\nC: QUIT",
			b: "cancel\n" + hello + mail + ready + "message\n" + taken,
		}, "delivered final 250"},
		{"the next host after the connection broke", map[string]string{
			a: hello + mail + "S: 250 ok\nclose",
			b: greeted + "cancel\nS: 250-host\nS: 250 PIPELINING\n" + mail + ready + "message\n" + taken,
		}, "delivered final 250"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr, inet := newTransport(t)
				slot, asked := new(smtp.Slot), 0
				for addr, script := range tt.hosts {
					v := &villain{cancel: func() {
						if asked++; slot.TakeBack() {
							t.Error("the slot was taken back")
						}
					}}
					inet.serve(addr, v.play(script))
				}
				env := smtp.NewEnvelope("ann@client.test", "bob@example.net")
				results, err := tr.Send(smtp.WithSlot(t.Context(), slot), env, smtp.Text("Hello.\n"))
				checkError(t, results, err)
				if got := strings.Join(showShort(results), "; "); got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
				tr.Close()
				inet.wg.Wait()
				if asked != 1 || slot.TakenBack() {
					t.Errorf("asked %d times, and taken back %t; want once, false", asked, slot.TakenBack())
				}
			})
		})
	}
}

// TestSlotAfterSend: when a Send has ended without MAIL, the slot isn't lent: what follows it may not be interruptible.
func TestSlotAfterSend(t *testing.T) {
	tr, _ := newTransport(t) // all hosts refuse connections
	slot := new(smtp.Slot)
	ctx := smtp.WithSlot(t.Context(), slot)
	env := smtp.NewEnvelope("ann@client.test", "bob@example.net")
	for range 2 {
		results, err := tr.Send(ctx, env, smtp.Text("Hello.\n"))
		checkError(t, results, err)
		if results[0].Reason != smtp.Network || results[0].Host == "" {
			t.Errorf("got %s, want the host that refused the connection", show(results))
		}
		if slot.TakeBack() {
			t.Error("the slot is still lent")
		}
	}
	if !smtp.Keep(ctx) {
		t.Error("the slot was taken back")
	}
}

// TestSenderRouteSlot: the Sender of a route isn't interrupted, nor called if the slot was taken back before.
func TestSenderRouteSlot(t *testing.T) {
	for _, early := range []bool{false, true} {
		slot, calls := new(smtp.Slot), 0
		sender := smtp.SenderFunc(func(ctx context.Context, _ *smtp.Envelope, _ smtp.Content) ([]smtp.Result, error) {
			if calls++; slot.TakeBack() || ctx.Err() != nil {
				t.Error("it was interrupted")
			}
			return nil, nil
		})
		tr, _ := newTransport(t)
		tr.Router.Routes = map[string]mx.Route{"example.net": mx.Func("box", sender)}
		var ctx context.Context = lastMoment{smtp.WithSlot(t.Context(), slot), new(int), func() bool {
			return early && slot.TakeBack()
		}}
		env := smtp.NewEnvelope("ann@client.test", "bob@example.net")
		results, err := tr.Send(ctx, env, smtp.Text("Hello.\n"))
		if early {
			checkTakenBack(t, tr, results, err)
		} else if results[0].Outcome != smtp.Delivered {
			t.Errorf("got %s", show(results))
		}
		if calls != map[bool]int{false: 1, true: 0}[early] {
			t.Errorf("early %t: it was called %d times", early, calls)
		}
	}
}

// TestTakenBackOften takes slots back at any moment, from a session that is there and in new ones: each message is
// either delivered once, or no host has heard of it.
func TestTakenBackOften(t *testing.T) {
	h := &crowd{ehlo: "PIPELINING"}
	var closed atomic.Int64
	tr := &Transport{
		Hostname: "client.test", IdleTimeout: time.Hour,
		Router: &mx.Router{Routes: map[string]mx.Route{"*": mustRoute(mx.Smarthost("127.0.0.1:25"))}},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := h.dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &stormConn{Conn: nc, gone: func() { closed.Add(1) }}, nil
		},
	}
	outcomes := map[bool]int{}
	var want []string
	for i := range 1000 {
		if i%10 == 0 {
			tr.CloseIdle() // the next one dials
		}
		slot := new(smtp.Slot)
		ctx := smtp.WithSlot(t.Context(), slot)
		rcpt := fmt.Sprintf("u%04d@example.net", i)
		var results []smtp.Result
		var err error
		var wg sync.WaitGroup
		wg.Go(func() {
			results, err = tr.Send(ctx, smtp.NewEnvelope("ann@client.test", rcpt), smtp.Text("Hello.\n"))
		})
		took := false
		for range i % 8 {
			runtime.Gosched()
		}
		for range 1 + i%3*10 {
			took = took || slot.TakeBack()
			runtime.Gosched()
		}
		wg.Wait()
		switch outcomes[took]++; {
		case took != slot.TakenBack():
			t.Fatalf("%s: taken back %t, and TakenBack is %t", rcpt, took, slot.TakenBack())
		case took:
			checkTakenBack(t, tr, results, err)
		case err != nil:
			t.Errorf("%s: %v", rcpt, err)
		default:
			want = append(want, rcpt)
		}
	}
	tr.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Equal(h.rcpts, want) {
		t.Errorf("the host heard of %d recipients, want the %d that were delivered", len(h.rcpts), len(want))
	}
	if int(closed.Load()) != h.dials {
		t.Errorf("%d of %d sessions were closed", closed.Load(), h.dials)
	}
	t.Logf("taken back %d times of %d, %d sessions", outcomes[true], outcomes[true]+outcomes[false], h.dials)
}
