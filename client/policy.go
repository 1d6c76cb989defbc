package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// require asks the Policies what sessions with a host need, and sets d.required: see Transport.Policies. It fails if
// the host can't be used.
func (d *delivery) require(ctx context.Context, host mx.Host) *failure {
	d.required, d.troubles = mx.Requirement{}, nil
	if _, literal := host.IP(); !d.route.MX || len(d.t.Policies) == 0 || literal {
		return nil
	}
	to, err := d.router.Target(ctx, d.route, host)
	if err != nil {
		return routeFailure(host.Name, err)
	}
	for _, policy := range d.t.Policies {
		r, err := d.ask(ctx, policy, to)
		if err != nil {
			d.noteTrouble(err)
			return unknownPolicy(host, err)
		}
		d.noteTrouble(r.Trouble)
		if r.Level != mx.DemandNothing && (d.required.Level == mx.DemandNothing || !r.Testing) {
			d.required = r
		}
		if d.required.Level != mx.DemandNothing && !d.required.Testing {
			break
		}
	}
	return exclusion(host, &d.required)
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

// exclusion returns the failure of a host that the requirement excludes, or nil.
func exclusion(host mx.Host, r *mx.Requirement) *failure {
	if r.Excluded == nil || decide(tlsDemand{r.Level, r.Testing}, excluded) == proceed {
		return nil
	}
	reply := smtp.NewReply(451, "4.7.5", "the policy "+clip(r.Name)+" excludes the host")
	return &failure{host: host.Name, policy: r.Name, stage: smtp.StageTLS, reply: reply, local: true,
		cause: r.Excluded, trouble: excluded}
}
