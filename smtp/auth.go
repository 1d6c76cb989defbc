package smtp

import (
	"context"
	"crypto/tls"
	"errors"
)

// Auth authenticates a client to hosts by AUTH (RFC 4954). One value serves all sessions: *client.Credentials is an
// Auth, and [AuthMechanism] makes one of a constructor of a SASL mechanism.
type Auth interface {
	// Begin returns a new exchange, for one session with one host.
	//
	//   - The exchange must start one of host.Mechanisms. If there is none in common, Begin returns an error.
	//   - If the host answers 504 (it doesn't have a mechanism that it has offered), Begin is called again for the same
	//     session, without that mechanism in host.Mechanisms. No other reply leads to a second call.
	//   - An error ends the session. It is in the error of the Send, so it must not hold a password.
	//   - ctx ends with the ctx of the Send, and after the time for one command.
	//   - Begin is called concurrently. It must not change host.Mechanisms.
	Begin(ctx context.Context, host AuthHost) (AuthExchange, error)
}

// AuthHost is the host that a session authenticates to.
type AuthHost struct {
	// Name is the host's name, for which its certificate is verified.
	Name string

	// Mechanisms are the names of the SASL mechanisms that the host offers, in upper case and in the host's order.
	Mechanisms []string

	// TLS is the state of the session's TLS, for example for channel bindings (RFC 5056). It is nil in cleartext: the
	// host is on this machine then.
	TLS *tls.ConnectionState
}

// AuthExchange is the client's side of one SASL exchange. It has the methods of sasl.Client in
// github.com/emersion/go-sasl, so that every mechanism of that package is one. Only one session uses it, once.
type AuthExchange interface {
	// Start returns the name of the mechanism and the initial response. A nil initial response is not sent; an empty
	// one is.
	Start() (mechanism string, initialResponse []byte, err error)

	// Next returns the response to a challenge, which was decoded from base64. A prompt of LOGIN that isn't base64 is
	// passed as it came. An error ends the exchange in failure. A response that is not nil is sent even with an error,
	// so that the host can state its reason in the reply. With an error and a nil response, the exchange is cancelled
	// by "*".
	Next(challenge []byte) (response []byte, err error)
}

// AuthCompleter is an [AuthExchange] of a mechanism in which the host has to prove itself too, such as SCRAM. Without a
// Complete method, the host's 235, or another 2xx, is success.
type AuthCompleter interface {
	AuthExchange

	// Complete is called at the host's 2xx. An error makes the exchange a failure: the host hasn't proved itself.
	Complete() error
}

// AuthMechanism is an [Auth] with one mechanism, whatever the host offers. The func returns a new exchange, and is
// called for each session, concurrently.
type AuthMechanism func() AuthExchange

// Begin calls m. If m is nil, that is an error.
func (m AuthMechanism) Begin(context.Context, AuthHost) (AuthExchange, error) {
	if m == nil {
		return nil, errors.New("smtp: the AuthMechanism is nil: set it to a func")
	}
	if x := m(); x != nil {
		return x, nil
	}
	return nil, errors.New("smtp: the func of AuthMechanism returned nil: return an exchange")
}
