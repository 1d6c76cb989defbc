package spool

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
	"github.com/postrider/postrider/queue/internal/index"
	"github.com/postrider/postrider/smtp"
)

// owesReport is a settlement of a task with one recipient that is to be reported in an hour.
func owesReport(text string) queue.Settlement {
	result := smtp.Result{Outcome: smtp.Rejected, Reply: smtp.NewReply(550, "5.1.1", text), Host: "mx.example"}
	return queue.Settlement{ReportAt: time.Now().Add(time.Hour), Owed: []queue.Owed{{Result: result}}}
}

// reportSpool has a message in its first segment, with a report task of two parts, and one task that waits if open is set.
func reportSpool(t *testing.T, disk *crashfs.FS[File], open bool) (s *Spool, id queue.ID) {
	s = mustOpen(t, disk, runtimeOptions)
	dests := []string{"a.example", "b.example", "c.example"}
	id = mustEnqueue(t, s, "body", dests...)
	for _, dest := range dests {
		set := owesReport(dest)
		if dest == "c.example" {
			set = queue.Settlement{}
		}
		if dest != "c.example" || !open {
			mustSettle(t, s, mustClaim(t, s, dest)[0].Lease, set)
		}
	}
	fillSegment(t, s)
	fillSegment(t, s)
	time.Sleep(2 * time.Second)
	synctest.Wait() // for the janitor
	return s, id
}

// TestReportTaskMoved has compaction move a report task, held, leased or not, and finds it as it was.
func TestReportTaskMoved(t *testing.T) {
	for _, how := range []string{"waiting", "alone", "held", "leased", "settled with Next"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := crashfs.New[File](nil)
				s, id := reportSpool(t, disk, how != "alone")
				var lease queue.Lease
				switch how {
				case "held":
					if err := s.Hold(t.Context(), id); err != nil {
						t.Fatal(err)
					}
				case "leased", "settled with Next":
					time.Sleep(time.Hour)
					lease = mustClaim(t, s, queue.ReportDestination)[0].Lease
					mustSettle(t, s, mustClaim(t, s, "c.example")[0].Lease, owesReport("c.example"))
					if how == "settled with Next" {
						mustSettle(t, s, lease, queue.Settlement{Next: time.Now().Add(time.Minute)})
					}
				}
				look := func() string {
					for _, task := range strings.Split(string(listing(t, s)), "task ") {
						if strings.Contains(task, queue.ReportDestination) {
							return task
						}
					}
					return ""
				}
				want := look()
				if want == "" {
					t.Fatalf("the list has no report task:\n%s", listing(t, s))
				}
				if !churnPast(t, s, s.log.last().number) {
					t.Fatal("compaction doesn't pass the segment")
				}
				if got := look(); got != want {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
				checkLive(t, s)
				if how == "leased" {
					mustSettle(t, s, lease, queue.Settlement{})
					want = look()
				}
				mustClose(t, s)
				s = mustOpen(t, disk, runtimeOptions)
				got := look()
				if how != "waiting" && how != "held" { // that it is due at once, as it is left alone, may be forgotten
					got, want = withoutDue(got), withoutDue(want)
				}
				if got != want {
					t.Errorf("opened again: got\n%s\nwant\n%s", got, want)
				}
				time.Sleep(2 * time.Hour)
				if how == "held" {
					if err := s.Release(t.Context(), id); err != nil {
						t.Fatal(err)
					}
				}
				for _, dest := range []string{"c.example", queue.ReportDestination} {
					for _, task := range mustClaim(t, s, dest) {
						mustSettle(t, s, task.Lease, queue.Settlement{})
					}
				}
				if _, err := s.Open(t.Context(), id); err != queue.ErrNotFound {
					t.Errorf("got %v, want the message gone", err)
				}
				checkLive(t, s)
				checkNoDamage(t, s)
				mustClose(t, s)
				s = mustOpen(t, disk, runtimeOptions)
				if _, err := s.Open(t.Context(), id); err != queue.ErrNotFound {
					t.Errorf("opened again: got %v, want the message gone", err)
				}
				checkLive(t, s)
			})
		})
	}
}

// withoutDue leaves out a line of a task.
func withoutDue(task string) string {
	before, after, _ := strings.Cut(task, "\tdue ")
	_, after, _ = strings.Cut(after, "\n")
	return before + after
}

// TestReportTaskLast has the last task of a message owe a report that was about to be settled: a crash loses neither.
func TestReportTaskLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[File](nil)
		s := mustOpen(t, disk, testConfig)
		mustEnqueue(t, s, "body", "a.example", "b.example")
		a, b := mustClaim(t, s, "a.example")[0], mustClaim(t, s, "b.example")[0]
		mustSettle(t, s, a.Lease, queue.Settlement{})
		mustSettle(t, s, b.Lease, owesReport("b.example"))
		time.Sleep(2 * time.Second)
		for _, kind := range []string{"killed", "lost"} {
			left := disk.After(kind, nil)
			got := mustOpen(t, left, testConfig)
			time.Sleep(time.Hour)
			tasks := mustClaim(t, got, queue.ReportDestination)
			if len(tasks) != 1 || len(tasks[0].Last) != 1 || tasks[0].Last[0].Reply.Text != "b.example" {
				t.Errorf("%s: got %+v, want the report task", kind, tasks)
			}
			checkLive(t, got)
		}
	})
}

