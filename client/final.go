package client

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/postrider/postrider/smtp"
)

// deliver hands the message to the func of the route.
func (d *delivery) deliver(ctx context.Context) {
	j := d.job
	env := *j.env
	env.Recipients = make([]smtp.Recipient, len(j.rcpts))
	for n, i := range j.rcpts {
		env.Recipients[n] = j.env.Recipients[i]
	}
	results, err := d.route.Deliver(ctx, &env, withReturnPath(j.env.From, j.content))
	reply, ok := errors.AsType[*smtp.Reply](err)
	switch {
	case results == nil && err == nil:
		d.all(smtp.Delivered, delivered())
	case results == nil && ok && reply.Permanent():
		d.all(smtp.Rejected, reply)
	case results == nil && ok:
		d.all(smtp.Deferred, reply)
	case len(results) == len(j.rcpts):
		for n, i := range j.rcpts {
			r := results[n] // those may be shared
			r.Recipient = j.results[i].Recipient
			j.results[i] = r
		}
	default:
		d.all(smtp.Deferred, deliveryFailed())
		if err == nil {
			err = fmt.Errorf("client: route %s: got %d results for %d recipients", d.route.Name, len(results), len(j.rcpts))
		}
	}
	for _, i := range j.rcpts {
		if r := &j.results[i]; r.Reply == nil && r.Outcome == smtp.Delivered {
			r.Stage, r.Reply, r.Local = smtp.StageFinal, delivered(), true // what is delivered isn't sent again for want of a word
		} else if r.Reply == nil {
			r.Outcome, r.Stage, r.Reply, r.Local = smtp.Deferred, smtp.StageFinal, deliveryFailed(), true
		}
	}
	if err != nil {
		j.failures = append(j.failures, &failure{reply: j.results[j.rcpts[0]].Reply, cause: err})
		if d.t.Logger != nil && !ok { // no result says it
			d.t.Logger.Warn("func failed", "route", d.route.Name, "error", err)
		}
	}
	d.offered(ctx, Try{Begun: d.begun, Err: err})
}

func delivered() *smtp.Reply { return smtp.NewReply(250, "2.0.0", "delivered") }

// deliveryFailed has none of the text of an error that isn't meant for others.
func deliveryFailed() *smtp.Reply { return smtp.NewReply(451, "4.3.0", "the delivery failed") }

// all gives every recipient the same result.
func (d *delivery) all(o smtp.Outcome, r *smtp.Reply) {
	for _, i := range d.job.rcpts {
		d.job.results[i] = smtp.Result{Recipient: d.job.results[i].Recipient, Outcome: o, Stage: smtp.StageFinal, Reply: r, Local: true}
	}
}

// withReturnPath puts the reverse-path on top, as whoever makes the final delivery has to (RFC 5321 §4.4).
func withReturnPath(from string, c smtp.Content) smtp.Content {
	return &prefixed{"Return-Path: <" + from + ">\r\n", c}
}

// prefixed is a Content with some octets in front.
type prefixed struct {
	prefix string
	rest   smtp.Content
}

func (p *prefixed) Size() int64 { return int64(len(p.prefix)) + p.rest.Size() }

func (p *prefixed) ReadAt(b []byte, off int64) (n int, err error) {
	if off < int64(len(p.prefix)) {
		n = copy(b, p.prefix[off:])
		if n == len(b) {
			return n, nil
		}
		off = int64(len(p.prefix))
	}
	m, err := p.rest.ReadAt(b[n:], off-int64(len(p.prefix)))
	if err == io.EOF && n+m == len(b) {
		err = nil
	}
	return n + m, err
}
