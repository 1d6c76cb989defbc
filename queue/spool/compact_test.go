package spool

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
	"github.com/postrider/postrider/queue/internal/index"
	"github.com/postrider/postrider/smtp"
)

// onDisk counts what the segments of a spool take.
func onDisk(m *crashfs.FS[File]) (octets int64, segments int) {
	for name, b := range m.Files() {
		if strings.HasSuffix(name, segmentSuffix) {
			octets += int64(len(b))
			segments++
		}
	}
	return octets, segments
}

// TestSpoolCompacts keeps a few messages through the coming and going of many: their segments go, what
// became of them stays, who reads them isn't disturbed, and the disk holds little more than what lives.
func TestSpoolCompacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[File](nil)
		o := Options{SegmentSize: 16 << 10, InlineSize: 8 << 10, SyncDelay: time.Second}
		s := mustOpen(t, disk, o)
		ctx := context.Background()
		want := map[string]string{}
		var first queue.ID
		for i := range 10 {
			body := fmt.Sprintf("keep %d %s", i, strings.Repeat("k", 100*i))
			id := mustEnqueue(t, s, body, "keep.example", "later.example", "done.example")
			want[string(id)+" keep.example"], want[string(id)+" later.example"] = body, body
			if i == 0 {
				first = id
			}
		}
		for _, task := range mustClaim(t, s, "done.example") {
			mustSettle(t, s, task.Lease, queue.Settlement{})
		}
		next := time.Now().Add(1000 * time.Hour)
		for _, task := range mustClaim(t, s, "later.example") {
			mustSettle(t, s, task.Lease, queue.Settlement{Next: next, Noticed: true, Results: []smtp.Result{{
				Recipient: task.Envelope.Recipients[0].Address, Reply: smtp.NewReply(450, "", "later "+string(task.ID)),
			}}})
		}
		held := mustClaim(t, s, "keep.example")
		body, err := s.Open(ctx, first)
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()

		churn := func() {
			for i := range 300 {
				mustEnqueue(t, s, strings.Repeat("c", i*7), "churn.example")
				for _, task := range mustClaim(t, s, "churn.example") {
					mustSettle(t, s, task.Lease, queue.Settlement{})
				}
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
		}
		check := func(when string) {
			t.Helper()
			checkNoDamage(t, s)
			checkContents(t, s, want)
			for task, err := range s.List(ctx, queue.Filter{}) {
				if err != nil {
					t.Fatalf("%s: %v", when, err)
				}
				if task.Destination != "later.example" {
					continue
				}
				reply := task.Last[0].Reply
				if task.Attempts != 1 || !task.Due.Equal(next) || reply == nil || reply.Text != "later "+string(task.ID) {
					t.Errorf("%s: got %+v, want what it was settled with", when, task)
				}
			}
			if octets, n := onDisk(disk); octets > 2*s.live+2*o.SegmentSize || n > 6 {
				t.Errorf("%s: got %d octets in %d segments for %d that live", when, octets, n, s.live)
			}
		}
		churn()
		check("after the churn")
		if _, err := body.ReadAt(make([]byte, 4), 0); err != nil {
			t.Errorf("reading a body whose segment is gone: %v", err)
		}
		for _, task := range held { // under leases from before they were moved
			mustSettle(t, s, task.Lease, queue.Settlement{Next: next})
		}
		churn()
		check("after more of it")
		mustClose(t, s)
		s = mustOpen(t, disk, o)
		check("when it was opened again")
		churn()
		check("after still more")
		time.Sleep(1000 * time.Hour)
		for _, dest := range []string{"keep.example", "later.example"} {
			for _, task := range mustClaim(t, s, dest) {
				mustSettle(t, s, task.Lease, queue.Settlement{})
			}
		}
		want = nil
		churn()
		if octets, _ := onDisk(disk); octets > 2*o.SegmentSize {
			t.Errorf("with nothing left: got %d octets", octets)
		}
		mustClose(t, s)
		s = mustOpen(t, disk, o)
		checkContents(t, s, nil)
	})
}

