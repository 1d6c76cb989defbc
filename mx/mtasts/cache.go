package mtasts

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/mx"
)

const (
	// recheck is how long the answer about a TXT record is used if there is one, or if the lookup fails.
	recheck = time.Minute

	// negative is how long a domain counts as one without a record.
	negative = 5 * time.Minute

	// RFC 8461 §3.3: after a failed fetch, the next one for the same id is 5 minutes or longer away. The interval
	// doubles with each failure.
	minRetry = 5 * time.Minute
	maxRetry = time.Hour

	// RFC 8461 §3.3: policies are renewed before they expire, so that an attacker has to block the renewal for all of
	// max_age; about once a day.
	renewal = 24 * time.Hour

	// minLife is how long a policy is used at least, so that not each mail to a domain with a max_age of 0 fetches it.
	minLife = time.Minute

	maxMemory = 16 << 20 // bytes of all domains, by known.size
)

// known is what is known about a domain.
//
// Invariants, under Client.mu: for each domain, one caller at most flies: it looks up and fetches with a copy, and puts
// the copy back at the end. Until then, flight is set and nobody else changes the entry.
type known struct {
	policy  *Policy // nil if there is none
	name    string  // of the requirement
	found   *mx.FoundPolicy
	expires time.Time // of policy
	renew   time.Time // when policy is to be fetched again

	stored bool      // the Store was asked
	check  time.Time // when the TXT record is to be looked up again
	err    error     // an *Error, if the last attempt failed
	noDNS  bool      // the last attempt couldn't look up the TXT record

	failedID string    // of the last fetch, if it failed
	failure  error     // the error of that fetch
	failures int       // in a row, for failedID
	retry    time.Time // when failedID is to be fetched again

	flight chan struct{} // closed at the end of the flight; nil if there is none
}

// valid returns the policy if it hasn't expired.
func (k *known) valid(now time.Time) *Policy {
	if k.policy == nil || !now.Before(k.expires) {
		return nil
	}
	return k.policy
}

// fresh reports whether the DNS needn't be asked.
func (k *known) fresh(now time.Time) bool {
	return now.Before(k.check) && (k.policy == nil || now.Before(k.expires))
}

// set replaces the policy.
func (k *known) set(p *Policy, fetched time.Time) {
	k.policy, k.name, k.found = p, requirementName(p), found(p)
	k.expires = fetched.Add(max(p.MaxAge, minLife))
	k.renew = fetched.Add(min(renewal, max(p.MaxAge, minLife)/2))
}

// found describes a policy for reports.
func found(p *Policy) *mx.FoundPolicy {
	lines := []string{"version: STSv1", "mode: " + p.Mode.String()}
	for _, pattern := range p.MX {
		lines = append(lines, "mx: "+pattern)
	}
	lines = append(lines, fmt.Sprintf("max_age: %d", p.MaxAge/time.Second))
	return &mx.FoundPolicy{Type: "sts", Lines: lines, Hosts: p.MX}
}

// requirementName names the demands of a policy: two policies with the same mode and patterns have one name.
func requirementName(p *Policy) string {
	patterns := slices.Sorted(slices.Values(p.MX))
	sum := sha256.Sum256([]byte(strings.Join(slices.Compact(patterns), "\n")))
	return "sts:" + p.Mode.String() + ":" + hex.EncodeToString(sum[:8])
}

// size is the approximate size of an entry in bytes.
func (k *known) size(domain string) int {
	n := 512 + 3*len(domain)
	if k.policy != nil {
		for _, pattern := range k.policy.MX {
			n += 48 + 2*len(pattern) // in found, too
		}
	}
	return n
}

// join returns what is known. If flight is nil, that is to be used now. Otherwise the caller flies if mine is set, and
// waits for the end of flight if not.
func (c *Client) join(domain string) (k known, flight chan struct{}, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	at := c.domains[domain]
	switch {
	case at == nil:
		at = new(known)
		c.domains[strings.Clone(domain)] = at
		c.size += at.size(domain)
	case at.fresh(now), at.flight != nil && at.valid(now) != nil:
		return *at, nil, false
	case at.flight != nil:
		return *at, at.flight, false
	}
	at.flight = make(chan struct{})
	return *at, at.flight, true
}

// fly finds out what is new about a domain. An error means that it isn't known.
func (c *Client) fly(ctx context.Context, domain string, k known, flight chan struct{}) (known, error) {
	next, err := k, error(nil)
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		at := c.domains[domain] // entries with a flight aren't forgotten
		c.size -= at.size(domain)
		*at = next
		at.flight = nil
		c.size += at.size(domain)
		c.shrink(time.Now())
		close(flight)
	}()
	p := guard.Call(func() {
		updated := k
		if err = c.update(ctx, domain, &updated); err == nil {
			next = updated
		}
	})
	if p != nil {
		p.Log(ctx, c.log(), "mtasts: Resolver, Store or Proxy", slog.String("domain", domain))
		err = p
	}
	return next, err
}

