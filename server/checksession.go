package server

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/server/internal/spill"
	"github.com/postrider/postrider/smtp"
)

// Session is a session as the checks see it. A value, a field, a Hold or a Discard of a check ends with the transaction
// in which it was set. Those set at EHLO end at the next EHLO, those of EHLO and AUTH at STARTTLS (RFC 3207 §4.2), and
// those of AUTH if a check refuses there. Others last as long as the session. A Session must not be used after the func
// has returned, nor by several goroutines.
type Session struct {
	// Peer is the client. It must not be changed.
	Peer *Peer

	// Envelope is that of the transaction, nil outside of one. Only a Content func may change it.
	Envelope *smtp.Envelope

	s      *session
	check  string // the check that is running
	moment string

	bodies []*Body // of NewBody

	marks   marks    // all that are set
	lasting marks    // those of the session, without the transaction's
	greeted marks    // those from before EHLO
	hello   [2]marks // those before and after the Hello funcs of the last EHLO
}

// marks are the values, fields and decisions of the checks.
type marks struct {
	values  []any
	fields  []Field
	hold    string
	discard string
}

// without returns m without what was set between two moments.
func (m marks) without(from, to marks) marks {
	m.values = slices.Concat(from.values, m.values[len(to.values):])
	m.fields = slices.Concat(from.fields, m.fields[len(to.fields):])
	if m.hold == to.hold {
		m.hold = from.hold
	}
	if m.discard == to.discard {
		m.discard = from.discard
	}
	return m
}

// clone returns marks that can grow without a change of m.
func (m marks) clone() marks {
	m.values, m.fields = slices.Clip(m.values), slices.Clip(m.fields)
	return m
}

// Finding is what a check found, or a refusal by it.
type Finding struct {
	Check  string      // its Name; "" for a recipient that a check has added and an [LMTPHandler] refuses
	Moment string      // "connect", "hello", "auth", "mail", "rcpt", "content", "done" or "closed"
	Text   string      // for people
	Reply  *smtp.Reply // the refusal; nil if it is none
}

// Found reports a finding: it is logged at Info, and passed to [Server.Found]. text is for people, for example
// "192.0.2.1 is listed by zen.example".
func (s *Session) Found(ctx context.Context, text string) {
	s.report(ctx, Finding{Check: s.check, Moment: s.moment, Text: text})
}

func (s *Session) report(ctx context.Context, f Finding) {
	if s.s == nil {
		return
	}
	if s.s.log != nil {
		s.s.note(ctx, slog.LevelInfo, "check", "tx", s.Peer.Transaction(), "check", f.Check, "moment", f.Moment,
			"found", f.Text)
	}
	if found := s.s.srv.Found; found != nil {
		if p := guard.Call(func() { found(ctx, s.Peer, f) }); p != nil {
			p.Log(ctx, guard.Logger(s.s.srv.Logger), "Found")
		}
	}
}

// SetValue keeps a value for the later moments of the session, for the checks after this one, and for the Handler.
// [Value] finds it by its type.
func (s *Session) SetValue(value any) { s.marks.values = append(s.marks.values, value) }

// Value returns the last value of type T that SetValue has kept. ok is false if there is none, and for a nil Session.
//
//	r, _ := server.Value[dnsbl.Result](s)
func Value[T any](s *Session) (value T, ok bool) {
	if s == nil {
		return value, false
	}
	for _, v := range slices.Backward(s.marks.values) {
		if value, ok = v.(T); ok {
			return value, true
		}
	}
	return value, false
}

// AddField puts a header field on top of the message: a tag, by which a mailbox server may file the message as spam.
// Added fields stand in the order in which they were added.
func (s *Session) AddField(f Field) { s.marks.fields = append(s.marks.fields, f) }

// Hold asks the Handler to keep the message undelivered until somebody releases it, for all of its recipients. The
// client gets 250. A postrider.Relay stores the message held, logs the reason, and has it in its Accepted event. It
// also stores the reason, as HeldFor of the queue.Message: the page of package queueweb shows it. See queue.Holder for
// the release. A Handler of your own must look at [Session.Held]. The first reason is kept.
func (s *Session) Hold(reason string) {
	if s.marks.hold == "" {
		s.marks.hold = reason
	}
}

