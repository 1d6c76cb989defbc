package client

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// oddContent is a Content with any Size and any answer of ReadAt.
type oddContent struct {
	size int64
	n    int
	err  error
}

func (c oddContent) Size() int64                       { return c.size }
func (c oddContent) ReadAt([]byte, int64) (int, error) { return c.n, c.err }

// oddLater has another answer after it was scanned.
type oddLater struct {
	smtp.Content
	reads int
	then  oddContent
}

func (c *oddLater) ReadAt(b []byte, off int64) (int, error) {
	if c.reads--; c.reads < 0 {
		return c.then.ReadAt(b, off)
	}
	return c.Content.ReadAt(b, off)
}

// TestOddMessages: every Sender of the package, with each message that can't be sent: an error, no result that is
// Delivered, nothing at the host, and no panic.
func TestOddMessages(t *testing.T) {
	env := smtp.NewEnvelope("ann@client.test", "bob@example.net")
	messages := []struct {
		name    string
		env     *smtp.Envelope
		content smtp.Content
		chunked bool
	}{
		{"nil envelope", nil, smtp.Text("Hello.\n"), false},
		{"nil envelope and content", nil, nil, false},
		{"nil content", env, nil, false},
		{"nil Recipients", &smtp.Envelope{From: "ann@client.test"}, smtp.Text("Hello.\n"), false},
		{"zero envelope", new(smtp.Envelope), smtp.Text("Hello.\n"), false},
		{"zero envelope, nil content", new(smtp.Envelope), nil, false},
		{"an empty recipient", smtp.NewEnvelope("ann@client.test", ""), smtp.Text("Hello.\n"), false},
		{"Size of the envelope negative", &smtp.Envelope{From: "a@b.test", Recipients: env.Recipients, Size: -1}, smtp.Text("Hello.\n"), false},
		{"size negative", env, oddContent{size: -1}, false},
		{"size far negative", env, oddContent{size: math.MinInt64}, false},
		{"size without end", env, oddContent{size: math.MaxInt64, err: io.EOF}, false},
		{"no octets and no error", env, oddContent{size: 10}, false},
		{"more octets than asked for", env, oddContent{size: 10, n: 1 << 40}, false},
		{"a negative number of octets", env, oddContent{size: 10, n: -1}, false},
		{"then no octets and no error", env, &oddLater{Content: lines(1 << 10), reads: 1}, false},
		{"then no octets and no error, chunked", env, &oddLater{Content: lines(1 << 10), reads: 1}, true},
		{"then a negative number of octets, chunked", env, &oddLater{Content: lines(1 << 10), reads: 1, then: oddContent{n: -1}}, true},
		{"then more octets than asked for, chunked", env, &oddLater{Content: lines(1 << 10), reads: 1, then: oddContent{n: 1 << 40}}, true},
	}
	senders := []struct {
		name string
		send func(*testing.T, *internet, *smtp.Envelope, smtp.Content, int64) ([]smtp.Result, error)
	}{
		{"Conn", func(t *testing.T, n *internet, env *smtp.Envelope, c smtp.Content, chunk int64) ([]smtp.Result, error) {
			nc, _ := n.DialContext(t.Context(), "tcp", "127.0.0.1:25")
			conn := &Conn{Hostname: "client.test", ChunkSize: chunk}
			if err := conn.Open(t.Context(), nc); err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			return conn.Send(t.Context(), env, c)
		}},
		{"Conn that isn't open", func(t *testing.T, n *internet, env *smtp.Envelope, c smtp.Content, chunk int64) ([]smtp.Result, error) {
			return new(Conn).Send(t.Context(), env, c)
		}},
		{"Transport", func(t *testing.T, n *internet, env *smtp.Envelope, c smtp.Content, chunk int64) ([]smtp.Result, error) {
			tr := &Transport{Hostname: "client.test", DialContext: n.DialContext, ChunkSize: chunk,
				Router: &mx.Router{Routes: map[string]mx.Route{"*": mustRoute(mx.Smarthost("127.0.0.1:25"))}}}
			defer tr.Close()
			return tr.Send(t.Context(), env, c)
		}},
		{"Transport that is closed", func(t *testing.T, n *internet, env *smtp.Envelope, c smtp.Content, chunk int64) ([]smtp.Result, error) {
			tr := new(Transport)
			tr.Close()
			return tr.Send(t.Context(), env, c)
		}},
		{"Submission", func(t *testing.T, n *internet, env *smtp.Envelope, c smtp.Content, chunk int64) ([]smtp.Result, error) {
			sub := &Submission{LeaveIncomplete: true, Addr: "127.0.0.1:25", TLS: mx.TLSNone, Hostname: "client.test", DialContext: n.DialContext}
			defer sub.Close()
			return sub.Send(t.Context(), env, c)
		}},
		{"zero Submission", func(t *testing.T, n *internet, env *smtp.Envelope, c smtp.Content, chunk int64) ([]smtp.Result, error) {
			return new(Submission).Send(t.Context(), env, c)
		}},
	}
	for _, m := range messages {
		for _, s := range senders {
			t.Run(m.name+"/"+s.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					inet := newInternet(t)
					host := &boundedHost{bound: math.MaxInt, taken: make(map[string]int)}
					inet.serve("127.0.0.1:25", host.serve)
					chunk := int64(0)
					if m.chunked {
						chunk = 100
						inet.serve("127.0.0.1:25", (&slowHost{ehlo: "CHUNKING"}).serve)
					}
					content := m.content
					if c, ok := content.(*oddLater); ok {
						again := *c
						content = &again
					}
					results, err := s.send(t, inet, m.env, content, chunk)
					inet.wg.Wait()
					if err == nil {
						t.Error("got no error")
					}
					want := 0
					if m.env != nil {
						want = len(m.env.Recipients)
					}
					if len(results) != want || len(host.taken) > 0 {
						t.Errorf("got %d results and %d messages, want %d and none", len(results), len(host.taken), want)
					}
					for _, r := range results {
						if r.Outcome == smtp.Delivered || r.Outcome == smtp.Unknown || r.Reply == nil || r.Reason == smtp.NoReason {
							t.Errorf("got %+v", r)
						}
					}
				})
			})
		}
	}
}

