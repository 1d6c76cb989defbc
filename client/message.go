package client

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
)

// message is one message in one Send, and the results so far.
type message struct {
	env     *smtp.Envelope
	content smtp.Content
	facts   smtp.Facts
	replies *replies.Classifier
	wish    tlsWish

	rcpts    []int         // the indices of the recipients to offer next
	results  []smtp.Result // of all recipients; Reply is nil if nothing was decided yet
	failures []*failure    // the failures that caused results
	out      bodyWriter    // of the transaction under way
	one      [1]int        // the array of rcpts if there is one recipient
	sized    sized         // content

	sevenBit    *conversion // to 7 bits; nil until a host needs it
	breakSigned bool        // it is converted even if it is signed
	kept        bool        // a host wasn't sent it, because it is signed
	partsUTF8   bool        // the header of a part is in UTF-8; only if the sender declared SMTPUTF8
}

// sized is a content with the Size that it had at first, and with the rules of io.ReaderAt. A Content must not change,
// but this one may.
type sized struct {
	r    io.ReaderAt
	size int64
}

func (s *sized) Size() int64 { return s.size }

func (s *sized) ReadAt(b []byte, off int64) (int, error) {
	n, err := s.r.ReadAt(b, off)
	switch {
	case n < 0 || n > len(b):
		return 0, fmt.Errorf("ReadAt returned %d octets of %d: correct the Content", n, len(b))
	case n < len(b) && err == nil:
		err = io.ErrNoProgress // a reader would ask again without end
	}
	return n, err
}

// newMessage takes a nil envelope or content, too: check refuses it.
func newMessage(env *smtp.Envelope, content smtp.Content) *message {
	if env == nil {
		env = new(smtp.Envelope)
	}
	m := &message{
		env:     env,
		wish:    wishOf(env, false),
		results: make([]smtp.Result, len(env.Recipients)),
	}
	if content != nil {
		m.sized = sized{content, content.Size()}
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

// check finds what no host could be sent, before anything is written. A recipient that is at fault gets its result
// here, and leaves m.rcpts. A failure is for all that are left.
func (m *message) check() *failure {
	if m.env.Check() != nil {
		if err := m.checkParts(); err != nil {
			return &failure{reply: smtp.NewReply(501, "5.5.4", clip(err.Error())), local: true, cause: err}
		}
	}
	if m.sized.r == nil {
		return contentFailure(&smtp.ContentError{Err: errors.New("it is nil")})
	}
	if size := m.content.Size(); size < 0 {
		return contentFailure(&smtp.ContentError{Err: fmt.Errorf("its size is %d", size)})
	}
	scan := smtp.Scan
	if m.env.Body == smtp.BodyBinaryMIME {
		scan = smtp.ScanBinary
	}
	facts, err := scan(m.content)
	if err != nil {
		return contentFailure(err)
	}
	m.facts = facts
	if m.env.UTF8 && facts.EightBitBody && !facts.HeaderUTF8 {
		m.partsUTF8, _ = smtp.HasEightBitPartHeader(m.content) // what can't be read fails when it is sent
	}
	return nil
}

// checkParts rejects each recipient that is at fault. It returns an error if the rest of the envelope is at fault too.
func (m *message) checkParts() error {
	rest := *m.env
	if len(rest.Recipients) > 0 {
		rest.Recipients = []smtp.Recipient{{Address: "postmaster"}}
	}
	m.rcpts = slices.DeleteFunc(m.rcpts, func(i int) bool {
		rcpt := &m.env.Recipients[i]
		err := rcpt.Check()
		if err == nil {
			return false
		}
		code := "5.5.4"
		if smtp.CheckAddress(rcpt.Address) != nil {
			code = "5.1.3" // RFC 3463 §3.2: bad destination mailbox address syntax
		}
		m.fail([]int{i}, &failure{reply: smtp.NewReply(501, code, clip(err.Error())), local: true, cause: err})
		return true
	})
	return rest.Check()
}

// undecided returns the recipients among rcpts without a result. It overwrites rcpts.
func (m *message) undecided(rcpts []int) []int {
	return slices.DeleteFunc(rcpts, func(i int) bool { return m.results[i].Reply != nil })
}

// oneDomain reports whether the recipients in rcpts have the same domain, in the same spelling. There is one at least.
func (m *message) oneDomain() bool {
	_, first := smtp.SplitAddress(m.env.Recipients[m.rcpts[0]].Address)
	for _, i := range m.rcpts {
		if _, domain := smtp.SplitAddress(m.env.Recipients[i].Address); domain != first {
			return false
		}
	}
	return true
}

// settle sets the result of recipient i to a reply of the host of c.
func (m *message) settle(c *Conn, i int, stage smtp.Stage, r *smtp.Reply) {
	res := &m.results[i]
	res.Host, res.Addr, res.TLS, res.Policy = c.Host, c.Addr, c.security.Version, c.required.Name
	res.Source, res.Security = c.from, c.summary()
	res.Stage, res.Reply, res.Local = stage, shorten(r), false
	res.Relayed, res.DSN, res.DeliverBy = false, false, false
	switch {
	case r.Code >= 200 && r.Code < 300:
		res.Outcome, c.taken = smtp.Delivered, true
		res.Relayed, res.DSN, res.DeliverBy = !c.LMTP, c.ext.dsn, c.ext.deliverBy
	case stage == smtp.StageRcpt && r.Code == 552:
		res.Outcome = smtp.Deferred // RFC 5321 §4.5.3.1.10: too many recipients, to be treated like 452
	case r.Permanent():
		res.Outcome = smtp.Rejected
	default:
		res.Outcome = smtp.Deferred
	}
	res.Reason = m.replies.ReasonOf(res)
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
		r := f.result(m.replies)
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
