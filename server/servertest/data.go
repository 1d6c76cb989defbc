package servertest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/postrider/postrider/smtp"
)

func (s *session) dataCmd() error {
	if s.env == nil || len(s.env.Recipients) == 0 {
		return s.say(503, smtp.EnhancedCode{5, 5, 1}, "no recipients") // RFC 2033 §4.2 demands 503
	}
	if done, err := s.at(smtp.StageData); done {
		return err
	}
	s.say(354, smtp.EnhancedCode{}, "end with a dot alone")
	if f, ok := s.host.fault(smtp.StageBody); ok {
		if _, err := s.r.Peek(1); err != nil {
			return err
		}
		return s.hangUp(smtp.StageBody, f.reset)
	}
	env := s.env
	s.env = nil
	data, err := s.readData()
	if err != nil {
		if reply, ok := errors.AsType[*smtp.Reply](err); ok {
			return s.answer(env, *reply)
		}
		return err
	}
	if !s.offers["8BITMIME"] && bytes.ContainsFunc(data, func(r rune) bool { return r > 127 }) {
		return s.answer(env, smtp.Reply{Code: 554, Enhanced: smtp.EnhancedCode{5, 6, 1}, Text: "octets above 127 without 8BITMIME"}) // RFC 6152 §3
	}
	f, amiss := s.host.fault(smtp.StageFinal)
	if amiss && f.reply != nil {
		return s.answer(env, *f.reply)
	}
	replies := s.replies(env)
	if len(env.Recipients) > 0 {
		s.host.take(Message{
			Envelope: env,
			Data:     data,
			TLS:      s.tls,
			Identity: s.identity,
			Hello:    s.hello,
			Time:     time.Now(),
		})
	}
	if amiss {
		return s.hangUp(smtp.StageFinal, f.reset)
	}
	for _, r := range replies {
		if err := s.reply(r); err != nil {
			return err
		}
	}
	return nil
}

// readData reads the content to its true end. A *smtp.Reply says what is wrong with it.
func (s *session) readData() ([]byte, error) {
	limit := s.host.limit()
	d := smtp.NewDataReader(s.r)
	d.MaxSize = limit
	data, err := io.ReadAll(d)
	if err == nil {
		s.log("C: (%d octets, and the final dot)", len(data))
		return data, nil
	}
	if _, ok := errors.AsType[*smtp.Reply](err); ok {
		if derr := d.Drain(limit + window); derr != nil {
			err = derr // the same reply, or why the end wasn't found
		}
	}
	s.log("C: (content refused: %v)", err)
	return nil, err
}

// answer gives r after the final dot, over LMTP once for each recipient (RFC 2033 §4.2).
func (s *session) answer(env *smtp.Envelope, r smtp.Reply) error {
	n := 1
	if s.lmtp {
		n = len(env.Recipients)
	}
	for range n {
		if err := s.reply(r); err != nil {
			return err
		}
	}
	return nil
}

// replies gives what is said after a good final dot, and leaves in env whom the host takes the mail for.
func (s *session) replies(env *smtp.Envelope) []smtp.Reply {
	taken := smtp.Reply{Code: 250, Enhanced: smtp.EnhancedCode{2, 0, 0}, Text: "taken"}
	if !s.lmtp {
		return []smtp.Reply{taken}
	}
	var replies []smtp.Reply
	kept := env.Recipients[:0]
	for _, rcpt := range env.Recipients {
		if r := s.host.finalRefusal(rcpt.Address); r != nil {
			replies = append(replies, *r)
			continue
		}
		ok := taken
		ok.Text = fmt.Sprintf("taken for <%s>", rcpt.Address)
		replies = append(replies, ok)
		kept = append(kept, rcpt)
	}
	env.Recipients = kept
	return replies
}
