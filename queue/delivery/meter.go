package delivery

import (
	"cmp"
	"math"
	"time"
)

// Recovery is how the messages to a site begin again after the site has refused one for its rate: with nothing, then
// with few at a time, then with more. [SiteLimits] describes the rates that are learned.
type Recovery struct {
	// Pause is the time without messages after a refusal. After ten refusals, it is at least 10 minutes. At a low rate,
	// it is the time of two messages, up to three times Pause: at 10 messages an hour, 12 minutes. If the first message
	// after a pause is refused, the next pause is a quarter longer, up to 1 hour or to Pause if that is more. If zero,
	// 5 minutes. If negative, no rates are learned: such refusals count as failures of the site or the sender.
	Pause time.Duration

	// Start is how many messages are sent at a time after Pause, up to 1,000. If zero, 1.
	Start int

	// Step is how many more are sent at a time, up to 1,000, each time that as many as now were accepted: after 1
	// message 2 at a time, after 2 further ones 3. If zero, 1. The bound ends when it reaches the site's Concurrency.
	Step int
}

func (r *Recovery) pause() time.Duration { return cmp.Or(r.Pause, defaultPause) }

const (
	defaultPause   = 5 * time.Minute
	mostPause      = time.Hour
	manyRefusals   = 10 // of a site, after which nothing is sent for longPause
	longPause      = 10 * time.Minute
	maxRecovery    = 1000
	probeTime      = 30 * time.Minute // from the opening to the level, at first
	mostSteady     = 7                // so often it doubles at most: 64 hours
	longProbe      = 4 * time.Hour    // so long it gets by levels that are right,
	longProbes     = 250              // or as long as so many messages take
	meterIdle      = time.Minute      // a longer time without a message doesn't count
	meterMemory    = 24 * time.Hour
	growthOfPauses = 1.25
	firstPauses    = 3  // so long a pause is at first, at a low rate: times Recovery.Pause
	firstLevel     = 10 // messages a second are the first rate that was too high, unless a site was sent more
	mostFails      = 20 // pauses in a row are counted
	month          = 30 * 24 * time.Hour
	few            = 10   // messages: their average rate shows nothing
	often          = 3    // refusals of a message, after which one may be about the message: see spare
	lower          = 0.8  // times the level is the next one, after so few
	wrong          = 1.25 // a level at which a site takes that many times as much is wrong
	lifted         = 1.5  // of a level that a site takes that many times as much as, its limit may be gone
	right          = 1.05 // and one beyond which it takes no more than that many times as much is right
)

// meter is a rate that was learned from what one party of those that a site counts was refused: see meterKey. It is
// closed from a refusal to the next message that is accepted, and open otherwise.
//
//   - While it is closed, nothing may go before tat, and then window messages at a time.
//   - While it is open, the rate begins at 95 % of level, is level after the probe time and then grows faster and
//     faster: with the third power of time, as windows do in CUBIC (RFC 9438). The probe time doubles each time that a
//     refusal comes after it, up to longProbe, so that a level that is right is seldom exceeded. A site that changes
//     its limit daily is still followed: the rate has doubled after four probe times. From one and a half times the
//     level on, it grows as with the first probe time: the limit may have ended. Where longProbes messages take
//     longer than that, the probe time doubles until they don't, so that less than 1 % are refused by probes. And it
//     doubles until it is as long as the site was seen to refuse all, as at the end of its hour, or its day.
//   - When it closes, level is the rate at that time: the site takes less. When it opens again, the site is known to
//     take at least what it took from one opening to the next. The new level is between these two. What a few messages
//     took is chance: then the level is only lowered.
//
// Times without messages don't count, so that a rate doesn't grow, or shrink, by not being used: a message that is
// refused several times, hours apart, with no other between, doesn't say that the site takes one in hours. It is a
// plain value of the machine's goroutine, of 48 octets: there may be one for each of thousands of sites.
type meter struct {
	owner  uint64 // see meterKey
	tat    int64  // the theoretical arrival time of the next message, on the machine's clock
	name   uint32
	level  float32 // messages a second
	n      uint32  // accepted since opened
	opened int32   // when it last opened, in seconds on the machine's clock
	since  int32   // when it last opened, or a pause began
	held   int32   // messages in flight
	window uint16  // so many may be; 0: no bound
	kind   meterKind
	steady uint8 // how often the probe time has doubled
	fails  uint8 // pauses after which the first message was refused
	known  bool  // a host of the site has refused; see machine.learnOf
	closed bool
	fresh  bool // it has never been open: n and opened are those of the site, before the first refusal
}

