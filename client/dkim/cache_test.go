package dkim_test

import (
	"bytes"
	"context"
	"crypto"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/client/dkim"
	"github.com/postrider/postrider/smtp"
)

// counting is a key that counts its signatures.
type counting struct {
	crypto.Signer
	n atomic.Int64
}

func (c *counting) Sign(r io.Reader, sum []byte, o crypto.SignerOpts) ([]byte, error) {
	c.n.Add(1)
	return c.Signer.Sign(r, sum, o)
}

func (c *counting) key() []dkim.Key {
	return []dkim.Key{{Domain: "example.com", Selector: "s", Private: c}}
}

// TestCache: a message is signed once for all destinations and attempts.
func TestCache(t *testing.T) {
	numbered := func(n int) string { return fmt.Sprintf("Subject: %d\r\n%s", n, plain) }
	t.Run("one message, at the same time", func(t *testing.T) {
		c := &counting{Signer: rsaKey}
		s := &dkim.Signer{Keys: c.key()}
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := send(t, s, "Received: x\r\n"+plain); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := c.n.Load(); n != 1 {
			t.Errorf("got %d signatures, want 1", n)
		}
	})
	t.Run("what isn't signed doesn't matter", func(t *testing.T) {
		c := &counting{Signer: rsaKey}
		s := &dkim.Signer{Keys: c.key()}
		first, _ := send(t, s, plain)
		again, _ := send(t, s, "Received: x\r\n"+strings.Replace(plain, "Hello.", "Hello.  ", 1))
		if signature, _, _ := strings.Cut(first, "From:"); c.n.Load() != 1 || !strings.HasPrefix(again, signature) {
			t.Errorf("got %d signatures and\n%s, want one", c.n.Load(), again)
		}
		z := published(t, c.key()...)
		for _, other := range []string{strings.Replace(plain, "Hello.", "Hallo.", 1), strings.Replace(plain, "hello", "Hello", 1), "To: x\r\n" + plain} {
			if got, err := send(t, s, other); err != nil || verdicts(t, z, got) != "pass(s.example.com)" {
				t.Errorf("got %v and\n%s, want it signed", err, got)
			}
		}
	})
	t.Run("bounded", func(t *testing.T) {
		c := &counting{Signer: edKey}
		s := &dkim.Signer{Keys: c.key(), CacheSize: 10}
		for i := range 100 {
			for _, n := range []int{i, 0} { // 0 is used all the time, and stays
				if _, err := send(t, s, numbered(n)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if n := c.n.Load(); n != 100 {
			t.Errorf("got %d signatures, want 100", n)
		}
		for i := range 100 {
			_, _ = send(t, s, numbered(i))
		}
		if n := c.n.Load(); n < 190 {
			t.Errorf("got %d signatures, want most of them made again", n)
		}
	})
	t.Run("none", func(t *testing.T) {
		c := &counting{Signer: edKey}
		s := &dkim.Signer{Keys: c.key(), CacheSize: -1}
		for range 3 {
			_, _ = send(t, s, plain)
		}
		if n := c.n.Load(); n != 3 {
			t.Errorf("got %d signatures, want 3", n)
		}
	})
}

// TestLifetime: a signature expires, and is made anew when half of its time is over.
func TestLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counting{Signer: edKey}
		s := &dkim.Signer{Keys: c.key(), Lifetime: 10 * time.Hour}
		z := published(t, c.key()...)
		var got string
		for range 20 {
			var err error
			if got, err = send(t, s, plain); err != nil || verdicts(t, z, got) != "pass(s.example.com)" {
				t.Fatalf("got %v and\n%s", err, got)
			}
			time.Sleep(time.Hour)
		}
		if n := c.n.Load(); n != 4 {
			t.Errorf("got %d signatures in 20 hours, want 4", n)
		}
		if want := fmt.Sprintf(" x=%d;", time.Now().Add(8*time.Hour).Unix()); !strings.Contains(got, want) {
			t.Errorf("got %s, want %s in it", got, want)
		}
		time.Sleep(8*time.Hour + time.Second)
		if v := verdicts(t, z, got); v != "fail(s.example.com)" {
			t.Errorf("got %s, want an expired signature", v)
		}
	})
}

// large is a message of many lines, of which nothing is held.
type large struct {
	head string
	size int64
}

func (l large) Size() int64 { return l.size }

func (l large) ReadAt(p []byte, off int64) (n int, err error) {
	for ; n < len(p) && off < l.size; n, off = n+1, off+1 {
		switch {
		case off < int64(len(l.head)):
			p[n] = l.head[off]
		case off%64 == 62:
			p[n] = '\r'
		case off%64 == 63:
			p[n] = '\n'
		default:
			p[n] = 'x'
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// TestStreams: a message of 50 MB isn't held.
func TestStreams(t *testing.T) {
	s := &dkim.Signer{Keys: both()}
	c := large{fmt.Sprintf("%-62s\r\n\r\n%60s\r\n", "From: ann@example.com", "x"), 50 << 20}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	to := smtp.SenderFunc(func(_ context.Context, _ *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
		var first [1]byte
		if _, err := c.ReadAt(first[:], 0); err != nil || first[0] != 'D' || c.Size() < 50<<20 {
			t.Errorf("got %q and %d octets, %v", first, c.Size(), err)
		}
		return nil, nil
	})
	if _, err := s.Wrap(to).Send(t.Context(), env, c); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("got %d octets allocated, want 1 MiB at most", got)
	}
}

// BenchmarkSign signs a message of 10 KiB: each time another one, or the same one, as for its next destination.
func BenchmarkSign(b *testing.B) {
	body := bytes.Repeat([]byte("All lines of this body are alike, as they are in a newsletter.\r\n"), 160)
	next := smtp.SenderFunc(func(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) { return nil, nil })
	for name, key := range map[string]crypto.Signer{"RSA-2048": rsaKey, "Ed25519": edKey} {
		for _, cached := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/cached=%t", name, cached), func(b *testing.B) {
				s := (&dkim.Signer{Keys: []dkim.Key{{Domain: "example.com", Selector: "s", Private: key}}}).Wrap(next)
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if cached {
						i = 0
					}
					content := bytes.NewReader(fmt.Appendf(nil, "Subject: %d\r\nFrom: ann@example.com\r\n\r\n%s", i, body))
					if _, err := s.Send(b.Context(), env, content); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
