package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// sendBob sends bob his mail, and says whether he has it.
func sendBob(t *testing.T, tr *Transport) string {
	t.Helper()
	results, err := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n"))
	checkError(t, results, err)
	return fmt.Sprintf("%s %s", results[0].Outcome, results[0].Stage)
}

// idle counts the sessions in the pool.
func idle(tr *Transport) int {
	tr.pool.mu.Lock()
	defer tr.pool.mu.Unlock()
	return tr.pool.n
}

func TestPool(t *testing.T) {
	const (
		addr = "192.0.2.1:25"
		one  = toBob + ready + body + taken // a transaction
	)
	tests := []struct {
		name    string
		scripts []string
		run     func(*testing.T, *Transport)
	}{
		{name: "a session takes the next message", scripts: []string{hello + one + one + quit}, run: func(t *testing.T, tr *Transport) {
			sendBob(t, tr)
			time.Sleep(29 * time.Second)
			sendBob(t, tr)
		}},
		{name: "idle for 30 s", scripts: []string{hello + one + quit}, run: func(t *testing.T, tr *Transport) {
			sendBob(t, tr)
			time.Sleep(30 * time.Second)
			synctest.Wait()
			if n := idle(tr); n != 0 {
				t.Errorf("got %d idle sessions after 30 s, want none", n)
			}
		}},
		{name: "idle since its last use", scripts: []string{hello + one + one + quit}, run: func(t *testing.T, tr *Transport) {
			sendBob(t, tr)
			time.Sleep(20 * time.Second)
			sendBob(t, tr)
			time.Sleep(29 * time.Second)
			synctest.Wait()
			if n := idle(tr); n != 1 {
				t.Errorf("got %d idle sessions after 29 s, want 1", n)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if n := idle(tr); n != 0 {
				t.Errorf("got %d idle sessions after 30 s, want none", n)
			}
		}},
		{name: "retired at 300 s", scripts: []string{hello + strings.Repeat(one, 15) + quit, hello + one + one + quit}, run: func(t *testing.T, tr *Transport) {
			for range 17 { // at 0, 20 ... 320 s
				sendBob(t, tr)
				time.Sleep(20 * time.Second)
			}
		}},
		{name: "SessionLifetime", scripts: []string{hello + one + one + quit, hello + one + quit}, run: func(t *testing.T, tr *Transport) {
			tr.SessionLifetime, tr.IdleTimeout = time.Minute, time.Hour
			sendBob(t, tr)
			time.Sleep(59 * time.Second)
			sendBob(t, tr)
			time.Sleep(time.Second)
			sendBob(t, tr)
		}},
		{name: "SessionLifetime negative", scripts: []string{hello + one + quit, hello + one + quit}, run: func(t *testing.T, tr *Transport) {
			tr.SessionLifetime = -1
			sendBob(t, tr)
			sendBob(t, tr)
		}},
		{name: "IdleTimeout negative", scripts: []string{hello + one + quit, hello + one + quit}, run: func(t *testing.T, tr *Transport) {
			tr.IdleTimeout = -1
			sendBob(t, tr)
			sendBob(t, tr)
		}},
		{name: "CloseIdle", scripts: []string{hello + one + quit, hello + one + quit}, run: func(t *testing.T, tr *Transport) {
			sendBob(t, tr)
			tr.CloseIdle()
			sendBob(t, tr)
		}},
		{name: "none kept", scripts: []string{hello + one + quit, hello + one + quit}, run: func(t *testing.T, tr *Transport) {
			tr.MaxIdle = -1
			sendBob(t, tr)
			sendBob(t, tr)
		}},
		{name: "one that closed is replaced", scripts: []string{hello + one + "close", hello + one + quit}, run: func(t *testing.T, tr *Transport) {
			sendBob(t, tr)
			sendBob(t, tr)
		}},
		{name: "one that said 421 is replaced", scripts: []string{hello + one + "sleep 5s\nS: 421 bye\nclose", hello + one + quit}, run: func(t *testing.T, tr *Transport) {
			sendBob(t, tr)
			time.Sleep(10 * time.Second)
			sendBob(t, tr)
		}},
		{name: "421 to MAIL", scripts: []string{hello + one + toBob + "S: 421 bye\nclose", hello + one + quit}, run: func(t *testing.T, tr *Transport) {
			sendBob(t, tr)
			sendBob(t, tr)
		}},
		{name: "421 to DATA", scripts: []string{hello + one + toBob + "S: 250 ok\nS: 250 ok\nS: 421 bye\nclose", hello + one + quit}, run: func(t *testing.T, tr *Transport) {
			sendBob(t, tr)
			sendBob(t, tr)
		}},
		{name: "lost at RCPT", scripts: []string{hello + one + toBob + "S: 250 ok\nclose", hello + one + quit}, run: func(t *testing.T, tr *Transport) {
			sendBob(t, tr)
			sendBob(t, tr)
		}},
		{name: "rejected before it was lost", scripts: []string{hello + one + toBob + "S: 250 ok\nS: 550 who?\nclose"}, run: func(t *testing.T, tr *Transport) {
			sendBob(t, tr)
			if got := sendBob(t, tr); got != "rejected rcpt" {
				t.Errorf("got %s, want rejected rcpt", got)
			}
		}},
		{name: "lost after 354 isn't tried at once", scripts: []string{hello + one + toBob + ready + body + "close"}, run: func(t *testing.T, tr *Transport) {
			sendBob(t, tr)
			if got := sendBob(t, tr); got != "unknown final" {
				t.Errorf("got %s, want unknown final", got)
			}
		}},
		{name: "nor is a message that can't be read", scripts: []string{hello + one + toBob + ready + "eof"}, run: func(t *testing.T, tr *Transport) {
			sendBob(t, tr)
			content := &failingContent{Content: smtp.Text("Hello.\n"), scans: 1, err: errors.New("disk on fire")}
			results, err := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), content)
			if results[0].Outcome != smtp.Deferred || results[0].Stage != smtp.StageBody || !errors.Is(err, content.err) {
				t.Errorf("got %s, %v", show(results), err)
			}
		}},
		{name: "a replacement that fails too", scripts: []string{hello + one + "close", "S: 421 busy\neof"}, run: func(t *testing.T, tr *Transport) {
			sendBob(t, tr)
			if got := sendBob(t, tr); got != "deferred greeting" {
				t.Errorf("got %s, want deferred greeting", got)
			}
		}},
		{name: "ctx ended", scripts: []string{hello + one + toBob + "eof"}, run: func(t *testing.T, tr *Transport) {
			sendBob(t, tr)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			start := time.Now()
			results, err := tr.Send(ctx, smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n"))
			if results[0].Outcome != smtp.Deferred || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Minute {
				t.Errorf("got %s, %v after %v", show(results), err, time.Since(start))
			}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr, inet := newTransport(t)
				inet.mx["example.net."] = inet.mx["example.net."][:1]
				inet.scripts(addr, test.scripts...)
				test.run(t, tr)
				tr.Close()
				if got := len(strings.Fields(inet.dialled())); got != len(test.scripts) {
					t.Errorf("got %d connections, want %d", got, len(test.scripts))
				}
			})
		})
	}
}

