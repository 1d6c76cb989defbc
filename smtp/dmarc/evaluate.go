package dmarc

import (
	"context"
	"fmt"
	"strings"
)

// evaluation is that of one domain in the From field.
type evaluation struct {
	*lookups
	author string
	spf    Identifier
	dkim   []Identifier
	walks  int // for identifiers
}

// result evaluates the domain (RFC 9989 §5.3).
func (e *evaluation) result(ctx context.Context) Result {
	r := Result{Domain: e.author}
	policy, err := e.record(ctx, e.author)
	if err != nil {
		return r.failed(TempError, err)
	}
	own, walkErr := e.walk(ctx, e.author)
	if policy.record == nil {
		// RFC 9989 §4.10.1: the record of the organizational domain, or else of the public suffix.
		if walkErr != nil {
			return r.failed(TempError, walkErr)
		}
		if own.policy.record == nil {
			return r.failed(None, e.noRecord(policy))
		}
		policy = own.policy
	}
	if walkErr == nil {
		r.OrgDomain = own.org
	}
	r.Record, r.RecordDomain = policy.record, policy.domain
	if r.Record.policyError && len(r.Record.AggregateURIs) == 0 {
		return r.failed(PermError, fmt.Errorf("%s: %w", policy.domain, policy.err))
	}
	if err := e.align(ctx, &r, own.org, walkErr); err != nil {
		return r.failed(TempError, err)
	}
	if r.SPF || r.DKIM {
		r.Code = Pass
	} else {
		r.Code = Fail
	}
	if r.Policy, err = e.policy(ctx, &r); err != nil {
		r.Policy = ""
		return r.failed(TempError, err)
	}
	return r
}

// failed returns the result with an error.
func (r Result) failed(code Code, err error) Result {
	r.Code, r.Err = code, fmt.Errorf("dmarc: %w", err)
	return r
}

// noRecord returns why no record applies. f is what the domain itself has.
func (e *evaluation) noRecord(f found) error {
	if f.err != nil {
		return fmt.Errorf("%s: %w", e.author, f.err)
	}
	return fmt.Errorf("%s: no DMARC record", e.author)
}

// align sets r.SPF and r.DKIM. It returns an error if neither is set, and a lookup that failed might have changed that.
// walkErr is the error of the walk that looked for org, the organizational domain of the author.
func (e *evaluation) align(ctx context.Context, r *Result, org string, walkErr error) error {
	var unknown error
	aligned := func(id Identifier, strict bool) bool {
		if !id.Pass && !id.Temporary || id.Domain == "" {
			return false
		}
		ok, err := e.isAligned(ctx, id.Domain, org, strict, walkErr)
		if ok && !id.Pass {
			ok, err = false, fmt.Errorf("SPF or DKIM couldn't be evaluated for %s", id.Domain)
		}
		if err != nil && unknown == nil {
			unknown = err
		}
		return ok
	}
	r.SPF = aligned(e.spf, r.Record.StrictSPF)
	for _, id := range e.dkim {
		r.DKIM = r.DKIM || aligned(normal(id), r.Record.StrictDKIM)
	}
	if r.SPF || r.DKIM {
		return nil
	}
	return unknown
}

// isAligned reports whether a domain is aligned with that of the author (RFC 9989 §4.10.2).
func (e *evaluation) isAligned(ctx context.Context, domain, org string, strict bool, walkErr error) (bool, error) {
	switch {
	case domain == e.author:
		return true, nil
	case strict:
		return false, nil
	case walkErr != nil:
		return false, walkErr
	case domain != org && !strings.HasSuffix(domain, "."+org):
		return false, nil // its organizational domain can't be org
	}
	if _, known := e.known[domain]; !known {
		if e.walks == maxWalks {
			return false, nil
		}
		e.walks++
	}
	t, err := e.walk(ctx, domain)
	return err == nil && t.org == org, err
}

// policy returns what the owner asks for if the message fails (RFC 9989 §4.7, §4.10.1).
func (e *evaluation) policy(ctx context.Context, r *Result) (Policy, error) {
	// RFC 9989 §4.10.1: an error in one of the policies, beside an address for reports, is p=none.
	if r.Record.policyError {
		return NoPolicy, nil
	}
	p := r.Record.Policy
	if r.RecordDomain != e.author {
		if r.Record.Subdomains != "" {
			p = r.Record.Subdomains
		}
		if np := r.Record.NonExistent; np != "" && np != p && r.Code == Fail {
			exists, err := e.exists(ctx, e.author)
			if err != nil {
				return "", err
			}
			if !exists {
				p = np
			}
		}
	}
	if !r.Record.Testing {
		return p, nil
	}
	if p == Reject {
		return Quarantine, nil
	}
	return NoPolicy, nil
}
