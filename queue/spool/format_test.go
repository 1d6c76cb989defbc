package spool

import (
	"bytes"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
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

var update = flag.Bool("update", false, "write what is missing in testdata")

// fixtureOptions make several segments, and body files, of little mail.
var fixtureOptions = Options{SegmentSize: 4 << 10, InlineSize: 1500, Reserve: -1}

// fixtureTime is a time of which no test can be too late.
func fixtureTime(hours int) time.Time {
	return time.Date(2100, 1, 2, 3, 4, 5, 678901234, time.UTC).Add(time.Duration(hours) * time.Hour)
}

// fillFixture fills a spool with entries of every kind, and with something in every field.
func fillFixture(t testing.TB, q *Spool) {
	ctx := context.Background()
	check := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	enqueue := func(m queue.Message, size int) queue.ID {
		t.Helper()
		m.Body = strings.NewReader(strings.Repeat("A line of a message.\r\n", 1+size/22)[:size])
		id, err := q.Enqueue(ctx, m)
		check(err)
		return id
	}
	plain := func(size int, destinations ...string) queue.ID {
		t.Helper()
		return enqueue(testMessage("", destinations...), size)
	}
	settle := func(destination string, s queue.Settlement, outcome func(i int, r *smtp.Result)) {
		t.Helper()
		tasks, err := claimOf(q, destination, 1)
		check(err)
		for _, task := range tasks {
			for i, r := range task.Envelope.Recipients {
				if outcome != nil { // else nothing was tried
					s.Results = append(s.Results, smtp.Result{Recipient: r.Address})
					outcome(i, &s.Results[i])
				}
			}
			check(q.Settle(ctx, task.Lease, s))
		}
	}
	full := queue.Message{
		Envelope: &smtp.Envelope{
			From: "jörg@bücher.example", Body: smtp.BodyBinaryMIME, UTF8: true, Size: 1 << 40, Ret: smtp.RetFull, EnvID: "env id+1", Auth: "<>",
			By: smtp.DeliverBy{Time: fixtureTime(2), Return: true, Trace: true}, Priority: -7, HoldUntil: fixtureTime(0),
			RequireTLS: true, TLSOptional: true,
			Recipients: []smtp.Recipient{
				{Address: "b@full.example", Notify: smtp.NotifySuccess | smtp.NotifyDelay, ORCPT: "rfc822;first@example.org"},
				{Address: "ü@other.example", Notify: smtp.NotifyNever},
				{Address: "d@full.example"},
				{Address: "e@third.example", ORCPT: "utf-8;ö@example.org"},
			},
		},
		Destinations: []string{"full.example", "smarthost", "full.example", "third.example"},
		NotBefore:    fixtureTime(0), NoticeAt: fixtureTime(4), Deadline: fixtureTime(120),
		Priority: -9, Ref: "order 4711\x00", Tenant: "tenant/ü", Origin: smtp.OriginStranger, FromDomain: "xn--bcher-kva.example", About: "5z", Held: true, HeldFor: "a check",
	}
	check(q.Release(ctx, enqueue(full, 100)))
	enqueue(queue.Message{Envelope: smtp.NewEnvelope("", "a@null.example"), Destinations: []string{"null.example"}, Priority: 9}, 0)
	many := testMessage("")
	for i := range 40 {
		many.Envelope.Recipients = append(many.Envelope.Recipients, smtp.Recipient{Address: fmt.Sprintf("r%d@many.example", i)})
		many.Destinations = append(many.Destinations, "many.example")
	}
	enqueue(many, 300)
	for range 6 {
		m := testMessage("", "one.example", "two.example", "one.example")
		m.NoticeAt, m.Deadline = fixtureTime(4), fixtureTime(120)
		enqueue(m, 700)
	}
	plain(2000, "file.example")
	plain(3000, "gone.example")
	held, released := plain(500, "held.example"), plain(500, "released.example")
	removed := plain(500, "removed.example")

	// Deferred, with all that a result can have; one of two recipients delivered; not tried; noticed; of two attempts.
	settle("one.example", queue.Settlement{Next: fixtureTime(1), Noticed: true}, func(i int, r *smtp.Result) {
		*r = smtp.Result{
			Recipient: "another@one.example", Outcome: smtp.Unknown, Stage: smtp.StageFinal, Local: true, Relayed: true, DSN: true, Reason: smtp.Network,
			Reply: smtp.NewReply(451, "4.4.2", "lost\nafter the final dot"),
			Host:  "mx.one.example", Addr: "[2001:db8::1]:25", TLS: "TLS 1.3",
		}
	})
	settle("one.example", queue.Settlement{Next: fixtureTime(2)}, func(i int, r *smtp.Result) {
		r.Outcome, r.Stage, r.Reply = smtp.Outcome(i), smtp.StageRcpt, &smtp.Reply{Code: 250 + 200*(1-i)}
	})
	settle("one.example", queue.Settlement{Next: fixtureTime(3), Uncounted: true}, nil)
	for n := range 3 {
		next := time.Now().Add(-time.Hour) // before the others of two.example
		if n == 2 {
			next = fixtureTime(6)
		}
		settle("two.example", queue.Settlement{Next: next}, func(i int, r *smtp.Result) {
			r.Stage, r.Reply = smtp.StageConnect, smtp.NewReply(450, "4.4.1", fmt.Sprint("attempt ", n))
		})
	}
	settle("many.example", queue.Settlement{Next: fixtureTime(4)}, func(i int, r *smtp.Result) {
		r.Outcome = smtp.Outcome(i % 4)
		r.Reason = smtp.Reason(i % 7)
		r.Reply = &smtp.Reply{Code: 400 + i, Text: strings.Repeat("long ", i)}
	})
	// Done, with a report and without.
	report := testMessage("", "report.example")
	report.Envelope.From, report.Body = "", strings.NewReader("a report\r\n")
	settle("gone.example", queue.Settlement{Reports: []queue.Message{report}}, nil)
	settle("two.example", queue.Settlement{}, nil)
	settle("released.example", queue.Settlement{Next: fixtureTime(5)}, nil)
	// Parts of a report task: of a settlement that leaves nothing, and of one that leaves all.
	plain(500, "owed.example", "delayed.example")
	owed := smtp.Result{
		Recipient: "another@owed.example", Outcome: smtp.Rejected, Stage: smtp.StageRcpt,
		Reply: smtp.NewReply(550, "5.1.1", "no such user"),
	}
	settle("owed.example", queue.Settlement{Owed: []queue.Owed{{Result: owed}}, ReportAt: fixtureTime(7)}, nil)
	delayed := []queue.Owed{{Delayed: true}}
	settle("delayed.example", queue.Settlement{Next: fixtureTime(8), Owed: delayed, ReportAt: fixtureTime(9)}, nil)
	check(q.Hold(ctx, held, released))
	check(q.Release(ctx, released))
	report.Body = strings.NewReader("another report\r\n")
	check(q.Remove(ctx, []queue.ID{removed}, report))
	for range 8 { // so that all of the above is in segments that have hints
		plain(1000, "last.example")
	}
}

// listing describes all that a spool has, but what goes to more.example: each task with the fields that aren't zero, and the body of its message.
func listing(t testing.TB, q *Spool) []byte {
	var b bytes.Buffer
	for task, err := range q.List(context.Background(), queue.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if task.Destination == "more.example" { // of a test
			continue
		}
		describeTask(&b, &task)
		body, err := readBody(q, task.ID)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "\tbody %d octets, SHA-256 %x\n", len(body), sha256.Sum256([]byte(body)))
	}
	for _, k := range keysIn(q) {
		fmt.Fprintf(&b, "key %x of %s for %x\n", k.Name, index.FormatID(k.ID), k.Envelope)
	}
	return b.Bytes()
}

