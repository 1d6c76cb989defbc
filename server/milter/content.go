package milter

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

const (
	maxChanges      = 1000    // of a message
	maxChangeOctets = 1 << 20 // of all of them
)

// tellContent tells the filter of a message, and makes the changes that it wants.
func (l *link) tellContent(ctx context.Context, s *server.Session, m *server.Message) error {
	changes, err := l.filter(s, m)
	if err != nil || l.done {
		return err
	}
	p, err := newPlan(s.Envelope, m.Header, changes, l.protocol&leadingSpace == 0)
	if err != nil {
		return err
	}
	var body *server.Body
	if l.body != nil {
		if body, err = s.NewBody(); err != nil {
			return orRefused(err)
		}
		if err := normal(body, l.body.Body); err != nil {
			return err
		}
	}
	return p.carryOut(ctx, s, m, body)
}

// filter tells the filter of a message, and returns the changes that it wants. If it has accepted or discarded the
// message early, done is set.
func (l *link) filter(s *server.Session, m *server.Message) ([]change, error) {
	for _, rcpt := range s.Envelope.Recipients { // those that were accepted without asking it, for they may relay
		if l.knows(rcpt) {
			continue
		}
		if err := l.tellRcpt(s, rcpt); err != nil || l.done {
			return nil, err
		}
	}
	steps := []func(*server.Session, *server.Message) error{l.tellData, l.tellHeader, l.tellBody}
	for _, tell := range steps {
		if err := tell(s, m); err != nil || l.done {
			return nil, err
		}
	}
	l.w.putMacros(cmdEnd, "i", s.Peer.Transaction())
	l.w.put(cmdEnd)
	return l.hearEnd(s)
}

func (l *link) tellData(s *server.Session, _ *server.Message) error {
	if l.version < 4 || l.protocol&noData != 0 {
		return nil
	}
	l.w.putMacros(cmdData, "i", s.Peer.Transaction())
	l.w.put(cmdData)
	return l.hear(s, cmdData, silentData)
}

func (l *link) tellHeader(s *server.Session, m *server.Message) error {
	for _, f := range m.Header {
		if l.protocol&noHeaders != 0 {
			break
		}
		value := strings.ReplaceAll(f.Value, "\r\n", "\n")
		if l.protocol&leadingSpace == 0 {
			value = strings.TrimPrefix(value, " ")
		}
		l.w.put(cmdHeader, strings.TrimRight(f.Name, " \t"), value)
		if err := l.step(s, cmdHeader, silentHeader); err != nil || l.done {
			return err
		}
	}
	if l.protocol&noEndHeader != 0 {
		return nil
	}
	l.w.put(cmdEndHeader)
	return l.step(s, cmdEndHeader, silentEndHeader)
}

// step is hear for commands of which there are many: what isn't answered is sent now and then.
func (l *link) step(s *server.Session, cmd byte, silent uint32) error {
	if l.protocol&silent != 0 && len(l.w.out) > maxChunk {
		return l.w.flush()
	}
	return l.hear(s, cmd, silent)
}

func (l *link) tellBody(s *server.Session, m *server.Message) error {
	if l.protocol&noBody != 0 || m.Body == nil {
		return nil
	}
	body := smtp.NewReader(m.Body)
	for left := m.Body.Size(); left > 0; left -= maxChunk {
		if err := l.w.putChunk(cmdBody, body, int(min(left, maxChunk))); err != nil {
			return err
		}
		if l.protocol&silentBody != 0 {
			if err := l.w.flush(); err != nil {
				return err
			}
			continue
		}
		ans, data, err := l.w.answer()
		if err == nil && ans == ansSkip {
			return nil
		}
		if err == nil {
			err = l.take(s, cmdBody, ans, data)
		}
		if err != nil || l.done {
			return err
		}
	}
	return nil
}

// hearEnd reads the changes and the answer at the end of a message. If it is to be accepted, done isn't set.
func (l *link) hearEnd(s *server.Session) (changes []change, err error) {
	octets := 0
	for {
		cmd, n, err := l.w.next()
		if err != nil {
			return nil, fmt.Errorf("after the end of the message: %w", err)
		}
		if cmd == chgBody {
			if err := l.keepBody(s, n); err != nil {
				return nil, err
			}
			continue
		}
		data, err := l.w.data(n)
		if err != nil {
			return nil, err
		}
		if !isChange(cmd) {
			err := l.takeEnd(s, cmd, data)
			return changes, cmp.Or(err, l.body.fault())
		}
		if octets += len(data); len(changes) == maxChanges || octets > maxChangeOctets {
			return nil, fmt.Errorf("more than %d changes, or %d octets of them", maxChanges, maxChangeOctets)
		}
		c, err := parseChange(cmd, data)
		if err != nil {
			return nil, err
		}
		changes = append(changes, c)
	}
}

// takeEnd is take for the answer at the end, which ends the transaction for the filter.
func (l *link) takeEnd(s *server.Session, ans byte, data []byte) error {
	err := l.take(s, cmdEnd, ans, data)
	if err == nil {
		err = l.w.unasked()
	}
	if !isFailure(err) {
		l.open = false
	}
	if ans == ansAccept {
		l.done = false // with its changes
	}
	return err
}
