package beside

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"sync"
)

// appendStore is the yardstick: a file to which each message is appended and synced.
type appendStore struct {
	mu   sync.Mutex
	file *os.File
}

func openAppend(dir string, _ int) (store, error) {
	f, err := os.OpenFile(filepath.Join(dir, "messages"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	return &appendStore{file: f}, err
}

func (s *appendStore) enqueue(m message) error {
	value := m.encode()
	record := append(binary.AppendUvarint(nil, uint64(len(value))), value...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.file.Write(record); err != nil {
		return err
	}
	return s.file.Sync()
}

// deliver isn't supported.
func (s *appendStore) deliver(string) (message, error) { return message{}, errors.ErrUnsupported }

func (s *appendStore) messages() (all []message, err error) {
	b, err := os.ReadFile(s.file.Name())
	for len(b) > 0 {
		size, n := binary.Uvarint(b)
		end := n + int(size)
		all = append(all, decode(b[n:end]))
		b = b[end:]
	}
	return all, err
}

func (s *appendStore) close() error { return s.file.Close() }
