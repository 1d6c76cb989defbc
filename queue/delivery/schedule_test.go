package delivery

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

func TestNextTry(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	own := []time.Duration{time.Minute, 10 * time.Minute}
	listed := map[smtp.Reason][]time.Duration{smtp.Blocklisted: {7 * time.Minute}}
	tests := []struct {
		name     string
		runner   *Runner
		why      smtp.Reason
		attempts int
		life     time.Duration // from arrival to deadline; zero: none
		left     time.Duration // of it
		jitter   float64
		want     time.Duration
	}{
		{"default first", &Runner{}, smtp.Other, 1, 0, 0, 0, 5 * time.Minute},
		{"default second", &Runner{}, smtp.Other, 2, 0, 0, 0, 15 * time.Minute},
		{"default third", &Runner{}, smtp.Other, 3, 0, 0, 0, 30 * time.Minute},
		{"default fourth", &Runner{}, smtp.Other, 4, 0, 0, 0, time.Hour},
		{"default fifth", &Runner{}, smtp.Other, 5, 0, 0, 0, 2 * time.Hour},
		{"default last repeats", &Runner{}, smtp.Network, 1000, 0, 0, 0, 2 * time.Hour},
		{"greylisted sooner", &Runner{}, smtp.Greylisted, 2, 0, 0, 0, 4 * time.Minute},
		{"throttled sooner", &Runner{}, smtp.RateLimited, 1, 0, 0, 0, time.Minute},
		{"blocked later", &Runner{}, smtp.Blocklisted, 1, 0, 0, 0, 30 * time.Minute},
		{"full, first", &Runner{}, smtp.MailboxFull, 1, 0, 0, 0, time.Hour},
		{"full, third", &Runner{}, smtp.MailboxFull, 3, 0, 0, 0, 4 * time.Hour},
		{"full, last repeats", &Runner{}, smtp.MailboxFull, 9, 0, 0, 0, 6 * time.Hour},
		{"own isn't for full", &Runner{Retry: own}, smtp.MailboxFull, 1, 0, 0, 0, time.Hour},
		{"own first", &Runner{Retry: own}, smtp.Network, 1, 0, 0, 0, time.Minute},
		{"own, and no reason", &Runner{Retry: own}, smtp.NoReason, 2, 0, 0, 0, 10 * time.Minute},
		{"own isn't for greylisted", &Runner{Retry: own}, smtp.Greylisted, 1, 0, 0, 0, 3 * time.Minute},
		{"own isn't for rate-limited", &Runner{Retry: own}, smtp.RateLimited, 9, 0, 0, 0, 2 * time.Hour},
		{"own isn't for blocklisted", &Runner{Retry: own}, smtp.Blocklisted, 1, 0, 0, 0, 30 * time.Minute},
		{"own last repeats", &Runner{Retry: own}, smtp.Other, 9, 0, 0, 0, 10 * time.Minute},
		{"own for a reason", &Runner{Retry: own, RetryAfter: listed}, smtp.Blocklisted, 2, 0, 0, 0, 7 * time.Minute},
		{"own for another reason", &Runner{Retry: own, RetryAfter: listed}, smtp.Greylisted, 3, 0, 0, 0, 5 * time.Minute},
		{"no attempt counted", &Runner{Retry: own}, smtp.Other, 0, 0, 0, 0, time.Minute},
		{"least jitter", &Runner{Retry: own}, smtp.Other, 2, 0, 0, -1, 9 * time.Minute},
		{"most jitter", &Runner{Retry: own}, smtp.Other, 2, 0, 0, 1, 11 * time.Minute},
		{"before the deadline", &Runner{Retry: own}, smtp.Other, 2, 5 * 24 * time.Hour, 11 * time.Minute, 0, 10 * time.Minute},
		{"after the deadline", &Runner{Retry: own}, smtp.Other, 2, 5 * 24 * time.Hour, 9 * time.Minute, 0, 9 * time.Minute},
		{"after the deadline by jitter", &Runner{Retry: own}, smtp.Other, 2, 5 * 24 * time.Hour, 10 * time.Minute, 0.5, 10 * time.Minute},
		{"little time", &Runner{}, smtp.Other, 2, 16 * time.Minute, 10 * time.Minute, 0, 2 * time.Minute},
		{"very little time", &Runner{}, smtp.Other, 2, 4 * time.Minute, 3 * time.Minute, 0, time.Minute},
		{"little time, own", &Runner{Retry: own}, smtp.Other, 2, 16 * time.Minute, 10 * time.Minute, 0, 2 * time.Minute},
		{"little time, own for a reason", &Runner{RetryAfter: listed}, smtp.Blocklisted, 1, 16 * time.Minute, 10 * time.Minute, 0, 2 * time.Minute},
		{"little time, own under a minute", &Runner{Retry: []time.Duration{time.Second}}, smtp.Other, 1, 4 * time.Minute, 3 * time.Minute, 0, time.Second},
		{"little time, blocklisted", &Runner{}, smtp.Blocklisted, 2, 16 * time.Minute, 10 * time.Minute, 0, 2 * time.Minute},
		{"five days", &Runner{}, smtp.Other, 7, 5 * 24 * time.Hour, 24 * time.Hour, 0, 2 * time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			task := queue.Task{Attempts: tt.attempts}
			if tt.life != 0 {
				task.Deadline = now.Add(tt.left)
				task.Arrival = task.Deadline.Add(-tt.life)
			}
			wait := tt.runner.wait(&task, tt.why, now)
			if got := nextTry(wait, now, task.Deadline, tt.jitter).Sub(now); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// TestDefaultRetry sets Retry to its own default: that changes nothing.
func TestDefaultRetry(t *testing.T) {
	now := time.Now()
	none, same := &Runner{}, &Runner{Retry: []time.Duration{5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour}}
	for why := smtp.NoReason; why <= smtp.UserUnknown+1; why++ {
		for _, life := range []time.Duration{0, 2 * time.Minute, 20 * time.Minute, 5 * time.Hour, 5 * 24 * time.Hour} {
			for attempts := range 12 {
				task := queue.Task{Attempts: attempts, Arrival: time.Unix(0, 0)}
				if life > 0 {
					task.Deadline = task.Arrival.Add(life)
				}
				if got, want := same.wait(&task, why, now), none.wait(&task, why, now); got != want {
					t.Errorf("%v, %v to live, %d attempts: got %v, want %v as without Retry", why, life, attempts, got, want)
				}
			}
		}
	}
}

func TestNextStep(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	past, future, recent := now.Add(-time.Hour), now.Add(time.Hour), now.Add(-time.Minute)
	tried := []smtp.Result{{}, {Reply: smtp.NewReply(451, "", "")}}
	tests := []struct {
		name    string
		task    queue.Task
		want    step
		blocked step // should its site be blocked
	}{
		{"due", queue.Task{Due: now}, stepAttempt, stepPostpone},
		{"due, all to come", queue.Task{Due: past, NoticeAt: future, Deadline: future, Last: tried}, stepAttempt, stepPostpone},
		{"due and notice", queue.Task{Due: past, NoticeAt: past, Last: tried}, stepAttempt, stepNotice},
		{"notice alone", queue.Task{Due: future, NoticeAt: now, Deadline: future, Last: tried}, stepNotice, stepNotice},
		{"deadline", queue.Task{Due: now.Add(-time.Minute), Deadline: now, Last: tried, Attempts: 2}, stepExpire, stepExpire},
		{"deadline before due", queue.Task{Due: future, Deadline: past, Last: tried}, stepExpire, stepExpire},
		{"deadline and notice", queue.Task{Due: future, NoticeAt: past, Deadline: past, Last: tried}, stepExpire, stepExpire},
		{"deadline, untried", queue.Task{Due: past, Deadline: recent, Attempts: 1}, stepAttempt, stepExpire},
		{"deadline long ago, untried", queue.Task{Due: past, Deadline: past, Attempts: 1}, stepAttempt, stepPostpone},
		{"deadline, a claim lost", queue.Task{Due: past, Deadline: recent, Attempts: 2, Last: make([]smtp.Result, 2)}, stepAttempt, stepExpire},
		{"deadline, many claims lost", queue.Task{Due: now, Deadline: past, Attempts: 4}, stepAttempt, stepPostpone},
		{"two deaths", queue.Task{Due: past, Deadline: future, Attempts: 3, Deaths: 2}, stepAttempt, stepPostpone},
		{"two deaths, deadline", queue.Task{Due: recent, Deadline: recent, Last: tried, Attempts: 3, Deaths: 2}, stepExpire, stepExpire},
		{"three deaths", queue.Task{Due: past, Deadline: past, Last: tried, Attempts: 4, Deaths: 3}, stepQuarantine, stepQuarantine},
		{"deadline, a try was missed", queue.Task{Due: past, Deadline: past, Last: tried, Attempts: 2}, stepAttempt, stepExpire},
		{"an alias", queue.Task{Destination: queue.ExpandedDestination, Due: past, NoticeAt: past, Deadline: past}, stepReport, stepReport},
		{"an alias, before NotBefore", queue.Task{Destination: queue.ExpandedDestination, NotBefore: future}, stepPostpone, stepPostpone},
		{"an alias, three deaths", queue.Task{Destination: queue.ExpandedDestination, Deaths: 3}, stepQuarantine, stepQuarantine},
		{"due by the clock of the queue", queue.Task{Due: future, NoticeAt: future, Deadline: future}, stepAttempt, stepPostpone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := nextStep(&tt.task, now, false); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if got := nextStep(&tt.task, now, true); got != tt.blocked {
				t.Errorf("blocked: got %v, want %v", got, tt.blocked)
			}
		})
	}
}

// TestRunnerRamp begins with more sites that take minutes than there are places at first: a host that is well doesn't wait for
// them.
func TestRunnerRamp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		for i := range 300 {
			enqueue(t, q, mail(fmt.Sprintf("to@slow%d.test", i%6)))
		}
		var at time.Time
		begun := time.Now()
		start(t, &Runner{Queue: q, Sender: senderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
			if env.Recipients[0].Address == "to@well.test" {
				at = time.Now()
				return answer(env, smtp.Delivered, 250)
			}
			return take(5*time.Minute)(ctx, env, c)
		})})
		sleep(time.Second / 2)
		enqueue(t, q, mail("to@well.test"))
		sleep(time.Minute)
		if took := at.Sub(begun); at.IsZero() || took > 2*time.Second {
			t.Errorf("got the mail for the host that is well sent after %v, want it within two seconds", took)
		}
	})
}
