package pgqueue

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// Open implements [queue.Queue]. A body of up to 256 KiB is read at once. Of a larger one, a chunk of 256 KiB is in
// memory, and read when it is needed, for at most Options.Timeout.
func (q *Queue) Open(ctx context.Context, id queue.ID) (queue.Body, error) {
	if err := q.begin(ctx); err != nil {
		return nil, err
	}
	n, ok := parseID(id)
	if !ok {
		return nil, queue.ErrNotFound
	}
	var size int64
	var data []byte
	err := q.db.QueryRowContext(ctx, q.sql(`SELECT size, body FROM "postrider".msg m WHERE id = $1
		AND `+isThere), int64(n)).Scan(&size, &data)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, queue.ErrNotFound
	case err != nil:
		return nil, failed("open "+string(id), err)
	case data == nil:
		return &chunks{q: q, id: n, size: size, have: -1}, nil
	case int64(len(data)) != size:
		err := fmt.Errorf("the body has %d octets, and its size is %d", len(data), size)
		return nil, failed("open "+string(id), err)
	}
	return index.BytesBody{Reader: bytes.NewReader(data)}, nil
}

// chunks is a body in chunks.
type chunks struct {
	q    *Queue
	id   uint64
	size int64

	mu   sync.Mutex
	have int64 // the chunk that is in data; -1: none
	data []byte
}

// Size returns the length in octets.
func (c *chunks) Size() int64 { return c.size }

// Close does nothing.
func (c *chunks) Close() error { return nil }

// ReadAt implements [io.ReaderAt].
func (c *chunks) ReadAt(b []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("pgqueue: negative offset")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for n < len(b) {
		if off >= c.size {
			return n, io.EOF
		}
		if err := c.read(off / chunkSize); err != nil {
			return n, err
		}
		got := copy(b[n:], c.data[off%chunkSize:])
		n, off = n+got, off+int64(got)
	}
	return n, nil
}

// read makes a chunk the one that is in memory.
func (c *chunks) read(n int64) error {
	if n == c.have {
		return nil
	}
	c.have, c.data = -1, nil
	ctx, cancel := context.WithTimeout(context.Background(), c.q.config.Timeout)
	defer cancel()
	var data []byte
	err := c.q.db.QueryRowContext(ctx, c.q.sql(`SELECT data FROM "postrider".chunk WHERE id = $1 AND n = $2`),
		int64(c.id), n).Scan(&data)
	switch want := min(chunkSize, c.size-n*chunkSize); {
	case errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("pgqueue: read the body of %s: %w", index.FormatID(c.id), queue.ErrNotFound)
	case err != nil:
		return fmt.Errorf("pgqueue: read the body of %s: %w", index.FormatID(c.id), err)
	case int64(len(data)) != want:
		return fmt.Errorf("pgqueue: read the body of %s: chunk %d has %d octets, want %d",
			index.FormatID(c.id), n, len(data), want)
	}
	c.have, c.data = n, data
	return nil
}
