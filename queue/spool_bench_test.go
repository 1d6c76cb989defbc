package queue

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/smtp"
)

// BenchmarkSpoolEnqueue is of messages of 10 KiB, by so many producers at a time. "synced appends"
// is what it is to be held against: one after the other written to a file and synced.
func BenchmarkSpoolEnqueue(b *testing.B) {
	body := bytes.Repeat([]byte("A line of a message that is to be sent.\r\n"), 250)
	b.Run("synced appends", func(b *testing.B) {
		f, err := os.Create(filepath.Join(b.TempDir(), "log"))
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		for b.Loop() {
			if _, err := f.Write(body); err != nil {
				b.Fatal(err)
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, producers := range []int{1, 10, 100} {
		b.Run(strconv.Itoa(producers), func(b *testing.B) {
			s := openBench(b)
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for p := range producers {
				n := b.N / producers
				if p < b.N%producers {
					n++
				}
				wg.Go(func() {
					for range n {
						benchEnqueue(b, s, "example.net", body)
					}
				})
			}
			wg.Wait()
		})
	}
}

func openBench(b *testing.B) *Spool {
	s, err := OpenSpool(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

func benchEnqueue(b *testing.B, s *Spool, dest string, body []byte) {
	_, err := s.Enqueue(context.Background(), Message{
		Envelope:     smtp.NewEnvelope("a@example.com", "b@"+dest),
		Destinations: []string{dest},
		Body:         bytes.NewReader(body),
	})
	if err != nil {
		b.Error(err)
	}
}

// BenchmarkSpoolDeliver is a claim and a settlement, with so many messages in the queue.
func BenchmarkSpoolDeliver(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			s := openBench(b)
			fillBench(b, s, n)
			ctx := context.Background()
			b.ResetTimer()
			for i := range b.N {
				want := []Want{{Destination: fmt.Sprintf("d%d.example", i%1000), Max: 1}}
				tasks, err := s.Claim(ctx, want, time.Hour)
				if err != nil || len(tasks) != 1 {
					b.Fatalf("got %d tasks and %v, want 1", len(tasks), err)
				}
				later := time.Now().Add(-time.Hour) // at the end of those that are due
				if err := s.Settle(ctx, tasks[0].Lease, Settlement{Next: later}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// fillBench enqueues n small messages to 1000 destinations.
func fillBench(b *testing.B, s *Spool, n int) {
	var wg sync.WaitGroup
	for p := range 1000 {
		wg.Go(func() {
			for range n / 1000 {
				benchEnqueue(b, s, fmt.Sprintf("d%d.example", p), []byte("Subject: x\r\n\r\n"))
			}
		})
	}
	wg.Wait()
}
