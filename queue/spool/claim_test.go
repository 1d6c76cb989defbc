package spool

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
	"github.com/postrider/postrider/queue/internal/index"
	"github.com/postrider/postrider/smtp"
)

// tallies gives the attempts and deaths of each task, by its destination.
func tallies(t *testing.T, s *Spool) map[string]string {
	t.Helper()
	got := map[string]string{}
	for task, err := range s.List(context.Background(), queue.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		got[task.Destination] = fmt.Sprintf("%d attempts, %d deaths, %v", task.Attempts, task.Deaths, task.State)
	}
	return got
}

// wantsOf gives a Want for one task of each lane of a destination, or of all.
func wantsOf(t *testing.T, s *Spool, dest string) (wants []queue.Want) {
	t.Helper()
	for task, err := range s.List(context.Background(), queue.Filter{Destination: dest}) {
		if err != nil {
			t.Fatal(err)
		}
		want := queue.Want{Lane: task.Lane(), Max: 1}
		if !slices.Contains(wants, want) {
			wants = append(wants, want)
		}
	}
	return wants
}

func checkTallies(t *testing.T, when string, s *Spool, want map[string]string) {
	t.Helper()
	if got := tallies(t, s); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: got %v, want %v", when, got, want)
	}
}

// killed opens what the end of the process leaves.
func killed(t *testing.T, disk *crashfs.FS[File], c Options) (*Spool, *crashfs.FS[File]) {
	t.Helper()
	left := disk.After("killed", nil)
	return mustOpen(t, left, c), left
}

// TestSpoolAttempts has claims of every kind of end, and then the end of the process or a Close.
func TestSpoolAttempts(t *testing.T) {
	ctx := context.Background()
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[File](nil)
		s := mustOpen(t, disk, testConfig)
		claim := func(dest string) queue.Lease {
			t.Helper()
			tasks, err := s.Claim(ctx, wantsOf(t, s, dest), time.Minute)
			if err != nil || len(tasks) != 1 {
				t.Fatalf("Claim of %s: got %d tasks and %v, want one", dest, len(tasks), err)
			}
			return tasks[0].Lease
		}
		for _, dest := range []string{"expired", "untouched", "deferred", "again", "back", "leased", "held"} {
			mustEnqueue(t, s, "body", dest)
		}
		claim("expired")
		claim("again")
		time.Sleep(time.Minute)
		claim("again")
		mustSettle(t, s, claim("deferred"), queue.Settlement{Next: time.Now()})
		mustSettle(t, s, claim("back"), queue.Settlement{Next: time.Now(), Uncounted: true})
		claim("leased")
		claim("held")
		for task := range s.List(ctx, queue.Filter{Destination: "held"}) {
			if err := s.Hold(ctx, task.ID); err != nil {
				t.Fatal(err)
			}
		}
		want := map[string]string{
			"expired":   "1 attempts, 0 deaths, waiting",
			"untouched": "0 attempts, 0 deaths, waiting",
			"deferred":  "1 attempts, 0 deaths, waiting",
			"again":     "2 attempts, 0 deaths, waiting",
			"back":      "0 attempts, 0 deaths, waiting",
			"leased":    "1 attempts, 0 deaths, waiting",
			"held":      "1 attempts, 0 deaths, held",
		}
		left := disk.After("killed", nil)
		mustClose(t, s)
		for range 3 {
			s = mustOpen(t, disk, testConfig)
			checkTallies(t, "closed", s, want)
			mustClose(t, s)
		}
		want["expired"] = "1 attempts, 1 deaths, waiting"
		want["again"] = "2 attempts, 1 deaths, waiting"
		want["leased"] = "1 attempts, 1 deaths, waiting"
		want["held"] = "1 attempts, 1 deaths, held"
		for range 3 {
			s, left = killed(t, left, testConfig)
			checkTallies(t, "killed", s, want)
			defer s.Close()
		}

		// A settlement that doesn't count keeps the deaths, any other clears them, and so does Release.
		lease := claim("leased")
		mustSettle(t, s, lease, queue.Settlement{Next: time.Now(), Uncounted: true})
		claim("leased")
		s, left = killed(t, left, testConfig)
		defer s.Close()
		want["leased"] = "2 attempts, 2 deaths, waiting"
		checkTallies(t, "killed again", s, want)
		mustSettle(t, s, claim("leased"), queue.Settlement{Next: time.Now()})
		for task := range s.List(ctx, queue.Filter{State: queue.Held}) {
			if err := s.Release(ctx, task.ID); err != nil {
				t.Fatal(err)
			}
		}
		want["leased"] = "3 attempts, 0 deaths, waiting"
		want["held"] = "1 attempts, 0 deaths, waiting"
		checkTallies(t, "settled and released", s, want)
		s, _ = killed(t, left, testConfig)
		defer s.Close()
		checkTallies(t, "settled, released and killed", s, want)
	})
}

