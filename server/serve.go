package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"
)

// ErrServerClosed is the error of Serve on a server that was closed before: by Shutdown, by Close, or by the end of
// another Serve.
var ErrServerClosed = errors.New("server: Serve on a closed server: use a new one, or a Clone")

// Serve accepts connections on l until ctx ends, or until Shutdown or Close; then it closes l, waits for all sessions
// and returns nil. When ctx ends, the whole server shuts down as by Shutdown, with Grace as the bound. Serve may be
// called for several listeners at once. If l was closed by others (net.ErrClosed, io.EOF or io.ErrClosedPipe from its
// Accept), Serve returns the error, and the server shuts down as if ctx had ended. After any other error of Accept,
// Serve logs it and tries again, after 5 ms, doubled up to 1 s. Serve returns ErrServerClosed if the server was closed
// before and ctx hasn't ended.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	tcp, plain := l.(*net.TCPListener)
	if l == nil || plain && tcp == nil {
		return errors.New("server: Serve: the listener is nil: pass one of net.Listen or NewTLSListener")
	}
	defer l.Close()
	if err := s.Check(); err != nil {
		return err
	}
	if isPlain(l) && s.RequireAuth && s.TLSConfig == nil && !s.AllowInsecureAuth {
		return fmt.Errorf("server: RequireAuth is true, but no TLS is possible at %v, so no client could send mail:"+
			" set TLSConfig, or pass a listener made by server.NewTLSListener", l.Addr())
	}
	// The contexts of Handlers have the values of ctx but not its end: transactions may finish.
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
	grace, done := context.WithTimeout(context.WithoutCancel(ctx), cmp.Or(s.Grace, defaultGrace))
	defer done()
	s.Shutdown(grace)
	<-drained
	return err
}

// isPlain reports whether no connection of l has TLS: it is one of TCP, or wraps one and returns it by Unwrap.
func isPlain(l net.Listener) bool {
	for {
		if _, ok := l.(*net.TCPListener); ok {
			return true
		}
		wraps, ok := l.(interface{ Unwrap() net.Listener })
		if !ok {
			return false
		}
		l = wraps.Unwrap()
	}
}

// Shutdown stops accepting connections, closes idle sessions with 421 4.3.2, and waits until running transactions have
// ended. If ctx ends first, Shutdown closes the server as Close does and returns the error of ctx.
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

// Close closes all listeners and connections at once, and ends the contexts of Handlers. Serve, not Close, waits until
// they have returned. The error is always nil.
func (s *Server) Close() error {
	s.leave()
	s.mu.Lock()
	sessions := s.all()
	cancels := s.cancels
	s.mu.Unlock()
	// First, so that what the end of its context makes of a session isn't sent any more.
	for _, sess := range sessions {
		sess.raw.Close()
	}
	for _, cancel := range cancels {
		cancel()
	}
	return nil
}

// open registers a Serve for Close and Shutdown. It returns false if the server is closed.
func (s *Server) open(l net.Listener, cancel context.CancelFunc) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() {
		return false
	}
	if s.leaving == nil {
		s.leaving = make(chan struct{})
	}
	s.listeners = append(s.listeners, l)
	s.cancels = append(s.cancels, cancel)
	return true
}

// accept starts a session for each connection. It returns nil when the server is draining.
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
		case errors.Is(err, net.ErrClosed), errors.Is(err, io.EOF), errors.Is(err, io.ErrClosedPipe):
			return fmt.Errorf("server: accept: %w", err)
		default:
			// Probably no file descriptor is free, or the connection was gone before it was accepted.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.log(ctx, slog.LevelError, "accept failed", "err", err, "pause", pause)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			case <-s.leaving:
			}
		}
	}
}

// hasten wakes the sessions once when the server has become crowded, so that their waits are shortened.
func (s *Server) hasten() {
	s.mu.Lock()
	if !s.updateCrowded() {
		s.mu.Unlock()
		return
	}
	sessions := s.all()
	s.mu.Unlock()
	for _, sess := range sessions {
		sess.hasten()
	}
}

// start runs a session in its own goroutine, or refuses the connection.
func (s *Server) start(ctx context.Context, nc net.Conn) {
	sess := newSession(s, nc)
	ok, refusal := s.admit(sess)
	s.hasten()
	switch {
	case ok:
		go sess.serve(ctx)
	case refusal != "":
		go sess.turnAway(ctx, refusal)
	default:
		nc.Close()
	}
}

// drain begins a shutdown: it closes the listeners and wakes idle sessions, which send 421 and end. The returned
// channel is closed when the last session has ended.
func (s *Server) drain() <-chan struct{} {
	for _, sess := range s.leave() {
		sess.wake()
	}
	return s.drained
}

// leave closes the listeners, if neither Shutdown nor Close has begun. Then it returns the sessions, of which none is
// added from then on.
func (s *Server) leave() []*session {
	s.mu.Lock()
	if s.draining.Load() {
		s.mu.Unlock()
		return nil
	}
	s.drained = make(chan struct{})
	s.draining.Store(true)
	if s.leaving != nil {
		close(s.leaving)
	}
	if len(s.sessions) == 0 {
		close(s.drained)
	}
	listeners, sessions := s.listeners, s.all()
	s.mu.Unlock()
	for _, l := range listeners {
		l.Close()
	}
	return sessions
}

// all returns the sessions. The caller holds s.mu.
func (s *Server) all() []*session {
	list := make([]*session, 0, len(s.sessions))
	for sess := range s.sessions {
		list = append(list, sess)
	}
	return list
}
