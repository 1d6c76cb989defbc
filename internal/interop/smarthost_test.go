package interop

import (
	"bytes"
	"context"
	"crypto/tls"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/smtp"
)

// relayTo sends a mail to three recipients through a relay whose smarthost, or mailbox server, is the host: one is there,
// one isn't, and one is greylisted. The relay's own report comes back to the host.
func relayTo(t *testing.T, h *nextHost) {
	w := ways[3]
	if h.lmtp {
		w = ways[1]
	}
	q, err := spool.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	told, waits := newEvents(), []time.Duration{100 * time.Millisecond, time.Hour}
	relay := &postrider.Relay{
		Hostname:    "relay.test",
		Queue:       q,
		Routes:      map[string]mx.Route{"*": h.mxRoute(t, w)},
		Resolver:    loopback{},
		DialContext: h.dial,
		Transport:   &client.Transport{TLSConfig: &tls.Config{RootCAs: h.roots}},
		Runner: &delivery.Runner{Retry: waits, RetryAfter: map[smtp.Reason][]time.Duration{
			smtp.Greylisted:  waits,
			smtp.RateLimited: waits, // 4.7.1 without a word of greylisting
		}},
		Events: delivery.Events{Delivered: told.add, Deferred: told.add, Rejected: told.add},
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- relay.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: got %v", err)
		}
		if err := q.Close(); err != nil {
			t.Errorf("Close: got %v", err)
		}
	})

	sender, there, unknown, grey := "relay.ann@"+h.domain(), "relay.bob@"+h.domain(), "nobody@"+h.domain(), "grey.relay@"+h.domain()
	env := smtp.NewEnvelope(sender, there, unknown, grey)
	env.EnvID, env.Recipients[0].Notify = envelopeID, smtp.NotifySuccess|smtp.NotifyFailure
	content := letter(".\r\nGrüße  \r\n\r\n")
	if _, err := relay.Send(ctx, env, strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	stored := h.await(t, []string{there})
	eventually(t, "the second attempt for the greylisted one has ended", func() bool { return len(told.of(grey)) == 2 })
	var report []byte
	eventually(t, "the relay's report is there", func() bool {
		for _, m := range h.mails(t) {
			if m.to == sender && bytes.Contains(m.data, []byte("\r\nReporting-MTA: dns; relay.test\r\n")) {
				report = m.data
			}
		}
		return report != nil
	})

	if at := fromCode.FindIndex(stored[there]); at == nil || string(stored[there][at[1]:]) != content {
		t.Errorf("got %q, want our Received line and %q", stored[there], content)
	}
	want := relayed[h.name]
	session := smtp.Result{Host: h.domain(), Addr: "127.0.0.1:" + w.port, TLS: "TLS 1.3"}
	told.check(t, there, session, taken{smtp.Delivered, !h.lmtp, want.dsn})
	told.check(t, unknown, session, taken{outcome: smtp.Rejected})
	told.check(t, grey, session, taken{outcome: smtp.Deferred}, want.second)
	if !bytes.Contains(report, []byte("Final-Recipient: rfc822; "+unknown+"\r\nAction: failed\r\n")) {
		t.Errorf("got no failure of %s in the report %q", unknown, report)
	}
	success := "Final-Recipient: rfc822; " + there + "\r\nAction: " + want.action
	if got := bytes.Contains(report, []byte(success)); got != (want.action != "") {
		t.Errorf("%q is in the report: got %v, want %v: %q", success, got, want.action != "", report)
	}
}

var fromCode = regexp.MustCompile(`Received: by relay\.test with local id [^;]+;\r\n\t[^\r]+\r\n`)

// relayed says what each host takes, and what the relay itself reports to a sender who wants to hear of success: a host that
// took the DSN parameters reports it.
var relayed = map[string]struct {
	dsn    bool
	action string
	second taken // what the host makes of the second attempt for a greylisted recipient
}{
	"postfix":   {dsn: true, second: taken{smtp.Delivered, true, true}},
	"exim":      {dsn: true, second: taken{smtp.Delivered, true, true}},
	"opensmtpd": {dsn: true, second: taken{outcome: smtp.Deferred}},
	"dovecot":   {action: "delivered", second: taken{outcome: smtp.Deferred}},
	"aiosmtpd":  {action: "relayed", second: taken{smtp.Delivered, true, false}},
}

// taken is what an attempt came to.
type taken struct {
	outcome      smtp.Outcome
	relayed, dsn bool
}

// events are what a relay told of each recipient; safe for concurrent use.
type events struct {
	mu   sync.Mutex
	told map[string][]delivery.Event
}

func newEvents() *events { return &events{told: make(map[string][]delivery.Event)} }

func (e *events) add(event delivery.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.told[event.Result.Recipient] = append(e.told[event.Result.Recipient], event)
}

func (e *events) of(recipient string) []delivery.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.told[recipient]
}

// check compares what was told of a recipient with the session and what each of its attempts came to.
func (e *events) check(t *testing.T, recipient string, session smtp.Result, want ...taken) {
	t.Helper()
	var got []taken
	for _, event := range e.of(recipient) {
		res := event.Result
		got = append(got, taken{res.Outcome, res.Relayed, res.DSN})
		if res.Host != session.Host || res.Addr != session.Addr || res.TLS != session.TLS || res.Local {
			t.Errorf("%s: got %+v, want host %s at %s with %s", recipient, res, session.Host, session.Addr, session.TLS)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %+v, want %+v", recipient, got, want)
	}
}