// TestSpoolKiller has a message that ends the process as soon as it is claimed, among fifty: it alone reaches three
// deaths.
func TestSpoolKiller(t *testing.T) {
	ctx := context.Background()
	disk := crashfs.New[File](nil)
	s := mustOpen(t, disk, testConfig)
	for i := range 50 {
		mustEnqueue(t, s, "body", fmt.Sprintf("d%02d.example", i))
	}
	mustClose(t, s)
	delivered := 0
	for start := 1; ; start++ {
		s, disk = killed(t, disk, testConfig)
		defer s.Close()
		for died := false; !died; {
			wants := wantsOf(t, s, "")
			tasks, err := s.Claim(ctx, wants[:min(20, len(wants))], time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			if slices.ContainsFunc(tasks, func(task queue.Task) bool { return task.Deaths >= 3 }) {
				if len(tasks) != 1 || tasks[0].Destination != "d31.example" {
					t.Errorf("start %d: got %+v with three deaths, want the killer alone", start, tasks)
				}
				if delivered != 49 && len(wants) > 20 {
					t.Errorf("start %d: got %d delivered", start, delivered)
				}
				t.Logf("three deaths at start %d, %d delivered", start, delivered)
				return
			}
			died = slices.ContainsFunc(tasks, func(task queue.Task) bool { return task.Destination == "d31.example" })
			for _, task := range tasks {
				if !died {
					mustSettle(t, s, task.Lease, queue.Settlement{})
					delivered++
				}
			}
		}
		if start > 10 {
			t.Fatalf("got %d starts, and nothing has three deaths", start)
		}
	}
}

// TestSpoolAttemptsCompacted has the entries of claims in segments that are compacted, before and after a death.
func TestSpoolAttemptsCompacted(t *testing.T) {
	ctx := context.Background()
	config := Options{SegmentSize: 2000, InlineSize: 600, SyncDelay: time.Second}
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[File](nil)
		s := mustOpen(t, disk, config)
		churn := func() {
			t.Helper()
			first := s.log.oldest().number + 3
			for s.log.all()[0].number <= first {
				mustEnqueue(t, s, strings.Repeat("x", 500), "churn")
				for _, task := range mustClaim(t, s, "churn") {
					mustSettle(t, s, task.Lease, queue.Settlement{})
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
			}
		}
		mustEnqueue(t, s, "body", "fresh")
		mustEnqueue(t, s, "body", "deferred")
		mustEnqueue(t, s, "body", "idle")
		tasks := mustClaim(t, s, "deferred")
		reply := smtp.NewReply(450, "", "later")
		mustSettle(t, s, tasks[0].Lease, queue.Settlement{
			Next: time.Now(), Results: []smtp.Result{{Recipient: tasks[0].Envelope.Recipients[0].Address, Reply: reply}},
		})
		want := map[string]string{"idle": "0 attempts, 0 deaths, waiting"}
		for n := 1; n <= 3; n++ {
			if tasks, err := s.Claim(ctx, wantsOf(t, s, "fresh"), 100*time.Hour); err != nil || len(tasks) != 1 {
				t.Fatalf("Claim: got %d tasks and %v", len(tasks), err)
			}
			churn()
			s, disk = killed(t, disk, config)
			defer s.Close()
			want["fresh"] = fmt.Sprintf("%d attempts, %d deaths, waiting", n, n)
			want["deferred"] = fmt.Sprintf("%d attempts, %d deaths, waiting", n, n-1)
			checkTallies(t, fmt.Sprint("death ", n), s, want)
			churn()
			checkTallies(t, fmt.Sprint("after death ", n), s, want)
			if tasks, err := s.Claim(ctx, wantsOf(t, s, "deferred"), 100*time.Hour); err != nil || len(tasks) != 1 {
				t.Fatalf("Claim: got %d tasks and %v", len(tasks), err)
			}
			churn()
			s, disk = killed(t, disk, config)
			defer s.Close()
			want["deferred"] = fmt.Sprintf("%d attempts, %d deaths, waiting", n+1, n)
			checkTallies(t, fmt.Sprint("second death ", n), s, want)
		}
	})
}

