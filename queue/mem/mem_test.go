package mem_test

import (
	"testing"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/queue/queuetest"
)

func TestMem(t *testing.T) {
	queuetest.Run(t, queuetest.Harness{
		Open:     func(*testing.T) queue.Queue { return mem.New() },
		InMemory: true,
	})
}
