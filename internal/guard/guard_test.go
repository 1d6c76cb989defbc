package guard

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
)

// panicky is a slog.Handler that panics in the method of that name.
type panicky struct {
	slog.Handler
	at string
}

func (h panicky) in(method string) {
	if h.at == method {
		panic("boom")
	}
}

func (h panicky) Enabled(ctx context.Context, level slog.Level) bool {
	h.in("Enabled")
	return h.Handler.Enabled(ctx, level)
}

func (h panicky) Handle(ctx context.Context, r slog.Record) error {
	h.in("Handle")
	return h.Handler.Handle(ctx, r)
}

func (h panicky) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.in("WithAttrs")
	return panicky{h.Handler.WithAttrs(attrs), h.at}
}

func (h panicky) WithGroup(name string) slog.Handler {
	h.in("WithGroup")
	return panicky{h.Handler.WithGroup(name), h.at}
}

func TestLogger(t *testing.T) {
	tests := []struct{ at, want string }{
		{"", "level=INFO msg=hello session=1 g.to=ann"},
		{"Enabled", ""},
		{"Handle", ""},
		{"WithAttrs", "level=INFO msg=hello g.to=ann"},
		{"WithGroup", "level=INFO msg=hello session=1 to=ann"},
	}
	for _, tt := range tests {
		t.Run(tt.at, func(t *testing.T) {
			var b strings.Builder
			log := Logger(slog.New(panicky{slog.NewTextHandler(&b, nil), tt.at}))
			log.With("session", 1).WithGroup("g").Info("hello", "to", "ann")
			_, got, _ := strings.Cut(strings.TrimSpace(b.String()), " ")
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if Logger(log) != log {
				t.Error("got a Logger around a Logger that is guarded already")
			}
		})
	}
	Logger(nil).Error("lost")
	Logger(slog.New(nilHandler{})).With("a", 1).Error("lost")
}

// nilHandler loses itself.
type nilHandler struct{ slog.Handler }

func (nilHandler) WithAttrs([]slog.Attr) slog.Handler { return nil }

func TestCall(t *testing.T) {
	cause := errors.New("cause")
	for _, tt := range []struct {
		name string
		f    func()
		want string
	}{
		{"returns", func() {}, ""},
		{"panics", func() { panic("boom") }, "panic: boom"},
		{"panics with an error", func() { panic(cause) }, "panic: cause"},
		{"panics with nil", func() { panic(nil) }, "panic: panic called with nil argument"},
		{"an index", func() { _ = []int{}[len(os.Args):] }, "panic: runtime error: slice bounds out of range"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			p := Call(tt.f)
			if p != nil {
				got = p.Error()
			}
			if !strings.HasPrefix(got, tt.want) || got == "" != (tt.want == "") || p != nil && !strings.Contains(p.Stack, "guard_test.go") {
				t.Errorf("got %q with %+v, want %q and the stack of the func", got, p, tt.want)
			}
		})
	}
	var b strings.Builder
	Call(func() { panic("boom") }).Log(t.Context(), slog.New(slog.NewTextHandler(&b, nil)), "Tried", slog.Int("id", 7))
	if want := "level=ERROR msg=\"Tried panics\" panic=boom id=7 stack="; !strings.Contains(b.String(), want) {
		t.Errorf("got line %s, want %s", b.String(), want)
	}
}

// BenchmarkLogger measures what the guard adds to a line.
func BenchmarkLogger(b *testing.B) {
	plain := slog.New(slog.NewTextHandler(discard{}, nil))
	for name, log := range map[string]*slog.Logger{"plain": plain, "guarded": Logger(plain)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				log.LogAttrs(b.Context(), slog.LevelInfo, "mail", slog.String("to", "ann@example.net"), slog.Int("n", 3))
			}
		})
	}
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
