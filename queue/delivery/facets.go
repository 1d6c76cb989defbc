package delivery

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
)

// kindsOf has the kinds that each scope of a reply is about. A reply without a scope is about all that the host can
// count of a sender. A scope that isn't here is about no rate of messages.
var kindsOf = map[replies.Scope][]meterKind{
	replies.Unknown:    {bySource, bySigner, bySPF},
	replies.Address:    {bySource},
	replies.Network:    {byNetwork},
	replies.DKIMDomain: {bySigner},
	replies.SPFDomain:  {bySPF},
	replies.Recipient:  {byRecipient},
}

// facets are what a site can count of a message.
type facets struct {
	source, signer, spf string
	owner               uint64 // a hash of the owner's name, which is the same after a restart; never 0
}

// facetsOf returns the facets of a task. The funcs may be nil.
func facetsOf(t *queue.Task, sourceOf, signerOf func(*queue.Task) string) (f facets) {
	if sourceOf != nil {
		f.source = sourceOf(t)
	}
	if signerOf != nil {
		f.signer = signerOf(t)
	}
	owner := t.Tenant
	if _, f.spf = smtp.SplitAddress(t.Envelope.From); owner == "" {
		owner = t.Envelope.From
	}
	// Nobody can choose a name with the hash of another owner, to have that one's mail wait for what is said of his.
	hash := sha256.Sum256([]byte(owner))
	f.owner = max(binary.BigEndian.Uint64(hash[:]), 1)
	return f
}

// network returns the network of a source that is an address: 256 addresses of IPv4, or a /64 of IPv6.
func (f *facets) network() string {
	addr, err := netip.ParseAddr(f.source)
	if err != nil {
		return f.source
	}
	bits := 64
	if addr.Unmap().Is4() {
		bits = 24
	}
	prefix, err := addr.Unmap().Prefix(bits)
	if err != nil {
		return f.source
	}
	return prefix.String()
}

// of returns the name of what a kind counts of the message. All but the source must have one.
func (f *facets) of(k meterKind) (name string, ok bool) {
	switch k {
	case bySource:
		return f.source, true
	case byNetwork:
		return f.network(), true
	case bySigner:
		name = f.signer
	case bySPF:
		name = f.spf
	}
	return name, name != ""
}

// rateRefusal is what an attempt was refused for its rate.
type rateRefusal struct {
	facets
	kinds      [meterKinds]bool
	used       string   // the source that the host was asked from; "" if it isn't known, or tasks have no sources
	recipients []string // refused for byRecipient
	exact      bool     // the host has named what it counts, and who sends is no stranger
	addr       netip.Addr
	before     uint32 // attempts of the message before this one, if the last one was refused for its rate
}

// names returns the names of what a kind counts that was refused. A message may go out from another source than the one
// that it prefers, which is blocked for example. Then both are slowed: the other mail that prefers either goes the same
// way.
func (r *rateRefusal) names(k meterKind) (names []string) {
	if k == byRecipient {
		return r.recipients
	}
	if name, ok := r.of(k); ok {
		names = append(names, name)
	}
	if (k == bySource || k == byNetwork) && r.used != "" {
		used := facets{source: r.used}
		if name, _ := used.of(k); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// refusalOf returns what of a task's results is about its rate; nil: nothing.
func (r *Runner) refusalOf(t *queue.Task, results []smtp.Result) (refusal *rateRefusal) {
	for i := range results {
		res := &results[i]
		if res.Reason != smtp.RateLimited || !isOpen(*res) || res.Local {
			continue
		}
		scope := r.Replies.Classify(res.Reply, res.Stage, res.Host).Scope
		kinds := kindsOf[scope]
		if scope == replies.Unknown && res.Stage < smtp.StageMail { // the host doesn't know more yet
			kinds = kinds[:1]
		}
		if len(kinds) == 0 {
			continue
		}
		if refusal == nil {
			refusal = &rateRefusal{
				facets: facetsOf(t, r.sourceOf, r.signerOf), exact: !t.Origin.IsStranger(), before: refusedBefore(t),
			}
			if refusal.source != "" {
				refusal.used = res.Source
			}
			if addr, err := netip.ParseAddrPort(res.Addr); err == nil {
				refusal.addr = addr.Addr().Unmap()
			}
		}
		refusal.exact = refusal.exact && scope != replies.Unknown
		for _, k := range kinds {
			refusal.kinds[k] = true
		}
		if scope == replies.Recipient {
			refusal.recipients = append(refusal.recipients, res.Recipient)
		}
	}
	return refusal
}

// refusedBefore returns how many attempts a task had before this one, if the last of them was refused for its rate.
func refusedBefore(t *queue.Task) uint32 {
	for i := range t.Last {
		if res := &t.Last[i]; res.Reason == smtp.RateLimited && !res.Local && isOpen(*res) {
			return uint32(max(t.Attempts-1, 0))
		}
	}
	return 0
}
