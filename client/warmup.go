package client

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
)

// WarmUp is the plan for a new Source: how many messages it sends a day to each provider. Receivers distrust an address
// that sends much at once, and trust it more each day.
//
// A message counts if a host has taken it, or may have taken it: the outcome is smtp.Unknown. Each attempt with such an
// outcome counts: the receiver has seen the whole message from this address each time, and may have taken it each time.
// So hosts that never reply to the final dot can use up the messages of a day. A provider is as in [replies.Provider].
// The hosts of no known provider count together.
//
// A message for which no source has room is Deferred, with the Reason smtp.NoSource. Its Result.NotBefore is the
// beginning of the next day for which a plan has messages, or the end of a block of another source if that is earlier.
// While another source has a fault, or WarmCounts has an error, NotBefore is zero. In a Relay, the message waits:
//
//   - It is tried again at NotBefore, and its attempt isn't counted. If NotBefore is zero, it is tried again after 5,
//     15, then 30 minutes: see delivery.Runner.RetryAfter. It may be tried once more after a restart.
//   - Its wait counts for Relay.DelayNotice, 4 hours if zero: then its sender is told.
//   - Its wait counts for Relay.MaxAge, 5 days if zero: then it is returned.
//
// So send no more mail on a day than its plan has, or let other Sources take the rest.
type WarmUp struct {
	// Start is the beginning of the first day. It must be set. A day has 24 hours. Before it, nothing is sent.
	Start time.Time

	// Days are the most messages on each day: Days[0] on the first one. After the last day, there is no bound. [Grow]
	// makes such a list.
	Days []int

	// Providers replaces Days for some providers, by name: "google". [replies.Providers] lists the names. The name
	// "" is for hosts of no known provider.
	Providers map[string][]int

	// Wait defers messages that prefer this source, see Transport.Source, when those of the day are sent. If false,
	// such a message goes by the next one of Sources that has room, and is deferred if there is none.
	Wait bool
}

// Grow returns a list for WarmUp.Days: first messages on the first day, and each day more by factor. It ends before
// there would be more than most. Without growth, it is nil.
//
//	client.Grow(50, 1.5, 200) // 50, 75, 112, 168
func Grow(first int, factor float64, most int) (days []int) {
	if first <= 0 || !(factor > 1) {
		return nil
	}
	for n := float64(first); n <= float64(most) && len(days) < maxDays; n *= factor {
		days = append(days, int(n))
	}
	return days
}

// maxDays bounds a plan.
const maxDays = 3650

func (w *WarmUp) check(addrs []netip.Addr) error {
	if w == nil {
		return nil
	}
	if w.Start.IsZero() {
		return fmt.Errorf("client: Source.WarmUp.Start of %v is zero: set it to the beginning of the first day", addrs)
	}
	negative := func(n int) bool { return n < 0 }
	bad := slices.ContainsFunc(w.Days, negative) || len(w.Days) > maxDays
	for name, days := range w.Providers {
		if known := replies.Providers(); name != "" && !slices.Contains(known, name) {
			return fmt.Errorf("client: Source.WarmUp.Providers of %v has %.80q: there are %s", addrs, name,
				strings.Join(known, ", "))
		}
		bad = bad || slices.ContainsFunc(days, negative) || len(days) > maxDays
	}
	if bad {
		return fmt.Errorf("client: Source.WarmUp of %v: a plan has a negative number, or more than %d days: set each"+
			" day to its messages", addrs, maxDays)
	}
	return nil
}

// plan returns the day and its most messages to a provider.
func (w *WarmUp) plan(provider string, now time.Time) (day, most int) {
	days, ok := w.Providers[provider]
	if !ok {
		days = w.Days
	}
	since := now.Sub(w.Start)
	switch day = int(since / (24 * time.Hour)); {
	case since < 0:
		return 0, 0
	case day >= len(days):
		return day, math.MaxInt
	}
	return day, days[day]
}

