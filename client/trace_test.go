package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// record gives a Trace that writes into lines.
func record(lines *[]string) *Trace {
	say := func(s SessionInfo, format string, args ...any) {
		*lines = append(*lines, fmt.Sprintf("%d %s ", s.ID, s.Addr)+fmt.Sprintf(format, args...))
	}
	return &Trace{
		Opened:   func(s SessionInfo) { say(s, "opened") },
		Secured:  func(s SessionInfo, state tls.ConnectionState) { say(s, "secured %s", tls.VersionName(state.Version)) },
		Sent:     func(s SessionInfo, line string) { say(s, "> %s", line) },
		Content:  func(s SessionInfo, n int) { say(s, "> %d octets", n) },
		Received: func(s SessionInfo, r *smtp.Reply) { say(s, "< %s", r) },
		Broken:   func(s SessionInfo, err error) { say(s, "broken: %v", err) },
		Closed:   func(s SessionInfo) { say(s, "closed") },
	}
}

func TestTrace(t *testing.T) {
	const ehlo = "S: 220 hi\nC: EHLO client.test\nS: 250-host\nS: 250-AUTH PLAIN LOGIN\nS: 250 PIPELINING\n"
	tests := []struct {
		name   string
		tls    mx.TLSLevel
		start  mx.TLSStart
		auth   smtp.Auth
		chunk  int64
		script string
		want   string
	}{
		{name: "plain", tls: mx.TLSNone, script: whole, want: `
			opened
			< 220 ESMTP
			> EHLO client.test
			< 250 host PIPELINING
			> MAIL FROM:<ann@client.test>
			> RCPT TO:<bob@example.net>
			> DATA
			< 250 sender ok
			< 250 recipient ok
			< 354 go
			> 11 octets
			< 250 taken
			> QUIT
			< 221 bye
			closed`},
		{name: "credentials are not told", tls: mx.TLSNone, auth: plainAuth("secret"),
			script: ehlo + "C: AUTH PLAIN AGFubgBzZWNyZXQ=\nS: 535 5.7.8 wrong\nC: QUIT\neof", want: `
			opened
			< 220 hi
			> EHLO client.test
			< 250 host AUTH PLAIN LOGIN PIPELINING
			> AUTH PLAIN ***
			< 535 5.7.8 wrong
			> QUIT
			closed`},
		{name: "nor are challenges", tls: mx.TLSNone, auth: loginAuth("secret"),
			script: ehlo + "C: AUTH LOGIN YW5u\nS: 334 UGFzc3dvcmQ6\nC: c2VjcmV0\nS: 421 4.3.0 busy\neof", want: `
			opened
			< 220 hi
			> EHLO client.test
			< 250 host AUTH PLAIN LOGIN PIPELINING
			> AUTH LOGIN ***
			< 334 ***
			> ***
			< 421 4.3.0 busy
			closed`},
		{name: "TLS", start: mx.TLSImplicit, script: "tls\n" + hello + "C: MAIL FROM:<ann@client.test>\nsleep 1s\nclose", want: `
			opened
			secured TLS 1.3
			< 220 ESMTP
			> EHLO client.test
			< 250 host PIPELINING
			> MAIL FROM:<ann@client.test>
			> RCPT TO:<bob@example.net>
			> DATA
			broken: EOF
			closed`},
		{name: "chunks", tls: mx.TLSNone, chunk: 5, script: "S: 220 hi\nC: EHLO client.test\nS: 250-host\nS: 250 CHUNKING\n" +
			"C: MAIL FROM:<ann@client.test>\nS: 250 ok\nC: RCPT TO:<bob@example.net>\nS: 250 ok\nsleep 1s\nclose", want: `
			opened
			< 220 hi
			> EHLO client.test
			< 250 host CHUNKING
			> MAIL FROM:<ann@client.test>
			< 250 ok
			> RCPT TO:<bob@example.net>
			< 250 ok
			> BDAT 5
			> 5 octets
			broken: EOF
			closed`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cert, roots := testTLS(t, "a.localhost")
				client, server := pipe("127.0.0.1:25")
				done := make(chan struct{})
				go func() { play(server, steps(tt.script), cert, nil); close(done) }()
				var lines []string
				c := &Conn{Hostname: "client.test", Host: "a.localhost", TLS: tt.tls, TLSStart: tt.start, Auth: tt.auth, ChunkSize: tt.chunk,
					TLSConfig: &tls.Config{RootCAs: roots}, Trace: record(&lines)}
				if c.Open(t.Context(), client) == nil {
					c.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n"))
					c.Quit(t.Context())
				}
				<-done
				got := strings.Join(lines, "\n")
				if want := strings.ReplaceAll(strings.TrimPrefix(tt.want, "\n\t\t\t"), "\t\t\t", "0 127.0.0.1:25 "); got != "0 127.0.0.1:25 "+want {
					t.Errorf("got\n%s\nwant\n%s", got, "0 127.0.0.1:25 "+want)
				}
			})
		})
	}
}

