package spool

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
	"github.com/postrider/postrider/smtp"
)

// TestOddOptions opens spools with values that nobody should set: an error that names the field, or a spool that works.
func TestOddOptions(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Options)
		want   string // in the error; "": none
		full   bool   // it takes no mail
	}{
		{"InlineSize, too large", func(o *Options) { o.InlineSize = math.MaxInt }, "InlineSize is 9223372036854775807", false},
		{"InlineSize, negative", func(o *Options) { o.InlineSize = math.MinInt }, "InlineSize is -9223372036854775808", false},
		{"SegmentSize, too large", func(o *Options) { o.SegmentSize = math.MaxInt64 }, "SegmentSize is 9223372036854775807", false},
		{"SegmentSize, small", func(o *Options) { o.SegmentSize = 1 }, "SegmentSize is 1", false},
		{"SegmentSize, negative", func(o *Options) { o.SegmentSize = -1 }, "SegmentSize is -1", false},
		{"SyncDelay, negative", func(o *Options) { o.SyncDelay = math.MinInt64 }, "SyncDelay is", false},
		{"SyncDelay, the longest", func(o *Options) { o.SyncDelay = math.MaxInt64 }, "", false},
		{"Reserve, the highest", func(o *Options) { o.Reserve = math.MaxInt64 }, "", true},
		{"Reserve, the lowest", func(o *Options) { o.Reserve = math.MinInt64 }, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			config := Options{FS: crashfs.New[File](nil)}
			tt.change(&config)
			s, err := config.Open("memory")
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if err != nil {
				return
			}
			_, err = s.Enqueue(t.Context(), oddMessage())
			if (err != nil) != tt.full {
				t.Errorf("Enqueue: got %v, want an error: %v", err, tt.full)
			}
			if err == nil {
				mustSettle(t, s, mustClaim(t, s, "next.test")[0].Lease, queue.Settlement{})
			}
			mustClose(t, s)
		})
	}
	if _, err := Open(""); err == nil || !strings.Contains(err.Error(), "open") {
		t.Errorf("no directory: got %v, want an error", err)
	}
	if _, err := Open("a\x00b"); err == nil {
		t.Error("a NUL in the name of the directory: got no error")
	}
}

func oddMessage() queue.Message {
	return queue.Message{
		Envelope: smtp.NewEnvelope("ann@source.test", "bob@next.test"), Destinations: []string{"next.test"}, Body: strings.NewReader("Hi.\r\n"),
	}
}

// panicky is a body that panics after some octets.
type panicky struct{ left int }

func (p *panicky) Read(b []byte) (int, error) {
	if p.left -= len(b); p.left < 0 {
		panic("boom")
	}
	return len(b), nil
}

// TestBodyPanics: a body that panics does that to its caller alone, and the spool works on.
func TestBodyPanics(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, left := range []int{0, 1 << 20} { // in the log, and in a file
		func() {
			defer func() { recover() }()
			m := oddMessage()
			m.Body = &panicky{left}
			s.Enqueue(t.Context(), m)
		}()
	}
	mustEnqueue(t, s, "body", "next.test")
	done := make(chan error, 1)
	go func() { done <- s.Close() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Close: got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Close waits for ever")
	}
}

// TestNotOpen: a Spool that Open hasn't made returns errors.
func TestNotOpen(t *testing.T) {
	ctx := t.Context()
	calls := map[string]func(*Spool) error{
		"Enqueue": func(s *Spool) error { _, err := s.Enqueue(ctx, oddMessage()); return err },
		"EnqueueOnce": func(s *Spool) error {
			m := oddMessage()
			m.Key = "x"
			_, _, err := s.EnqueueOnce(ctx, m)
			return err
		},
		"Lanes": func(s *Spool) error {
			for _, err := range s.Lanes(ctx) {
				return err
			}
			return nil
		},
		"List": func(s *Spool) error {
			for _, err := range s.List(ctx, queue.Filter{}) {
				return err
			}
			return nil
		},
		"Claim":   func(s *Spool) error { _, err := s.Claim(ctx, nil, time.Second); return err },
		"Extend":  func(s *Spool) error { return s.Extend(ctx, 1, time.Second) },
		"Settle":  func(s *Spool) error { return s.Settle(ctx, 1, queue.Settlement{}) },
		"Open":    func(s *Spool) error { _, err := s.Open(ctx, "x"); return err },
		"Hold":    func(s *Spool) error { return s.Hold(ctx, "x") },
		"Release": func(s *Spool) error { return s.Release(ctx, "x") },
		"Remove":  func(s *Spool) error { return s.Remove(ctx, []queue.ID{"x"}) },
		"Flush":   func(s *Spool) error { _, err := s.Flush(ctx, "", 0); return err },
		"Stats":   func(s *Spool) error { _, err := s.Stats(ctx); return err },
		"Close":   func(s *Spool) error { return s.Close() },
	}
	for name, call := range calls {
		s := new(Spool)
		for range 2 { // no lock is held after the first
			if err := call(s); err == nil || !strings.Contains(err.Error(), "isn't open") {
				t.Errorf("%s: got %v, want an error that says so", name, err)
			}
		}
	}
}
