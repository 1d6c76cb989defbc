package metrics

import (
	"slices"

	"github.com/postrider/postrider/smtp"
)

// Bounds lists the domains and tenants that have labels of their own. All others have the label "other".
type Bounds struct {
	Domains []string // of recipients, as A-labels in lower case
	Tenants []string
}

const other = "other"

func (b *Bounds) domain(address string) string {
	_, domain := smtp.SplitAddress(address)
	if ascii, err := smtp.ASCIIDomain(domain); err == nil && slices.Contains(b.Domains, ascii) {
		return ascii
	}
	return other
}

func (b *Bounds) tenant(name string) string {
	if slices.Contains(b.Tenants, name) {
		return name
	}
	return other
}
