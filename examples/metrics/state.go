package metrics

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/queue"
)

// state is the relay's state at a collection.
type state struct {
	queue.Stats
	oldest   time.Duration // age
	inFlight int
	down     int // sites
	missed   uint64
}

func stateOf(ctx context.Context, relay *postrider.Relay) (s state, err error) {
	runner := relay.Runner
	if runner == nil {
		return s, errors.New("metrics: Relay.Runner is nil: set it to new(delivery.Runner)")
	}
	q, ok := relay.Queue.(queue.Stater)
	if !ok {
		return s, fmt.Errorf("metrics: Relay.Queue is a %T, which is no queue.Stater: use a Queue that is", relay.Queue)
	}
	if s.Stats, err = q.Stats(ctx); err != nil {
		return s, err
	}
	if !s.Oldest.IsZero() {
		s.oldest = time.Since(s.Oldest)
	}
	activity := runner.Activity()
	s.inFlight, s.down, s.missed = activity.InFlight, activity.Down, runner.Missed()
	return s, nil
}

// tasks returns the number of tasks in each state.
func (s *state) tasks() map[string]int {
	return map[string]int{
		queue.Waiting.String(): s.Waiting,
		queue.Leased.String():  s.Leased,
		queue.Held.String():    s.Held,
	}
}
