package pgqueue

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"testing"

	"github.com/postrider/postrider/queue/internal/index"
)

// TestTogether: the jobs of a commit are of one node and fence, and their bodies have maxBodies octets at most, unless
// a single job has more.
func TestTogether(t *testing.T) {
	of := func(sizes ...int64) (jobs []*job) {
		for _, size := range sizes {
			jobs = append(jobs, &job{node: 1, msgs: []*draft{{Message: &index.Message{Size: size}}}})
		}
		return jobs
	}
	for _, test := range []struct {
		name    string
		waiting []*job
		want    int
	}{
		{"none", nil, 0},
		{"without bodies", slices.Repeat([]*job{{node: 1}}, 3), 3},
		{"many", slices.Repeat([]*job{{node: 1}}, maxJobs+1), maxJobs},
		{"just fit", of(maxBodies-1, 1, 0, 1), 3},
		{"large first", of(maxBodies+1, 1), 1},
		{"large next", of(1, 1, maxBodies), 2},
		{"another node", []*job{{node: 1}, {node: 2}}, 1},
		{"another fence", []*job{{node: 1}, {node: 1, fence: 1}}, 1},
	} {
		if got := together(test.waiting); got != test.want {
			t.Errorf("%s: got %d, want %d", test.name, got, test.want)
		}
	}
}

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