func describeTask(b *bytes.Buffer, task *queue.Task) {
	field := func(name string, value any, set bool) {
		if !set {
			return
		}
		if at, ok := value.(time.Time); ok {
			value = at.UTC().Format(time.RFC3339Nano)
		}
		fmt.Fprintf(b, "\t%s %v\n", name, value)
	}
	env := task.Envelope
	fmt.Fprintf(b, "task %s %s\n", task.ID, task.Destination)
	field("state", task.State, true)
	field("arrival", task.Arrival, true)
	field("due", task.Due, true)
	field("notice", task.NoticeAt, !task.NoticeAt.IsZero())
	field("deadline", task.Deadline, !task.Deadline.IsZero())
	field("attempts", task.Attempts, task.Attempts > 0)
	field("deaths", task.Deaths, task.Deaths > 0)
	field("size", task.Size, true)
	field("priority", task.Priority, task.Priority != 0)
	field("ref", fmt.Sprintf("%q", task.Ref), task.Ref != "")
	field("tenant", fmt.Sprintf("%q", task.Tenant), task.Tenant != "")
	field("origin", task.Origin, task.Origin != 0)
	field("from-domain", task.FromDomain, task.FromDomain != "")
	field("about", task.About, task.About != "")
	field("from", fmt.Sprintf("%q", env.From), true)
	field("BODY", env.Body, env.Body != 0)
	field("SMTPUTF8", env.UTF8, env.UTF8)
	field("SIZE", env.Size, env.Size != 0)
	field("RET", env.Ret, env.Ret != 0)
	field("ENVID", fmt.Sprintf("%q", env.EnvID), env.EnvID != "")
	field("AUTH", fmt.Sprintf("%q", env.Auth), env.Auth != "")
	field("BY", fmt.Sprint(env.By), !env.By.Time.IsZero())
	field("MT-PRIORITY", env.Priority, env.Priority != 0)
	field("HOLD", env.HoldUntil, !env.HoldUntil.IsZero())
	field("REQUIRETLS", env.RequireTLS, env.RequireTLS)
	field("TLS optional", env.TLSOptional, env.TLSOptional)
	for i, r := range env.Recipients {
		last := &task.Last[i]
		field("recipient", fmt.Sprintf("%q", r.Address), true)
		field("\tNOTIFY", r.Notify, r.Notify != 0)
		field("\tORCPT", fmt.Sprintf("%q", r.ORCPT), r.ORCPT != "")
		field("\tdelayed", true, task.Delayed != nil && task.Delayed[i])
		field("\tlast of", fmt.Sprintf("%q", last.Recipient), last.Recipient != r.Address)
		if last.Reply == nil {
			continue
		}
		field("\tlast", fmt.Sprintf("%v at %v: %d %v %q", last.Outcome, last.Stage, last.Reply.Code, last.Reply.Enhanced, last.Reply.Text), true)
		field("\treason", last.Reason, last.Reason != 0)
		field("\thost", fmt.Sprintf("%q %q %q", last.Host, last.Addr, last.TLS), last.Host+last.Addr+last.TLS != "")
		field("\tlocal", last.Local, last.Local)
		field("\trelayed", last.Relayed, last.Relayed)
		field("\tDSN", last.DSN, last.DSN)
	}
}

