package delivery

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// What one Runner has learned of a rate, the others on the store hear. Each has a meter of its own, for its own part of
// what the site takes. A refusal makes all of them pause, and each takes less of the site after that than it did.

// toldRate is a rate that a Runner has learned, as the record has it.
type toldRate struct {
	LearnedRate
	Version uint64 `json:"version"`
	By      uint64 `json:"by"`
}

// key names the rate.
func (r *LearnedRate) key() toldKey { return toldKey{r.Site, r.Of, r.Name, r.Owner} }

type toldKey struct {
	site, of, name string
	owner          OwnerHash
}

// Bounds of the record of learned rates, and of what is told in a turn.
const (
	maxTold     = 1000
	maxToldSize = 256 << 10 // octets of the record: a Sharer takes 1 MB
	maxTellTurn = 100
	maxTellName = 300 // octets of a rate's names
)

// learn writes down what this Runner has learned, and reads what others have.
func (t *shareTurn) learn(now time.Time, me uint64, records map[string][]byte) error {
	t.heard, t.version = nil, t.members.Learned
	if len(t.tell) == 0 && !t.reads {
		return nil
	}
	var all []toldRate
	if data := records[learnedRecord]; len(data) > 0 {
		if err := json.Unmarshal(data, &all); err != nil {
			return fmt.Errorf("the record of learned rates can't be read: %w", err)
		}
	}
	for _, r := range all {
		if r.Version > t.known && r.By != me {
			t.heard = append(t.heard, r)
		}
	}
	if len(t.tell) == 0 {
		return nil
	}
	t.members.Learned++
	t.version = t.members.Learned
	byKey := make(map[toldKey]toldRate, len(all))
	for _, r := range all {
		byKey[r.key()] = r
	}
	shift := now.Sub(time.Unix(0, t.read)) // tell has times of the machine's clock
	for _, r := range t.tell {
		for _, at := range r.times() {
			*at = at.Add(shift)
		}
		byKey[r.key()] = toldRate{r, t.version, me}
	}
	all = slices.SortedFunc(maps.Values(byKey), func(a, b toldRate) int {
		return cmp.Or(b.Used.Compare(a.Used), compareLearned(a.LearnedRate, b.LearnedRate))
	})
	data, err := writeTold(all)
	if err != nil {
		return err
	}
	records[learnedRecord] = data
	return nil
}

// writeTold returns the record of the first of all, as many as it may have.
func writeTold(all []toldRate) ([]byte, error) {
	data := []byte{'['}
	for i, r := range all[:min(len(all), maxTold)] {
		next, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		if len(data)+len(next)+2 > maxToldSize {
			break
		}
		if i > 0 {
			data = append(data, ',')
		}
		data = append(data, next...)
	}
	return append(data, ']'), nil
}

// tellMeter notes that others should know of a meter of a site: it has closed or opened.
func (m *machine) tellMeter(site string, o *meter) {
	if m.shared == nil || len(site)+len(m.names.list[o.name]) > maxTellName {
		return
	}
	m.shared.tell[toldKey{site, meterKindNames[o.kind], m.names.list[o.name], OwnerHash(o.owner)}] = true
	m.shared.urgent = true
}

// toTell returns what others should know, with times of the machine's clock.
func (m *machine) toTell() (rates []LearnedRate) {
	for k := range m.shared.tell {
		if len(rates) == maxTellTurn {
			m.shared.urgent = true
			break
		}
		delete(m.shared.tell, k)
		if o := m.meterOf(k); o != nil {
			rates = append(rates, m.rateOf(k.site, o, time.Unix(0, m.mono)))
		}
	}
	slices.SortFunc(rates, compareLearned)
	return rates
}

// untell undoes toTell.
func (m *machine) untell(rates []LearnedRate) {
	for i := range rates {
		m.shared.tell[rates[i].key()] = true
	}
}

func (m *machine) meterOf(k toldKey) *meter {
	l := m.learnt.sites[k.site]
	id, ok := m.names.ids[k.name]
	if l == nil || !ok {
		return nil
	}
	kind := meterKind(slices.Index(meterKindNames[:], k.of))
	return m.learnt.find(l, meterKey{name: id, owner: uint64(k.owner), kind: kind})
}

// hear takes in what others have learned.
func (m *machine) hear(t *shareTurn) {
	sh := m.shared
	if !t.reads && len(t.tell) == 0 {
		if t.version > sh.learned { // read it next
			sh.unread, sh.urgent = true, sh.urgent || sh.mute <= m.mono
		}
		return
	}
	sh.learned = t.version
	now := t.now.Add(time.Duration(m.mono - t.read))
	for _, r := range t.heard {
		o, left := m.meterOf(r.key()), min(r.Until.Sub(now), mostPause)
		switch {
		case o == nil:
			m.recallOne(r.LearnedRate, now)
			m.ownTally(r.key())
		case left <= 0: // it has its own
		default:
			if !o.closed {
				o.refuse(m.site(r.Site).Recovery, m.mono, m.mono)
			}
			o.tat = max(o.tat, m.mono+int64(left))
		}
	}
}

// ownTally has a first level that another has told be made from what the site took from this Runner, if it took any.
func (m *machine) ownTally(k toldKey) {
	o, s := m.meterOf(k), m.sites[k.site]
	if o != nil && o.fresh && s != nil && s.lately.n > 0 {
		now := toSeconds(m.mono)
		o.n, o.opened = uint32(s.lately.n), now-s.lately.until(now)
	}
}
