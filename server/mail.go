package server

import (
	"context"

	"github.com/postrider/postrider/smtp"
)

// mail runs MAIL: it begins a transaction.
func (s *session) mail(ctx context.Context, args string) {
	switch {
	case s.peer.Hello == "":
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
	}
	env, err := smtp.ParseMail(args)
	if err != nil {
		s.reject(ctx, "MAIL", err)
		return
	}
	switch {
	case env.Body == smtp.BodyBinaryMIME:
		s.refuse(ctx, "MAIL", "555 5.5.4 BINARYMIME not offered") // RFC 3030 §3
		return
	case env.Size > s.srv.maxSize():
		s.refuse(ctx, "MAIL", "552 5.3.4 message too big") // RFC 1870 §6.1
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
	s.env, s.busy = env, true
	s.say("250 2.1.0 sender ok")
}

// rcpt runs RCPT: it adds a recipient.
func (s *session) rcpt(ctx context.Context, args string) {
	if s.env == nil {
		s.refuse(ctx, "RCPT", "503 5.5.1 send MAIL first")
		return
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
	case len(s.env.Recipients) >= s.maxRecipients():
		s.refuse(ctx, "RCPT", "452 4.5.3 too many recipients") // RFC 5321 §4.5.3.1.10
		return
	}
	if err := s.checkRcpt(ctx, rcpt); err != nil {
		s.reject(ctx, "RCPT", err)
		return
	}
	s.env.Recipients = append(s.env.Recipients, rcpt)
	s.say("250 2.1.5 recipient ok")
}

// checkRcpt asks the Handler about a recipient: first whether the client may relay to it, then whether to accept it.
func (s *session) checkRcpt(ctx context.Context, rcpt smtp.Recipient) error {
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
