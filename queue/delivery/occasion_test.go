package delivery

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// TestOccasions looks at all that an Occasion has, for each of those that a message comes to.
func TestOccasions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, j, begun := mem.New(), new(journal), time.Now()
		r := &Runner{
			Queue: q, Retry: []time.Duration{30 * time.Minute},
			Sender: byDomain(map[string]smtp.Outcome{"x.test": smtp.Rejected, "y.test": smtp.Deferred}, nil),
		}
		r.Report = func(_ context.Context, o Occasion) ([]queue.Message, error) {
			next := time.Duration(-1)
			if !o.Next.IsZero() {
				next = o.Next.Sub(begun).Round(10 * time.Minute)
			}
			j.add("%v %s untried=%v expired=%v delayed=%v next=%v", time.Since(begun), o.Results[0].Recipient, o.Untried,
				o.Expired, o.Delayed, next)
			return nil, nil
		}
		start(t, r)
		y := mail("b@y.test")
		y.NoticeAt, y.Deadline = begun.Add(10*time.Minute), begun.Add(15*time.Minute)
		enqueue(t, q, mail("a@x.test"), y)
		// The first wait is 2 minutes, an eighth of the time to the deadline. The suspension keeps y.test from a retry.
		sleep(time.Second)
		r.Suspend(begun.Add(time.Hour), "y.test")
		sleep(2 * time.Hour)
		want := []string{
			"0s a@x.test untried=false expired=false delayed=false next=-1ns",
			"10m0s b@y.test untried=true expired=false delayed=true next=0s",
			"15m0s b@y.test untried=true expired=true delayed=false next=-1ns",
		}
		if got := j.all(); got != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
		}
	})
}

// TestCollected has what a report task makes of a delay, and of its end.
func TestCollected(t *testing.T) {
	for _, tt := range []struct {
		name    string
		delayed []bool // of one recipient
		only    bool
		want    []bool // the occasions: is it about a delay?
	}{
		{"a delay", []bool{true}, false, []bool{true}},
		{"an end", []bool{false}, false, []bool{false}},
		{"a delay and its end", []bool{true, false}, false, []bool{false}},
		{"a delay, and nothing is left", []bool{true}, true, nil},
	} {
		task := queue.Task{Destination: queue.ReportDestination, Only: tt.only}
		task.Envelope = smtp.NewEnvelope("from@sender.test")
		for _, delayed := range tt.delayed {
			task.Envelope.Recipients = append(task.Envelope.Recipients, smtp.Recipient{Address: "a@x.test"})
			task.Delayed = append(task.Delayed, delayed)
			task.Last = append(task.Last, smtp.Result{Recipient: "a@x.test", Reply: smtp.NewReply(451, "", "later")})
		}
		var got []bool
		for _, o := range collected(&task) {
			if got = append(got, o.Delayed); len(o.Results) != 1 || o.Expired == o.Delayed || !o.Untried {
				t.Errorf("%s: got %+v, want one recipient", tt.name, o)
			}
		}
		if len(got) != len(tt.want) || len(got) == 1 && got[0] != tt.want[0] {
			t.Errorf("%s: got occasions about delays %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestListsSeldom has every other Settle of a Queue fail, for an hour: the Queue isn't listed after each, but once a
// minute.
func TestListsSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		q := &faultyQueue{Queue: mem.New()}
		q.fail = func(op string) error {
			if op == "settle" {
				if n++; n%2 == 1 {
					return errFault
				}
			}
			return nil
		}
		start(t, &Runner{Queue: q, Sender: take(0)})
		for range 360 {
			enqueue(t, q, mail("a@x.test"))
			sleep(10 * time.Second)
		}
		wantEmpty(t, q)
		if lists := q.lists.Load(); lists < 30 || lists > 62 {
			t.Errorf("got %d lists in an hour, want one a minute", lists)
		}
	})
}
