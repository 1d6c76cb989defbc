package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// require finds out what sessions with a host need for the message, and sets d.required and d.strict: see
// Transport.Policies and tlsWish. It fails if the host can't be used.
func (d *delivery) require(ctx context.Context, host mx.Host) *failure {
	wish := d.message.wish
	d.required, d.policy, d.strict, d.troubles = mx.Requirement{}, mx.Requirement{}, false, nil
	_, literal := host.IP()
	switch {
	case wish < softTLS && (!d.route.MX || literal || len(d.t.Policies) == 0):
		return nil
	case !d.route.MX && (host.Path != "" || isLocal(host.Name)): // see fitTLS
		return nil
	case !d.route.MX || literal: // no lookup led to the host, so nothing about that has to be proven
		return d.wish(host, wish, true)
	}
	to, err := d.router.Target(ctx, d.route, host)
	if err != nil {
		return routeFailure(host.Name, err)
	}
	for _, policy := range d.t.Policies {
		r, err := d.ask(ctx, policy, to)
		if err != nil {
			d.noteTrouble(err)
			if wish == anyTLS {
				continue // RFC 8689 §8.4: as if there were no such policies
			}
			return unknownPolicy(host, err)
		}
		d.noteTrouble(r.Trouble)
		d.required = stricter(d.required, r)
		if d.required.Level == mx.DemandVerified && !d.required.Testing {
			break
		}
	}
	d.policy = d.required
	return d.wish(host, wish, to.MX.Authentic || host.Name == to.Domain)
}

// wish adds to d.required what the sender of the message wishes. proven is that of combine.
func (d *delivery) wish(host mx.Host, wish tlsWish, proven bool) *failure {
	var pkix verifier
	if wish >= softTLS {
		pkix = d.pkix(host)
	}
	r, t := wish.combine(d.required, proven, pkix)
	d.required, d.strict = r, wish == fullTLS
	if t == noTrouble && r.Excluded != nil {
		t = excluded
	}
	if t == noTrouble || decide(d.tlsDemand(), t) == proceed {
		return nil
	}
	if t == unproven {
		return unprovenHost(host, &r)
	}
	return exclusion(host, &r)
}

// tlsDemand returns how much TLS the policies, and the sender of the message, demand of the current host.
func (d *delivery) tlsDemand() tlsDemand {
	return tlsDemand{d.required.Level, d.required.Testing, d.strict}
}

// ask returns the requirement of one policy, or an error if the requirement can't be met as it is.
func (d *delivery) ask(ctx context.Context, policy mx.Policy, to mx.Target) (r mx.Requirement, err error) {
	if p := guard.Call(func() { r, err = policy.Require(ctx, to) }); p != nil {
		p.Log(ctx, d.t.logger(), "Policy")
		return r, errPanic
	}
	switch {
	case err != nil:
		return r, err
	case r.Level == mx.DemandNothing && r.Name == "" && r.Excluded == nil:
		return r, nil
	case r.Name == "" || r.Level == mx.DemandNothing || r.Level > mx.DemandVerified,
		(r.Verify != nil) != (r.Level == mx.DemandVerified):
		return r, fmt.Errorf("%T returned a Requirement with Name %q, Level %v, Excluded %v, Verify set %t:"+
			" see mx.Requirement", policy, r.Name, r.Level, r.Excluded, r.Verify != nil)
	}
	return r, nil
}

// unknownPolicy returns the failure for an error of a policy. It is transient, whatever the policy says.
func unknownPolicy(host mx.Host, err error) *failure {
	r, ok := errors.AsType[*smtp.Reply](err)
	if !ok || r.Code < 400 || r.Code > 499 {
		r = smtp.NewReply(451, "4.7.5", "it isn't known which TLS the host must have")
	}
	return &failure{host: host.Name, stage: smtp.StageTLS, reply: shorten(r), local: true, cause: err}
}

// exclusion returns the failure of a host that the requirement excludes.
func exclusion(host mx.Host, r *mx.Requirement) *failure {
	reply := smtp.NewReply(451, "4.7.5", "the policy "+clip(r.Name)+" excludes the host")
	return &failure{host: host.Name, policy: r.Name, stage: smtp.StageTLS, reply: reply, local: true,
		cause: r.Excluded, trouble: excluded}
}