// TestReportTaskDamaged flips a bit of a part of a report task: the other part is reported, and compaction goes on.
func TestReportTaskDamaged(t *testing.T) {
	quiet(t)
	for _, all := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			disk := crashfs.New[File](nil)
			s, id := reportSpool(t, disk, false)
			n, _ := index.ParseID(id)
			parts := s.ix.TasksOf(n)[0].Parts
			if len(parts) != 2 {
				t.Fatalf("got %d parts, want 2", len(parts))
			}
			for i, part := range parts {
				if i == 0 || all {
					disk.Names[segmentName(1)].Data[part.State.off+25] ^= 1
					disk.Names[segmentName(1)].Synced[part.State.off+25] ^= 1
				}
			}
			if !churnPast(t, s, 1) {
				t.Error("compaction doesn't go on")
			}
			if len(s.Damage()) == 0 {
				t.Error("no damage is reported")
			}
			checkLive(t, s)
			for _, when := range []string{"moved", "opened again"} {
				time.Sleep(2 * time.Hour)
				tasks := mustClaim(t, s, queue.ReportDestination)
				if all && len(tasks) != 0 || !all && (len(tasks) != 1 || len(tasks[0].Last) != 1 || tasks[0].Last[0].Reply.Text != "b.example") {
					t.Errorf("%s, all %v: got %+v, want what is left", when, all, tasks)
				}
				if _, err := s.Open(t.Context(), id); (err == queue.ErrNotFound) != all {
					t.Errorf("%s, all %v: Open: got %v", when, all, err)
				}
				mustClose(t, s)
				s = mustOpen(t, disk, runtimeOptions)
			}
		})
	}
}

// TestReportTaskCritical has older programs refuse a part of a report task, and skip its end.
func TestReportTaskCritical(t *testing.T) {
	msg := fullStored()
	part := fullState()
	part.num, part.state.Noticed, part.state.Delayed = partBit|7, false, []bool{false, true}
	has := func(st *taskState) bool {
		_, b, err := entryFields(appendState(nil, st, msg))
		if err != nil {
			t.Fatal(err)
		}
		for f := (fields{rest: b}); f.next(); {
			if f.tag&critical != 0 {
				return true
			}
		}
		return false
	}
	if !has(part) || has(fullState()) || has(&taskState{id: msg.ID, num: part.num, done: true}) {
		t.Error("only a part that isn't done must have a critical field")
	}

	// A state that says of itself that it is a part, or that isn't, and is numbered otherwise.
	h := segmentHeader{number: 1, next: msg.ID + 1}
	plain := withField(appendState(nil, fullState(), msg), "\x8b\x00")
	for _, entry := range [][]byte{plain, bytes.Replace(appendState(nil, part, msg), []byte("\x8b\x00"), []byte("\x70\x00"), 1)} {
		endEntry(entry, 0)
		if _, b, err := entryFields(entry); err != nil {
			t.Fatal(err)
		} else if _, err := decodeState(entryHeader{kind: entryState}, b, msg); err != errEntry {
			t.Errorf("got %v, want errEntry", err)
		}
	}
	s := mustOpen(t, syncedSegment(t, h, messageEntry(fullStored(), "body"), appendState(nil, part, msg)), testConfig)
	tasks := s.ix.TasksOf(msg.ID)
	if got := tasks[len(tasks)-1]; len(got.Parts) != 1 || got.Parts[0].Num != part.num || s.parts != 7 {
		t.Errorf("got %+v, want the part", got)
	}
	checkLive(t, s)
}

// TestReportTaskDeaths has the attempts and deaths of a report task counted after a crash, also if its message was moved
// before. They count from zero when it is settled.
func TestReportTaskDeaths(t *testing.T) {
	for _, moves := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			disk := crashfs.New[File](nil)
			s := mustOpen(t, disk, testConfig)
			id, _ := index.ParseID(mustEnqueue(t, s, "body", "a.example", "b.example", "c.example"))
			owe := func(dest string) {
				t.Helper()
				mustSettle(t, s, mustClaim(t, s, dest)[0].Lease, queue.Settlement{Owed: []queue.Owed{{}}})
			}
			crash := func() {
				t.Helper()
				for range 2 {
					if moves {
						moveAway(t, s, id)
					}
					old := s
					s, disk = killed(t, disk, testConfig)
					old.Close()
				}
			}
			claim := func(attempts, deaths int) queue.Lease {
				t.Helper()
				tasks := mustClaim(t, s, queue.ReportDestination)
				if len(tasks) != 1 || tasks[0].Attempts != attempts || tasks[0].Deaths != deaths {
					t.Fatalf("moved: %v: got %+v, want one with %d attempts and %d deaths", moves, tasks, attempts, deaths)
				}
				return tasks[0].Lease
			}
			defer func() { s.Close() }()
			owe("a.example")
			claim(1, 0)
			crash()
			claim(2, 1)
			owe("b.example")
			crash()
			mustSettle(t, s, claim(3, 2), queue.Settlement{Uncounted: true, Next: time.Now()})
			crash()
			mustSettle(t, s, claim(3, 2), queue.Settlement{Next: time.Now()})
			crash()
			l := claim(4, 0)
			owe("c.example")
			mustSettle(t, s, l, queue.Settlement{})
			crash()
			mustSettle(t, s, claim(1, 0), queue.Settlement{})
		})
	}
}

