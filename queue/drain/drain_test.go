package drain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
)

// enqueue adds messages, each with a Ref of its own.
func enqueue(t *testing.T, q queue.Queue, from, n int, held bool) {
	t.Helper()
	for i := range n {
		m := queue.Message{
			Envelope:     smtp.NewEnvelope("ann@client.test", "bob@one.test", "eve@two.test"),
			Destinations: []string{"one.test", "two.test"}, Body: strings.NewReader("body\r\n"),
			Ref: fmt.Sprint(from + i), Held: held, Deadline: time.Now().Add(5 * 24 * time.Hour),
		}
		if held {
			m.HeldFor = "a check"
		}
		if _, err := q.Enqueue(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
}

// tasks returns all tasks, as a line each.
func tasks(t *testing.T, q queue.Queue) (lines []string) {
	t.Helper()
	for task, err := range q.(queue.Lister).List(t.Context(), queue.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		line := fmt.Sprintf("%s %s %v %q %d %v %v", task.Ref, task.Destination, task.State, task.HeldFor, task.Attempts,
			task.Due.UTC().Format(time.TimeOnly), task.Deadline.UTC().Format(time.DateTime))
		for _, r := range task.Last {
			if r.Reply != nil {
				line += " " + r.Reply.Error()
			}
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

// settleSome attempts some of the tasks for two.test: the first is delivered, the second deferred.
func settleSome(t *testing.T, q queue.Queue) {
	t.Helper()
	for lane, err := range q.Lanes(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if lane.Destination != "two.test" {
			continue
		}
		claimed, err := q.Claim(t.Context(), []queue.Want{{Lane: lane.Lane, Max: 2}}, time.Minute)
		if err != nil || len(claimed) != 2 {
			t.Fatalf("got %d tasks, %v", len(claimed), err)
		}
		settled := queue.Settlement{}
		for _, c := range claimed {
			if err := q.Settle(t.Context(), c.Lease, settled); err != nil {
				t.Fatal(err)
			}
			settled = queue.Settlement{Next: time.Now().Add(time.Hour), Results: []smtp.Result{
				{Recipient: "eve@two.test", Outcome: smtp.Deferred, Reply: smtp.NewReply(450, "4.2.1", "later")},
			}}
		}
	}
}

// broken is a Queue whose Import and Remove fail after some calls.
type broken struct {
	*mem.Queue
	mu              sync.Mutex
	imports, remove int
	lost            bool // a failing Import stores the message all the same
}

var errBroken = errors.New("broken")

func (b *broken) Import(ctx context.Context, in queue.Import) (queue.ID, bool, error) {
	b.mu.Lock()
	b.imports--
	fail := b.imports < 0
	b.mu.Unlock()
	if fail && !b.lost {
		return "", false, errBroken
	}
	id, repeats, err := b.Queue.Import(ctx, in)
	if fail {
		err = errBroken
	}
	return id, repeats, err
}

func (b *broken) Remove(ctx context.Context, ids []queue.ID, reports ...queue.Message) error {
	b.mu.Lock()
	b.remove--
	fail := b.remove < 0
	b.mu.Unlock()
	if fail {
		return errBroken
	}
	return b.Queue.Remove(ctx, ids, reports...)
}

func newDrain(t *testing.T, from, to queue.Queue) *Drain {
	return &Drain{From: from, To: to, Name: "mx1", Journal: filepath.Join(t.TempDir(), "journal"), Batch: 3, Concurrency: 2}
}

// TestRun: all messages are in the other Queue afterwards, as they were. What was held stays held, and nothing else is.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to := mem.New(), mem.New()
		enqueue(t, from, 10, 10, false)
		enqueue(t, from, 20, 2, true)
		settleSome(t, from)
		want := tasks(t, from)
		time.Sleep(time.Minute)
		d := newDrain(t, from, to)
		var seen []Progress
		d.Progress = func(p Progress) { seen = append(seen, p) }
		if err := d.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := tasks(t, to); !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if left := tasks(t, from); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
		if last := seen[len(seen)-1]; len(seen) != 5 || last != (Progress{Moved: 12, Octets: 12 * 6}) || seen[0].Left != 9 {
			t.Errorf("got the progress %+v", seen)
		}
		if _, err := os.Stat(d.Journal); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the journal is left: %v", err)
		}
		for task, err := range to.List(t.Context(), queue.Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			body, err := to.Open(t.Context(), task.ID)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(io.NewSectionReader(body, 0, body.Size())); err != nil || string(b) != "body\r\n" {
				t.Errorf("%s: got the body %q, %v", task.Ref, b, err)
			}
		}
	})
}

// TestAgain: a Run that fails at any place, with what it did or without, is gone on with by the next one. Nothing is
// twice, nothing lost, and what was held stays so.
func TestAgain(t *testing.T) {
	for _, lost := range []bool{false, true} {
		for at := range 20 {
			t.Run(fmt.Sprintf("%v/%d", lost, at), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					from := &broken{Queue: mem.New(), remove: at / 3}
					to := &broken{Queue: mem.New(), imports: at, lost: lost}
					enqueue(t, from, 10, 10, false)
					enqueue(t, from, 20, 2, true)
					settleSome(t, from)
					want := tasks(t, from)
					d := newDrain(t, from, to)
					for {
						err := d.Run(t.Context())
						if err == nil {
							break
						}
						if !errors.Is(err, errBroken) {
							t.Fatal(err)
						}
						from.remove, to.imports = 2, 5
					}
					if got := tasks(t, to.Queue); !slices.Equal(got, want) {
						t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
					}
					if left := tasks(t, from.Queue); len(left) > 0 {
						t.Errorf("left behind: %q", left)
					}
				})
			})
		}
	}
}

