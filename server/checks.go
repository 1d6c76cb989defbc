package server

import (
	"context"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/smtp"
)

// Check is a set of funcs that the server calls at the moments of a session, to look at a client and its mail. Any func
// may be nil. Each of [Server.Checks] is called in its order, after the Handler's own method for that moment
// ([MailChecker] for example).
//
// An error refuses, as an error of a [Handler] does, and the checks after it aren't called. A check can also look at
// one moment and refuse at a later one: it keeps its result by [Session.SetValue]. To weigh several results, a check
// after the others reads them by [Value]: see the example.
//
// The funcs of one session are called one after another, those of different sessions concurrently. ctx is that of a
// [Handler]: it doesn't end when the client leaves. A check must bound its own time: the client waits, and gives up
// after 5 minutes (RFC 5321 §4.5.3.2). A panic ends the session, as a panic of a Handler does.
type Check struct {
	// Name is the name in log lines and findings, for example "dnsbl". It must be set.
	Name string

	// Fault is a mistake in the settings of the check. [Server.Check] returns it, so a server with a Fault doesn't
	// start. If nil, there is none.
	Fault error

	// Trusted calls the funcs also for a client that has authenticated or may relay ([Peer.Allowed]). If false, they
	// aren't called after a client has authenticated, nor from RCPT on for one that [Allower] lets relay. Before RCPT,
	// an Allower hasn't been asked: so a check of the client's address should refuse at RCPT, not before.
	// Auth, Done and Closed are called for every client.
	Trusted bool

	// Connect is called before the greeting. An error refuses the session: see [ConnectChecker].
	Connect func(ctx context.Context, s *Session) error

	// Hello is called at EHLO, HELO and LHLO. [Peer.Hello] has the new name, and there is no transaction. After an
	// error, the session is as it was before the command: it has its old name, and its transaction if there was one
	// (RFC 5321 §4.1.4). Between the chunks of a message, however, EHLO ends the message in any case.
	Hello func(ctx context.Context, s *Session) error

	// Auth is called when a client has authenticated. After an error it hasn't.
	Auth func(ctx context.Context, s *Session) error

	// Mail is called at MAIL. The Envelope has no recipients yet.
	Mail func(ctx context.Context, s *Session) error

	// Rcpt is called at RCPT. The Envelope has the recipients accepted so far, without rcpt.
	Rcpt func(ctx context.Context, s *Session, rcpt smtp.Recipient) error

	// Content is called with a complete message, before the Handler gets it. It may change the message, and
	// the From, the RequireTLS and the Recipients of the Envelope. A recipient is added by [Session.AddRecipient]. If
	// none is left, the message is accepted, and no Handler gets it.
	Content func(ctx context.Context, s *Session, m *Message) error

	// Done is called when a transaction ends. reply is the reply to its message, nil if there was none: after RSET, for
	// example, or a lost connection. It is called also if an earlier func refused, but not after a refused MAIL.
	Done func(ctx context.Context, s *Session, reply *smtp.Reply)

	// Closed is called when a session ends that got a greeting or a refusal from the Handler or a check. It is also
	// called at XCLIENT, after which the session begins again with Connect.
	Closed func(ctx context.Context, s *Session)
}

// ask calls one func of each check until one refuses. call returns nil for a func that is nil.
func (s *session) ask(ctx context.Context, moment string, call func(*Check) func() error) error {
	for i := range s.srv.Checks {
		c := &s.srv.Checks[i]
		f := call(c)
		if f == nil || !s.asks(c) && moment != "auth" {
			continue
		}
		s.visit.check, s.visit.moment = c.Name, moment
		if err := f(); err != nil {
			reply := s.refusal(ctx, c.Name, err)
			s.visit.report(ctx, Finding{c.Name, moment, reply.Error(), reply})
			return reply
		}
	}
	return nil
}

// asks reports whether a check is asked about this client.
func (s *session) asks(c *Check) bool { return c.Trusted || s.peer.Username == "" && !s.peer.Allowed }

// orNil returns f if there is something to call.
func orNil(there bool, f func() error) func() error {
	if there {
		return f
	}
	return nil
}

