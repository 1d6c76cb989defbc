// Package guard keeps the funcs that a user supplies from ending the process. All parts of the module call such a func
// by [Call], and write to a user's slog.Handler by [Logger].
//
// A func that ends its goroutine by runtime.Goexit, as t.Fatal does, can't be stopped. Callers release their locks and
// slots in deferred calls.
package guard

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
)

// Panic is the error of a func that panicked.
type Panic struct {
	Value any    // of the panic
	Stack string // of the goroutine
}

// Error returns "panic: " and the value.
func (p *Panic) Error() string { return fmt.Sprintf("panic: %v", p.Value) }

// Call calls f. If f panics, Call returns the panic, and otherwise nil.
func Call(f func()) (p *Panic) {
	defer func() {
		if v := recover(); v != nil {
			p = &Panic{v, string(debug.Stack())}
		}
	}()
	f()
	return nil
}

// Log writes a line at level Error: what panics, the value, attrs, and the stack.
func (p *Panic) Log(ctx context.Context, log *slog.Logger, what string, attrs ...slog.Attr) {
	attrs = slices.Concat([]slog.Attr{slog.Any("panic", p.Value)}, attrs, []slog.Attr{slog.String("stack", p.Stack)})
	log.LogAttrs(ctx, slog.LevelError, what+" panics", attrs...)
}

// Logger returns a Logger that writes to the Handler of log. If the Handler panics, the line is lost. If log is nil,
// nothing is logged.
func Logger(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	if _, guarded := log.Handler().(handler); guarded {
		return log
	}
	return slog.New(handler{log.Handler()})
}

// handler is a slog.Handler without its panics.
type handler struct{ next slog.Handler }

func (h handler) Enabled(ctx context.Context, level slog.Level) (enabled bool) {
	Call(func() { enabled = h.next.Enabled(ctx, level) })
	return enabled
}

func (h handler) Handle(ctx context.Context, r slog.Record) (err error) {
	if p := Call(func() { err = h.next.Handle(ctx, r) }); p != nil {
		return p
	}
	return err
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.with(func() slog.Handler { return h.next.WithAttrs(attrs) })
}

func (h handler) WithGroup(name string) slog.Handler {
	return h.with(func() slog.Handler { return h.next.WithGroup(name) })
}

// with returns the handler that f returns, or h if f panics.
func (h handler) with(f func() slog.Handler) slog.Handler {
	Call(func() { h.next = f() })
	return h
}