// moveAway moves a message to the end of the log.
func moveAway(t *testing.T, s *Spool, id uint64) {
	t.Helper()
	seg := s.log.acquire(s.ix.Data(id).segment)
	defer seg.release()
	m, err := s.prepareMove(seg, id)
	if err != nil {
		t.Fatal(err)
	}
	if left, err := s.carryOut([]*move{m}); err != nil || len(left) > 0 {
		t.Fatalf("got %d left and %v, want the message moved", len(left), err)
	}
}

// TestReportDestinationOfOld has a message of an older program whose destination has the name of report tasks: its task is
// one like any other, beside which the message has a report task.
func TestReportDestinationOfOld(t *testing.T) {
	msg := fullStored()
	msg.ID, msg.Dests[0] = 1, queue.ReportDestination
	s := mustOpen(t, syncedSegment(t, segmentHeader{number: 1, next: 2}, messageEntry(msg, "body")), testConfig)
	tasks := mustClaim(t, s, "report.invalid")
	if len(tasks) != 1 || tasks[0].Delayed != nil || len(tasks[0].Envelope.Recipients) != 2 {
		t.Fatalf("got tasks %+v, want one that isn't a report task", tasks)
	}
	mustSettle(t, s, tasks[0].Lease, owesReport("report.invalid"))
	mustSettle(t, s, mustClaim(t, s, "two.example")[0].Lease, queue.Settlement{})
	if tasks := mustClaim(t, s, queue.ReportDestination); len(tasks) != 1 || len(tasks[0].Delayed) != 1 {
		t.Errorf("got tasks %+v, want a report task", tasks)
	}

	old := make([]byte, 8+8+8+4+8+8+8+1)
	old = append(old, 1, byte(len(queue.ReportDestination)))
	old = append(old, queue.ReportDestination...)
	old = append(old, make([]byte, 3)...)
	if m, err := decodeMessage(entryHeader{kind: entryMessage1}, old, true); err != nil || m.Dests[0] != "report.invalid" {
		t.Errorf("version 1: got %+v and %v, want another destination", m, err)
	}
}

// TestPartNumbers has numbers refused that no part of a report task can have, and those of parts in version 1, which had
// none. A number is used again when all have been, but not while its part is there.
func TestPartNumbers(t *testing.T) {
	old := appendEntry(nil, entryState1)
	old = append(old, 1, 0, 0, 0, 0, 0, 0, 0)
	old = binary.AppendUvarint(old, partBit)
	old = append(old, make([]byte, 2+8+8+1)...) // no recipients
	msg := fullStored()
	for name, entry := range map[string][]byte{
		"version 1":                    old,
		"that of the task":             appendState(nil, &taskState{id: 1, num: index.ReportTask, due: 3}, msg),
		"that of the task, it is done": appendState(nil, &taskState{id: 1, num: index.ReportTask, done: true}, msg),
	} {
		endEntry(entry, 0)
		h, b, err := entryFields(entry)
		if err != nil {
			t.Fatal(err)
		}
		if st, err := decodeState(h, b, nil); err != errEntry {
			t.Errorf("%s: got %+v and %v, want errEntry", name, st, err)
		}
	}

	s := mustOpen(t, crashfs.New[File](nil), testConfig)
	id := mustEnqueue(t, s, "body", "a.example", "b.example", "c.example", "d.example")
	for _, dest := range []string{"a.example", "b.example", "c.example"} {
		if dest == "c.example" {
			s.parts = maxPart - 1
		}
		mustSettle(t, s, mustClaim(t, s, dest)[0].Lease, owesReport(dest))
	}
	mustSettle(t, s, mustClaim(t, s, "d.example")[0].Lease, owesReport("d.example"))
	n, _ := index.ParseID(id)
	want := []uint32{partBit | 1, partBit | 2, partBit | maxPart, partBit | 3}
	var got []uint32
	for _, part := range s.ix.TasksOf(n)[0].Parts {
		got = append(got, part.Num)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
	if task := mustClaim(t, s, queue.ReportDestination)[0]; len(task.Envelope.Recipients) != 4 {
		t.Errorf("got %d recipients, want 4", len(task.Envelope.Recipients))
	}
}
