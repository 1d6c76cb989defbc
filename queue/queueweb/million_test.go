package queueweb_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/queueweb"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/smtp"
)

// TestMillion prints the answer times of the pages with many tasks in a spool, while a Runner sends as fast as it can,
// and what a reader of one page a second costs the Runner. POSTRIDER_PAGES_LOAD is the number of tasks.
func TestMillion(t *testing.T) {
	tasks, err := strconv.Atoi(os.Getenv("POSTRIDER_PAGES_LOAD"))
	if err != nil {
		t.Skip("POSTRIDER_PAGES_LOAD isn't set to the number of tasks")
	}
	q, err := spool.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer func() { cancel(); wg.Wait() }()

	const writers = 64
	later := time.Now().Add(24 * time.Hour)
	store := func(ctx context.Context, i int, notBefore time.Time) (queue.ID, error) {
		to := fmt.Sprintf("d%d.example", i%1000)
		return q.Enqueue(ctx, queue.Message{
			Envelope: smtp.NewEnvelope(fmt.Sprintf("sender%d@example.com", i%100), fmt.Sprintf("user%d@%s", i, to)), Destinations: []string{to},
			Body: strings.NewReader("Subject: x\r\n\r\nhello\r\n"), Tenant: fmt.Sprintf("tenant%d", i%10), Ref: fmt.Sprintf("ref%d", i), NotBefore: notBefore,
		})
	}
	begun := time.Now()
	var last atomic.Value
	var filling sync.WaitGroup
	for w := range writers {
		filling.Go(func() {
			for i := w; i < tasks; i += writers {
				id, err := store(ctx, i, later)
				if err != nil {
					t.Error(err)
					return
				}
				last.Store(string(id))
			}
		})
	}
	filling.Wait()
	t.Logf("%d tasks were stored in %v", tasks, time.Since(begun).Round(time.Second))

	var sent atomic.Int64
	runner := &delivery.Runner{Queue: q, Sender: smtp.SenderFunc(func(_ context.Context, env *smtp.Envelope, _ smtp.Content) ([]smtp.Result, error) {
		sent.Add(1)
		return []smtp.Result{{Recipient: env.Recipients[0].Address, Outcome: smtp.Delivered, Stage: smtp.StageFinal, Reply: smtp.NewReply(250, "2.0.0", "ok")}}, nil
	})}
	web := &queueweb.Handler{Runner: runner, Authorize: allowAll}
	defer web.Close()
	runner.Events = web.Events()
	wg.Go(func() { runner.Run(ctx) })
	for w := range writers {
		wg.Go(func() {
			for i := w; ctx.Err() == nil; i += writers {
				store(ctx, i, time.Time{})
			}
		})
	}

	throughput := func(d time.Duration, meanwhile func()) float64 {
		from, at := sent.Load(), time.Now()
		for time.Since(at) < d {
			if meanwhile != nil {
				meanwhile()
			}
			time.Sleep(time.Second)
		}
		return float64(sent.Load()-from) / time.Since(at).Seconds()
	}
	pages := []string{
		"", "messages", "messages?tenant=tenant1", fmt.Sprintf("messages?recipient=user%d@d%d.example", tasks-1, (tasks-1)%1000), "messages?destination=d7.example", "messages?sender=sender7@example.com",
		fmt.Sprintf("messages?ref=ref%d", tasks-1), "messages?state=held", "message?id=" + last.Load().(string), "sites", "act?do=hold&tenant=tenant1",
	}
	took := make(map[string][]time.Duration)
	n := 0
	read := func() {
		target := pages[n%len(pages)]
		n++
		w, at := httptest.NewRecorder(), time.Now()
		web.ServeHTTP(w, httptest.NewRequest("GET", "/"+target, nil))
		if took[target] = append(took[target], time.Since(at)); w.Code != 200 {
			t.Errorf("%s: got %d", target, w.Code)
		}
	}
	const long = 20 * time.Second
	throughput(5*time.Second, nil)
	for range 2 {
		without := throughput(long, nil)
		with := throughput(long, read)
		t.Logf("the Runner sends %.0f messages/s without a reader, %.0f with one (%.1f %%)", without, with, 100*(with/without-1))
	}
	for range 50 * len(pages) { // for the percentiles
		read()
	}
	for _, target := range pages {
		all := took[target]
		slices.Sort(all)
		t.Logf("%-45s p50 %8v  p99 %8v  of %d", "/"+target, all[len(all)/2].Round(time.Microsecond), all[len(all)*99/100].Round(time.Microsecond), len(all))
	}
}
