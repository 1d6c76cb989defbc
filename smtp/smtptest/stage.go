package smtptest

import (
	"time"

	"github.com/postrider/postrider/smtp"
)

// fault is a fault of a stage.
type fault struct {
	kind  faultKind
	reply *smtp.Reply // of answers
	raw   string      // of utters

	healed <-chan struct{} // closed by Heal
}

type faultKind uint8

const (
	answers faultKind = iota // a reply
	utters                   // octets that may be no reply
	closes                   // an orderly end of the connection
	resets                   // a reset
	stalls                   // silence until Heal
	babbles                  // an endless reply
)

// interrupts reports whether the fault can happen where no reply is due.
func (k faultKind) interrupts() bool { return k == closes || k == resets || k == stalls }

// Answer replies with r whenever a client reaches this stage: [smtp.StageGreeting] to [smtp.StageData], or
// [smtp.StageFinal]. [smtp.StageBody] has replies with [Host.Chunking] only. After a 421 the connection is closed. If r
// is nil, it is 421 4.3.2 at StageGreeting and 451 4.3.0 elsewhere.
func (h *Host) Answer(stage smtp.Stage, r *smtp.Reply) {
	h.net.t.Helper()
	if stage == smtp.StageGreeting {
		r = h.orDefault(r, 421, "4.3.2", "service not available")
	}
	r = h.orDefault(r, 451, "4.3.0", "try again later")
	h.misbehave(stage, fault{kind: answers, reply: r})
}

// AnswerRaw sends these octets at a stage in place of the reply: a line without CRLF, a line of a megabyte, or no reply
// at all. They are sent unchanged. At [smtp.StageFinal] the host keeps the message.
func (h *Host) AnswerRaw(stage smtp.Stage, octets string) {
	h.net.t.Helper()
	h.misbehave(stage, fault{kind: utters, raw: octets})
}

// AnswerEarly sends r directly after the reply of this stage, before the client sends the next command. That command is
// carried out and gets no reply of its own. At [smtp.StageTLS], r is sent in cleartext between the 220 and the
// handshake, where an attacker could inject it, and commands under TLS are answered as usual. If r is nil, it is 250
// 2.0.0.
func (h *Host) AnswerEarly(stage smtp.Stage, r *smtp.Reply) {
	h.net.t.Helper()
	r = h.orDefault(r, 250, "2.0.0", "ok")
	h.hasReply(stage)
	h.mu.Lock()
	defer h.mu.Unlock()
	put(&h.script.early, stage, r)
}

// CloseAt closes the connection in place of the reply of this stage, from [smtp.StageGreeting] on. At [smtp.StageBody]
// it closes the connection after the first octets of the body. At [smtp.StageFinal] the host has received the whole
// message, and keeps it.
func (h *Host) CloseAt(stage smtp.Stage) {
	h.net.t.Helper()
	h.misbehave(stage, fault{kind: closes})
}

// ResetAt is [Host.CloseAt] with a reset: the client's next read or write fails with ECONNRESET.
func (h *Host) ResetAt(stage smtp.Stage) {
	h.net.t.Helper()
	h.misbehave(stage, fault{kind: resets})
}

// StallAt makes the host silent in place of the reply of this stage. At [smtp.StageBody] it stops reading after the
// first octets of the body. The session continues from there after [Host.Heal], or ends when the client closes the
// connection. At [smtp.StageFinal] the host keeps the message.
func (h *Host) StallAt(stage smtp.Stage) {
	h.net.t.Helper()
	h.misbehave(stage, fault{kind: stalls})
}

// BabbleAt sends an endless reply at this stage: continuation lines, until the client closes the connection. After
// [Host.Heal] the true reply follows. After 64 MiB the host closes the connection, so that a client without a bound
// ends, too. At [smtp.StageFinal] the host keeps the message.
func (h *Host) BabbleAt(stage smtp.Stage) {
	h.net.t.Helper()
	h.misbehave(stage, fault{kind: babbles})
}

// Slow delays every reply by d or, if stages are given, only the replies at those stages. At [smtp.StageFinal] the
// delay comes after the final dot: the host has the message and keeps it. A d of 0 ends the delay. [Host.Heal] ends it
// for replies that are already waiting, too.
func (h *Host) Slow(d time.Duration, stages ...smtp.Stage) {
	h.net.t.Helper()
	for _, stage := range stages {
		h.hasReply(stage)
	}
	h.checkTime(d)
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

// otherStage is the stage of commands that are no step of a delivery, such as QUIT.
const otherStage = smtp.StageRoute

// stageOf returns the stage of a command.
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

// hasReply fails the test if a host has no reply at this stage.
func (h *Host) hasReply(stage smtp.Stage) {
	h.net.t.Helper()
	switch {
	case stage < smtp.StageGreeting || stage > smtp.StageFinal:
		h.net.t.Fatalf("smtptest: a host has no reply at stage %v: the stages are greeting to final", stage)
	case stage == smtp.StageBody && !h.chunks():
		h.net.t.Fatalf("smtptest: a host has no reply at stage %v: call Host.Chunking first", stage)
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

// fault returns the fault of a stage, if it has one.
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
