package spool

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
	"github.com/postrider/postrider/smtp"
)

// readFS counts the octets that are read.
type readFS struct {
	FS
	octets atomic.Int64
}

func (fs *readFS) Open(name string, create bool) (File, error) {
	f, err := fs.FS.Open(name, create)
	return &readFile{f, fs}, err
}

type readFile struct {
	File
	fs *readFS
}

func (f *readFile) ReadAt(b []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(b, off)
	f.fs.octets.Add(int64(n))
	return n, err
}

// wideDestinations are those of a message to many.
func wideDestinations(n int) (dests []string) {
	for i := range n {
		dests = append(dests, fmt.Sprintf("d%d.test", i))
	}
	return dests
}

// allWants are wants of every lane.
func allWants(t testing.TB, q queue.Queue) (wants []queue.Want) {
	for d, err := range q.Lanes(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		wants = append(wants, queue.Want{Lane: d.Lane, Max: 10})
	}
	return wants
}

// TestWide has messages to many destinations: what is read to claim, list and settle their tasks is in proportion to
// the number of these.
func TestWide(t *testing.T) {
	const messages, dests = 3, 500
	fs := &readFS{FS: crashfs.New[File](nil)}
	s := mustOpen(t, fs, testConfig)
	names := wideDestinations(dests)
	for range messages {
		mustEnqueue(t, s, "body", names...)
	}
	entry := s.live / messages
	// read checks what f reads: each message once or twice, and a state for each task.
	read := func(what string, f func()) {
		t.Helper()
		fs.octets.Store(0)
		f()
		if got, most := fs.octets.Load(), 2*messages*(entry+1<<10)+messages*dests*(1<<10); got > most {
			t.Errorf("%s: got %d octets read, want %d at most; a message has %d", what, got, most, entry)
		}
	}
	var tasks []queue.Task
	claim := func() {
		var err error
		if tasks, err = s.Claim(t.Context(), allWants(t, s), time.Hour); err != nil || len(tasks) != messages*dests {
			t.Fatalf("Claim: got %d tasks and %v, want %d", len(tasks), err, messages*dests)
		}
	}
	read("claim", claim)
	for i, task := range tasks {
		if len(task.Last) != 1 || !strings.HasSuffix(task.Envelope.Recipients[0].Address, "@"+task.Destination) {
			t.Fatalf("got task %+v of %+v, want one for its destination", task, task.Envelope)
		}
		// The tasks of a Want are adjacent, in the order of their arrival.
		if i%messages > 0 && (task.Destination != tasks[i-1].Destination || task.ID <= tasks[i-1].ID) {
			t.Fatalf("got task %s of %s after %s of %s", task.ID, task.Destination, tasks[i-1].ID, tasks[i-1].Destination)
		}
	}
	read("defer", func() {
		for _, task := range tasks {
			mustSettle(t, s, task.Lease, queue.Settlement{Results: deferred(task), Next: time.Now()})
		}
	})
	read("list", func() {
		n := 0
		for _, err := range s.List(t.Context(), queue.Filter{}) {
			if n++; err != nil {
				t.Error(err)
			}
		}
		if n != messages*dests {
			t.Errorf("got %d listed, want %d", n, messages*dests)
		}
	})
	read("open", func() {
		for _, task := range tasks {
			if body, err := readBody(s, task.ID); body != "body" || err != nil {
				t.Errorf("got body %q and %v", body, err)
			}
		}
	})
	read("claim again", claim)
	read("settle", func() {
		for i, task := range slices.Backward(tasks) {
			set := queue.Settlement{}
			if i%2 == 0 {
				set.Owed = []queue.Owed{{Result: task.Last[0]}}
			}
			mustSettle(t, s, task.Lease, set)
		}
	})
	for _, task := range mustClaim(t, s, queue.ReportDestination) {
		if len(task.Last) != dests/2 {
			t.Errorf("got %d recipients in a report task, want %d", len(task.Last), dests/2)
		}
		mustSettle(t, s, task.Lease, queue.Settlement{})
	}
	if len(s.wide.kept) > 0 || s.live != 0 {
		t.Errorf("got %d messages kept and %d octets live of an empty spool", len(s.wide.kept), s.live)
	}
}

// TestWideKept keeps messages up to a number of recipients, the last one in any case, and none to few destinations.
func TestWideKept(t *testing.T) {
	s := mustOpen(t, crashfs.New[File](nil), testConfig)
	few := wideDestinations(wideDests - 1)
	mustEnqueue(t, s, "body", few...)
	many := wideDestinations(maxWide / 4)
	for range 6 {
		mustEnqueue(t, s, "body", many...)
	}
	huge := wideDestinations(maxWide + 1)
	mustEnqueue(t, s, "body", huge...)
	var got []int
	for id := range uint64(8) {
		for task, err := range s.List(t.Context(), queue.Filter{ID: queue.ID(fmt.Sprint(id + 1)), Destination: "d0.test"}) {
			if err != nil || task.Envelope.Recipients[0].Address != "r0@d0.test" {
				t.Errorf("got %+v and %v", task, err)
			}
		}
		got = append(got, len(s.wide.kept))
	}
	if want := []int{0, 1, 2, 3, 4, 4, 4, 1}; !slices.Equal(got, want) {
		t.Errorf("got %v messages kept, want %v", got, want)
	}
}

func deferred(task queue.Task) (results []smtp.Result) {
	for _, rcpt := range task.Envelope.Recipients {
		results = append(results, smtp.Result{Recipient: rcpt.Address, Outcome: smtp.Deferred, Reply: smtp.NewReply(451, "", "later")})
	}
	return results
}

// BenchmarkSpoolWide claims and defers all tasks of one message to many destinations, and opens the spool again. The
// times of a task should be the same for any number of them.
func BenchmarkSpoolWide(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dir := b.TempDir()
			s, err := Open(dir)
			if err != nil {
				b.Fatal(err)
			}
			dests := wideDestinations(n)
			if _, err := s.Enqueue(b.Context(), testMessage("body", dests...)); err != nil {
				b.Fatal(err)
			}
			var claiming, settling, opening time.Duration
			b.ResetTimer()
			for range b.N {
				begin := time.Now()
				tasks, err := s.Claim(b.Context(), allWants(b, s), time.Hour)
				if err != nil || len(tasks) != n {
					b.Fatalf("got %d tasks and %v, want %d", len(tasks), err, n)
				}
				claiming += time.Since(begin)
				begin = time.Now()
				for _, task := range tasks {
					if err := s.Settle(b.Context(), task.Lease, queue.Settlement{Results: deferred(task), Next: time.Now()}); err != nil {
						b.Fatal(err)
					}
				}
				settling += time.Since(begin)
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				begin = time.Now()
				if s, err = Open(dir); err != nil {
					b.Fatal(err)
				}
				opening += time.Since(begin)
			}
			s.Close()
			tasks := float64(b.N * n)
			b.ReportMetric(float64(claiming.Nanoseconds())/tasks, "claim-ns/task")
			b.ReportMetric(float64(settling.Nanoseconds())/tasks, "settle-ns/task")
			b.ReportMetric(float64(opening.Nanoseconds())/tasks, "open-ns/task")
		})
	}
}
