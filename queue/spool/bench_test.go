package spool

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

var benchBody = bytes.Repeat([]byte("A line of a message that is to be sent.\r\n"), 250)

func openBench(b *testing.B, c Options) *Spool {
	s, err := c.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

func benchEnqueue(b *testing.B, s *Spool, dest string, body []byte) {
	_, err := s.Enqueue(context.Background(), queue.Message{
		Envelope:     smtp.NewEnvelope("a@example.com", "b@"+dest),
		Destinations: []string{dest},
		Body:         bytes.NewReader(body),
	})
	if err != nil {
		b.Error(err)
	}
}

// BenchmarkSpoolEnqueue is of messages of 10 KiB, by so many producers at a time.
func BenchmarkSpoolEnqueue(b *testing.B) {
	for _, producers := range []int{1, 10, 100} {
		b.Run(strconv.Itoa(producers), func(b *testing.B) {
			s := openBench(b, Options{})
			b.ReportAllocs()
			b.ResetTimer()
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			for range producers {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						benchEnqueue(b, s, "example.net", benchBody)
					}
				})
			}
			wg.Wait()
		})
	}
}

// BenchmarkSpoolBesideAppend holds Enqueue, of 10 KiB by so many producers, against appends of the same octets to a file, one after
// the other and each synced. Both take turns, since disks have moods; x-append is the median of how many times as fast Enqueue was.
func BenchmarkSpoolBesideAppend(b *testing.B) {
	for _, producers := range []int{1, 10, 100} {
		b.Run(strconv.Itoa(producers), func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), "log"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			appendOne := func() {
				if _, err := f.Write(benchBody); err != nil {
					b.Fatal(err)
				}
				if err := f.Sync(); err != nil {
					b.Fatal(err)
				}
			}
			s := openBench(b, Options{})
			enqueue := func() { benchEnqueue(b, s, "example.net", benchBody) }
			var times, rates []float64
			for b.Loop() {
				plain := rate(1, appendOne)
				got := rate(producers, enqueue)
				times, rates = append(times, got/plain), append(rates, got)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(times), "x-append")
			b.ReportMetric(median(rates), "msg/s")
		})
	}
}

// rate says how often a second f is done by so many at a time.
func rate(workers int, f func()) float64 {
	var n atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for range workers {
		wg.Go(func() {
			for time.Since(begin) < 300*time.Millisecond {
				f()
				n.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(n.Load()) / time.Since(begin).Seconds()
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// BenchmarkSpoolBodies is of large bodies, one after the other, against a plain write and sync of the same octets to a file each, by
// turns. x-plain is the median.
func BenchmarkSpoolBodies(b *testing.B) {
	for _, size := range []int{1 << 20, 50 << 20} {
		b.Run(strconv.Itoa(size>>20)+"MiB", func(b *testing.B) {
			body := bytes.Repeat(benchBody, size/len(benchBody)+1)[:size]
			dir := b.TempDir()
			plain := func() {
				f, err := os.Create(filepath.Join(dir, "file"))
				if err != nil {
					b.Fatal(err)
				}
				if _, err = f.Write(body); err == nil {
					err = f.Sync()
				}
				if err != nil {
					b.Fatal(err)
				}
				f.Close()
				os.Remove(f.Name())
			}
			s := openBench(b, Options{})
			var times []float64
			for b.Loop() {
				begin := time.Now()
				plain()
				middle := time.Now()
				benchEnqueue(b, s, "example.net", body)
				times = append(times, middle.Sub(begin).Seconds()/time.Since(middle).Seconds())
				b.StopTimer()
				for id := range benchList(b, s) { // so that the disk doesn't fill up
					if err := s.Remove(context.Background(), []queue.ID{id}); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(times), "x-plain")
		})
	}
}

func benchList(b *testing.B, s *Spool) map[queue.ID]bool {
	ids := map[queue.ID]bool{}
	for task, err := range s.List(context.Background(), queue.Filter{}) {
		if err != nil {
			b.Fatal(err)
		}
		ids[task.ID] = true
	}
	return ids
}

// BenchmarkSpoolLarge fills a spool with messages of 2 KiB to a hundredth as many destinations... and opens it again: "start-s" is what that
// takes, "B/msg" the memory that each message takes then. ns/op is that of a Claim and a Settle.
func BenchmarkSpoolLarge(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			dir := b.TempDir()
			s, err := Open(dir)
			if err != nil {
				b.Fatal(err)
			}
			dests := n / 10
			fillBench(b, s, n, dests)
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			before := heapOctets()
			begin := time.Now()
			if s, err = Open(dir); err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			start := time.Since(begin)
			for s.log.unhinted() != nil { // what the janitor takes isn't the messages'
				time.Sleep(10 * time.Millisecond)
			}
			memory := heapOctets() - before
			ctx := context.Background()
			var lane queue.Lane // all have the same Owner
			for d := range s.Lanes(ctx) {
				lane = d.Lane
				break
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				lane.Destination = destName(i % dests)
				want := []queue.Want{{Lane: lane, Max: 1}}
				tasks, err := s.Claim(ctx, want, time.Hour)
				if err != nil || len(tasks) != 1 {
					b.Fatalf("got %d tasks and %v, want 1", len(tasks), err)
				}
				last := time.Now().Add(-time.Hour) // due, before the others
				if err := s.Settle(ctx, tasks[0].Lease, queue.Settlement{Next: last}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(start.Seconds(), "start-s")
			b.ReportMetric(memory/float64(n), "B/msg")
		})
	}
}

func heapOctets() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

func destName(i int) string { return fmt.Sprintf("d%d.example", i) }

// fillBench enqueues n messages of 2 KiB.
func fillBench(b *testing.B, s *Spool, n, dests int) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				benchEnqueue(b, s, destName(i%dests), benchBody[:2048])
			}
		})
	}
	wg.Wait()
}

