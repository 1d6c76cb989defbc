package spool_test

import (
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/clocktest"
	"github.com/postrider/postrider/queue/queuetest"
	"github.com/postrider/postrider/queue/spool"
)

// TestSpool has a disk that gets full, from which a Spool recovers by itself.
func TestSpool(t *testing.T) { testSpool(t, false, &os.PathError{Op: "write", Err: syscall.ENOSPC}) }

// TestSpoolSmall has a disk that breaks, after which a Spool has to be opened again.
func TestSpoolSmall(t *testing.T) { testSpool(t, true, errors.New("the disk is broken")) }

func testSpool(t *testing.T, small bool, broken error) {
	type place struct {
		dir   string
		fault *atomic.Value
		clock *clocktest.Clock
	}
	places := map[queue.Queue]place{}
	open := func(t *testing.T, dir string, clock *clocktest.Clock) queue.Queue {
		p := place{dir, new(atomic.Value), clock}
		s, err := spool.OpenFaultySpool(dir, small, p.fault, clock.Now)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil && !errors.Is(err, broken) {
				t.Errorf("Close: %v", err)
			}
			if damage := s.Damage(); len(damage) > 0 {
				t.Errorf("got damage %+v, want none", damage)
			}
		})
		places[s] = p
		return s
	}
	queuetest.Run(t, queuetest.Harness{
		Open:    func(t *testing.T) queue.Queue { return open(t, t.TempDir(), new(clocktest.Clock)) },
		KeyTime: spool.KeyHours * time.Hour, MaxKeys: spool.MaxKeys,
		Step: func(q queue.Queue, d time.Duration) { places[q].clock.Step(d) },
		Reopen: func(t *testing.T, q queue.Queue) queue.Queue {
			if err := q.(*spool.Spool).Close(); err != nil {
				t.Fatal(err)
			}
			return open(t, places[q].dir, places[q].clock)
		},
		Kill: func(t *testing.T, q queue.Queue) queue.Queue {
			synctest.Wait() // until nothing is being compacted: a copy takes longer than a moment
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(places[q].dir)); err != nil {
				t.Fatal(err)
			}
			return open(t, dir, places[q].clock)
		},
		Fail: func(t *testing.T, q queue.Queue) (heal func() queue.Queue) {
			p := places[q]
			p.fault.Store(spool.Fault{Err: broken})
			return func() queue.Queue {
				p.fault.Store(spool.Fault{})
				if errors.Is(broken, syscall.ENOSPC) {
					return q
				}
				if err := q.(*spool.Spool).Close(); !errors.Is(err, broken) {
					t.Errorf("Close: got %v, want the disk's error", err)
				}
				return open(t, p.dir, p.clock)
			}
		},
	})
}
