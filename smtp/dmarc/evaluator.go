package dmarc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/smtp"
)

const (
	defaultTimeout = 20 * time.Second
	maxAuthors     = 4  // domains in From
	maxWalks       = 10 // identifiers of one message for which a tree walk is needed
)

// Evaluator evaluates the DMARC policies of messages. It may be used by several goroutines. Fields must not change
// after the first use.
type Evaluator struct {
	// Resolver looks up the records. If nil, [net.DefaultResolver], with which the policy for domains that don't exist
	// never applies.
	Resolver Resolver

	// Timeout is the time for one Evaluate with all its lookups. After it the result is TempError. If zero or less,
	// 20 seconds.
	Timeout time.Duration
}

// Message is what DMARC considers of a message.
type Message struct {
	// From has the domain of each address in the From field, or in all of them if there are several. A domain may be an
	// A-label or a U-label, and may appear twice. RFC 5322 §3.6 has exactly one From field.
	From []string

	// SPF is the domain of the reverse-path, or the argument of HELO if that is null, and what SPF said about it.
	SPF Identifier

	// DKIM has the domain (d=) of each signature, and whether the signature is valid.
	DKIM []Identifier
}

// Identifier is a domain that SPF or DKIM has evaluated.
type Identifier struct {
	Domain string
	Pass   bool

	// Temporary says that the evaluation failed for now: a later one may pass.
	Temporary bool
}

func (e *Evaluator) resolver() Resolver {
	if e.Resolver == nil {
		return net.DefaultResolver
	}
	return e.Resolver
}

// Evaluate evaluates the policy of the domain in the From field. It returns after Timeout, or when ctx ends, at the
// latest: as soon as the resolver returns.
//
// For several domains, up to four, the result is the strictest one: that of a domain which fails, by its policy, before
// a TempError, a PermError, None and Pass.
func (e *Evaluator) Evaluate(ctx context.Context, m Message) Result {
	timeout := e.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	authors, err := authors(m.From)
	if err != nil {
		return Result{Code: PermError, Err: fmt.Errorf("dmarc: %w", err)}
	}
	known := &lookups{resolver: e.resolver(), known: make(map[string]answer)}
	var worst Result
	for i, author := range authors {
		ev := &evaluation{lookups: known, author: author, spf: normal(m.SPF), dkim: m.DKIM}
		r := ev.result(ctx)
		if i == 0 || r.worse(&worst) {
			worst = r
		}
	}
	return worst
}

// authors returns the domains of a From field as A-labels, each once (RFC 9989 §5.3.1).
func authors(from []string) ([]string, error) {
	var list []string
	for _, domain := range from {
		ascii, err := ascii(domain)
		if err != nil {
			return nil, fmt.Errorf("the From field: %w", err)
		}
		if !slices.Contains(list, ascii) {
			list = append(list, ascii)
		}
		if len(list) > maxAuthors {
			return nil, fmt.Errorf("the From field has more than %d domains: want one (RFC 9989 section 5.3.1)",
				maxAuthors)
		}
	}
	if len(list) == 0 {
		return nil, errors.New("the From field has no domain: want one (RFC 9989 section 5.3.1)")
	}
	return list, nil
}

// ascii returns a domain as A-labels. An address literal is no domain.
func ascii(domain string) (string, error) {
	if strings.HasPrefix(domain, "[") {
		return "", fmt.Errorf("%.60q is an address, no domain", domain)
	}
	name, err := smtp.ASCIIDomain(domain)
	if err != nil {
		return "", err
	}
	return name, nil
}

// normal returns an identifier with its domain as A-labels. One whose domain isn't valid has none, and isn't aligned.
func normal(id Identifier) Identifier {
	id.Domain, _ = ascii(id.Domain)
	return id
}
