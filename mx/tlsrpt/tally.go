package tlsrpt

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Bounds on what is kept of one day, beside MaxDomains and MaxDetails.
const (
	maxDayMemory     = 16 << 20 // bytes, about
	maxDomainEntries = 20       // policies of a domain
	maxPolicyLines   = 100      // and as many hosts
)

// day is what was recorded on one day in UTC.
//
// Invariants, under Reporter.mu: a tally with sending set belongs to the goroutine that sends its report, and nobody
// else changes it. size is the sum of what was counted for the domains.
type day struct {
	seed    string // random, from the first record of the day on: IDs and times of its reports follow from it
	domains map[string]*tally
	beyond  int64 // sessions with domains beyond MaxDomains
	size    int
}

// tally is what was recorded about the sessions with the hosts of one domain.
type tally struct {
	policies []Policy

	first   time.Time // when its report was first tried
	tries   int
	next    time.Time // when it is tried again
	sending bool
	at      time.Time // when its report is due for the first time, once that was worked out
}

func newDay() *day { return &day{seed: rand.Text(), domains: make(map[string]*tally)} }

// of returns the tally of a domain. It returns nil, and counts that, if there is no room for one.
func (d *day) of(domain string, most int) *tally {
	t := d.domains[domain]
	if t == nil {
		if len(d.domains) >= most {
			d.beyond++
			return nil
		}
		domain = strings.Clone(domain)
		t = new(tally)
		d.domains[domain] = t
		d.size += 200 + 2*len(domain)
	}
	return t
}

// policy returns the entry of a policy. If there is no room for another one, it is one for the type alone.
func (d *day) policy(t *tally, p Policy) *Policy {
	p.Lines, p.Hosts = p.Lines[:min(len(p.Lines), maxPolicyLines)], p.Hosts[:min(len(p.Hosts), maxPolicyLines)]
	find := func() *Policy {
		for i := range t.policies {
			if o := &t.policies[i]; o.Type == p.Type && o.Domain == p.Domain && slices.Equal(o.Lines, p.Lines) {
				return o
			}
		}
		return nil
	}
	if o := find(); o != nil {
		return o
	}
	n := policySize(p)
	if len(t.policies) >= maxDomainEntries || d.size+n > maxDayMemory {
		p.Lines, p.Hosts, p.Domain = nil, nil, ""
		if o := find(); o != nil {
			return o
		}
		n = policySize(p)
	}
	d.size += n
	t.policies = append(t.policies, p)
	return &t.policies[len(t.policies)-1]
}

func policySize(p Policy) int {
	n := 200 + len(p.Domain)
	for _, s := range slices.Concat(p.Lines, p.Hosts) {
		n += 16 + len(s)
	}
	return n
}

// fail adds failed sessions to the details of a policy. If there is no room for another detail, it is one for the type
// of the failure alone.
func (d *day) fail(t *tally, p *Policy, detail Detail, sessions int64, most int) {
	if o := p.detail(detail); o != nil {
		o.Sessions += sessions
		return
	}
	details := 0
	for i := range t.policies {
		details += len(t.policies[i].Details)
	}
	n := detailSize + len(detail.Host) + len(detail.Greeting) + len(detail.Code)
	if details >= most || d.size+n > maxDayMemory {
		detail, n = Detail{Type: detail.Type}, detailSize
		if o := p.detail(detail); o != nil {
			o.Sessions += sessions
			return
		}
	}
	detail.Sessions = sessions
	p.Details = append(p.Details, detail)
	d.size += n
}

// detailSize is about what a detail takes without its strings.
const detailSize = 200

// detail returns the detail that differs from d in the number of sessions at most, or nil.
func (p *Policy) detail(d Detail) *Detail {
	for i := range p.Details {
		d.Sessions = p.Details[i].Sessions
		if p.Details[i] == d {
			return &p.Details[i]
		}
	}
	return nil
}

// hash returns 16 octets that are the same for the same day and domain.
func (d *day) hash(domain string) [16]byte {
	sum := sha256.Sum256([]byte(d.seed + " " + domain))
	return [16]byte(sum[:16])
}

