package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// hostileCase is one trick of a host, and all that may come of it.
type hostileCase struct {
	name string
	host string      // the villain's script
	tls  mx.TLSLevel // where with leaves it; the certificate is good for a.localhost
	with func(*Conn) // sets up the session; nil: nothing but a name
	to   int         // recipients; if zero, one
	send int         // messages, with a second between them; if zero, one
	size int         // of each; if zero, that of "Hello.\r\n"

	want  string        // of each recipient: outcome, stage, code and "local"; "no session" where Open failed
	ready bool          // the session takes another message
	whole int           // messages that the host has to their end
	takes time.Duration // what Open and Send take, to the second
	left  string        // what the client said behind the script; if empty, QUIT where the session is ready; "*": no more than a part of what it had begun
}

// TestHostile holds that no trick of a host brings a wrong result, a hang beyond the time-out of the stage
// it is played at, or memory without bound.
func TestHostile(t *testing.T) {
	for _, group := range []struct {
		name  string
		cases []hostileCase
	}{
		{"greeting", hostileGreetings}, {"EHLO", hostileHellos}, {"STARTTLS", hostileTLS}, {"AUTH", hostileAuth},
		{"envelope", slices.Concat(hostileEnvelopes, closedEnvelopes())}, {"DATA", hostileData}, {"BDAT", hostileChunks}, {"LIMITS", hostileLimits}, {"final", hostileFinals},
		{"session", hostileSessions},
	} {
		for _, test := range group.cases {
			t.Run(group.name+"/"+test.name, func(t *testing.T) { synctest.Test(t, test.run) })
		}
	}
}

func (test hostileCase) run(t *testing.T) {
	cert, roots := testTLS(t, "a.localhost")
	client, server := pipe("127.0.0.1:25") // where AUTH is allowed in the clear
	v := &villain{cert: cert}
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		v.serve(server, test.host)
	}()

	c := &Conn{Hostname: "client.test", Host: "a.localhost", TLS: test.tls, TLSConfig: &tls.Config{RootCAs: roots}}
	if test.with != nil {
		test.with(c)
	}
	env := smtp.NewEnvelope("ann@client.test", threeRcpts[:max(test.to, 1)]...)
	content := smtp.Text("Hello.\n")
	if test.size > 0 {
		content = lines(test.size)
	}
	begun := time.Now()
	var got []string
	if err := c.Open(t.Context(), client); err != nil {
		got = append(got, showOpen(err))
		f, _ := errors.AsType[*failure](err)
		if f.final() {
			t.Errorf("a host can't make %v final", err)
		}
		checkBounded(t, f.reply)
	} else {
		for n := range max(test.send, 1) {
			if n > 0 {
				time.Sleep(time.Second)
				begun = begun.Add(time.Second)
			}
			results, err := c.Send(t.Context(), env, content)
			checkError(t, results, err)
			got = append(got, showShort(results)...)
			for _, r := range results {
				checkBounded(t, r.Reply)
			}
		}
	}
	took, ready := time.Since(begun), c.Ready()
	begun = time.Now()
	c.Quit(context.Background())
	if d := time.Since(begun); d > c.Timeouts.quit() {
		t.Errorf("Quit took %v", d)
	}
	<-heard

	if got := strings.Join(got, "; "); got != test.want {
		t.Errorf("got  %s\nwant %s", got, test.want)
	}
	if ready != test.ready {
		t.Errorf("ready: got %t, want %t", ready, test.ready)
	}
	if took < test.takes || took > test.takes+time.Second {
		t.Errorf("took %v, want %v", took, test.takes)
	}
	left := test.left
	if ready && left == "" && !strings.Contains(test.host, "C: QUIT") && !strings.HasSuffix(test.host, "close") {
		left = "QUIT"
	}
	v.check(t, test.whole, left)
}

var threeRcpts = []string{"bob@example.net", "eve@example.net", "joe@example.net"}

// showOpen gives what Open failed with as the tables have it.
func showOpen(err error) string {
	f, _ := errors.AsType[*failure](err)
	return strings.TrimSpace(fmt.Sprintf("no session %s %d %s", f.stage, f.reply.Code, local(f.local)))
}

// showShort gives results as the tables have them.
func showShort(results []smtp.Result) []string {
	var list []string
	for _, r := range results {
		list = append(list, strings.TrimSpace(fmt.Sprintf("%s %s %d %s", r.Outcome, r.Stage, r.Reply.Code, local(r.Local))))
	}
	return list
}

func local(is bool) string {
	if is {
		return "local"
	}
	return ""
}

// checkBounded: what is kept of a host's words is bounded, and nothing in it can break a line of a log.
func checkBounded(t *testing.T, r *smtp.Reply) {
	t.Helper()
	if len(r.Text) > 64<<10 {
		t.Errorf("got a reply of %d octets", len(r.Text))
	}
	if i := strings.IndexFunc(r.Text, func(c rune) bool { return c < ' ' && c != '\t' && c != '\n' }); i >= 0 {
		t.Errorf("got a reply with %q", r.Text[i])
	}
}
