package server

import (
	"context"
	"errors"
	"strings"

	"github.com/postrider/postrider/internal/scram"
)

// bearerServer is OAUTHBEARER (RFC 7628), or the older XOAUTH2 of Google and Microsoft.
type bearerServer struct {
	s      *session
	legacy bool  // XOAUTH2
	failed error // the client still has to answer the challenge that has the error
}

// The challenges to a token that isn't valid (RFC 7628 §3.2.2).
const (
	badToken       = `{"status":"invalid_token","schemes":"bearer"}`
	badTokenLegacy = `{"status":"401","schemes":"bearer"}`
)

func (m *bearerServer) next(ctx context.Context, response []byte) (challenge []byte, username string, err error) {
	switch {
	case m.failed != nil:
		return nil, "", m.failed // RFC 7628 §3.2.3: the response means nothing
	case response == nil:
		return nil, "", nil
	}
	parse := parseBearer
	if m.legacy {
		parse = parseXOAUTH2
	}
	claimed, token, ok := parse(string(response))
	if !ok {
		return nil, "", errMalformed
	}
	username, err = m.s.checkToken(ctx, claimed, token)
	if !errors.Is(err, ErrAuthFailed) {
		return nil, username, err
	}
	m.failed = err
	if m.legacy {
		return []byte(badTokenLegacy), "", nil
	}
	return []byte(badToken), "", nil
}

// checkToken calls Server.CheckToken.
func (s *session) checkToken(ctx context.Context, claimed, token string) (username string, err error) {
	err = s.guess(ctx, claimed, func() (err error) {
		username, err = s.srv.CheckToken(ctx, &s.peer, claimed, token)
		if err == nil && username == "" {
			err = errors.New("CheckToken returned neither a username nor an error")
		}
		return err
	})
	if err != nil {
		return "", err
	}
	return username, nil
}

// parseBearer parses the first message of OAUTHBEARER: a GS2 header, and pairs that \x01 ends (RFC 7628 §3.1).
func parseBearer(message string) (username, token string, ok bool) {
	header, rest, ok := strings.Cut(message, "\x01")
	flag, header, ok2 := strings.Cut(header, ",")
	authzid, after, ok3 := strings.Cut(header, ",")
	if !ok || !ok2 || !ok3 || after != "" || flag != "n" && flag != "y" {
		return "", "", false
	}
	if authzid != "" {
		name, ok := strings.CutPrefix(authzid, "a=")
		if username, ok = unescaped(name, ok); !ok {
			return "", "", false
		}
	}
	token, ok = bearerToken(rest)
	return username, token, ok
}

func unescaped(name string, ok bool) (string, bool) {
	username, valid := scram.ParseName(name)
	return username, ok && valid && validName(username)
}

// parseXOAUTH2 parses the only message of XOAUTH2.
func parseXOAUTH2(message string) (username, token string, ok bool) {
	user, rest, ok := strings.Cut(message, "\x01")
	username, ok2 := strings.CutPrefix(user, "user=")
	if !ok || !ok2 || !validName(username) {
		return "", "", false
	}
	token, ok = bearerToken(rest)
	return username, token, ok
}

// bearerToken returns the token in a list of pairs. Each pair ends with \x01, and so does the list.
func bearerToken(list string) (token string, ok bool) {
	list, ended := strings.CutSuffix(list, "\x01\x01")
	if !ended {
		return "", false
	}
	for pair := range strings.SplitSeq(list, "\x01") {
		key, value, valued := strings.Cut(pair, "=")
		switch {
		case !valued || key == "":
			return "", false
		case key != "auth":
			continue // host and port, and whatever a later RFC adds
		}
		scheme, credential, found := strings.Cut(value, " ")
		if ok || !found || !equalASCII(scheme, "BEARER") || !validToken(credential) {
			return "", false
		}
		token, ok = credential, true
	}
	return token, ok
}

// validToken reports whether s can be a token: printable ASCII without spaces (RFC 6750 §2.1 allows even less).
func validToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
