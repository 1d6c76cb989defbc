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

	"github.com/postrider/postrider/internal/guard"
)

// Server is an SMTP server. Handler must be set, every other field has a default, and no bound may be negative
// ([Server.Check]). A bound may be as great as its type allows. The fields must not change after the first call of
// Serve. A Server can't be used again after it was closed, but its [Server.Clone] can.
type Server struct {
	// Hostname is the name of the server in its greeting and its reply to EHLO: its name in the DNS, in ASCII
	// (A-labels), or an address literal. If empty, the result of os.Hostname, or "localhost" if that is no host name.
	Hostname string

	// Handler receives the mail. It must be set.
	Handler Handler

	// TLSConfig is for STARTTLS, and must have a certificate. The server uses a copy with TLS 1.2 or later and without
	// session tickets. If its NextProtos is empty, the copy has "smtp" and "esmtp": a client that offers only other
	// protocols in ALPN (RFC 7301) is refused, and one that offers none is not. If nil, STARTTLS is not offered.
	TLSConfig *tls.Config

	// Authenticate checks the password of a user, for PLAIN and LOGIN. If it returns nil, the client has authenticated,
	// and Peer.Username is username. ErrAuthFailed is answered 535 5.7.8. A *smtp.Reply of 4xx or 5xx in the error is
	// sent as it is, and any other error is logged and answered 454 4.7.0. It may be called concurrently. Authenticate,
	// StoredCredentials and CheckToken each offer their mechanisms; if all three are nil, AUTH is not offered.
	Authenticate func(ctx context.Context, p *Peer, username, password string) error

	// StoredCredentials returns what is stored of a user's password, for SCRAM-SHA-256 and, over TLS,
	// SCRAM-SHA-256-PLUS. username was prepared by SASLprep (RFC 4013). The error ErrAuthFailed means that there is no
	// such user: the client then sees a made-up salt, and is refused with its proof. Other errors are treated as those
	// of Authenticate. It may be called concurrently, and must not change a value that it has returned. The channel
	// bindings of -PLUS are tls-exporter (RFC 9266), tls-server-end-point (RFC 5929) and, with TLS 1.2, tls-unique.
	// tls-server-end-point needs STARTTLS or a listener of NewTLSListener. If nil, SCRAM is not offered.
	StoredCredentials func(ctx context.Context, p *Peer, username string) (*SCRAMCredentials, error)

	// CheckToken checks an access token, for OAUTHBEARER (RFC 7628) and XOAUTH2. username is the name that the client
	// claims; with OAUTHBEARER it may be empty. CheckToken returns the name of the user to whom the token was issued,
	// which becomes Peer.Username, or ErrAuthFailed if the token isn't valid or username isn't that user. Other errors
	// are treated as those of Authenticate. It may be called concurrently. If nil, neither mechanism is offered.
	CheckToken func(ctx context.Context, p *Peer, username, token string) (string, error)

	// SCRAMSecret is the secret from which the salts of unknown users are derived, so that they look like known ones.
	// It should be random, 32 octets long, and the same on all servers of a service and after a restart. Salts of known
	// users should have 16 octets, as those of NewSCRAMCredentials have. If empty, it is random for each Server.
	SCRAMSecret []byte

	// SCRAMIterations are the iterations that an unknown user seems to have: set it to those of the stored credentials.
	// Less than 4096 counts as 4096. If zero, 600,000, as NewSCRAMCredentials has it.
	SCRAMIterations int

	// AllowInsecureAuth offers AUTH also on a connection without TLS.
	AllowInsecureAuth bool

	// RequireAuth refuses MAIL with 530 5.7.0 until the client has authenticated: for the submission ports 587 and 465
	// (RFC 6409 §4.3). It needs one of Authenticate, StoredCredentials and CheckToken, and a connection on which AUTH
	// is offered: a TLS listener, TLSConfig or AllowInsecureAuth. Otherwise Check or Serve returns an error. Serve
	// knows that of a *net.TCPListener, and of a listener whose method Unwrap returns one, as that of package proxy.
	RequireAuth bool

	// Lenient accepts commands of devices and scripts that break the grammar of RFC 5321 §4.1. If false, they are
	// refused with 500 or 501. It doesn't change where a command or a message ends, nor which octets may be in them.
	//
	//	MAIL FROM:a@example.com        a path without angle brackets
	//	RCPT TO : < b@example.com >    spaces around the colon and within the brackets
	//	  MAIL  FROM:<>  BODY=7BIT     spaces before a command, and several where one is due
	//	AUTH PLAIN  AGEAYg==           spaces around a response of AUTH
	//	EHLO                           EHLO or HELO without a name: Peer.Hello is "unknown"
	Lenient bool

	// LMTP has the server speak LMTP (RFC 2033) in place of SMTP: LHLO in place of EHLO and HELO, and one reply for
	// each recipient after a message. A Handler that is an [LMTPHandler] returns these; of any other, its one reply is
	// that for each. Listen on a Unix socket or a port of your own: RFC 2033 §5 forbids port 25.
	LMTP bool

	// BinaryMIME offers BINARYMIME (RFC 3030 §3): a message with smtp.BodyBinaryMIME in its Envelope may have any
	// octets, and the Handler must neither convert them nor pass them on as text. If false, such a message is refused
	// at MAIL with 555 5.5.4, and its sender encodes it.
	BinaryMIME bool

	// DeliverBy offers DELIVERBY (RFC 2852). The Handler must then do as [smtp.Envelope.By] says, or refuse the
	// message. If false, MAIL with BY is refused with 555 5.5.4.
	DeliverBy bool

	// MinDeliverBy is the least time of a BY with mode R. A shorter one is refused with 555 5.5.4. If zero, 1 second.
	MinDeliverBy time.Duration

	// Priorities offers MT-PRIORITY (RFC 6710). Any client can set [smtp.Envelope.Priority] then: the Handler must not
	// prefer the mail of a client that it doesn't trust. If false, MAIL with MT-PRIORITY is refused with 555 5.5.4.
	Priorities bool

	// MaxHold offers FUTURERELEASE (RFC 4865), for a submission server: the Handler must hold a message until
	// [smtp.Envelope.HoldUntil], which is at most MaxHold away. A longer time is refused with 501 5.5.4. If zero, MAIL
	// with HOLDFOR or HOLDUNTIL is refused with 555 5.5.4.
	MaxHold time.Duration

	// NoDSN doesn't offer DSN (RFC 3461), and refuses its parameters with 555 5.5.4. Strangers can then ask for no
	// report. A Relay reports only failures and delays to strangers in any case.
	NoDSN bool

	// NoRequireTLS doesn't offer REQUIRETLS (RFC 8689), and refuses its parameter with 555 5.5.4. If false, a client
	// may use REQUIRETLS once it has TLS. The Handler must then do as [smtp.Envelope.RequireTLS] says if it passes mail
	// on to another host. A Relay does.
	NoRequireTLS bool

	// Names looks up the client's name in the DNS before the greeting, for [Peer.Name], the Received field and the
	// checks. A client waits for it for at most 5 seconds. If nil, no client has a Name, except by XCLIENT.
	Names NameResolver

	// XClient are the networks of proxies that may send XCLIENT, with the address of their client, its name in EHLO and
	// the user that has authenticated. A login of the proxy itself ends there. A host in these networks can pretend to
	// be any client and any user. Their connections don't count for MaxConnsPerIP and MaxConnsPerNetwork. If empty,
	// XCLIENT isn't offered.
	XClient []netip.Prefix

	// Checks look at clients and their mail: blocklists, filters, limits. They are called in their order. If empty,
	// only the Handler decides.
	Checks []Check

	// Found is called with each finding of a check, and each refusal by one. It may be called concurrently. It must not
	// change the Peer nor keep it. A panic is logged. If nil, findings are only logged.
	Found func(ctx context.Context, p *Peer, f Finding)

	// TempDir is the directory for the files of messages that a check looks at and that have more than 64 KiB. If
	// empty, that of os.TempDir.
	TempDir string

	// MaxTemp bounds the files in TempDir together, in octets. While there is no room, a message that needs a file is
	// refused with 452 4.3.1. If zero, 1 GiB.
	MaxTemp int64

	// MaxSize bounds a message in octets. A larger one is refused with 552 5.3.4. If zero, 50 MiB.
	MaxSize int64

	// MaxLine bounds a line of a message in octets, CRLF included. A message with a longer line is refused with 554
	// 5.6.0. If zero, only MaxSize bounds a line.
	MaxLine int

	// MaxMails bounds the MAIL commands of a session that begin a transaction. It is announced by LIMITS (RFC 9422).
	// One more MAIL is answered 421 4.7.0, and the connection is closed. If zero, there is no bound.
	MaxMails int

	// MaxRecipients bounds the recipients of a message. It is announced by LIMITS (RFC 9422). Further ones are refused
	// with 452 4.5.3, and the message goes to the others. If zero, 1000.
	MaxRecipients int

	// MaxHeader bounds the header of a message in octets, its empty line included. A message with a longer one, or
	// without a header and with a longer first line, is refused with 552 5.3.4. If zero, 128 KiB.
	MaxHeader int

	// MaxHeaderFields bounds the fields of a header. A message with more is refused with 552 5.3.4. If zero, 1000.
	MaxHeaderFields int

	// MaxEnvelope bounds the memory of a message's recipients in octets. Further recipients are refused with 452 4.5.3,
	// and the message goes to the others. If zero, 128 KiB: 1000 recipients with 35 octets of address and of ORCPT
	// each.
	MaxEnvelope int

	// MaxMemory bounds the memory of all sessions together in octets. What counts is 8 KiB for each session, 12 KiB for
	// its TLS, 18 KiB for each one that isn't waiting for a command, its recipients, the header of its message, and
	// what a [Check] sees of the message. While there is no room, MAIL, RCPT and messages are refused with 452 4.3.1.
	// Memory of the Handler doesn't count. If zero, 256 MiB.
	MaxMemory int64

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

	// MaxAuthFailures bounds the failed logins of a network, an IPv4 /24 or an IPv6 /48. After so many, AUTH is
	// answered 454 4.7.0 for AuthPause, and no password is checked. Failures are forgotten one by one, this many in
	// 4 × AuthPause. An account that has logged in from a network within AuthMemory is not affected by failures of
	// other accounts there: its own are counted, with the same bound. Of these, the failures of an address (an IPv6
	// /64) from which the account has logged in are counted by themselves, and those of all other addresses of the
	// network together. If zero, 20.
	MaxAuthFailures int

	// AuthPause is the time for which no login is checked after MaxAuthFailures. If zero, 15 minutes.
	AuthPause time.Duration

	// AuthMemory is the time for which a network counts as one of an account after a login. The memory is lost when the
	// process ends. If zero, 7 days.
	AuthMemory time.Duration

	// Logins is the memory of failed and successful logins, for several servers that check the same accounts: a client
	// that is stopped at one of them is stopped at each. If nil, the server has its own.
	Logins *Logins

	// AuthDelay is the time that the client of a failed login waits for the reply. If zero, 1 second.
	AuthDelay time.Duration

	// MaxConns bounds the connections at a time. For a further one, a connection whose client has neither sent a
	// message nor authenticated is answered 421 4.7.0 and closed, or else an idle one whose client sent its last
	// message a minute ago. If there is none, the further one is closed; only 64 at a time get an answer. Above 80 %,
	// CommandTimeout and DataTimeout are a tenth of their values. See the package doc. If zero, 1000.
	MaxConns int

	// MaxConnsPerIP bounds the connections at a time from one IPv4 address or one IPv6 /64 network. A further one is
	// refused in the same way. If zero, 100.
	MaxConnsPerIP int

	// MaxConnsPerNetwork bounds the connections at a time from one IPv4 /24, IPv6 /56 or IPv6 /48 network, such as one
	// customer of a provider has. A further one is refused in the same way. If zero, twice MaxConnsPerIP.
	MaxConnsPerNetwork int

	// CommandTimeout bounds the wait for a command, from the reply before it to its CRLF. It also bounds the wait for a
	// TLS handshake, and the wait for a client to receive its replies, which may end an eighth sooner. If zero, 5
	// minutes (RFC 5321 §4.5.3.2.7).
	CommandTimeout time.Duration

	// DataTimeout bounds how far a client may fall behind MinDataRate while it sends a message. With the defaults, a
	// client that sends nothing is closed after 5 minutes, and one that sends 512 octets a second after 10. Only the
	// time in which the server waits for the client counts. If zero, 5 minutes.
	DataTimeout time.Duration

	// MinDataRate is the rate for DataTimeout in octets a second. If zero, 1024.
	MinDataRate int

	// DrainTimeout bounds the time in which the server reads the rest of a refused message. After it, the server sends
	// the refusal and closes the connection. If zero, 30 seconds.
	DrainTimeout time.Duration

	// SessionTimeout bounds a session, messages included. After it, the server sends 421 4.4.2 and closes the
	// connection when it would wait for the client. If zero, 1 hour.
	SessionTimeout time.Duration

	// CloseTimeout bounds the wait for a client to receive the last reply before its connection is closed. If zero, 10
	// seconds.
	CloseTimeout time.Duration

	// Grace bounds the wait for running transactions after the context of Serve has ended. Then their connections are
	// closed. If zero, 30 seconds.
	Grace time.Duration

	// Logger gets a line for each session and each refusal at Debug, for each message at Info, also for one that the
	// client breaks off, and for each failure of the Handler at Error; never a body or a password. If nil, nothing is
	// logged.
	Logger *slog.Logger

	pool    sync.Pool // of *buffers
	tlsOnce sync.Once
	tls     *tls.Config // TLSConfig, hardened

	secretOnce sync.Once
	secret     []byte // SCRAMSecret, or a random one

	guesses guesses
	crowded atomic.Bool  // see updateCrowded; it changes under mu
	memory  atomic.Int64 // octets that MaxMemory counts
	temp    atomic.Int64 // octets that MaxTemp counts

	draining atomic.Bool   // no new sessions and transactions; never unset
	leaving  chan struct{} // closed when draining; made before the first session

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
		Hostname:           s.Hostname,
		Handler:            s.Handler,
		TLSConfig:          s.TLSConfig,
		Authenticate:       s.Authenticate,
		StoredCredentials:  s.StoredCredentials,
		CheckToken:         s.CheckToken,
		SCRAMSecret:        s.SCRAMSecret,
		SCRAMIterations:    s.SCRAMIterations,
		AllowInsecureAuth:  s.AllowInsecureAuth,
		RequireAuth:        s.RequireAuth,
		Lenient:            s.Lenient,
		LMTP:               s.LMTP,
		BinaryMIME:         s.BinaryMIME,
		DeliverBy:          s.DeliverBy,
		MinDeliverBy:       s.MinDeliverBy,
		Priorities:         s.Priorities,
		MaxHold:            s.MaxHold,
		MaxMails:           s.MaxMails,
		NoDSN:              s.NoDSN,
		NoRequireTLS:       s.NoRequireTLS,
		Names:              s.Names,
		XClient:            s.XClient,
		Checks:             s.Checks,
		Found:              s.Found,
		TempDir:            s.TempDir,
		MaxTemp:            s.MaxTemp,
		MaxSize:            s.MaxSize,
		MaxLine:            s.MaxLine,
		MaxRecipients:      s.MaxRecipients,
		MaxHeader:          s.MaxHeader,
		MaxHeaderFields:    s.MaxHeaderFields,
		MaxEnvelope:        s.MaxEnvelope,
		MaxMemory:          s.MaxMemory,
		MaxDrain:           s.MaxDrain,
		MaxErrors:          s.MaxErrors,
		MaxCommands:        s.MaxCommands,
		MaxAuthFailures:    s.MaxAuthFailures,
		AuthPause:          s.AuthPause,
		AuthMemory:         s.AuthMemory,
		Logins:             s.Logins,
		AuthDelay:          s.AuthDelay,
		MaxConns:           s.MaxConns,
		MaxConnsPerIP:      s.MaxConnsPerIP,
		MaxConnsPerNetwork: s.MaxConnsPerNetwork,
		CommandTimeout:     s.CommandTimeout,
		DataTimeout:        s.DataTimeout,
		MinDataRate:        s.MinDataRate,
		DrainTimeout:       s.DrainTimeout,
		SessionTimeout:     s.SessionTimeout,
		CloseTimeout:       s.CloseTimeout,
		Grace:              s.Grace,
		Logger:             s.Logger,
	}
}

