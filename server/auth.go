package server

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"strings"

	"github.com/emersion/go-sasl"

	"github.com/postrider/postrider/internal/scram"
	"github.com/postrider/postrider/smtp"
)

const xoauth2 = "XOAUTH2" // go-sasl has no name for it

// authenticates reports whether the server can check a user in any way.
func (s *Server) authenticates() bool {
	return s.Authenticate != nil || s.StoredCredentials != nil || s.CheckToken != nil
}

// authOffered reports whether the client may authenticate on this connection.
func (s *session) authOffered() bool {
	return s.srv.authenticates() && (s.peer.TLS != nil || s.srv.AllowInsecureAuth)
}

// mechanisms returns the names of the mechanisms that are offered, the strongest first.
func (s *session) mechanisms() []string {
	if !s.authOffered() {
		return nil
	}
	var list []string
	if s.srv.StoredCredentials != nil {
		if scram.Bindings(s.peer.TLS) != nil {
			list = append(list, scram.SHA256Plus)
		}
		list = append(list, scram.SHA256)
	}
	if s.srv.CheckToken != nil {
		list = append(list, sasl.OAuthBearer, xoauth2)
	}
	if s.srv.Authenticate != nil {
		list = append(list, sasl.Plain, sasl.Login)
	}
	return list
}

// mechanism is the server's side of one SASL exchange. next returns the challenge to a response, which is nil if there
// is no initial response. With a username, the exchange has ended and the user has authenticated. An error ends it,
// too.
type mechanism interface {
	next(ctx context.Context, response []byte) (challenge []byte, username string, err error)
}

// newMechanism begins an exchange. If no mechanism of that name is offered, it returns nil.
func (s *session) newMechanism(name string) mechanism {
	for _, offered := range s.mechanisms() {
		if !equalASCII(name, offered) {
			continue
		}
		switch offered {
		case scram.SHA256, scram.SHA256Plus:
			return &scramServer{s: s, plus: offered == scram.SHA256Plus, bindings: s.bindings()}
		case sasl.OAuthBearer, xoauth2:
			return &bearerServer{s: s, legacy: offered == xoauth2}
		case sasl.Plain:
			return &plainServer{s}
		case sasl.Login:
			return &loginServer{s: s}
		}
	}
	return nil
}

// auth runs AUTH (RFC 4954 §4).
func (s *session) auth(ctx context.Context, args string) {
	name, initial, _ := strings.Cut(args, " ")
	if s.srv.Lenient {
		initial = strings.TrimLeft(initial, " ")
	}
	switch {
	case !s.srv.authenticates():
		s.refuse(ctx, "AUTH", "502 5.5.1 AUTH not offered")
	case !s.peer.ESMTP:
		s.refuse(ctx, "AUTH", "503 5.5.1 send EHLO first")
	case s.env != nil:
		s.refuse(ctx, "AUTH", "503 5.5.1 AUTH is not allowed in a transaction")
	case s.peer.Username != "":
		s.refuse(ctx, "AUTH", "503 5.5.1 already authenticated")
	case !s.authOffered():
		s.refuse(ctx, "AUTH", "538 5.7.11 AUTH requires TLS") // RFC 4954 §6
	default:
		if m := s.newMechanism(name); m != nil {
			s.exchange(ctx, m, initial)
		} else {
			s.refuse(ctx, "AUTH", "504 5.5.4 mechanism not offered")
		}
	}
}

// exchange runs an exchange to its end. initial is the initial response: "=" if it is empty, "" if there is none.
func (s *session) exchange(ctx context.Context, m mechanism, initial string) {
	var response []byte // nil: none yet
	if initial != "" {
		var err error
		if response, err = decodeResponse(initial); err != nil {
			s.refuse(ctx, "AUTH", "501 5.5.2 not base64")
			return
		}
	}
	for {
		challenge, username, err := m.next(ctx, response)
		switch {
		case err != nil:
			s.authFailed(ctx, err)
			return
		case username != "":
			s.peer.Username, s.peer.Allowed = username, true
			if err := s.askAuth(ctx); err != nil {
				s.peer.Username, s.peer.Allowed = "", false
				s.reject(ctx, "AUTH", err)
				return
			}
			s.trust()
			s.note(ctx, slog.LevelInfo, "authenticated", "username", username)
			s.say("235 2.7.0 authenticated")
			return
		}
		s.say("334 " + base64.StdEncoding.EncodeToString(challenge))
		var ok bool
		if response, ok = s.readResponse(ctx); !ok {
			return
		}
	}
}

// readResponse reads the response to a challenge. If ok is false, the exchange has ended, with a reply if there can be
// one.
func (s *session) readResponse(ctx context.Context) (response []byte, ok bool) {
	line, err := s.readLine()
	if errors.Is(err, errLineLong) {
		s.refuse(ctx, "AUTH", "500 5.5.6 response too long") // RFC 4954 §6
		return nil, false
	}
	if err != nil {
		s.handleLine(ctx, nil, err)
		return nil, false
	}
	if s.srv.Lenient {
		line = bytes.Trim(line, " ")
	}
	if string(line) == "*" {
		s.refuse(ctx, "AUTH", "501 5.7.0 cancelled") // RFC 4954 §4
		return nil, false
	}
	// Here an empty line is an empty response (RFC 4954 §4), and "=" is not base64.
	if response, err = base64.StdEncoding.AppendDecode([]byte{}, line); err != nil {
		s.refuse(ctx, "AUTH", "501 5.5.2 not base64")
		return nil, false
	}
	return response, true
}

// decodeResponse decodes an initial response. The result is never nil.
func decodeResponse(initial string) ([]byte, error) {
	if initial == "=" {
		return []byte{}, nil
	}
	return base64.StdEncoding.DecodeString(initial)
}

var errMalformed = errors.New("malformed response")

// authFailed sends the reply to an AUTH that failed with err.
func (s *session) authFailed(ctx context.Context, err error) {
	if failedLogin(err) {
		s.pause(ctx)
	}
	switch {
	case errors.Is(err, errGuesses):
		s.refuse(ctx, "AUTH", "454 4.7.0 too many failed logins, try again later")
		s.count(true)
	case errors.Is(err, errMalformed):
		s.refuse(ctx, "AUTH", "501 5.5.2 malformed response")
	case errors.Is(err, ErrAuthFailed):
		s.refuse(ctx, "AUTH", "535 5.7.8 wrong username or password")
	default:
		reply, ok := errors.AsType[*smtp.Reply](err)
		if stopped(ctx, err) {
			reply, ok = smtp.NewReply(421, "4.3.2", "shutting down"), true
		}
		if !ok || reply == nil || reply.Code < 400 || reply.Code > 599 {
			s.note(ctx, slog.LevelError, "AUTH failed", "err", err)
			reply = smtp.NewReply(454, "4.7.0", "temporary failure")
		}
		s.answer(ctx, "AUTH", reply)
	}
}