// update brings k up to date. A failure of the domain is in k.err. An error means that ctx has ended.
func (c *Client) update(ctx context.Context, domain string, k *known) error {
	if !k.stored {
		c.load(ctx, domain, k)
	}
	id, err := c.lookupID(ctx, domain)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	now := time.Now()
	k.check, k.noDNS = now.Add(recheck), err != nil
	policy := k.valid(now)
	switch {
	case err != nil:
		k.err = &Error{Domain: domain, Result: mx.STSPolicyFetchError, Err: err}
	case id == "":
		// RFC 8461 §3.1: a policy that is kept applies until it expires, even without a record.
		k.check, k.err = now.Add(negative), nil
	case policy != nil && policy.ID == id && now.Before(k.renew):
		k.err = nil
	case id == k.failedID && now.Before(k.retry):
		k.err = k.failure
		return nil // it was logged
	default:
		if err := c.replace(ctx, domain, id, k); err != nil {
			return err
		}
	}
	// RFC 8461 §3.3: administrators are alerted, unless the mode is none.
	if k.err != nil && policy != nil && policy.Mode != None {
		c.log().LogAttrs(ctx, slog.LevelWarn, "MTA-STS policy can't be renewed", slog.String("domain", domain),
			slog.Time("expires", k.expires), slog.Any("error", k.err))
	}
	return nil
}

// lookupID returns the id of a domain. It is empty if the domain has no record, or none that is valid.
func (c *Client) lookupID(ctx context.Context, domain string) (id string, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	texts, err := c.resolver.LookupTXT(ctx, "_mta-sts."+domain+".")
	if len(texts) == 0 && err != nil {
		if failed, ok := errors.AsType[*net.DNSError](err); ok && failed.IsNotFound {
			return "", nil
		}
		return "", fmt.Errorf("TXT record: %w", err)
	}
	id, _ = parseRecord(texts)
	return id, nil
}

// replace fetches the policy of a new id, or renews that of the old one. An error means that ctx has ended.
func (c *Client) replace(ctx context.Context, domain, id string, k *known) error {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	start := time.Now()
	policy, body, err := c.fetch(ctx, domain)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	now := time.Now()
	k.check = now.Add(recheck)
	if err != nil {
		if k.err, k.failure = err, err; k.failedID != id {
			k.failedID, k.failures = id, 0
		}
		k.retry = now.Add(min(minRetry<<k.failures, maxRetry))
		k.failures = min(k.failures+1, 10)
		return nil
	}
	policy.ID = id
	k.set(policy, start)
	k.stored, k.err, k.failure, k.failedID, k.failures = true, nil, nil, "", 0
	c.save(ctx, domain, Entry{ID: id, Fetched: start, Expires: k.expires, Body: body})
	return nil
}

// load asks the Store for the policy of a domain.
func (c *Client) load(ctx context.Context, domain string, k *known) {
	if c.Store == nil {
		k.stored = true
		return
	}
	e, err := c.Store.Load(ctx, domain)
	if err != nil {
		c.storeFailed(ctx, domain, err) // and asked again the next time
		return
	}
	k.stored = true
	if e.Body == "" {
		return
	}
	policy, err := parsePolicy(e.Body)
	if err == nil && (len(e.Body) > maxBody || !isID(e.ID)) {
		err = fmt.Errorf("the body has %d octets", len(e.Body))
	}
	if err != nil {
		c.storeFailed(ctx, domain, fmt.Errorf("the entry with id %q is damaged: %w", shorten(e.ID), err))
		return
	}
	policy.ID = e.ID
	// A clock that was wrong must not make a policy last.
	fetched := e.Fetched
	if now := time.Now(); fetched.After(now) {
		fetched = now
	}
	k.set(policy, fetched)
}

func (c *Client) save(ctx context.Context, domain string, e Entry) {
	if c.Store == nil {
		return
	}
	if err := c.Store.Save(ctx, domain, e); err != nil {
		c.storeFailed(ctx, domain, err)
	}
}

func (c *Client) storeFailed(ctx context.Context, domain string, err error) {
	c.log().LogAttrs(ctx, slog.LevelError, "MTA-STS Store failed", slog.String("domain", domain),
		slog.Any("error", err))
}

// shrink forgets domains if there is no more room: at first those without a policy, and then others until half of the
// memory is free. c.mu is held.
func (c *Client) shrink(now time.Time) {
	if c.size <= maxMemory {
		return
	}
	for _, all := range []bool{false, true} {
		for domain, k := range c.domains {
			if c.size <= maxMemory/2 {
				return
			}
			if k.flight == nil && (all || k.valid(now) == nil) {
				c.size -= k.size(domain)
				delete(c.domains, domain)
			}
		}
	}
}
