package mtasts

import "fmt"

// Error is the failure of a domain at MTA-STS: to provide its policy, or to satisfy it.
type Error struct {
	Domain string // whose policy it is, as an A-label
	Host   string // the MX host that doesn't satisfy the policy; empty if the policy itself failed
	Result string // the result type of RFC 8460 §4.3, such as mx.STSPolicyInvalid
	Err    error  // the cause
}

// Error returns the domain, the host and the cause.
func (e *Error) Error() string {
	if e.Host != "" {
		return fmt.Sprintf("mtasts: %s: host %s: %v", e.Domain, e.Host, e.Err)
	}
	return fmt.Sprintf("mtasts: %s: %v", e.Domain, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ResultType returns Result, for mx.TLSFailureOf.
func (e *Error) ResultType() string { return e.Result }
