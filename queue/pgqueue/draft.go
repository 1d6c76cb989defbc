package pgqueue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// chunkSize is the length of a chunk of a body, in octets. A body of one chunk is in the row of its message.
const chunkSize = 256 << 10

// draft is a message that is to be stored. A body of more than one chunk is in a file, so that it is neither in memory
// nor read while a transaction is open.
type draft struct {
	*index.Message
	head []byte
	body []byte
	file *os.File // nil: the body is in body

	// These are of a message that comes from another Queue. outcomes have no ID.
	moved    bool // its Arrival is known
	outcomes []outcomeRow
}

// isLarge reports whether the body of a draft is in a file.
func isLarge(d *draft) bool { return d.file != nil }

// newDraft reads a message. in is set if it comes from another Queue. The caller calls free.
func newDraft(ctx context.Context, m queue.Message, in *queue.Import) (*draft, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := index.NewMessage(m, in)
	if err != nil {
		return nil, err
	}
	d := &draft{Message: s}
	if d.head, err = encodeMessage(s); err != nil {
		return nil, err
	}
	if d.body, err = io.ReadAll(io.LimitReader(m.Body, chunkSize+1)); err != nil {
		return nil, index.BodyError(err)
	}
	d.Size = int64(len(d.body))
	if d.Size > chunkSize {
		if err := d.spill(m.Body); err != nil {
			d.free()
			return nil, err
		}
	}
	s.Group()
	if err := ctx.Err(); err != nil {
		d.free()
		return nil, err
	}
	return d, nil
}

// spill puts the body into a file: its beginning and the rest.
func (d *draft) spill(rest io.Reader) (err error) {
	if d.file, err = os.CreateTemp("", "pgqueue-"); err != nil {
		return err
	}
	os.Remove(d.file.Name()) // where it can't be removed while it is open, free does
	if _, err := d.file.Write(d.body); err != nil {
		return err
	}
	d.body = nil
	from := &bodyReader{Reader: rest}
	n, err := io.Copy(d.file, from)
	d.Size += n
	if from.err != nil {
		return index.BodyError(from.err)
	}
	return err
}

// bodyReader remembers the error of a body.
type bodyReader struct {
	io.Reader
	err error
}

// Read implements [io.Reader].
func (r *bodyReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// free closes the file.
func (d *draft) free() {
	if d.file != nil {
		d.file.Close()
		os.Remove(d.file.Name())
	}
}

func freeAll(drafts []*draft) {
	for _, d := range drafts {
		d.free()
	}
}

// newReports reads reports. The caller frees them.
func newReports(ctx context.Context, reports []queue.Message) (drafts []*draft, err error) {
	for _, m := range reports {
		d, err := newDraft(ctx, m, nil)
		if err == nil {
			drafts = append(drafts, d)
			if m.Key != "" {
				err = index.ErrReportKey
			}
		}
		if err != nil {
			freeAll(drafts)
			return nil, fmt.Errorf("report: %w", err)
		}
	}
	return drafts, nil
}

// fileError is an error of the file of one draft.
type fileError struct{ error }

func (e *fileError) Unwrap() error { return e.error }

const chunkSQL = `INSERT INTO "postrider".chunk (id, n, data) VALUES ($1, $2, $3)`

// writeChunks stores the body of a draft in chunks.
func (d *draft) writeChunks(statement string, id uint64, exec func(query string, args ...any) error) error {
	chunk := make([]byte, chunkSize)
	for n := int64(0); n*chunkSize < d.Size; n++ {
		size := min(chunkSize, d.Size-n*chunkSize)
		if _, err := d.file.ReadAt(chunk[:size], n*chunkSize); err != nil && !errors.Is(err, io.EOF) {
			return &fileError{err}
		}
		if err := exec(statement, int64(id), n, chunk[:size]); err != nil {
			return err
		}
	}
	return nil
}
