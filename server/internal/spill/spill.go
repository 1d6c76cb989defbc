// Package spill keeps what may be large: a little in memory, more in a temporary file.
package spill

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/postrider/postrider/smtp"
)

// MaxInMemory bounds the octets that are kept in memory. More go to a file.
const MaxInMemory = 64 << 10

// Store keeps what is written to it. Discard must be called.
type Store struct {
	// Dir is the directory of the file. If empty, that of os.TempDir.
	Dir string

	// Take is called with the octets that the file is about to have more, and with a negative number when the file is
	// discarded. An error to the former is that of Write. If nil, the file has no bound.
	Take func(octets int64) error

	b    bytes.Buffer
	file *os.File // nil: in memory
	size int64

	taken int64 // by Take
}

// Write implements [io.Writer].
func (s *Store) Write(p []byte) (int, error) {
	if s.file != nil || s.b.Len()+len(p) > MaxInMemory {
		if err := s.take(s.size + int64(len(p)) - s.taken); err != nil {
			return 0, err
		}
	}
	if s.file == nil && s.b.Len()+len(p) > MaxInMemory {
		file, err := os.CreateTemp(s.Dir, "postrider-")
		if err != nil {
			return 0, fmt.Errorf("a temporary file: %w", err)
		}
		os.Remove(file.Name()) // none stays after a crash; where an open file can't be removed, Discard does it
		s.file = file
		if _, err := file.Write(s.b.Bytes()); err != nil {
			return 0, err
		}
		s.b = bytes.Buffer{}
	}
	s.size += int64(len(p))
	if s.file != nil {
		return s.file.Write(p)
	}
	return s.b.Write(p)
}

func (s *Store) take(octets int64) error {
	if s.Take == nil {
		return nil
	}
	err := s.Take(octets)
	if err == nil {
		s.taken += octets
	}
	return err
}

// Content returns what was written. It is valid until Discard.
func (s *Store) Content() smtp.Content {
	if s.file != nil {
		return io.NewSectionReader(s.file, 0, s.size)
	}
	return bytes.NewReader(s.b.Bytes())
}

// Discard closes and removes the file. It may be called for a nil Store, and once more for any.
func (s *Store) Discard() error {
	if s == nil {
		return nil
	}
	if s.taken > 0 {
		s.take(-s.taken)
	}
	if s.file == nil {
		return nil
	}
	file := s.file
	s.file = nil
	err := file.Close()
	if removed := os.Remove(file.Name()); !errors.Is(removed, os.ErrNotExist) {
		err = errors.Join(err, removed)
	}
	return err
}
