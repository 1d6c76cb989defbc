package delivery

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// BenchmarkRunner is what Runner and Mem cost for a message whose sending costs nothing.
func BenchmarkRunner(b *testing.B) {
	for _, destinations := range []int{1, 1000} {
		b.Run(fmt.Sprintf("destinations=%d", destinations), func(b *testing.B) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			q := &faultyQueue{Queue: mem.New()}
			for i := range b.N {
				if _, err := q.Enqueue(ctx, mail(fmt.Sprintf("to@%d.test", i%destinations))); err != nil {
					b.Fatal(err)
				}
			}
			var sent atomic.Int64
			ok := smtp.NewReply(250, "", "ok")
			r := &Runner{Queue: q}
			r.Sender = senderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
				if sent.Add(1) == int64(b.N) {
					cancel()
				}
				return []smtp.Result{{Outcome: smtp.Delivered, Reply: ok}}
			})
			b.ReportAllocs()
			b.ResetTimer()
			if err := r.Run(ctx); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
			b.ReportMetric(float64(q.claims.Load())/float64(b.N), "claims/op")
		})
	}
}