const (
	defaultMaxAuthFailures = 20
	defaultAuthPause       = 15 * time.Minute
	defaultAuthMemory      = 7 * 24 * time.Hour
	defaultAuthDelay       = time.Second
	defaultMaxTemp         = 1 << 30
	defaultMaxSize         = 50 << 20
	defaultMaxRecipients   = 1000
	defaultMaxHeader       = 128 << 10
	defaultMaxHeaderFields = 1000
	defaultMaxEnvelope     = 128 << 10
	defaultMaxMemory       = 256 << 20
	defaultMaxErrors       = 20
	defaultMaxCommands     = 100
	defaultMaxConns        = 1000
	defaultMaxConnsPerIP   = 100
	defaultCommandTimeout  = 5 * time.Minute
	defaultDataTimeout     = 5 * time.Minute
	defaultMinDataRate     = 1024
	defaultSessionTimeout  = time.Hour
	defaultDrainTimeout    = 30 * time.Second
	defaultCloseTimeout    = 10 * time.Second
	defaultGrace           = 30 * time.Second
)

func (s *Server) hostname() string {
	if s.Hostname != "" {
		return s.Hostname
	}
	name, err := os.Hostname()
	if err != nil || !validHostname(name) {
		return "localhost"
	}
	return name
}

func (s *Server) maxSize() int64 { return cmp.Or(s.MaxSize, defaultMaxSize) }

// log logs a line that belongs to no session.
func (s *Server) log(ctx context.Context, level slog.Level, msg string, args ...any) {
	if s.Logger != nil {
		guard.Logger(s.Logger).Log(ctx, level, msg, args...)
	}
}