// TestOddNumbers: each number of the exported types, far out. A Send ends, and is delivered or says why not.
func TestOddNumbers(t *testing.T) {
	for _, value := range []int64{-1, math.MinInt64, math.MaxInt64, 1} {
		for _, of := range []any{new(Transport), new(Timeouts), new(Submission), new(Conn)} {
			numbers := reflect.TypeOf(of).Elem()
			for i := range numbers.NumField() {
				f := numbers.Field(i)
				if !f.IsExported() || f.Type.Kind() != reflect.Int64 && f.Type.Kind() != reflect.Int {
					continue
				}
				t.Run(fmt.Sprintf("%s.%s %d", numbers.Name(), f.Name, value), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { oddNumber(t, of, i, value) })
				})
			}
		}
	}
}

// oddNumber sends a message with one field of a new value of the type of of.
func oddNumber(t *testing.T, of any, field int, value int64) {
	inet := newInternet(t)
	inet.serve("127.0.0.1:25", (&slowHost{ehlo: "CHUNKING"}).serve)
	fresh := reflect.New(reflect.TypeOf(of).Elem())
	fresh.Elem().Field(field).SetInt(value)
	router := &mx.Router{Routes: map[string]mx.Route{"*": mustRoute(mx.Smarthost("127.0.0.1:25"))}}
	env := smtp.NewEnvelope("ann@client.test", "bob@example.net")
	send := func(s smtp.Sender) {
		for range 2 {
			results, err := s.Send(t.Context(), env, smtp.Text("Hello.\n"))
			checkError(t, results, err)
			if results[0].Outcome != smtp.Delivered && !results[0].Local {
				t.Errorf("got %s", show(results))
			}
			negative := value < 0 && reflect.TypeOf(of).Elem().Name() == "Timeouts" && reflect.TypeOf(of).Elem().Field(field).Name != "MinDataRate"
			if negative && (err == nil || !strings.Contains(err.Error(), "Timeouts."+reflect.TypeOf(of).Elem().Field(field).Name+" is ")) {
				t.Errorf("got %v, want the field that is negative", err)
			}
		}
	}
	switch x := fresh.Interface().(type) {
	case *Transport:
		x.Hostname, x.Router, x.DialContext = "client.test", router, inet.DialContext
		send(x)
		x.Close()
	case *Timeouts:
		tr := &Transport{Hostname: "client.test", Router: router, DialContext: inet.DialContext, Timeouts: *x, ChunkSize: 3}
		send(tr)
		tr.Close()
		nc, _ := inet.DialContext(t.Context(), "tcp", "127.0.0.1:25")
		c := &Conn{Hostname: "client.test", Timeouts: *x}
		c.Open(t.Context(), nc)
		c.Send(t.Context(), env, smtp.Text("Hello.\n"))
		c.Quit(t.Context())
	case *Submission:
		x.Addr, x.TLS, x.Hostname, x.DialContext = "127.0.0.1:25", mx.TLSNone, "client.test", inet.DialContext
		send(x)
		x.Close()
	case *Conn:
		nc, _ := inet.DialContext(t.Context(), "tcp", "127.0.0.1:25")
		x.Hostname = "client.test"
		if err := x.Open(t.Context(), nc); err != nil {
			t.Error(err)
		}
		results, err := x.Send(t.Context(), env, smtp.Text("Hello.\n"))
		if err != nil {
			t.Errorf("got %s", show(results))
		}
		x.Quit(t.Context())
	}
}

