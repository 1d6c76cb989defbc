package queue

import (
	"testing"
	"time"

	"github.com/postrider/postrider/smtp"
)

func TestNextTry(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	short := []time.Duration{time.Minute, 10 * time.Minute}
	tests := []struct {
		name     string
		retry    []time.Duration
		attempts int
		deadline time.Duration // from now; zero: none
		jitter   float64
		want     time.Duration
	}{
		{"default first", nil, 1, 0, 0, 5 * time.Minute},
		{"default second", nil, 2, 0, 0, 15 * time.Minute},
		{"default third", nil, 3, 0, 0, 30 * time.Minute},
		{"default fourth", nil, 4, 0, 0, time.Hour},
		{"default fifth", nil, 5, 0, 0, 2 * time.Hour},
		{"default last repeats", nil, 1000, 0, 0, 2 * time.Hour},
		{"own first", short, 1, 0, 0, time.Minute},
		{"own last repeats", short, 9, 0, 0, 10 * time.Minute},
		{"no attempt counted", short, 0, 0, 0, time.Minute},
		{"least jitter", short, 2, 0, -1, 9 * time.Minute},
		{"most jitter", short, 2, 0, 1, 11 * time.Minute},
		{"before the deadline", short, 2, 11 * time.Minute, 0, 10 * time.Minute},
		{"after the deadline", short, 2, 9 * time.Minute, 0, 9 * time.Minute},
		{"after the deadline by jitter", short, 2, 10 * time.Minute, 0.5, 10 * time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var deadline time.Time
			if tt.deadline != 0 {
				deadline = now.Add(tt.deadline)
			}
			if got := nextTry(tt.retry, tt.attempts, now, deadline, tt.jitter).Sub(now); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestNextStep(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	past, future := now.Add(-time.Hour), now.Add(time.Hour)
	tried := []smtp.Result{{}, {Reply: &smtp.Reply{Code: 451}}}
	tests := []struct {
		name string
		task Task
		want step
	}{
		{"due", Task{Due: now}, stepAttempt},
		{"due, all to come", Task{Due: past, NoticeAt: future, Deadline: future, Last: tried}, stepAttempt},
		{"due and notice", Task{Due: past, NoticeAt: past, Last: tried}, stepAttempt},
		{"notice alone", Task{Due: future, NoticeAt: now, Deadline: future, Last: tried}, stepNotice},
		{"deadline", Task{Due: now.Add(-time.Minute), Deadline: now, Last: tried, Attempts: 2}, stepExpire},
		{"deadline before due", Task{Due: future, Deadline: past, Last: tried}, stepExpire},
		{"deadline and notice", Task{Due: future, NoticeAt: past, Deadline: past, Last: tried}, stepExpire},
		{"deadline, untried", Task{Due: past, Deadline: past, Attempts: 1}, stepAttempt},
		{"deadline, a claim lost", Task{Due: past, Deadline: past, Attempts: 2, Last: make([]smtp.Result, 2)}, stepAttempt},
		{"deadline, many claims lost", Task{Due: now, Deadline: past, Attempts: 4}, stepExpire},
		{"deadline, a try was missed", Task{Due: past, Deadline: past, Last: tried, Attempts: 2}, stepAttempt},
		{"due by the clock of the queue", Task{Due: future, NoticeAt: future, Deadline: future}, stepAttempt},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := nextStep(&tt.task, now); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
