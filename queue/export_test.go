package queue

// OpenSmallSpool opens a spool whose segments and inline bodies are so small that it rolls, compacts and
// makes files all the time.
func OpenSmallSpool(dir string) (*Spool, error) {
	return (&SpoolConfig{SegmentSize: 8 << 10, InlineSize: 1 << 10}).Open(dir)
}
