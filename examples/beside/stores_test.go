package beside

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// store is one of the stores that are compared.
type store interface {
	// enqueue returns when the message is on the disk. It may be called concurrently.
	enqueue(m message) error

	// deliver claims a due message, reads it, and deletes it, on the disk by the time of close at the latest. The store
	// may choose another domain. It may be called concurrently.
	deliver(domain string) (message, error)

	// messages returns all messages of the store, in any order.
	messages() ([]message, error)

	close() error
}

// stores begins with the Spool and ends with the yardstick: compare relies on it. open gets a directory, and the number
// of producers that enqueue at a time.
var stores = []struct {
	name string
	open func(dir string, producers int) (store, error)
}{
	{"spool", openSpool},
	{"bbolt", openBolt},
	{"sqlite", openSQLite},
	{"files", openFiles},
	{"append", openAppend},
}

// message is an envelope with one recipient, and a body.
type message struct{ from, to, body string }

// newMessages returns n messages of 10 KiB, all of the same length, to 1000 domains.
func newMessages(n int) []message {
	lines := strings.Repeat("A line of a message that is to be sent.\r\n", 249)
	messages := make([]message, n)
	for i := range messages {
		messages[i] = message{
			from: "sender@example.com",
			to:   fmt.Sprintf("r%d@d%d.example", i, i%1000),
			body: fmt.Sprintf("Subject: message %04d\r\n\r\n%s", i, lines),
		}
	}
	return messages
}

func (m message) domain() string { return m.to[strings.LastIndexByte(m.to, '@')+1:] }

// encode returns the message as one value, for stores without fields.
func (m message) encode() []byte { return []byte(m.from + "\n" + m.to + "\n" + m.body) }

func decode(b []byte) message {
	parts := strings.SplitN(string(b), "\n", 3)
	return message{parts[0], parts[1], parts[2]}
}

// TestStores checks that each store keeps its messages.
func TestStores(t *testing.T) {
	const producers, each = 10, 20
	for _, tt := range stores {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			s, err := tt.open(dir, producers)
			if err != nil {
				t.Fatal(err)
			}
			want := newMessages(producers * each)
			var mu sync.Mutex
			var delivered []message
			var wg sync.WaitGroup
			for part := range slices.Chunk(want, each) {
				wg.Go(func() {
					for i, m := range part {
						if err := s.enqueue(m); err != nil {
							t.Error(err)
						}
						if i%2 > 0 {
							continue
						}
						m, err := s.deliver(m.domain())
						if errors.Is(err, errors.ErrUnsupported) {
							continue
						}
						if err != nil {
							t.Error(err)
						}
						mu.Lock()
						delivered = append(delivered, m)
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			want = slices.DeleteFunc(want, func(m message) bool { return slices.Contains(delivered, m) })
			if err := s.close(); err != nil {
				t.Fatal(err)
			}
			if s, err = tt.open(dir, producers); err != nil {
				t.Fatal(err)
			}
			defer s.close()
			got, err := s.messages()
			if err != nil {
				t.Fatal(err)
			}
			byRecipient := func(a, b message) int { return cmp.Compare(a.to, b.to) }
			slices.SortFunc(got, byRecipient)
			slices.SortFunc(want, byRecipient)
			if !slices.Equal(got, want) {
				t.Errorf("got %d messages, want the %d that weren't delivered, unchanged", len(got), len(want))
			}
		})
	}
}

// BenchmarkStores and BenchmarkFlow are explained in the package's doc.
func BenchmarkStores(b *testing.B) { compare(b, store.enqueue) }

func BenchmarkFlow(b *testing.B) { compare(b, flow) }

// flow enqueues a message and delivers one.
func flow(s store, m message) error {
	if err := s.enqueue(m); err != nil {
		return err
	}
	got, err := s.deliver(m.domain())
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err == nil && len(got.body) != len(m.body) {
		err = fmt.Errorf("got a body of %d octets, want %d", len(got.body), len(m.body))
	}
	return err
}

const (
	rounds = 11
	slice  = 150 * time.Millisecond
	rest   = 850 * time.Millisecond
)

// compare measures how often each store does the work a second, with 1, 10 and 100 producers.
func compare(b *testing.B, work func(store, message) error) {
	for _, producers := range []int{1, 10, 100} {
		b.Run(strconv.Itoa(producers), func(b *testing.B) { compareBy(b, producers, work) })
	}
}

func compareBy(b *testing.B, producers int, work func(store, message) error) {
	opened := make([]store, len(stores))
	for i, st := range stores {
		s, err := st.open(b.TempDir(), producers)
		if err != nil {
			b.Fatal(err)
		}
		defer s.close()
		opened[i] = s
	}
	messages := newMessages(1000)
	rates := make([][]float64, len(stores))
	var toBest, toAppend []float64
	for b.Loop() {
		for range rounds {
			last := make([]float64, len(stores))
			for _, i := range rand.Perm(len(stores)) {
				last[i] = rate(b, producers, messages, func(m message) error { return work(opened[i], m) })
				time.Sleep(rest)
				rates[i] = append(rates[i], last[i])
			}
			yardstick := len(last) - 1
			toBest = append(toBest, last[0]/slices.Max(last[1:yardstick]))
			toAppend = append(toAppend, last[0]/last[yardstick])
		}
	}
	b.ReportMetric(0, "ns/op") // the time of all rounds means nothing
	for i, st := range stores {
		b.ReportMetric(median(rates[i]), st.name+"-msg/s")
	}
	b.ReportMetric(median(toBest), "spool/best")
	b.ReportMetric(median(toAppend), "spool/append")
}

// rate has the producers work for a slice of time, and returns the messages a second.
func rate(b *testing.B, producers int, messages []message, work func(message) error) float64 {
	var n atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for range producers {
		wg.Go(func() {
			for time.Since(begin) < slice {
				m := messages[n.Add(1)%int64(len(messages))]
				if err := work(m); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(n.Load()) / time.Since(begin).Seconds()
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
