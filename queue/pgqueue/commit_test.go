package pgqueue

import (
	"context"
	"errors"
	"io/fs"
	"testing"
)

type serverError string

func (e serverError) Error() string    { return string(e) }
func (e serverError) SQLState() string { return string(e) }

// TestOfOne: calls that shared a statement are repeated alone if one may be at fault, and not after a time-out.
func TestOfOne(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		name string
		ctx  context.Context
		err  error
		want bool
	}{
		{"none", t.Context(), nil, false},
		{"refused", t.Context(), serverError("XX001"), true},
		{"refused within a transaction", t.Context(), &notSent{serverError("XX001")}, true},
		{"file", t.Context(), &notSent{&fileError{fs.ErrClosed}}, true},
		{"no connection", t.Context(), &notSent{errors.New("refused")}, false},
		{"time-out", ended, context.DeadlineExceeded, false},
		{"time-out as the server says it", ended, serverError("57014"), false},
		{"the server stops", t.Context(), serverError("57P01"), false},
		{"fenced", t.Context(), errFenced, false},
	} {
		err := inTime(test.ctx, test.err)
		if got := ofOne(err); got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
		if got, want := rejected(err), rejected(test.err); got != want {
			t.Errorf("%s: got rejected: %v, want %v", test.name, got, want)
		}
	}
}
