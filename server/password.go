package server

import (
	"context"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/emersion/go-sasl"
)

// plainServer is PLAIN (RFC 4616).
type plainServer struct{ s *session }

func (m *plainServer) next(ctx context.Context, response []byte) (challenge []byte, username string, err error) {
	if response == nil {
		return nil, "", nil
	}
	failure := errMalformed // unless the message has its three parts
	server := sasl.NewPlainServer(func(authzid, name, password string) error {
		if authzid != "" && authzid != name {
			failure = ErrAuthFailed // nobody may act as another user
			return failure
		}
		username = name
		failure = m.s.authenticate(ctx, name, password)
		return failure
	})
	if _, _, err := server.Next(response); err != nil {
		return nil, "", failure
	}
	return nil, username, nil
}

// loginServer is LOGIN, which has no RFC. Clients send the username as initial response, too, although the server
// begins the exchange (RFC 4954 §4).
type loginServer struct {
	s    *session
	name string // empty: not received yet
}

func (m *loginServer) next(ctx context.Context, response []byte) (challenge []byte, username string, err error) {
	switch {
	case response == nil:
		return []byte("Username:"), "", nil
	case m.name == "" && !validName(string(response)):
		return nil, "", errMalformed
	case m.name == "":
		m.name = string(response)
		return []byte("Password:"), "", nil
	}
	if err := m.s.authenticate(ctx, m.name, string(response)); err != nil {
		return nil, "", err
	}
	return nil, m.name, nil
}

// authenticate calls Server.Authenticate, if name and password obey RFC 4616 §2.
func (s *session) authenticate(ctx context.Context, name, password string) error {
	if !validName(name) || password == "" || !utf8.ValidString(password) || strings.Contains(password, "\x00") {
		return errMalformed
	}
	return s.guess(ctx, name, func() error { return s.srv.Authenticate(ctx, &s.peer, name, password) })
}

// validName reports whether s can be the name of a user: UTF-8, not empty, and without control characters, which
// SASLprep prohibits (RFC 4616 §2, RFC 4013 §2.3).
func validName(s string) bool {
	return s != "" && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