// due returns when the report about a domain is to be sent: at a time after the day that is random, but the same after
// a restart (RFC 8460 §4.1), or when it is to be tried again.
func (d *day) due(name, domain string, spread time.Duration) time.Time {
	t := d.domains[domain]
	if !t.next.IsZero() {
		return t.next
	}
	if t.at.IsZero() {
		h := d.hash(domain)
		part := float64(binary.BigEndian.Uint32(h[:])) / (1 << 32)
		t.at = dayEnd(name).Add(time.Duration(part * float64(spread)))
	}
	return t.at
}

// merge adds what is in a Store, from before a restart, to what was recorded since.
func (d *day) merge(stored *day, maxDetails int) {
	d.seed = stored.seed
	for _, t := range d.domains {
		t.at = time.Time{} // it follows from the seed
	}
	d.beyond += stored.beyond
	for domain, t := range stored.domains {
		mine := d.domains[domain]
		if mine == nil {
			d.domains[domain] = t
			d.size += 200 + 2*len(domain)
			for _, p := range t.policies {
				d.size += policySize(p) + detailSize*len(p.Details)
			}
			continue
		}
		mine.first, mine.tries, mine.next = t.first, t.tries, t.next
		for _, p := range t.policies {
			to := d.policy(mine, Policy{Type: p.Type, Domain: p.Domain, Lines: p.Lines, Hosts: p.Hosts})
			to.Successes += p.Successes
			to.Failures += p.Failures
			for _, detail := range p.Details {
				d.fail(mine, to, detail, detail.Sessions, maxDetails)
			}
		}
	}
}

// The names of days are dates in UTC.
const dayForm = "2006-01-02"

func dayName(t time.Time) string { return t.UTC().Format(dayForm) }

// dayEnd returns the end of a day with a valid name.
func dayEnd(name string) time.Time {
	t, _ := time.Parse(dayForm, name)
	return t.AddDate(0, 0, 1)
}

// storedDay and storedTally are the JSON of a day in a Store.
type storedDay struct {
	Seed    string                 `json:"seed"`
	Beyond  int64                  `json:"beyond,omitempty"`
	Domains map[string]storedTally `json:"domains"`
}

type storedTally struct {
	Policies []wirePolicy `json:"policies"`
	First    time.Time    `json:"first,omitzero"`
	Tries    int          `json:"tries,omitempty"`
	Next     time.Time    `json:"next,omitzero"`
}

// snapshot returns a copy that doesn't change. It takes much less time than marshal.
func (d *day) snapshot() *day {
	c := &day{seed: d.seed, beyond: d.beyond, size: d.size, domains: make(map[string]*tally, len(d.domains))}
	tallies := make([]tally, 0, len(d.domains))
	for domain, t := range d.domains {
		tallies = append(tallies, *t)
		copied := &tallies[len(tallies)-1]
		copied.policies = slices.Clone(t.policies)
		for i := range copied.policies {
			p := &copied.policies[i]
			p.Details = slices.Clone(p.Details) // Lines and Hosts don't change
		}
		c.domains[domain] = copied
	}
	return c
}

func (d *day) marshal() ([]byte, error) {
	s := storedDay{Seed: d.seed, Beyond: d.beyond, Domains: make(map[string]storedTally, len(d.domains))}
	for domain, t := range d.domains {
		stored := storedTally{First: t.first, Tries: t.tries, Next: t.next}
		for i := range t.policies {
			w, err := t.policies[i].wire()
			if err != nil {
				return nil, err
			}
			stored.Policies = append(stored.Policies, w)
		}
		s.Domains[domain] = stored
	}
	return json.Marshal(s)
}

func unmarshalDay(b []byte) (*day, error) {
	var s storedDay
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, err
	}
	if s.Seed == "" {
		return nil, errors.New("it has no seed")
	}
	d := &day{seed: s.Seed, beyond: s.Beyond, domains: make(map[string]*tally, len(s.Domains))}
	for domain, stored := range s.Domains {
		policies, err := policiesOf(stored.Policies, 2*MaxDetails) // some by their type alone beyond MaxDetails
		if err != nil {
			return nil, fmt.Errorf("%s: %w", domain, err)
		}
		d.domains[domain] = &tally{policies: policies, first: stored.First, tries: stored.Tries, next: stored.Next}
	}
	return d, nil
}
