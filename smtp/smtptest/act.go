package smtptest

import (
	"io"
	"strings"
	"time"

	"github.com/postrider/postrider/smtp"
)

// maxBabble bounds a reply without end, in octets.
const maxBabble = 64 << 20

// at does what the host was told to do at a stage. done says that the client has its answer.
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

// act does anything but answer.
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

// decline gives r in place of what is usual at a stage.
func (s *session) decline(stage smtp.Stage, r *smtp.Reply) error {
	if stage == smtp.StageGreeting {
		s.closing = !r.Positive() // RFC 5321 §3.1: then only QUIT does anything
	}
	return s.reply(r)
}

// hangUp ends the connection, with a reset or in good order, in place of a reply.
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

// pause lets pass by how much the reply of a stage is late.
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

// hold sends what was said and then waits for d, or forever, unless the host is healed before. When the client
// is gone meanwhile it gives an error.
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

// babble says the beginning of a reply over and over.
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
	lines := strings.Repeat(code+"-and so on\r\n", 1000)
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

// early gives the reply to the next command, if the host was told to.
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
