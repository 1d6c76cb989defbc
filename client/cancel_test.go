package client

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// errEnough is a cause for calling off.
var errEnough = errors.New("enough of it")

// endings are the ways in which ctx can end while a host is silent.
var endings = []struct {
	name  string
	begin func(context.Context) (ctx context.Context, cancel func())
	after time.Duration // that it has, if nobody calls cancel
	want  error
}{
	{name: "cancel", want: context.Canceled, begin: func(ctx context.Context) (context.Context, func()) {
		return context.WithCancel(ctx)
	}},
	{name: "cause", want: errEnough, begin: func(ctx context.Context) (context.Context, func()) {
		ctx, cancel := context.WithCancelCause(ctx)
		return ctx, func() { cancel(errEnough) }
	}},
	{name: "deadline", want: context.DeadlineExceeded, after: 10 * time.Second, begin: func(ctx context.Context) (context.Context, func()) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		context.AfterFunc(ctx, cancel)
		return ctx, func() {}
	}},
	{name: "deadline with a cause", want: errEnough, after: 10 * time.Second, begin: func(ctx context.Context) (context.Context, func()) {
		ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Second, errEnough)
		context.AfterFunc(ctx, cancel)
		return ctx, func() {}
	}},
}

// TestCancelStages ends ctx at every stage of a session: the call returns at once, the connection is closed
// without another word, and nobody has a wrong result.
func TestCancelStages(t *testing.T) {
	tests := []struct {
		name  string
		host  string // the villain's script up to where it falls silent
		tls   mx.TLSLevel
		with  func(*Conn)
		to    int
		size  int
		first bool   // a message before it, in the same session
		want  string // as in TestHostile
		whole int
		left  string
	}{
		{name: "greeting", want: "no session greeting 451 local"},
		{name: "half a greeting", host: "S: 220-hi\n" + `raw "220"`, want: "no session greeting 451 local"},
		{name: "EHLO", host: greeted, want: "no session hello 451 local"},
		{name: "half a reply to EHLO", host: greeted + "S: 250-host", want: "no session hello 451 local"},
		{name: "HELO", host: greeted + "S: 500 what?\nC: HELO", want: "no session hello 451 local"},
		{name: "LHLO", host: "S: 220 hi\nC: LHLO", with: lmtp, want: "no session hello 451 local"},
		{name: "STARTTLS", host: offersTLS, tls: mx.TLSRequired, want: "no session tls 451 local"},
		{name: "handshake", host: offersTLS + "S: 220 go\npart 5", tls: mx.TLSRequired, want: "no session tls 451 local", left: "*"},
		{name: "handshake, opportunistic", host: offersTLS + "S: 220 go\npart 5", tls: mx.TLSOpportunistic, want: "no session tls 451 local", left: "*"},
		{name: "implicit handshake", host: "part 5", with: implicit, want: "no session tls 451 local", left: "*"},
		{name: "EHLO behind TLS", host: secured + "C: EHLO", tls: mx.TLSRequired, want: "no session hello 451 local"},
		{name: "AUTH", host: offersAuth, with: plain, want: "no session auth 451 local"},
		{name: "a step of AUTH", host: offersAuth + "S: 334 UGFzc3dvcmQ6\nC: c2VjcmV0", with: login, want: "no session auth 451 local"},
		{name: "cancelling AUTH", host: offersAuth + "S: 334 \nC: *", with: plain, want: "no session auth 451 local"},
		{name: "MAIL", host: plainHello + "C: MAIL", want: "deferred mail 451 local"},
		{name: "MAIL behind TLS", host: secured + "C: EHLO\nS: 250 host\nC: MAIL", tls: mx.TLSRequired, want: "deferred mail 451 local"},
		{name: "MAIL of a group", host: toTwoStart, to: 2, want: "deferred mail 451 local; deferred mail 451 local"},
		{name: "first RCPT", host: plainHello + "C: MAIL\nS: 250 ok\nC: RCPT", to: 2, want: "deferred rcpt 451 local; deferred rcpt 451 local"},
		{name: "first RCPT of a group", host: toTwoStart + "S: 250 ok", to: 2, want: "deferred rcpt 451 local; deferred rcpt 451 local"},
		{name: "second RCPT, first taken", host: toTwoStart + "S: 250 ok\nS: 250 ok", to: 2, want: "deferred rcpt 451 local; deferred rcpt 451 local"},
		{name: "second RCPT, first rejected", host: toTwoStart + "S: 250 ok\nS: 550 who?", to: 2, want: "rejected rcpt 550; deferred rcpt 451 local"},
		{name: "second RCPT in turn", host: plainHello + "C: MAIL\nS: 250 ok\nC: RCPT\nS: 250 ok\nC: RCPT", to: 2, want: "deferred rcpt 451 local; deferred rcpt 451 local"},
		{name: "third RCPT", host: hello + "C: MAIL\nC: RCPT\nC: RCPT\nC: RCPT\nC: DATA\nS: 250 ok\nS: 450 no\nS: 250 ok", to: 3, want: "deferred rcpt 450; deferred rcpt 451 local; deferred rcpt 451 local"},
		{name: "replies to a refused MAIL", host: toTwoStart + "S: 550 no\nS: 503 no", to: 2, want: "rejected mail 550; rejected mail 550"},
		{name: "DATA", host: hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\nS: 250 ok", want: "deferred data 451 local"},
		{name: "DATA, one rejected", host: toTwoStart + "S: 250 ok\nS: 550 who?\nS: 250 ok", to: 2, want: "rejected rcpt 550; deferred data 451 local"},
		{name: "DATA for nobody", host: toTwoStart + "S: 250 ok\nS: 550 who?\nS: 450 no", to: 2, want: "rejected rcpt 550; deferred rcpt 450"},
		{name: "the lone dot for nobody", host: toTwoStart + "S: 250 ok\nS: 550 who?\nS: 450 no\nS: 354 go\nC: .", to: 2, want: "rejected rcpt 550; deferred rcpt 450"},
		{name: "body, nothing read", host: hello + toOne, size: 1 << 20, want: "deferred body 451 local", left: "*"},
		{name: "body, some read", host: hello + toOne + "part 100000", size: 1 << 20, want: "deferred body 451 local", left: "*"},
		{name: "body behind TLS", host: secured + "C: EHLO\n" + pipelined + toOne + "part 100000", tls: mx.TLSRequired, size: 1 << 20, want: "deferred body 451 local", left: "*"},
		{name: "body by LMTP", host: "S: 220 hi\nC: LHLO\n" + pipelined + toOne + "part 100000", with: lmtp, size: 1 << 20, want: "deferred body 451 local", left: "*"},
		{name: "a chunk, nothing read", host: toChunks, with: chunked, size: 70000, want: "deferred body 451 local", left: "*"},
		{name: "a chunk, some read", host: toChunks + "chunk\npart 100", with: chunked, size: 70000, want: "deferred body 451 local", left: "*"},
		{name: "reply to a chunk", host: inTurns + "chunk", with: chunked, size: 70000, want: "deferred body 451 local"},
		{name: "reply to a chunk, one ahead", host: toChunks + "chunk\nchunk\nS: 250 ok\nchunk", with: chunked, size: 70000, want: "deferred body 451 local"},
		{name: "reply to a chunk, one before refused", host: toChunks + "chunk\nchunk\nS: 552 too big", with: chunked, size: 70000, want: "rejected body 552"},
		{name: "reply to the last chunk", host: toChunks + three + "last", with: chunked, size: 70000, want: "unknown final 451 local", whole: 1},
		{name: "LMTP: second reply to the last chunk", host: lmtpTurn + strings.Repeat("chunk\nS: 250 ok\n", 3) + "last\nS: 250 ok", with: lmtpChunked, to: 2, size: 70000, want: "delivered final 250; unknown final 451 local", whole: 1},
		{name: "final", host: hello + toOne + "message", want: "unknown final 451 local", whole: 1},
		{name: "final behind TLS", host: secured + "C: EHLO\n" + pipelined + toOne + "message", tls: mx.TLSRequired, want: "unknown final 451 local", whole: 1},
		{name: "half a final reply", host: hello + toOne + "message\nS: 250-ok", want: "unknown final 451 local", whole: 1},
		{name: "final, one rejected before", host: toTwoStart + "S: 250 ok\nS: 550 who?\nS: 250 ok\nS: 354 go\nmessage", to: 2, want: "rejected rcpt 550; unknown final 451 local", whole: 1},
		{name: "LMTP: first reply", host: toLMTP, with: lmtp, to: 2, want: "unknown final 451 local; unknown final 451 local", whole: 1},
		{name: "LMTP: second reply", host: toLMTP + "S: 250 ok", with: lmtp, to: 2, want: "delivered final 250; unknown final 451 local", whole: 1},
		{name: "LMTP: second reply, first rejected", host: toLMTP + "S: 550 no", with: lmtp, to: 2, want: "rejected final 550; unknown final 451 local", whole: 1},
		{name: "second message: MAIL", host: hello + atOnce + "C: MAIL\nC: RCPT\nC: DATA", first: true, want: "deferred mail 451 local", whole: 1},
		{name: "second message: RSET", host: plainHello + "C: MAIL\nS: 250 ok\nC: RCPT\nS: 450 no\nC: RSET", first: true, want: "deferred mail 451 local"},
		{name: "second message: final", host: hello + atOnce + toOne + "message", first: true, want: "unknown final 451 local", whole: 2},
	}
	for _, test := range tests {
		for _, end := range endings {
			t.Run(test.name+"/"+end.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := end.begin(t.Context())
					cert, roots := testTLS(t, "a.localhost")
					client, server := pipe("127.0.0.1:25")
					v := &villain{cert: cert, cancel: cancel}
					heard := make(chan struct{})
					go func() {
						defer close(heard)
						script := test.host + "\ncancel"
						if end.after > 0 {
							// It reads nothing until the client has given up, or the two would race at one moment.
							script += "\nsleep " + (end.after + time.Millisecond).String()
						}
						v.serve(server, script)
					}()
					c := &Conn{Hostname: "client.test", Host: "a.localhost", TLS: test.tls, TLSConfig: &tls.Config{RootCAs: roots}}
					if test.with != nil {
						test.with(c)
					}
					begun := time.Now()
					got, err := cancelled(t, ctx, c, client, test.first, test.to, test.size)
					took, writes := time.Since(begun), len(client.writes)
					if got != test.want {
						t.Errorf("got  %s\nwant %s", got, test.want)
					}
					// The error is of the first who hasn't got his mail, which may have another reason.
					if local := strings.HasSuffix(test.want, "local"); local && !errors.Is(err, end.want) && !strings.Contains(test.want, "0; ") {
						t.Errorf("got error %v, want %v", err, end.want)
					}
					if took != end.after {
						t.Errorf("took %v, want %v", took, end.after)
					}
					if c.Ready() {
						t.Error("the session is ready")
					}
					c.Quit(context.Background())
					if len(client.writes) != writes {
						t.Error("the client went on writing")
					}
					<-heard
					v.check(t, test.whole, test.left)
				})
			})
		}
	}
}

