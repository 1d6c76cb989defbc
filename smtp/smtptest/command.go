package smtptest

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/postrider/postrider/smtp"
)

// command answers one command and applies the host's faults. An error ends the session.
func (s *session) command(line, verb, args string) error {
	stage := stageOf(verb)
	if err := s.pause(stage); err != nil {
		return err
	}
	if r := s.host.refusalOf(line); r != nil {
		return s.reply(r)
	}
	if err := s.obey(verb, args); err != nil {
		return err
	}
	switch stage {
	case otherStage, smtp.StageTLS, smtp.StageData: // the last two call early themselves
		return nil
	}
	return s.early(stage)
}

func (s *session) obey(verb, args string) error {
	if s.closing && verb != "QUIT" {
		return s.say(503, "5.5.1", "only QUIT is accepted")
	}
	switch verb {
	case "EHLO", "HELO", "LHLO":
		return s.helloCmd(verb, args)
	case "STARTTLS":
		return s.startTLSCmd()
	case "AUTH":
		return s.authCmd(args)
	case "MAIL":
		return s.mailCmd(args)
	case "RCPT":
		return s.rcptCmd(args)
	case "DATA":
		return s.dataCmd()
	case "RSET":
		s.forget()
		return s.say(250, "2.0.0", "reset")
	case "NOOP":
		return s.say(250, "2.0.0", "ok")
	case "VRFY":
		return s.say(252, "2.5.0", "the address can't be verified") // RFC 5321 §3.5.3
	case "QUIT":
		s.say(221, "2.0.0", "bye")
		return errHangUp
	}
	return s.say(500, "5.5.1", "unknown command")
}

func (s *session) helloCmd(verb, name string) error {
	// RFC 2033 §4.1: LMTP has LHLO and neither of the others.
	if s.lmtp != (verb == "LHLO") || verb == "EHLO" && s.host.without("EHLO") {
		return s.say(500, "5.5.1", "unknown command")
	}
	if done, err := s.at(smtp.StageHello); done || err != nil {
		return err
	}
	if name == "" {
		return s.say(501, "5.5.4", "a host name must follow")
	}
	s.hello = name
	s.forget()
	s.offers = make(map[string]bool)
	if verb == "HELO" {
		return s.say(250, "", s.host.name)
	}
	text := []string{s.host.name}
	for _, line := range s.host.extensions(s.tls) {
		s.offers[keyword(line)] = true
		text = append(text, line)
	}
	return s.say(250, "", strings.Join(text, "\n"))
}

func (s *session) startTLSCmd() error {
	if !s.offers["STARTTLS"] || s.tls {
		return s.say(503, "5.5.1", "STARTTLS isn't offered")
	}
	if done, err := s.at(smtp.StageTLS); done || err != nil {
		return err
	}
	s.say(220, "2.0.0", "go ahead")
	if err := s.early(smtp.StageTLS); err != nil {
		return err
	}
	return s.startTLS()
}

func (s *session) mailCmd(args string) error {
	s.mails++
	switch {
	case s.hello == "":
		return s.say(503, "5.5.1", "EHLO comes first")
	case s.env != nil:
		return s.say(503, "5.5.1", "a transaction is open") // RFC 5321 §4.1.4
	case s.host.wantsAuth() && s.identity == "":
		return s.say(530, "5.7.0", "authentication required") // RFC 4954 §6
	}
	if done, err := s.at(smtp.StageMail); done || err != nil {
		return err
	}
	if r := s.host.sessionFull(s.taken); r != nil {
		return s.reply(r)
	}
	if r := s.tooManyMails(); r != nil {
		return s.reply(r)
	}
	env, err := smtp.ParseMail(args)
	if err != nil {
		return s.refuse(err)
	}
	if keyword := s.missing(env); keyword != "" {
		return s.unoffered(keyword)
	}
	if limit := s.host.limit(); env.Size > limit {
		return s.say(552, "5.3.4", "message too big") // RFC 1870 §6.1
	}
	s.env, s.rcpts = env, 0
	return s.say(250, "2.1.0", "ok")
}

