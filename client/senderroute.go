package client

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/postrider/postrider/internal/header"
	"github.com/postrider/postrider/smtp"
)

// deliver passes the message to the Sender of the route.
func (d *delivery) deliver(ctx context.Context) {
	m := d.message
	if !smtp.Keep(ctx) { // the Sender may not know of slots
		m.fail(m.rcpts, calledOff(ctx, smtp.StageRoute))
		return
	}
	env := *m.env
	env.Recipients = make([]smtp.Recipient, len(m.rcpts))
	for n, i := range m.rcpts {
		env.Recipients[n] = m.env.Recipients[i]
	}
	given := env // a copy: a Sender that drops recipients from it must not drop their results
	content := m.content
	if d.route.Final() { // RFC 5321 §4.4: only the host that makes the final delivery adds it
		content = withReturnPath(m.env.From, content)
	}
	returned, err := d.send(ctx, &given, content)
	_, isReply := errors.AsType[*smtp.Reply](err)
	results, missing := smtp.Complete(&env, returned, err)
	results = d.t.Replies.Complete(results)
	if missing > 0 && err == nil {
		err = fmt.Errorf("client: route %s: got %d results for %d recipients, none for %d of them",
			d.route.Name, len(returned), len(results), missing)
	}
	for n, i := range m.rcpts {
		r := results[n] // a copy: the Sender may return the same slice every time
		r.Recipient = m.results[i].Recipient
		m.results[i] = r
	}
	if err != nil {
		n := max(0, slices.IndexFunc(results, func(r smtp.Result) bool { return r.Outcome != smtp.Delivered }))
		m.failures = append(m.failures, &failure{reply: results[n].Reply, cause: err})
		if d.t.Logger != nil && (!isReply || missing > 0) { // the text of err is in no result
			d.t.logger().Warn("the Sender of a route failed", "route", d.route.Name, "missing", missing, "err", err)
		}
	}
	d.offered(ctx, Try{Begun: d.begun, Err: err})
}

// withReturnPath puts the reverse-path on top of a content.
func withReturnPath(from string, c smtp.Content) smtp.Content {
	return header.OnTop("Return-Path: <"+from+">\r\n", c)
}
