package dmarc

import (
	"context"
	"errors"
	"net"
)

// Resolver looks up TXT records in the DNS. Both the *dns.Resolver of mx/dns and a *[net.Resolver] are Resolvers. The
// latter can't tell that a name doesn't exist, so that no policy for such names applies: that for subdomains does.
//
//   - A name consists of A-labels and has a trailing dot, so that no search list applies.
//   - A name that doesn't exist, or has no TXT records, is a *[net.DNSError] with IsNotFound, or no error and no
//     records. Every other error is transient, and makes the result [TempError].
//   - The error for a name that doesn't exist, with no records of any type (NXDOMAIN, RFC 8020), also holds an error
//     with a method NoSuchName() bool that returns true, for errors.As. A *net.DNSError has it as its UnwrapErr.
//   - Records beside an error are used.
//   - An Evaluator makes one call at a time for each Evaluate. It returns soon after ctx has ended.
type Resolver interface {
	// LookupTXT returns the TXT records. The strings of one record are joined, without a space.
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// isNotFound reports whether a lookup found out that there are no records.
func isNotFound(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return ok && dns.IsNotFound
}

// isNoSuchName reports whether a lookup found out that the name doesn't exist.
func isNoSuchName(err error) bool {
	e, ok := errors.AsType[interface {
		error
		NoSuchName() bool
	}](err)
	return ok && e.NoSuchName()
}
