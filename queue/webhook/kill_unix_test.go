//go:build unix

package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/smtp"
)

// These are what TestKilled tells its process, by the environment.
const (
	dirEnv = "POSTRIDER_WEBHOOK_DIR"
	urlEnv = "POSTRIDER_WEBHOOK_URL"
)

// TestMain does what the process of TestKilled does, in that, and otherwise runs the tests.
func TestMain(m *testing.M) {
	if dir := os.Getenv(dirEnv); dir != "" {
		fmt.Println(deliverAll(dir, os.Getenv(urlEnv)))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// hooksTo returns Hooks that post to a test's receiver.
func hooksTo(url string) *Hooks {
	return &Hooks{AllowPrivate: true, Endpoints: []*Endpoint{{Name: "shop", URL: url, Secrets: []string{secret}}}}
}

// deliverAll delivers a spool and posts the events, until the process is killed. Each message is deferred once.
func deliverAll(dir, url string) error {
	q, err := spool.Open(dir)
	if err != nil {
		return err
	}
	hooks := hooksTo(url)
	send := func(ctx context.Context, env *smtp.Envelope, _ smtp.Content) ([]smtp.Result, error) {
		if job, _ := smtp.JobOf(ctx); job.Attempt == 1 {
			return nil, smtp.NewReply(450, "4.2.0", "greylisted")
		}
		return nil, nil
	}
	r := &delivery.Runner{
		Queue: q, Sender: hooks.Wrap(smtp.SenderFunc(send)), Outbox: hooks.Outbox,
		Retry: []time.Duration{10 * time.Millisecond}, Initial: 200,
		RetryAfter: map[smtp.Reason][]time.Duration{smtp.Greylisted: {10 * time.Millisecond}},
		Site:       delivery.SiteLimits{Concurrency: 200, Initial: 200},
	}
	// A message that was there at three kills in a row is quarantined.
	r.Events.Quarantined = func(e delivery.Event) { r.Release(context.Background(), queue.Filter{ID: e.Task.ID}) }
	if _, err := r.Release(context.Background(), queue.Filter{State: queue.Held}); err != nil {
		return err
	}
	return r.Run(context.Background())
}

// TestKilled kills a process again and again that delivers mail and posts its events to a receiver that fails now and
// then. Each outcome that counts has its event, at least once; no outcome that a crash has undone has one.
func TestKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	const messages, kills = 1500, 8
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	var mu sync.Mutex
	got := make(map[string]map[string]int) // by message, and by webhook-id: the number of posts
	first := make(map[string]string)       // the body of each webhook-id
	kinds := make(map[string]string)
	delivered := make(map[queue.ID]int)
	posts := 0
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // killed
		}
		id := r.Header.Get("webhook-id")
		var e Event
		if err = Verify(r.Header, body, secret); err == nil {
			err = json.Unmarshal(body, &e)
		}
		mu.Lock()
		defer mu.Unlock()
		if posts++; posts%10 == 0 {
			rw.WriteHeader(500)
			return
		}
		if old, seen := first[id]; err != nil || seen && old != string(body) {
			t.Errorf("got %s, %v, want a signed event, and always the same one for an id", body, err)
		}
		if first[id] == "" && e.Type == "message.delivered" {
			delivered[e.Data.ID]++
		}
		first[id], kinds[id] = string(body), e.Type
		ref := string(e.Data.ID)
		if got[ref] == nil {
			got[ref] = make(map[string]int)
		}
		got[ref][id]++
	}))
	defer s.Close()

	dir := t.TempDir()
	all := fill(t, dir, messages)
	for i := range kills + 1 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), dirEnv+"="+dir, urlEnv+"="+s.URL)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		enough := func() bool {
			mu.Lock()
			defer mu.Unlock()
			if i == kills {
				return len(delivered) == messages
			}
			return len(delivered) >= min((i+1)*messages/(kills+1), messages)
		}
		for begun := time.Now(); !enough() && time.Since(begun) < time.Minute; {
			time.Sleep(time.Millisecond)
		}
		if i < kills {
			time.Sleep(time.Duration(rnd.IntN(30)) * time.Millisecond)
		} else {
			time.Sleep(300 * time.Millisecond) // for what comes too often
		}
		cmd.Process.Kill()
		cmd.Wait()
	}
	mu.Lock()
	defer mu.Unlock()
	repeated := 0
	for _, id := range all {
		n := make(map[string]int)
		for event, posts := range got[string(id)] {
			n[kinds[event]]++
			repeated += posts - 1
		}
		// A claim counts as an attempt, and may have ended with the process: then the first result is another one.
		// Three kills with the message in hand quarantine it, until it is released.
		quarantined := n["message.quarantined"]
		delete(n, "message.quarantined")
		if n["message.delivered"] != 1 || n["message.deferred"] > 1 || len(n) > 2 || quarantined > kills/3 {
			t.Errorf("message %s: got %v and %d quarantined, want one delivered, one deferred at most, and %d at most",
				id, n, quarantined, kills/3)
		}
	}
	t.Logf("%d posts, %d events, %d of them posted again", posts, len(first), repeated)
}

