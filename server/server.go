package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// ErrServerClosed is the error of a Serve that is called after Shutdown or Close, or after an earlier Serve ended.
var ErrServerClosed = errors.New("server: Serve was called on a server that is closed: use a new one")

// Server is an SMTP server. A literal with a Handler works. It can't be used again once it was
// closed.
type Server struct {
	// Hostname is what the server calls itself. If empty, the name that the machine has.
	Hostname string

	// Handler takes the mail. It must be set.
	Handler Handler

	// TLSConfig is the template for STARTTLS: it is copied, with TLS 1.2 as the least and session
	// tickets off. If nil, there is no STARTTLS.
	TLSConfig *tls.Config

	// Authenticate says whether the password is that of username. nil: it is, and Peer.Username
	// becomes username. ErrAuthFailed: it isn't. A *smtp.Reply in the error is what is said; any
	// other error is a fault of ours, 454 4.7.0. If nil, there is no AUTH.
	Authenticate func(ctx context.Context, p *Peer, username, password string) error

	// AllowInsecureAuth offers AUTH also on a connection without TLS.
	AllowInsecureAuth bool

	// RequireAuth refuses MAIL with 530 5.7.0 until the client has authenticated: for the submission ports 587 and
	// 465 (RFC 6409 §4.3). It needs Authenticate, and a connection on which AUTH is offered: a TLS listener,
	// TLSConfig or AllowInsecureAuth.
	RequireAuth bool

	// MaxSize bounds a message in octets: 552 5.3.4. If zero, 50 MiB.
	MaxSize int64

	// MaxLine bounds a line of a message in octets, CRLF included. If zero, only MaxSize does.
	MaxLine int

	// MaxRecipients bounds the recipients of a message: 452 4.5.3. If zero, 1000.
	MaxRecipients int

	// MaxDrain bounds the octets of a refused message that are read and thrown away, so that the
	// connection can go on; past it, it is closed. If zero, MaxSize.
	MaxDrain int64

	// MaxErrors bounds the 5xx replies in a session without a mail taken in between, those to
	// recipients and to AUTH included; the next is followed by 421. If zero, 20.
	MaxErrors int

	// MaxCommands bounds the commands in a session without a mail taken in between, not counting
	// RCPT up to twice MaxRecipients in a transaction. If zero, 100.
	MaxCommands int

	// MaxConns bounds the connections, and MaxConnsPerIP those from one IPv4 address or one
	// IPv6 /64 network: 421 4.7.0. If zero, 1000 and 100.
	MaxConns      int
	MaxConnsPerIP int

	// CommandTimeout bounds the wait for one command, from the reply before it to its CRLF, the
	// wait for a TLS handshake, and the wait for a client to take its replies. If zero, 5 minutes
	// (RFC 5321 §4.5.3.2.7).
	CommandTimeout time.Duration

	// DataTimeout and MinDataRate bound the wait for a message. MinDataRate is in octets a second,
	// and a client that is slower may fall behind it by DataTimeout; only the time that the server
	// waits for the client counts. If zero, 5 minutes and 1024.
	DataTimeout time.Duration
	MinDataRate int

	// SessionTimeout bounds a session in all: past it, 421 4.4.2 is said at the next command.
	// If zero, 1 hour.
	SessionTimeout time.Duration

	// Grace bounds the wait for running transactions once the context of Serve has ended. If
	// zero, 30 seconds.
	Grace time.Duration

	// Logger gets a line for each session at Debug and for each mail at Info. If nil, none.
	Logger *slog.Logger

	pool    sync.Pool // of *buffers
	tlsOnce sync.Once
	tls     *tls.Config // TLSConfig, hardened

	draining atomic.Bool // no new sessions and transactions; set once

	mu        sync.Mutex
	listeners []net.Listener
	cancels   []context.CancelFunc // of the contexts that Handlers have
	sessions  map[*session]struct{}
	turned    int                  // how many of sessions are only there to be turned away
	sources   map[netip.Prefix]int // the other sessions, by where they come from
	drained   chan struct{}        // closed when draining and without sessions
}