func (m *meter) key() meterKey { return meterKey{m.owner, m.name, m.kind} }

// isGone reports whether m was forgotten. Lanes and flights may still refer to it.
func (m *meter) isGone() bool { return m.kind == noMeter }

// newMeter returns one that closes now. The site has taken what lately says, and last took seen messages a second.
func newMeter(k meterKey, r Recovery, seen float64, lately tally, now int64) meter {
	m := meter{
		owner: k.owner, name: k.name, kind: k.kind,
		level: float32(max(seen, firstLevel)), n: uint32(lately.n), since: toSeconds(now), fresh: true,
	}
	m.opened = m.since - lately.until(m.since)
	m.close(r, now)
	return m
}

// tally counts the messages that a site takes. As in a meter, times without messages don't count. Of more than an hour,
// or of more than it can count, half is forgotten, so that it is about the last hour.
type tally struct {
	n       uint16
	seconds uint16 // in which it took them
	last    int32  // when it took the last one, in seconds on the machine's clock
}

const tallyTime = int32(time.Hour / time.Second)

// until returns in how many seconds the site took n, up to now.
func (t *tally) until(now int32) int32 {
	if t.n == 0 {
		return 0
	}
	return int32(t.seconds) + min(now-t.last, int32(meterIdle/time.Second))
}

func (t *tally) add(now int32) {
	seconds := t.until(now)
	if seconds > tallyTime || t.n == math.MaxUint16 {
		t.n, seconds = t.n/2, seconds/2
	}
	t.n, t.seconds, t.last = t.n+1, uint16(seconds), now
}

func toSeconds(ns int64) int32 { return int32(min(ns/int64(time.Second), math.MaxInt32)) }

// rate returns the messages a second that may be sent now.
func (m *meter) rate(now int64) float64 {
	level := float64(m.level)
	if m.closed {
		return level
	}
	probe := m.probe().Seconds()
	// x is -0.37 at first, of which the third power is -0.05.
	x := (float64(toSeconds(now)-m.since) - probe) * 0.37 / probe
	return level * (1 + x*x*x)
}

// probe is the time from the opening to the level.
func (m *meter) probe() time.Duration { return probeTime << m.steady }

func (m *meter) every(now int64) int64 {
	return int64(min(max(float64(time.Second)/m.rate(now), 1), float64(maxEvery)))
}

// at returns when the next message may go. It is never if that depends on those in flight.
func (m *meter) at(now int64) int64 {
	switch {
	case m.window > 0 && m.held >= int32(m.window):
		return never
	case m.closed:
		return m.tat
	}
	return m.tat - max(slack, m.every(now)) // one more may go with the first
}

// room returns how many messages may go now.
func (m *meter) room(now int64) int {
	if m.at(now) > now {
		return 0
	}
	n := maxRecovery
	if !m.closed {
		every := m.every(now)
		n = int(min(1+(now+max(slack, every)-m.tat)/every, maxRecovery))
	}
	if m.window > 0 {
		n = min(n, int(m.window)-int(m.held))
	}
	return n
}

// take counts a message that goes.
func (m *meter) take(now int64) {
	if idle := now - m.tat; idle > int64(meterIdle) {
		switch {
		case !m.closed:
			m.opened += toSeconds(idle)
			m.since += toSeconds(idle)
		case m.held == 0: // since still says which messages are late
			m.opened += toSeconds(idle)
		}
	}
	m.tat = max(m.tat, now) + m.every(now)
	m.held++
}

// accept notes that a message was accepted which began at that time. most is the site's Concurrency.
func (m *meter) accept(r Recovery, most int, began, now int64) {
	if m.closed && !m.late(began) {
		m.open(r, now)
	}
	if m.n++; !m.closed && m.steady > 0 && m.rate(now) > float64(m.level)*lifted {
		m.hasten(now)
	}
	if m.window == 0 || m.closed || m.n < grownAt(r, m.window) {
		return
	}
	if m.window += uint16(max(r.Step, 1)); int(m.window) >= most {
		m.window = 0
	}
}

// grownAt returns after how many messages since the opening a window grows: each has taken as many as it is.
func grownAt(r Recovery, window uint16) uint32 {
	start, step, last := uint32(max(r.Start, 1)), uint32(max(r.Step, 1)), uint32(window)
	if last <= start {
		return last
	}
	windows := (last-start)/step + 1
	return windows * (start + last) / 2
}

