package faults

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// named is a fault that the specification of the queue names. It is an edit of one place of a file.
type named struct {
	name, file string
	old, new   string // fault_(%d) in new is true while the fault is on
}

// inSpool are faults that lose or double mail in a crash: there must be a seed of crashes that finds each.
var inSpool = []named{
	{
		"no file sync", "queue/spool/fs.go",
		"if err := f.Sync(); err != nil {",
		"if fault_(%d) { return nil }; if err := f.Sync(); err != nil {",
	},
	{
		"no directory sync", "queue/spool/fs.go",
		"if err := fs.Sync(); err == queue.ErrClosed {",
		"if fault_(%d) { return nil }; if err := fs.Sync(); err == queue.ErrClosed {",
	},
	{
		"acknowledges before the sync", "queue/spool/log.go",
		"if a.durable {",
		"if a.durable && !fault_(%d) {",
	},
	{
		"renames before the sync", "queue/spool/segment.go",
		"if err := syncFile(f); err != nil {",
		`if fault_(%d) {
			err := errors.Join(fs.Rename(temp, name), syncNames(fs))
			return seg, errors.Join(err, syncFile(f))
		}
		if err := syncFile(f); err != nil {`,
	},
	{
		"removes before the outcome is on the disk", "queue/spool/log.go",
		"return seq <= l.synced",
		"return seq <= l.synced || fault_(%d)",
	},
	{
		"settles before its report is on the disk", "queue/spool/settle.go",
		"s.newDraft(durable)",
		"s.newDraft(durable && !fault_(%d))",
	},
	{
		"removes a segment before what lived in it is on the disk", "queue/spool/move.go",
		"durable: true",
		"durable: !fault_(%d)",
	},
	{
		"writes on behind what the cache may have alone", "queue/spool/open.go",
		"if !seg.readable {\n\t\treturn seg.size, nil",
		"if !seg.readable || fault_(%d) {\n\t\treturn seg.size, nil",
	},
	{
		"moves a held message without its hold", "queue/spool/move.go",
		"case !m.held:",
		"case !m.held || fault_(%d):",
	},
}

// inRunner are faults that a seed of the simulation finds, in the words of the clause that they are a breach of.
var inRunner = []struct {
	named
	clause string
}{
	{named{
		"loses a recipient that was deferred beside one that wasn't", "queue/delivery/conclude.go",
		"case !slices.ContainsFunc(results, isOpen):",
		"case !slices.ContainsFunc(results, isOpen), fault_(%d) && !isOpen(results[0]):",
	}, "and reported: false"},
	{named{
		"records as deferred what was delivered beside something open", "queue/delivery/conclude.go",
		"o.Delayed = delays(&t, now)",
		`o.Delayed = delays(&t, now)
		if fault_(%d) {
			s.Results = slices.Clone(results)
			s.Results[0].Outcome = smtp.Deferred
		}`,
	}, "was delivered, and is again"},
	{named{
		"reports on a report", "queue/delivery/settle.go",
		"reports, err := d.r.report(ctx, *o)",
		`if fault_(%d) && o.Task.Envelope.From == "" {
			env := *o.Task.Envelope
			env.From = env.Recipients[0].Address
			o.Task.Envelope = &env
		}
		reports, err := d.r.report(ctx, *o)`,
	}, "a report on a report"},
	{named{
		"settles without the report that is owed", "queue/delivery/settle.go",
		"if d.r.Report == nil || !owed(o) {",
		"if d.r.Report == nil || !owed(o) || fault_(%d) {",
	}, "and reported: false"},
	{named{
		"forgets that a delay notice went out", "queue/delivery/conclude.go",
		"s.Noticed = passed(t.NoticeAt, now)",
		"s.Noticed = passed(t.NoticeAt, now) && !fault_(%d)",
	}, "2 delay notices"},
	{named{
		"retries after half the time", "queue/delivery/delivery.go",
		"wait := d.r.wait(&d.task, why, now)",
		"wait := d.r.wait(&d.task, why, now); if fault_(%d) { wait /= 2 }",
	}, "is to be tried after"},
	{named{
		"expires an hour before the deadline", "queue/delivery/conclude.go",
		"case passed(t.Deadline, now):",
		"case passed(t.Deadline, now), fault_(%d) && passed(t.Deadline, now.Add(time.Hour)):",
	}, "before its deadline"},
	{named{
		"expires what was never tried", "queue/delivery/schedule.go",
		"func attempted(t *queue.Task) bool {",
		"func attempted(t *queue.Task) bool {\nif fault_(%d) { return true }",
	}, "was never tried"},
	{named{
		"sends what is held", "queue/spool/keep.go",
		"s.ix.Hold(id, reason)",
		"if fault_(%d) { s.ix.Release(id) } else { s.ix.Hold(id, reason) }",
	}, "is held, and is claimed"},
	{named{
		"sends to what is suspended", "queue/delivery/blocked.go",
		"if len(m.suspended) == 0 {",
		"if len(m.suspended) == 0 || fault_(%d) {",
	}, "is suspended"},
	{named{"acknowledges before the sync", "", "", ""}, "was accepted, and is lost"},
	{named{"settles before its report is on the disk", "", "", ""}, "was accepted, and is lost"},
}

