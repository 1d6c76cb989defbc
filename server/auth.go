package server

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-sasl"

	"github.com/postrider/postrider/smtp"
)

// authOffered reports whether the client may authenticate on this connection.
func (s *session) authOffered() bool {
	return s.srv.Authenticate != nil && (s.peer.TLS != nil || s.srv.AllowInsecureAuth)
}

// auth runs AUTH (RFC 4954 §4).
func (s *session) auth(ctx context.Context, args string) {
	mechanism, initial, _ := strings.Cut(args, " ")
	switch {
	case s.srv.Authenticate == nil:
		s.refuse(ctx, "AUTH", "502 5.5.1 AUTH not offered")
	case !s.peer.ESMTP:
		s.refuse(ctx, "AUTH", "503 5.5.1 send EHLO first")
	case s.env != nil:
		s.refuse(ctx, "AUTH", "503 5.5.1 AUTH is not allowed in a transaction")
	case s.peer.Username != "":
		s.refuse(ctx, "AUTH", "503 5.5.1 already authenticated")
	case !s.authOffered():
		s.refuse(ctx, "AUTH", "538 5.7.11 AUTH requires TLS") // RFC 4954 §6
	case !equalASCII(mechanism, sasl.Plain):
		s.refuse(ctx, "AUTH", "504 5.5.4 mechanism not offered")
	default:
		s.exchange(ctx, initial)
	}
}

// exchange runs AUTH PLAIN. initial is the initial response: "=" if it is empty, "" if there is none.
func (s *session) exchange(ctx context.Context, initial string) {
	var user string
	failure := errMalformed // unless the mechanism calls authenticate
	server := sasl.NewPlainServer(func(authzid, username, password string) error {
		failure = s.authenticate(ctx, authzid, username, password)
		user = username
		return failure
	})

	var response []byte // nil: none yet
	if initial != "" {
		var err error
		if response, err = decodeResponse(initial); err != nil {
			s.refuse(ctx, "AUTH", "501 5.5.2 not base64")
			return
		}
	}
	for {
		challenge, done, err := server.Next(response)
		switch {
		case err != nil:
			s.authFailed(ctx, failure)
			return
		case done:
			s.peer.Username, s.peer.Allowed = user, true
			s.note(ctx, slog.LevelInfo, "authenticated", "username", user)
			s.say("235 2.7.0 authenticated")
			return
		}
		s.say("334 " + base64.StdEncoding.EncodeToString(challenge))
		line, err := s.readLine()
		if errors.Is(err, errLineLong) {
			s.refuse(ctx, "AUTH", "500 5.5.6 response too long") // RFC 4954 §6
			return
		}
		if err != nil {
			s.handleLine(ctx, nil, err)
			return
		}
		if string(line) == "*" {
			s.refuse(ctx, "AUTH", "501 5.7.0 cancelled") // RFC 4954 §4
			return
		}
		// Here an empty line is an empty response (RFC 4954 §4), and "=" is not base64.
		if response, err = base64.StdEncoding.AppendDecode([]byte{}, line); err != nil {
			s.refuse(ctx, "AUTH", "501 5.5.2 not base64")
			return
		}
	}
}

// decodeResponse decodes an initial response. The result is never nil.
func decodeResponse(initial string) ([]byte, error) {
	if initial == "=" {
		return []byte{}, nil
	}
	return base64.StdEncoding.DecodeString(initial)
}

var errMalformed = errors.New("malformed response")

// authenticate calls Server.Authenticate, if the client's message obeys RFC 4616 §2.
func (s *session) authenticate(ctx context.Context, authzid, username, password string) error {
	if username == "" || password == "" || !utf8.ValidString(username) || !utf8.ValidString(password) {
		return errMalformed
	}
	if authzid != "" && authzid != username {
		return ErrAuthFailed // nobody may act as another user
	}
	return s.srv.Authenticate(ctx, &s.peer, username, password)
}

// authFailed sends the reply to an AUTH that failed with err.
func (s *session) authFailed(ctx context.Context, err error) {
	switch {
	case errors.Is(err, errMalformed):
		s.refuse(ctx, "AUTH", "501 5.5.2 malformed response")
	case errors.Is(err, ErrAuthFailed):
		s.refuse(ctx, "AUTH", "535 5.7.8 wrong username or password")
	default:
		reply, ok := errors.AsType[*smtp.Reply](err)
		if !ok || reply == nil || reply.Code < 400 || reply.Code > 599 {
			s.note(ctx, slog.LevelError, "Authenticate failed", "err", err)
			reply = smtp.NewReply(454, "4.7.0", "temporary failure")
		}
		s.answer(ctx, "AUTH", reply)
	}
}