// cancelled goes through a session until it ends, and says how, as TestHostile has it.
func cancelled(t *testing.T, ctx context.Context, c *Conn, nc net.Conn, first bool, to, size int) (string, error) {
	if err := c.Open(ctx, nc); err != nil {
		return showOpen(err), err
	}
	env := smtp.NewEnvelope("ann@client.test", threeRcpts[:max(to, 1)]...)
	content := smtp.Text("Hello.\n")
	if size > 0 {
		content = lines(size)
	}
	if first {
		c.Send(ctx, env, content)
	}
	results, err := c.Send(ctx, env, content)
	checkError(t, results, err)
	return strings.Join(showShort(results), "; "), err
}

// TestCancelled: with a ctx that has ended, nothing is dialled and nothing is said.
func TestCancelled(t *testing.T) {
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errEnough)
	env, content := smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n")
	check := func(t *testing.T, results []smtp.Result, err error, want string) {
		t.Helper()
		if got := strings.Join(showShort(results), "; "); got != want || !errors.Is(err, errEnough) {
			t.Errorf("got %s and %v, want %s and %v", got, err, want, errEnough)
		}
	}
	conn := func(t *testing.T, host string, use func(c *Conn, nc *pipeConn)) {
		synctest.Test(t, func(t *testing.T) {
			client, server := pipe("192.0.2.1:25")
			v := new(villain)
			heard := make(chan struct{})
			go func() {
				defer close(heard)
				v.serve(server, host)
			}()
			begun := time.Now()
			c := &Conn{Hostname: "client.test", Host: "a.test"}
			use(c, client)
			if took := time.Since(begun); took != 0 {
				t.Errorf("took %v", took)
			}
			if c.Ready() {
				t.Error("the session is ready")
			}
			c.Quit(context.Background())
			<-heard
			v.check(t, 0, "")
		})
	}
	t.Run("Open", func(t *testing.T) {
		conn(t, "", func(c *Conn, nc *pipeConn) {
			if err := c.Open(ended, nc); !errors.Is(err, errEnough) {
				t.Errorf("got %v", err)
			}
		})
	})
	t.Run("Open, greeted", func(t *testing.T) {
		conn(t, "S: 220 hi", func(c *Conn, nc *pipeConn) {
			synctest.Wait()
			if err := c.Open(ended, nc); !errors.Is(err, errEnough) {
				t.Errorf("got %v", err)
			}
		})
	})
	t.Run("Send", func(t *testing.T) {
		conn(t, hello, func(c *Conn, nc *pipeConn) {
			if err := c.Open(context.Background(), nc); err != nil {
				t.Fatal(err)
			}
			results, err := c.Send(ended, env, content)
			check(t, results, err, "deferred mail 451 local")
		})
	})
	t.Run("Quit", func(t *testing.T) {
		conn(t, hello, func(c *Conn, nc *pipeConn) {
			if err := c.Open(context.Background(), nc); err != nil {
				t.Fatal(err)
			}
			if err := c.Quit(ended); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("Transport", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr, inet := newTransport(t)
			inet.serve("192.0.2.1:25", new(villain).play(""))
			results, err := tr.Send(ended, env, content)
			check(t, results, err, "deferred route 451 local")
			tr.Close()
			if got := inet.dialled(); got != "" {
				t.Errorf("dialled %s", got)
			}
		})
	})
}

