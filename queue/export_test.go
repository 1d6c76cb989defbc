package queue

import "time"

// OpenSmallSpool opens a spool whose segments and inline bodies are so small that it rolls, compacts and
// makes files all the time.
func OpenSmallSpool(dir string) (*Spool, error) {
	return openSpool(&disk{dir: dir}, spoolOptions{segment: 8 << 10, inline: 1 << 10, delay: time.Second})
}
