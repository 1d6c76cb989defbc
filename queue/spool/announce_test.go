package spool

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
	"github.com/postrider/postrider/smtp"
)

// TestSettlementAwaitsChange settles a task whose message is being held: the settlement waits for that, and then both
// are so.
func TestSettlementAwaitsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[File](nil)
		s := mustOpen(t, disk, testConfig)
		id := mustEnqueue(t, s, "body", "a.example", "b.example")
		task := mustClaim(t, s, "a.example")[0]
		block := make(chan struct{})
		disk.Before = func(op string, _ ...string) error {
			if op == "sync" {
				<-block
			}
			return nil
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := s.Hold(t.Context(), id); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		settled := false
		wg.Go(func() {
			mustSettle(t, s, task.Lease, queue.Settlement{
				Next: time.Now(), Results: []smtp.Result{{Recipient: "r0@a.example", Reply: smtp.NewReply(450, "", "later")}},
			})
			settled = true
		})
		synctest.Wait()
		if settled {
			t.Error("the settlement doesn't wait")
		}
		close(block)
		wg.Wait()
		for task, err := range s.List(t.Context(), queue.Filter{}) {
			if err != nil || task.State != queue.Held || task.Destination == "a.example" && task.Last[0].Reply.Code != 450 {
				t.Errorf("got %+v, %v, want it held, with its result", task, err)
			}
		}
		disk.Before = nil
		mustClose(t, s)
	})
}

// TestRecalledAnnounced has a suspect that waits for another one whose lease expires: the next Claim, of whatever,
// announces it.
func TestRecalledAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[File](nil)
		s := mustOpen(t, disk, testConfig)
		for _, dest := range []string{"a.example", "b.example"} {
			mustEnqueue(t, s, "body", dest)
		}
		for range 2 { // both have two deaths then
			for _, dest := range []string{"a.example", "b.example"} {
				mustClaim(t, s, dest)
			}
			old := s
			s, disk = killed(t, disk, testConfig)
			defer old.Close()
		}
		wants := wantsOf(t, s, "")
		if tasks, err := s.Claim(t.Context(), wants, time.Minute); err != nil || len(tasks) != 1 || tasks[0].Deaths < 1 {
			t.Fatalf("got %+v, %v, want one of two suspects", tasks, err)
		}
		told := map[string]int{}
		defer s.Watch(func(l queue.Lane, _ time.Time) { told[l.Destination]++ })()
		time.Sleep(2 * time.Minute)
		if _, err := s.Claim(t.Context(), nil, time.Minute); err != nil {
			t.Fatal(err)
		}
		if told["a.example"]+told["b.example"] == 0 {
			t.Errorf("got %v announced, want the task that waited", told)
		}
	})
}

// TestBrokenToldOnce breaks the disk: the watchers are asked to look once, however often the janitor wakes.
func TestBrokenToldOnce(t *testing.T) {
	quiet(t)
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[File](nil)
		s := mustOpen(t, disk, testConfig)
		told := 0
		defer s.Watch(func(l queue.Lane, _ time.Time) {
			if l == (queue.Lane{}) {
				told++
			}
		})()
		disk.Before = func(op string, _ ...string) error {
			if op == "sync" {
				return errors.New("the disk is broken")
			}
			return nil
		}
		if _, err := s.Enqueue(t.Context(), testMessage("x", "d.example")); err == nil {
			t.Fatal("got no error from a broken disk")
		}
		for range 3 {
			s.wakeJanitor()
			synctest.Wait()
		}
		if told != 1 {
			t.Errorf("got the watchers asked to look %d times, want once", told)
		}
	})
}

// TestSettledUnannounced settles a task for good: nothing is announced, as there is nothing to claim.
func TestSettledUnannounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustOpen(t, crashfs.New[File](nil), testConfig)
		mustEnqueue(t, s, "body", "d.example")
		task := mustClaim(t, s, "d.example")[0]
		told := 0
		defer s.Watch(func(queue.Lane, time.Time) { told++ })()
		if mustSettle(t, s, task.Lease, queue.Settlement{}); told > 0 {
			t.Errorf("got %d announcements, want none", told)
		}
	})
}
