package webhook

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// secret is 32 octets.
const secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

// world is a receiver of events in memory, a queue, and a Runner that posts to the receiver.
type world struct {
	t      *testing.T
	inet   *smtptest.Network
	q      *mem.Queue
	hooks  *Hooks
	runner *delivery.Runner
	serve  http.HandlerFunc // what the receiver answers to an event that it has taken; nil: 204
	result func(env *smtp.Envelope) smtp.Result

	mu    sync.Mutex
	posts []post
}

// post is a request that arrived.
type post struct {
	at    time.Time
	id    string
	event Event
}

// newWorld makes a world in a bubble. Call run after changes.
func newWorld(t *testing.T) *world {
	w := &world{t: t, inet: smtptest.NewNetwork(t), q: mem.New()}
	cert := w.inet.Certificate("shop.test")
	s := httptest.NewUnstartedServer(http.HandlerFunc(w.receive))
	s.Listener.Close()
	var err error
	if s.Listener, err = w.inet.Listen("shop.test:443"); err != nil {
		t.Fatal(err)
	}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.StartTLS()
	w.hooks = &Hooks{
		Endpoints: []*Endpoint{{Name: "shop", URL: "https://shop.test/events", Secrets: []string{secret}}},
		RootCAs:   w.inet.RootCAs(), Resolver: w.inet, DialContext: w.inet.DialContext,
	}
	w.runner = &delivery.Runner{
		Queue: w.q, Sender: w.hooks.Wrap(smtp.SenderFunc(w.deliver)), Outbox: w.hooks.Outbox,
		DeadLetter: w.hooks.DeadLetter(w.q, nil),
	}
	t.Cleanup(func() {
		s.CloseClientConnections()
		w.hooks.CloseIdle()
		s.Close()
	})
	return w
}

// run begins to deliver, until the end of the test.
func (w *world) run() {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.runner.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: got %v, want nil", err)
		}
	})
}

// deliver is the host of all other mail.
func (w *world) deliver(_ context.Context, env *smtp.Envelope, _ smtp.Content) ([]smtp.Result, error) {
	results := make([]smtp.Result, len(env.Recipients))
	for i, rcpt := range env.Recipients {
		one := smtp.NewEnvelope(env.From, rcpt.Address)
		results[i] = smtp.Result{Outcome: smtp.Delivered, Stage: smtp.StageFinal, Reply: smtp.NewReply(250, "2.0.0", "taken")}
		if w.result != nil {
			results[i] = w.result(one)
		}
		results[i].Recipient, results[i].Host = rcpt.Address, "mx.there.test"
	}
	return results, nil
}

// receive takes events, as a receiver should.
func (w *world) receive(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = Verify(r.Header, body, secret)
	}
	var p post
	if err == nil {
		p.at, p.id, err = time.Now(), r.Header.Get("webhook-id"), json.Unmarshal(body, &p.event)
	}
	if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
		w.t.Errorf("got %s of %q, %v", r.Method, body, err)
	}
	w.mu.Lock()
	w.posts = append(w.posts, p)
	w.mu.Unlock()
	if w.serve != nil {
		w.serve(rw, r)
		return
	}
	rw.WriteHeader(http.StatusNoContent)
}

// taken returns the posts so far.
func (w *world) taken() []post {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.posts)
}

// mail puts a message to the recipients into the queue.
func (w *world) mail(to ...string) queue.ID {
	m := queue.Message{
		Envelope: smtp.NewEnvelope("ann@here.test", to...), Body: strings.NewReader("Subject: hi\r\n\r\nsecret\r\n"),
		Origin: smtp.OriginCode, Ref: "order 7", Tenant: "acme", Deadline: time.Now().Add(24 * time.Hour),
		NoticeAt: time.Now().Add(4 * time.Hour),
	}
	for _, address := range to {
		_, domain, _ := strings.Cut(address, "@")
		m.Destinations = append(m.Destinations, domain)
	}
	id, err := w.q.Enqueue(w.t.Context(), m)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

// sleep lets time pass until all that then happens has happened.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// tasks lists the queue.
func (w *world) tasks() (all []queue.Task) {
	for task, err := range w.q.List(w.t.Context(), queue.Filter{}) {
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, task)
	}
	return all
}

// types counts posts by the type of their events.
func types(posts []post) map[string]int {
	n := make(map[string]int)
	for _, p := range posts {
		n[strings.TrimPrefix(p.event.Type, prefix)]++
	}
	return n
}

// ids returns the distinct webhook-ids.
func ids(posts []post) []string {
	seen := make(map[string]bool)
	for _, p := range posts {
		seen[p.id] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

func inBubble(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newWorld(t)) })
}

var errRefused = errors.New("connection refused")
