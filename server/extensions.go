package server

import (
	"fmt"
	"strconv"
	"time"

	"github.com/postrider/postrider/smtp"
)

// maxAnnounced is the greatest number that LIMITS can state (RFC 9422 §4.1, §4.2: 6 digits).
const maxAnnounced = 999_999

// announce says the lines of EHLO for the extensions that depend on fields of Server.
func (s *session) announce() {
	srv := s.srv
	if srv.BinaryMIME && !s.sevenBit {
		s.say("250-BINARYMIME") // RFC 3030 §3: only with CHUNKING
	}
	if srv.DeliverBy {
		line := "250-DELIVERBY"
		if least := seconds(srv.MinDeliverBy); least > 0 {
			line += " " + strconv.FormatInt(least, 10) // RFC 2852 §3
		}
		s.say(line)
	}
	if srv.Priorities {
		s.say("250-MT-PRIORITY") // RFC 6710 §3: the name of a policy is optional
	}
	if srv.MaxHold > 0 {
		most := seconds(srv.MaxHold)
		until := time.Now().Add(time.Duration(most) * time.Second).UTC()
		s.say(fmt.Sprintf("250-FUTURERELEASE %d %s", most, until.Format(time.RFC3339))) // RFC 4865 §3
	}
	if s.requireTLSOffered() {
		s.say("250-REQUIRETLS")
	}
	// RFC 9422 §4: a limit that can't be stated isn't.
	limits := ""
	if n := s.maxRecipients(); n <= maxAnnounced {
		limits += " RCPTMAX=" + strconv.Itoa(n)
	}
	if n := srv.MaxMails; n > 0 && n <= maxAnnounced {
		limits += " MAILMAX=" + strconv.Itoa(n)
	}
	if limits != "" {
		s.say("250-LIMITS" + limits)
	}
}

// requireTLSOffered reports whether REQUIRETLS is offered: only under TLS (RFC 8689 §2).
func (s *session) requireTLSOffered() bool { return s.peer.TLS != nil && !s.srv.NoRequireTLS }

// seconds returns d in seconds, rounded up, as 9 digits at most.
func seconds(d time.Duration) int64 {
	n := int64(d / time.Second)
	if d%time.Second > 0 {
		n++
	}
	return min(n, 999_999_999)
}

// unfit returns the refusal of a MAIL whose parameters aren't offered, or ask for more than that. It returns "" for one
// that can be accepted.
func (s *session) unfit(env *smtp.Envelope) string {
	srv := s.srv
	switch {
	case s.sevenBit && (env.UTF8 || env.Body == smtp.Body8BitMIME || env.Body == smtp.BodyBinaryMIME):
		return "555 5.5.4 8BITMIME not offered"
	case env.Body == smtp.BodyBinaryMIME && !srv.BinaryMIME:
		return "555 5.5.4 BINARYMIME not offered" // RFC 3030 §3
	case !env.By.Time.IsZero() && !srv.DeliverBy:
		return "555 5.5.4 DELIVERBY not offered"
	case env.By.Return && env.By.Seconds(time.Now()) < seconds(srv.MinDeliverBy):
		return "555 5.5.4 BY is less than the " + srv.MinDeliverBy.String() + " of DELIVERBY" // RFC 2852 §3
	case env.Priority != 0 && !srv.Priorities:
		return "555 5.5.4 MT-PRIORITY not offered"
	case env.RequireTLS && !s.requireTLSOffered():
		return "555 5.5.4 REQUIRETLS not offered"
	case env.HoldUntil.IsZero():
		return ""
	case srv.MaxHold == 0:
		return "555 5.5.4 FUTURERELEASE not offered"
	}
	switch wait := time.Until(env.HoldUntil); {
	case wait <= 0:
		return "501 5.5.4 HOLDUNTIL is in the past" // RFC 4865 §4.2
	case wait > time.Duration(seconds(srv.MaxHold))*time.Second:
		return "501 5.5.4 the message can't be held that long" // RFC 4865 §4.2
	}
	return ""
}
