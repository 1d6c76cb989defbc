//go:build unix

package spool

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// BenchmarkSpoolKeys holds Enqueue with a Key, of 10 KiB by 100 producers, against Enqueue without one, by turns of 2,000.
// The ratios are medians: of the time, of the processor's time, of octets allocated and of allocations.
func BenchmarkSpoolKeys(b *testing.B) {
	const producers, messages = 100, 2000
	s := openBench(b, Options{})
	serial := 0
	run := func(keyed bool) (costs [4]float64) {
		var keys [messages]string
		for i := range keys {
			if serial++; keyed {
				keys[i] = fmt.Sprintf("order-%020d", serial)
			}
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		begin, beginCPU := time.Now(), cpuTime()
		var next atomic.Int64
		var wg sync.WaitGroup
		for range producers {
			wg.Go(func() {
				for i := next.Add(1); i <= messages; i = next.Add(1) {
					_, err := s.Enqueue(context.Background(), queue.Message{
						Envelope:     smtp.NewEnvelope("a@example.com", "b@example.net"),
						Destinations: []string{"example.net"},
						Body:         bytes.NewReader(benchBody),
						Key:          keys[i-1],
					})
					if err != nil {
						b.Error(err)
					}
				}
			})
		}
		wg.Wait()
		took, tookCPU := time.Since(begin), cpuTime()-beginCPU
		runtime.ReadMemStats(&after)
		return [4]float64{
			float64(took), float64(tookCPU), float64(after.TotalAlloc - before.TotalAlloc), float64(after.Mallocs - before.Mallocs),
		}
	}
	run(false)
	units := [4]string{"x-time", "x-cpu", "x-octets", "x-allocs"}
	var ratios [len(units)][]float64
	for turn := 0; b.Loop(); turn++ {
		first, second := run(turn%2 == 1), run(turn%2 == 0)
		plain, keyed := first, second
		if turn%2 == 1 {
			plain, keyed = second, first
		}
		for i := range units {
			ratios[i] = append(ratios[i], keyed[i]/plain[i])
		}
	}
	b.ReportMetric(0, "ns/op")
	for i, unit := range units {
		b.ReportMetric(median(ratios[i]), unit)
	}
}

// cpuTime returns the processor's time that the process has taken.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
