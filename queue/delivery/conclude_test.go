package delivery

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// TestLastResults has tasks with a last Result for some recipients, for none, and without a Reply in it.
func TestLastResults(t *testing.T) {
	env := smtp.NewEnvelope("from@sender.test", "a@x.test", "b@x.test")
	last := smtp.Result{Recipient: "a@x.test", Outcome: smtp.Deferred, Reply: smtp.NewReply(450, "4.2.2", "full")}
	blocked := smtp.Result{Reply: smtp.NewReply(421, "4.4.2", "down"), Outcome: smtp.Rejected}
	for _, test := range []struct {
		name    string
		last    []smtp.Result
		blocked *smtp.Result
		codes   [2]int
		local   [2]bool
	}{
		{"none", nil, nil, [2]int{451, 451}, [2]bool{true, true}},
		{"one", []smtp.Result{last}, nil, [2]int{450, 451}, [2]bool{false, true}},
		{"one without a reply", []smtp.Result{last, {Recipient: "b@x.test"}}, nil, [2]int{450, 451}, [2]bool{false, true}},
		{"blocked", []smtp.Result{last}, &blocked, [2]int{450, 421}, [2]bool{false, false}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := lastResults(&queue.Task{Envelope: env, Last: test.last}, test.blocked)
			if len(got) != 2 {
				t.Fatalf("got %d results, want 2", len(got))
			}
			for i, res := range got {
				if res.Recipient != env.Recipients[i].Address || res.Outcome != smtp.Deferred || res.Reply.Code != test.codes[i] || res.Local != test.local[i] {
					t.Errorf("got %+v, want %d, local: %v", res, test.codes[i], test.local[i])
				}
			}
		})
	}
	if blocked.Outcome != smtp.Rejected || len(last.Recipient) == 0 {
		t.Error("what it was given has changed")
	}
}

// TestHeldBack: a message that the Sender holds back comes back when the Sender has said, as if it hadn't been tried.
func TestHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		begun := time.Now()
		var tries []time.Duration
		var attempts int
		r := &Runner{Queue: q, Sender: smtp.SenderFunc(func(ctx context.Context, env *smtp.Envelope, _ smtp.Content) ([]smtp.Result, error) {
			tries = append(tries, time.Since(begun))
			res := smtp.Result{Recipient: env.Recipients[0].Address, Outcome: smtp.Delivered, Reply: smtp.NewReply(250, "2.0.0", "ok")}
			if len(tries) < 3 {
				res = smtp.Result{Recipient: env.Recipients[0].Address, Local: true, Reason: smtp.NoSource,
					Reply: smtp.NewReply(451, "4.3.2", "full"), NotBefore: begun.Add(time.Duration(len(tries)) * 24 * time.Hour)}
			}
			return []smtp.Result{res}, nil
		}), Events: Events{Delivered: func(e Event) { attempts = e.Task.Attempts }}}
		enqueue(t, q, mail("bob@x.test"))
		stop := start(t, r)
		time.Sleep(80 * time.Hour)
		stop()
		if want := []time.Duration{0, 24 * time.Hour, 48 * time.Hour}; !slices.Equal(tries, want) || attempts != 1 {
			t.Errorf("got tries at %v, and %d attempts; want %v, and 1", tries, attempts, want)
		}
	})
}

func TestHeldBackOf(t *testing.T) {
	early, late := time.Unix(100, 0), time.Unix(200, 0)
	held := func(at time.Time) smtp.Result { return smtp.Result{Local: true, NotBefore: at} }
	for _, tt := range []struct {
		name    string
		results []smtp.Result
		until   time.Time
		all     bool
	}{
		{name: "nobody"},
		{"both", []smtp.Result{held(late), held(early)}, early, true},
		{"one was delivered to", []smtp.Result{held(late), {Outcome: smtp.Delivered}}, late, false},
		{"one was deferred", []smtp.Result{held(late), {}}, time.Time{}, false},
		{"a host's reply", []smtp.Result{{NotBefore: late}}, time.Time{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if until, all := heldBack(tt.results); !until.Equal(tt.until) || all != tt.all {
				t.Errorf("got %v and %v, want %v and %v", until, all, tt.until, tt.all)
			}
		})
	}
}
