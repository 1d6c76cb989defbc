package client

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/postrider/postrider/smtp"
)

// message is one message in one Send, and the results so far.
type message struct {
	env     *smtp.Envelope
	content smtp.Content
	facts   smtp.Facts

	rcpts    []int         // the indices of the recipients to offer next
	results  []smtp.Result // of all recipients; Reply is nil if nothing was decided yet
	failures []*failure    // the failures that caused results
	out      bodyWriter    // of the transaction under way
	one      [1]int        // the array of rcpts if there is one recipient
	sized    sized         // content
}

// sized is a content with the Size that it had at first. A Content must not change, but this one may.
type sized struct {
	io.ReaderAt
	size int64
}

func (s *sized) Size() int64 { return s.size }

func newMessage(env *smtp.Envelope, content smtp.Content) *message {
	m := &message{
		env:     env,
		sized:   sized{content, content.Size()},
		results: make([]smtp.Result, len(env.Recipients)),
	}
	m.content = &m.sized
	if m.rcpts = m.one[:]; len(env.Recipients) != 1 {
		m.rcpts = make([]int, len(env.Recipients))
	}
	for i := range env.Recipients {
		m.rcpts[i] = i
		m.results[i].Recipient = env.Recipients[i].Address
	}
	return m
}

// check finds a message that no host could be sent, before anything is written.
func (m *message) check() *failure {
	if err := m.env.Check(); err != nil {
		var r *smtp.Reply
		if !errors.As(err, &r) {
			r = smtp.NewReply(501, "5.5.4", clip(err.Error()))
		}
		return &failure{reply: r, local: true, cause: err}
	}
	if size := m.content.Size(); size < 0 {
		return contentFailure(smtp.StageRoute, &smtp.ContentError{Err: fmt.Errorf("its size is %d", size)})
	}
	scan := smtp.Scan
	if m.env.Body == smtp.BodyBinaryMIME {
		scan = smtp.ScanBinary
	}
	facts, err := scan(m.content)
	if err != nil {
		return contentFailure(smtp.StageRoute, err)
	}
	m.facts = facts
	return nil
}

// undecided returns the recipients among rcpts without a result. It overwrites rcpts.
func (m *message) undecided(rcpts []int) []int {
	return slices.DeleteFunc(rcpts, func(i int) bool { return m.results[i].Reply != nil })
}

// oneDomain reports whether all recipients have the same domain, in the same spelling.
func (m *message) oneDomain() bool {
	_, first := smtp.SplitAddress(m.env.Recipients[0].Address)
	for i := range m.env.Recipients {
		if _, domain := smtp.SplitAddress(m.env.Recipients[i].Address); domain != first {
			return false
		}
	}
	return true
}

// settle sets the result of recipient i to a reply of the host of c.
func (m *message) settle(c *Conn, i int, stage smtp.Stage, r *smtp.Reply) {
	res := &m.results[i]
	res.Host, res.Addr, res.TLS = c.Host, c.Addr, c.version
	res.Stage, res.Reply, res.Local = stage, shorten(r), false
	res.Relayed, res.DSN = false, false
	switch {
	case r.Code >= 200 && r.Code < 300:
		res.Outcome = smtp.Delivered
		res.Relayed, res.DSN = !c.LMTP, c.ext.dsn
	case stage == smtp.StageRcpt && r.Code == 552:
		res.Outcome = smtp.Deferred // RFC 5321 §4.5.3.1.10: too many recipients, to be treated like 452
	case r.Permanent():
		res.Outcome = smtp.Rejected
	default:
		res.Outcome = smtp.Deferred
	}
	res.Reason = smtp.ReasonOf(res)
}

// maxReplyText bounds the text of a reply that is kept, since it is stored for each recipient.
const maxReplyText = 2 << 10

// shorten returns r, or a copy with a text of maxReplyText octets.
func shorten(r *smtp.Reply) *smtp.Reply {
	if len(r.Text) <= maxReplyText {
		return r
	}
	short := *r
	short.Text = strings.ToValidUTF8(r.Text[:maxReplyText], "") + "..."
	return &short
}

// fail sets the results of recipients to a failure.
func (m *message) fail(rcpts []int, f *failure) {
	m.failures = append(m.failures, f)
	for _, i := range rcpts {
		r := f.result()
		r.Recipient = m.results[i].Recipient
		m.results[i] = r
	}
}

// err returns nil if every recipient is Delivered, and otherwise the failure of the first one that isn't.
func (m *message) err() error {
	for i := range m.results {
		r := &m.results[i]
		if r.Outcome == smtp.Delivered {
			continue
		}
		f := &failure{host: r.Host, rcpt: r.Recipient, stage: r.Stage, reply: r.Reply}
		for _, known := range m.failures {
			if known.reply == r.Reply {
				f.cause = known.cause
			}
		}
		return f
	}
	return nil
}
