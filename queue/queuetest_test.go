package queue_test

import (
	"testing"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/queuetest"
)

func TestMem(t *testing.T) {
	queuetest.Run(t, queuetest.Harness{
		Open:     func(*testing.T) queue.Queue { return queue.NewMem() },
		InMemory: true,
	})
}

func TestSpool(t *testing.T) { testSpool(t, queue.OpenSpool) }

func TestSpoolSmall(t *testing.T) { testSpool(t, queue.OpenSmallSpool) }

func testSpool(t *testing.T, openDir func(dir string) (*queue.Spool, error)) {
	dirs := map[queue.Queue]string{}
	open := func(t *testing.T, dir string) queue.Queue {
		s, err := openDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			if damage := s.Damage(); len(damage) > 0 {
				t.Errorf("got damage %+v, want none", damage)
			}
		})
		dirs[s] = dir
		return s
	}
	queuetest.Run(t, queuetest.Harness{
		Open: func(t *testing.T) queue.Queue { return open(t, t.TempDir()) },
		Reopen: func(t *testing.T, q queue.Queue) queue.Queue {
			if err := q.(*queue.Spool).Close(); err != nil {
				t.Fatal(err)
			}
			return open(t, dirs[q])
		},
	})
}
