package smtptest

import (
	"net/netip"
	"time"

	"github.com/postrider/postrider/internal/quota"
	"github.com/postrider/postrider/smtp"
)

// script holds the faults and limits of a host. Heal resets it.
type script struct {
	stages map[smtp.Stage]fault
	early  map[smtp.Stage]*smtp.Reply // sent after the reply of a stage
	slow   map[smtp.Stage]time.Duration
	rates  map[smtp.Stage]*rate

	quotas       quota.Counter
	quotaReplies [quota.Parties]*smtp.Reply

	maxSessions   *limit // if nil, no limit, as for the next two
	maxMessages   *limit // per session
	maxRecipients *limit // per message

	rejects    map[string]*smtp.Reply // by address, at RCPT
	finals     map[string]*smtp.Reply // by address, after the final dot (LMTP)
	deferUntil time.Time
	deferReply *smtp.Reply
	greylist   time.Duration
	seen       map[triplet]time.Time // the first attempt

	refusals       []refused
	triggers       []trigger
	dropsPipelined bool
	dataAnyway     bool
	tls            TLSFault

	healed chan struct{} // closed by Heal
}

// triplet identifies a message for greylisting.
type triplet struct {
	client   netip.Addr // invalid on a Unix socket
	from, to string
}

// Defer answers every RCPT with r, from now on and for the duration d. A d of 0 ends it. If r is nil, it is 451 4.3.0.
func (h *Host) Defer(d time.Duration, r *smtp.Reply) {
	h.net.t.Helper()
	r = h.orDefault(r, 451, "4.3.0", "try again later")
	h.checkTime(d)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.script.deferUntil, h.script.deferReply = time.Now().Add(d), r
}

// Reject answers RCPT for this address with r. The local part is compared with its case, the domain without. If r is
// nil, it is 550 5.1.1: no such user.
func (h *Host) Reject(address string, r *smtp.Reply) {
	h.net.t.Helper()
	r = h.orDefault(r, 550, "5.1.1", "no such user")
	h.checkAddress(address)
	h.mu.Lock()
	defer h.mu.Unlock()
	put(&h.script.rejects, canonical(address), r)
}

// RejectFinal answers with r for this address after the final dot, where LMTP has a reply for each recipient (RFC 2033
// §4.2). The other recipients get the message. It has no effect over SMTP. If r is nil, it is 552 5.2.2: mailbox full.
func (h *Host) RejectFinal(address string, r *smtp.Reply) {
	h.net.t.Helper()
	r = h.orDefault(r, 552, "5.2.2", "mailbox full")
	h.checkAddress(address)
	h.mu.Lock()
	defer h.mu.Unlock()
	put(&h.script.finals, canonical(address), r)
}

// Greylist answers RCPT with 451 4.7.1 until the duration d has passed since the first attempt with the same client
// address, sender and recipient. A d of 0 ends it.
func (h *Host) Greylist(d time.Duration) {
	h.net.t.Helper()
	h.checkTime(d)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.script.greylist = d
}

// Heal ends all faults of the host, including [Host.Down] and [Host.Hang], and its limits of [Host.MaxSessions],
// [Host.MaxMessages], [Host.MaxRecipients], [Host.RateLimit] and [Host.Quota]. Stalled sessions continue. The host
// keeps its addresses, accounts and extensions, [Host.MaxSize], [Host.Limit] and [Host.Link].
func (h *Host) Heal() {
	if h.net.beHere() != nil {
		return
	}
	h.mu.Lock()
	close(h.script.healed)
	h.script = script{healed: make(chan struct{})}
	h.mu.Unlock()
	h.Up()
}

// orDefault returns a copy of r or, if r is nil, the reply made of the other arguments. It fails the test if r is no
// reply of SMTP.
func (h *Host) orDefault(r *smtp.Reply, code int, enhanced, text string) *smtp.Reply {
	h.net.t.Helper()
	if r == nil {
		return smtp.NewReply(code, enhanced, text)
	}
	if r.Code < 200 || r.Code > 599 {
		h.net.t.Fatalf("smtptest: %s can't answer %v: the code must be 200 to 599", h.name, r)
	}
	clone := *r
	return &clone
}

// checkAddress fails the test if no recipient can have this address.
func (h *Host) checkAddress(address string) {
	h.net.t.Helper()
	if err := smtp.CheckAddress(address); err != nil {
		h.net.t.Fatalf("smtptest: %s can't refuse %q: %v", h.name, address, err)
	}
}

func (h *Host) checkTime(d time.Duration) {
	h.net.t.Helper()
	if d < 0 {
		h.net.t.Fatalf("smtptest: %s can't do anything for %v: the time must be 0 or more", h.name, d)
	}
}

// refusal returns the reply that this recipient gets at RCPT, or nil.
func (h *Host) refusal(client netip.Addr, from, to string) *smtp.Reply {
	to = canonical(to)
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if r := h.script.rejects[to]; r != nil {
		return r
	}
	if now.Before(h.script.deferUntil) {
		return h.script.deferReply
	}
	if h.script.greylist == 0 {
		return nil
	}
	key := triplet{client, canonical(from), to}
	first, ok := h.script.seen[key]
	if !ok {
		put(&h.script.seen, key, now)
		first = now
	}
	if now.Sub(first) < h.script.greylist {
		return smtp.NewReply(451, "4.7.1", "greylisted, try again later")
	}
	return nil
}

// finalRefusal returns the reply that this recipient gets after the final dot of LMTP, or nil.
func (h *Host) finalRefusal(to string) *smtp.Reply {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.script.finals[canonical(to)]
}

// canonical returns an address with its domain as A-labels, for comparison.
func canonical(address string) string {
	local, domain := smtp.SplitAddress(address)
	ascii, err := smtp.ASCIIDomain(domain)
	if err != nil {
		return address // "postmaster", say
	}
	return local + "@" + ascii
}
