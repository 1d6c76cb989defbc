package servertest

import (
	"net/netip"
	"time"

	"github.com/postrider/postrider/smtp"
)

// script is what a host was told to do amiss.
type script struct {
	stages     map[smtp.Stage]fault
	rejects    map[string]smtp.Reply // by address, at RCPT
	finals     map[string]smtp.Reply // by address, after the final dot (LMTP)
	deferUntil time.Time
	deferReply smtp.Reply
	greylist   time.Duration
	seen       map[triplet]time.Time // when greylisting first saw it
}

// fault is what happens at a stage: a reply or, if nil, the end of the connection.
type fault struct {
	reply *smtp.Reply
	reset bool
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

// Reject answers r to RCPT for this address.
func (h *Host) Reject(address string, r smtp.Reply) {
	h.net.t.Helper()
	h.check(r)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.script.rejects == nil {
		h.script.rejects = make(map[string]smtp.Reply)
	}
	h.script.rejects[canonical(address)] = r
}

// RejectFinal answers r for this address after the final dot, where LMTP has a reply for each recipient (RFC 2033
// §4.2). The others get the message. Over SMTP it does nothing.
func (h *Host) RejectFinal(address string, r smtp.Reply) {
	h.net.t.Helper()
	h.check(r)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.script.finals == nil {
		h.script.finals = make(map[string]smtp.Reply)
	}
	h.script.finals[canonical(address)] = r
}

// Answer gives r whenever a client comes to this stage, [smtp.StageGreeting] to [smtp.StageData] or
// [smtp.StageFinal]. A 421 closes the connection after it. smtp.StageRcpt rejects all.
func (h *Host) Answer(stage smtp.Stage, r smtp.Reply) {
	h.net.t.Helper()
	h.check(r)
	if stage == smtp.StageBody {
		h.net.t.Fatalf("servertest: a host can't answer at stage %v", stage)
	}
	h.misbehave(stage, fault{reply: &r})
}

// CloseAt closes the connection where the reply of this stage would come, from [smtp.StageGreeting] on; at
// [smtp.StageBody] it is closed with the body begun. At [smtp.StageFinal] the host has the message whole,
// and keeps it.
func (h *Host) CloseAt(stage smtp.Stage) {
	h.net.t.Helper()
	h.misbehave(stage, fault{})
}

// ResetAt is CloseAt with a reset instead of an orderly end: the client's next read or write fails with ECONNRESET.
func (h *Host) ResetAt(stage smtp.Stage) {
	h.net.t.Helper()
	h.misbehave(stage, fault{reset: true})
}

// Greylist answers 451 4.7.1 to RCPT until d has passed since a client first tried this sender and recipient.
func (h *Host) Greylist(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.script.greylist = d
}

// Heal ends all that the host was told to do amiss, Down and Hang included. It keeps its addresses, accounts
// and extensions.
func (h *Host) Heal() {
	h.mu.Lock()
	h.script = script{}
	h.mu.Unlock()
	h.Up()
}

// check fails the test if r is no reply of SMTP.
func (h *Host) check(r smtp.Reply) {
	h.net.t.Helper()
	if r.Code < 200 || r.Code > 599 {
		h.net.t.Fatalf("servertest: %s can't answer %v: the code must be 200 to 599", h.name, &r)
	}
}

func (h *Host) misbehave(stage smtp.Stage, f fault) {
	h.net.t.Helper()
	if stage < smtp.StageGreeting || stage > smtp.StageFinal {
		h.net.t.Fatalf("servertest: a host has no say at stage %v", stage)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.script.stages == nil {
		h.script.stages = make(map[smtp.Stage]fault)
	}
	h.script.stages[stage] = f
}

// fault says what happens at a stage.
func (h *Host) fault(stage smtp.Stage) (fault, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f, ok := h.script.stages[stage]
	return f, ok
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
		if h.script.seen == nil {
			h.script.seen = make(map[triplet]time.Time)
		}
		h.script.seen[key], first = now, now
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
