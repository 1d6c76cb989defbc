package client

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/mx"
)

// tellTLS calls Transport.TLSResult for a session: one that was opened, that failed to open because of f, or that is
// reused. It doesn't if nothing was found out about TLS.
func (d *delivery) tellTLS(ctx context.Context, c *Conn, f *failure, reused bool) {
	if d.t.TLSResult == nil || c.nc == nil || ctx.Err() != nil {
		return
	}
	r := mx.TLSResult{Host: c.Host, Greeting: c.greeting, Reused: reused, Failures: slices.Clip(d.troubles)}
	switch before, _ := errors.AsType[*failure](c.security.Err); {
	case c.shortfall != nil && c.shortfall.trouble == badCertificate && d.policy.Level < mx.DemandVerified:
		// The sender of the message demands more than the domain.
	case f != nil && f.trouble != noTrouble:
		r.Failures = append(r.Failures, tlsFailure(f))
	case c.shortfall != nil:
		r.Failures = append(r.Failures, tlsFailure(c.shortfall))
	case c.security.Version != "":
	case c.greeting == "":
		return
	case c.fellBack && before != nil && !reused:
		return // the session before this one was reported
	case before != nil:
		r.Failures = append(r.Failures, tlsFailure(before))
	case errors.Is(c.security.Err, ErrTLSFailedBefore):
		r.Failures = append(r.Failures, mx.TLSFailureOf(ErrTLSFailedBefore))
	default:
		return
	}
	if d.policy.Excluded != nil { // in testing
		r.Failures = append(r.Failures, mx.TLSFailureOf(d.policy.Excluded))
	}
	r.Remote, r.Local = addrOf(c.nc.RemoteAddr()), addrOf(c.nc.LocalAddr())
	d.tellResult(ctx, r)
}

// tellExcluded calls Transport.TLSResult for a host that isn't connected to because of its policies.
func (d *delivery) tellExcluded(ctx context.Context, host mx.Host) {
	if d.t.TLSResult == nil {
		return
	}
	r := mx.TLSResult{Host: host.Name, Failures: slices.Clip(d.troubles)}
	if d.policy.Excluded != nil {
		r.Failures = append(r.Failures, mx.TLSFailureOf(d.policy.Excluded))
	}
	if len(r.Failures) > 0 {
		d.tellResult(ctx, r)
	}
}

func (d *delivery) tellResult(ctx context.Context, r mx.TLSResult) {
	if !d.route.MX || strings.HasPrefix(d.route.Name, "[") { // an address literal is no domain
		return
	}
	r.Domain, r.From, r.Policy = d.route.Name, d.message.env.From, d.policy.Found
	if p := guard.Call(func() { d.t.TLSResult(ctx, r) }); p != nil {
		p.Log(ctx, d.t.logger(), "TLSResult", slog.String("route", d.route.Name))
	}
}

// noteTrouble notes why a policy of the current host couldn't be found out, renewed or used. An error without a result
// type isn't about the domain.
func (d *delivery) noteTrouble(err error) {
	var typed interface {
		error
		ResultType() string
	}
	if errors.As(err, &typed) {
		d.troubles = append(d.troubles, mx.TLSFailureOf(err))
	}
}

// tlsFailure returns a failure for a report to the domain.
func tlsFailure(f *failure) mx.TLSFailure {
	switch {
	case f.trouble == noSTARTTLS:
		return mx.TLSFailure{Type: mx.STARTTLSNotSupported}
	case f.trouble == refusesSTARTTLS:
		bare := *f.reply
		bare.Text = "" // which may differ each time
		return mx.TLSFailure{Type: mx.STARTTLSNotSupported, Code: bare.Error()}
	case f.cause == nil:
		return mx.TLSFailure{Type: mx.ValidationFailure, Code: f.reply.Text}
	}
	return mx.TLSFailureOf(f.cause)
}
