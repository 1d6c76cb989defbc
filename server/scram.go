package server

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"

	"github.com/postrider/postrider/internal/scram"
)

// scramServer is SCRAM-SHA-256 and -PLUS (RFC 5802, 7677).
type scramServer struct {
	s        *session
	plus     bool
	bindings []scram.Binding // that the connection has; if any, -PLUS is offered

	step     int // messages received
	username string
	stored   *SCRAMCredentials
	known    bool   // stored is of the user, and not made up
	header   string // the GS2 header
	bound    []byte // the channel binding's data
	bare     string // client-first-message-bare
	first    string // server-first-message
	nonce    string // the client's, and ours
}

func (m *scramServer) next(ctx context.Context, response []byte) (challenge []byte, username string, err error) {
	if response == nil {
		return nil, "", nil
	}
	m.step++
	switch m.step {
	case 1:
		challenge, err = m.begin(ctx, string(response))
		return challenge, "", err
	case 2:
		challenge, err = m.prove(ctx, string(response))
		return challenge, "", err
	}
	// RFC 4954 §4: the signature went in a challenge, as a 235 has no place for it. The response to it is empty.
	if len(response) > 0 {
		return nil, "", errMalformed
	}
	return nil, m.username, nil
}

// begin answers the client-first-message: a GS2 header, "n=" username ",r=" nonce, and optional extensions.
func (m *scramServer) begin(ctx context.Context, message string) ([]byte, error) {
	flag, rest, ok1 := strings.Cut(message, ",")
	authzid, bare, ok2 := strings.Cut(rest, ",")
	m.bare, m.header = bare, strings.TrimSuffix(message, bare)
	name, ok3 := scram.Attribute(&bare, 'n') // RFC 5802 §5.1: a mandatory extension, "m=", is first, and fails here
	nonce, ok4 := scram.Attribute(&bare, 'r')
	if !ok1 || !ok2 || !ok3 || !ok4 || !validToken(nonce) {
		return nil, errMalformed
	}
	if err := m.bind(flag); err != nil {
		return nil, err
	}
	var ok bool
	if m.username, ok = prepared(name); !ok {
		return nil, errMalformed
	}
	if authzid != "" {
		id, ok := strings.CutPrefix(authzid, "a=")
		if id, valid := prepared(id); !ok || !valid {
			return nil, errMalformed
		} else if id != m.username {
			return nil, ErrAuthFailed // nobody may act as another user
		}
	}
	err := m.s.guess(ctx, m.username, func() error { return cmp.Or(m.lookUp(ctx), errUnproved) })
	if err != errUnproved {
		return nil, err
	}
	m.nonce = nonce + rand.Text()
	m.first = "r=" + m.nonce + ",s=" + base64.StdEncoding.EncodeToString(m.stored.Salt) +
		",i=" + strconv.Itoa(m.stored.Iterations)
	return []byte(m.first), nil
}

// prepared returns the username that a saslname stands for (RFC 5802 §5.1).
func prepared(name string) (string, bool) {
	name, ok := scram.ParseName(name)
	if !ok {
		return "", false
	}
	name, err := scram.Prepare(name)
	return name, err == nil
}

// bind acts on the gs2-cbind-flag (RFC 5802 §6).
func (m *scramServer) bind(flag string) error {
	if !m.plus {
		switch {
		case flag == "y" && m.bindings != nil:
			// The client could have used -PLUS, and believes that we don't offer it: someone changed our offer.
			return ErrAuthFailed
		case flag != "y" && flag != "n":
			return errMalformed
		}
		return nil
	}
	kind, ok := strings.CutPrefix(flag, "p=")
	if !ok {
		return errMalformed
	}
	for _, b := range m.bindings {
		if b.Name == kind {
			m.bound = b.Data
			return nil
		}
	}
	return ErrAuthFailed
}

// lookUp gets the stored credentials. For an unknown user it makes some up: they are the same at each attempt, and
// nobody can prove to know their password.
func (m *scramServer) lookUp(ctx context.Context) error {
	srv := m.s.srv
	stored, err := srv.StoredCredentials(ctx, &m.s.peer, m.username)
	switch {
	case errors.Is(err, ErrAuthFailed):
		m.stored = srv.madeUp(m.username)
	case err != nil:
		return err
	case stored == nil:
		return errors.New("StoredCredentials returned neither credentials nor an error")
	default:
		m.stored, m.known = stored, true
		return stored.check()
	}
	return nil
}

// prove answers the client-final-message: "c=" the header and the binding, ",r=" nonce, extensions, ",p=" proof.
func (m *scramServer) prove(ctx context.Context, message string) ([]byte, error) {
	i := strings.LastIndex(message, ",p=")
	if i < 0 {
		return nil, errMalformed
	}
	unproved, proof64 := message[:i], message[i+len(",p="):]
	rest := unproved
	bound64, ok1 := scram.Attribute(&rest, 'c')
	nonce, ok2 := scram.Attribute(&rest, 'r')
	bound, err1 := base64.StdEncoding.Strict().DecodeString(bound64)
	proof, err2 := base64.StdEncoding.Strict().DecodeString(proof64)
	if !ok1 || !ok2 || err1 != nil || err2 != nil || len(proof) != len(m.stored.StoredKey) {
		return nil, errMalformed
	}
	auth := m.bare + "," + m.first + "," + unproved
	err := m.s.guess(ctx, m.username, func() error {
		key := scram.Mask(proof, m.stored.StoredKey, auth)
		good := hmac.Equal(scram.Hash(key), m.stored.StoredKey) && m.known
		if !good || nonce != m.nonce || !hmac.Equal(bound, append([]byte(m.header), m.bound...)) {
			return ErrAuthFailed
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return []byte("v=" + base64.StdEncoding.EncodeToString(scram.MAC(m.stored.ServerKey, auth))), nil
}
