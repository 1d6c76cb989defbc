package smtptest

import (
	"encoding/base64"
	"strings"

	"github.com/postrider/postrider/smtp"
)

// authCmd is AUTH PLAIN (RFC 4954 §4, RFC 4616).
func (s *session) authCmd(args string) error {
	if !s.offers["AUTH"] || s.identity != "" || s.env != nil {
		return s.say(503, "5.5.1", "AUTH isn't possible now")
	}
	mechanism, response, initial := strings.Cut(args, " ")
	if !strings.EqualFold(mechanism, "PLAIN") {
		return s.say(504, "5.5.4", "PLAIN only")
	}
	if done, err := s.at(smtp.StageAuth); done || err != nil {
		return err
	}
	if !initial {
		s.say(334, "", "")
		var err error
		if response, err = s.readLine(); err != nil {
			return err
		}
		s.log("C: …")
	}
	if response == "*" {
		return s.say(501, "5.0.0", "authentication cancelled")
	}
	user, ok := s.host.checkPlain(response)
	if !ok {
		return s.say(535, "5.7.8", "bad credentials")
	}
	s.identity = user
	s.log("authenticated as %q", user)
	return s.say(235, "2.7.0", "welcome")
}

// checkPlain returns the user of a PLAIN response, and whether the password is right.
func (h *Host) checkPlain(response string) (user string, ok bool) {
	raw, err := base64.StdEncoding.DecodeString(response)
	if err != nil {
		return "", false
	}
	parts := strings.Split(string(raw), "\x00")
	if len(parts) != 3 {
		return "", false
	}
	identity, user, password := parts[0], parts[1], parts[2]
	if identity != "" && identity != user {
		return "", false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	want, ok := h.accounts[user]
	return user, ok && password == want
}

func (h *Host) wantsAuth() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.accounts) > 0
}