// BenchmarkSpoolClaim claims so many tasks at a time, by so many consumers, and settles each. It is for a task.
func BenchmarkSpoolClaim(b *testing.B) {
	for _, bb := range []struct{ each, consumers int }{{1, 1}, {20, 1}, {5, 20}} {
		b.Run(fmt.Sprintf("%dx%d", bb.each, bb.consumers), func(b *testing.B) {
			s := openBench(b, Options{})
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					for range (b.N + 99) / 100 {
						benchEnqueue(b, s, "example.net", benchBody[:1000])
					}
				})
			}
			wg.Wait()
			var wants []queue.Want
			for d, err := range s.Lanes(b.Context()) {
				if err != nil {
					b.Fatal(err)
				}
				wants = append(wants, queue.Want{Lane: d.Lane, Max: bb.each})
			}
			b.ReportAllocs()
			b.ResetTimer()
			var left atomic.Int64
			left.Store(int64(b.N))
			for range bb.consumers {
				wg.Go(func() {
					for left.Load() > 0 {
						tasks, err := s.Claim(b.Context(), wants, time.Hour)
						if err != nil {
							b.Error(err)
							return
						}
						for _, t := range tasks {
							if err := s.Settle(b.Context(), t.Lease, queue.Settlement{}); err != nil {
								b.Error(err)
							}
						}
						left.Add(-int64(max(len(tasks), 1)))
					}
				})
			}
			wg.Wait()
		})
	}
}

// BenchmarkSpoolChurn is an hour of a busy relay: 360,000 messages of 1 to 20 KiB come and go, each stays for one of every thousand to a
// third of all others, and every hundredth for ever. "x-bound" is the most that the log ever took on the disk, of the bound: twice
// what lives and two segments.
func BenchmarkSpoolChurn(b *testing.B) {
	const messages, workers = 360_000, 50
	for b.Loop() {
		dir := b.TempDir()
		s, err := (&Options{SegmentSize: 16 << 20}).Open(dir)
		if err != nil {
			b.Fatal(err)
		}
		worst := 0.0
		var next atomic.Int64
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for i := next.Add(1); i <= messages; i = next.Add(1) {
					churn(b, s, i)
				}
			})
		}
		done := make(chan struct{})
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			for {
				worst = max(worst, ofBound(b, s))
				select {
				case <-done:
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		}()
		wg.Wait()
		close(done)
		<-watched
		b.ReportMetric(worst, "x-bound")
		s.Close()
	}
}

// churn enqueues a message and ends another that came earlier.
func churn(b *testing.B, s *Spool, i int64) {
	ctx := context.Background()
	dest := "short.example" // most are delivered at once
	switch {
	case i%100 == 0:
		dest = "stays.example"
	case i%5 == 0:
		dest = "later.example"
	}
	benchEnqueue(b, s, dest, benchBody[:1+rand.IntN(10_000)])
	if dest == "stays.example" || dest == "later.example" && i < 100_000 {
		return
	}
	tasks, err := claimOf(s, dest, 1+int(i%5/4))
	if err != nil {
		b.Error(err)
	}
	for _, t := range tasks {
		set := queue.Settlement{}
		if i%7 == 0 {
			set.Next = time.Now()
		}
		if err := s.Settle(ctx, t.Lease, set); err != nil {
			b.Error(err)
		}
	}
}

// ofBound says how much of its bound the spool takes.
func ofBound(b *testing.B, s *Spool) float64 {
	s.mu.Lock()
	live := s.live
	s.mu.Unlock()
	names, err := s.fs.List()
	if err != nil {
		b.Error(err)
	}
	var octets int64
	for _, size := range names {
		octets += size
	}
	return float64(octets) / float64(2*live+2*s.config.SegmentSize)
}
