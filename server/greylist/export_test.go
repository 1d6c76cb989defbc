package greylist

// Len returns the numbers of entries.
func (f *File) Len() (pending, allowed int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pending.Len(), f.allowed.Len()
}
