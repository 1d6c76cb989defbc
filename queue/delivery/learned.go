package delivery

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/queue"
)

// LearnedRate is a rate that a site takes, as far as a Runner has learned it from refusals: see [SiteLimits]. Its JSON
// is stable, so that it can be kept over a restart.
type LearnedRate struct {
	Site string `json:"site"`

	// Of is what the site counts: "address", "network", "dkim-domain", "spf-domain" or "recipient". Name is the name of
	// that. If empty, Runner.SourceOf has no name for the address.
	Of   string `json:"of"`
	Name string `json:"name,omitempty"`

	// Owner is a hash of the name of the tenant, or of the sender of mail without a tenant, whose mail has the rate. If
	// zero, all mail has.
	Owner OwnerHash `json:"owner,omitempty"`

	// PerHour is how many messages an hour may be sent now, or after the pause. Level is the same as of the last
	// refusal: PerHour begins a little below and grows. In the first pause, the rate of the site isn't known: First is
	// true, PerHour is zero, and Level is the rate that was refused.
	PerHour float64 `json:"perHour"`
	Level   float64 `json:"level"`
	First   bool    `json:"first,omitempty"`

	// Steady is how often in a row Level was right, 7 at most. Each time doubles the time until PerHour exceeds it.
	Steady int `json:"steady,omitempty"`

	// AtOnce is how many messages may be sent at a time. If zero, there is no bound.
	AtOnce int `json:"atOnce,omitempty"`

	// Paused is the begin of the pause after a refusal, which lasts until a message is accepted, and Until the end of
	// the time without messages. If both are zero, there is no pause. A record of an older version has no Paused.
	Paused time.Time `json:"paused,omitzero"`
	Until  time.Time `json:"until,omitzero"`

	// Pauses is after how many pauses in a row the first message was refused, 20 at most.
	Pauses int `json:"pauses,omitempty"`

	// Accepted is how many messages the site has accepted since Since: since the pause before, or in the last hour
	// before the first refusal. The next level is made from it. Times without messages are left out: Since is later by
	// them. If Since is zero, that isn't known.
	Accepted int       `json:"accepted,omitempty"`
	Since    time.Time `json:"since,omitzero"`

	// Used is when a message was last sent, or refused.
	Used time.Time `json:"used"`
}

// OwnerHash is the hash of an owner's name. In JSON, it is a string of decimal digits: as a number, it would lose
// digits in many programs. A number is read, too.
type OwnerHash uint64

// MarshalText implements [encoding.TextMarshaler].
func (h OwnerHash) MarshalText() ([]byte, error) { return strconv.AppendUint(nil, uint64(h), 10), nil }

// UnmarshalJSON implements [json.Unmarshaler]. It returns an error unless b is a number of 64 bits without a sign, as a
// string or not.
func (h *OwnerHash) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	n, err := strconv.ParseUint(strings.Trim(string(b), `"`), 10, 64)
	if err != nil {
		return fmt.Errorf("delivery: the owner of a learned rate: %w", err)
	}
	*h = OwnerHash(n)
	return nil
}

// LearnedRates returns the rates that were learned and are remembered, sorted by Site, Of, Name and Owner. It returns
// those of the last Run if Run isn't running, and Learned before the first one. Give them to the Learned of a Runner,
// at the next start for example. Save them when Run has returned and, in case of a crash, every few minutes.
func (r *Runner) LearnedRates() []LearnedRate {
	r.mu.Lock()
	defer r.mu.Unlock()
	rates := r.remembered()
	now := r.time()
	r.withMachine(func(m *machine) {
		m.at(now)
		rates = m.learnedRates(now)
	})
	return slices.Clone(rates)
}

// remembered returns the rates of the last Run, or Learned before the first one. mu is held.
func (r *Runner) remembered() []LearnedRate {
	if r.learned == nil {
		return r.Learned
	}
	return r.learned
}

// learnedRates returns all of them.
func (m *machine) learnedRates(now time.Time) (all []LearnedRate) {
	for site, l := range m.learnt.sites {
		all = append(all, m.ratesOf(site, l, now)...)
	}
	slices.SortFunc(all, compareLearned)
	return all
}

func compareLearned(a, b LearnedRate) int {
	return cmp.Or(cmp.Compare(a.Site, b.Site), cmp.Compare(a.Of, b.Of), cmp.Compare(a.Name, b.Name),
		cmp.Compare(a.Owner, b.Owner))
}

// ratesOf returns those of a site, sorted. l may be nil.
func (m *machine) ratesOf(site string, l *learnt, now time.Time) (rates []LearnedRate) {
	if l == nil {
		return nil
	}
	m.learnt.each(l, func(o *meter) {
		rates = append(rates, m.rateOf(site, o, now))
	})
	slices.SortFunc(rates, compareLearned)
	return rates
}

func (m *machine) rateOf(site string, o *meter, now time.Time) LearnedRate {
	at := func(mono int64) time.Time { return now.Add(time.Duration(mono - m.mono)).Round(0) }
	since := int64(o.since) * int64(time.Second)
	r := LearnedRate{
		Site: site, Of: meterKindNames[o.kind], Name: m.names.list[o.name], Owner: OwnerHash(o.owner),
		PerHour: o.rate(m.mono) * 3600, Level: float64(o.level) * 3600, First: o.fresh, Steady: int(o.steady),
		AtOnce: int(o.window), Pauses: int(o.fails), Accepted: int(o.n),
		Since: at(int64(o.opened) * int64(time.Second)), Used: at(min(max(since, o.tat), m.mono)),
	}
	if o.fresh {
		r.PerHour = 0
	}
	if o.closed {
		r.Paused, r.Until = at(since), at(max(o.tat, m.mono))
	}
	return r
}

