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
	if b.until == nil || len(b.until) >= maxBroken {
		b.until = make(map[mx.Host]time.Time) // they are found again
	}
	b.until[h] = time.Now().Add(brokenTime)
}
