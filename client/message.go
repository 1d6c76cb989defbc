package client

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/postrider/postrider/smtp"
)

// job is one message on its way, and what has become of it so far.
type job struct {
	env     *smtp.Envelope
	content smtp.Content
	facts   smtp.Facts

	rcpts    []int         // indices of the recipients to offer next
	results  []smtp.Result // of all recipients; Reply is nil where nothing was decided yet
	failures []*failure    // that results came from
	out      bodyWriter    // of the transaction that is under way
	one      [1]int        // rcpts, if there is only one
	sized    sized         // content
}

// sized is a content of the size that it had, whatever it says later.
type sized struct {
	io.ReaderAt
	size int64
}

func (s *sized) Size() int64 { return s.size }

func newJob(env *smtp.Envelope, content smtp.Content) *job {
	j := &job{
		env:     env,
		sized:   sized{content, content.Size()},
		results: make([]smtp.Result, len(env.Recipients)),
	}
	j.content = &j.sized
	if j.rcpts = j.one[:]; len(env.Recipients) != 1 {
		j.rcpts = make([]int, len(env.Recipients))
	}
	for i := range env.Recipients {
		j.rcpts[i] = i
		j.results[i].Recipient = env.Recipients[i].Address
	}
	return j
}

// check finds what can't be sent anywhere, before a byte is written.
func (j *job) check() *failure {
	if err := j.env.Check(); err != nil {
		var r *smtp.Reply
		if !errors.As(err, &r) {
			r = smtp.NewReply(501, "5.5.4", clip(err.Error()))
		}
		return &failure{reply: r, local: true, cause: err}
	}
	if size := j.content.Size(); size < 0 {
		return contentFailure(smtp.StageRoute, &smtp.ContentError{Err: fmt.Errorf("its size is %d", size)})
	}
	scan := smtp.Scan
	if j.env.Body == smtp.BodyBinaryMIME {
		scan = smtp.ScanBinary
	}
	facts, err := scan(j.content)
	if err != nil {
		return contentFailure(smtp.StageRoute, err)
	}
	j.facts = facts
	return nil
}

// undecided gives those of rcpts who have no result yet. It uses the space of rcpts.
func (j *job) undecided(rcpts []int) []int {
	return slices.DeleteFunc(rcpts, func(i int) bool { return j.results[i].Reply != nil })
}

// oneDomain reports whether all recipients have the same domain, letter by letter.
func (j *job) oneDomain() bool {
	_, first := smtp.SplitAddress(j.env.Recipients[0].Address)
	for i := range j.env.Recipients {
		if _, domain := smtp.SplitAddress(j.env.Recipients[i].Address); domain != first {
			return false
		}
	}
	return true
}

// settle gives recipient i the result of a reply of c's host.
func (j *job) settle(c *Conn, i int, stage smtp.Stage, r *smtp.Reply) {
	res := &j.results[i]
	res.Host, res.Addr, res.TLS = c.Host, c.Addr, c.version
	res.Stage, res.Reply, res.Local = stage, shorten(r), false
	res.Relayed, res.DSN = false, false
	switch {
	case r.Code >= 200 && r.Code < 300:
		res.Outcome = smtp.Delivered
		res.Relayed, res.DSN = !c.LMTP, c.ext.dsn
	case stage == smtp.StageRcpt && r.Code == 552:
		res.Outcome = smtp.Deferred // RFC 5321 §4.5.3.1.10: too many recipients, meant as 452
	case r.Permanent():
		res.Outcome = smtp.Rejected
	default:
		res.Outcome = smtp.Deferred
	}
	res.Reason = smtp.ReasonOf(res)
}

// maxReplyText bounds what is kept of a reply, which is stored for each recipient.
const maxReplyText = 2 << 10

// shorten gives a reply with its text cut, if that is long.
func shorten(r *smtp.Reply) *smtp.Reply {
	if len(r.Text) <= maxReplyText {
		return r
	}
	short := *r
	short.Text = strings.ToValidUTF8(r.Text[:maxReplyText], "") + "..."
	return &short
}

// fail gives recipients the result of a failure.
func (j *job) fail(rcpts []int, f *failure) {
	j.failures = append(j.failures, f)
	for _, i := range rcpts {
		r := f.result()
		r.Recipient = j.results[i].Recipient
		j.results[i] = r
	}
}

// err is nil if every recipient has its mail, and tells of the first that hasn't otherwise.
func (j *job) err() error {
	for i := range j.results {
		r := &j.results[i]
		if r.Outcome == smtp.Delivered {
			continue
		}
		f := &failure{host: r.Host, rcpt: r.Recipient, stage: r.Stage, reply: r.Reply}
		for _, known := range j.failures {
			if known.reply == r.Reply {
				f.cause = known.cause
			}
		}
		return f
	}
	return nil
}
