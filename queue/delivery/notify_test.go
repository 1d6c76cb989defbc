package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/internal/crashfs"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// notifies are all values of NOTIFY, the one that isn't given included.
var notifies = func() []smtp.Notify {
	all := []smtp.Notify{0, smtp.NotifyNever}
	for flags := range 8 {
		var n smtp.Notify
		for i, flag := range []smtp.Notify{smtp.NotifySuccess, smtp.NotifyFailure, smtp.NotifyDelay} {
			if flags>>i&1 == 1 {
				n |= flag
			}
		}
		if n != 0 {
			all = append(all, n)
		}
	}
	return all
}()

// ends has, for each domain of a recipient, what happens there that a report can be about.
var ends = map[string][]string{
	"dsn.test":   nil, // delivered to a host that reports from there on (RFC 3461 §5.2.1)
	"plain.test": {"relayed"},
	"box.test":   {"delivered"},
	"no.test":    {"failed"},
	"down.test":  {"delayed", "failed"},
	"slow.test":  {"delayed", "relayed"}, // it is down for 6 hours
	"group.test": {"expanded", "failed"}, // of two members, one doesn't exist
}

// asks reports whether NOTIFY asks for a report of that kind (RFC 3461 §4.1, §5.2).
func asks(n smtp.Notify, kind string) bool {
	switch kind {
	case "failed":
		return n == 0 || n&smtp.NotifyFailure != 0
	case "delayed":
		return n == 0 || n&smtp.NotifyDelay != 0
	}
	return n&smtp.NotifySuccess != 0
}

// notifyRun is one message from its arrival to its last report.
type notifyRun struct {
	t        *testing.T
	inet     *smtptest.Network
	from     string
	notify   smtp.Notify
	domains  []string
	begun    time.Time
	accepted bool

	mu     sync.Mutex
	begins bool // the sender has begun
	ops    int  // on the disk since then
	at     int  // the one before which the process ends; 0: none
	kind   string
	crash  *crashfs.FS[spool.File]
}

var errDead = errors.New("the process has ended")

// begin makes the hosts.
func (w *notifyRun) begin() {
	w.begun = time.Now()
	w.inet = smtptest.NewNetwork(w.t)
	w.inet.MX("source.test", "mx.source.test")
	for _, domain := range w.domains {
		if domain == "box.test" {
			continue
		}
		host := w.inet.MX(domain, "mx."+domain)
		switch domain {
		case "dsn.test":
			continue
		case "group.test", "no.test":
			host.Reject("nobody@"+domain, smtp.NewReply(550, "5.1.1", "no such user"))
		case "down.test":
			host.Down()
		case "slow.test":
			host.Down()
			time.AfterFunc(6*time.Hour, host.Up)
		}
		host.Without("DSN")
	}
}

// before is called before each operation on the disk.
func (w *notifyRun) before(disk *crashfs.FS[spool.File], end func()) func(op string, names ...string) error {
	return func(string, ...string) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.crash != nil {
			return errDead
		}
		if w.begins {
			w.ops++
		}
		if w.at != 0 && w.ops == w.at {
			w.crash, w.at = disk.After(w.kind, rand.New(rand.NewPCG(uint64(w.ops), 1))), 0
			end()
			return errDead
		}
		return nil
	}
}

// life is that of one process. It returns the disk that a crash leaves, nil if there was none.
func (w *notifyRun) life(disk *crashfs.FS[spool.File]) *crashfs.FS[spool.File] {
	ctx, end := context.WithCancel(w.t.Context())
	defer end()
	disk.Before = w.before(disk, end)
	q, err := (&spool.Options{FS: disk}).Open("memory")
	if err != nil {
		w.t.Fatal(err)
	}
	defer q.Close()
	relay := &postrider.Relay{
		Hostname: "relay.test", Queue: q, Resolver: w.inet, MaxAge: 12 * time.Hour, Domains: []string{"group.test"},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if ctx.Err() != nil {
				return nil, errDead
			}
			return w.inet.DialContext(ctx, network, address)
		},
		Routes: map[string]mx.Route{"box.test": mx.Func("box",
			func(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) { return nil, nil })},
		Expand: func(_ context.Context, rcpt smtp.Recipient) ([]string, error) {
			if rcpt.Address == "to@group.test" {
				return []string{"bob@group.test", "nobody@group.test"}, nil
			}
			return nil, nil
		},
		Runner: &delivery.Runner{Grace: -1},
	}
	if !w.accepted && !w.send(relay) {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.crash
	}
	ended := make(chan error)
	go func() { ended <- relay.Run(ctx) }()
	select {
	case <-ctx.Done():
	case <-time.After(time.Until(w.begun.Add(24 * time.Hour))):
		end()
	}
	<-ended
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.crash
}

// send sends the message with a Key. It returns false if the process ends before the relay is responsible for it.
func (w *notifyRun) send(relay *postrider.Relay) bool {
	env := &smtp.Envelope{From: w.from, EnvID: "order 17", Ret: smtp.RetHeaders}
	for _, domain := range w.domains {
		to := "to@" + domain
		if domain == "no.test" {
			to = "nobody@no.test"
		}
		env.Recipients = append(env.Recipients, smtp.Recipient{
			Address: to, Notify: w.notify, ORCPT: "rfc822;Orig@" + domain,
		})
	}
	body := strings.NewReader("Subject: hi\r\n\r\nthe body\r\n")
	m, err := relay.Prepare(w.t.Context(), env, body)
	if err != nil {
		w.t.Fatal(err)
	}
	m.Key = "order 17"
	w.mu.Lock()
	w.begins = true
	w.mu.Unlock()
	_, err = relay.Enqueue(w.t.Context(), m)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil && w.crash == nil {
		w.t.Fatal(err)
	}
	w.accepted = err == nil
	return w.accepted
}

