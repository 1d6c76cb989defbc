package spool

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
	"github.com/postrider/postrider/queue/internal/index"
	"github.com/postrider/postrider/smtp"
)

var runtimeOptions = Options{SegmentSize: 16 << 10, InlineSize: 12 << 10, SyncDelay: time.Second, Reserve: -1}

// livingSpool has five messages of 2000 octets in its first segment, the third of which has a task that was deferred, a task
// that wasn't tried, and one that is done.
func livingSpool(t *testing.T, disk *crashfs.FS[File]) (s *Spool, ids []queue.ID) {
	s = mustOpen(t, disk, runtimeOptions)
	for i := range 5 {
		ids = append(ids, mustEnqueue(t, s, strings.Repeat(fmt.Sprintf("%3d\n", i), 500), fmt.Sprintf("d%d.example", i), "e.example", "f.example"))
	}
	for i, task := range mustClaim(t, s, "f.example") {
		if i == 2 {
			mustSettle(t, s, task.Lease, queue.Settlement{})
		}
	}
	fillSegment(t, s)
	for i, task := range mustClaim(t, s, "e.example") {
		if i == 2 {
			mustSettle(t, s, task.Lease, queue.Settlement{Next: time.Now().Add(time.Minute)})
		}
	}
	fillSegment(t, s)
	time.Sleep(2 * time.Hour) // leases end
	synctest.Wait()           // for the janitor
	return s, ids
}

// fillSegment goes on to the next segment.
func fillSegment(t *testing.T, s *Spool) {
	for seg := s.log.last(); s.log.last() == seg; {
		mustEnqueue(t, s, strings.Repeat("x", 3000), "churn.example")
	}
}

// churnPast has so much come and go that compaction has passed the segments up to number.
func churnPast(t *testing.T, s *Spool, number uint32) bool {
	for range 80 {
		id := mustEnqueue(t, s, strings.Repeat("x", 3000), "churn.example")
		if err := s.Remove(t.Context(), []queue.ID{id}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if s.log.oldest().number > number {
			return true
		}
	}
	return false
}

// TestSpoolDamagedWhileOpen flips a bit of a live message, or of what became of it, while the spool is open: compaction goes
// past it, the damage is reported, and it costs what it costs at the start.
func TestSpoolDamagedWhileOpen(t *testing.T) {
	quiet(t)
	none := func(p, st place) int { return int(p.off) - 30 } // in the record before
	tests := []struct {
		name  string
		place func(p, st place) int // of the flipped bit
		left  int                   // tasks of the message
		body  bool                  // it can be opened
	}{
		{"record header, salt", func(p, _ place) int { return int(p.off) - recordHeaderLen }, 3, true},
		{"record header, checksum", func(p, _ place) int { return int(p.off) - 2 }, 3, true},
		{"entry header", func(p, _ place) int { return int(p.off) + 5 }, 0, false},
		{"entry's kind", func(p, _ place) int { return int(p.off) }, 0, false},
		{"ID", func(p, _ place) int { return int(p.off) + idAt }, 0, false},
		{"body", func(p, _ place) int { return int(p.off+p.length) - 100 }, 3, false},
		{"state", func(_, st place) int { return int(st.off) + 25 }, 3, true},
		{"another message", none, 3, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := crashfs.New[File](nil)
				s, ids := livingSpool(t, disk)
				n, _ := index.ParseID(ids[2])
				var p, st place
				left := 0
				for _, c := range s.ix.TasksOf(n) {
					p, left = c.Data, left+1
					if c.State.length > 0 {
						st = c.State
					}
				}
				if p.segment != 1 || st.segment != 2 || left != 2 {
					t.Fatalf("got the message at %+v, its state at %+v, and %d tasks", p, st, left)
				}
				name := segmentName(1)
				if tt.name == "state" {
					name = segmentName(2)
				}
				off := tt.place(p, st)
				disk.Names[name].Data[off] ^= 1
				disk.Names[name].Synced[off] ^= 1
				if !churnPast(t, s, 2) {
					t.Fatalf("the oldest segment is %d, want compaction to go past the damage", s.log.oldest().number)
				}
				checkLive(t, s)
				want := tt.left - 1 // one is done
				if tt.left == 0 {
					want = 0
				}
				check := func(when string) {
					t.Helper()
					if got := len(s.ix.TasksOf(n)); got != want {
						t.Errorf("%s: got %d tasks, want %d", when, got, want)
					}
					if body, err := readBody(s, ids[2]); (err == nil) != tt.body || tt.body && body != strings.Repeat("  2\n", 500) {
						t.Errorf("%s: got %d octets and %v, want it readable: %v", when, len(body), err, tt.body)
					}
					others := 0
					got, _ := readable(s)
					for key := range got {
						if id, dest, _ := strings.Cut(key, " "); id != string(ids[2]) && dest != "churn.example" {
							others++
						}
					}
					if tt.name == "another message" {
						others += 3
					}
					if others < 12 {
						t.Errorf("%s: got %d tasks of the others, want 12", when, others)
					}
				}
				check("while it is open")
				kept := slices.ContainsFunc(slices.Collect(maps.Keys(disk.Files())), func(name string) bool {
					return strings.HasSuffix(name, damagedSuffix)
				})
				header := strings.HasPrefix(tt.name, "record header") // which nothing needs any more
				if damage := s.Damage(); (len(damage) > 0 != kept || len(damage) == 0 && !header) && tt.name != "another message" {
					t.Errorf("got damage %+v and a segment kept for it: %v", damage, kept)
				}
				mustClose(t, s)
				s = mustOpen(t, disk, runtimeOptions)
				check("opened again")
				mustClose(t, s)
			})
		})
	}
}

