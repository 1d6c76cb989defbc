package server

import (
	"cmp"
	"context"

	"github.com/postrider/postrider/smtp"
)

// mail runs MAIL: it begins a transaction.
func (s *session) mail(ctx context.Context, args string) {
	switch {
	case s.peer.Hello == "":
		if s.srv.LMTP {
			s.refuse(ctx, "MAIL", "503 5.5.1 send LHLO first")
			return
		}
		s.refuse(ctx, "MAIL", "503 5.5.1 send EHLO first") // RFC 5321 §4.1.4
		return
	case s.srv.RequireAuth && s.peer.Username == "":
		if !s.authOffered() && s.srv.TLSConfig != nil {
			s.refuse(ctx, "MAIL", "530 5.7.0 STARTTLS and AUTH are required first") // RFC 3207 §4
			return
		}
		s.refuse(ctx, "MAIL", "530 5.7.0 AUTH is required first") // RFC 6409 §4.3, RFC 4954 §6
		return
	case s.env != nil:
		s.refuse(ctx, "MAIL", "503 5.5.1 a transaction is already open")
		return
	case s.srv.MaxMails > 0 && s.peer.Tx >= s.srv.MaxMails: // RFC 9422 §4.1: MAILMAX
		s.say("421 4.7.0 too many messages in this session")
		s.done, s.abrupt = true, true
		return
	}
	if s.srv.Lenient {
		args = tidy(args, "FROM")
	}
	env, err := smtp.ParseMail(args)
	if err != nil {
		s.reject(ctx, "MAIL", err)
		return
	}
	switch {
	case s.srv.NoDSN && (env.Ret != 0 || env.EnvID != ""):
		s.refuse(ctx, "MAIL", "555 5.5.4 DSN not offered") // RFC 5321 §4.1.1.11
		return
	case s.srv.memory.Load() > cmp.Or(s.srv.MaxMemory, defaultMaxMemory):
		s.answer(ctx, "MAIL", errMemory)
		return
	case env.Size > s.srv.maxSize():
		s.refuse(ctx, "MAIL", "552 5.3.4 message too big") // RFC 1870 §6.1
		return
	}
	if fault := s.unfit(env); fault != "" {
		s.refuse(ctx, "MAIL", fault)
		return
	}
	if env.Auth != "" && s.peer.Username == "" {
		env.Auth = "<>" // RFC 4954 §5: only trusted clients may set it
	}
	s.peer.Tx++
	s.allowed = true
	if c, ok := s.srv.Handler.(MailChecker); ok {
		if err := c.CheckMail(ctx, &s.peer, env); err != nil {
			s.reject(ctx, "MAIL", err)
			return
		}
	}
	s.openTransaction(env)
	err = s.askPlain(ctx, "mail", func(c *Check) func(context.Context, *Session) error { return c.Mail })
	if err != nil {
		s.closeTransaction()
		s.reject(ctx, "MAIL", err)
		return
	}
	s.env, s.busy = env, true
	s.failed, s.discarded, s.owed = false, 0, 0
	s.say("250 2.1.0 sender ok")
}

// rcpt runs RCPT: it adds a recipient.
func (s *session) rcpt(ctx context.Context, args string) {
	if s.env == nil {
		s.refuse(ctx, "RCPT", "503 5.5.1 send MAIL first")
		return
	}
	if s.chunking {
		s.refuse(ctx, "RCPT", "503 5.5.1 the message has begun") // the Handler has the envelope
		return
	}
	if s.srv.Lenient {
		args = tidy(args, "TO")
	}
	rcpt, err := smtp.ParseRcpt(args)
	if err != nil {
		s.reject(ctx, "RCPT", err)
		return
	}
	switch {
	case !s.env.UTF8 && smtp.NeedsUTF8(args):
		s.refuse(ctx, "RCPT", "553 5.6.7 the address requires SMTPUTF8") // RFC 6531 §3.5
		return
	case s.srv.NoDSN && (rcpt.Notify != 0 || rcpt.ORCPT != ""):
		s.refuse(ctx, "RCPT", "555 5.5.4 DSN not offered") // RFC 5321 §4.1.1.11
		return
	case len(s.env.Recipients) >= s.maxRecipients():
		s.refuse(ctx, "RCPT", "452 4.5.3 too many recipients") // RFC 5321 §4.5.3.1.10
		return
	}
	rcpt, n := s.compact(rcpt, args)
	if full := s.holdRcpt(n); full != nil {
		s.answer(ctx, "RCPT", full)
		return
	}
	if err := s.checkRcpt(ctx, rcpt); err != nil {
		s.dropRcpt(n)
		s.reject(ctx, "RCPT", err)
		return
	}
	s.env.Recipients = append(s.env.Recipients, rcpt)
	s.say("250 2.1.5 recipient ok")
}

// checkRcpt asks the Handler about a recipient, and then the checks.
func (s *session) checkRcpt(ctx context.Context, rcpt smtp.Recipient) error {
	was := s.allowed
	err := s.askHandler(ctx, rcpt)
	if err == nil {
		err = s.askRcpt(ctx, rcpt)
	}
	if err != nil {
		s.allowed = was
	}
	return err
}

// askHandler asks the Handler about a recipient: first whether the client may relay to it, then whether to accept it.
func (s *session) askHandler(ctx context.Context, rcpt smtp.Recipient) error {
	authenticated := s.peer.Username != ""
	s.peer.Allowed = authenticated // the answer to the RCPT before is not about this one
	if a, ok := s.srv.Handler.(Allower); ok && !authenticated {
		allowed, err := a.Allow(ctx, &s.peer, s.env, rcpt)
		if err != nil {
			return err
		}
		s.peer.Allowed = allowed
	}
	if c, ok := s.srv.Handler.(RcptChecker); ok {
		if err := c.CheckRcpt(ctx, &s.peer, s.env, rcpt); err != nil {
			return err
		}
	}
	s.allowed = s.allowed && s.peer.Allowed
	return nil
}
