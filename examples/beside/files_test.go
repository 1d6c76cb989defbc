package beside

import (
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"
)

// filesStore has a file for each message.
type filesStore struct {
	dir  *os.File
	last atomic.Int64 // name of the newest file
	due  list[string] // names of files
}

func openFiles(dir string, _ int) (store, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	s := &filesStore{dir: f}
	s.last.Store(time.Now().UnixNano()) // later than any name that is there
	return s, nil
}

func (s *filesStore) enqueue(m message) error {
	name := filepath.Join(s.dir.Name(), strconv.FormatInt(s.last.Add(1), 10))
	temp := name + ".temp"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(m.encode()); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(temp, name); err != nil {
		return err
	}
	if err := s.dir.Sync(); err != nil {
		return err
	}
	s.due.push(name)
	return nil
}

func (s *filesStore) deliver(string) (message, error) {
	name, err := s.due.pop()
	if err != nil {
		return message{}, err
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return message{}, err
	}
	return decode(b), os.Remove(name)
}

func (s *filesStore) messages() (all []message, err error) {
	names, err := filepath.Glob(filepath.Join(s.dir.Name(), "*[0-9]"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		all = append(all, decode(b))
	}
	return all, nil
}

func (s *filesStore) close() error { return s.dir.Close() }
