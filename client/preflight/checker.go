package preflight

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/spf"
)

const (
	defaultTimeout = time.Minute
	mostSources    = 1000
	mostKeys       = 100
)

// Checker looks at messages and at the DNS of their sender. The zero value looks at a message that goes through a
// provider. A Checker may be used by several goroutines. Fields must not change after the first use.
type Checker struct {
	// Bulk says that the mail is a newsletter, an advertisement or the like, or that the domain sends 5,000 mails a day
	// or more to one receiver. Then more is demanded: one-click unsubscription, SPF with DKIM, and DMARC.
	//
	// RFC 8058 isn't demanded of transactional mail. Check it with a Checker without Bulk.
	Bulk bool

	// MaxSize is the size in octets from which a message is too large. If zero, it is 20 MB if a recipient is at iCloud
	// Mail, and 25 MB otherwise. Gmail takes more, but a message may be forwarded.
	MaxSize int64

	// Keys are the keys that the mail will be signed with. The DKIM-Signature fields of a message count as well. If
	// empty, only those count.
	Keys []Key

	// Sources are the addresses from which the mail goes to the hosts of the recipients, at most 1,000. If empty, they
	// aren't known, because a provider has them: then the SPF record is only looked at for its form, and there is no
	// reverse lookup.
	Sources []netip.Addr

	// Hostname is the name in EHLO. If empty, it isn't looked at.
	Hostname string

	// TLS is how strictly the sending demands TLS, as in client.Submission and mx.Route. TLSNone is a Finding.
	TLS mx.TLSLevel

	// Resolver looks up records. If nil, the zero *[dns.Resolver]. In tests, a *smtptest.Network can be one.
	Resolver spf.Resolver

	// Timeout is the time for one call of Sender with all its lookups. If zero, it is a minute.
	Timeout time.Duration
}

// Key names a DKIM key: the record is at Selector._domainkey.Domain.
type Key struct {
	Domain   string // d=
	Selector string // s=
}

// Check returns an error if a field can't be used. Message and Sender return such an error as a Finding of the kind
// Settings, and look at nothing else.
func (c *Checker) Check() error {
	switch {
	case c == nil:
		return errors.New("preflight: the Checker is nil: use a new one")
	case c.MaxSize < 0:
		return fmt.Errorf("preflight: MaxSize is %d: set it to a number of octets, or to 0 for the default", c.MaxSize)
	case c.Timeout < 0:
		return fmt.Errorf("preflight: Timeout is %s: set it to a positive duration, or to 0 for the default", c.Timeout)
	case c.TLS > mx.TLSNone:
		return fmt.Errorf("preflight: TLS is %d: set it to a constant of package mx", c.TLS)
	case len(c.Sources) > mostSources:
		return fmt.Errorf("preflight: Sources has %d addresses: look at %d at most", len(c.Sources), mostSources)
	case len(c.Keys) > mostKeys:
		return fmt.Errorf("preflight: Keys has %d keys: look at %d at most", len(c.Keys), mostKeys)
	}
	for i, ip := range c.Sources {
		if !ip.IsValid() || ip.IsUnspecified() {
			return fmt.Errorf("preflight: Sources[%d] is %s: set it to an address that mail leaves from", i, ip)
		}
	}
	for i, k := range c.Keys {
		if !isDomain(k.Domain) || !isDomain(k.Selector) {
			return fmt.Errorf("preflight: Keys[%d] is %+v: set Domain to that of d=, and Selector to that of s=", i, k)
		}
	}
	if c.Hostname != "" && !isDomain(c.Hostname) {
		return fmt.Errorf("preflight: Hostname is %q: set it to this machine's name in the DNS", c.Hostname)
	}
	return nil
}

// settings returns the error of Check as a finding, if there is one.
func (c *Checker) settings() Findings {
	err := c.Check()
	if err == nil {
		return nil
	}
	problem, remedy, _ := strings.Cut(strings.TrimPrefix(err.Error(), "preflight: "), ": ")
	return Findings{{Kind: Settings, Severity: Refusal, Where: "Checker", Problem: problem, Remedy: remedy}}
}

func (c *Checker) resolver() spf.Resolver {
	if c.Resolver == nil {
		return &dns.Resolver{}
	}
	return c.Resolver
}

func (c *Checker) timeout() time.Duration {
	if c.Timeout == 0 {
		return defaultTimeout
	}
	return c.Timeout
}

// isDomain reports whether s is a name in the DNS.
func isDomain(s string) bool {
	ascii, err := smtp.ASCIIDomain(s)
	return err == nil && !strings.HasPrefix(ascii, "[")
}
