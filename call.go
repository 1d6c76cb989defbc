package postrider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/postrider/postrider/internal/guard"
)

// errPanic is the error of a func of the user that panicked. The log has the panic.
var errPanic = errors.New("internal error")

// call calls a func of the user. A panic is logged, and becomes errPanic.
func (r *Relay) call(ctx context.Context, what string, f func() error, attrs ...slog.Attr) (err error) {
	if p := guard.Call(func() { err = f() }); p != nil {
		p.Log(ctx, r.logger(), what, attrs...)
		return errPanic
	}
	return err
}

// logger returns a Logger whose Handler can't panic.
func (r *Relay) logger() *slog.Logger { return guard.Logger(r.log) }

// maxEmptyReads bounds the reads of a body in a row that return nothing.
const maxEmptyReads = 100

// bodyReader is a body that ends with the ctx of the call that reads it.
type bodyReader struct {
	ctx   context.Context // nil: not known yet
	r     io.Reader
	empty int // reads in a row that returned nothing
}

func (b *bodyReader) Read(p []byte) (int, error) {
	if b.ctx != nil && b.ctx.Err() != nil {
		return 0, b.ctx.Err()
	}
	n, err := b.r.Read(p)
	if n < 0 || n > len(p) {
		return 0, fmt.Errorf("the body returned %d octets for a buffer of %d", n, len(p))
	}
	if n != 0 || err != nil || len(p) == 0 {
		b.empty = 0
		return n, err
	}
	if b.empty++; b.empty >= maxEmptyReads {
		return 0, io.ErrNoProgress
	}
	return 0, nil
}