// fill makes a spool with messages.
func fill(t *testing.T, dir string, n int) []queue.ID {
	t.Helper()
	q, err := spool.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	ids := make([]queue.ID, n)
	var wg sync.WaitGroup
	for worker := range 50 {
		wg.Go(func() {
			for i := worker; i < n; i += 50 {
				m := queue.Message{Origin: smtp.OriginCode, Body: strings.NewReader("Subject: hi\r\n\r\n"),
					Envelope:     smtp.NewEnvelope("ann@here.test", "bob"+strconv.Itoa(i)+"@there.test"),
					Destinations: []string{"there" + strconv.Itoa(i%20) + ".test"}}
				id, err := q.Enqueue(context.Background(), m)
				if err != nil {
					t.Error(err)
				}
				ids[i] = id
			}
		})
	}
	wg.Wait()
	return ids
}

// BenchmarkSettle counts what events cost: messages a second that are taken from a spool, and delivered at once. Without
// events, few outcomes need a sync of their own. "stored" has events that are taken without a request.
func BenchmarkSettle(b *testing.B) {
	for _, events := range []string{"none", "stored", "posted"} {
		b.Run(events, func(b *testing.B) { benchmarkSettle(b, events) })
	}
}

func benchmarkSettle(b *testing.B, events string) {
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		rw.WriteHeader(http.StatusNoContent)
	}))
	defer s.Close()
	q, err := spool.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer q.Close()
	hooks := hooksTo(s.URL)
	defer hooks.CloseIdle()
	r := &delivery.Runner{Queue: q, Initial: 200, Site: delivery.SiteLimits{Concurrency: 200, Initial: 200},
		Sender: smtp.SenderFunc(func(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) { return nil, nil })}
	if events != "none" {
		r.Outbox = hooks.Outbox
	}
	if events == "posted" {
		r.Sender = hooks.Wrap(r.Sender)
	}
	var wg sync.WaitGroup
	for worker := range 50 {
		wg.Go(func() {
			for i := worker; i < b.N; i += 50 {
				m := queue.Message{Origin: smtp.OriginCode, Body: strings.NewReader("Subject: hi\r\n\r\n"),
					Envelope: smtp.NewEnvelope("ann@here.test", "bob@there.test"), Destinations: []string{"there.test"}}
				if _, err := q.Enqueue(b.Context(), m); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error)
	b.ReportAllocs()
	b.ResetTimer()
	go func() { done <- r.Run(ctx) }()
	for left := 1; left > 0; time.Sleep(time.Millisecond) {
		stats, err := q.Stats(ctx)
		if err != nil {
			b.Fatal(err)
		}
		left = stats.Tasks
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
	cancel()
	if err := <-done; err != nil {
		b.Error(err)
	}
}
