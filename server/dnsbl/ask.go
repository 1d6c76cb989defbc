package dnsbl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/server/internal/words"
	"github.com/postrider/postrider/smtp"
)

// question is a name to look up in a zone.
type question struct {
	zone   *Zone
	of     Subject
	name   string // as people know it
	lookup string // in the DNS, with a trailing dot
}

// answer is that of a zone.
type answer struct {
	question
	record
	fresh bool // not from the cache
}

// record is the part of an answer that is kept.
type record struct {
	addrs   []netip.Addr // those in 127.0.0.0/8 that aren't refusals to answer
	text    string
	trouble string // why it is no answer, or ""
	until   time.Time
}

// questions adds a question to each zone that lists subjects of this kind.
func (l *List) questions(q []question, of Subject, name, label string) []question {
	for i := range l.Zones {
		z := &l.Zones[i]
		lookup, err := smtp.ASCIIDomain(label + "." + strings.TrimSuffix(z.Name, "."))
		if err == nil && z.of()&of != 0 { // an error: too long
			q = append(q, question{z, of, name, lookup + "."})
		}
	}
	return q
}

// domain is questions for a name, which may be none.
func (l *List) domain(q []question, of Subject, name string) []question {
	name, err := smtp.ASCIIDomain(name)
	if err != nil {
		return q
	}
	return l.questions(q, of, name, name) // none for an address literal, which is no label
}

func (z *Zone) of() Subject   { return cmp.Or(z.Of, Address) }
func (z *Zone) label() string { return cmp.Or(z.Label, z.Name) }

// reverse returns an address as labels of the DNS: octets for IPv4 (RFC 5782 §2.1), nibbles for IPv6 (§2.4).
func reverse(ip netip.Addr) string {
	var b strings.Builder
	octets := ip.AsSlice()
	for i := len(octets) - 1; i >= 0; i-- {
		if ip.Is4() {
			fmt.Fprintf(&b, ".%d", octets[i])
		} else {
			fmt.Fprintf(&b, ".%x.%x", octets[i]&15, octets[i]>>4)
		}
	}
	return b.String()[1:]
}

// ask asks all questions at the same time.
func (l *List) ask(ctx context.Context, questions []question) []answer {
	answers := make([]answer, len(questions))
	var all sync.WaitGroup
	for i, q := range questions {
		answers[i].question = q
		if r, ok := l.cached(q.lookup); ok {
			answers[i].record = r
			continue
		}
		answers[i].fresh = true
		all.Go(func() { answers[i].record = l.lookUp(ctx, q) })
	}
	all.Wait()
	return answers
}

// cached returns the record of a name that is in the cache and hasn't expired.
func (l *List) cached(name string) (record, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, ok := l.cache.Get(name)
	return r, ok && r.valid()
}

func (r record) valid() bool { return time.Now().Before(r.until) }

// lookUp asks the DNS, and keeps the answer.
func (l *List) lookUp(ctx context.Context, q question) record {
	r := l.resolve(ctx, q)
	keep := cmp.Or(l.CacheTime, defaultCacheTime)
	if r.trouble != "" {
		keep = min(keep, time.Minute)
	}
	if keep > 0 {
		r.until = time.Now().Add(keep)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.cache.Put(q.lookup, r, cmp.Or(l.MaxCache, defaultMaxCache), record.valid)
	}
	return r
}

func (l *List) resolve(ctx context.Context, q question) (r record) {
	defer func() {
		if v := recover(); v != nil { // in a goroutine of its own, it would end the process
			r = record{trouble: fmt.Sprintf("the Resolver panics: %v", v)}
		}
	}()
	resolver := l.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	addrs, err := resolver.LookupNetIP(ctx, "ip4", q.lookup)
	if err != nil {
		if notFound(err) {
			return record{}
		}
		return record{trouble: "no answer about " + q.name + ": " + phrase(err)}
	}
	for _, a := range addrs {
		a = a.Unmap()
		if why := refusal(a); why != "" && !q.zone.names(a) {
			r.trouble = fmt.Sprintf("the answer %v about %s is ignored: %s", a, q.name, why)
			continue
		}
		r.addrs = append(r.addrs, a)
	}
	// A text is only needed to refuse.
	if e, _ := (&answer{question: q, record: r}).listing(); e.Weight > 0 && e.Text == "" {
		if texts, err := resolver.LookupTXT(ctx, q.lookup); err == nil && len(texts) > 0 {
			r.text = words.Line(texts[0], maxText)
		}
	}
	return r
}

func notFound(err error) bool {
	d, ok := errors.AsType[*net.DNSError](err)
	return ok && d.IsNotFound
}

// phrase returns the text of an error. That of a lookup is without the name, in which there may be a key.
func phrase(err error) string {
	if d, ok := errors.AsType[*net.DNSError](err); ok {
		return d.Err
	}
	return err.Error()
}

// refusal returns why an answer is not a listing, or "".
func refusal(a netip.Addr) string {
	switch a.String() {
	case "127.255.255.252":
		return "the zone's name is wrong"
	case "127.255.255.254":
		return "the zone doesn't answer a public resolver: ask it from a name server of your own"
	case "127.255.255.255":
		return "too many queries"
	case "127.0.0.1", "127.0.0.255", "127.0.1.255":
		return "by it, lists refuse to answer"
	}
	switch {
	case netip.MustParsePrefix("127.255.255.0/24").Contains(a):
		return "it is an error code"
	case !loopback.Contains(a):
		return "it isn't in 127.0.0.0/8, so the zone isn't a list any more, or something answers for all names"
	}
	return ""
}

// prefix returns the addresses that a names.
func (a *Answer) prefix() (netip.Prefix, error) {
	if strings.Contains(a.Addr, "/") {
		return netip.ParsePrefix(a.Addr)
	}
	addr, err := netip.ParseAddr(a.Addr)
	if err != nil {
		return netip.Prefix{}, err
	}
	return addr.Prefix(addr.BitLen())
}

// matches reports whether addr is an answer that a names.
func (a *Answer) matches(addr netip.Addr) bool {
	p, err := a.prefix()
	return err == nil && p.Contains(addr) && (a.Bits == 0 || a.Bits&addr.AsSlice()[3] != 0)
}

// names reports whether the Answers of the zone have an address.
func (z *Zone) names(addr netip.Addr) bool {
	for i := range z.Answers {
		if z.Answers[i].matches(addr) {
			return true
		}
	}
	return false
}

// listing returns the meaning of an answer.
func (a *answer) listing() (e Listing, listed bool) {
	z := a.zone
	weight := cmp.Or(z.Weight, 1)
	e = Listing{Zone: z.label(), Of: a.of, Name: a.name, Answers: a.addrs, Text: a.text}
	if len(a.addrs) == 0 {
		return e, false
	}
	if len(z.Answers) == 0 {
		e.Weight = weight
		return e, true
	}
	for i := range z.Answers {
		meant := &z.Answers[i]
		for _, addr := range a.addrs {
			if meant.matches(addr) {
				e.Weight += cmp.Or(meant.Weight, weight)
				e.Text = cmp.Or(meant.Text, e.Text)
				listed = true
				break
			}
		}
	}
	return e, listed
}

// maxText bounds the text of a listing in octets.
const maxText = 200
