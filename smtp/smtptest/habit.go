package smtptest

import (
	"strings"

	"github.com/postrider/postrider/smtp"
)

// refused is a command that a host doesn't carry out, by what is in it.
type refused struct {
	part  string // upper case
	reply *smtp.Reply
}

// trigger is what happens once the host has taken so many messages.
type trigger struct {
	at int
	do func()
}

// Refuse answers with r every command that contains part, in upper or lower case, and doesn't carry it out. A host that
// refuses "BODY=8BITMIME" breaks an extension that it offers; one that refuses "RSET", a command that every host has. If
// several parts match, the first one that was set applies. Content is never matched. If r is nil, it is 502 5.5.1.
func (h *Host) Refuse(part string, r *smtp.Reply) {
	h.net.t.Helper()
	r = h.orDefault(r, 502, "5.5.1", "command not implemented")
	h.mu.Lock()
	defer h.mu.Unlock()
	h.script.refusals = append(h.script.refusals, refused{strings.ToUpper(part), r})
}

// DropPipelined has the host throw away what comes together with a command, behind it, as servers do that offer PIPELINING
// and keep nothing between their reads.
func (h *Host) DropPipelined() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.script.dropsPipelined = true
}

// DataAnyway answers 354 to DATA even where no recipient was taken, of which RFC 2920 §3.1 warns clients, and 554 5.5.1
// after the final dot. Over LMTP it does nothing: RFC 2033 §4.2 demands 503.
func (h *Host) DataAnyway() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.script.dataAnyway = true
}

// AfterMessages calls do once the host has taken n more messages, with the last of them taken and its reply not yet sent:
// do may be h.Down, or tell any host to misbehave. It runs in a goroutine of the host, where it must not block or
// fail the test.
func (h *Host) AfterMessages(n int, do func()) {
	h.net.t.Helper()
	if n < 1 {
		h.net.t.Fatalf("smtptest: %s can't do anything after %d messages", h.name, n)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.script.triggers = append(h.script.triggers, trigger{len(h.messages) + n, do})
}

// refusalOf gives the reply to a command that the host was told to refuse, or nil.
func (h *Host) refusalOf(line string) *smtp.Reply {
	line = strings.ToUpper(line)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.script.refusals {
		if strings.Contains(line, r.part) {
			return r.reply
		}
	}
	return nil
}

func (h *Host) dropsPipelined() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.script.dropsPipelined
}

func (h *Host) dataAnyway() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.script.dataAnyway
}

// due gives, once, what is to be done after so many messages.
func (s *script) due(messages int) []func() {
	var due []func()
	var later []trigger
	for _, t := range s.triggers {
		if t.at <= messages {
			due = append(due, t.do)
		} else {
			later = append(later, t)
		}
	}
	s.triggers = later
	return due
}
