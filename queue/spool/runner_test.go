package spool

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/internal/crashfs"
	"github.com/postrider/postrider/smtp"
)

type nobody struct{}

func (nobody) Send(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) {
	return nil, errors.New("nobody is there")
}

// TestSpoolEndsRunner: a Runner that is idle hears that its Spool is of no more use, and ends.
func TestSpoolEndsRunner(t *testing.T) {
	quiet(t)
	for _, test := range []struct {
		name string
		end  func(t *testing.T, s *Spool, failing *atomic.Bool)
		want error
	}{
		{"closed", func(t *testing.T, s *Spool, _ *atomic.Bool) { mustClose(t, s) }, queue.ErrClosed},
		{"broken", func(t *testing.T, s *Spool, failing *atomic.Bool) {
			failing.Store(true)
			if _, err := s.Enqueue(t.Context(), testMessage("x", "d.example")); !errors.Is(err, queue.ErrBroken) {
				t.Errorf("Enqueue: got %v, want ErrBroken", err)
			}
		}, queue.ErrBroken},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var failing atomic.Bool
				disk := crashfs.New[File](nil)
				disk.Before = func(op string, _ ...string) error {
					if op == "sync" && failing.Load() {
						return errors.New("the disk is broken")
					}
					return nil
				}
				s := mustOpen(t, disk, testConfig)
				ended := make(chan error, 1)
				go func() { ended <- (&delivery.Runner{Queue: s, Sender: nobody{}}).Run(t.Context()) }()
				time.Sleep(time.Hour) // idle
				test.end(t, s, &failing)
				time.Sleep(time.Minute)
				select {
				case err := <-ended:
					if !errors.Is(err, test.want) {
						t.Errorf("got %v, want %v", err, test.want)
					}
				default:
					t.Error("Run goes on")
				}
			})
		})
	}
}
