package client

import (
	"sync"
	"time"

	"github.com/postrider/postrider/mx"
)

// brokenHosts remembers hosts that offer BDAT and break it.
type brokenHosts struct {
	mu    sync.Mutex
	until map[mx.Host]time.Time
}

const (
	brokenTime = 24 * time.Hour
	maxBroken  = 1000
)

func (b *brokenHosts) has(h mx.Host) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Before(b.until[h])
}

func (b *brokenHosts) add(h mx.Host) {
	b.mu.Lock()
	defer b.mu.Unlock()
	put(&b.until, maxBroken, h, time.Now().Add(brokenTime)) // who is forgotten is found again
}
