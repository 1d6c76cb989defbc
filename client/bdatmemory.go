package client

import (
	"sync"
	"time"

	"github.com/postrider/postrider/mx"
)

// bdatMemory remembers hosts that offer BDAT and fail at it.
type bdatMemory struct {
	mu    sync.Mutex
	until map[mx.Host]time.Time
}

func (b *bdatMemory) has(h mx.Host) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Before(b.until[h])
}

// add remembers h for d, among most hosts.
func (b *bdatMemory) add(h mx.Host, d time.Duration, most int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	put(&b.until, most, h, time.Now().Add(d)) // a forgotten host costs one more failure
}
