package mtasts

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/postrider/postrider/internal/pkix"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// Require returns what the policy of to.Domain demands of sessions with to.Host: TLS, a certificate for the name of the
// host from a trusted authority, and a pattern of the policy that matches the host (RFC 8461 §4). If the domain has no
// policy, or its mode is none, nothing is demanded. If the mode is testing, Requirement.Testing is set.
//
// Requirement.Trouble is the *Error of Lookup, except if the TXT record couldn't be looked up and no policy is kept:
// most domains have no policy, and the fault may be that of the Resolver.
//
// The errors of Requirement.Excluded, Trouble and Verify are of type *[Error]. Require returns an error if it isn't
// known whether there is a policy, as Lookup does. The error holds a *smtp.Reply, 451 4.7.5.
func (c *Client) Require(ctx context.Context, to mx.Target) (mx.Requirement, error) {
	k, err := c.lookup(ctx, to.Domain)
	if _, ofDomain := errors.AsType[*Error](err); err != nil && !ofDomain {
		reply := smtp.NewReply(451, "4.7.5", "the MTA-STS policy of "+to.Domain+" could not be looked up")
		return mx.Requirement{}, fmt.Errorf("%w: %w", reply, err)
	}
	policy := k.policy
	if policy == nil && k.noDNS {
		err = nil
	}
	if policy == nil || policy.Mode == None {
		return mx.Requirement{Trouble: err}, nil
	}
	r := mx.Requirement{Name: k.name, Level: mx.DemandVerified, Testing: policy.Mode == Testing, Found: k.found,
		Trouble: err}
	if !policy.Match(to.Host.Name) {
		r.Excluded = &Error{Domain: to.Domain, Host: to.Host.Name, Result: mx.ValidationFailure,
			Err: fmt.Errorf("the policy with id %s lists %s", policy.ID, shorten(strings.Join(policy.MX, ", ")))}
	}
	r.Verify = func(state tls.ConnectionState) (string, error) {
		if err := c.verify(to.Host.Name, state.PeerCertificates); err != nil {
			return "", &Error{Domain: to.Domain, Host: to.Host.Name, Result: mx.TLSFailureOf(err).Type, Err: err}
		}
		return "MTA-STS", nil
	}
	return r, nil
}

// verify verifies the certificates of an MX host (RFC 8461 §4.2). A name in the subject (CN) doesn't count.
func (c *Client) verify(host string, certs []*x509.Certificate) error {
	_, err := pkix.Verify(certs, x509.VerifyOptions{DNSName: host, Roots: c.RootCAs})
	return err
}