// ratesFor returns those that count a task at s.
func (m *machine) ratesFor(task *queue.Task, s *site, now time.Time) (rates []LearnedRate) {
	for _, o := range m.metersOf(s, task) {
		rates = append(rates, m.rateOf(s.name, o, now))
	}
	return rates
}

// recall takes in rates that were learned before. Those that can't be are ignored.
func (m *machine) recall(rates []LearnedRate, now time.Time) {
	m.at(now)
	for _, r := range rates {
		m.recallOne(r, now)
	}
}

// recallOne takes in one rate, whose times are those of the clock that now is of.
func (m *machine) recallOne(r LearnedRate, now time.Time) {
	kind := slices.Index(meterKindNames[:], r.Of)
	level := r.Level / 3600
	if kind <= 0 || m.meters >= maxMeters || !(level > 0 && level <= math.MaxFloat32) || now.Sub(r.Used) > meterMemory {
		return
	}
	k := meterKey{name: m.names.id(r.Name), owner: uint64(r.Owner), kind: meterKind(kind)}
	if l := m.learnt.sites[r.Site]; l != nil && (m.learnt.find(l, k) != nil || len(m.learnt.more[l]) >= maxSiteMeters) {
		return
	}
	o := meter{
		owner: k.owner, name: k.name, kind: k.kind,
		level: float32(level), tat: m.mono, opened: toSeconds(m.mono), since: toSeconds(m.mono),
		window: uint16(min(max(r.AtOnce, 0), maxRecovery)), steady: uint8(min(max(r.Steady, 0), mostSteady)),
	}
	left := min(r.Until.Sub(now), mostPause)
	used := r.Used
	if left > 0 || !r.Paused.IsZero() {
		o.closed, o.tat, o.window = true, m.mono+max(int64(left), 0), max(o.window, 1)
		used = r.Until
	}
	if !r.Since.IsZero() {
		if now.Before(used) {
			used = now
		}
		o.n = uint32(min(max(r.Accepted, 0), math.MaxInt32))
		o.opened -= secondsBetween(r.Since, used) // what was idle doesn't count
		o.since = o.opened
	}
	if !r.Paused.IsZero() {
		o.since = toSeconds(m.mono) - secondsBetween(r.Paused, now)
		o.fresh, o.fails = r.First, uint8(min(max(r.Pauses, 0), mostFails))
	}
	m.putMeter(r.Site, o)
}

// secondsBetween returns how much later to is, up to a month. It returns 0 if it is earlier.
func secondsBetween(from, to time.Time) int32 {
	return int32(min(max(to.Sub(from), 0), month) / time.Second)
}

// times returns the times of r that are set.
func (r *LearnedRate) times() (all []*time.Time) {
	for _, t := range []*time.Time{&r.Paused, &r.Until, &r.Since, &r.Used} {
		if !t.IsZero() {
			all = append(all, t)
		}
	}
	return all
}

// explainRate returns what a task waits for at a meter of its site, and until when. It returns "" if there is nothing.
func (m *machine) explainRate(task *queue.Task, s *site, now time.Time) (why string, until time.Time) {
	var binding *meter
	at := m.mono
	for _, o := range m.metersOf(s, task) {
		if free := o.at(m.mono); free > at || m.gates[o] != nil && !m.gates[o].isEmpty() && binding == nil {
			at, binding = free, o
		}
	}
	if binding == nil {
		return "", time.Time{}
	}
	r := m.rateOf(s.name, binding, now)
	why = r.why(at == never)
	if r.Owner != 0 {
		why += " This counts for the mail of this sender or tenant only."
	}
	if at == never {
		return why, time.Time{}
	}
	// Owners take turns, and so do lanes.
	if t := m.targets[laneOf(task)]; t != nil && t.waits && t.gate == binding {
		at = max(at, m.mono) + int64(m.gates[binding].before(t))*binding.every(m.mono)
	}
	return why, now.Add(time.Duration(max(at-m.mono, 0)))
}

// why describes the rate as the cause of a wait. full is true if as many messages as AtOnce are being sent.
func (r *LearnedRate) why(full bool) (why string) {
	refused := r.Site + " has refused mail " + r.subject() + " because of the rate."
	switch {
	case full:
		why = fmt.Sprintf("%s It now gets no more at a time than %d.", refused, r.AtOnce)
	case !r.Until.IsZero():
		why = refused + " Nothing is sent until " + r.Until.Format("2006-01-02 15:04:05 MST") + "."
	case r.PerHour < 100:
		why = fmt.Sprintf("%s takes about %.2g messages an hour %s.", r.Site, r.PerHour, r.subject())
	default:
		why = fmt.Sprintf("%s takes about %.0f messages an hour %s.", r.Site, r.PerHour, r.subject())
	}
	return why
}

// String returns a sentence about the rate, and one about the Owner if there is one. Explanation.Why is alike.
func (r LearnedRate) String() string {
	why := r.why(false)
	if r.Owner != 0 {
		why += fmt.Sprintf(" This counts for the mail of one sender or tenant only, of Owner %d.", r.Owner)
	}
	return why
}

// subject describes the mail that has the rate.
func (r *LearnedRate) subject() string {
	subject := map[string]string{
		"address": "from our address", "network": "from our network", "dkim-domain": "with the DKIM domain",
		"spf-domain": "with the SPF domain", "recipient": "to the recipient",
	}[r.Of]
	if r.Name != "" {
		subject += " " + r.Name
	}
	return subject
}
