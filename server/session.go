package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/smtp"
)

// session is one connection from its greeting to its end. It belongs to one goroutine: other goroutines may only call
// wake and close raw. Between two commands, these hold:
//
//   - env is not nil exactly while a transaction is open, and busy is true exactly then.
//   - Without a transaction, peer.Allowed is true only if peer.Username is set.
//   - peer.Hello is not empty while a transaction is open.
//   - chunking is true exactly while the Handler reads a message that comes by BDAT. env is not nil then.
//   - When done is true, no further command is read, and hangUp sends the replies that are pending.
type session struct {
	conn
	peer   Peer
	source netip.Prefix
	turned bool         // beyond a bound: it only gets a refusal
	log    *slog.Logger // nil: none

	env      *smtp.Envelope // nil: no transaction
	asked    int            // RCPT commands in this transaction
	held     int            // octets that this transaction has in Server.memory
	envelope int            // and of these, the octets of its recipients
	attrs    []slog.Attr    // of the Handler, for the log line of the message
	allowed  bool           // the peer may relay to each recipient in env
	visit    *Session       // what the checks see; nil without checks

	chunking  bool   // see above
	last      bool   // the chunk that came last has LAST
	withdrawn []byte // the command by which the client gave up a message that came by BDAT
	failed    bool   // a chunk was refused, and further chunks of its message may follow
	discarded int64  // octets of the refused chunks of that message
	owed      int    // its recipients, if its last chunk may follow

	sent []smtp.Recipient // over LMTP, the recipients of the client when its message comes; a check may change env
	one  [1]*smtp.Reply   // the reply to a message

	errors, commands int // since the session began, or its last message was accepted

	sevenBit bool // EHLO didn't offer 8BITMIME

	secured bool             // it has TLS
	cert    *tls.Certificate // that the client got, if known
	refused bool             // CheckConnect refused the client: only QUIT is allowed
	done    bool             // the session ends
	abrupt  bool             // the client may still be sending
}

func newSession(s *Server, nc net.Conn) *session {
	now := time.Now()
	sess := &session{
		conn: conn{
			srv: s, raw: nc, nc: nc, begun: now, end: now.Add(cmp.Or(s.SessionTimeout, defaultSessionTimeout)),
		},
		peer:   Peer{ID: newID(), LMTP: s.LMTP, RemoteAddr: nc.RemoteAddr(), LocalAddr: nc.LocalAddr()},
		source: source(nc.RemoteAddr()),
	}
	sess.peer.attrs = &sess.attrs
	if t, ok := nc.(*tls.Conn); ok {
		sess.raw = t.NetConn()
	}
	if s.trustsXClient(nc.RemoteAddr()) {
		sess.source = netip.Prefix{} // it has many clients
	}
	if len(s.Checks) > 0 {
		sess.visit = &Session{Peer: &sess.peer, s: sess}
	}
	if s.Logger != nil {
		sess.log = guard.Logger(s.Logger).With("session", sess.peer.ID, "remote", fmt.Sprint(sess.peer.RemoteAddr))
	}
	return sess
}

// serve runs the session to its end.
func (s *session) serve(ctx context.Context) {
	defer s.srv.release(s)
	s.takeBuffers()
	defer s.giveBuffers()
	s.note(ctx, slog.LevelDebug, "connected")
	defer s.note(ctx, slog.LevelDebug, "disconnected")
	defer func() { s.hangUp(s.abrupt) }()
	defer s.rescue(ctx)

	if t, ok := s.nc.(*tls.Conn); ok && !s.handshake(ctx, t) {
		return
	}
	defer s.tellClosed(ctx)
	s.lookUpName(ctx)
	s.greet(ctx)
	defer s.reset(ctx)
	for !s.done {
		line, err := s.readLine()
		s.handleLine(ctx, line, err)
		if len(s.out) > maxPending && s.flushWithin(s.limit) != nil {
			return
		}
	}
}

// turnAway refuses a client because of a bound on connections, and closes the connection.
func (s *session) turnAway(ctx context.Context, refusal string) {
	defer s.srv.release(s)
	refusal = "421 4.7.0 " + refusal
	s.note(ctx, slog.LevelInfo, "connection refused", "reply", refusal)
	s.buffers = &buffers{}
	if s.nc == s.raw { // a TLS handshake only to refuse would cost too much
		s.say(refusal)
	}
	s.hangUp(false)
}

// rescue ends the session after a panic of the Handler.
func (s *session) rescue(ctx context.Context) {
	v := recover()
	if v == nil {
		return
	}
	s.note(ctx, slog.LevelError, "panic", "tx", s.peer.Transaction(), "panic", fmt.Sprint(v),
		"stack", string(debug.Stack()))
	s.say("451 4.3.0 internal error")
	s.abrupt = true
}

// greet sends the greeting, or the refusal of CheckConnect.
func (s *session) greet(ctx context.Context) {
	if c, ok := s.srv.Handler.(ConnectChecker); ok {
		if err := c.CheckConnect(ctx, &s.peer); err != nil {
			s.refuseSession(ctx, err)
			return
		}
	}
	err := s.askPlain(ctx, "connect", func(c *Check) func(context.Context, *Session) error { return c.Connect })
	if err != nil {
		s.refuseSession(ctx, err)
		return
	}
	if v := s.visit; v != nil {
		v.greeted = v.marks.clone()
		s.forget()
	}
	if s.srv.LMTP {
		s.say("220 " + s.srv.hostname() + " LMTP")
		return
	}
	s.say("220 " + s.srv.hostname() + " ESMTP")
}

