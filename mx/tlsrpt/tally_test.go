package tlsrpt

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestKept: there are 8 days in memory at most, also if nothing runs, or Run waits for the Store. The Store forgets the
// older ones.
func TestKept(t *testing.T) {
	for _, runs := range []bool{false, true} {
		inBubble(t, func(t *testing.T, w *world) {
			store := &brokenStore{Dir: Dir{Path: t.TempDir()}}
			w.Store = store
			if err := store.Save(t.Context(), today, []byte(`{"seed":"a","domains":{"example.net":{"policies":[]}}}`)); err != nil {
				t.Fatal(err)
			}
			store.days.Store(true)
			if runs {
				w.run(t)
			}
			for range 30 {
				w.Record(t.Context(), success("example.net"))
				time.Sleep(24 * time.Hour)
			}
			w.Record(t.Context(), success("example.net"))
			if got := w.kept(); got != keepDays+1 {
				t.Errorf("Run %t: got %d days in memory, want %d", runs, got, keepDays+1)
			}
			store.days.Store(false)
			if !runs {
				w.run(t)
			}
			time.Sleep(6 * time.Hour)
			synctest.Wait()
			if got := len(w.take()); got != keepDays {
				t.Errorf("Run %t: got %d reports, want %d", runs, got, keepDays)
			}
			if days, err := store.Days(t.Context()); err != nil || !slices.Equal(days, []string{"2000-01-31"}) {
				t.Errorf("Run %t: got the days %v, %v in the Store, want today alone", runs, days, err)
			}
		})
	}
}

// TestSparesSending: a day of which a report is being sent isn't purged.
func TestSparesSending(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.Record(t.Context(), success("example.net"))
		w.Record(t.Context(), success("example.org"))
		d := w.days[today]
		d.domains["example.net"].sending = true
		w.sending = 1
		time.Sleep(20 * 24 * time.Hour)
		w.Record(t.Context(), success("example.net"))
		if w.days[today] != d || len(d.domains) != 1 {
			t.Fatalf("got %+v, want the domain whose report is being sent alone", w.days[today])
		}
		w.finish(t.Context(), today, "example.net", done)
		if len(d.domains) != 0 || w.sending != 0 {
			t.Errorf("got %d domains, %d being sent", len(d.domains), w.sending)
		}
	})
}

// manyDetails returns a Reporter whose day, today, has so many domains, with so many details each.
func manyDetails(t *testing.T, domains, details int) *Reporter {
	r := &Reporter{From: "a@example.com", Store: &Dir{Path: t.TempDir()}, MaxDetails: MaxDetails}
	for i := range domains {
		for j := range details {
			r.Record(t.Context(), failed(fmt.Sprintf("d%d.example", i), fmt.Sprintf("x %d", j)))
		}
	}
	return r
}

// TestDayAtBound: a domain with all details that Check allows, and some of other types, is read back.
func TestDayAtBound(t *testing.T) {
	const details = MaxDetails + 11
	r := manyDetails(t, 1, 1)
	d := r.days[dayName(time.Now())]
	p := &d.domains["d0.example"].policies[0]
	p.Details = slices.Repeat(p.Details, details) // Record would take seconds
	b, err := d.marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := unmarshalDay(b)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(got.domains["d0.example"].policies[0].Details); n != details {
		t.Errorf("got %d details, want %d", n, details)
	}
}

// TestUnderLock: Record waits neither for the JSON of a day nor for hashes of all its domains. The figures are
// allocations: the JSON takes about 30 for each domain.
func TestUnderLock(t *testing.T) {
	const domains = 200
	r := manyDetails(t, domains, 4)
	name := dayName(time.Now())
	d := r.days[name]
	if got := testing.AllocsPerRun(5, func() {
		r.dirty[name] = time.Time{}
		r.toSave(true)
	}); got > 4*domains {
		t.Errorf("toSave: got %v allocations for %d domains", got, domains)
	}
	due := d.due(name, "d0.example", time.Hour)
	if got := testing.AllocsPerRun(5, func() { d.due(name, "d0.example", time.Hour) }); got > 0 {
		t.Errorf("due: got %v allocations", got)
	}
	d.merge(&day{seed: "another"}, 1)
	if d.due(name, "d0.example", time.Hour).Equal(due) {
		t.Error("the seed has changed, and the report is due at the same time")
	}

	r.dirty[name] = time.Time{}
	_, s := r.toSave(true)
	before, err := s.marshal()
	if err != nil {
		t.Fatal(err)
	}
	r.Record(t.Context(), failed("d0.example", "x 0", "x 5"))
	r.Record(t.Context(), success("new.example"))
	if after, err := s.marshal(); err != nil || string(after) != string(before) || !strings.Contains(string(after), "d0.example") {
		t.Errorf("a snapshot has changed: %v", err)
	}
}
