package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-sasl"

	"github.com/postrider/postrider/smtp"
)

// Names of mechanisms that go-sasl doesn't have.
const (
	scramSHA256     = "SCRAM-SHA-256"
	scramSHA256Plus = "SCRAM-SHA-256-PLUS"
	xoauth2         = "XOAUTH2"
)

// Credentials authenticate by the strongest mechanism that the host has in common with them:
//
//	SCRAM-SHA-256-PLUS  a password, which the host doesn't learn, bound to the TLS session (RFC 5802, 7677)
//	SCRAM-SHA-256       a password, which the host doesn't learn
//	OAUTHBEARER         a token (RFC 7628)
//	XOAUTH2             a token, as Google and Microsoft have it
//	PLAIN               a password (RFC 4616)
//	LOGIN               a password
//
// By SCRAM the host proves, too, that it knows the password; a 235 without that is a failure. Where TLS can be bound to
// and the host offers no -PLUS, it is told that we have it, so that it notices if someone took that out of its offer
// (RFC 5802 §6). Someone who poses as the host, with a certificate that we trust, may still offer PLAIN alone: only
// Mechanisms keeps the password from him.
//
// A mechanism that failed is followed by a weaker one only where the host answered 504: it doesn't know it after
// all. If a host offers what it can't do for this user, SCRAM without a stored key, say, name another in Mechanisms.
//
// Credentials stand wherever a sasl.Client does, and may be used by several goroutines and sessions at a time. They
// print as their Username alone, but not where they are an unexported field of what is printed: package fmt calls no method
// of those.
type Credentials struct {
	// Username is who authenticates.
	Username string

	// Password is for SCRAM, PLAIN and LOGIN. If empty, they aren't used.
	Password string

	// Token gives an access token for OAUTHBEARER and XOAUTH2, and is called once for each exchange, while the
	// host waits: it should keep the token for as long as it is good. If nil, they aren't used.
	Token func(ctx context.Context) (string, error)

	// Mechanisms are those that may be used, the names in either case, in any order. If nil, all are.
	Mechanisms []string

	// AuthorizationID is the user on whose behalf Username acts (authzid, RFC 4422 §3.4.1). XOAUTH2 and LOGIN have no
	// field for it, and aren't used with it. If empty, Username acts for himself.
	AuthorizationID string

	nonce string // of SCRAM; if empty, random
}

// Begin starts the strongest mechanism that c and the host have in common: see smtp.Auth.
func (c *Credentials) Begin(ctx context.Context, host smtp.AuthHost) (smtp.AuthExchange, error) {
	offered := host.Mechanisms
	bound := bindTo(host.TLS)
	usable := c.usable(bound)
	if len(usable) == 0 {
		return nil, fmt.Errorf("the credentials fit no mechanism of %q: there are SCRAM-SHA-256-PLUS, SCRAM-SHA-256, PLAIN and LOGIN for a password, and "+
			"OAUTHBEARER and XOAUTH2 for a token", c.Mechanisms)
	}
	i := slices.IndexFunc(usable, func(mech string) bool { return slices.Contains(offered, mech) })
	if i < 0 {
		return nil, fmt.Errorf("no mechanism in common: we have %s, the host %q", strings.Join(usable, " "), clip(strings.Join(offered, " ")))
	}
	mech := usable[i]
	if c.Username == "" && mech != sasl.OAuthBearer {
		return nil, errors.New("the credentials have no Username")
	}
	switch mech {
	case scramSHA256Plus:
		return c.scram("p="+bound.name, bound.data)
	case scramSHA256:
		// RFC 5802 §6: "y" says that we could bind, and thought that the host couldn't.
		if slices.Contains(usable, scramSHA256Plus) {
			return c.scram("y", nil)
		}
		return c.scram("n", nil)
	case sasl.OAuthBearer, xoauth2:
		return c.bearer(ctx, mech)
	case sasl.Plain:
		// RFC 4616 §2: NUL parts the three.
		if strings.Contains(c.AuthorizationID+c.Username+c.Password, "\x00") {
			return nil, errors.New("PLAIN can't say a NUL")
		}
		return sasl.NewPlainClient(c.AuthorizationID, c.Username, c.Password), nil
	}
	return &loginClient{answers: []string{c.Username, c.Password}}, nil
}

// usable gives the mechanisms that there is all for, strongest first.
func (c *Credentials) usable(bound binding) []string {
	var list []string
	if c.Password != "" {
		if bound.name != "" {
			list = append(list, scramSHA256Plus)
		}
		list = append(list, scramSHA256)
	}
	if c.Token != nil {
		list = append(list, sasl.OAuthBearer)
		if c.AuthorizationID == "" {
			list = append(list, xoauth2)
		}
	}
	if c.Password != "" {
		list = append(list, sasl.Plain)
		if c.AuthorizationID == "" {
			list = append(list, sasl.Login)
		}
	}
	if c.Mechanisms == nil {
		return list
	}
	return slices.DeleteFunc(list, func(mech string) bool {
		return !slices.ContainsFunc(c.Mechanisms, func(name string) bool { return upper(name) == mech })
	})
}

// Format prints the Username, whatever the verb: no log is to hold a password.
func (c Credentials) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "credentials of %q", c.Username) }

// binding is what a mechanism is bound to, of a type that RFC 5056 §7 registers. Without a name there is none.
type binding struct {
	name string
	data []byte
}

// bindTo gives the channel binding of a TLS session.
func bindTo(state *tls.ConnectionState) binding {
	if state == nil || !state.HandshakeComplete {
		return binding{}
	}
	// RFC 9266 §2: the label, an empty context (which TLS 1.2 tells from none) and 32 octets.
	exported, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32)
	return bindingFor(state.Version, exported, err, state.TLSUnique)
}

// bindingFor chooses the type. Nothing tells which ones a host has, and a wrong guess fails. RFC 9266 §3 makes tls-exporter the
// one for TLS 1.3. For TLS 1.2 it is tls-unique, which RFC 5802 §6.1 has every -PLUS implement. Without an extended master
// secret, which the exporter refuses to do without, two sessions can be made to share that (RFC 7627 §1): it binds nothing.
func bindingFor(version uint16, exported []byte, err error, unique []byte) binding {
	switch {
	case err != nil:
	case version >= tls.VersionTLS13:
		return binding{"tls-exporter", exported}
	case version == tls.VersionTLS12 && len(unique) > 0:
		return binding{"tls-unique", unique}
	}
	return binding{}
}

// loginClient answers the first challenge with the name and the second with the password. It goes by no text, since
// hosts ask "Username:", "User Name\x00", "Password:" and more; it gives no initial response, since some take none.
type loginClient struct{ answers []string }

func (l *loginClient) Start() (mech string, ir []byte, err error) { return sasl.Login, nil, nil }

func (l *loginClient) Next([]byte) ([]byte, error) {
	if len(l.answers) == 0 {
		return nil, sasl.ErrUnexpectedServerChallenge
	}
	response := l.answers[0]
	l.answers = l.answers[1:]
	return []byte(response), nil
}

// Complete fails where no password was asked for.
func (l *loginClient) Complete() error {
	if len(l.answers) > 0 {
		return errors.New("LOGIN: the host did not ask for the password")
	}
	return nil
}
