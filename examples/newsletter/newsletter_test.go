package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/bounce"
	"github.com/postrider/postrider/bounce/suppress"
	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/client/compose"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

var noSuchUser = smtp.NewReply(550, "5.1.1", "no such user")

// world is a Newsletter, and the hosts of its subscribers at 50 domains.
type world struct {
	news        *Newsletter
	list        *suppress.Memory
	hosts       []*smtptest.Host
	subscribers []string
	dead        []string // those that the hosts refuse, or return later
	far         *client.Submission
}

// newWorld has 1,000 subscribers. One in every is dead: one half of them is refused at RCPT, the other half returned.
func newWorld(t *testing.T, every int) *world {
	inet := smtptest.NewNetwork(t)
	w := &world{list: new(suppress.Memory)}
	for i := range 50 {
		w.hosts = append(w.hosts, inet.MX(fmt.Sprintf("d%d.example", i), fmt.Sprintf("mx.d%d.example", i)))
	}
	for i := range 1000 {
		to := fmt.Sprintf("s%d@d%d.example", i, i%50)
		w.subscribers = append(w.subscribers, to)
		if i%every == 0 {
			w.dead = append(w.dead, to)
			if i%(2*every) == 0 {
				w.hosts[i%50].Reject(to, noSuchUser)
			}
		}
	}
	slices.Sort(w.dead)
	l, err := inet.Listen("mail.news.example:25")
	if err != nil {
		t.Fatal(err)
	}
	relay := &postrider.Relay{
		Hostname: "mail.news.example", Queue: mem.New(), Resolver: inet, DialContext: inet.DialContext,
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError})),
	}
	w.news = New(relay, w.list, []byte("a key of 32 octets for the tests"))
	inet.Go(func(ctx context.Context) error { return relay.Serve(ctx, l) })
	w.far = &client.Submission{
		Addr: "mail.news.example:25", TLS: mx.TLSNone, Resolver: inet, DialContext: inet.DialContext,
	}
	t.Cleanup(func() { w.far.Close() })
	return w
}

var issue = compose.Template{Message: compose.Message{Subject: "news"}, HTML: text}

// mails returns what the hosts have taken.
func (w *world) mails() (all []smtptest.Message) {
	for _, h := range w.hosts {
		all = append(all, h.Messages()...)
	}
	return all
}

// bounce has the hosts return the mail to subscribers that are dead.
func (w *world) bounce(t *testing.T) {
	t.Helper()
	for _, m := range w.mails() {
		to := m.Envelope.Recipients[0]
		if !slices.Contains(w.dead, to.Address) {
			continue
		}
		report := bounce.Report{
			ReportingMTA: "mx.example", Envelope: m.Envelope, Original: smtp.Text("From: " + author + "\nTo: " + to.Address + "\nSubject: news\n\nThe news.\n"),
			Recipients: []bounce.Recipient{{Recipient: to, Action: bounce.Failed, Result: smtp.Result{
				Outcome: smtp.Rejected, Stage: smtp.StageRcpt, Reply: noSuchUser,
			}}},
		}
		env, content, err := report.Compose()
		if err == nil {
			_, err = w.far.Send(t.Context(), env, content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestDrops: the second issue goes to nobody who is dead.
func TestDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 20) // 5 %
		if err := w.news.Send(t.Context(), "1", w.subscribers, issue); err != nil {
			t.Fatal(err)
		}
		w.bounce(t)
		synctest.Wait()
		if got, want := w.news.Stats(), (Stats{Queued: 1000, Settled: 1000, Hard: 50}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		var dropped []string
		for _, e := range w.list.Entries() {
			dropped = append(dropped, e.Address)
		}
		if slices.Sort(dropped); !slices.Equal(dropped, w.dead) {
			t.Errorf("got suppressed %q, want %q", dropped, w.dead)
		}
		before := len(w.mails())
		if err := w.news.Send(t.Context(), "2", w.subscribers, issue); err != nil {
			t.Fatal(err)
		}
		if got, want := w.news.Stats(), (Stats{Queued: 950, Suppressed: 50, Settled: 950}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if got := len(w.mails()) - before; got != 950 {
			t.Errorf("the hosts took %d mails of the second issue, want 950", got)
		}
	})
}

// TestRepeats: an issue that is sent again, after a crash for example, goes to each subscriber once.
func TestRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2000) // nobody is dead but the first
		if err := w.news.Send(t.Context(), "1", w.subscribers[1:10], issue); err != nil {
			t.Fatal(err)
		}
		if err := w.news.Send(t.Context(), "1", w.subscribers[1:20], issue); err != nil {
			t.Fatal(err)
		}
		if got, want := w.news.Stats(), (Stats{Queued: 10, Repeated: 9, Settled: 10}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if n := len(w.mails()); n != 19 {
			t.Errorf("the hosts took %d mails, want 19", n)
		}
		if err := w.news.Send(t.Context(), "2", w.subscribers[1:20], issue); err != nil {
			t.Fatal(err)
		}
		if n := len(w.mails()); n != 2*19 {
			t.Errorf("the hosts took %d mails of two issues, want 38", n)
		}
	})
}

// TestStops: an issue to an old list ends soon.
func TestStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4) // 25 %, one half of them at RCPT
		err := w.news.Send(t.Context(), "1", w.subscribers, issue)
		got := w.news.Stats()
		if !errors.Is(err, ErrStopped) || !got.Stopped || got.Queued > 300 || got.Settled < 50 {
			t.Errorf("got %+v and %v, want it stopped after 50 to 300 mails", got, err)
		}
		synctest.Wait()
		if n := len(w.mails()); n > got.Queued {
			t.Errorf("the hosts took %d mails, want at most %d", n, got.Queued)
		}
		if !strings.HasPrefix(w.list.Entries()[0].Address, "s") {
			t.Error("nobody is suppressed")
		}
	})
}

// TestUnsubscribes: the second issue doesn't go to whom the link in the first one has unsubscribed.
func TestUnsubscribes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2000) // nobody is dead but the first
		if err := w.news.Send(t.Context(), "1", w.subscribers[1:10], issue); err != nil {
			t.Fatal(err)
		}
		first := w.mails()[0]
		m, err := mail.ReadMessage(strings.NewReader(string(first.Data)))
		if err != nil {
			t.Fatal(err)
		}
		link := strings.Trim(m.Header.Get("List-Unsubscribe"), "<>")
		r := httptest.NewRequest(http.MethodPost, link, strings.NewReader(m.Header.Get("List-Unsubscribe-Post")))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		answer := httptest.NewRecorder()
		if w.news.Unsubscribe.ServeHTTP(answer, r); answer.Code != http.StatusOK {
			t.Errorf("%s: got %d, want 200", link, answer.Code)
		}
		if err := w.news.Send(t.Context(), "2", w.subscribers[1:10], issue); err != nil {
			t.Fatal(err)
		}
		if got, want := w.news.Stats(), (Stats{Queued: 8, Suppressed: 1, Settled: 8}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		for _, e := range w.list.Entries() {
			if e.Address != first.Envelope.Recipients[0].Address {
				t.Errorf("got %s suppressed, want %s", e.Address, first.Envelope.Recipients[0].Address)
			}
		}
	})
}