func (s *session) rcptCmd(args string) error {
	if s.env == nil {
		return s.say(503, "5.5.1", "MAIL comes first")
	}
	if s.content != nil {
		return s.say(503, "5.5.1", "BDAT has begun")
	}
	s.rcpts++
	if done, err := s.at(smtp.StageRcpt); done || err != nil {
		return err
	}
	rcpt, err := smtp.ParseRcpt(args)
	if err != nil {
		return s.refuse(err)
	}
	if !s.offers["DSN"] && (rcpt.Notify != 0 || rcpt.ORCPT != "") {
		return s.unoffered("DSN")
	}
	if smtp.NeedsUTF8(args) && !s.env.UTF8 {
		return s.say(553, "5.6.7", "the address needs SMTPUTF8") // RFC 6531 §3.5
	}
	if r := s.host.messageFull(len(s.env.Recipients)); r != nil {
		return s.reply(r)
	}
	if r := s.tooManyRcpts(rcpt.Address); r != nil {
		return s.reply(r)
	}
	if r := s.host.refusal(s.client(), s.env.From, rcpt.Address); r != nil {
		return s.reply(r)
	}
	s.env.Recipients = append(s.env.Recipients, rcpt)
	return s.say(250, "2.1.5", "ok")
}

// missing returns the keyword of an extension that env uses and the host didn't offer, or "".
func (s *session) missing(env *smtp.Envelope) string {
	for _, e := range []struct {
		keyword string
		used    bool
	}{
		{"SIZE", env.Size != 0},
		{"8BITMIME", env.Body == smtp.Body7Bit || env.Body == smtp.Body8BitMIME},
		{"BINARYMIME", env.Body == smtp.BodyBinaryMIME},
		{"SMTPUTF8", env.UTF8},
		{"DSN", env.Ret != smtp.RetUnknown || env.EnvID != ""},
		{"AUTH", env.Auth != ""},
		{"DELIVERBY", !env.By.Time.IsZero()},
		{"MT-PRIORITY", env.Priority != 0},
		{"FUTURERELEASE", !env.HoldUntil.IsZero()},
		{"REQUIRETLS", env.RequireTLS},
	} {
		if e.used && !s.offers[e.keyword] {
			return e.keyword
		}
	}
	return ""
}

// refuse answers a command that can't be parsed.
func (s *session) refuse(err error) error {
	if reply, ok := errors.AsType[*smtp.Reply](err); ok {
		return s.reply(reply)
	}
	return s.say(501, "5.5.4", err.Error())
}

// unoffered answers a parameter of an extension that the host didn't offer (RFC 5321 §4.1.1.11).
func (s *session) unoffered(keyword string) error {
	return s.say(555, "5.5.4", keyword+" isn't offered")
}

// extensions returns the lines of the answer to EHLO.
func (h *Host) extensions(tls bool) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	lines := []string{
		"PIPELINING", "SIZE " + strconv.FormatInt(h.maxSize, 10), "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES",
	}
	if h.chunking {
		lines = append(lines, "CHUNKING")
	}
	if h.binary {
		lines = append(lines, "BINARYMIME")
	}
	if h.limits != (Limits{}) {
		lines = append(lines, "LIMITS"+h.limits.params())
	}
	if !tls {
		lines = append(lines, "STARTTLS")
	} else if h.requireTLS {
		lines = append(lines, "REQUIRETLS")
	}
	if len(h.accounts) > 0 && (tls || h.lacks["STARTTLS"]) {
		lines = append(lines, "AUTH PLAIN")
	}
	for _, line := range h.extra {
		if keyword(line) != "STARTTLS" || !tls {
			lines = replaceLine(lines, line)
		}
	}
	return slices.DeleteFunc(lines, func(line string) bool { return h.lacks[keyword(line)] })
}

// without reports whether an extension was removed.
func (h *Host) without(keyword string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lacks[keyword]
}

func (h *Host) limit() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.maxSize
}
