package dane

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/smtp"
)

// Policy is the mx.Policy of DANE. The zero value is ready. It keeps nothing: the Resolver of an mx.Target caches.
type Policy struct{}

var _ mx.Policy = Policy{}

// Require returns what the TLSA records of a host demand. The error holds a transient *smtp.Reply. It means that the
// host must not be used now.
func (Policy) Require(ctx context.Context, to mx.Target) (mx.Requirement, error) {
	bases, err := baseDomains(ctx, to)
	if err != nil {
		return mx.Requirement{}, err
	}
	for _, base := range bases {
		name := fmt.Sprintf("_%d._tcp.%s", to.Host.Port, base)
		records, proof, err := to.Resolver.LookupTLSA(ctx, name)
		if err != nil && !isNotFound(err) {
			return mx.Requirement{}, failed("the TLSA records of "+strings.TrimSuffix(base, "."), err)
		}
		if err == nil && proof.Authentic && len(records) > 0 {
			return requirement(records, base, to), nil
		}
	}
	return mx.Requirement{}, nil
}

// baseDomains returns the names below which the host may have its TLSA records, in the order to try (RFC 7672 §2.2.2).
// It returns none if DANE doesn't apply to the host.
func baseDomains(ctx context.Context, to mx.Target) ([]string, error) {
	if to.Resolver == nil || !to.MX.Authentic {
		return nil, nil
	}
	host := to.Host.Name + "."
	isAlias := to.Addr.Name != host
	switch {
	case to.Addr.Authentic && isAlias:
		return []string{to.Addr.Name, host}, nil
	case to.Addr.Authentic:
		return []string{host}, nil
	case !isAlias:
		// A name server of an unsigned zone may fail at unusual types such as TLSA. It isn't asked.
		return nil, nil
	}
	// The host is an alias, and one of the links is insecure. If its own link is secure, so may be TLSA records there.
	switch _, proof, err := to.Resolver.LookupAlias(ctx, host); {
	case err != nil && !isNotFound(err):
		return nil, failed("the alias "+to.Host.Name, err)
	case err == nil && proof.Authentic:
		return []string{host}, nil
	}
	return nil, nil
}

// requirement returns what authentic records below a base domain demand.
func requirement(records []dns.TLSA, base string, to mx.Target) mx.Requirement {
	base = strings.TrimSuffix(base, ".")
	list := usable(records)
	if len(list) == 0 {
		// RFC 7672 §2.2: TLS without verification.
		return mx.Requirement{Name: "dane:unusable", Level: mx.DemandEncrypted, ServerName: base,
			Found: found(records, base), Trouble: &failure{mx.TLSAInvalid, ErrUnusable}}
	}
	// RFC 7672 §3.2.2: the base domain, and since the MX records are secure, the domain before and after its aliases.
	names := []string{base, to.Domain, strings.TrimSuffix(to.MX.Name, ".")}
	return mx.Requirement{
		Name:       "dane:" + digest(list, names),
		Level:      mx.DemandVerified,
		Found:      found(list, base),
		ServerName: base, // RFC 7672 §8.1
		Verify: func(state tls.ConnectionState) (by string, err error) {
			record, err := Verify(list, names, state)
			if err != nil {
				return "", err
			}
			return "TLSA " + text(record), nil
		},
	}
}

// found describes records for reports. RFC 8460 §2: the policy domain is the base domain.
func found(records []dns.TLSA, base string) *mx.FoundPolicy {
	p := &mx.FoundPolicy{Type: "tlsa", Domain: base}
	for _, r := range records[:min(len(records), MaxRecords)] {
		p.Lines = append(p.Lines, text(r))
	}
	return p
}

// digest is the same for the same records in another order. Names are a part of it if one of the records needs them:
// two domains at one host share its sessions otherwise.
func digest(records []dns.TLSA, names []string) string {
	sorted := slices.SortedFunc(slices.Values(records), func(a, b dns.TLSA) int {
		return cmp.Or(cmp.Compare(a.Usage, b.Usage), cmp.Compare(a.Selector, b.Selector),
			cmp.Compare(a.MatchingType, b.MatchingType), slices.Compare(a.Data, b.Data))
	})
	h := sha256.New()
	fmt.Fprintf(h, "%v", sorted)
	if slices.ContainsFunc(records, func(r dns.TLSA) bool { return r.Usage == usageTA }) {
		fmt.Fprintf(h, "%q", names)
	} else {
		fmt.Fprintf(h, "%q", names[:1]) // the name in SNI
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:12])
}

// text returns a record as in a zone file, with its data up to the length of a SHA-512.
func text(r dns.TLSA) string {
	return fmt.Sprintf("%d %d %d %x", r.Usage, r.Selector, r.MatchingType, r.Data[:min(len(r.Data), 64)])
}

// failed returns an error with a reply that has no text of the Resolver's error, which may name our name servers.
func failed(what string, cause error) error {
	return fmt.Errorf("dane: %w: %w", smtp.NewReply(451, "4.4.3", "cannot look up "+what),
		&failure{mx.DNSSECInvalid, cause})
}

// failure is an error with the result type of a report: see mx.TLSFailureOf.
type failure struct {
	result string
	err    error
}

func (f *failure) Error() string      { return f.err.Error() }
func (f *failure) Unwrap() error      { return f.err }
func (f *failure) ResultType() string { return f.result }

func isNotFound(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return ok && dns.IsNotFound
}
