package spool

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
	"github.com/postrider/postrider/smtp"
)

// TestFreshReads claims and opens a new message without a read of the log. Later calls read it.
func TestFreshReads(t *testing.T) {
	disk := crashfs.New[File](nil)
	s := mustOpen(t, disk, testConfig)
	id := mustEnqueue(t, s, "new", "a.example", "b.example")
	reads := 0
	disk.Reading = func(string, int64, int) error { reads++; return nil }
	task := mustClaim(t, s, "a.example")[0]
	if got := task.Envelope.Recipients; len(got) != 1 || !strings.HasSuffix(got[0].Address, "@a.example") {
		t.Errorf("got recipients %v", got)
	}
	for i, want := range []int{0, 1} {
		if got, err := readBody(s, id); got != "new" || err != nil {
			t.Errorf("Open %d: got %q and %v, want %q", i+1, got, err, "new")
		}
		if reads != want {
			t.Errorf("Open %d: got %d reads, want %d", i+1, reads, want)
		}
	}
	mustClaim(t, s, "b.example")
	if reads < 2 {
		t.Error("the second Claim read nothing, after the buffer was taken")
	}
}

// TestFreshSkips keeps only messages that are small, due at once, and to few destinations.
func TestFreshSkips(t *testing.T) {
	cases := []struct {
		name  string
		size  int
		dests int
		edit  func(*queue.Message)
		want  int
	}{
		{name: "small", size: 10, dests: 1, want: 1},
		{name: "held", size: 10, dests: 1, edit: func(m *queue.Message) { m.Held = true }},
		{name: "later", size: 10, dests: 1, edit: func(m *queue.Message) { m.NotBefore = time.Now().Add(time.Hour) }},
		{name: "BY", size: 10, dests: 1, edit: func(m *queue.Message) { m.Envelope.By.Time = time.Now() }},
		{name: "hold", size: 10, dests: 1, edit: func(m *queue.Message) { m.Envelope.HoldUntil = time.Now() }},
		{name: "wide", size: 10, dests: wideDests},
		{name: "large", size: maxPooled, dests: 1},
		{name: "in a file", size: maxFresh, dests: 1},
	}
	config := testConfig
	config.InlineSize = maxPooled
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := mustOpen(t, crashfs.New[File](nil), config)
			m := queue.Message{
				Envelope: smtp.NewEnvelope("a@example.com"), Destinations: wideDestinations(c.dests),
				Body: strings.NewReader(strings.Repeat("x", c.size)),
			}
			for i := range c.dests {
				m.Envelope.Recipients = append(m.Envelope.Recipients, smtp.Recipient{Address: fmt.Sprintf("r%d@example.net", i)})
			}
			if c.edit != nil {
				c.edit(&m)
			}
			if _, err := s.Enqueue(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			if got := len(s.fresh.young); got != c.want {
				t.Errorf("got %d messages kept, want %d", got, c.want)
			}
		})
	}
}

// TestFreshSame: what is kept of a message is what the log has of it.
func TestFreshSame(t *testing.T) {
	s := mustOpen(t, crashfs.New[File](nil), testConfig)
	full := fullStored()
	full.Envelope.By, full.Envelope.HoldUntil = smtp.DeliverBy{}, time.Time{}
	id, err := s.Enqueue(t.Context(), queue.Message{
		Envelope: &full.Envelope, Destinations: []string{"one.example", "two.example", "one.example"},
		Priority: full.Priority, Ref: full.Ref, Tenant: full.Tenant, Origin: full.Origin, FromDomain: full.FromDomain,
		About: full.About, Deadline: time.Now().Add(time.Hour), NoticeAt: time.Now().Add(time.Minute),
		Body: strings.NewReader("body"),
	})
	if err != nil {
		t.Fatal(err)
	}
	at := *s.ix.Data(mustParseID(id))
	kept := s.fresh.message(at)
	if kept == nil {
		t.Fatal("it isn't kept")
	}
	s.fresh.forget(at)
	read, err := s.readMessage(s.log.last(), at, nil)
	if err != nil {
		t.Fatal(err)
	}
	read.Owner = kept.Owner // which only the index sets
	if !reflect.DeepEqual(kept, read) {
		t.Errorf("kept %+v\nread %+v", kept, read)
	}
}

// TestFreshTurns: in a long queue, the messages that came first are kept, but not for long.
func TestFreshTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustOpen(t, crashfs.New[File](nil), testConfig)
		text := strings.Repeat("x", 8000)
		first := mustEnqueue(t, s, text, "a.example")
		enqueue := func(n int) (kept int) {
			for range n {
				id := mustEnqueue(t, s, text, "a.example")
				if s.fresh.message(*s.ix.Data(mustParseID(id))) != nil {
					kept++
				}
			}
			return kept
		}
		isKept := func() bool { return s.fresh.message(*s.ix.Data(mustParseID(first))) != nil }
		if kept := enqueue(600); kept == 600 || !isKept() {
			t.Errorf("got %d of 600 messages kept, and %t of the first", kept, isKept())
		}
		time.Sleep(turnFresh)
		if kept := enqueue(10); kept != 10 || isKept() {
			t.Errorf("after %v: got %d of 10 messages kept, and %t of the first", turnFresh, kept, isKept())
		}
	})
}

// TestFreshBound: the buffers that are kept have a bound, each message has its own body all the while, and nothing is
// kept of messages that are gone.
func TestFreshBound(t *testing.T) {
	s := mustOpen(t, crashfs.New[File](nil), testConfig)
	const n = 600
	text := func(i int) string { return strings.Repeat(fmt.Sprintf("%04d", i), 2000) }
	ids := make([]queue.ID, n)
	for i := range ids {
		ids[i] = mustEnqueue(t, s, text(i), "a.example")
		octets := 0
		for _, kept := range []map[place]freshMessage{s.fresh.young, s.fresh.old} {
			for _, m := range kept {
				octets += cap(*m.buf)
			}
		}
		if octets > 2*maxFresh {
			t.Fatalf("after %d messages, %d octets are kept, want %d at most", i+1, octets, 2*maxFresh)
		}
	}
	if len(s.fresh.old) == 0 || len(s.fresh.young)+len(s.fresh.old) == n {
		t.Fatalf("got %d young and %d old messages: the test shows nothing", len(s.fresh.young), len(s.fresh.old))
	}
	var group sync.WaitGroup
	for i, id := range ids {
		for range 2 { // one of them takes the buffer, which the next Enqueue or Open then has
			group.Go(func() {
				if got, err := readBody(s, id); err != nil || got != text(i) {
					t.Errorf("message %d: got %.8q and %v", i, got, err)
				}
			})
		}
	}
	group.Wait()
	more := mustEnqueue(t, s, "more", "a.example")
	if err := s.Remove(t.Context(), append(ids, more)); err != nil {
		t.Fatal(err)
	}
	if n := len(s.fresh.young) + len(s.fresh.old); n > 0 || s.fresh.octets != 0 {
		t.Errorf("got %d messages kept, and %d octets, of an empty spool", n, s.fresh.octets)
	}
	if _, err := readBody(s, more); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("a message that is removed: got %v", err)
	}
}