// Held returns the reason of Hold, "" if no check has called it, and for a nil Session.
func (s *Session) Held() string {
	if s == nil {
		return ""
	}
	return s.marks.hold
}

// Discard has the message accepted and thrown away: the client gets 250, and the Handler isn't called. The sender never
// learns of it, so prefer an error, which refuses. The first reason is kept.
func (s *Session) Discard(reason string) {
	if s.marks.discard == "" {
		s.marks.discard = reason
	}
}

var errNoSession = errors.New("server: the Session is of no server: use the one that a check gets")

// AddRecipient adds a recipient to the Envelope if the Handler accepts it, as at RCPT. Otherwise it returns the error
// of the Handler. Only a Content func may call it.
func (s *Session) AddRecipient(ctx context.Context, rcpt smtp.Recipient) error {
	if s == nil || s.s == nil {
		return errNoSession
	}
	if err := rcpt.Check(); err != nil {
		return err
	}
	allowed := s.s.peer.Allowed
	err := s.s.askHandler(ctx, rcpt)
	s.s.peer.Allowed = allowed // whether the checks after this one are asked doesn't depend on rcpt
	if err != nil {
		return err
	}
	s.Envelope.Recipients = append(s.Envelope.Recipients, rcpt)
	return nil
}

// NewBody returns an empty body, for [Message.Body]: up to 64 KiB of it are in memory, more are in a file in
// [Server.TempDir]. The memory counts for [Server.MaxMemory], and the file for [Server.MaxTemp]: without room, NewBody
// or Write return an error with the reply 452 4.3.1, which a check may return. Only a Content func may call it, and the
// body is valid until the Handler has returned.
func (s *Session) NewBody() (*Body, error) {
	if s == nil || s.s == nil {
		return nil, errNoSession
	}
	if !s.s.hold(spill.MaxInMemory) {
		return nil, errMemory
	}
	b := &Body{spill.Store{Dir: s.s.srv.TempDir, Take: s.s.srv.takeTemp}}
	s.bodies = append(s.bodies, b)
	return b, nil
}

// Body is a body that a check makes: see [Session.NewBody]. It is an [io.Writer] and a [smtp.Content].
type Body struct{ store spill.Store }

// Write appends p to the body.
func (b *Body) Write(p []byte) (int, error) { return b.store.Write(p) }

// ReadAt reads what was written. See [io.ReaderAt].
func (b *Body) ReadAt(p []byte, off int64) (int, error) { return b.store.Content().ReadAt(p, off) }

// Size returns the octets that were written.
func (b *Body) Size() int64 { return b.store.Content().Size() }

// Discard removes the file of a body that isn't used. Without it, that happens at the end of the message.
func (b *Body) Discard() error { return b.store.Discard() }

// discardBodies discards what NewBody returned for a message.
func (s *Session) discardBodies() {
	for _, b := range s.bodies {
		b.Discard()
	}
	s.bodies = nil
}

// Hostname returns the name of the server: [Server.Hostname] or its default.
func (s *Session) Hostname() string {
	if s.s == nil {
		return new(Server).hostname()
	}
	return s.s.srv.hostname()
}

// Silent waits for d, at most until the deadline of ctx, and reports whether the client sent nothing. A client must
// wait for the greeting (RFC 5321 §3.1), so one that talks earlier is probably a program that only sends spam. Its
// input is kept, and read after the greeting.
//
// Above 80 % of [Server.MaxConns], the wait is a tenth of d. Silent returns true at once if the client has left, if the
// server shuts down, at a moment other than connect, and on a connection of a proxy in [Server.XClient], where it is
// the proxy that talks.
func (s *Session) Silent(ctx context.Context, d time.Duration) bool {
	if until, ok := ctx.Deadline(); ok {
		d = min(d, time.Until(until))
	}
	if s.moment != "connect" || d <= 0 || s.s.xclientOffered() {
		return true // of a proxy, it would judge the proxy
	}
	return s.s.silent(d)
}

type sessionKey struct{}

// SessionOf returns the Session of the message that a Handler gets, for [Session.Held] and [Value]: no other method may
// be called. It returns nil if the server has no checks. Both take a nil Session.
func SessionOf(ctx context.Context) *Session {
	s, _ := ctx.Value(sessionKey{}).(*Session)
	return s
}
