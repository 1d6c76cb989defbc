package client

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
)

// failure is the error that ended a session or a transaction.
type failure struct {
	host, addr, tls string // as in smtp.Result; empty if no host was asked
	source          string // likewise
	policy          string // as in smtp.Result, like the next one
	security        *smtp.Security
	rcpt            string // the recipient, if it is about one
	stage           smtp.Stage
	reply           *smtp.Reply
	local           bool        // the reply is our own description
	reason          smtp.Reason // if zero, by the Classifier
	cause           error       // may be nil
	notBefore       time.Time   // as in smtp.Result

	outOfStep bool // the host's replies don't match the commands

	trouble trouble // with TLS; decide returns what follows
}

func (f *failure) Error() string {
	var b strings.Builder
	b.WriteString("client: ")
	if f.host != "" {
		b.WriteString(f.host + ": ")
	}
	b.WriteString(f.stage.String())
	if f.rcpt != "" {
		b.WriteString(" " + printable(f.rcpt))
	}
	text := f.reply.Error()
	if f.cause != nil {
		if cause := f.cause.Error(); strings.Contains(cause, text) {
			text = cause // the cause has the text of the reply in it
		} else if !strings.HasSuffix(text, bare(f.cause)) {
			text += ": " + cause
		}
	}
	b.WriteString(": " + text)
	return b.String()
}

// Unwrap returns the reply first: errors.As must not find another one in the cause.
func (f *failure) Unwrap() []error {
	if f.cause == nil {
		return []error{f.reply}
	}
	return []error{f.reply, f.cause}
}

// final reports whether a later attempt would fail too. That is so for rules of our own only: a host that refuses a
// session has not rejected a recipient.
func (f *failure) final() bool { return f.local && f.reply.Permanent() }

// result returns the result of a recipient that failed by f, with a Reason by c.
func (f *failure) result(c *replies.Classifier) smtp.Result {
	r := smtp.Result{Stage: f.stage, Reply: f.reply, Local: f.local, Host: f.host, Addr: f.addr, TLS: f.tls,
		Source: f.source, Policy: f.policy, Security: f.security, NotBefore: f.notBefore}
	if f.final() {
		r.Outcome = smtp.Rejected
	}
	r.Reason = cmp.Or(f.reason, c.ReasonOf(&r))
	return r
}

// asError keeps a nil *failure from becoming an error that isn't nil.
func (f *failure) asError() error {
	if f == nil {
		return nil
	}
	return f
}

// said returns the failure for a reply of the host.
func (c *Conn) said(stage smtp.Stage, r *smtp.Reply) *failure {
	return &failure{host: c.Host, addr: c.Addr, source: c.from, tls: c.security.Version, policy: c.required.Name,
		security: c.summary(), stage: stage, reply: shorten(r)}
}

// local returns a failure with r as our own description, since no reply of the host describes it.
func (c *Conn) local(stage smtp.Stage, cause error, r *smtp.Reply) *failure {
	f := c.said(stage, r)
	f.local, f.cause = true, cause
	return f
}

// refused returns the failure for a reply that isn't the hoped one.
func (c *Conn) refused(stage smtp.Stage, r *smtp.Reply) *failure {
	if r.Code >= 400 && r.Code < 600 {
		return c.said(stage, r)
	}
	return c.unexpected(stage, r)
}

// unexpected returns the failure for a reply that may belong to another command, or to none.
func (c *Conn) unexpected(stage smtp.Stage, r *smtp.Reply) *failure {
	c.spoiled = true
	f := c.local(stage, nil, smtp.NewReply(451, "4.5.0", "unexpected reply: "+clip(r.Error())))
	f.outOfStep = true
	return f
}

// failed returns the failure for an error of write or read.
func (c *Conn) failed(ctx context.Context, stage smtp.Stage, err error) *failure {
	c.spoiled = true
	defer func() { c.traceBroken(err) }()
	var netErr net.Error
	switch r, ok := err.(*smtp.Reply); {
	case ok:
		return c.said(stage, r)
	case ctx.Err() != nil:
		return c.local(stage, context.Cause(ctx), smtp.NewReply(451, "4.4.2", "the attempt was cancelled"))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return c.local(stage, err, smtp.NewReply(451, "4.4.2", "the host did not answer in time"))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return c.local(stage, err, smtp.NewReply(451, "4.4.2", "the host closed the connection"))
	case errors.As(err, &netErr), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return c.local(stage, err, smtp.NewReply(451, "4.4.2", "the connection broke"))
	}
	outOfStep := err == errPremature
	if c.secret && !outOfStep {
		err = errors.New("not a reply") // err quotes the line, which may repeat a response of AUTH
	}
	f := c.local(stage, err, smtp.NewReply(451, "4.5.0", "the host broke the protocol: "+clip(bare(err))))
	f.outOfStep = outOfStep
	return f
}

// calledOff returns the failure of a session that the end of ctx kept from opening.
func (c *Conn) calledOff(ctx context.Context) *failure {
	f := calledOff(ctx, smtp.StageConnect)
	f.host, f.addr, f.source = c.Host, c.Addr, c.from
	return f
}

// calledOff returns the failure of the end of ctx, outside of any session.
func calledOff(ctx context.Context, stage smtp.Stage) *failure {
	f := &failure{stage: stage, reply: smtp.NewReply(451, "4.4.2", "the attempt was cancelled"), local: true,
		cause: context.Cause(ctx)}
	if takenBack(ctx) {
		// RFC 3463 §3.4: X.3.x, the mail system, which is this program. The Reason must not blame a host.
		f.reply, f.reason = smtp.NewReply(451, "4.3.2", "the attempt gave way to other mail"), smtp.Other
	}
	return f
}

// takenBack reports whether ctx has ended because the slot of the attempt was taken back.
func takenBack(ctx context.Context) bool {
	return ctx.Err() != nil && errors.Is(context.Cause(ctx), smtp.ErrTakenBack)
}

// withoutAddrs returns the text of an error without the addresses of the connection: the text gets into reports, which
// strangers read, and our address may be one that they can't see.
func withoutAddrs(err error) string {
	for {
		op, ok := errors.AsType[*net.OpError](err)
		if !ok || op.Err == nil || op.Source == nil && op.Addr == nil {
			return clip(err.Error())
		}
		err = op.Err
	}
}

// printable returns an address, or its quoted form if it isn't valid: that may have any octets.
func printable(address string) string {
	if smtp.CheckAddress(address) == nil {
		return address
	}
	return strconv.Quote(clip(address))
}

// bare returns the text of an error without the package that it is from: smtp.ReadReply names itself.
func bare(err error) string { return strings.TrimPrefix(err.Error(), "smtp: ") }

// clip bounds a text of a host or of a setting that is quoted.
func clip(s string) string {
	if len(s) > 200 {
		return strings.ToValidUTF8(s[:200], "") + "..."
	}
	return s
}
