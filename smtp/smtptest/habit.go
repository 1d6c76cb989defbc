package smtptest

import (
	"math"
	"strings"

	"github.com/postrider/postrider/smtp"
)

// refused is a reply to the commands that contain a part.
type refused struct {
	part  string // upper case
	reply *smtp.Reply
}

// trigger is a func to call after a number of messages.
type trigger struct {
	at int
	do func()
}

// Refuse answers with r every command that contains part, in upper or lower case, and doesn't carry it out. A host that
// refuses "BODY=8BITMIME" breaks an extension that it offers; one that refuses "RSET", a command that every host has.
// If several parts match, the first one that was set applies. Content is never matched. If r is nil, it is 502 5.5.1.
func (h *Host) Refuse(part string, r *smtp.Reply) {
	h.net.t.Helper()
	r = h.orDefault(r, 502, "5.5.1", "command not implemented")
	h.mu.Lock()
	defer h.mu.Unlock()
	h.script.refusals = append(h.script.refusals, refused{strings.ToUpper(part), r})
}

// DropPipelined makes the host discard the octets that arrive together with a command, after it. Servers that offer
// PIPELINING and lose their read buffer behave so.
func (h *Host) DropPipelined() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.script.dropsPipelined = true
}

// DataAnyway makes the host answer DATA with 354 although it accepted no recipient, and the final dot with 554 5.5.1.
// RFC 2920 §3.1 warns clients of that. It has no effect over LMTP, where RFC 2033 §4.2 demands 503.
func (h *Host) DataAnyway() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.script.dataAnyway = true
}

// AfterMessages calls do, once, after the host has taken n more messages and before it replies to the last of them. do
// can be h.Down, or set a fault of any host. It runs in a goroutine of the host: it must not block or fail the test.
func (h *Host) AfterMessages(n int, do func()) {
	h.net.t.Helper()
	if n < 1 {
		h.net.t.Fatalf("smtptest: %s can't do anything after %d messages: the number must be 1 or more", h.name, n)
	}
	if do == nil {
		h.net.t.Fatalf("smtptest: %s can't do nothing after %d messages: pass a func, such as Host.Down", h.name, n)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	n = min(n, math.MaxInt-len(h.messages))
	h.script.triggers = append(h.script.triggers, trigger{len(h.messages) + n, do})
}

// refusalOf returns the reply of Refuse to a command, or nil.
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

// due removes and returns the funcs to call after this number of messages.
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
