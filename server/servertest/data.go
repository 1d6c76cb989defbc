package servertest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/postrider/postrider/smtp"
)

func (s *session) dataCmd() error {
	nobody := s.env == nil || len(s.env.Recipients) == 0
	if nobody && (s.env == nil || s.lmtp || !s.host.dataAnyway()) {
		return s.say(503, smtp.EnhancedCode{5, 5, 1}, "no recipients") // RFC 2033 §4.2 demands 503
	}
	if done, err := s.at(smtp.StageData); done || err != nil {
		return err
	}
	s.say(354, smtp.EnhancedCode{}, "end with a dot alone")
	if err := s.early(smtp.StageData); err != nil {
		return err
	}
	if f, ok := s.host.fault(smtp.StageBody); ok {
		if _, err := s.r.Peek(1); err != nil {
			return err
		}
		if done, err := s.act(smtp.StageBody, f); done || err != nil {
			return err
		}
	}
	env := s.env
	s.env = nil
	data, err := s.readData()
	bad, isReply := errors.AsType[*smtp.Reply](err)
	if err != nil && !isReply {
		return err
	}
	f, amiss := s.host.fault(smtp.StageFinal)
	var replies []smtp.Reply
	switch {
	case bad != nil:
		replies, amiss = s.each(env, *bad), false
	case !s.offers["8BITMIME"] && bytes.ContainsFunc(data, func(r rune) bool { return r > 127 }):
		no := smtp.Reply{Code: 554, Enhanced: smtp.EnhancedCode{5, 6, 1}, Text: "octets above 127 without 8BITMIME"} // RFC 6152 §3
		replies, amiss = s.each(env, no), false
	case nobody:
		no := smtp.Reply{Code: 554, Enhanced: smtp.EnhancedCode{5, 5, 1}, Text: "no valid recipients"}
		replies, amiss = []smtp.Reply{no}, false
	case amiss && f.kind == answers:
		replies, amiss = s.each(env, f.reply), false
	default:
		replies = s.take(env, data)
	}
	if err := s.pause(smtp.StageFinal); err != nil {
		return err
	}
	if amiss {
		if done, err := s.act(smtp.StageFinal, f); done || err != nil {
			return err
		}
	}
	for _, r := range replies {
		if err := s.reply(r); err != nil {
			return err
		}
	}
	return s.early(smtp.StageFinal)
}

// take gives the message to the host, if anybody is to have it, and the replies to that.
func (s *session) take(env *smtp.Envelope, data []byte) []smtp.Reply {
	replies := s.replies(env)
	if len(env.Recipients) > 0 {
		s.taken++
		s.host.take(Message{
			Envelope: env,
			Data:     data,
			TLS:      s.tls,
			Identity: s.identity,
			Hello:    s.hello,
			Time:     time.Now(),
		})
	}
	return replies
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

// each gives what r is after the final dot, over LMTP once for each recipient (RFC 2033 §4.2).
func (s *session) each(env *smtp.Envelope, r smtp.Reply) []smtp.Reply {
	if !s.lmtp {
		return []smtp.Reply{r}
	}
	return slices.Repeat([]smtp.Reply{r}, len(env.Recipients))
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
