package client

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// TestHostileHosts holds that the mail goes on from a host that plays tricks to a good one exactly when
// Transport.Send says so, and in time.
func TestHostileHosts(t *testing.T) {
	const a, b, c = "192.0.2.1:25", "192.0.2.2:25", "192.0.2.3:25"
	var (
		good     = hello + atOnce
		oneTaken = plainHello + "C: MAIL\nS: 250 ok\nC: RCPT\nS: 250 ok\nC: DATA\nS: 354 go\nmessage\n" + taken + "\n"
		rejects  = hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\nS: 550 who?\nS: 503 no"
		starttls = greeted + "S: 250-host\nS: 250-STARTTLS\nS: 250 PIPELINING\n"
	)
	tests := []struct {
		name  string
		hosts map[string][]string // villains' scripts, one a connection; what isn't here refuses connections
		tls   bool                // required
		send  int                 // messages; if zero, one
		size  int
		want  string // of each message
		dials string
		whole int // final dots that hosts heard
		takes time.Duration
	}{
		{name: "no greeting", hosts: map[string][]string{a: {""}, b: {good}}, want: "delivered final 250 b.test", dials: a + " " + b, whole: 1, takes: 5 * time.Minute},
		{name: "a greeting without end", hosts: map[string][]string{a: {`flood "220-hi\r\n"`}, b: {good}}, want: "delivered final 250 b.test", dials: a + " " + b, whole: 1},
		{name: "a greeting that is none", hosts: map[string][]string{a: {"S: HTTP/1.1 400 no"}, b: {good}}, want: "delivered final 250 b.test", dials: a + " " + b, whole: 1},
		{name: "EHLO that trickles", hosts: map[string][]string{a: {greeted + "trickle 10s\nS: 250-" + strings.Repeat("x", 60)}, b: {good}}, want: "delivered final 250 b.test", dials: a + " " + b, whole: 1, takes: 5 * time.Minute},
		{name: "two bad ones, and none left", hosts: map[string][]string{a: {"S: 220-hi\nS: 554 no"}, b: {greeted + `flood "250-X\r\n"`}}, want: "deferred connect 451 c.test local", dials: a + " " + b + " " + c},
		{name: "TLS offered in vain, and none in the clear", hosts: map[string][]string{a: {starttls + "C: STARTTLS\nS: 220 go\npart 5\nclose", "S: 554 no"}, b: {good}}, want: "delivered final 250 b.test", dials: a + " " + a + " " + b, whole: 1},
		{name: "TLS that trickles, then in the clear", hosts: map[string][]string{a: {starttls + "C: STARTTLS\nS: 220 go\nflush\ntrickle 2s\ntls", starttls + "C: STARTTLS\nS: 220 go\nflush\ntrickle 2s\ntls", starttls + atOnce}}, want: "delivered final 250 a.test", dials: a + " " + a + " " + a, whole: 1, takes: 6 * time.Minute},
		{name: "plaintext injected: not in the clear", hosts: map[string][]string{a: {starttls + "C: STARTTLS\nS: 220 go\nS: 250 host"}, b: {good}}, want: "delivered final 250 b.test", dials: a + " " + b, whole: 1},
		{name: "TLS required, and the good one has none", tls: true, hosts: map[string][]string{a: {starttls + "C: STARTTLS\nS: 454 no"}, b: {greeted + pipelined}}, want: "deferred connect 451 c.test local", dials: a + " " + b + " " + c},
		{name: "silence for MAIL", hosts: map[string][]string{a: {hello + "part 1"}, b: {good}}, want: "delivered final 250 b.test", dials: a + " " + b, whole: 1, takes: 5 * time.Minute},
		{name: "replies that came too early", hosts: map[string][]string{a: {greeted + pipelined + ready + taken}, b: {good}}, want: "delivered final 250 b.test", dials: a + " " + b, whole: 1},
		{name: "250 for 354", hosts: map[string][]string{a: {hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 250 ok"}, b: {good}}, want: "delivered final 250 b.test", dials: a + " " + b, whole: 1},
		{name: "554 with 354", hosts: map[string][]string{a: {hello + toOne + "S: 554 no"}, b: {good}}, want: "delivered final 250 b.test", dials: a + " " + b, whole: 1},
		{name: "reads no more", size: 1 << 20, hosts: map[string][]string{a: {hello + toOne + "sleep 1h"}, b: {good}}, want: "delivered final 250 b.test", dials: a + " " + b, whole: 1, takes: 3 * time.Minute},
		{name: "two that read no more: no third", size: 1 << 20, hosts: map[string][]string{a: {hello + toOne + "sleep 1h"}, b: {hello + toOne + "sleep 1h"}, c: {good}}, want: "deferred body 451 b.test local", dials: a + " " + b, takes: 6 * time.Minute},
		{name: "closed in the middle", size: 1 << 20, hosts: map[string][]string{a: {hello + toOne + "part 100000\nclose"}, b: {good}}, want: "delivered final 250 b.test", dials: a + " " + b, whole: 1},
		{name: "554 in the middle: another host may differ", size: 1 << 20, hosts: map[string][]string{a: {hello + toOne + "part 100000\nS: 554 no\nclose"}, b: {good}}, want: "delivered final 250 b.test", dials: a + " " + b, whole: 1},
		{name: "rejected, then rubbish", hosts: map[string][]string{a: {rejects + "\nsleep 1ms\n" + `flood "250-ok\r\n"`}, b: {good}}, want: "rejected rcpt 550 a.test", dials: a},
		{name: "silence for the final dot: no other host", hosts: map[string][]string{a: {hello + toOne + "message"}, b: {good}}, want: "unknown final 451 a.test local", dials: a, whole: 1, takes: 10 * time.Minute},
		{name: "garbage for the final dot: no other host", hosts: map[string][]string{a: {hello + toOne + "message\nS: ok"}, b: {good}}, want: "unknown final 451 a.test local", dials: a, whole: 1, takes: 10 * time.Minute},
		{name: "354 for the final dot: no other host", hosts: map[string][]string{a: {hello + toOne + "message\nS: 354 go"}, b: {good}}, want: "unknown final 451 a.test local", dials: a, whole: 1},
		{name: "421 for the final dot", hosts: map[string][]string{a: {hello + toOne + "message\nS: 421 bye"}, b: {good}}, want: "delivered final 250 b.test", dials: a + " " + b, whole: 2},
		{name: "552 for the final dot: final", hosts: map[string][]string{a: {hello + toOne + "message\nS: 552 too big"}, b: {good}}, want: "rejected final 552 a.test", dials: a, whole: 1},
		{name: "a session with a reply too many isn't kept", send: 2, hosts: map[string][]string{a: {good + "S: 250 ok", good}}, want: "delivered final 250 a.test; delivered final 250 a.test", dials: a + " " + a, whole: 2},
		{name: "garbage in a kept session", send: 2, hosts: map[string][]string{a: {good + "sleep 1ms\nS: hello?", good}}, want: "delivered final 250 a.test; delivered final 250 a.test", dials: a + " " + a, whole: 2, takes: 5 * time.Minute},
		{name: "an empty line in a kept session", send: 2, hosts: map[string][]string{a: {good + "sleep 1ms\nS: \n" + toOne + "message\n" + taken}}, want: "delivered final 250 a.test; delivered final 250 a.test", dials: a, whole: 2},
		{name: "an empty line with the final reply", send: 2, hosts: map[string][]string{a: {good + "S: \n" + toOne + "message\n" + taken}}, want: "delivered final 250 a.test; delivered final 250 a.test", dials: a, whole: 2},
		{name: "a late 250 in a kept session", send: 2, hosts: map[string][]string{a: {good + "sleep 1ms\nS: 250 ok\n" + toOne, good}}, want: "delivered final 250 a.test; delivered final 250 a.test", dials: a + " " + a, whole: 2},
		{name: "550 with the 250 to MAIL in a kept session", send: 2, hosts: map[string][]string{a: {oneTaken + "C: MAIL\nS: 550 5.1.1 who?\nS: 250 ok", good}}, want: "delivered final 250 a.test; delivered final 250 a.test", dials: a + " " + a, whole: 2},
		{name: "550 5.1.1 to MAIL in a kept session", send: 2, hosts: map[string][]string{a: {oneTaken + "C: MAIL\nS: 550 5.1.1 who?\nC: QUIT\nS: 221 bye", good}}, want: "delivered final 250 a.test; delivered final 250 a.test", dials: a + " " + a, whole: 2},
		{name: "550 5.1.1 to MAIL in each session", send: 2, hosts: map[string][]string{a: {oneTaken + "C: MAIL\nS: 550 5.1.1 who?\nC: QUIT\nS: 221 bye", plainHello + "C: MAIL\nS: 550 5.1.1 who?"}}, want: "delivered final 250 a.test; rejected mail 550 a.test", dials: a + " " + a, whole: 1},
		{name: "a kept session that says nothing", send: 2, hosts: map[string][]string{a: {good, good}}, want: "delivered final 250 a.test; delivered final 250 a.test", dials: a + " " + a, whole: 2, takes: 5 * time.Minute},
		{name: "a kept session that reads no more", send: 2, size: 1 << 20, hosts: map[string][]string{a: {good + toOne + "sleep 1h", good}, b: {good}}, want: "delivered final 250 a.test; delivered final 250 b.test", dials: a + " " + b, whole: 2, takes: 3 * time.Minute},
		{name: "BDAT broken: the next message goes by DATA", send: 2, size: 3 << 20, hosts: map[string][]string{a: {toChunks + "chunk\nclose", greeted + "S: 250-host\nS: 250-PIPELINING\nS: 250 CHUNKING\n" + atOnce}, b: {good}},
			want: "delivered final 250 b.test; delivered final 250 a.test", dials: a + " " + b + " " + a, whole: 2},
		{name: "BDAT without a reply to the last: no other host", size: 1900000, hosts: map[string][]string{a: {toChunks + "chunk\nS: 250 ok\nlast"}, b: {good}}, want: "unknown final 451 a.test local", dials: a, whole: 1, takes: 10 * time.Minute},
		{name: "MAIL refused, then closed", hosts: map[string][]string{a: {hello + "C: MAIL\nC: RCPT\nC: DATA\nS: 550 5.7.1 no\nclose"}, b: {good}}, want: "rejected mail 550 a.test", dials: a},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr, inet := newTransport(t)
				if test.tls {
					r := mustRoute(mx.Smarthost("a.test:25", "b.test:25", "c.test:25"))
					r.TLS = mx.TLSRequired
					tr.Router.Routes = map[string]mx.Route{"*": r}
				}
				cert, _ := testTLS(t, "a.test")
				var mu sync.Mutex
				var villains []*villain
				for addr, scripts := range test.hosts {
					next := 0
					inet.serve(addr, func(nc *pipeConn) {
						mu.Lock()
						v := &villain{cert: cert}
						villains = append(villains, v)
						script := "close"
						if next < len(scripts) {
							script = scripts[next]
						}
						next++
						mu.Unlock()
						v.serve(nc, script)
					})
				}
				content := lines(max(test.size, 100))
				begun := time.Now()
				var got []string
				for n := range max(test.send, 1) {
					if n > 0 {
						time.Sleep(time.Second)
						begun = begun.Add(time.Second)
					}
					results, err := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), content)
					checkError(t, results, err)
					r := results[0]
					got = append(got, strings.TrimSpace(strings.Join([]string{r.Outcome.String(), r.Stage.String(), r.Reply.Error()[:3], r.Host, local(r.Local)}, " ")))
				}
				if took := time.Since(begun); took < test.takes || took > test.takes+time.Second {
					t.Errorf("took %v, want %v", took, test.takes)
				}
				tr.Close()
				inet.wg.Wait()
				if got := strings.Join(got, "; "); got != test.want {
					t.Errorf("got  %s\nwant %s", got, test.want)
				}
				if got := inet.dialled(); got != test.dials {
					t.Errorf("dialled %s, want %s", got, test.dials)
				}
				whole := 0
				for _, v := range villains {
					whole += v.whole
					v.check(t, v.whole, strings.Join(v.left, "|"))
				}
				if whole != test.whole {
					t.Errorf("got %d final dots, want %d", whole, test.whole)
				}
			})
		})
	}
}
