package dmarc

import (
	"context"
	"fmt"
	"strings"
)

const (
	maxQueries = 8   // RFC 9989 §4.10: for one tree walk
	maxName    = 253 // RFC 1035 §2.3.4, without the last dot
)

// found is the record of one domain.
type found struct {
	domain string
	record *Record // nil if there is none
	err    error   // of parse, or why there is no record
}

// lookups is what an evaluation has looked up, by domain. A domain is looked up once.
type lookups struct {
	resolver Resolver
	known    map[string]answer
}

type answer struct {
	found
	failed error // of the resolver
}

// record returns the record of a domain. The error is that of the resolver.
func (l *lookups) record(ctx context.Context, domain string) (found, error) {
	a, ok := l.known[domain]
	if !ok {
		a = l.ask(ctx, domain)
		l.known[domain] = a
	}
	return a.found, a.failed
}

func (l *lookups) ask(ctx context.Context, domain string) answer {
	a := answer{found: found{domain: domain}}
	name := "_dmarc." + domain
	if len(name) > maxName {
		return a
	}
	texts, err := l.resolver.LookupTXT(ctx, name+".")
	if err != nil && len(texts) == 0 && !isNotFound(err) {
		a.failed = fmt.Errorf("%s: %w", name, err)
		return a
	}
	n := 0
	for _, text := range texts {
		if tag, _, _ := strings.Cut(text, ";"); isVersion(tag) {
			n++
			a.found.record, a.found.err = parse(text)
		}
	}
	if n > 1 {
		// RFC 9989 §4.10: several records are none.
		a.found.record, a.found.err = nil, fmt.Errorf("%d DMARC records: want one (RFC 9989 section 4.10)", n)
	}
	return a
}

// exists reports whether a domain exists in the DNS (RFC 9989 §3.2.13). One of which nobody knows does.
func (l *lookups) exists(ctx context.Context, domain string) (bool, error) {
	texts, err := l.resolver.LookupTXT(ctx, domain+".")
	switch {
	case err == nil || len(texts) > 0:
		return true, nil
	case isNoSuchName(err):
		return false, nil
	case isNotFound(err):
		return true, nil
	}
	return false, fmt.Errorf("%s: %w", domain, err)
}

// walkNames returns the domains whose records a tree walk looks up: the domain itself, and its parents with at most
// seven labels (RFC 9989 §4.10).
func walkNames(domain string) []string {
	names := []string{domain}
	labels := strings.Split(domain, ".")
	for i := max(1, len(labels)-(maxQueries-1)); i < len(labels); i++ {
		names = append(names, strings.Join(labels[i:], "."))
	}
	return names
}

// tree is the result of a tree walk.
type tree struct {
	org    string // the organizational domain
	author found  // at the domain where the walk began
	policy found  // at the organizational domain, or else at the public suffix
}

// walk looks for the organizational domain of a domain (RFC 9989 §4.10.2). An error is that of a lookup. The tree has
// then what was found before.
func (l *lookups) walk(ctx context.Context, domain string) (tree, error) {
	t := tree{org: domain}
	for i, name := range walkNames(domain) {
		f, err := l.record(ctx, name)
		if err != nil {
			return t, err
		}
		if i == 0 {
			t.author = f
		}
		if f.record == nil {
			continue
		}
		if f.record.PSD == PSDYes && i > 0 {
			t.org = child(domain, name)
			if t.policy.domain != t.org {
				t.policy = f
			}
			return t, nil
		}
		// The one with the fewest labels counts: it comes last.
		t.org, t.policy = name, f
		if f.record.PSD != PSDUnknown {
			return t, nil
		}
	}
	return t, nil
}

// child returns the parent of domain, or domain itself, that is one label below name.
func child(domain, name string) string {
	left := strings.TrimSuffix(domain, "."+name)
	return left[strings.LastIndexByte(left, '.')+1:] + "." + name
}