// TestPoolKeys: a session is used again only for the same host, secured alike, as the same user.
func TestPoolKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, inet := newTransport(t)
		smarthost := func(name string, change func(*mx.Route)) mx.Route {
			r := mustRoute(mx.Smarthost("127.0.0.1:25"))
			r.Name = name
			change(&r)
			return r
		}
		plain := plainAuth("x")
		tr.Router.Routes = map[string]mx.Route{
			"one.test":  smarthost("one", func(*mx.Route) {}),
			"two.test":  smarthost("two", func(*mx.Route) {}),
			"ann.test":  smarthost("ann", func(r *mx.Route) { r.Auth = plain }),
			"joe.test":  smarthost("joe", func(r *mx.Route) { r.Auth = plain }),
			"lmtp.test": smarthost("lmtp", func(r *mx.Route) { r.LMTP = true }),
			"none.test": smarthost("none", func(r *mx.Route) { r.TLS = mx.TLSNone }),
			"less.test": smarthost("less", func(r *mx.Route) { r.Without = []string{"DSN"} }),
			"late.test": smarthost("late", func(r *mx.Route) { r.TLSStart = mx.TLSStartTLS }),
		}
		tr.Router.Routes["inner.test"] = mustRoute(mx.Smarthost("inner.test:25"))
		inet.add("mx.test", "mx9.test=192.0.2.9")
		inet.add("evil.test", "inner.test=10.0.0.1")
		sink := new(sink)
		inet.serve("127.0.0.1:25", sink.serve)
		inet.serve("192.0.2.9:25", sink.serve)
		inet.serve("10.0.0.1:25", sink.serve)
		for _, test := range []struct{ domain, dials string }{
			{"one.test", "127.0.0.1:25"}, {"two.test", ""}, {"ann.test", "127.0.0.1:25"}, {"joe.test", "127.0.0.1:25"},
			{"ann.test", ""}, {"lmtp.test", "127.0.0.1:25"}, {"none.test", "127.0.0.1:25"}, {"late.test", "127.0.0.1:25"}, {"less.test", "127.0.0.1:25"}, {"less.test", ""}, {"one.test", ""},
			{"mx.test", "192.0.2.9:25"}, {"mx.test", ""}, {"inner.test", "10.0.0.1:25"}, {"inner.test", ""},
		} {
			if _, err := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@"+test.domain), smtp.Text("Hello.\n")); err != nil {
				t.Errorf("%s: %v", test.domain, err)
			}
			if got := inet.dialled(); got != test.dials {
				t.Errorf("%s: dialled %q, want %q", test.domain, got, test.dials)
			}
		}
		// A stranger's MX must not lead inside, be there a session or not.
		if _, err := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@evil.test"), smtp.Text("Hello.\n")); err == nil {
			t.Error("evil.test: got no error")
		}
		tr.Close()
	})
}

