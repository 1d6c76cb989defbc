package server

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/smtp"
)

// Bounds on what is remembered of logins. If a map is full, one of a few entries is forgotten: that with the fewest
// failures, or the oldest success.
const (
	maxTallies   = 1 << 14 // about 3 MiB
	maxSuccesses = 1 << 17 // about 14 MiB
)

// errGuesses is the error of an attempt that isn't checked.
var errGuesses = errors.New("too many failed logins")

// Logins is the memory of failed and successful logins: see [Server.Logins]. The zero Logins is empty. It must not be
// copied, and may be used by several servers at a time.
//
// An attempt is counted in one tally: that of its network, an IPv4 /24 or an IPv6 /48. If the account has lately logged
// in from that network, it is that of the account and the network, so that other accounts can't lock it out there. If
// it has lately logged in from the same address (an IPv6 /64), it is that of the account and the address, so that no
// other client in the network can lock it out, and a client with an old password doesn't lock out its network.
type Logins struct{ guesses }

// guesses is what Logins has.
//
// Invariants, under mu: while an attempt is pending, its tally is in the map (unless the map was full of such tallies),
// and failures plus pending are at most the bound, or pending is 1.
type guesses struct {
	mu        sync.Mutex
	seed      maphash.Seed
	tallies   map[login]*tally
	successes map[login]time.Time
}

// login is an account and a network. The account is a hash, so that long names need no memory; 0 stands for all
// accounts.
type login struct {
	account uint64
	network netip.Prefix
}

// tally is the number of failures of a login. One after another is forgotten.
type tally struct {
	failures int
	at       time.Time     // of the first failure, or of the last one that was forgotten
	until    time.Time     // no attempt is checked before
	pending  int           // attempts that are being checked
	changed  chan struct{} // closed when pending becomes less; nil: nobody waits
}

// attempt is a login that is being checked.
type attempt struct {
	srv       *Server
	tally     *tally   // nil: not counted
	successes [2]login // by which a success is remembered: of the account and its network, and its address
}

// attempt begins a login, if its tally has few failures. It waits while attempts are being checked that may become too
// many failures. The caller calls end.
func (s *Server) attempt(ctx context.Context, account string, source netip.Prefix) (*attempt, error) {
	if !source.IsValid() {
		return &attempt{srv: s}, nil // no network, so no stranger: a Unix socket
	}
	g := s.logins()
	most := cmp.Or(s.MaxAuthFailures, defaultMaxAuthFailures)
	for {
		g.mu.Lock()
		t, successes := s.tally(account, source)
		if time.Now().Before(t.until) {
			g.mu.Unlock()
			return nil, errGuesses
		}
		if t.pending == 0 || t.pending < most-t.failures {
			t.pending++
			g.mu.Unlock()
			return &attempt{s, t, successes}, nil
		}
		if t.changed == nil {
			t.changed = make(chan struct{})
		}
		changed := t.changed
		g.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// end counts the result of an attempt: nil is a success, and a refusal a failure. Any other error is neither. It
// reports whether no further attempt is checked for a time.
func (a *attempt) end(err error) (stopped bool) {
	if a.tally == nil {
		return false
	}
	g := a.srv.logins()
	g.mu.Lock()
	defer g.mu.Unlock()
	t, now := a.tally, time.Now()
	t.pending--
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
	switch {
	case err == nil:
		for _, success := range a.successes {
			if _, known := g.successes[success]; !known && len(g.successes) >= maxSuccesses {
				evict(g.successes, func(a, b time.Time) bool { return a.Before(b) })
			}
			g.successes[success] = now
		}
	case failedLogin(err):
		most := cmp.Or(a.srv.MaxAuthFailures, defaultMaxAuthFailures)
		a.srv.decay(t, now)
		if t.failures = min(t.failures+1, most); t.failures == most {
			t.until = now.Add(cmp.Or(a.srv.AuthPause, defaultAuthPause))
			return true
		}
	}
	return false
}

// errUnproved is the result of an attempt that hasn't come to a password, or that panicked.
var errUnproved = errors.New("no password was checked")

// guess calls check, which checks a password or a token, unless there were too many failures.
func (s *session) guess(ctx context.Context, account string, check func() error) error {
	a, err := s.srv.attempt(ctx, account, source(s.peer.RemoteAddr))
	if err != nil {
		return err
	}
	result := errUnproved
	defer func() {
		if a.end(result) {
			s.note(ctx, slog.LevelInfo, "too many failed logins", "username", account)
		}
	}()
	result = check()
	return result
}

// pause waits before the reply to a failed login. It ends early in a shutdown.
func (s *session) pause(ctx context.Context) {
	timer := time.NewTimer(cmp.Or(s.srv.AuthDelay, defaultAuthDelay))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-s.srv.leaving:
	}
}

// failedLogin reports whether err says that a password was wrong, and not that it couldn't be checked.
func failedLogin(err error) bool {
	reply, ok := errors.AsType[*smtp.Reply](err)
	return errors.Is(err, ErrAuthFailed) || ok && reply.Permanent()
}

// logins returns Server.Logins, or the server's own.
func (s *Server) logins() *guesses {
	if s.Logins != nil {
		return &s.Logins.guesses
	}
	return &s.guesses
}

// tally returns the tally for an attempt, decayed, and the logins that a success is remembered by. The caller holds
// guesses.mu.
func (s *Server) tally(account string, source netip.Prefix) (t *tally, successes [2]login) {
	g := s.logins()
	if g.tallies == nil {
		g.seed = maphash.MakeSeed()
		g.tallies, g.successes = make(map[login]*tally), make(map[login]time.Time)
	}
	now := time.Now()
	widest := wider(source)[0]
	hash := max(1, maphash.String(g.seed, strings.ToLower(account)))
	successes = [2]login{{hash, widest}, {hash, source}}
	key := login{network: widest}
	for _, success := range successes {
		if at, ok := g.successes[success]; ok && now.Sub(at) < cmp.Or(s.AuthMemory, defaultAuthMemory) {
			key = success // the address comes last: it is the narrower one
		}
	}
	t = g.tallies[key]
	if t == nil {
		if len(g.tallies) >= maxTallies {
			evict(g.tallies, func(a, b *tally) bool {
				return a.pending == 0 && (b.pending > 0 || a.failures < b.failures)
			})
		}
		t = &tally{at: now}
		g.tallies[key] = t
	}
	s.decay(t, now)
	return t, successes
}

// decay lets t forget failures: MaxAuthFailures in 4 × AuthPause.
func (s *Server) decay(t *tally, now time.Time) {
	most := cmp.Or(s.MaxAuthFailures, defaultMaxAuthFailures)
	per := 4 * cmp.Or(s.AuthPause, defaultAuthPause).Seconds() / float64(most)
	forgotten := int(min(now.Sub(t.at).Seconds()/per, float64(t.failures)))
	if t.failures -= forgotten; t.failures == 0 {
		t.at = now
	} else {
		t.at = t.at.Add(time.Duration(float64(forgotten) * per * float64(time.Second)))
	}
}

// evict removes the least of a few entries of m.
func evict[V any](m map[login]V, less func(a, b V) bool) {
	var least login
	n := 0
	for key, v := range m {
		if n == 0 || less(v, m[least]) {
			least = key
		}
		if n++; n == 8 {
			break
		}
	}
	delete(m, least)
}
