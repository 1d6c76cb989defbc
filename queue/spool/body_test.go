package spool

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"strings"
	"sync"
	"testing"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// TestClosedBody has readers that go on after Close while other messages take the buffers: each gets octets of its own
// message or an error.
func TestClosedBody(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const messages = 8
	var ids [messages]queue.ID
	for i := range ids {
		if ids[i], err = s.Enqueue(t.Context(), queue.Message{
			Envelope:     smtp.NewEnvelope("a@example.org", "b@example.net"),
			Destinations: []string{"example.net"},
			Body:         strings.NewReader(strings.Repeat(string(rune('a'+i)), 20_000)),
		}); err != nil {
			t.Fatal(err)
		}
	}
	var running sync.WaitGroup
	for i, id := range ids {
		running.Go(func() {
			for range 50 {
				body, err := s.Open(t.Context(), id)
				if err != nil {
					t.Error(err)
					return
				}
				var reading sync.WaitGroup
				reading.Go(func() {
					got := make([]byte, 20_000)
					n, err := 0, error(nil)
					for off := int64(0); err == nil; off += int64(n) {
						n, err = body.ReadAt(got[:500], off)
						if want := bytes.Repeat([]byte{byte('a' + i)}, n); !bytes.Equal(got[:n], want) {
							t.Errorf("message %d: got octets of another", i)
							return
						}
					}
					if err != io.EOF && !errors.Is(err, fs.ErrClosed) {
						t.Errorf("got error %v, want EOF or fs.ErrClosed", err)
					}
				})
				for range 2 {
					if err := body.Close(); err != nil {
						t.Error(err)
					}
				}
				if _, err := body.ReadAt(make([]byte, 1), 0); !errors.Is(err, fs.ErrClosed) {
					t.Errorf("after Close: got error %v, want fs.ErrClosed", err)
				}
				reading.Wait()
			}
		})
	}
	running.Wait()
}
