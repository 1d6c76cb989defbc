package dkim

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/postrider/postrider/internal/header"
	"github.com/postrider/postrider/smtp"
)

// keySet finds the keys of a domain.
type keySet struct {
	list     []*Key
	byDomain map[string][]*Key // by their Domain as an A-label
	required map[string]bool   // the Domains of the Signer
}

// newKeySet checks keys, except for their age and their records, and makes a set of them.
func (s *Signer) newKeySet(keys []Key) (*keySet, error) {
	set := &keySet{byDomain: make(map[string][]*Key), required: make(map[string]bool)}
	for _, k := range keys { // copies: the caller's may change
		domain := k.asciiDomain()
		set.list, set.byDomain[domain] = append(set.list, &k), append(set.byDomain[domain], &k)
	}
	for _, domain := range s.Domains {
		ascii, err := smtp.ASCIIDomain(domain)
		if err != nil {
			return nil, fmt.Errorf("Signer.Domains has %q: %w", domain, err)
		}
		set.required[ascii] = true
	}
	seen := make(map[string]bool)
	for i := range keys {
		k := &keys[i]
		err := k.check(cmp.Or(s.MinBits, defaultBits))
		if name := strings.ToLower(k.Name()); err == nil && seen[name] {
			err = fmt.Errorf("%s is there twice: give each key of a domain a Selector of its own", name)
		} else {
			seen[name] = true
		}
		if err != nil {
			return nil, fmt.Errorf("Signer.Keys[%d]: %w", i, err)
		}
	}
	for _, domain := range s.Domains {
		if ascii, _ := smtp.ASCIIDomain(domain); len(set.of(ascii)) == 0 {
			return nil, fmt.Errorf("Signer.Domains has %q, which has no key: add one to Keys", domain)
		}
	}
	return set, nil
}

func (k *Key) asciiDomain() string {
	domain, _ := smtp.ASCIIDomain(k.Domain) // check has an error for it
	return domain
}

// of returns the keys that sign for a domain: its own, or else those of the nearest domain above it with Subdomains.
func (set *keySet) of(domain string) []*Key {
	if keys := set.byDomain[domain]; len(keys) > 0 {
		return keys
	}
	for {
		var ok bool
		if _, domain, ok = strings.Cut(domain, "."); !ok {
			return nil
		}
		var above []*Key
		for _, k := range set.byDomain[domain] {
			if k.Subdomains {
				above = append(above, k)
			}
		}
		if len(above) > 0 {
			return above
		}
	}
}

// ofFields returns the keys for the domains in From. Keys that have expired are left out, unless all keys of a domain
// have: that is an error, and so is a required domain without a key.
func (set *keySet) ofFields(fields []string) (keys []*Key, err error) {
	for _, domain := range header.FromDomains(fields) {
		domain, err := smtp.ASCIIDomain(domain)
		if err != nil {
			continue // nobody has a key for it
		}
		all := set.of(domain)
		if len(all) == 0 && set.required[domain] {
			return nil, keyFault{error: fmt.Errorf("%s is in Signer.Domains and has no key", domain)}
		}
		valid := 0
		for _, k := range all {
			if err = k.expired(); err != nil {
				continue
			}
			if valid++; !slices.Contains(keys, k) {
				keys = append(keys, k)
			}
		}
		if valid == 0 && err != nil {
			return nil, keyFault{err, ": the key of " + domain + " has expired"}
		}
	}
	return keys, nil
}