// play is for internet.serve.
func (v *villain) play(script string) func(*pipeConn) {
	return func(nc *pipeConn) { v.serve(nc, script) }
}

// TestCancelTransport: the end of ctx ends a delivery wherever it is; no other host is asked, and no session is kept.
func TestCancelTransport(t *testing.T) {
	tests := []struct {
		name  string
		host  string
		want  string
		dials int
		first bool // a message before it, whose session is kept
		whole int
	}{
		{name: "dialling", want: "deferred connect 451 local", dials: 1},
		{name: "greeting", host: "flush", want: "deferred greeting 451 local", dials: 1},
		{name: "handshake", host: offersTLS + "S: 220 go\npart 5", want: "deferred tls 451 local", dials: 1},
		{name: "MAIL", host: plainHello + "C: MAIL", want: "deferred mail 451 local", dials: 1},
		{name: "final", host: hello + toOne + "message", want: "unknown final 451 local", dials: 1, whole: 1},
		{name: "kept session: MAIL", host: hello + atOnce + "C: MAIL\nC: RCPT\nC: DATA", first: true, want: "deferred mail 451 local", dials: 1, whole: 1},
		{name: "kept session: RSET", host: plainHello + "C: MAIL\nS: 250 ok\nC: RCPT\nS: 550 no\nC: RSET", first: true, want: "deferred mail 451 local", dials: 1},
		{name: "kept session: final", host: hello + atOnce + toOne + "message", first: true, want: "unknown final 451 local", dials: 1, whole: 2},
	}
	for _, test := range tests {
		for _, end := range endings {
			t.Run(test.name+"/"+end.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					tr, inet := newTransport(t)
					ctx, cancel := end.begin(t.Context())
					cert, _ := testTLS(t, "a.localhost")
					v := &villain{cert: cert, cancel: cancel}
					inet.serve("192.0.2.1:25", v.play(test.host+"\ncancel"))
					if test.host == "" {
						tr.DialContext = func(dialCtx context.Context, network, addr string) (net.Conn, error) {
							inet.dials = append(inet.dials, addr)
							cancel()
							<-dialCtx.Done()
							return nil, dialCtx.Err()
						}
					}
					env := smtp.NewEnvelope("ann@client.test", "bob@example.net")
					if test.first {
						tr.Send(context.Background(), env, smtp.Text("Hello.\n"))
					}
					begun := time.Now()
					results, err := tr.Send(ctx, env, smtp.Text("Hello.\n"))
					if got := strings.Join(showShort(results), "; "); got != test.want || !errors.Is(err, end.want) {
						t.Errorf("got %s and %v, want %s and %v", got, err, test.want, end.want)
					}
					if took := time.Since(begun); took != end.after {
						t.Errorf("took %v, want %v", took, end.after)
					}
					if n := idle(tr); n != 0 {
						t.Errorf("%d sessions are kept", n)
					}
					tr.Close()
					inet.wg.Wait()
					if got := len(strings.Fields(inet.dialled())); got != test.dials {
						t.Errorf("dialled %d times, want %d", got, test.dials)
					}
					v.check(t, test.whole, strings.Join(v.left, "|"))
				})
			})
		}
	}
}

// TestCancelQuit: the end of ctx ends the wait for the answer to QUIT.
func TestCancelQuit(t *testing.T) {
	for _, end := range endings {
		t.Run(end.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := end.begin(t.Context())
				client, server := pipe("192.0.2.1:25")
				v := &villain{cancel: cancel}
				heard := make(chan struct{})
				go func() {
					defer close(heard)
					v.serve(server, hello+"C: QUIT\ncancel")
				}()
				c := &Conn{Hostname: "client.test"}
				if err := c.Open(t.Context(), client); err != nil {
					t.Fatal(err)
				}
				begun := time.Now()
				if err := c.Quit(ctx); err != nil || c.Ready() {
					t.Errorf("got %v, and ready %t", err, c.Ready())
				}
				if took, most := time.Since(begun), min(end.after, 5*time.Second); took != most {
					t.Errorf("took %v, want %v", took, most)
				}
				<-heard
				v.check(t, 0, "")
			})
		})
	}
}
