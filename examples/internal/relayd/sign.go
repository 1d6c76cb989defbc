package relayd

import (
	"fmt"
	"os"
	"strings"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/client/dkim"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/mx/tlsrpt"
	"github.com/postrider/postrider/smtp"
)

// signs reports whether mail from an address gets a signature of its domain.
func (f *Flags) signs(address string) bool {
	_, domain := smtp.SplitAddress(address)
	domain, err := smtp.ASCIIDomain(domain)
	ours, ourErr := smtp.ASCIIDomain(f.dkimDomain)
	return err == nil && ourErr == nil && (domain == ours || strings.HasSuffix(domain, "."+ours))
}

// signer returns a Wrap that signs by DKIM, or nil without -dkim-key. Without -dns, resolver is nil.
func (f *Flags) signer(resolver mx.Resolver) (func(next smtp.Sender) smtp.Sender, error) {
	if f.dkimKey == "" {
		return nil, nil
	}
	file, err := os.ReadFile(f.dkimKey)
	if err != nil {
		return nil, fmt.Errorf("-dkim-key: %w", err)
	}
	private, err := dkim.ParsePrivate(file)
	if err != nil {
		return nil, fmt.Errorf("-dkim-key %s: %w", f.dkimKey, err)
	}
	key := dkim.Key{Domain: f.dkimDomain, Selector: f.dkimSelector, Private: private, Subdomains: true}
	signer := &dkim.Signer{Keys: []dkim.Key{key}, Headers: tlsrpt.SignedHeaders()}
	if resolver, ok := resolver.(dkim.Resolver); ok {
		signer.Resolver = resolver
	}
	return func(next smtp.Sender) smtp.Sender { return client.AddMissing(signer.Wrap(next)) }, nil
}
