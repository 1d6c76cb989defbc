package smtptest

import (
	"time"

	"github.com/postrider/postrider/smtp"
)

// fault is what happens at a stage.
type fault struct {
	kind  faultKind
	reply *smtp.Reply // for answers
	raw   string      // for utters

	healed <-chan struct{} // closed by Heal
}

type faultKind uint8

const (
	answers faultKind = iota // a reply
	utters                   // something that may be none
	closes                   // an orderly end of the connection
	resets                   // a reset
	stalls                   // nothing, for as long as it takes
	babbles                  // a reply without end
)

// interrupts reports whether it can happen where no reply is due.
func (k faultKind) interrupts() bool { return k == closes || k == resets || k == stalls }

// Answer replies with r whenever a client reaches this stage: [smtp.StageGreeting] to [smtp.StageData], or
// [smtp.StageFinal]. [smtp.StageBody] has replies with [Host.Chunking] only, in this method and in those below. After a
// 421 the connection is closed. If r is nil, it is 421 4.3.2 at StageGreeting and 451 4.3.0 elsewhere.
func (h *Host) Answer(stage smtp.Stage, r *smtp.Reply) {
	h.net.t.Helper()
	if stage == smtp.StageGreeting {
		r = h.orDefault(r, 421, "4.3.2", "service not available")
	}
	r = h.orDefault(r, 451, "4.3.0", "try again later")
	h.misbehave(stage, fault{kind: answers, reply: r})
}

// AnswerRaw says these octets at a stage as [Host.Answer] does a reply, and nothing in their place: a line that has no
// CRLF, or is a megabyte long, or no reply at all. They are sent as they are. At [smtp.StageFinal] the host
// keeps the message.
func (h *Host) AnswerRaw(stage smtp.Stage, octets string) {
	h.net.t.Helper()
	h.misbehave(stage, fault{kind: utters, raw: octets})
}

// AnswerEarly sends r directly after the reply of this stage, before the client sends the next command. That command is
// carried out and gets no reply of its own. At [smtp.StageTLS], r is sent in clear between the 220 and the handshake,
// where an attacker could inject it, and commands under TLS are answered as usual. If r is nil, it is 250 2.0.0.
func (h *Host) AnswerEarly(stage smtp.Stage, r *smtp.Reply) {
	h.net.t.Helper()
	r = h.orDefault(r, 250, "2.0.0", "ok")
	h.hasReply(stage)
	h.mu.Lock()
	defer h.mu.Unlock()
	put(&h.script.early, stage, r)
}

// CloseAt closes the connection where the reply of this stage would come, from [smtp.StageGreeting] on; at
// [smtp.StageBody] it is closed with the body begun. At [smtp.StageFinal] the host has the message whole,
// and keeps it.
func (h *Host) CloseAt(stage smtp.Stage) {
	h.net.t.Helper()
	h.misbehave(stage, fault{kind: closes})
}

// ResetAt is CloseAt with a reset instead of an orderly end: the client's next read or write fails with ECONNRESET.
func (h *Host) ResetAt(stage smtp.Stage) {
	h.net.t.Helper()
	h.misbehave(stage, fault{kind: resets})
}

// StallAt has the host fall silent where the reply of this stage would come; at [smtp.StageBody] it takes no
// more with the body begun. [Host.Heal] lets it go on from there; else it stays so until the client ends the
// connection. At [smtp.StageFinal] the host keeps the message.
func (h *Host) StallAt(stage smtp.Stage) {
	h.net.t.Helper()
	h.misbehave(stage, fault{kind: stalls})
}

// BabbleAt begins the reply of this stage and doesn't come to its end: continuation lines follow each other until
// the client closes the connection or [Host.Heal], after which comes the true reply. After 64 MiB the host hangs up,
// so that a client without a bound ends, too. At [smtp.StageFinal] the host keeps the message.
func (h *Host) BabbleAt(stage smtp.Stage) {
	h.net.t.Helper()
	h.misbehave(stage, fault{kind: babbles})
}

// Slow has every reply come d late or, if stages are named, those of these alone. At [smtp.StageFinal] that is how
// long the host takes over a message, which it has from the final dot on, and keeps. A d of 0 ends it; Heal does so
// too, for those that wait.
func (h *Host) Slow(d time.Duration, stages ...smtp.Stage) {
	h.net.t.Helper()
	for _, stage := range stages {
		h.hasReply(stage)
	}
	if len(stages) == 0 {
		for stage := smtp.StageGreeting; stage <= smtp.StageFinal; stage++ {
			stages = append(stages, stage)
		}
		stages = append(stages, otherStage)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, stage := range stages {
		put(&h.script.slow, stage, d)
	}
}

// otherStage is that of commands which are no step of a delivery, QUIT say.
const otherStage = smtp.StageRoute

// stageOf gives the stage of a command.
func stageOf(verb string) smtp.Stage {
	switch verb {
	case "EHLO", "HELO", "LHLO":
		return smtp.StageHello
	case "STARTTLS":
		return smtp.StageTLS
	case "AUTH":
		return smtp.StageAuth
	case "MAIL":
		return smtp.StageMail
	case "RCPT":
		return smtp.StageRcpt
	case "DATA":
		return smtp.StageData
	}
	return otherStage
}

// hasReply fails the test if a host doesn't answer at this stage.
func (h *Host) hasReply(stage smtp.Stage) {
	h.net.t.Helper()
	switch {
	case stage < smtp.StageGreeting || stage > smtp.StageFinal:
		h.net.t.Fatalf("smtptest: a host has no say at stage %v", stage)
	case stage == smtp.StageBody && !h.chunks():
		h.net.t.Fatalf("smtptest: a host can't answer at stage %v", stage)
	}
}

func (h *Host) misbehave(stage smtp.Stage, f fault) {
	h.net.t.Helper()
	if stage != smtp.StageBody || !f.kind.interrupts() {
		h.hasReply(stage)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	put(&h.script.stages, stage, f)
}

// fault says what happens at a stage.
func (h *Host) fault(stage smtp.Stage) (fault, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f, ok := h.script.stages[stage]
	f.healed = h.script.healed
	return f, ok
}

func put[K comparable, V any](m *map[K]V, key K, value V) {
	if *m == nil {
		*m = make(map[K]V)
	}
	(*m)[key] = value
}
