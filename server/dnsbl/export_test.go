package dnsbl

// Cached returns the number of answers that are kept.
func (l *List) Cached() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cache.Len()
}
