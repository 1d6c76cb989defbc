package smtptest

import (
	"io"
	"strings"
	"time"

	"github.com/postrider/postrider/smtp"
)

// maxBabble bounds an endless reply, in octets.
const maxBabble = 64 << 20

// at applies the fault or the rate limit of a stage. done reports that the client has its answer.
func (s *session) at(stage smtp.Stage) (done bool, err error) {
	f, ok := s.host.fault(stage)
	if !ok {
		if r := s.host.tooFast(stage); r != nil {
			return true, s.decline(stage, r)
		}
		return false, nil
	}
	if f.kind == answers {
		return true, s.decline(stage, f.reply)
	}
	return s.act(stage, f)
}

// act applies a fault other than answers.
func (s *session) act(stage smtp.Stage, f fault) (done bool, err error) {
	switch f.kind {
	case utters:
		s.log("S: %.*q", maxLine, f.raw)
		s.out = append(s.out, f.raw...)
		return true, nil
	case stalls:
		s.log("S: stalls at stage %s", stage)
		return false, s.hold(forever, f.healed)
	case babbles:
		return false, s.babble(stage, f.healed)
	}
	return true, s.hangUp(stage, f.kind == resets)
}

// decline replies with r in place of the usual reply of a stage.
func (s *session) decline(stage smtp.Stage, r *smtp.Reply) error {
	if stage == smtp.StageGreeting {
		s.closing = !r.Positive() // RFC 5321 §3.1: then only QUIT is accepted
	}
	return s.reply(r)
}

// hangUp closes or resets the connection in place of a reply.
func (s *session) hangUp(stage smtp.Stage, reset bool) error {
	if !reset {
		s.log("S: closes at stage %s", stage)
		return errHangUp
	}
	s.log("S: resets the connection at stage %s", stage)
	s.out = nil
	s.raw.SetLinger(0)
	s.raw.Close()
	return errHangUp
}

// pause waits for the delay of a stage's reply.
func (s *session) pause(stage smtp.Stage) error {
	s.host.mu.Lock()
	d, healed := s.host.script.slow[stage], s.host.script.healed
	s.host.mu.Unlock()
	if d <= 0 {
		return nil
	}
	return s.hold(d, healed)
}

const forever time.Duration = -1

// hold sends the pending replies and waits for d, or forever. It returns early when the host is healed and, with an
// error, when the client closes the connection.
func (s *session) hold(d time.Duration, healed <-chan struct{}) error {
	if err := s.flush(); err != nil {
		return err
	}
	var over <-chan time.Time
	if d != forever {
		timer := time.NewTimer(d)
		defer timer.Stop()
		over = timer.C
	}
	for {
		gone, changed := s.raw.out.lost()
		if gone {
			return io.ErrClosedPipe
		}
		select {
		case <-changed:
		case <-healed:
			return nil
		case <-over:
			return nil
		}
	}
}

// babble sends continuation lines of a reply.
func (s *session) babble(stage smtp.Stage, healed <-chan struct{}) error {
	code := "250"
	switch stage {
	case smtp.StageGreeting, smtp.StageTLS:
		code = "220"
	case smtp.StageAuth:
		code = "235"
	case smtp.StageData:
		code = "354"
	}
	s.log("S: babbles at stage %s", stage)
	lines := strings.Repeat(code+"-endless reply\r\n", 1000)
	for said := 0; said < maxBabble; said += len(lines) {
		select {
		case <-healed:
			return nil
		default:
		}
		s.out = append(s.out, lines...)
		if err := s.flush(); err != nil {
			return err
		}
	}
	return s.hangUp(stage, false)
}

// early sends the reply of AnswerEarly at a stage, if there is one.
func (s *session) early(stage smtp.Stage) error {
	s.host.mu.Lock()
	r := s.host.script.early[stage]
	s.host.mu.Unlock()
	if r == nil {
		return nil
	}
	err := s.reply(r)
	s.answered = true
	return err
}