// fixtures are the directories of testdata, and what writes them. Format1 was written by a program that is gone, format2
// before there were claims and report tasks, format2-claims before there were keys, and format2-keys before REQUIRETLS.
var fixtures = []struct {
	name  string
	write func(t *testing.T) (disk *crashfs.FS[File], want []byte)
}{
	{"format1", nil},
	{"format2", nil},
	{"format2-claims", claimsFixture},
	{"format2-keys", keysFixture},
	{"format2-tls", keysFixture},
}

// fixture reads the files of a directory of testdata, and what it holds.
func fixture(t *testing.T, name string) (files map[string][]byte, want []byte) {
	t.Helper()
	dir := filepath.Join("testdata", name)
	want, err := os.ReadFile(dir + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files = map[string][]byte{}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files, want
}

// writeFixtures writes the directories that are missing, and what they hold. Once a program was released that writes
// the same, a directory is never written again: mail may lie in such directories. Another is added instead.
func writeFixtures(t *testing.T) {
	t.Helper()
	for _, f := range fixtures {
		to := filepath.Join("testdata", f.name)
		if _, err := os.Stat(to); f.write == nil || !os.IsNotExist(err) {
			continue
		}
		if err := os.Mkdir(to, 0o755); err != nil {
			t.Fatal(err)
		}
		disk, want := f.write(t)
		for name, b := range disk.Files() {
			if err := os.WriteFile(filepath.Join(to, name), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(to+".txt", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func checkListing(t *testing.T, what string, s *Spool, want []byte) {
	t.Helper()
	got := listing(t, s)
	if bytes.Equal(got, want) {
		return
	}
	g, w := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	i := 0
	for i < min(len(g), len(w)) && g[i] == w[i] {
		i++
	}
	t.Fatalf("%s: %d and %d lines, which differ from line %d on: got %q, want %q", what, len(g), len(w), i+1, g[min(i, len(g)-1)], w[min(i, len(w)-1)])
}

// TestFormats opens a copy of each directory of testdata, one of each version of the format, and compares all that is in it.
func TestFormats(t *testing.T) {
	if *update {
		writeFixtures(t)
	}
	for _, f := range fixtures {
		t.Run(f.name, func(t *testing.T) {
			files, want := fixture(t, f.name)
			dir := t.TempDir()
			for name, b := range files {
				if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for _, what := range []string{"opened", "opened again"} {
				s, err := fixtureOptions.Open(dir)
				if err != nil {
					t.Fatal(err)
				}
				checkListing(t, what, s, want)
				checkNoDamage(t, s)
				mustClose(t, s)
			}
			crashed := maps.Clone(files)
			last := newest(files)
			crashed[last] = files[last][:len(files[last])-recordHeaderLen] // the mark that Close wrote
			s := mustOpen(t, crashfs.New[File](crashed), fixtureOptions)
			checkListing(t, "opened after a crash", s, want)
			checkNoDamage(t, s)
		})
	}
}

// TestFormatsCompacted has compaction move all that the directories of testdata hold, while a part of it is settled.
func TestFormatsCompacted(t *testing.T) {
	for _, f := range fixtures {
		t.Run(f.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Until(fixtureTime(-100_000))) // all that was due when the fixture was written still is
				files, _ := fixture(t, f.name)
				disk := crashfs.New[File](files)
				last, _ := segmentNumber(newest(files), segmentSuffix)
				s := mustOpen(t, disk, fixtureOptions)
				for _, destination := range []string{"two.example", "report.example"} {
					tasks := mustClaim(t, s, destination)
					if len(tasks) == 0 {
						t.Fatalf("%s: got no task", destination)
					}
					for i, task := range tasks {
						var set queue.Settlement
						if i%2 == 1 {
							set.Next = fixtureTime(7)
							for _, r := range task.Envelope.Recipients {
								set.Results = append(set.Results, smtp.Result{Recipient: r.Address, Reply: smtp.NewReply(450, "", "")})
							}
						}
						mustSettle(t, s, task.Lease, set)
					}
				}
				want := listing(t, s)
				old := func() int {
					oldest, _, _ := s.log.shape()
					return int(last) - int(oldest) + 1
				}
				for n := 0; old() > 0; n++ {
					if n == 1000 {
						t.Fatalf("%d segments of the fixture are still there", old())
					}
					id := mustEnqueue(t, s, strings.Repeat("x", 1400), "more.example")
					if err := s.Remove(t.Context(), []queue.ID{id}); err != nil {
						t.Fatal(err)
					}
					synctest.Wait() // for the janitor
				}
				checkListing(t, "compacted", s, want)
				checkNoDamage(t, s)
				mustClose(t, s)
				s = mustOpen(t, disk, fixtureOptions)
				checkListing(t, "opened again", s, want)
				checkNoDamage(t, s)
				mustClose(t, s)
			})
		})
	}
}

// TestFormatsCrash has the machine crash at each operation while a directory of version 1 is opened, written to and compacted: all that
// was in it is there, whatever the disk has kept.
func TestFormatsCrash(t *testing.T) {
	files, want := fixture(t, "format1")
	last, _ := segmentNumber(newest(files), segmentSuffix)
	crashed := map[[32]byte]*crashfs.FS[File]{}
	operations := 0
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[File](files)
		var mu sync.Mutex
		disk.Before = func(string, ...string) error {
			mu.Lock()
			defer mu.Unlock()
			operations++
			for _, kind := range crashfs.Kinds {
				after := disk.After(kind, nil)
				crashed[after.Sum()] = after
			}
			return nil
		}
		s := mustOpen(t, disk, fixtureOptions)
		for oldest := uint32(0); oldest <= last; oldest, _, _ = s.log.shape() {
			id := mustEnqueue(t, s, strings.Repeat("x", 1400), "more.example")
			if err := s.Remove(t.Context(), []queue.ID{id}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // for the janitor
		}
		mustClose(t, s)
	})
	t.Logf("%d operations, %d states", operations, len(crashed))
	for _, disk := range crashed {
		s := mustOpen(t, disk, fixtureOptions)
		checkListing(t, "after a crash", s, want)
		checkNoDamage(t, s)
		mustClose(t, s)
	}
}

// TestFormatsHints opens the directories of testdata by their hints.
func TestFormatsHints(t *testing.T) {
	for _, f := range fixtures {
		files, want := fixture(t, f.name)
		read := func(files map[string][]byte) (octets int64) {
			disk := crashfs.New[File](files)
			var n atomic.Int64
			disk.Reading = func(_ string, _ int64, length int) error { n.Add(int64(length)); return nil }
			s := mustOpen(t, disk, fixtureOptions)
			octets = n.Load()
			checkListing(t, f.name, s, want)
			mustClose(t, s)
			return octets
		}
		hinted := read(files)
		hints := 0
		for name := range files {
			if strings.HasSuffix(name, hintSuffix) {
				delete(files, name)
				hints++
			}
		}
		if unhinted := read(files); hints < 2 || hinted >= unhinted {
			t.Errorf("%s: read %d octets with %d hints, %d without", f.name, hinted, hints, unhinted)
		}
	}
}