func (s *session) refuseSession(ctx context.Context, err error) {
	reply := s.refusal(ctx, "connect", err)
	if reply.Temporary() {
		reply.Code = 421 // RFC 5321 §4.3.2 has no other 4xx greeting
	}
	s.answer(ctx, "connect", reply)
	s.refused = true
	s.done = reply.Code == 421 || reply.Code == 521 // RFC 7504 §2: with 521, the server may close at once
}

// handleLine acts on the results of readLine.
func (s *session) handleLine(ctx context.Context, line []byte, err error) {
	switch {
	case err == nil && s.env == nil && s.srv.draining.Load():
		s.say("421 4.3.2 shutting down")
		s.done = true
	case err == nil && s.env == nil && s.mustEnd():
		s.handleLine(ctx, nil, errCrowded)
	case err == nil:
		s.command(ctx, line)
	case errors.Is(err, errLineLong), errors.Is(err, errLineEnd):
		s.refuse(ctx, "", "500 5.5.2 "+err.Error())
	case errors.Is(err, errChunkLine):
		s.refuseChunk(ctx)
	case errors.Is(err, errDraining):
		s.say("421 4.3.2 shutting down")
		s.done = true
	case errors.Is(err, errCrowded):
		s.say("421 4.7.0 too many connections")
		s.done, s.abrupt = true, true
	case errors.Is(err, errJunk):
		s.say("421 4.7.0 line too long")
		s.done, s.abrupt = true, true
	case timedOut(err):
		s.say("421 4.4.2 timed out")
		s.done = true
	case errors.Is(err, io.EOF):
		s.done = true
	default:
		s.note(ctx, slog.LevelDebug, "connection lost", "err", err)
		s.done = true
	}
}

// reset ends the transaction, if there is one, without a message.
func (s *session) reset(ctx context.Context) {
	s.failed, s.discarded, s.owed = false, 0, 0
	if s.env != nil {
		s.finish(ctx, nil)
	}
}

// finish ends the transaction with the reply to its message, or nil.
func (s *session) finish(ctx context.Context, reply *smtp.Reply) {
	s.tellDone(ctx, reply)
	s.closeTransaction()
	s.letGo()
	s.env, s.asked, s.busy, s.attrs = nil, 0, false, nil
	s.chunking, s.failed, s.discarded, s.owed = false, false, 0, 0
	s.peer.Allowed = s.peer.Username != ""
}

// say adds a reply of one line to the pending ones.
func (s *session) say(line string) {
	s.out = append(append(s.out, line...), '\r', '\n')
}

// refuse sends a refusal of one line. A 5xx counts as an error.
func (s *session) refuse(ctx context.Context, verb, line string) {
	s.note(ctx, slog.LevelDebug, "refused", "verb", verb, "reply", line)
	s.say(line)
	s.count(line[0] == '5')
}

// answer sends a reply from the Handler or a parser.
func (s *session) answer(ctx context.Context, verb string, r *smtp.Reply) {
	s.reply(ctx, verb, r)
	s.count(r.Permanent())
}

// reply is answer for one of several replies to a command: it counts no error.
func (s *session) reply(ctx context.Context, verb string, r *smtp.Reply) {
	full := *r
	if full.Enhanced == (smtp.EnhancedCode{}) {
		// RFC 2034 §4: every 2xx, 4xx and 5xx reply has an enhanced code.
		full.Enhanced = smtp.EnhancedCode{full.Code / 100, 0, 0}
	}
	if !full.Positive() {
		s.note(ctx, slog.LevelDebug, "refused", "verb", verb, "reply", full.Error())
	}
	s.out = full.AppendTo(s.out)
	if full.Code == 421 || full.Code == 521 { // RFC 5321 §3.8, RFC 7504 §2
		s.done, s.abrupt = true, true
	}
}

// reject sends the reply to an error from the Handler or a parser.
func (s *session) reject(ctx context.Context, verb string, err error) {
	s.answer(ctx, verb, s.refusal(ctx, verb, err))
}

// refusal returns a copy of the reply in err. An error without one is logged and becomes 451, unless it says that ctx
// has ended.
func (s *session) refusal(ctx context.Context, verb string, err error) *smtp.Reply {
	if r, ok := errors.AsType[*smtp.Reply](err); ok && r != nil && r.Code >= 400 && r.Code <= 599 {
		reply := *r
		return &reply
	}
	if stopped(ctx, err) {
		return smtp.NewReply(421, "4.3.2", "shutting down")
	}
	s.note(ctx, slog.LevelError, "handler failed", "verb", verb, "err", err)
	return smtp.NewReply(451, "4.3.0", "internal error")
}

// stopped reports whether err of a Handler says that ctx has ended: the server closes, and nothing has failed.
func stopped(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, ctx.Err())
}

// count counts an error, and ends the session after too many.
func (s *session) count(isError bool) {
	if !isError || s.done {
		return
	}
	s.errors++
	if s.errors > cmp.Or(s.srv.MaxErrors, defaultMaxErrors) {
		s.say("421 4.7.0 too many errors")
		s.done, s.abrupt = true, true
	}
}

// note logs a line of the session, if there is a Logger.
func (s *session) note(ctx context.Context, level slog.Level, msg string, args ...any) {
	if s.log != nil {
		s.log.Log(ctx, level, msg, args...)
	}
}
