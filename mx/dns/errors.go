package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// RCode is the error code of a name server's answer (RFC 1035 §4.1.1, RFC 6891 §6.1.3). As an error, it is found in
// the error of a lookup: errors.Is(err, dns.NXDomain).
type RCode uint16

const (
	FormErr  RCode = 1  // the server can't read the query
	ServFail RCode = 2  // the server, or a server that it asked, failed
	NXDomain RCode = 3  // the name doesn't exist, with no records of any type
	NotImp   RCode = 4  // the server doesn't know such queries
	Refused  RCode = 5  // the server doesn't answer us
	BadVers  RCode = 16 // the server doesn't know this version of EDNS
)

var rcodes = map[RCode]string{FormErr: "FORMERR", ServFail: "SERVFAIL", NXDomain: "NXDOMAIN", NotImp: "NOTIMP",
	Refused: "REFUSED", BadVers: "BADVERS"}

// String returns the name of the code, "SERVFAIL" for example, or its number, "RCODE 9".
func (c RCode) String() string {
	if name, ok := rcodes[c]; ok {
		return name
	}
	return fmt.Sprintf("RCODE %d", uint16(c))
}

// Error returns the code as an error text.
func (c RCode) Error() string { return "the name server answered " + c.String() }

// NoSuchName reports whether the code is NXDomain: a package that doesn't import this one finds it by errors.As.
func (c RCode) NoSuchName() bool { return c == NXDomain }

// Causes of failed lookups, beside an RCode. Their texts reach reports to strangers.
var (
	errTimeout     = errors.New("the name server did not answer in time")
	errUnreachable = errors.New("the name server could not be reached")
	errMalformed   = errors.New("the answer was malformed")
	errLame        = errors.New("the name server does not answer for this name")
	errAliases     = errors.New("the aliases (CNAME) are too many, or a loop")

	errStandardFailed = errors.New("the name servers of the system failed")

	errNoName    = errors.New("no such name")
	errNoRecords = errors.New("no such records")
	errBadName   = errors.New("not a valid name")
	errBadAddr   = errors.New("not an IP address")
)

// fault is why one server did not answer a query.
type fault struct {
	says   error // an RCode or one of the causes above
	cause  error // for errors.Is, may be nil
	server string
}

func (f *fault) Error() string { return f.says.Error() }

// answered reports whether the server is up: its fault says more than that of a server that isn't.
func (f *fault) answered() bool { return f.says != errTimeout && f.says != errUnreachable }

// failed returns the error of a lookup of name.
func (f *fault) failed(name string) error {
	cause := f.cause
	if code, ok := f.says.(RCode); ok {
		cause = code
	}
	return &net.DNSError{UnwrapErr: cause, Err: f.says.Error(), Name: name, Server: f.server,
		IsTimeout: f.says == errTimeout, IsTemporary: true}
}

// canceled returns the error of a lookup whose ctx has ended.
func canceled(ctx context.Context, name string) error {
	err := ctx.Err()
	if errors.Is(err, context.DeadlineExceeded) {
		return (&fault{says: errTimeout, cause: err}).failed(name)
	}
	return &net.DNSError{UnwrapErr: err, Err: "the lookup was cancelled", Name: name, IsTemporary: true}
}

// phrased returns an error of the standard resolver with a fixed phrase in place of its text, which may have addresses
// of this machine.
func phrased(err error) error {
	if err == nil {
		return nil
	}
	failed := &net.DNSError{UnwrapErr: err, Err: errStandardFailed.Error(), IsTemporary: true}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		failed.Name, failed.Server = dns.Name, dns.Server
		failed.IsTimeout, failed.IsNotFound, failed.IsTemporary = dns.IsTimeout, dns.IsNotFound, !dns.IsNotFound
	}
	// The hosts file has addresses of the other family only.
	if _, ok := errors.AsType[*net.AddrError](err); ok {
		failed.IsNotFound, failed.IsTemporary = true, false
	}
	switch {
	case failed.IsNotFound:
		failed.Err = errNoRecords.Error()
	case failed.IsTimeout:
		failed.Err = errTimeout.Error()
	}
	return failed
}

// notFound returns the error of a lookup without result. cause is NXDomain or nil.
func notFound(says error, name, server string, cause error) error {
	return &net.DNSError{UnwrapErr: cause, Err: says.Error(), Name: name, Server: server, IsNotFound: true}
}