// TestSpoolUnreadableWhileOpen has a sector go bad while the spool is open: compaction goes past it. A disk of which nothing can
// be read for a while costs nothing.
func TestSpoolUnreadableWhileOpen(t *testing.T) {
	quiet(t)
	for _, all := range []bool{false, true} {
		t.Run(fmt.Sprint("all of it: ", all), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := crashfs.New[File](nil)
				s, ids := livingSpool(t, disk)
				n, _ := index.ParseID(ids[2])
				p := *s.ix.Data(n)
				var bad atomic.Bool
				disk.Reading = func(name string, off int64, octets int) error {
					if bad.Load() && (all || name == segmentName(p.segment) && off <= int64(p.off) && off+int64(octets) > int64(p.off)) {
						return syscall.EIO
					}
					return nil
				}
				bad.Store(true)
				if went := churnPast(t, s, 1); went == all {
					t.Errorf("compaction went past it: %v, want %v", went, !all)
				}
				bad.Store(false)
				want := 12
				if all {
					want = 14
					if !churnPast(t, s, 1) {
						t.Error("compaction doesn't go on when the disk is back")
					}
				}
				if len(s.Damage()) == 0 {
					t.Error("got no damage")
				}
				got := 0
				for key := range contents(t, s) {
					if !strings.HasSuffix(key, "churn.example") {
						got++
					}
				}
				if got != want {
					t.Errorf("got %d tasks, want %d", got, want)
				}
			})
		})
	}
}

// TestSpoolUnreadableAfterSome has the disk fail when compaction has read some messages of a batch: none is lost.
func TestSpoolUnreadableAfterSome(t *testing.T) {
	quiet(t)
	for good := range 6 {
		synctest.Test(t, func(t *testing.T) {
			disk := crashfs.New[File](nil)
			s, _ := livingSpool(t, disk)
			want := map[string]string{}
			for key, body := range contents(t, s) {
				if !strings.HasSuffix(key, "churn.example") {
					want[key] = body
				}
			}
			var bad atomic.Bool
			var reads atomic.Int64
			disk.Reading = func(string, int64, int) error {
				if bad.Load() && reads.Add(1) > int64(good) {
					return syscall.EIO
				}
				return nil
			}
			bad.Store(true)
			if churnPast(t, s, 1) {
				t.Errorf("%d reads: compaction went past what can't be read", good)
			}
			bad.Store(false)
			if !churnPast(t, s, 2) {
				t.Errorf("%d reads: compaction doesn't go on when the disk is back", good)
			}
			for _, when := range []string{"while it is open", "opened again"} {
				got := contents(t, s)
				for key, body := range want {
					if got[key] != body {
						t.Errorf("%d reads, %s: %s: got %d octets, want %d", good, when, key, len(got[key]), len(body))
					}
				}
				mustClose(t, s)
				s = mustOpen(t, disk, runtimeOptions)
			}
			mustClose(t, s)
		})
	}
}

