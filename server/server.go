package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Server is an SMTP server. Handler must be set, every other field has a default, and no bound may be negative
// ([Server.Check]). The fields must not change after the first call of Serve. A Server can't be used again after it was
// closed, but its [Server.Clone] can.
type Server struct {
	// Hostname is the name of the server in its greeting and its reply to EHLO: its name in the DNS, in ASCII
	// (A-labels), or an address literal. If empty, the result of os.Hostname, or "localhost" if that is no host name.
	Hostname string

	// Handler receives the mail. It must be set.
	Handler Handler

	// TLSConfig is for STARTTLS. The server uses a copy with TLS 1.2 or later and without session tickets. If nil,
	// STARTTLS is not offered.
	TLSConfig *tls.Config

	// Authenticate checks the password of a user. If it returns nil, the client has authenticated, and Peer.Username is
	// username. ErrAuthFailed is answered 535 5.7.8. A *smtp.Reply of 4xx or 5xx in the error is sent as it is, and any
	// other error is logged and answered 454 4.7.0. It may be called concurrently. If nil, AUTH is not offered.
	Authenticate func(ctx context.Context, p *Peer, username, password string) error

	// AllowInsecureAuth offers AUTH also on a connection without TLS.
	AllowInsecureAuth bool

	// RequireAuth refuses MAIL with 530 5.7.0 until the client has authenticated: for the submission ports 587 and 465
	// (RFC 6409 §4.3). It needs Authenticate, and a connection on which AUTH is offered: a TLS listener, TLSConfig or
	// AllowInsecureAuth. Otherwise Check or Serve returns an error.
	RequireAuth bool

	// MaxSize bounds a message in octets. A larger one is refused with 552 5.3.4. If zero, 50 MiB.
	MaxSize int64

	// MaxLine bounds a line of a message in octets, CRLF included. A message with a longer line is refused with 554
	// 5.6.0. If zero, only MaxSize bounds a line.
	MaxLine int

	// MaxRecipients bounds the recipients of a message. Further ones are refused with 452 4.5.3, and the message goes
	// to the others. If zero, 1000.
	MaxRecipients int

	// MaxDrain bounds the octets of a refused message that the server reads and discards to keep the connection. If
	// more follow, it closes the connection. If zero, MaxSize.
	MaxDrain int64

	// MaxErrors bounds the 5xx replies since the session began or its last message was accepted, replies to RCPT and
	// AUTH included. After one more, the server sends 421 4.7.0 and closes the connection. If zero, 20.
	MaxErrors int

	// MaxCommands bounds the commands since the session began or its last message was accepted. The first 2 ×
	// MaxRecipients RCPT commands of each transaction don't count. One more command is answered 421 4.7.0, and the
	// connection is closed. If zero, 100.
	MaxCommands int

	// MaxConns bounds the connections at a time. A further one is answered 421 4.7.0 and closed, but only 64 at a time
	// get an answer. If zero, 1000.
	MaxConns int

	// MaxConnsPerIP bounds the connections at a time from one IPv4 address or one IPv6 /64 network. A further one is
	// refused in the same way. If zero, 100.
	MaxConnsPerIP int

	// CommandTimeout bounds the wait for a command, from the reply before it to its CRLF. It also bounds the wait for a
	// TLS handshake, and the wait for a client to receive its replies. If zero, 5 minutes (RFC 5321 §4.5.3.2.7).
	CommandTimeout time.Duration

	// DataTimeout bounds how far a client may fall behind MinDataRate while it sends a message. With the defaults, a
	// client that sends nothing is closed after 5 minutes, and one that sends 512 octets a second after 10. Only the
	// time in which the server waits for the client counts. If zero, 5 minutes.
	DataTimeout time.Duration

	// MinDataRate is the rate for DataTimeout in octets a second. If zero, 1024.
	MinDataRate int

	// SessionTimeout bounds a session. After it, the server sends 421 4.4.2 and closes the connection when it would
	// wait for a command. A message that is being received is finished first. If zero, 1 hour.
	SessionTimeout time.Duration

	// CloseTimeout bounds the wait for a client to receive the last reply before its connection is closed. If zero, 10
	// seconds.
	CloseTimeout time.Duration

	// Grace bounds the wait for running transactions after the context of Serve has ended. Then their connections are
	// closed. If zero, 30 seconds.
	Grace time.Duration

	// Logger gets a line for each session and each refusal at Debug, for each message at Info, and for each failure of
	// the Handler at Error; never a body or a password. If nil, nothing is logged.
	Logger *slog.Logger

	pool    sync.Pool // of *buffers
	tlsOnce sync.Once
	tls     *tls.Config // TLSConfig, hardened

	draining atomic.Bool // no new sessions and transactions; never unset

	mu        sync.Mutex
	listeners []net.Listener
	cancels   []context.CancelFunc // of the contexts that Handlers have
	sessions  map[*session]struct{}
	turned    int                  // number of the sessions that only get a refusal
	sources   map[netip.Prefix]int // number of the other sessions, by source
	drained   chan struct{}        // closed when draining and no session is left
}

// Clone returns a new Server with the same exported fields: the copy of a template, or of a server that was closed.
// Values behind pointers and interfaces (Handler, TLSConfig, Logger) are shared.
func (s *Server) Clone() *Server {
	return &Server{
		Hostname:          s.Hostname,
		Handler:           s.Handler,
		TLSConfig:         s.TLSConfig,
		Authenticate:      s.Authenticate,
		AllowInsecureAuth: s.AllowInsecureAuth,
		RequireAuth:       s.RequireAuth,
		MaxSize:           s.MaxSize,
		MaxLine:           s.MaxLine,
		MaxRecipients:     s.MaxRecipients,
		MaxDrain:          s.MaxDrain,
		MaxErrors:         s.MaxErrors,
		MaxCommands:       s.MaxCommands,
		MaxConns:          s.MaxConns,
		MaxConnsPerIP:     s.MaxConnsPerIP,
		CommandTimeout:    s.CommandTimeout,
		DataTimeout:       s.DataTimeout,
		MinDataRate:       s.MinDataRate,
		SessionTimeout:    s.SessionTimeout,
		CloseTimeout:      s.CloseTimeout,
		Grace:             s.Grace,
		Logger:            s.Logger,
	}
}

const (
	defaultMaxSize        = 50 << 20
	defaultMaxRecipients  = 1000
	defaultMaxErrors      = 20
	defaultMaxCommands    = 100
	defaultMaxConns       = 1000
	defaultMaxConnsPerIP  = 100
	defaultCommandTimeout = 5 * time.Minute
	defaultDataTimeout    = 5 * time.Minute
	defaultMinDataRate    = 1024
	defaultSessionTimeout = time.Hour
	defaultCloseTimeout   = 10 * time.Second
	defaultGrace          = 30 * time.Second
)

func (s *Server) hostname() string {
	if s.Hostname != "" {
		return s.Hostname
	}
	name, err := os.Hostname()
	if err != nil || !validHello(name) {
		return "localhost"
	}
	return name
}

func (s *Server) maxSize() int64 { return cmp.Or(s.MaxSize, defaultMaxSize) }

// log logs a line that belongs to no session.
func (s *Server) log(ctx context.Context, level slog.Level, msg string, args ...any) {
	if s.Logger != nil {
		s.Logger.Log(ctx, level, msg, args...)
	}
}