// Serve accepts connections on l until ctx ends, or until Shutdown or Close; then it closes l, waits for all sessions
// and returns nil. When ctx ends, the whole server shuts down as by Shutdown, with Grace as the bound. Serve may be
// called for several listeners at once. If a listener fails, its Serve returns the error, and the server shuts down as
// if ctx had ended. Serve returns ErrServerClosed if the server was closed before and ctx hasn't ended.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	defer l.Close()
	if s.Handler == nil {
		return errors.New("server: Handler is nil")
	}
	if s.RequireAuth && s.Authenticate == nil {
		return errors.New("server: RequireAuth is set, but Authenticate is nil: no client could send mail; set Authenticate")
	}
	// Handlers see the values of ctx, but not its end: a transaction may finish.
	handling, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	if !s.open(l, cancel) {
		if ctx.Err() != nil {
			return nil // the end of ctx closed the server: another Serve with the same ctx saw it first
		}
		return ErrServerClosed
	}

	watched := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { defer close(watched); s.drain() })
	err := s.accept(ctx, handling, l)
	if !stop() {
		<-watched
	}

	drained := s.drain()
	if err == nil {
		select {
		case <-drained:
			return nil
		case <-ctx.Done():
		}
	}
	grace, done := context.WithTimeout(context.WithoutCancel(ctx), cmp.Or(s.Grace, 30*time.Second))
	defer done()
	s.Shutdown(grace)
	<-drained
	return err
}

// Shutdown stops accepting, tells idle sessions 421 4.3.2 and closes them, and waits for running
// transactions. When ctx ends before they do it closes the server hard, as Close does, and returns the error
// of ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	drained := s.drain()
	select {
	case <-drained:
		return nil
	default:
	}
	select {
	case <-drained:
		return nil
	case <-ctx.Done():
		s.Close()
		return fmt.Errorf("server: shutdown: %w", ctx.Err())
	}
}

// Close closes all listeners and connections at once, and ends the contexts of the Handlers. It doesn't
// wait for them; Serve does. The error is always nil.
func (s *Server) Close() error {
	s.drain()
	s.mu.Lock()
	sessions := s.all()
	cancels := s.cancels
	s.mu.Unlock()
	for _, cancel := range cancels {
		cancel()
	}
	for _, sess := range sessions {
		sess.raw.Close()
	}
	return nil
}

// open notes what Close and Shutdown need to know of a Serve. It is false if the server is closed.
func (s *Server) open(l net.Listener, cancel context.CancelFunc) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() {
		return false
	}
	s.listeners = append(s.listeners, l)
	s.cancels = append(s.cancels, cancel)
	return true
}

// accept starts a session for each connection. nil: the server is draining.
func (s *Server) accept(ctx, handling context.Context, l net.Listener) error {
	var pause time.Duration
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			s.start(handling, nc)
		case s.draining.Load():
			return nil
		case !temporary(err):
			return fmt.Errorf("server: accept: %w", err)
		default:
			// Out of descriptors, most likely: sessions that end will free some.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.log(ctx, slog.LevelError, "accept failed", "err", err, "pause", pause)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
		}
	}
}

func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// start runs a session on its own goroutine, or turns the connection away.
func (s *Server) start(ctx context.Context, nc net.Conn) {
	sess := newSession(s, nc)
	ok, why := s.admit(sess)
	switch {
	case ok:
		go sess.serve(ctx)
	case why != "":
		go sess.turnAway(ctx, why)
	default:
		nc.Close()
	}
}

// drain begins a shutdown: no more accepting, and idle sessions are woken to say goodbye. The channel is
// closed when the last session has ended.
func (s *Server) drain() <-chan struct{} {
	s.mu.Lock()
	if s.draining.Load() {
		defer s.mu.Unlock()
		return s.drained
	}
	s.drained = make(chan struct{})
	s.draining.Store(true)
	if len(s.sessions) == 0 {
		close(s.drained)
	}
	listeners, sessions := s.listeners, s.all()
	s.mu.Unlock()

	for _, l := range listeners {
		l.Close()
	}
	for _, sess := range sessions {
		sess.wake()
	}
	return s.drained
}

// all lists the sessions. s.mu is held.
func (s *Server) all() []*session {
	list := make([]*session, 0, len(s.sessions))
	for sess := range s.sessions {
		list = append(list, sess)
	}
	return list
}

func (s *Server) hostname() string {
	if s.Hostname != "" {
		return s.Hostname
	}
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}

func (s *Server) maxSize() int64 { return cmp.Or(s.MaxSize, 50<<20) }

// log is for what belongs to no session.
func (s *Server) log(ctx context.Context, level slog.Level, msg string, args ...any) {
	if s.Logger != nil {
		s.Logger.Log(ctx, level, msg, args...)
	}
}