// TestSpoolStateDamagedWhileLeased damages the state of a task of which one of two recipients is done, and which is leased: a
// settlement of the other one is believed, or refused, and no recipient is lost.
func TestSpoolStateDamagedWhileLeased(t *testing.T) {
	quiet(t)
	for _, deferred := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			disk := crashfs.New[File](nil)
			s := mustOpen(t, disk, runtimeOptions)
			m := testMessage("body", "d.example", "d.example")
			id, err := s.Enqueue(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			later := smtp.Result{Reply: smtp.NewReply(450, "", "later")}
			settled := queue.Settlement{Next: time.Now(), Results: []smtp.Result{{Outcome: smtp.Delivered}, later}}
			mustSettle(t, s, mustClaim(t, s, "d.example")[0].Lease, settled)
			n, _ := index.ParseID(id)
			st := s.ix.TasksOf(n)[0].State
			task := mustClaim(t, s, "d.example")[0]
			if len(task.Last) != 1 {
				t.Fatalf("got %d recipients, want one", len(task.Last))
			}
			fillSegment(t, s)
			fillSegment(t, s)
			synctest.Wait() // for the janitor
			disk.Names[segmentName(1)].Data[st.off+25] ^= 1
			disk.Names[segmentName(1)].Synced[st.off+25] ^= 1
			for range 40 {
				id := mustEnqueue(t, s, strings.Repeat("x", 3000), "more.example")
				if err := s.Remove(t.Context(), []queue.ID{id}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
			if s.log.oldest().number != 1 {
				t.Error("the segment of what is leased is gone")
			}
			set := queue.Settlement{}
			if deferred {
				set = queue.Settlement{Next: time.Now().Add(time.Minute), Results: []smtp.Result{later}}
			}
			if err := s.Settle(t.Context(), task.Lease, set); (err != nil) != deferred {
				t.Errorf("deferred %v: Settle: got %v", deferred, err)
			}
			time.Sleep(2 * time.Hour)
			if !churnPast(t, s, 1) {
				t.Error("compaction doesn't go on when the lease has ended")
			}
			tasks := mustClaim(t, s, "d.example")
			if !deferred && len(tasks) != 0 || deferred && (len(tasks) != 1 || len(tasks[0].Last) != 2) {
				t.Errorf("deferred %v: got %+v, want nothing, or both recipients", deferred, tasks)
			}
			checkLive(t, s)
		})
	}
}

// keepsFirst returns a disk that keeps the first segment where it is while failing.
func keepsFirst(failing *atomic.Bool) *crashfs.FS[File] {
	disk := crashfs.New[File](nil)
	disk.Before = func(op string, names ...string) error {
		if (op == "remove" || op == "rename") && names[0] == segmentName(1) && failing.Load() {
			return syscall.EIO
		}
		return nil
	}
	return disk
}

// TestSpoolRemovalFails has a segment that can't be removed for a while: compaction goes on after that.
func TestSpoolRemovalFails(t *testing.T) {
	quiet(t)
	synctest.Test(t, func(t *testing.T) {
		var failing atomic.Bool
		disk := keepsFirst(&failing)
		s, _ := livingSpool(t, disk)
		failing.Store(true)
		if churnPast(t, s, 1) {
			t.Error("the segment went, though it can't")
		}
		failing.Store(false)
		if !churnPast(t, s, 1) {
			t.Error("the segment is there, though it can go")
		}
		if d := s.Damage(); len(d) != 1 || d[0].File != segmentName(1) {
			t.Errorf("got damage %+v, want one finding of the segment", d)
		}
		mustClose(t, s)
		checkNoDamage(t, mustOpen(t, disk, runtimeOptions))
	})
}

// TestSpoolSlowHold has a Hold take long while all else goes on: what else lives in its segment isn't read over and over.
func TestSpoolSlowHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[File](nil)
		var read atomic.Int64
		disk.Reading = func(_ string, _ int64, n int) error { read.Add(int64(n)); return nil }
		s, ids := livingSpool(t, disk)
		held, err := s.begin(t.Context(), []queue.ID{ids[2]})
		if err != nil {
			t.Fatal(err)
		}
		read.Store(0)
		written := 0
		for range 300 {
			written += 3000
			mustEnqueue(t, s, strings.Repeat("x", 3000), "churn.example")
			for _, task := range mustClaim(t, s, "churn.example") {
				mustSettle(t, s, task.Lease, queue.Settlement{})
			}
			synctest.Wait()
		}
		if got := int(read.Load()); got > 2*written {
			t.Errorf("read %d octets for %d written, want less than twice as many", got, written)
		}
		if s.log.oldest().number != 1 {
			t.Error("the first segment is gone: this tested nothing")
		}
		s.end(held)
		if !churnPast(t, s, 1) {
			t.Error("the first segment is there, though nothing keeps it")
		}
		if body, err := readBody(s, ids[2]); err != nil || len(body) != 2000 {
			t.Errorf("got %d octets and %v", len(body), err)
		}
		checkLive(t, s)
		checkNoDamage(t, s)
	})
}