// open ends closed.
func (m *meter) open(r Recovery, now int64) {
	high := float64(m.level)
	low := min(m.taken(now), high)
	out := max(toSeconds(now)-m.since, 1)
	least := 1 / float64(out) // it has taken one after that time
	switch {
	case m.n < few && m.fresh: // the level is a guess
		m.level /= 2
	case m.n < few: // the average of so few says nothing
		m.level = float32(max(lower*high, least))
	case m.fresh && m.fails == 0: // the rate was too high, by far perhaps
		m.level = float32(low)
	case m.fails > 0: // the site counts for a time that is longer than the pause: that was all of it
		m.level = float32(low)
		m.steadier(mostSteady, time.Duration(out)*time.Second)
		m.steadier(1, m.longProbe()) // its time has begun before out
	default:
		m.level = float32(max(math.Sqrt(low*high), least))
	}
	m.closed, m.fresh, m.fails, m.n = false, false, 0, 0
	m.opened, m.since = toSeconds(now), toSeconds(now)
	m.tat = now + m.every(now)
}

// hasten sets the probe time to the first one. The rate stays as it is, and grows faster.
func (m *meter) hasten(now int64) {
	m.since = toSeconds(now) - (toSeconds(now)-m.since)>>m.steady
	m.steady = 0
}

// steadier doubles the probe time up to so many times, until it is as long as enough.
func (m *meter) steadier(times uint8, enough time.Duration) {
	for ; times > 0 && m.steady < mostSteady && m.probe() < enough; times-- {
		m.steady++
	}
}

// longProbe is how long the probe time gets by levels that are right.
func (m *meter) longProbe() time.Duration {
	return max(longProbe, m.in(longProbes))
}

// in returns how long n messages take at the level, a month at most.
func (m *meter) in(n float64) time.Duration {
	return time.Duration(min(n/float64(m.level), month.Seconds()) * float64(time.Second))
}

// taken is how many messages a second were accepted since it last opened.
func (m *meter) taken(now int64) float64 {
	return float64(m.n) / float64(max(toSeconds(now)-m.opened, 1))
}

// refuse notes that a message was refused which began at that time. A message that was on its way when the meter closed
// says nothing about the rate after that, but the pause begins again.
func (m *meter) refuse(r Recovery, began, now int64) {
	switch {
	case m.closed && m.late(began):
		m.since = toSeconds(now)
		m.tat = max(m.tat, now+int64(m.pause(r)))
	case m.closed:
		m.fails = min(m.fails+1, mostFails)
		m.close(r, now)
	default:
		rate, level := m.rate(now), float64(m.level)
		if m.n > 0 { // else it was just learned, or by an older version. With few at a time, the rate isn't used up.
			rate = min(rate, 2*m.taken(now))
		}
		open := time.Duration(toSeconds(now)-m.since) * time.Second
		switch probe := m.probe(); {
		case open < probe/4, rate > level*wrong:
			m.steady = 0
		case rate < level*right:
			m.steadier(2, m.longProbe())
		case open > probe:
			m.steadier(1, m.longProbe())
		}
		m.level = float32(rate)
		m.since = toSeconds(now)
		m.close(r, now)
	}
}

// spare reports whether a refusal says nothing about the rate: the message was refused so many times before, and others
// are accepted. A host may call any message one too many, for its content for example. If it was refused 3 times
// before, 10 others must have been accepted since the opening or the last refusal that was spared. If 10 times, 3.
func (m *meter) spare(before uint32, now int64) bool {
	if m.closed || before < often || uint64(m.n)*uint64(before) < few*often {
		return false
	}
	m.n, m.opened = 0, toSeconds(now) // so that few messages are spared
	return true
}

// late reports whether a message that began at that time was on its way when m closed.
func (m *meter) late(began int64) bool { return toSeconds(began) <= m.since }

// close begins a pause.
func (m *meter) close(r Recovery, now int64) {
	m.closed = true
	m.window = uint16(max(r.Start, 1))
	m.tat = now + int64(m.pause(r))
}

func (m *meter) pause(r Recovery) time.Duration {
	// A site that takes one message in seven minutes would refuse the next one after five.
	pause := max(r.pause(), min(m.in(2), firstPauses*r.pause(), mostPause))
	if m.fails > 0 {
		longer := float64(pause) * math.Pow(growthOfPauses, float64(m.fails))
		pause = max(pause, min(time.Duration(longer), mostPause))
	}
	return pause
}