// TestEnded: when ctx ends, what wasn't moved is as it was. What may be in both Queues stays held.
func TestEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to := mem.New(), &broken{Queue: mem.New(), imports: 4, lost: true}
		enqueue(t, from, 10, 10, false)
		enqueue(t, from, 20, 2, true)
		want := tasks(t, from)
		d := newDrain(t, from, to)
		if err := d.Run(t.Context()); !errors.Is(err, errBroken) {
			t.Fatal(err)
		}
		to.imports = 100
		ended, end := context.WithCancel(t.Context())
		end()
		held := tasks(t, from)
		if all := strings.Join(held, "\n"); !strings.Contains(all, `held "a drain moves it to another queue, `) {
			t.Errorf("nothing says why messages are held:\n%s", all)
		}
		if err := d.Run(ended); !errors.Is(err, context.Canceled) || !slices.Equal(tasks(t, from), held) {
			t.Fatalf("with a ctx that has ended: got %v and\n%s\nwant\n%s", err,
				strings.Join(tasks(t, from), "\n"), strings.Join(held, "\n"))
		}
		ctx, cancel := context.WithCancel(t.Context())
		d.Progress = func(Progress) { cancel() } // after the first batch
		if err := d.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		both := append(tasks(t, to.Queue), tasks(t, from)...)
		slices.Sort(both)
		if got := slices.Compact(slices.Clone(both)); !slices.Equal(got, want) || len(both) != len(want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(both, "\n"), strings.Join(want, "\n"))
		}
		if _, err := os.Stat(d.Journal); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the journal is left: %v", err)
		}
	})
}

// TestRunning: a node goes on delivering, and gets new mail, while its messages are moved to another node. Each is
// delivered once.
func TestRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to := mem.New(), mem.New()
		var mu sync.Mutex
		delivered := make(map[string]int)
		sender := smtp.SenderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
			time.Sleep(20 * time.Millisecond)
			job, _ := smtp.JobOf(ctx)
			mu.Lock()
			defer mu.Unlock()
			for _, r := range env.Recipients {
				delivered[job.Ref+" "+r.Address]++
			}
			return nil, nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for _, q := range []queue.Queue{from, to} {
			wg.Go(func() { (&delivery.Runner{Queue: q, Sender: sender}).Run(ctx) })
		}
		enqueue(t, from, 1000, 500, false)
		wg.Go(func() {
			for i := range 10 {
				enqueue(t, from, 2000+10*i, 10, false)
				time.Sleep(10 * time.Millisecond)
			}
		})
		d := newDrain(t, from, to)
		d.Batch = 50
		if err := d.Run(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		if err := d.Run(t.Context()); err != nil { // what came after the first one
			t.Error(err)
		}
		time.Sleep(time.Hour)
		cancel()
		wg.Wait()
		if len(delivered) != 2*600 {
			t.Errorf("got %d deliveries, want %d", len(delivered), 2*600)
		}
		for what, n := range delivered {
			if n != 1 {
				t.Errorf("%s: delivered %d times, want once", what, n)
			}
		}
	})
}