// TestTried: what a Transport tells of each host.
func TestTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, inet := newTransport(t)
		inet.scripts("192.0.2.1:25", "S: 421 4.3.2 busy\neof")
		inet.scripts("192.0.2.2:25", hello+toBob+"S: 250 ok\nS: 451 4.3.0 later\nS: 554 nobody\n"+quit)
		inet.scripts("192.0.2.3:25", hello+toBob+ready+body+taken+toBob+ready+"C: Hello.\nC: .\nS: 250 again\n"+quit)
		type mark struct{}
		var got []string
		tr.Tried = func(ctx context.Context, try Try) {
			s := fmt.Sprintf("%v %s #%d %s %s reused=%v", ctx.Value(mark{}), try.Route, try.Session.ID, try.Session.Host, try.Session.Addr, try.Reused)
			for _, r := range try.Results {
				s += fmt.Sprintf(" %s: %s", r.Outcome, r.Reply)
			}
			if try.Err != nil {
				s += " " + try.Err.Error()
			}
			if try.Took < 0 || time.Since(try.Begun) != try.Took {
				t.Errorf("%s: begun at %v, took %v", s, try.Begun, try.Took)
			}
			got = append(got, s)
		}
		ctx := context.WithValue(t.Context(), mark{}, "mine")
		env := smtp.NewEnvelope("ann@client.test", "bob@example.net")
		for range 2 {
			tr.Send(ctx, env, smtp.Text("Hello.\n"))
			inet.mx["example.net."] = inet.mx["example.net."][len(inet.mx["example.net."])-1:]
			tr.Router = &mx.Router{Resolver: inet} // forgets its answers
		}
		tr.Close()
		want := []string{
			"mine example.net #1 a.test 192.0.2.1:25 reused=false client: a.test: greeting: 421 4.3.2 busy",
			"mine example.net #2 b.test 192.0.2.2:25 reused=false deferred: 451 4.3.0 later",
			"mine example.net #3 c.test 192.0.2.3:25 reused=false delivered: 250 taken",
			"mine example.net #3 c.test 192.0.2.3:25 reused=true delivered: 250 again",
		}
		if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
			t.Errorf("got\n%s\nwant\n%s", g, w)
		}
	})
}

// TestTracedChunk: a BDAT whose content can't be read wasn't sent, and isn't told.
func TestTracedChunk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pipe("127.0.0.1:25")
		done := make(chan []string)
		script := steps("S: 220 hi\nC: EHLO client.test\nS: 250-host\nS: 250 CHUNKING\nC: MAIL FROM:<ann@client.test>\nS: 250 ok\nC: RCPT TO:<bob@example.net>\nS: 250 ok\neof")
		go func() { done <- play(server, script, nil, nil) }()
		var lines []string
		c := &Conn{Hostname: "client.test", Host: "a.test", TLS: mx.TLSNone, ChunkSize: 5, Trace: record(&lines)}
		if err := c.Open(t.Context(), client); err != nil {
			t.Fatal(err)
		}
		content := &failingContent{Content: smtp.Text("Hello.\n"), err: fmt.Errorf("store: %w", &smtp.ContentError{Err: io.ErrNoProgress}), scans: 1}
		c.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), content)
		if c.broken.has(kwChunking) {
			t.Error("got a host that breaks BDAT, want one that never heard it")
		}
		<-done
		if all := strings.Join(lines, "\n"); strings.Contains(all, "BDAT") {
			t.Errorf("got\n%s", all)
		}
	})
}