// askPlain is ask for the funcs that get the Session alone.
func (s *session) askPlain(
	ctx context.Context, moment string, field func(*Check) func(context.Context, *Session) error,
) error {
	return s.ask(ctx, moment, func(c *Check) func() error {
		f := field(c)
		return orNil(f != nil, func() error { return f(ctx, s.visit) })
	})
}

// askRcpt asks the checks about a recipient.
func (s *session) askRcpt(ctx context.Context, rcpt smtp.Recipient) error {
	return s.ask(ctx, "rcpt", func(c *Check) func() error {
		return orNil(c.Rcpt != nil, func() error { return c.Rcpt(ctx, s.visit, rcpt) })
	})
}

// askHello asks the checks about the name in EHLO. If none refuses, it becomes that of the client, the transaction
// ends, and what the checks set at an earlier EHLO is forgotten. Otherwise nothing changes (RFC 5321 §4.1.4).
func (s *session) askHello(ctx context.Context, name string, esmtp bool) error {
	v, was := s.visit, s.peer
	if v == nil {
		s.reset(ctx)
		s.peer.Hello, s.peer.ESMTP = name, esmtp
		return nil
	}
	before := *v
	if v.Envelope != nil {
		v.Envelope, v.marks = nil, v.lasting
	}
	v.marks = v.marks.without(v.hello[0], v.hello[1])
	v.hello[0] = v.marks.clone()
	v.marks = v.marks.clone()
	s.peer.Hello, s.peer.ESMTP = name, esmtp
	err := s.askPlain(ctx, "hello", func(c *Check) func(context.Context, *Session) error { return c.Hello })
	s.peer.Hello, s.peer.ESMTP = was.Hello, was.ESMTP
	if err != nil {
		*v = before
		return err
	}
	v.hello[1] = v.marks.clone()
	if before.Envelope != nil {
		v.Envelope, v.marks, v.lasting = before.Envelope, before.marks, v.marks
	}
	s.reset(ctx)
	s.peer.Hello, s.peer.ESMTP = name, esmtp
	return nil
}

// askAuth asks the checks about a user. What they set is forgotten if one refuses.
func (s *session) askAuth(ctx context.Context) error {
	var before marks
	if s.visit != nil {
		before = s.visit.marks.clone()
	}
	err := s.askPlain(ctx, "auth", func(c *Check) func(context.Context, *Session) error { return c.Auth })
	if err != nil && s.visit != nil {
		s.visit.marks = before
	}
	return err
}

// forget forgets all that the checks set since the greeting.
func (s *session) forget() {
	if v := s.visit; v != nil {
		v.marks, v.hello = v.greeted.clone(), [2]marks{v.greeted, v.greeted}
	}
}

// openTransaction lets the checks see env.
func (s *session) openTransaction(env *smtp.Envelope) {
	if s.visit != nil {
		s.visit.Envelope, s.visit.lasting, s.visit.marks = env, s.visit.marks, s.visit.marks.clone()
	}
}

// closeTransaction hides it again.
func (s *session) closeTransaction() {
	if s.visit != nil {
		s.visit.Envelope, s.visit.marks = nil, s.visit.lasting
	}
}

// tellDone calls the Done funcs. reply is nil if there was no message.
func (s *session) tellDone(ctx context.Context, reply *smtp.Reply) {
	s.tell(ctx, "done", func(c *Check) {
		if c.Done != nil {
			c.Done(ctx, s.visit, reply)
		}
	})
}

// tellClosed calls the Closed funcs.
func (s *session) tellClosed(ctx context.Context) {
	s.tell(ctx, "closed", func(c *Check) {
		if c.Closed != nil {
			c.Closed(ctx, s.visit)
		}
	})
}

// tell calls a func of each check, whatever it thinks of the client. A panic is logged.
func (s *session) tell(ctx context.Context, moment string, call func(*Check)) {
	for i := range s.srv.Checks {
		c := &s.srv.Checks[i]
		s.visit.check, s.visit.moment = c.Name, moment
		if p := guard.Call(func() { call(c) }); p != nil {
			p.Log(ctx, guard.Logger(s.srv.Logger), "check "+c.Name)
		}
	}
}