// TestSpoolSlowReport has the report of a settlement read slowly while all else goes on: the segment of its message can go.
func TestSpoolSlowReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, ids := livingSpool(t, crashfs.New[File](nil))
		goOn, done := make(chan struct{}), make(chan struct{})
		report := testMessage("", "r.example")
		report.Body = slowReader(goOn)
		task := mustClaim(t, s, "d2.example")[0]
		go func() {
			defer close(done)
			mustSettle(t, s, task.Lease, queue.Settlement{Reports: []queue.Message{report}})
		}()
		synctest.Wait()
		if !churnPast(t, s, 1) {
			t.Error("the first segment is there, though nothing keeps it")
		}
		if body, err := readBody(s, ids[2]); err != nil || len(body) != 2000 {
			t.Errorf("got %d octets and %v", len(body), err)
		}
		close(goOn)
		<-done
		time.Sleep(2 * time.Hour) // a lease would end
		if left, reports := mustClaim(t, s, "d2.example"), mustClaim(t, s, "r.example"); len(left) != 0 || len(reports) != 1 {
			t.Errorf("got %d tasks and %d reports after the settlement, want 0 and 1", len(left), len(reports))
		}
		checkLive(t, s)
		checkNoDamage(t, s)
	})
}

// slowReader ends when the channel is closed.
type slowReader chan struct{}

func (r slowReader) Read([]byte) (int, error) {
	<-r
	return 0, io.EOF
}

// TestSpoolBodyGoesFirst loses a settlement in a crash after the segment of its message went: no body is left of which nothing is
// known.
func TestSpoolBodyGoesFirst(t *testing.T) {
	for _, kind := range crashfs.Kinds {
		synctest.Test(t, func(t *testing.T) {
			disk := crashfs.New[File](nil)
			s := mustOpen(t, disk, runtimeOptions)
			id := mustEnqueue(t, s, strings.Repeat("x", 1<<20), "d.example")
			task := mustClaim(t, s, "d.example")[0]
			mustEnqueue(t, s, strings.Repeat("x", 9000), "rest.example") // of the first segment
			mustEnqueue(t, s, strings.Repeat("x", 9000), "live.example")
			fillSegment(t, s)
			mustSettle(t, s, mustClaim(t, s, "rest.example")[0].Lease, queue.Settlement{})
			time.Sleep(5 * time.Second) // all is synced
			synctest.Wait()
			before := s.log.oldest().number
			mustSettle(t, s, task.Lease, queue.Settlement{})
			synctest.Wait()
			if now := s.log.oldest().number; before != 1 || now == 1 {
				t.Fatalf("the oldest segment was %d and is %d, want it to go now", before, now)
			}
			after := disk.After(kind, nil)
			mustClose(t, s)
			s = mustOpen(t, after, runtimeOptions)
			n, _ := index.ParseID(id)
			if after.Files()[bodyName(n)] != nil && !s.hasFile(n) {
				t.Errorf("%s: the body is there, and its message isn't", kind)
			}
			mustClose(t, s)
		})
	}
}

// TestSpoolRemovalTriedAgain has a removal fail once, and then nothing happens in the spool: it is tried again after a minute.
func TestSpoolRemovalTriedAgain(t *testing.T) {
	quiet(t)
	synctest.Test(t, func(t *testing.T) {
		var failing atomic.Bool
		disk := keepsFirst(&failing)
		s, _ := livingSpool(t, disk)
		var all []queue.ID
		for id := range contents(t, s) {
			id, _, _ := strings.Cut(id, " ")
			all = append(all, queue.ID(id))
		}
		failing.Store(true)
		if err := s.Remove(t.Context(), all); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		failing.Store(false)
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if got := s.log.oldest().number; got != 1 || len(s.Damage()) != 1 {
			t.Errorf("before a minute: got segment %d and damage %+v, want 1 and one finding", got, s.Damage())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got, last := s.log.oldest(), s.log.last(); got != last {
			t.Errorf("after a minute: got segment %d, want the last one, %d", got.number, last.number)
		}
		mustClose(t, s)
	})
}

// TestSpoolEmptySegment lists no messages of a segment that has none.
func TestSpoolEmptySegment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := livingSpool(t, crashfs.New[File](nil))
		seg := &segment{number: 99}
		if !s.moveAll(seg) || seg.listed {
			t.Errorf("it was listed, or something was left")
		}
		mustClose(t, s)
	})
}

// keptFS can't open files that are kept.
type keptFS struct{ FS }

func (f keptFS) Open(name string, create bool) (File, error) {
	file, err := f.FS.Open(name, create)
	if err == nil && strings.HasSuffix(name, damagedSuffix) {
		return nil, errors.Join(file.Close(), syscall.EIO)
	}
	return file, err
}

// TestSpoolKeptName takes no name of a file that is there, though it can't be opened.
func TestSpoolKeptName(t *testing.T) {
	name := segmentName(1)
	for _, readable := range []bool{true, false} {
		var disk FS = crashfs.New[File](map[string][]byte{name + damagedSuffix: nil, name + ".2" + damagedSuffix: nil})
		if !readable {
			disk = keptFS{disk}
		}
		s := newIndexed(new(Options))
		s.fs = newGate(disk)
		if got, want := s.keptName(name), name+".3"+damagedSuffix; got != want {
			t.Errorf("readable %v: got %s, want %s", readable, got, want)
		}
	}
}
