package tlsrpt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/postrider/postrider/mx/internal/txtrecord"
	"github.com/postrider/postrider/smtp"
)

// recordVersion begins a record (RFC 8460 §3).
const recordVersion = "v=TLSRPTv1"

// maxDestinations bounds the destinations of a domain. Further ones are ignored.
const maxDestinations = 10

// errNoRecord is the error if a domain wants no reports.
var errNoRecord = errors.New("no TXT record begins with " + recordVersion + ";")

// destination is where a domain wants its reports. One of the fields is set.
type destination struct {
	address string // of a mailbox
	url     string // of a web server
}

func (d destination) String() string { return d.address + d.url }

// lookup returns where a domain wants its reports. Without any, the error holds errNoRecord, unless it isn't known
// whether there are any.
func (r *Reporter) lookup(ctx context.Context, domain string) ([]destination, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	texts, err := r.resolver.LookupTXT(ctx, "_smtp._tls."+domain+".")
	if failed, ok := errors.AsType[*net.DNSError](err); len(texts) == 0 && ok && failed.IsNotFound {
		return nil, errNoRecord
	}
	if len(texts) == 0 && err != nil {
		return nil, fmt.Errorf("TXT record: %w", err)
	}
	return parseRecord(texts)
}

// parseRecord returns the destinations in the TXT records of "_smtp._tls." and a domain. Exactly one of them must be a
// record of TLS reporting. Every error holds errNoRecord: a domain whose record isn't valid wants no reports.
func parseRecord(texts []string) (list []destination, err error) {
	// RFC 8460 §3: others are discarded, and if more or less than one remains, the domain has none.
	_, fields, n := txtrecord.Find(texts, recordVersion)
	switch {
	case n == 0:
		return nil, errNoRecord
	case n > 1:
		return nil, fmt.Errorf("several of them: %w", errNoRecord)
	}
	if list, err = parseFields(fields); err != nil {
		err = fmt.Errorf("%w that is valid: %w", errNoRecord, err)
	}
	return list, err
}

// parseFields returns the destinations in the fields that follow the version. Unknown fields are ignored.
func parseFields(fields string) (list []destination, err error) {
	seen := false
	for f := range txtrecord.Fields(fields) {
		switch {
		case !f.Valid || strings.IndexFunc(f.Value, txtrecord.IsNotVisible) >= 0 && f.Name != "rua":
			return nil, fmt.Errorf("field %.100q: want a name, \"=\" and a value", f.Text)
		case f.Name != "rua" || seen:
			continue
		}
		seen = true
		for uri := range strings.SplitSeq(f.Value, ",") {
			d, ok, err := parseDestination(txtrecord.TrimSpace(uri))
			if err != nil {
				return nil, err
			}
			if ok && len(list) < maxDestinations {
				list = append(list, d)
			}
		}
	}
	if !seen {
		return nil, errors.New("it has no rua")
	}
	if len(list) == 0 {
		return nil, errors.New("its rua has neither mailto nor https")
	}
	return list, nil
}

// parseDestination reads a URI of rua. ok is false for a scheme that isn't known, which another specification may add.
func parseDestination(s string) (d destination, ok bool, err error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || strings.IndexFunc(s, txtrecord.IsNotVisible) >= 0 || strings.Contains(s, "!") {
		return d, false, fmt.Errorf("rua %.100q: want URIs, separated by commas", s)
	}
	switch u.Scheme {
	case "mailto": // RFC 6068; its header fields don't apply
		address, err := url.PathUnescape(u.Opaque)
		if err == nil {
			err = smtp.CheckAddress(address)
		}
		if _, domain := smtp.SplitAddress(address); err == nil && domain == "" {
			err = errors.New("the domain is missing")
		}
		if err != nil {
			return d, false, fmt.Errorf("rua %.100q: %w", s, err)
		}
		return destination{address: address}, true, nil
	case "https":
		if u.Hostname() == "" || u.User != nil {
			return d, false, fmt.Errorf("rua %.100q: want a host and no user", s)
		}
		u.Fragment, u.RawFragment = "", ""
		return destination{url: u.String()}, true, nil
	}
	return d, false, nil
}
