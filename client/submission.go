package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
)

// Submission sends messages to a submission server (RFC 6409). It is an [smtp.Sender]. Several goroutines may use it.
// It keeps sessions for later messages, so that many messages take one handshake and one AUTH. Its fields must not
// change after the first Send or Check.
//
// Submission has the fields of a [Transport] that most programs need. For all of them, use a Transport with a route by
// mx.Smarthost.
type Submission struct {
	// Addr is the server, as "host:port". The port is 587 (STARTTLS) or 465 (implicit TLS) at most servers. It may also
	// be the path of a Unix socket, beginning with "/".
	Addr string

	// Auth authenticates: *[Credentials], by the strongest mechanism that the server has, or an smtp.AuthMechanism. If
	// nil, sessions don't authenticate.
	Auth smtp.Auth

	// TLSConfig is a template: see Conn.TLSConfig.
	TLSConfig *tls.Config

	// TLS is how strictly the session demands TLS. If zero, mx.TLSRequired: a Submission is never opportunistic. With
	// mx.TLSNone a password is sent to this machine only.
	TLS mx.TLSLevel

	// TLSStart is how TLS begins. If zero, mx.TLSByPort: implicit TLS at port 465, STARTTLS elsewhere.
	TLSStart mx.TLSStart

	// Hostname is the name of this machine in EHLO. If empty, see Conn.Hostname.
	Hostname string

	// Timeouts bound each wait of a session and each attempt as a whole. If zero, see [Timeouts].
	Timeouts Timeouts

	// MaxSessions is the most sessions that are open at a time, idle ones included. A Send beyond it waits for its
	// turn, in order of arrival, until its ctx ends: then its recipients are Deferred. If zero, 3, since some providers
	// take no more from one account; if negative, there is no bound.
	MaxSessions int

	// IdleTimeout is how long a session is kept without a message. If zero, 5 s; if negative, each message has a
	// session of its own.
	IdleTimeout time.Duration

	// Resolver finds the addresses of the server. If nil, the system's resolver does, with the hosts file.
	Resolver mx.Resolver

	// DialContext connects to "ip:port" on "tcp", or to a path on "unix". If nil, a net.Dialer.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// Replies classifies the replies of the server: see Transport.Replies. With a rule that can't be used, every Send
	// and Check fails.
	Replies *replies.Classifier

	// LeaveIncomplete leaves messages without a Date or a Message-ID as they are. If false, these fields are added: see
	// [AddMissing].
	LeaveIncomplete bool

	// Wrap returns a Sender around that of the Submission, to sign messages for example: see dkim.Signer.Wrap. It gets
	// them with the fields that AddMissing adds. It is called once. If nil, nothing is around it.
	Wrap func(next smtp.Sender) smtp.Sender

	// Trace is called with the commands and replies of each session. If nil, nothing is traced.
	Trace *Trace

	once      sync.Once
	transport *Transport
	sender    smtp.Sender // around the Transport
	route     mx.Route
	err       error // the first field that is wrong
}

// defaultMaxSessions is what Exchange Online takes from one mailbox. Servers with a lower bound are not known.
const defaultMaxSessions = 3

// Send sends one message, by the rules of [smtp.Sender] and as [Transport.Send] does: it returns exactly one Result for
// each recipient, in the order of the envelope. At MaxSessions it waits first.
func (s *Submission) Send(ctx context.Context, env *smtp.Envelope, content smtp.Content) ([]smtp.Result, error) {
	s.once.Do(s.prepare)
	if s.err != nil {
		m := newMessage(env, content)
		r := smtp.NewReply(451, "4.3.5", "the submission server is not configured")
		f := &failure{stage: smtp.StageRoute, reply: r, local: true, cause: s.err}
		m.fail(m.rcpts, f)
		return m.results, f
	}
	if s.Wrap == nil {
		return s.sender.Send(ctx, env, content)
	}
	var (
		results []smtp.Result
		err     error
	)
	p := guard.Call(func() { results, err = s.sender.Send(ctx, env, content) })
	if p != nil {
		results, err = nil, fmt.Errorf("client: Submission.Wrap: %w", p)
	}
	results, _ = smtp.Complete(env, results, err)
	if p != nil {
		for i := range results { // no one else has this slice
			results[i].Outcome = smtp.Unknown // it may have been sent before
		}
	}
	return s.Replies.Complete(results), err
}

// Close sends QUIT in every session and closes it. It returns when all Sends that began before have returned. The Sends
// that wait for their turn are among these: they are still sent, unless their ctx ends. A later Send or Check fails
// with [ErrClosed]. Close may be called more than once, and always returns nil.
//
// A program may also end without Close: the server then finds the connections closed, which does no harm.
func (s *Submission) Close() error {
	s.once.Do(s.prepare)
	if s.err != nil {
		return nil
	}
	return s.transport.Close()
}

func (s *Submission) prepare() {
	route, err := mx.Smarthost(s.Addr)
	if err != nil {
		const text = `client: Submission.Addr %q: set it to "host:port", as in "smtp.example.com:587": %w`
		s.err = fmt.Errorf(text, s.Addr, err)
		return
	}
	route.TLS, route.TLSStart = cmp.Or(s.TLS, mx.TLSRequired), s.TLSStart
	route.Auth = s.Auth
	router := &mx.Router{Resolver: s.Resolver, Routes: map[string]mx.Route{"*": route}}
	if err := router.Check(); err != nil {
		s.err = fmt.Errorf("client: Submission.TLS %q and TLSStart %q contradict each other: clear one of them: %w",
			s.TLS, s.TLSStart, err)
		return
	}
	if f := s.Timeouts.check(); f != nil {
		s.err = fmt.Errorf("client: Submission.%w", f.cause)
		return
	}
	if err := s.Replies.Check(); err != nil {
		s.err = fmt.Errorf("client: Submission.Replies: %w", err)
		return
	}
	sessions := max(0, cmp.Or(s.MaxSessions, defaultMaxSessions))
	s.route = route
	s.transport = &Transport{
		Hostname:       s.Hostname,
		Router:         router,
		DialContext:    s.DialContext,
		TLSConfig:      s.TLSConfig,
		Timeouts:       s.Timeouts,
		IdleTimeout:    cmp.Or(s.IdleTimeout, 5*time.Second),
		MaxIdle:        sessions,
		MaxIdlePerHost: sessions,
		Replies:        s.Replies,
		Trace:          s.Trace,
		maxSessions:    sessions,
	}
	s.sender = s.transport
	if s.Wrap != nil {
		p := guard.Call(func() { s.sender = s.Wrap(s.transport) })
		switch {
		case p != nil:
			s.err = fmt.Errorf("client: Submission.Wrap: %w", p)
		case s.sender == nil:
			s.err = errors.New("client: Submission.Wrap returns nil: return next for no Sender around it")
		}
	}
	if !s.LeaveIncomplete {
		s.sender = AddMissing(s.sender)
	}
}
