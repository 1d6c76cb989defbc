package queueweb_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/queueweb"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/smtp"
)

// million is a spool with many scheduled tasks, of which a Runner sends what is added as fast as it can.
type million struct {
	*testing.T
	spool *spool.Spool
	web   *queueweb.Handler
	sent  atomic.Int64
	last  atomic.Value // a queue.ID
}

const millionWriters = 64

func (m *million) store(ctx context.Context, i int, notBefore time.Time) error {
	to := fmt.Sprintf("d%d.example", i%1000)
	id, err := m.spool.Enqueue(ctx, queue.Message{
		Envelope:     smtp.NewEnvelope(fmt.Sprintf("sender%d@example.com", i%100), fmt.Sprintf("user%d@%s", i, to)),
		Destinations: []string{to}, Body: strings.NewReader("Subject: x\r\n\r\nhello\r\n"),
		Tenant: fmt.Sprintf("tenant%d", i%10), Ref: fmt.Sprintf("ref%d", i), NotBefore: notBefore,
	})
	if err == nil && !notBefore.IsZero() {
		m.last.Store(id)
	}
	return err
}

// fill stores the tasks that stay.
func (m *million) fill(ctx context.Context, tasks int) {
	begun, later := time.Now(), time.Now().Add(24*time.Hour)
	var wg sync.WaitGroup
	for w := range millionWriters {
		wg.Go(func() {
			for i := w; i < tasks; i += millionWriters {
				if err := m.store(ctx, i, later); err != nil {
					m.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	m.Logf("%d tasks were stored in %v", tasks, time.Since(begun).Round(time.Second))
}

// read reads a page.
func (m *million) read(target string) []byte {
	w := httptest.NewRecorder()
	if m.web.ServeHTTP(w, httptest.NewRequest("GET", "/"+target, nil)); w.Code != 200 {
		m.Errorf("%s: got %d", target, w.Code)
	}
	return w.Body.Bytes()
}

// period is what happened in some time.
type period struct {
	wall, cpu, waited time.Duration // of the process or of a thread; waited is how long that had no core
	sent, pages       int64
}

func (p *period) rate() float64    { return float64(p.sent) / p.wall.Seconds() }
func (p *period) perMail() float64 { return float64(p.cpu.Microseconds()) / float64(p.sent) }

// observe runs meanwhile, or sleeps, for some time.
func (m *million) observe(d time.Duration, meanwhile func()) (p period) {
	sent, cpu, begun := m.sent.Load(), processTime(), time.Now()
	for time.Since(begun) < d {
		if meanwhile == nil {
			time.Sleep(d)
		} else {
			meanwhile()
			p.pages++
		}
	}
	p.wall, p.cpu, p.sent = time.Since(begun), processTime()-cpu, m.sent.Load()-sent
	return p
}

func processTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// threadTime returns how long the thread has run, and how long it was ready to run and had no core.
func threadTime() (ran, waited time.Duration) {
	b, _ := os.ReadFile("/proc/thread-self/schedstat")
	fmt.Sscan(string(b), &ran, &waited)
	return ran, waited
}

// TestMillion prints the answer times of the pages with many tasks in a spool, while a Runner sends as fast as it can,
// of what the slow answers consist, and what pages cost the Runner. POSTRIDER_PAGES_LOAD is the number of tasks. With
// TMPDIR in memory, the Runner waits for no disk and takes all cores, which repeats better.
func TestMillion(t *testing.T) {
	tasks, err := strconv.Atoi(os.Getenv("POSTRIDER_PAGES_LOAD"))
	if err != nil {
		t.Skip("POSTRIDER_PAGES_LOAD isn't set to the number of tasks")
	}
	m := &million{T: t}
	if m.spool, err = spool.Open(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	defer m.spool.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer func() { cancel(); wg.Wait() }()
	m.fill(ctx, tasks)
	runner := &delivery.Runner{Queue: m.spool, Sender: smtp.SenderFunc(func(_ context.Context, env *smtp.Envelope, _ smtp.Content) ([]smtp.Result, error) {
		m.sent.Add(1)
		return []smtp.Result{{Recipient: env.Recipients[0].Address, Outcome: smtp.Delivered, Stage: smtp.StageFinal, Reply: smtp.NewReply(250, "2.0.0", "ok")}}, nil
	})}
	m.web = &queueweb.Handler{Runner: runner, Authorize: allowAll}
	defer m.web.Close()
	runner.Events = m.web.Events()
	wg.Go(func() { runner.Run(ctx) })
	for w := range millionWriters {
		wg.Go(func() {
			for i := w; ctx.Err() == nil; i += millionWriters {
				m.store(ctx, i, time.Time{})
			}
		})
	}
	pages := []string{
		"", "messages", "messages?tenant=tenant1", fmt.Sprintf("messages?recipient=user%d@d%d.example", tasks-1, (tasks-1)%1000),
		"messages?destination=d7.example", "messages?sender=sender7@example.com", fmt.Sprintf("messages?ref=ref%d", tasks-1),
		"messages?state=held", "message?id=" + string(m.last.Load().(queue.ID)), "sites", "act?do=hold&tenant=tenant1",
	}
	m.observe(5*time.Second, nil)
	m.answers(pages) // during the first count of the queue
	m.cost(pages)
}

// cost prints what pages cost, by periods with a reader and without, one after another.
func (m *million) cost(pages []string) {
	const rounds, long, pause = 8, 3 * time.Second, 50 * time.Millisecond
	var without, with []period
	var mine []float64
	n := 0
	for range rounds {
		without = append(without, m.observe(long, nil))
		with = append(with, m.observe(long, func() {
			m.read(pages[n%len(pages)])
			n++
			time.Sleep(pause)
		}))
		w, p := &without[len(without)-1], &with[len(with)-1]
		mine = append(mine, (float64(p.cpu.Microseconds())-w.perMail()*float64(p.sent))/float64(p.pages))
	}
	median := func(all []period, of func(*period) float64) (middle, least, most float64) {
		var values []float64
		for i := range all {
			values = append(values, of(&all[i]))
		}
		slices.Sort(values)
		return values[len(values)/2], values[0], values[len(values)-1]
	}
	perSecond := float64(with[0].pages) / with[0].wall.Seconds()
	for _, of := range []struct {
		what    string
		periods []period
	}{{"without a reader", without}, {fmt.Sprintf("with %.0f pages/s", perSecond), with}} {
		rate, leastRate, mostRate := median(of.periods, (*period).rate)
		cpu, leastCPU, mostCPU := median(of.periods, (*period).perMail)
		m.Logf("%-18s the Runner sends %.0f messages/s (%.0f to %.0f), for %.1f µs of CPU each (%.1f to %.1f)",
			of.what+":", rate, leastRate, mostRate, cpu, leastCPU, mostCPU)
	}
	slices.Sort(mine)
	page := mine[len(mine)/2]
	m.Logf("a page costs %.1f ms of CPU (%.1f to %.1f), its share of what is kept for all requests included: a reader of one page a second %.2f %% of %d cores",
		page/1000, mine[0]/1000, mine[len(mine)-1]/1000, page/1e4/float64(runtime.NumCPU()), runtime.NumCPU())
}

// answers prints percentiles, and of what the slowest in a hundred consist.
func (m *million) answers(pages []string) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const each = 200
	took := make(map[string][]period)
	for n := range each * len(pages) {
		target := pages[n%len(pages)]
		ran, waited := threadTime()
		begun := time.Now()
		m.read(target)
		p := period{wall: time.Since(begun)}
		p.cpu, p.waited = threadTime()
		p.cpu, p.waited = p.cpu-ran, p.waited-waited
		took[target] = append(took[target], p)
		time.Sleep(2 * time.Millisecond)
	}
	for _, target := range pages {
		all := took[target]
		slices.SortFunc(all, func(a, b period) int { return int(a.wall - b.wall) })
		ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
		p99, slow := all[each*99/100], period{}
		const slowest = each / 50
		for _, p := range all[each-slowest:] {
			slow.wall, slow.cpu, slow.waited = slow.wall+p.wall/slowest, slow.cpu+p.cpu/slowest, slow.waited+p.waited/slowest
		}
		m.Logf("%-45s p50 %5.1f  p99 %5.1f  max %5.1f ms; of the slowest 2 %%, %5.1f ms: CPU %.1f, waits for a core %.1f, other waits %.1f",
			"/"+target, ms(all[each/2].wall), ms(p99.wall), ms(all[each-1].wall), ms(slow.wall), ms(slow.cpu), ms(slow.waited), ms(slow.wall-slow.cpu-slow.waited))
	}
}
