package spf

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/postrider/postrider/smtp"
)

// defaultTimeout is the time that a Check takes at most if Checker.Timeout is zero. RFC 7208 §4.6.4 asks for at least
// 20 seconds.
const defaultTimeout = 20 * time.Second

// Checker evaluates the SPF records of senders. It may be used by several goroutines. Fields must not change after the
// first use.
type Checker struct {
	// Resolver looks up the records. If nil, [net.DefaultResolver].
	Resolver Resolver

	// Hostname is the name of the receiving host. Only explanations contain it (macro r, RFC 7208 §7.2). If empty,
	// "unknown".
	Hostname string

	// Timeout is the time for one Check with all its lookups. After it the result is TempError. If zero or less,
	// 20 seconds.
	Timeout time.Duration
}

// Check evaluates whether the client at ip may send mail from mailFrom. It returns after Timeout, or when ctx ends, at
// the latest: as soon as the resolver returns.
//
// helo is the argument of HELO or EHLO. mailFrom is the reverse-path, without its angle brackets. If mailFrom is empty,
// the domain to check is helo, and the sender is postmaster there (RFC 7208 §2.4). That is the check of the HELO
// identity, too (RFC 7208 §2.3). An IPv4 address in IPv6 form is an IPv4 address.
func (c *Checker) Check(ctx context.Context, ip netip.Addr, helo, mailFrom string) Result {
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	local, domain := smtp.SplitAddress(mailFrom)
	if mailFrom == "" {
		domain = helo
	}
	name, err := identity(domain)
	if err != nil {
		return Result{Err: fmt.Errorf("spf: %w", err)}
	}
	if !ip.IsValid() {
		return Result{Domain: name, Err: errors.New("spf: the address of the client isn't known")}
	}
	e := &evaluation{
		resolver: c.resolver(),
		ip:       ip.Unmap().WithZone(""),
		// RFC 7208 §4.3: a sender without a local part is postmaster.
		local:    cmp.Or(local, "postmaster"),
		domain:   name,
		helo:     strings.TrimSuffix(helo, "."),
		receiver: cmp.Or(c.Hostname, "unknown"),
	}
	return e.result(ctx)
}

func (c *Checker) resolver() Resolver {
	if c.Resolver == nil {
		return net.DefaultResolver
	}
	return c.Resolver
}

// identity returns the domain of a sender as A-labels, or why it can't be checked (RFC 7208 §4.3).
func identity(domain string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(domain, "."))
	if smtp.NeedsUTF8(name) {
		ascii, err := smtp.ASCIIDomain(name)
		if err != nil {
			return "", err
		}
		name = ascii
	}
	switch {
	case name == "":
		return "", errors.New("the sender has no domain (RFC 7208 section 4.3)")
	case strings.HasPrefix(name, "["):
		return "", fmt.Errorf("%.60q is an address, no domain (RFC 7208 section 4.3)", domain)
	case !isName(name):
		return "", fmt.Errorf("%.300q isn't a valid domain (RFC 7208 section 4.3)", domain)
	case !strings.Contains(name, "."):
		return "", fmt.Errorf("domain %q has one label only (RFC 7208 section 4.3)", domain)
	}
	return name, nil
}

const (
	maxLabel = 63  // RFC 1035 §2.3.4
	maxName  = 253 // as text without its last dot (RFC 1035 §2.3.4)
)

// isName reports whether name, without a trailing dot, can be looked up: printable ASCII and spaces, within the bounds.
// The macro "%_" is a space. A backslash would begin an escape.
func isName(name string) bool {
	if len(name) > maxName {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabel {
			return false
		}
	}
	return !strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c >= 0x7f || c == '\\' })
}