// TestOddCalls: the other methods with what nobody means.
func TestOddCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		if err := new(Conn).Open(ctx, nil); err == nil {
			t.Error("Open(nil): got no error")
		}
		c := new(Conn)
		if c.Ready() || c.Quit(ctx) != nil || c.Close() != nil {
			t.Error("a zero Conn: want it neither ready nor failing to end")
		}
		one, host := pipe("192.0.2.1:25")
		go play(host, steps("S: 220 hi\nC: EHLO\nS: 250 host\neof"), nil, nil)
		if err := c.Open(ctx, one); err == nil {
			t.Error("Open of a closed Conn: got no error")
		}
		two, host2 := pipe("192.0.2.1:25")
		go play(host2, steps("S: 220 hi\nC: EHLO\nS: 250 host\nC: QUIT"), nil, nil)
		c = &Conn{Hostname: "client.test"}
		if err := c.Open(ctx, two); err != nil {
			t.Fatal(err)
		}
		three, host3 := pipe("192.0.2.1:25")
		if err := c.Open(ctx, three); err == nil || !c.Ready() {
			t.Errorf("a second Open: got %v, ready %t, want an error and the first session", err, c.Ready())
		}
		if _, err := host3.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("a second Open: the connection got %v, want it closed", err)
		}
		c.Quit(ctx)

		tr := &Transport{
			Router:      &mx.Router{Routes: map[string]mx.Route{"*": mustRoute(mx.Smarthost("127.0.0.1:25"))}},
			DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, nil },
			Sources:     []Source{{}, {Addrs: []netip.Addr{{}}, Weight: math.MinInt}},
		}
		results, err := tr.Send(ctx, smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n"))
		if err == nil || results[0].Outcome != smtp.Deferred || results[0].Stage != smtp.StageConnect {
			t.Errorf("no connection and no error: got %v, %v", results, err)
		}
		if got := tr.Source(nil); got != "" {
			t.Errorf("Source(nil): got %q", got)
		}
		tr.Block(Block{})
		tr.Block(Block{Until: time.Unix(math.MaxInt64, 0)})
		tr.Blocks()
		tr.CloseIdle()
		tr.Close()
		var s Source
		if s.Check() == nil {
			t.Error("a zero Source: got no error of Check")
		}
		if err := new(Submission).Check(ctx); err == nil || !strings.Contains(err.Error(), "Submission.Addr") {
			t.Errorf("a zero Submission: got %v", err)
		}
		new(Submission).Close()
		var creds *Credentials
		for _, c := range []*Credentials{creds, new(Credentials)} {
			if _, err := c.Begin(ctx, smtp.AuthHost{Mechanisms: []string{"PLAIN"}}); err == nil {
				t.Error("empty Credentials: got no error")
			}
		}
	})
}
