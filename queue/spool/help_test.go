package spool

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
	"github.com/postrider/postrider/smtp"
)

var testConfig = Options{SegmentSize: 64 << 20, InlineSize: 256 << 10, SyncDelay: time.Second}

func mustOpen(t *testing.T, fs FS, c Options) *Spool {
	t.Helper()
	s, err := openSpool(fs, "memory", c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func mustClose(t *testing.T, s *Spool) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

func testMessage(body string, dests ...string) queue.Message {
	env := smtp.NewEnvelope("sender@example.com")
	for i, d := range dests {
		env.Recipients = append(env.Recipients, smtp.Recipient{Address: fmt.Sprintf("r%d@%s", i, d)})
	}
	return queue.Message{Envelope: env, Destinations: dests, Body: strings.NewReader(body)}
}

func mustEnqueue(t *testing.T, q queue.Queue, body string, dests ...string) queue.ID {
	t.Helper()
	id, err := q.Enqueue(context.Background(), testMessage(body, dests...))
	if err != nil {
		t.Fatalf("Enqueue: %v", err)
	}
	return id
}

func mustClaim(t *testing.T, q queue.Queue, dest string) []queue.Task {
	t.Helper()
	tasks, err := claimOf(q, dest, 1<<20)
	if err != nil {
		t.Fatalf("Claim: %v", err)
	}
	return tasks
}

// claimOf claims tasks of a destination, whatever their lanes, for an hour.
func claimOf(q queue.Queue, dest string, most int) (tasks []queue.Task, err error) {
	for d, err := range q.Lanes(context.Background()) {
		if err != nil {
			return tasks, err
		}
		if d.Destination != dest {
			continue
		}
		got, err := q.Claim(context.Background(), []queue.Want{{Lane: d.Lane, Max: most - len(tasks)}}, time.Hour)
		if tasks = append(tasks, got...); err != nil {
			return tasks, err
		}
	}
	return tasks, nil
}

func mustSettle(t *testing.T, q queue.Queue, l queue.Lease, s queue.Settlement) {
	t.Helper()
	if err := q.Settle(context.Background(), l, s); err != nil {
		t.Fatalf("Settle: %v", err)
	}
}

// contents gives the bodies of what a spool holds, by message and destination.
func contents(t *testing.T, s *Spool) map[string]string {
	t.Helper()
	got, errs := readable(s)
	for _, err := range errs {
		t.Fatal(err)
	}
	return got
}

// readable gives what can be read of what a spool holds.
func readable(s *Spool) (got map[string]string, errs []error) {
	got = map[string]string{}
	for task, err := range s.List(context.Background(), queue.Filter{}) {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		body, err := readBody(s, task.ID)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		got[string(task.ID)+" "+task.Destination] = body
	}
	return got, errs
}

func readBody(q queue.Queue, id queue.ID) (string, error) {
	b, err := q.Open(context.Background(), id)
	if err != nil {
		return "", err
	}
	defer b.Close()
	all, err := io.ReadAll(smtp.NewReader(b))
	return string(all), err
}

func checkContents(t *testing.T, s *Spool, want map[string]string) {
	t.Helper()
	got := contents(t, s)
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if body, ok := got[key]; !ok || body != want[key] {
			t.Errorf("%s: got it %v with %d octets, want it with %d", key, ok, len(body), len(want[key]))
		}
		delete(got, key)
	}
	for key := range got {
		t.Errorf("%s: got it, want it gone", key)
	}
}

func checkNoDamage(t *testing.T, s *Spool) {
	t.Helper()
	if d := s.Damage(); len(d) > 0 {
		t.Errorf("got damage %+v, want none", d)
	}
}

// newest gives the name of the segment that is written to.
func newest(all map[string][]byte) string {
	var name string
	for n := range all {
		if strings.HasSuffix(n, segmentSuffix) && n > name {
			name = n
		}
	}
	return name
}

// records gives where the records of a segment stand.
func records(t *testing.T, b []byte) (all []span) {
	t.Helper()
	h, err := decodeSegmentHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	sc := scanner{r: bytes.NewReader(b), salt: h.salt}
	bad, err := sc.scan(segmentHeaderLen, int64(len(b)), func(r record) error {
		all = append(all, span{r.off, r.off + recordHeaderLen + int64(len(r.payload))})
		return nil
	})
	if n := len(bad); n > 0 && len(bytes.Trim(b[bad[n-1].from:], "\x00")) == 0 {
		bad = bad[:n-1] // room for what comes next
	}
	if err != nil || len(bad) > 0 {
		t.Fatalf("got bad spans %v and %v", bad, err)
	}
	return all
}

// indexed lists the messages of an index.
func indexed(ix *index.Index[place, place]) []uint64 {
	f, err := index.NewFilter(queue.Filter{})
	if err != nil {
		panic(err)
	}
	var ids []uint64
	for id := range index.Search(new(sync.Mutex), ix, f, func() error { return nil }) {
		ids = append(ids, id)
	}
	return ids
}
