package interop

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os/exec"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/smtp"
)

// offers is what was offered to a relay, and what it said. The ids are recipients at next.test too.
type offers struct {
	mu      sync.Mutex
	acked   []string
	refused map[string]*smtp.Reply
	unknown int // the connection broke before the answer
}

func newOffers(acked ...string) *offers {
	return &offers{acked: acked, refused: make(map[string]*smtp.Reply)}
}

// sessions offers mails from n sessions at once, each time that more says so, and waits for their end.
func (o *offers) sessions(t *testing.T, r *relay, n int, prefix string, size func() int, more func() bool) {
	var wg sync.WaitGroup
	for session := range n {
		wg.Go(func() {
			for i := 0; r.running() && t.Context().Err() == nil; {
				conn := &client.Conn{Hostname: "source.test"}
				nc, err := net.Dial("tcp", r.addr)
				if err == nil {
					err = conn.Open(t.Context(), nc)
				}
				if err != nil {
					time.Sleep(5 * time.Millisecond) // it is ending, and its process tells when it has
					continue
				}
				for ; conn.Ready(); i++ {
					if !more() {
						conn.Close()
						return
					}
					o.offer(t.Context(), conn, fmt.Sprintf("%s-%d-%d", prefix, session, i), size())
				}
				conn.Close()
			}
		})
	}
	wg.Wait()
}

func (o *offers) offer(ctx context.Context, conn *client.Conn, id string, size int) {
	mail := bytes.NewReader(ledgerMail(id, size))
	results, _ := conn.Send(ctx, smtp.NewEnvelope("ann@source.test", id+"@next.test"), mail)
	o.mu.Lock()
	defer o.mu.Unlock()
	switch res := results[0]; {
	case res.Outcome == smtp.Delivered:
		o.acked = append(o.acked, id)
	case res.Local || res.Outcome == smtp.Unknown:
		o.unknown++
	default:
		o.refused[id] = res.Reply
	}
}

// counts says how many were acknowledged and refused so far.
func (o *offers) counts() (acked, refused int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.acked), len(o.refused)
}

// answeredWith checks the replies to what was refused.
func (o *offers) answeredWith(t *testing.T, want ...string) {
	t.Helper()
	for id, reply := range o.refused {
		if !slices.Contains(want, reply.Error()) {
			t.Errorf("%s: got %q, want one of %q", id, reply.Error(), want)
		}
	}
}

// inSpool opens the spool with the relay's -list, then with the relay itself and a next host that is up: all that
// was acknowledged must be there, and all that is there must arrive whole and once.
func (o *offers) inSpool(t *testing.T, spool string) (listed []string) {
	t.Helper()
	listed = list(t, spool)
	o.mustBeIn(t, listed)
	next, addr := startLedger(t, "127.0.0.1:0")
	r := startRelay(t, spool, "-smarthost", addr)
	grows(len(listed), func() int { return next.count(listed) })
	r.stop(t)
	next.check(t, listed)
	return listed
}

func (o *offers) mustBeIn(t *testing.T, ids []string) {
	t.Helper()
	there := make(map[string]bool)
	for _, id := range ids {
		there[id] = true
	}
	lost := slices.DeleteFunc(slices.Clone(o.acked), func(id string) bool { return there[id] })
	if len(lost) > 0 {
		t.Errorf("%d of the %d mails that got 250 are lost: %q …", len(lost), len(o.acked), lost[:min(5, len(lost))])
	}
}

// check compares what arrived with what had to.
func (l *ledger) check(t *testing.T, want []string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if got := slices.Sorted(maps.Keys(l.arrived)); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		t.Errorf("%d mails arrived, want %d:\n got %q\nwant %q", len(got), len(want), got, want)
	}
	for id, n := range l.arrived {
		if n != 1 {
			t.Errorf("%s arrived %d times, want once", id, n)
		}
	}
	if len(l.broken) > 0 {
		t.Errorf("got broken mails: %q", l.broken)
	}
}

var listedID = regexp.MustCompile(`<(\S+)@next\.test>`)

// list gives the ids of the mails that are in a spool.
func list(t *testing.T, spool string) (ids []string) {
	t.Helper()
	bin, err := relayBinary()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(bin, "-spool", spool, "-list").CombinedOutput()
	if err != nil {
		t.Fatalf("-list: %v\n%s", err, out)
	}
	for _, m := range listedID.FindAllSubmatch(out, -1) {
		ids = append(ids, string(m[1]))
	}
	return ids
}

// mixed are sizes on both sides of the 256 KiB from which on a body has a file of its own.
func mixed() int {
	switch rand.IntN(4) {
	case 0:
		return 300<<10 + rand.IntN(400<<10)
	case 1:
		return 255<<10 + rand.IntN(2<<10)
	}
	return 100 + rand.IntN(40<<10)
}