// TestPoolBounds: the oldest session goes where there would be too many.
func TestPoolBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, inet := newTransport(t)
		tr.MaxIdle, tr.MaxIdlePerHost = 3, 2
		sink := &sink{delay: time.Second}
		for i := range 4 {
			inet.add(fmt.Sprintf("d%d.test", i), fmt.Sprintf("h%d.test=192.0.2.%d", i, 10+i))
			inet.serve(fmt.Sprintf("192.0.2.%d:25", 10+i), sink.serve)
		}
		send := func(domain string) {
			if _, err := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@"+domain), smtp.Text("Hello.\n")); err != nil {
				t.Error(err)
			}
		}
		for range 3 { // at once, so that each needs a session
			go send("d0.test")
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := idle(tr); n != 2 {
			t.Errorf("got %d sessions with one host, want 2", n)
		}
		for _, domain := range []string{"d1.test", "d2.test", "d3.test"} {
			send(domain)
		}
		if n := idle(tr); n != 3 {
			t.Errorf("got %d sessions, want 3", n)
		}
		inet.dialled()
		send("d0.test")
		if got := inet.dialled(); got != "192.0.2.10:25" {
			t.Errorf("dialled %q, want 192.0.2.10:25 as its sessions were the oldest", got)
		}
		tr.Close()
	})
}

func TestTransportClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, inet := newTransport(t)
		inet.serve("192.0.2.1:25", (&sink{delay: time.Minute}).serve)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if got := sendBob(t, tr); got != "delivered final" {
				t.Errorf("got %s, want a Send under way to go on", got)
			}
		}()
		synctest.Wait()
		start := time.Now()
		tr.Close()
		if got := time.Since(start); got != 2*time.Minute {
			t.Errorf("Close took %v, want 2m, as long as the Send under way", got)
		}
		<-done
		if n := idle(tr); n != 0 {
			t.Errorf("got %d idle sessions after Close", n)
		}
		results, err := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n"))
		if !errors.Is(err, ErrClosed) || results[0].Outcome != smtp.Deferred {
			t.Errorf("got %v, want ErrClosed", err)
		}
		tr.Close()
	})
}

func TestNoIdlePerHost(t *testing.T) {
	var p pool
	s := &session{opened: time.Now()}
	if out := p.keep(s, limits{total: 10, perHost: -1, idle: time.Minute, age: time.Hour}); out != s || p.n != 0 {
		t.Errorf("got %v and %d idle, want the session back and none", out, p.n)
	}
}