func TestCheck(t *testing.T) {
	good := newDrain(t, mem.New(), mem.New())
	type plain struct{ queue.Queue }
	tests := []struct {
		name string
		bad  func(d *Drain)
		want string
	}{
		{"From", func(d *Drain) { d.From = nil }, "From is nil"},
		{"To", func(d *Drain) { d.To = nil }, "To is nil"},
		{"the same", func(d *Drain) { d.To = d.From }, "the same Queue"},
		{"no Lister", func(d *Drain) { d.From = plain{d.From} }, "no queue.Lister"},
		{"no Importer", func(d *Drain) { d.To = plain{d.To} }, "no queue.Importer"},
		{"Name", func(d *Drain) { d.Name = "" }, "Name"},
		{"long Name", func(d *Drain) { d.Name = strings.Repeat("x", 201) }, "Name"},
		{"Journal", func(d *Drain) { d.Journal = "" }, "Journal"},
		{"no directory", func(d *Drain) { d.Journal = filepath.Join(d.Journal, "x", "y") }, "Journal"},
		{"Batch", func(d *Drain) { d.Batch = -1 }, "Batch"},
		{"Concurrency", func(d *Drain) { d.Concurrency = -1 }, "Concurrency"},
	}
	for _, tt := range tests {
		d := *good
		tt.bad(&d)
		if err := d.Run(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got the error %v, want one with %q", tt.name, err, tt.want)
		}
	}
}

// TestJournal: whatever the end of the process leaves of a journal is read.
func TestJournal(t *testing.T) {
	file := filepath.Join(t.TempDir(), "journal")
	j, err := openJournal(file, "mx1")
	if err != nil {
		t.Fatal(err)
	}
	if err := j.add([]queue.ID{"a", "b"}); err != nil {
		t.Fatal(err)
	}
	if _, err := openJournal(file, "mx1"); err == nil {
		t.Error("a second Run at a time: got no error")
	}
	j.close()
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(whole) + 1 {
		if err := os.WriteFile(file, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := openJournal(file, "mx1")
		if err != nil {
			t.Fatalf("after %d octets: %v", n, err)
		}
		want := max(strings.Count(string(whole[:n]), "\n")-1, 0)
		if len(j.all()) != want {
			t.Errorf("after %d octets: got %q, want %d", n, j.all(), want)
		}
		if err := j.add([]queue.ID{"c"}); err != nil {
			t.Fatal(err)
		}
		j.close()
		if j, err = openJournal(file, "mx1"); err != nil || !j.has("c") || len(j.all()) != want+1 {
			t.Fatalf("after %d octets and another one: got %v, %v", n, j, err)
		}
		j.close()
	}
	if _, err := openJournal(file, "mx2"); err == nil {
		t.Error("a journal of another Name: got no error")
	}
	if err := os.WriteFile(file, []byte("something else\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openJournal(file, "mx1"); err == nil {
		t.Error("another file: got no error")
	}
	if b, _ := os.ReadFile(file); string(b) != "something else\n" {
		t.Error("another file was changed")
	}
}

// TestProgressPanics: Progress only looks on. All messages move, whatever it does.
func TestProgressPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to := mem.New(), mem.New()
		enqueue(t, from, 0, 5, false)
		want := tasks(t, from)
		d := newDrain(t, from, to)
		d.Batch, d.Progress = 2, func(Progress) { panic("boom") }
		if err := d.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := tasks(t, to); !slices.Equal(got, want) || len(tasks(t, from)) > 0 {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}
