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
