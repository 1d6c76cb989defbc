package smtptest

import (
	"net/netip"
	"time"

	"github.com/postrider/postrider/smtp"
)

// script is what a host was told to do amiss.
type script struct {
	stages map[smtp.Stage]fault
	early  map[smtp.Stage]smtp.Reply // what comes behind the reply of a stage
	slow   map[smtp.Stage]time.Duration
	rates  map[smtp.Stage]*rate

	maxSessions   *limit // if nil, none, and so are the next two
	maxMessages   *limit // a session
	maxRecipients *limit // a message

	rejects    map[string]smtp.Reply // by address, at RCPT
	finals     map[string]smtp.Reply // by address, after the final dot (LMTP)
	deferUntil time.Time
	deferReply smtp.Reply
	greylist   time.Duration
	seen       map[triplet]time.Time // when greylisting first saw it

	refusals       []refused
	triggers       []trigger
	dropsPipelined bool
	dataAnyway     bool
	tls            TLSFault

	healed chan struct{} // closed by Heal
}

// triplet is what greylisting knows a mail by.
type triplet struct {
	client   netip.Addr // invalid on a Unix socket
	from, to string
}

// Defer answers r to every RCPT for d from now.
func (h *Host) Defer(d time.Duration, r smtp.Reply) {
	h.net.t.Helper()
	h.check(r)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.script.deferUntil, h.script.deferReply = time.Now().Add(d), r
}

// Reject answers r to RCPT for this address: a 550 5.1.1 where there is no such user, a 452 4.2.2 where the mailbox is
// full.
func (h *Host) Reject(address string, r smtp.Reply) {
	h.net.t.Helper()
	h.check(r)
	h.mu.Lock()
	defer h.mu.Unlock()
	put(&h.script.rejects, canonical(address), r)
}

// RejectFinal answers r for this address after the final dot, where LMTP has a reply for each recipient (RFC 2033
// §4.2). The others get the message. Over SMTP it does nothing.
func (h *Host) RejectFinal(address string, r smtp.Reply) {
	h.net.t.Helper()
	h.check(r)
	h.mu.Lock()
	defer h.mu.Unlock()
	put(&h.script.finals, canonical(address), r)
}

// Greylist answers 451 4.7.1 to RCPT until d has passed since a client first tried this sender and recipient.
func (h *Host) Greylist(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.script.greylist = d
}

// Heal ends all that the host was told to do amiss and all its limits, Down and Hang included; what stalls goes on. It
// keeps its addresses, accounts, extensions, [Host.MaxSize] and [Host.Link].
func (h *Host) Heal() {
	h.mu.Lock()
	close(h.script.healed)
	h.script = script{healed: make(chan struct{})}
	h.mu.Unlock()
	h.Up()
}

// check fails the test if r is no reply of SMTP.
func (h *Host) check(r smtp.Reply) {
	h.net.t.Helper()
	if r.Code < 200 || r.Code > 599 {
		h.net.t.Fatalf("smtptest: %s can't answer %v: the code must be 200 to 599", h.name, &r)
	}
}

// refusal gives the reply that this recipient gets at RCPT, or nil.
func (h *Host) refusal(client netip.Addr, from, to string) *smtp.Reply {
	to = canonical(to)
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if r, ok := h.script.rejects[to]; ok {
		return &r
	}
	if now.Before(h.script.deferUntil) {
		r := h.script.deferReply
		return &r
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
		return &smtp.Reply{Code: 451, Enhanced: smtp.EnhancedCode{4, 7, 1}, Text: "greylisted, try again later"}
	}
	return nil
}

// finalRefusal gives the reply that this recipient gets after the final dot of LMTP, or nil.
func (h *Host) finalRefusal(to string) *smtp.Reply {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r, ok := h.script.finals[canonical(to)]; ok {
		return &r
	}
	return nil
}

// canonical gives a form of an address in which domains compare as A-labels.
func canonical(address string) string {
	local, domain := smtp.SplitAddress(address)
	ascii, err := smtp.ASCIIDomain(domain)
	if err != nil {
		return address // "postmaster", say
	}
	return local + "@" + ascii
}