// TestSpoolCompactsWhileSettling has a message moved while one of its tasks is being settled: the settlement stands.
func TestSpoolCompactsWhileSettling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hold atomic.Bool
		goOn := make(chan struct{})
		d := crashfs.New[File](nil)
		d.Before = func(op string, names ...string) error {
			if op == "sync" && names[0] != rosterName && hold.Load() {
				<-goOn
			}
			return nil
		}
		o := Options{SegmentSize: 4 << 10, InlineSize: 4 << 10, SyncDelay: time.Minute}
		s := mustOpen(t, d, o)
		id := mustEnqueue(t, s, "body", "a.example", "b.example")
		// Settlements must find room without a new segment, which would wait for the disk.
		for n := 0; n < 12 || s.log.last().size > 1500; n++ {
			mustEnqueue(t, s, strings.Repeat("x", 1000), "churn.example")
		}
		task := mustClaim(t, s, "a.example")[0]
		hold.Store(true)
		var settled sync.WaitGroup
		settled.Go(func() {
			mustSettle(t, s, task.Lease, queue.Settlement{Reports: []queue.Message{testMessage("report", "r.example")}})
		})
		synctest.Wait() // it waits for the disk
		for _, task := range mustClaim(t, s, "churn.example") {
			mustSettle(t, s, task.Lease, queue.Settlement{})
		}
		synctest.Wait() // compaction has come as far as it can
		hold.Store(false)
		goOn <- struct{}{}
		settled.Wait()
		time.Sleep(time.Hour)
		synctest.Wait()
		if _, ok := d.Files()[segmentName(1)]; ok {
			t.Errorf("the first segment is still there: this tested nothing")
		}
		want := contents(t, s)
		if len(want) != 2 || want[string(id)+" b.example"] != "body" {
			t.Errorf("got %v, want the other task and the report", want)
		}
		mustClose(t, s)
		s = mustOpen(t, d, o)
		checkContents(t, s, want)
	})
}

// TestSpoolChurn enqueues, settles, defers and reopens at random, and compares with what should be there. The disk is
// bounded all the time.
func TestSpoolChurn(t *testing.T) {
	seed := rand.Uint64()
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(seed, 1))
		disk := crashfs.New[File](nil)
		o := Options{SegmentSize: 4 << 10, InlineSize: 2 << 10, SyncDelay: time.Second}
		s := mustOpen(t, disk, o)
		want := map[string]string{}
		for i := range 1500 {
			switch {
			case r.IntN(3) > 0 && len(want) < 150 || len(want) == 0:
				body := fmt.Sprintf("%d %s", i, strings.Repeat("x", r.IntN(500)))
				if r.IntN(30) == 0 {
					body += strings.Repeat("y", 3000)
				}
				dests := []string{"a.example", "b.example", "c.example"}[:1+r.IntN(3)]
				id := mustEnqueue(t, s, body, dests...)
				for _, d := range dests {
					want[string(id)+" "+d] = body
				}
			case r.IntN(40) == 0:
				mustClose(t, s)
				s = mustOpen(t, disk, o)
				checkContents(t, s, want)
			default:
				dest := []string{"a.example", "b.example", "c.example"}[r.IntN(3)]
				tasks, err := claimOf(s, dest, 1+r.IntN(8))
				if err != nil {
					t.Fatal(err)
				}
				for _, task := range tasks {
					if r.IntN(3) == 0 {
						mustSettle(t, s, task.Lease, queue.Settlement{Next: time.Now()})
						continue
					}
					mustSettle(t, s, task.Lease, queue.Settlement{})
					delete(want, string(task.ID)+" "+dest)
				}
			}
			if i%50 == 0 {
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if octets, n := onDisk(disk); octets > 2*s.live+3*o.SegmentSize {
					t.Fatalf("step %d: got %d octets in %d segments for %d that live", i, octets, n, s.live)
				}
				checkLive(t, s)
			}
			if t.Failed() {
				t.Fatalf("step %d", i)
			}
		}
		checkContents(t, s, want)
		checkNoDamage(t, s)
	})
}

// checkLive compares what the spool counts with what it has.
func checkLive(t *testing.T, s *Spool) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var live int64
	perSeg := map[uint32]usage{}
	for _, id := range indexed(s.ix) {
		p := *s.ix.Data(id)
		live += int64(p.length)
		u := perSeg[p.segment]
		perSeg[p.segment] = usage{u.messages + 1, u.octets + int64(p.length)}
		for _, c := range s.ix.TasksOf(id) {
			live += int64(c.State.length)
			for _, part := range c.Parts {
				live += int64(part.State.length)
			}
		}
	}
	if live != s.live || !maps.Equal(perSeg, s.perSeg) {
		t.Errorf("the spool counts %d octets and messages %v, want %d and %v", s.live, s.perSeg, live, perSeg)
	}
	for _, seg := range s.log.all() {
		if refs, pending := seg.refs.Load(), seg.pending.Load(); refs != 1 || pending != 0 {
			t.Errorf("%s has %d refs and %d records pending, want the log's own and none", segmentName(seg.number), refs, pending)
		}
	}
}

