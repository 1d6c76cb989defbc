package queue

import "context"

type Flusher interface {
	Flush(ctx context.Context, destination string) (n int, err error)
}
