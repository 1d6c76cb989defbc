package delivery

import (
	"cmp"
	"fmt"
	"math"
	"slices"
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
	Owner uint64 `json:"owner,omitempty"`

	// PerHour is how many messages an hour may be sent now. Level is the same as of the last refusal: PerHour begins a
	// little below and grows.
	PerHour float64 `json:"perHour"`
	Level   float64 `json:"level"`

	// Steady is how often in a row Level was right, 7 at most. Each time doubles the time until PerHour exceeds it.
	Steady int `json:"steady,omitempty"`

	// AtOnce is how many messages may be sent at a time. If zero, there is no bound.
	AtOnce int `json:"atOnce,omitempty"`

	// Until is the end of the time without messages after a refusal. If zero, there is none.
	Until time.Time `json:"until,omitzero"`

	// Used is when a message was last sent, or refused.
	Used time.Time `json:"used"`
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
	for site, l := range m.learnt {
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
	l.all(func(o *meter) {
		rates = append(rates, m.rateOf(site, o, now))
	})
	slices.SortFunc(rates, compareLearned)
	return rates
}

func (m *machine) rateOf(site string, o *meter, now time.Time) LearnedRate {
	r := LearnedRate{
		Site: site, Of: meterKindNames[o.key.kind], Name: m.names.list[o.key.name], Owner: o.key.owner,
		PerHour: o.rate(m.mono) * 3600, Level: float64(o.level) * 3600, Steady: int(o.steady), AtOnce: int(o.window),
		Used: now.Add(time.Duration(min(max(int64(o.since)*int64(time.Second), o.tat), m.mono) - m.mono)).Round(0),
	}
	if o.closed {
		r.Until = now.Add(time.Duration(max(o.tat-m.mono, 0))).Round(0)
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
	k := meterKey{name: m.names.id(r.Name), owner: r.Owner, kind: meterKind(kind)}
	if l := m.learnt[r.Site]; l != nil && (l.find(k) != nil || len(l.more) >= maxSiteMeters) {
		return
	}
	o := meter{
		key: k, level: float32(level), tat: m.mono, opened: toSeconds(m.mono), since: toSeconds(m.mono),
		window: uint16(min(max(r.AtOnce, 0), maxRecovery)), steady: uint8(min(max(r.Steady, 0), mostSteady)),
	}
	if left := min(r.Until.Sub(now), mostPause); left > 0 {
		o.closed, o.tat, o.window = true, m.mono+int64(left), max(o.window, 1)
	}
	m.putMeter(r.Site, o)
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
		why = refused + " Nothing is sent until " + r.Until.Format("15:04:05 MST") + "."
	case r.PerHour < 100:
		why = fmt.Sprintf("%s takes about %.2g messages an hour %s.", r.Site, r.PerHour, r.subject())
	default:
		why = fmt.Sprintf("%s takes about %.0f messages an hour %s.", r.Site, r.PerHour, r.subject())
	}
	if r.Owner != 0 {
		why += " This counts for the mail of this sender or tenant only."
	}
	return why
}

// String returns a sentence about the rate, as Explanation.Why has it.
func (r LearnedRate) String() string { return r.why(false) }

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
