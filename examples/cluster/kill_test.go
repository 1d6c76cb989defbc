package main

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// takeover is the time within which the others deliver the mail of a relay that was killed: its lease of 24 seconds, an
// eighth of that until another relay looks, and what delivery takes on a machine with other work.
const takeover = 24*time.Second + 24*time.Second/8 + 5*time.Second

// TestKilled kills one of three relays with kill -9 while all of them receive and deliver mail. Each mail that a relay
// has taken over by its reply arrives. It arrives once, unless the killed relay was sending it.
func TestKilled(t *testing.T) {
	const relays, clients, each = 3, 12, 60
	inbox := newSink(t, 30*time.Millisecond)
	c := start(t, relays, freePorts(t, relays), "-dsn", database(t), "-smarthost", inbox.addr)

	var mu sync.Mutex
	taken := make(map[string]bool) // recipients whose mail was answered with 250
	var killed atomic.Int64        // when, in nanoseconds since 1970
	var wg sync.WaitGroup
	for n := range clients {
		relay := 1 + n%relays
		sub := &client.Submission{Addr: c.addr(relay), TLS: mx.TLSNone, LeaveIncomplete: true}
		defer sub.Close()
		wg.Go(func() {
			for m := range each {
				to := fmt.Sprintf("r%d-%d@example.net", n, m)
				env := smtp.NewEnvelope(fmt.Sprintf("s%d-%d@example.com", n, m), to)
				results, err := sub.Send(t.Context(), env, smtp.Text("Subject: hello\n\nHello.\n"))
				if err == nil && results[0].Outcome == smtp.Delivered {
					mu.Lock()
					taken[to] = true
					mu.Unlock()
				} else if relay != 2 || killed.Load() == 0 {
					t.Errorf("%s: got %v and %v", to, results, err)
				}
			}
		})
	}
	until(t, 30*time.Second, "little mail has arrived", func() bool { return len(inbox.mails()) >= 100 })
	begin := time.Now()
	killed.Store(begin.UnixNano())
	if err := syscall.Kill(c.pids[2], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	missing := func() (n int) {
		got := inbox.mails()
		for to := range taken {
			if got[to] == nil {
				n++
			}
		}
		return n
	}
	until(t, takeover+time.Minute, "some mail is missing", func() bool { return missing() == 0 })

	var last time.Time
	late, copies := 0, 0
	for to, when := range inbox.mails() {
		if when[0].After(last) {
			last = when[0]
		}
		if when[0].Sub(begin) > 10*time.Second {
			late++
		}
		if len(when) == 1 {
			continue
		}
		copies++
		// It was on its way, or its result wasn't stored yet.
		if d := when[0].Sub(begin); len(when) > 2 || d < -time.Second || d > time.Second {
			t.Errorf("%s: %d mails, the first %v after the kill", to, len(when), d)
		}
	}
	t.Logf("%d mails were taken, %d others arrived; %d waited for the end of the lease, the last arrived %v after the "+
		"kill; %d copies", len(taken), len(inbox.mails())-len(taken), late, last.Sub(begin), copies)
	if d := last.Sub(begin); d > takeover {
		t.Errorf("the last mail arrived %v after the kill, want %v at most", d, takeover)
	}
	if late == 0 {
		t.Error("the killed relay had no mail")
	}
	if most := 20; copies > most { // the limit of a site
		t.Errorf("got %d copies, want %d at most", copies, most)
	}
	if err := c.cmd.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the program has ended: %v", err)
	}
	c.stop(t)
}
