package delivery

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/postrider/postrider/smtp"
)

// The defaults of the fields of Runner. Those of SiteLimits and Events are beside them.
const (
	defaultPollInterval  = time.Second
	defaultMaxProbeWait  = 20 * time.Minute
	defaultConcurrency   = 200
	defaultInitial       = 20
	defaultLease         = 5 * time.Minute
	defaultGrace         = 10 * time.Second
	defaultSettleTimeout = 10 * time.Second
)

// ever is the longest time that a field can mean. Sums with it stay within the times that a Queue knows.
const ever = 100 * 365 * 24 * time.Hour

func (r *Runner) settleTimeout() time.Duration {
	return min(cmp.Or(r.SettleTimeout, defaultSettleTimeout), ever)
}

var errNoQueue = errors.New("delivery: Queue is nil: set it, or give the Runner to a Relay")

// Check returns an error for the first field that is wrong. The error names the field, its value and the remedy. Run
// calls Check.
func (r *Runner) Check() error {
	switch {
	case r.Queue == nil:
		return errNoQueue
	case r.Sender == nil:
		return errors.New("delivery: Sender is nil: set it, or give the Runner to a Relay")
	}
	return cmp.Or(
		checkConcurrency("Concurrency", r.Concurrency),
		checkCount("Initial", r.Initial),
		checkCount("Events.Buffer", r.Events.Buffer),
		checkTime("PollInterval", r.PollInterval),
		checkTime("MaxProbeWait", r.MaxProbeWait),
		checkTime("Lease", r.Lease),
		checkTime("SettleTimeout", r.SettleTimeout),
		r.Site.Check(),
		checkRate("Source", r.Source),
		checkRate("Tenant", r.Tenant),
		checkWaits("Retry", r.Retry),
		r.checkRetryAfter(),
		r.checkReplies(),
		r.checkLearned(),
	)
}

// Check returns an error for the first field that is wrong. Runner.Check calls it for Runner.Site.
func (l SiteLimits) Check() error {
	return cmp.Or(
		checkConcurrency("Site.Concurrency", l.Concurrency),
		checkCount("Site.Initial", l.Initial),
		checkRate("Site.Rate", l.Rate),
		checkBound("Site.Recovery.Start", l.Recovery.Start, maxRecovery),
		checkBound("Site.Recovery.Step", l.Recovery.Step, maxRecovery),
	)
}

// maxConcurrency bounds Concurrency: each task takes memory, a goroutine and a connection.
const maxConcurrency = 1_000_000

func checkConcurrency(field string, n int) error { return checkBound(field, n, maxConcurrency) }

func checkBound(field string, n, most int) error {
	if n > most {
		return fmt.Errorf("delivery: %s is %d: it must be at most %d", field, n, most)
	}
	return checkCount(field, n)
}

func checkCount(field string, n int) error {
	if n < 0 {
		return fmt.Errorf("delivery: %s is %d: it must be positive, or zero for the default", field, n)
	}
	return nil
}

func checkTime(field string, d time.Duration) error {
	if d < 0 {
		return fmt.Errorf("delivery: %s is %v: it must be positive, or zero for the default", field, d)
	}
	return nil
}

func checkRate(field string, r Rate) error {
	if r.Messages < 0 || r.Per < 0 || (r.Messages == 0) != (r.Per == 0) {
		return fmt.Errorf("delivery: %s is {Messages: %d, Per: %v}: both must be positive, or both zero for no limit",
			field, r.Messages, r.Per)
	}
	return nil
}

func checkWaits(field string, waits []time.Duration) error {
	for i, wait := range waits {
		if wait <= 0 {
			return fmt.Errorf("delivery: %s[%d] is %v: it must be positive", field, i, wait)
		}
	}
	return nil
}

func (r *Runner) checkReplies() error {
	if err := r.Replies.Check(); err != nil {
		return fmt.Errorf("delivery: Replies: %w", err)
	}
	return nil
}

// checkLearned finds rates that no Runner returns. Those that are too old, or of a kind that isn't known, pass.
func (r *Runner) checkLearned() error {
	for i, l := range r.Learned {
		switch {
		case l.Site == "":
			return fmt.Errorf("delivery: Learned[%d].Site is empty: give what LearnedRates has returned", i)
		case !(l.PerHour >= 0): // NaN, too
			return fmt.Errorf("delivery: Learned[%d].PerHour is %v: it must not be negative", i, l.PerHour)
		case !(l.Level >= 0):
			return fmt.Errorf("delivery: Learned[%d].Level is %v: it must not be negative", i, l.Level)
		}
	}
	return nil
}

func (r *Runner) checkRetryAfter() error {
	for _, reason := range slices.Sorted(maps.Keys(r.RetryAfter)) {
		if reason == smtp.NoReason {
			return errors.New("delivery: RetryAfter has the key smtp.NoReason: use smtp.Other, as which it counts")
		}
		if !reason.Known() {
			return fmt.Errorf("delivery: RetryAfter has the key %v: there is no such Reason", reason)
		}
		if err := checkWaits(fmt.Sprintf("RetryAfter[%v]", reason), r.RetryAfter[reason]); err != nil {
			return err
		}
	}
	return nil
}
