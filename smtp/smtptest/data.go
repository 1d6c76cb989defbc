package smtptest

import (
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
		return s.say(503, "5.5.1", "no recipients") // RFC 2033 §4.2 demands 503
	}
	switch {
	case s.content != nil: // RFC 3030 §2
		return s.say(503, "5.5.1", "BDAT has begun")
	case s.env.Body == smtp.BodyBinaryMIME: // RFC 3030 §3
		return s.say(503, "5.5.1", "BINARYMIME needs BDAT")
	}
	if done, err := s.at(smtp.StageData); done || err != nil {
		return err
	}
	s.say(354, "", "end with <CRLF>.<CRLF>")
	if err := s.early(smtp.StageData); err != nil {
		return err
	}
	if done, err := s.interrupt(true); done || err != nil {
		return err
	}
	m := Message{Envelope: s.env}
	s.forget()
	var err error
	m.Data, err = s.readData()
	no, isReply := errors.AsType[*smtp.Reply](err)
	switch {
	case err != nil && !isReply:
		return err
	case err == nil:
		no = s.unfit(m)
	}
	if no == nil && nobody {
		no = smtp.NewReply(554, "5.5.1", "no valid recipients")
	}
	if err := s.final(m, no); err != nil || no == nil || no.Code != 521 {
		return err
	}
	return errHangUp // RFC 7504 §2
}

// interrupt applies a fault in the middle of the content. If some is set, it waits for the first octet.
func (s *session) interrupt(some bool) (done bool, err error) {
	f, ok := s.host.fault(smtp.StageBody)
	if !ok || !f.kind.interrupts() {
		return false, nil
	}
	if some {
		if _, err := s.r.Peek(1); err != nil {
			return true, err
		}
	}
	return s.act(smtp.StageBody, f)
}

// final answers a whole message. no, if not nil, is its refusal.
func (s *session) final(m Message, no *smtp.Reply) error {
	f, amiss := s.host.fault(smtp.StageFinal)
	var replies []*smtp.Reply
	switch {
	case no != nil:
		replies, amiss = s.each(m.Envelope, no), false
	case amiss && f.kind == answers:
		replies, amiss = s.each(m.Envelope, f.reply), false
	default:
		if over := s.overQuota(m); over != nil {
			replies = s.each(m.Envelope, over)
		} else {
			replies = s.take(m)
		}
	}
	return s.answer(smtp.StageFinal, f, amiss, replies...)
}

// answer sends the replies of a stage. If amiss is set, it applies the fault f.
func (s *session) answer(stage smtp.Stage, f fault, amiss bool, replies ...*smtp.Reply) error {
	if err := s.pause(stage); err != nil {
		return err
	}
	if amiss {
		if done, err := s.act(stage, f); done || err != nil {
			return err
		}
	}
	for _, r := range replies {
		if err := s.reply(r); err != nil {
			return err
		}
	}
	return s.early(stage)
}

// take passes the message to the host, if it has recipients, and returns the replies.
func (s *session) take(m Message) []*smtp.Reply {
	replies := s.replies(m.Envelope)
	if len(m.Envelope.Recipients) > 0 {
		s.taken++
		m.TLS, m.Identity, m.Hello, m.Time = s.tls, s.identity, s.hello, time.Now()
		s.host.take(m)
	}
	return replies
}

// readData reads the content to its end. Its error is a *smtp.Reply if the content is refused.
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
			err = derr // the same reply, or the error that hid the end
		}
	}
	s.log("C: (content refused: %v)", err)
	return nil, err
}

// each returns r as the reply after the final dot or BDAT LAST: over LMTP once for each recipient (RFC 2033 §4.2,
// §4.3), over SMTP once. env may be nil.
func (s *session) each(env *smtp.Envelope, r *smtp.Reply) []*smtp.Reply {
	if !s.lmtp || env == nil || len(env.Recipients) == 0 {
		return []*smtp.Reply{r}
	}
	return slices.Repeat([]*smtp.Reply{r}, len(env.Recipients))
}

// replies returns the replies to a message that isn't refused as a whole, and removes from env the recipients that are.
func (s *session) replies(env *smtp.Envelope) []*smtp.Reply {
	if !s.lmtp {
		return []*smtp.Reply{smtp.NewReply(250, "2.0.0", "taken")}
	}
	var replies []*smtp.Reply
	kept := env.Recipients[:0]
	for _, rcpt := range env.Recipients {
		if r := s.host.finalRefusal(rcpt.Address); r != nil {
			replies = append(replies, r)
			continue
		}
		replies = append(replies, smtp.NewReply(250, "2.0.0", fmt.Sprintf("taken for <%s>", rcpt.Address)))
		kept = append(kept, rcpt)
	}
	env.Recipients = kept
	return replies
}
