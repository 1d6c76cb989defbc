package queuetest

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

// Rules returns the names of the subtests of Run.
func Rules() (names []string) {
	for _, tt := range tests {
		names = append(names, tt.name)
	}
	return names
}

// Failures runs one subtest of Run, and returns what it reports instead of failing t.
func Failures(t *testing.T, h Harness, rule string) []string {
	i := slices.Index(Rules(), rule)
	if i < 0 {
		t.Fatalf("queuetest has no rule %q", rule)
	}
	var r *recorder
	synctest.Test(t, func(t *testing.T) {
		r = &recorder{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer func() {
				if v := recover(); v != nil {
					r.record(fmt.Sprint("panic: ", v))
				}
			}()
			tests[i].run(&env{TB: r, t: t, h: h, q: h.Open(t), ctx: t.Context(), clock: new(clock)})
		}()
		<-done
	})
	return r.failures
}

// recorder is a testing.TB that records failures.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	failures []string
}

func (r *recorder) record(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, s)
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.failures) > 0
}

func (r *recorder) FailNow() { runtime.Goexit() }

func (r *recorder) Error(args ...any)                 { r.record(fmt.Sprint(args...)) }
func (r *recorder) Errorf(format string, args ...any) { r.record(fmt.Sprintf(format, args...)) }

func (r *recorder) Fatal(args ...any) {
	r.Error(args...)
	r.FailNow()
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	r.FailNow()
}

func (r *recorder) Log(...any)          {}
func (r *recorder) Logf(string, ...any) {}
func (r *recorder) Skip(...any)         { runtime.Goexit() }
