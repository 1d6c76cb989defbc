package server

import (
	"cmp"
	"context"
	"errors"
	"log/slog"

	"github.com/postrider/postrider/smtp"
)

// data runs DATA: it passes the message to the Handler.
func (s *session) data(ctx context.Context) {
	switch {
	case s.env == nil:
		s.refuse(ctx, "DATA", "503 5.5.1 send MAIL first")
		return
	case len(s.env.Recipients) == 0 && s.asked > 0:
		s.refuse(ctx, "DATA", "554 5.5.1 no valid recipients") // RFC 5321 §3.3
		return
	case len(s.env.Recipients) == 0:
		s.refuse(ctx, "DATA", "503 5.5.1 send RCPT first")
		return
	}
	s.say("354 end with <CRLF>.<CRLF>")
	s.expectData()
	if _, err := s.in.Peek(1); err != nil { // sends the 354; a client that leaves now never reaches the Handler
		s.abort(ctx, err)
		return
	}
	body := smtp.NewDataReader(s.in)
	body.MaxSize, body.MaxLine = s.srv.maxSize(), s.srv.MaxLine

	s.peer.Allowed = s.allowed
	reply, err := s.srv.Handler.Handle(ctx, &s.peer, s.env, body)
	reply = s.verdict(ctx, reply, err)

	// The rest of the message must never be read as commands, for any reply.
	end := body.Drain(cmp.Or(s.srv.MaxDrain, s.srv.maxSize()))
	if bad, ok := errors.AsType[*smtp.Reply](end); ok {
		reply = bad
	} else if errors.Is(end, smtp.ErrDrain) {
		if reply.Positive() {
			reply = smtp.NewReply(552, "5.3.4", "message too big")
		}
		s.done, s.abrupt = true, true
	} else if end != nil {
		s.abort(ctx, end)
		return
	}
	if reply.Positive() {
		s.errors, s.commands = 0, 0
	}
	if s.log != nil { // reply.Error allocates
		s.note(ctx, slog.LevelInfo, "mail", "tx", s.peer.Transaction(), "from", s.env.From,
			"recipients", len(s.env.Recipients), "reply", reply.Error())
	}
	s.reset()
	s.answer(ctx, "DATA", reply)
}

// abort ends the session because a message ended early. The rest of the message is never read as commands.
func (s *session) abort(ctx context.Context, err error) {
	s.note(ctx, slog.LevelInfo, "mail aborted", "tx", s.peer.Transaction(), "from", s.env.From, "err", err)
	s.handleLine(ctx, nil, err)
	s.done = true
}

// verdict returns the reply to a message, from the results of Handle.
func (s *session) verdict(ctx context.Context, reply *smtp.Reply, err error) *smtp.Reply {
	switch {
	case err != nil:
		return s.refusal(ctx, "DATA", err)
	case reply == nil:
		return smtp.NewReply(250, "2.0.0", "ok")
	case reply.Code >= 200 && reply.Code <= 299:
		return reply
	}
	return s.refusal(ctx, "DATA", reply)
}