// TestNamed plants the faults that the specification names, one after the other: each is found by a seed, which it
// prints. Without POSTRIDER_FAULTS it only checks that each can be planted.
func TestNamed(t *testing.T) {
	tr := &tree{overlaid: map[string]string{}, suites: map[string]*suite{}}
	var err error
	if tr.root, err = filepath.Abs("../../.."); err != nil {
		t.Fatal(err)
	}
	numbers := map[string]int{}
	plant := func(n named) {
		if n.file == "" {
			return
		}
		numbers[n.name] = len(numbers) + 1
		source, ok := tr.overlaid[n.file]
		if !ok {
			b, err := os.ReadFile(filepath.Join(tr.root, n.file))
			if err != nil {
				t.Fatal(err)
			}
			source = string(b)
		}
		if found := strings.Count(source, n.old); found != 1 {
			t.Errorf("%s: %s has %d places for it, want one: %s", n.name, n.file, found, n.old)
		}
		tr.overlaid[n.file] = strings.Replace(source, n.old, fmt.Sprintf(n.new, numbers[n.name]), 1)
		dir := path.Dir(n.file)
		tr.overlaid[dir+"/planted.go"] = "package " + path.Base(dir) + "\n" + switches
	}
	for _, n := range inSpool {
		plant(n)
	}
	for _, n := range inRunner {
		plant(n.named)
	}
	if os.Getenv("POSTRIDER_FAULTS") == "" || t.Failed() {
		return
	}
	file := tr.writeOverlay(t)
	spool, delivery := tr.suite(t, file, "queue/spool"), tr.suite(t, file, "queue/delivery")
	for _, n := range inSpool {
		t.Run(n.name, func(t *testing.T) { spool.caught(t, numbers[n.name], "TestCrashSeeds", "") })
	}
	for _, n := range inRunner {
		t.Run(n.name, func(t *testing.T) { delivery.caught(t, numbers[n.name], "TestSimulationSeeds", n.clause) })
	}
}

var caughtBy = regexp.MustCompile(`seed \d+: .*`)

// caught runs a test that tries seeds: one of them must find the fault.
func (s *suite) caught(t *testing.T, number int, test, clause string) {
	begun := time.Now()
	out, err := s.output(t, number, []string{test}, patience, "POSTRIDER_NAMED="+clause)
	if by := caughtBy.FindString(out); err != nil && by != "" {
		t.Logf("caught by %s (%v)", by, time.Since(begun).Round(time.Millisecond))
		return
	}
	t.Errorf("not caught: %v\n%s", err, out)
}
