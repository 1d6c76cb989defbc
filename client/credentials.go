package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-sasl"

	"github.com/postrider/postrider/internal/scram"
	"github.com/postrider/postrider/smtp"
)

// xoauth2 is the name of a mechanism that go-sasl doesn't have.
const xoauth2 = "XOAUTH2"

// Credentials is an smtp.Auth that uses the first of these mechanisms that the host offers and for which it has the
// fields:
//
//	SCRAM-SHA-256-PLUS  a password, which the host doesn't learn, bound to the TLS session (RFC 5802, 7677)
//	SCRAM-SHA-256       a password, which the host doesn't learn
//	OAUTHBEARER         a token (RFC 7628)
//	XOAUTH2             a token, in the form of Google and Microsoft
//	PLAIN               a password (RFC 4616)
//	LOGIN               a password
//
// With SCRAM the host proves that it knows the password. A 2xx without the proof is a failure. If the session has a
// channel binding and the host offers no -PLUS, SCRAM tells the host that the client supports it. A host that did offer
// -PLUS then notices that an attacker removed it from the offer (RFC 5802 §6). An impostor with a certificate that we
// trust can still offer PLAIN only, and learn the password. To prevent that, restrict Mechanisms.
//
// After a failure, a weaker mechanism is tried only if the host answered 504, which means that it doesn't have the
// mechanism. If a host offers a mechanism that doesn't work for this user, such as SCRAM without a stored key, name
// another one in Mechanisms.
//
// Credentials may be used by several goroutines and sessions at the same time. Package fmt and log/slog print only the
// Username, except in an unexported field of another struct, where they call no methods.
type Credentials struct {
	// Username is the name of the user who authenticates.
	Username string

	// Password is for SCRAM, PLAIN and LOGIN. If empty, these mechanisms aren't used.
	Password string

	// Token returns an access token for OAUTHBEARER and XOAUTH2. It is called once for each exchange, concurrently,
	// while the host waits, so it should keep a token until it expires. If nil, these mechanisms aren't used.
	Token func(ctx context.Context) (string, error)

	// Mechanisms are the names of the mechanisms that may be used, in upper or lower case and in any order. If nil, all
	// may be used.
	Mechanisms []string

	// AuthorizationID is the user for whom Username acts (authzid, RFC 4422 §3.4.1). XOAUTH2 and LOGIN have no field
	// for it, so they aren't used if it is set. If empty, it is Username.
	AuthorizationID string

	nonce string // of SCRAM, for tests; if empty, random
}

// Begin starts the strongest mechanism that c and the host have in common: see smtp.Auth.
func (c *Credentials) Begin(ctx context.Context, host smtp.AuthHost) (smtp.AuthExchange, error) {
	if c == nil { // in an Auth that isn't nil itself
		return nil, errors.New("Credentials are nil: set them, or leave Auth nil")
	}
	offered := host.Mechanisms
	var bound scram.Binding // without a name: none
	if all := scram.Bindings(host.TLS); len(all) > 0 {
		bound = all[0]
	}
	usable := c.usable(bound)
	if c.Password == "" && c.Token == nil {
		return nil, errors.New("Credentials have neither Password nor Token: set one of them")
	}
	if len(usable) == 0 {
		return nil, fmt.Errorf("Credentials.Mechanisms is %q, and none is usable: Password is for SCRAM-SHA-256-PLUS "+
			"(with TLS), SCRAM-SHA-256, PLAIN and LOGIN, Token for OAUTHBEARER and XOAUTH2", c.Mechanisms)
	}
	i := slices.IndexFunc(usable, func(mech string) bool { return slices.Contains(offered, mech) })
	if i < 0 {
		return nil, &noMechanism{usable, slices.Clone(offered)}
	}
	mech := usable[i]
	if c.Username == "" && mech != sasl.OAuthBearer {
		return nil, errors.New("Credentials.Username is empty: set it")
	}
	switch mech {
	case scram.SHA256Plus:
		return c.scram("p="+bound.Name, bound.Data)
	case scram.SHA256:
		// RFC 5802 §6: "y" means that we support channel bindings, and that the host didn't offer them.
		if slices.Contains(usable, scram.SHA256Plus) {
			return c.scram("y", nil)
		}
		return c.scram("n", nil)
	case sasl.OAuthBearer, xoauth2:
		return c.bearer(ctx, mech)
	case sasl.Plain:
		// RFC 4616 §2: NUL separates the three parts.
		if strings.Contains(c.AuthorizationID+c.Username+c.Password, "\x00") {
			return nil, errors.New("PLAIN: Username, Password or AuthorizationID has a NUL: remove it")
		}
		return sasl.NewPlainClient(c.AuthorizationID, c.Username, c.Password), nil
	}
	return &loginClient{answers: []string{c.Username, c.Password}}, nil
}

// noMechanism is the error of Begin for a host that offers none of the mechanisms that can be used.
type noMechanism struct{ usable, offered []string }

func (e *noMechanism) Error() string {
	offered := "none"
	if len(e.offered) > 0 {
		offered = clip(strings.Join(e.offered, " "))
	}
	return "no mechanism of AUTH in common: we have " + strings.Join(e.usable, " ") + ", the host " + offered
}

// usable returns the mechanisms for which c has the fields, strongest first.
func (c *Credentials) usable(bound scram.Binding) []string {
	var list []string
	if c.Password != "" {
		if bound.Name != "" {
			list = append(list, scram.SHA256Plus)
		}
		list = append(list, scram.SHA256)
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

// Format prints the Username only, with every verb, so that no log contains a password.
func (c Credentials) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "credentials of %q", c.Username) }

// loginClient answers the first challenge with the name and the second with the password. It ignores their texts, since
// hosts ask "Username:", "User Name\x00", "Password:" and more, in base64 or not. It has no initial response, since
// some hosts accept none.
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

// Complete fails if the host didn't ask for the password.
func (l *loginClient) Complete() error {
	if len(l.answers) > 0 {
		return errors.New("LOGIN: the host didn't ask for the password")
	}
	return nil
}
