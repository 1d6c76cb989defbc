package dkim

import (
	"cmp"
	"crypto/sha256"
	"sync"
	"time"
)

// cacheKey stands for what is signed, and by whom. The sum of the header includes the names of its fields, and so the
// h= of the signature.
type cacheKey struct {
	header, body [sha256.Size]byte
	key          *Key
}

// entry is a signature, or one that is being made.
type entry struct {
	once  sync.Once
	field string // with its line end
	err   error
	until time.Time // zero: no end
}

// cache keeps signatures in two generations. When young has half of the size, it becomes old, and what old had is
// forgotten, unless it was used in the meantime. Each entry is in one of them.
type cache struct {
	half       int
	mu         sync.Mutex
	young, old map[cacheKey]*entry
}

func newCache(size int) *cache {
	return &cache{half: (cmp.Or(size, defaultCache) + 1) / 2, young: make(map[cacheKey]*entry)}
}

// get returns the entry of k, or a new one until a time. If until is now, there is no end.
func (c *cache) get(k cacheKey, now, until time.Time) *entry {
	if until.Equal(now) {
		until = time.Time{}
	}
	if c.half <= 0 {
		return new(entry)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.young[k]
	if !ok {
		if e, ok = c.old[k]; ok {
			delete(c.old, k)
		}
	}
	if !ok || !e.until.IsZero() && now.After(e.until) {
		e = &entry{until: until}
	}
	if len(c.young) >= c.half {
		c.young, c.old = make(map[cacheKey]*entry), c.young
	}
	c.young[k] = e
	return e
}

// drop forgets an entry that has an error.
func (c *cache) drop(k cacheKey, e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range []map[cacheKey]*entry{c.young, c.old} {
		if m[k] == e {
			delete(m, k)
		}
	}
}
