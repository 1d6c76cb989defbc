package ratelimit

// Len returns the number of senders that are kept.
func (l *Limiter) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.senders.Len()
}