// TestSpoolClaimFull claims on a full disk, where the attempt can't be written.
func TestSpoolClaimFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := crashfs.New[File](nil)
		s := mustOpen(t, d, testConfig)
		mustEnqueue(t, s, "body", "d.example")
		d.Before = func(op string, _ ...string) error {
			if op == "write" {
				return &crashfs.TornWrite{N: 7, Err: syscall.ENOSPC}
			}
			return nil
		}
		tasks := mustClaim(t, s, "d.example")
		if len(tasks) != 1 || tasks[0].Attempts != 1 {
			t.Fatalf("got %+v, want the task", tasks)
		}
		d.Before = nil
		mustSettle(t, s, tasks[0].Lease, queue.Settlement{})
		checkNoDamage(t, s)
		mustClose(t, s)
	})
}

// TestSpoolDeathsLogged has the log say how many tasks were claimed at a death, once.
func TestSpoolDeathsLogged(t *testing.T) {
	var b bytes.Buffer
	config := testConfig
	config.Logger = slog.New(slog.NewTextHandler(&b, nil))
	disk := crashfs.New[File](nil)
	s := mustOpen(t, disk, config)
	mustEnqueue(t, s, "body", "d.example", "e.example")
	mustClaim(t, s, "d.example")
	mustClaim(t, s, "e.example")
	s, disk = killed(t, disk, config)
	mustClose(t, s)
	mustClose(t, mustOpen(t, disk, config))
	const line = `msg="tasks were claimed when the last process ended" dir=memory tasks=2`
	if got := b.String(); strings.Count(got, line) != 1 || strings.Count(got, "\n") != 1 {
		t.Errorf("got %q, want one line %q", got, line)
	}
}

// TestClaimFields reads what a claim writes, and refuses what is none.
func TestClaimFields(t *testing.T) {
	for _, want := range []claimed{
		{id: 1}, {id: maxID, num: 1<<32 - 1, attempts: index.MaxAttempts, deaths: 3, leased: true}, {id: 256, attempts: 256},
	} {
		h, fields, err := entryFields(appendClaim(nil, want))
		if err != nil || h.kind != entryClaim || entryID(h, fields) != want.id {
			t.Fatalf("got entry %+v and %v, want one of message %d", h, err, want.id)
		}
		if got, err := decodeClaim(fields); got != want || err != nil {
			t.Errorf("got %+v and %v, want %+v", got, err, want)
		}
	}
	for _, bad := range []string{"", "\x02\x01\x01", "\x01\x02\x01", "\x01\x09123456789"} {
		if got, err := decodeClaim([]byte(bad)); err != errEntry {
			t.Errorf("%q: got %+v and %v, want errEntry", bad, got, err)
		}
	}
	for _, closed := range []bool{false, true} {
		_, fields, err := entryFields(appendEnd(nil, closed))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeEnd(fields); got != closed || err != nil {
			t.Errorf("got %v and %v, want %v", got, err, closed)
		}
	}
}

// TestSpoolClaimWhileMoving claims a task of a message while its move is being prepared: the move is made anew, as its
// copy of the task's state would come after the claim in the log.
func TestSpoolClaimWhileMoving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[File](nil)
		s := mustOpen(t, disk, testConfig)
		mustEnqueue(t, s, "body", "d.example")
		task := mustClaim(t, s, "d.example")[0]
		reply := smtp.NewReply(450, "", "later")
		mustSettle(t, s, task.Lease, queue.Settlement{Next: time.Now(), Results: []smtp.Result{{Reply: reply}}})
		id, _ := index.ParseID(task.ID)
		seg := s.log.oldest()
		if !s.rollPast(seg) {
			t.Fatal("the log can't be rolled")
		}
		m, err := s.prepareMove(seg, id)
		if err != nil {
			t.Fatal(err)
		}
		mustClaim(t, s, "d.example")
		if left, err := s.carryOut([]*move{m}); err != nil || !slices.Equal(left, []uint64{id}) {
			s.Close()
			t.Fatalf("got %d left and %v, want the message to be moved once more", left, err)
		}
		if m, err = s.prepareMove(seg, id); err != nil {
			t.Fatal(err)
		}
		if left, err := s.carryOut([]*move{m}); err != nil || len(left) > 0 {
			t.Errorf("got %d left and %v, want the message moved", left, err)
		}
		want := map[string]string{"d.example": "2 attempts, 1 deaths, waiting"}
		after, _ := killed(t, disk, testConfig)
		checkTallies(t, "killed", after, want)
		mustClose(t, after)
		mustClose(t, s)
	})
}