// next returns the beginning of the first day after now that has messages to a provider.
func (w *WarmUp) next(provider string, now time.Time) time.Time {
	if now.Before(w.Start) {
		now = w.Start.Add(-24 * time.Hour)
	}
	for range maxDays {
		day, _ := w.plan(provider, now)
		if now.Before(w.Start) {
			day = -1
		}
		now = w.Start.Add(time.Duration(day+1) * 24 * time.Hour)
		if _, most := w.plan(provider, now); most > 0 {
			break
		}
	}
	return now
}

// reply is for a message that has to wait.
func (w *WarmUp) reply(s *Source, provider string) *smtp.Reply {
	day, most := w.plan(provider, time.Now())
	// RFC 3463 §3.4: X.3.2, the system isn't accepting messages: by our own decision.
	return smtp.NewReply(451, "4.3.2", fmt.Sprintf(
		"the warm-up of source %s has sent the messages of day %d, at most %d, to %s",
		s.name(), day+1, most, cmp.Or(provider, "hosts of no known provider")))
}

// WarmCounts counts the messages of sources. It is called concurrently, for each message.
type WarmCounts interface {
	// Add adds n, which may be zero or negative, to the messages of a source to a provider on a day of its WarmUp, and
	// returns the sum. source is the first of Source.Addrs. The first day is 0. Earlier days of the same source and
	// provider may be forgotten. After an error the message waits.
	Add(source, provider string, day, n int) (sum int, err error)
}

// memoryCounts are WarmCounts in memory.
type memoryCounts struct {
	mu    sync.Mutex
	count map[[2]string]dayCount // by source and provider
}

type dayCount struct{ day, n int }

func (m *memoryCounts) Add(source, provider string, day, n int) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := [2]string{source, provider}
	c := m.count[key]
	if day < c.day {
		return 0, nil // a message of yesterday
	}
	if day > c.day {
		c = dayCount{day: day}
	}
	c.n += n
	if m.count == nil {
		m.count = make(map[[2]string]dayCount)
	}
	m.count[key] = c // as many as there are sources × providers
	return c.n, nil
}

// warm reports whether a source has room for a message to the current host.
func (d *delivery) warm(s *Source) bool {
	if s.WarmUp == nil {
		return true
	}
	if slices.Contains(d.spent, s) {
		return false
	}
	day, most := s.WarmUp.plan(d.provider, time.Now())
	return most == math.MaxInt || d.count(s, day, 0) < most
}

// reserve counts a message that is about to be sent from s, which may be nil. undo takes that back. If there is no room
// for the message, ok is false, and nothing is counted.
func (d *delivery) reserve(s *Source) (undo func(), ok bool) {
	nothing := func() {}
	if s == nil || s.WarmUp == nil {
		return nothing, true
	}
	day, most := s.WarmUp.plan(d.provider, time.Now())
	if most == math.MaxInt {
		return nothing, true
	}
	undo = func() { d.count(s, day, -1) }
	switch sum := d.count(s, day, 1); {
	case sum == math.MaxInt:
		return nothing, false
	case sum > most:
		undo()
		return nothing, false
	}
	return undo, true
}

// count adds n to the messages of a source on a day, and returns the sum. If they can't be counted, the sum is
// math.MaxInt, so that nothing has room.
func (d *delivery) count(s *Source, day, n int) (sum int) {
	if len(s.Addrs) == 0 {
		return 0
	}
	counts := d.t.WarmCounts
	if counts == nil {
		counts = &d.t.counted
	}
	var err error
	p := guard.Call(func() { sum, err = counts.Add(s.Addrs[0].Unmap().String(), d.provider, day, n) })
	switch {
	case p != nil:
		d.uncounted = true
		p.Log(context.Background(), d.t.logger(), "WarmCounts")
		return math.MaxInt
	case err != nil:
		d.uncounted = true
		d.t.logger().Error("the messages of a warm-up can't be counted", "source", s.Addrs[0], "err", err)
		return math.MaxInt
	}
	return sum
}

// taken reports whether a host has taken the message, or may have.
func (m *message) taken() bool {
	return slices.ContainsFunc(m.rcpts, func(i int) bool {
		r := &m.results[i]
		return r.Reply != nil && (r.Outcome == smtp.Delivered || r.Outcome == smtp.Unknown)
	})
}