// TestSpoolSpares has the oldest segment go while the file of another is on its way to become the next one: neither gets in the
// other's way.
func TestSpoolSpares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hold atomic.Bool
		goOn, renamed := make(chan struct{}), make(chan struct{}, 10)
		disk := crashfs.New[File](nil)
		disk.Before = func(op string, names ...string) error {
			switch {
			case op == "rename" && strings.Contains(names[1], ".spare"):
				renamed <- struct{}{}
			case op == "sync" && strings.Contains(names[0], ".spare"):
				select {
				case <-renamed: // the oldest, meanwhile
				case <-time.After(time.Second):
				}
			case op == "sync" && names[0] != rosterName && hold.CompareAndSwap(true, false):
				<-goOn
			}
			return nil
		}
		s := mustOpen(t, disk, Options{SegmentSize: 16 << 10, InlineSize: 256 << 10, SyncDelay: time.Hour})
		fill := func(dest string) { // up to the next segment
			for seg := s.log.last(); s.log.last() == seg; {
				mustEnqueue(t, s, strings.Repeat("x", 1000), dest)
			}
		}
		fill("a.example")
		fill("b.example")
		for range 8 { // so that a large one doesn't fit into the third
			mustEnqueue(t, s, strings.Repeat("x", 1000), "c.example")
		}
		for _, task := range mustClaim(t, s, "a.example") {
			mustSettle(t, s, task.Lease, queue.Settlement{})
		}
		synctest.Wait()
		<-renamed // the first segment is the spare
		var last []queue.ID
		for _, task := range mustClaim(t, s, "b.example") {
			if id, _ := index.ParseID(task.ID); s.ix.Data(id).segment == s.log.oldest().number {
				last = append(last, task.ID)
			}
		}
		hold.Store(true)
		go s.Enqueue(context.Background(), testMessage("body", "e.example"))
		synctest.Wait() // its sync is under way, and what comes now is written behind it, in one go
		go s.Remove(context.Background(), last)
		synctest.Wait()
		var large queue.ID
		var wg sync.WaitGroup
		wg.Go(func() {
			large, _ = s.Enqueue(context.Background(), testMessage(strings.Repeat("y", 15000), "x.example"))
		})
		synctest.Wait()
		goOn <- struct{}{}
		wg.Wait()
		for range 20 {
			fill("f.example")
			for _, task := range mustClaim(t, s, "f.example") {
				mustSettle(t, s, task.Lease, queue.Settlement{})
			}
			synctest.Wait()
		}
		mustClose(t, s)
		s = mustOpen(t, disk, testConfig)
		checkNoDamage(t, s)
		if body, err := readBody(s, large); err != nil || len(body) != 15000 {
			t.Errorf("got %d octets and %v, want what was acknowledged", len(body), err)
		}
	})
}

// TestSpoolCompactionEnds has a low disk, and a log in which there is much besides the messages that can't be spared: compaction tries,
// and then waits until there is more to be gained.
func TestSpoolCompactionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[File](nil)
		var dests []string
		for i := range 100 {
			dests = append(dests, fmt.Sprintf("d%d.example", i))
		}
		s := mustOpen(t, disk, Options{SegmentSize: 1 << 20, InlineSize: 256 << 10, SyncDelay: time.Second})
		for range 1000 {
			mustEnqueue(t, s, "body", dests...)
		}
		for _, dest := range dests[1:] {
			for _, task := range mustClaim(t, s, dest) {
				mustSettle(t, s, task.Lease, queue.Settlement{})
			}
		}
		synctest.Wait()
		s.config.Reserve = 1 << 50
		disk.Space = 1<<50 - 1
		time.Sleep(spaceAge)
		if _, err := s.Enqueue(context.Background(), testMessage("body", "d.example")); err == nil {
			t.Error("got new mail in, want it refused")
		}
		s.config.Reserve = 0 // the janitor's: there is room enough for it
		time.Sleep(time.Minute)
		synctest.Wait() // for the janitor, which must come to rest
		if got := len(contents(t, s)); got != 1000 {
			t.Errorf("got %d tasks, want 1000", got)
		}
		checkLive(t, s)
	})
}

// TestSpoolLateInIndex has a message that is on the disk, and that the index doesn't know yet, in a segment that should go: it doesn't
// before it is known.
func TestSpoolLateInIndex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[File](nil)
		s := mustOpen(t, disk, Options{SegmentSize: 16 << 10, InlineSize: 256 << 10, SyncDelay: time.Hour})
		mustEnqueue(t, s, "lives", "a.example")
		late := s.newDraft(true)
		if err := late.add(context.Background(), testMessage("late", "late.example"), nil); err != nil {
			t.Fatal(err)
		}
		if err := late.commit(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			mustEnqueue(t, s, strings.Repeat("x", 15000), "b.example")
		}
		for _, task := range mustClaim(t, s, "b.example") {
			mustSettle(t, s, task.Lease, queue.Settlement{})
		}
		synctest.Wait()
		if s.log.oldest().number != 1 {
			t.Error("the segment is gone")
		}
		s.mu.Lock()
		s.takeIn(late)
		s.mu.Unlock()
		synctest.Wait()
		if s.log.oldest().number == 1 {
			t.Error("the segment is still there")
		}
		want := contents(t, s)
		if len(want) != 2 {
			t.Errorf("got %v, want both", want)
		}
		mustClose(t, s)
		s = mustOpen(t, disk, testConfig)
		checkNoDamage(t, s)
		checkContents(t, s, want)
	})
}
