package compose

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/postrider/postrider/smtp"
)

// source is a file that can be read again.
type source struct {
	name string // for errors
	size int64

	content io.ReaderAt // where FS is nil

	fsys    fs.FS
	path    string
	changed time.Time
}

// open returns the file, and a func to be called after reading.
func (s *source) open() (file io.ReaderAt, done func(), err error) {
	if s.fsys == nil {
		return s.content, func() {}, nil
	}
	f, err := s.fsys.Open(s.path)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	file, ok := f.(io.ReaderAt)
	switch {
	case err != nil:
	case !ok || info.Size() != s.size || !info.ModTime().Equal(s.changed):
		err = errors.New("the file has changed since the mail was composed: compose it again")
	default:
		return file, func() { f.Close() }, nil
	}
	f.Close()
	return nil, nil, err
}

// source opens a file for the first time. It may have so many octets.
func (c *Content) source(name string, f *File, bound int64) (*source, error) {
	s := &source{name: name}
	if f.FS == nil {
		if content, ok := f.Reader.(smtp.Content); ok {
			s.content, s.size = content, content.Size()
			return s, s.checkSize(bound)
		}
		return s, c.spool(s, f.Reader, bound)
	}
	file, err := f.FS.Open(f.Path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s isn't a regular file: its mode is %v", f.Path, info.Mode())
	}
	if _, ok := file.(io.ReaderAt); !ok {
		return s, c.spool(s, file, bound)
	}
	s.fsys, s.path, s.size, s.changed = f.FS, f.Path, info.Size(), info.ModTime()
	return s, s.checkSize(bound)
}

// checkSize returns an error for a size that no file has, or that the mail can't have.
func (s *source) checkSize(bound int64) error {
	if s.size < 0 || s.size > bound {
		return fmt.Errorf("the file has %d octets, and the mail may have %d: see MaxSize", s.size, bound)
	}
	return nil
}

// inMemory bounds the octets of a Reader that are kept in memory.
const inMemory = 64 << 10

// spool is a temporary file.
type spool struct{ file *os.File }

// spool reads r to its end, into memory or into a temporary file.
func (c *Content) spool(s *source, r io.Reader, bound int64) error {
	var b bytes.Buffer
	n, err := io.CopyN(&b, r, inMemory+1)
	if err == io.EOF {
		s.content, s.size = bytes.NewReader(b.Bytes()), n
		return nil
	}
	if err != nil {
		return err
	}
	file, err := os.CreateTemp("", "postrider-")
	if err != nil {
		return fmt.Errorf("a temporary file: %w", err)
	}
	os.Remove(file.Name()) // none stays after a crash; where an open file can't be removed, discard does it
	c.spools = append(c.spools, &spool{file})
	s.size, err = io.Copy(file, io.LimitReader(io.MultiReader(&b, r), bound+1))
	s.content = file
	return err
}

func (s *spool) discard() error {
	if s.file == nil {
		return nil
	}
	file := s.file
	s.file = nil
	err := file.Close()
	if removed := os.Remove(file.Name()); !errors.Is(removed, fs.ErrNotExist) {
		err = errors.Join(err, removed)
	}
	return err
}