var (
	reportID  = regexp.MustCompile(`(?m)^Message-ID: (\S+)\r$`)
	reportOne = regexp.MustCompile(`Original-Recipient: rfc822; Orig@(\S+)\r\nFinal-Recipient: \S+ \S+\r\nAction: (\S+)\r\n`)
)

// reports returns how often each kind was reported of each domain, and in how many reports. A report that came twice is
// one.
func (w *notifyRun) reports() (got map[string]int, n int) {
	got = make(map[string]int)
	seen := make(map[string]bool)
	for _, m := range w.inet.Host("mx.source.test").Messages() {
		id := reportID.FindStringSubmatch(string(m.Data))
		if id == nil || m.Envelope.From != "" {
			w.t.Fatalf("got a mail from <%s> that is no report:\n%s", m.Envelope.From, m.Data)
		}
		if seen[id[1]] {
			continue
		}
		seen[id[1]] = true
		for _, one := range reportOne.FindAllStringSubmatch(string(m.Data), -1) {
			got[one[2]+" "+one[1]]++
		}
		if !strings.Contains(string(m.Data), "Original-Envelope-Id: order 17\r\n") ||
			strings.Contains(string(m.Data), "the body") || m.Envelope.Recipients[0].Notify != smtp.NotifyNever {
			w.t.Errorf("got a report without ENVID, with more than RET=HDRS asks for, or not to NOTIFY=NEVER:\n%s", m.Data)
		}
	}
	return got, len(seen)
}

// want returns what must be reported.
func (w *notifyRun) want() map[string]int {
	want := make(map[string]int)
	for _, domain := range w.domains {
		for _, kind := range ends[domain] {
			if w.from != "" && asks(w.notify, kind) {
				want[kind+" "+domain] = 1
			}
		}
	}
	return want
}

// play runs a message through, with a crash before the operation at; 0: without one. It returns how many operations
// there were.
func play(t *testing.T, from string, notify smtp.Notify, domains []string, at int, kind string) (ops int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &notifyRun{t: t, from: from, notify: notify, domains: domains, at: at, kind: kind}
		w.begin()
		disk := crashfs.New[spool.File](nil)
		for crash := w.life(disk); crash != nil; crash = w.life(disk) {
			disk, w.crash = crash, nil
			time.Sleep(time.Second)
		}
		ops = w.ops
		got, n := w.reports()
		want := w.want()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("NOTIFY=%v to %v, crash %q before operation %d: got reports %v, want %v",
				notify, domains, kind, at, got, want)
		}
		// One of the expansion, one about what was settled at once, and those after 4, 6 and 12 hours.
		if at == 0 && n > 5 {
			t.Errorf("NOTIFY=%v to %v: got %d reports, want 5 at most", notify, domains, n)
		}
		if !slices.Contains(domains, "dsn.test") || at != 0 {
			return
		}
		for _, m := range w.inet.Host("mx.dsn.test").Messages() {
			rcpt := m.Envelope.Recipients[0]
			if m.Envelope.EnvID != "order 17" || m.Envelope.Ret != smtp.RetHeaders || rcpt.Notify != notify ||
				rcpt.ORCPT != "rfc822;Orig@dsn.test" {
				t.Errorf("NOTIFY=%v: got %+v, %+v at a host with DSN, want the parameters passed on", notify, m.Envelope, rcpt)
			}
		}
	})
	return ops
}

// TestNotifyMatrix has every NOTIFY and every end of a message, each alone and all together: the reports are those of
// RFC 3461.
func TestNotifyMatrix(t *testing.T) {
	var all []string
	for domain := range ends {
		all = append(all, domain)
	}
	slices.Sort(all)
	for _, notify := range notifies {
		t.Run(fmt.Sprintf("NOTIFY=%v", notify), func(t *testing.T) {
			for _, domain := range all {
				play(t, "ann@source.test", notify, []string{domain}, 0, "")
			}
			play(t, "ann@source.test", notify, all, 0, "")
			play(t, "", notify, all, 0, "") // RFC 3461 §5.2: never on the null reverse-path
		})
	}
}

// TestNotifyCrash has the process end before each operation on the disk, of a message alone and of one to many: each
// recipient is reported once. A sender who doesn't know whether the message was accepted sends it again. Of many to
// try, it tries some; POSTRIDER_NOTIFY=all tries each.
func TestNotifyCrash(t *testing.T) {
	every := 12
	if os.Getenv("POSTRIDER_NOTIFY") == "all" {
		every = 1
	}
	tried := 0
	for i, notify := range notifies {
		for j, domains := range [][]string{
			{"no.test"}, {"plain.test"}, {"slow.test"}, {"group.test"},
			{"box.test", "down.test", "dsn.test", "group.test", "no.test", "plain.test", "slow.test"},
		} {
			ops := play(t, "ann@source.test", notify, domains, 0, "")
			if ops == 0 {
				t.Fatal("got no operation on the disk")
			}
			for at := 1 + (i*5+j*7)%every; at <= ops; at += every {
				play(t, "ann@source.test", notify, domains, at, crashfs.Kinds[(at+i)%len(crashfs.Kinds)])
				tried++
			}
		}
	}
	t.Logf("%d crashes", tried)
}
