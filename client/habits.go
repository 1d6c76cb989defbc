package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// keywords is a set of extensions that a session can do without: those that mx.Route.Without may name.
type keywords uint8

const (
	kwPipelining keywords = 1 << iota
	kwChunking
	kwBinaryMIME
	kw8BitMIME
	kwSMTPUTF8
	kwDSN
	kwSize
	kwLimits
)

var keywordNames = [...]string{
	"PIPELINING", "CHUNKING", "BINARYMIME", "8BITMIME", "SMTPUTF8", "DSN", "SIZE", "LIMITS",
}

func (k keywords) has(one keywords) bool { return k&one != 0 }

// parseKeywords returns the set of a list of keywords, and the first one that isn't known.
func parseKeywords(list []string) (k keywords, unknown string, ok bool) {
	for _, keyword := range list {
		one := keywordOf(keyword)
		if one == 0 {
			return k, keyword, false
		}
		k |= one
	}
	return k, "", true
}

func keywordOf(keyword string) keywords {
	for i, name := range keywordNames {
		if strings.EqualFold(keyword, name) {
			return 1 << i
		}
	}
	return 0
}

// remove makes e the offer of a host without some extensions.
func (e *extensions) remove(k keywords) {
	e.pipelining = e.pipelining && !k.has(kwPipelining)
	e.chunking = e.chunking && !k.has(kwChunking)
	e.binary = e.binary && !k.has(kwBinaryMIME)
	e.eightBit = e.eightBit && !k.has(kw8BitMIME)
	e.utf8 = e.utf8 && !k.has(kwSMTPUTF8)
	e.dsn = e.dsn && !k.has(kwDSN)
	if k.has(kwSize) {
		e.size, e.maxSize = false, 0
	}
	if k.has(kwLimits) {
		e.maxMails, e.maxRcpts, e.maxDomains = 0, 0, 0
	}
}

// checkWithout fails if Without has a keyword that isn't known.
func (c *Conn) checkWithout() *failure {
	unused, unknown, ok := parseKeywords(c.Without)
	if c.unused = unused; ok {
		return nil
	}
	c.spoiled = true // so that not even QUIT is sent
	text := fmt.Sprintf("Without has %+q, which is no extension that a session can do without: see mx.Route.Without",
		clip(unknown))
	return c.local(smtp.StageHello, nil, smtp.NewReply(451, "4.3.5", text))
}

// breaks notes that the host offers an extension and fails at it.
func (c *Conn) breaks(k keywords) {
	c.broken |= k
	c.learned.broken |= k
}

// habits are what a host showed of itself, beside its offer in EHLO.
type habits struct {
	broken keywords // extensions that it offers and fails at
	mails  int      // the messages after which it refuses further ones in a session; zero if that isn't known
	said   bool     // it said so; otherwise mails may be a coincidence

	smallHello bool // its TLS fails with a large ClientHello, and not with a small one
	noTLS      bool // its TLS fails, and its cleartext doesn't
}

// memory remembers the habits of hosts for a while.
type memory struct {
	mu    sync.Mutex
	hosts map[mx.Host]remembered
}

type remembered struct {
	habits
	times       int       // how often mails was seen in succession
	until       time.Time // the end of mails
	brokenUntil time.Time // the end of broken
	helloUntil  time.Time // the end of smallHello
	noTLSUntil  time.Time // the end of noTLS
}

// noTLSTime is how long a host whose TLS fails gets mail in cleartext at once. It is short, because an attacker can
// make TLS fail.
const noTLSTime = time.Hour

// ErrTLSFailedBefore is the Err of the Security of a session in cleartext, if TLS failed at the host less than an hour
// ago.
var ErrTLSFailedBefore = errors.New("TLS failed at the host before")

// coincidences is how often a host has to refuse a message after the same number of messages until the number counts as
// its bound, if it doesn't say so. Hosts that refuse at random must not get many short sessions.
const coincidences = 8

// of returns what is remembered of a host.
func (m *memory) of(h mx.Host) habits {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.hosts[h]
	if !ok {
		return habits{}
	}
	r.expire(time.Now())
	if !r.said && r.times < coincidences {
		r.mails = 0
	}
	return r.habits
}

// expire forgets what has lasted long enough. A bound that is seen again and again prolongs no other habit.
func (r *remembered) expire(now time.Time) {
	if !now.Before(r.until) {
		r.mails, r.said, r.times = 0, false, 0
	}
	if !now.Before(r.brokenUntil) {
		r.broken = 0
	}
	r.smallHello = r.smallHello && now.Before(r.helloUntil)
	r.noTLS = r.noTLS && now.Before(r.noTLSUntil)
}

// add remembers habits of h for d, beside what is remembered of it already. If there are most hosts, a new one
// displaces the others: a forgotten host costs one more failure.
func (m *memory) add(h mx.Host, n habits, d time.Duration, most int) {
	if n == (habits{}) || d < 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	r := m.hosts[h]
	r.expire(now)
	if n.broken != 0 {
		r.broken, r.brokenUntil = r.broken|n.broken, now.Add(d)
	}
	if n.smallHello {
		r.smallHello, r.helloUntil = true, now.Add(d)
	}
	if n.noTLS {
		r.noTLS, r.noTLSUntil = true, now.Add(min(d, noTLSTime))
	}
	if n.mails > 0 {
		if n.mails != r.mails {
			r.times = 0
		}
		r.mails, r.said, r.times = n.mails, n.said, r.times+1
		r.until = now.Add(d)
	}
	put(&m.hosts, most, h, r)
}

// remember adds habits of a host to the memory.
func (t *Transport) remember(h mx.Host, n habits) {
	t.memory.add(h, n, cmp.Or(t.RememberFor, 24*time.Hour), t.maxRemembered())
}

// bound returns how many sessions of a route may be open, and the site whose sessions count. If the most is zero, there
// is no bound. After a panic of MaxSessions there is none.
func (t *Transport) bound(route *mx.Route) (site string, most int) {
	switch {
	case t.maxSessions > 0:
		return "", t.maxSessions
	case t.MaxSessions == nil:
		return "", 0
	}
	site = route.Site()
	if p := guard.Call(func() { most = t.MaxSessions(site) }); p != nil {
		p.Log(context.Background(), t.logger(), "MaxSessions", slog.String("site", clip(site)))
		most = 0
	}
	if most <= 0 {
		return "", 0
	}
	return site, most
}

// maxMessages is MaxMessages. After a panic there is no bound.
func (t *Transport) maxMessages(h mx.Host) (n int) {
	if t.MaxMessages == nil {
		return 0
	}
	if p := guard.Call(func() { n = t.MaxMessages(h.Name) }); p != nil {
		p.Log(context.Background(), t.logger(), "MaxMessages", slog.String("host", h.Name))
		return 0
	}
	return n
}
