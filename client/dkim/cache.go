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
	at    int64 // when it was made, in Unix seconds
}

// cache keeps signatures in two generations. When young has half of the size, it becomes old, and what old had is
// forgotten, unless it was used in the meantime. Each entry is in one of them.
type cache struct {
	half       int
	life       int64 // seconds for which a signature is used; 0: no end
	mu         sync.Mutex
	young, old map[cacheKey]*entry
}

func newCache(size int, life time.Duration) *cache {
	return &cache{
		half: (cmp.Or(size, defaultCache) + 1) / 2, life: int64(life / time.Second), young: make(map[cacheKey]*entry),
	}
}

// get returns the entry of k, or a new one. One with a time in the future isn't used, nor one that is older than life,
// by the wall clock: receivers compare t= and x= with theirs. The monotonic clock doesn't see the steps of the wall
// clock and, on some systems, not the time in which the machine sleeps.
func (c *cache) get(k cacheKey, now time.Time) *entry {
	at := now.Unix()
	if c.half <= 0 {
		return &entry{at: at}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.young[k]
	if !ok {
		if e, ok = c.old[k]; ok {
			delete(c.old, k)
		}
	}
	const order = 1 // of two goroutines, the later one may have read the clock first
	if !ok || at < e.at-order || c.life > 0 && at-e.at > c.life {
		e = &entry{at: at}
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
