package spool

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"slices"
	"sync"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

var errBodyDamaged = errors.New("damaged body")

// openInline makes the Body of a message that has it in the log, and releases seg.
func (s *Spool) openInline(p place, seg *segment) (queue.Body, error) {
	defer seg.release()
	if buf, body := s.fresh.take(p); buf != nil {
		return newInlineBody(buf, body), nil
	}
	buf := buffers.Get().(*[]byte)
	if body := s.bodyOfKept(p, seg, buf); body != nil {
		return newInlineBody(buf, body), nil
	}
	body, err := readInline(p, seg, buf)
	if err != nil {
		keepBuffer(buf)
		return nil, s.unreadable(p, err)
	}
	return newInlineBody(buf, body), nil
}

// readInline reads the entry of a message into buf, and returns its body, a part of that.
func readInline(p place, seg *segment, buf *[]byte) ([]byte, error) {
	h, entry, fields, err := seg.appendEntry((*buf)[:0], p)
	if err != nil {
		return nil, err
	}
	*buf = entry
	sum, err := sumOf(h, fields)
	if err != nil {
		return nil, err
	}
	body := entry[entryHeaderLen+len(fields):]
	if checksum(body) != sum {
		return nil, errBodyDamaged
	}
	return body, nil
}

// bodyOfKept reads the body of a message that is kept in memory into buf, without the rest. It returns nil if it fails.
func (s *Spool) bodyOfKept(p place, seg *segment, buf *[]byte) []byte {
	m := s.wide.get(p)
	if m == nil || seg == nil {
		return nil
	}
	*buf = slices.Grow((*buf)[:0], int(m.Size))
	body := (*buf)[:m.Size]
	_, err := seg.file.ReadAt(body, int64(p.off)+int64(p.length)-m.Size)
	if err != nil || checksum(body) != m.Sum {
		return nil
	}
	return body
}

// inlineBody is a body in a buffer of the pool, which Close returns. What reads on after that, a Sender that was deaf
// to its ctx for example, gets an error and never the message that the buffer has by then.
type inlineBody struct {
	size int64

	mu     sync.RWMutex // held by Close alone while a read copies from the buffer
	buf    *[]byte      // nil after Close
	reader bytes.Reader // of a part of buf
}

func newInlineBody(buf *[]byte, body []byte) *inlineBody {
	b := &inlineBody{size: int64(len(body)), buf: buf}
	b.reader.Reset(body)
	return b
}

func (b *inlineBody) Size() int64 { return b.size }

func (b *inlineBody) ReadAt(p []byte, off int64) (int, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.buf == nil {
		return 0, fs.ErrClosed
	}
	return b.reader.ReadAt(p, off)
}

func (b *inlineBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.buf != nil {
		keepBuffer(b.buf)
		b.buf = nil
		b.reader.Reset(nil)
	}
	return nil
}

// openFile makes the Body of a message that has it in a file, and releases seg.
func (s *Spool) openFile(id uint64, p place, seg *segment) (queue.Body, error) {
	defer seg.release()
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	m, err := s.readMessage(seg, p, *buf)
	if err != nil {
		return nil, s.unreadable(p, err)
	}
	name := bodyName(id)
	f, err := s.fs.Open(name, false)
	if err == nil {
		if err = checkBody(f, m); err == nil {
			return fileBody{io.NewSectionReader(f, 0, m.Size), f}, nil
		}
		f.Close()
	}
	s.mu.Lock()
	gone := s.ix.Data(id) == nil
	s.mu.Unlock()
	if errors.Is(err, fs.ErrNotExist) && gone {
		return nil, queue.ErrNotFound
	}
	if !passing(err) {
		s.report(Damage{File: name, Length: m.Size, Reason: err.Error()})
	}
	return nil, fmt.Errorf("%s: %w", name, err)
}

// checkBody reads a body file to its end: none that is damaged goes out, not even in part.
func checkBody(f File, m *index.Message) error {
	h := crc32.New(castagnoli)
	if n, err := io.Copy(h, io.NewSectionReader(f, 0, math.MaxInt64)); err != nil {
		return err
	} else if n != m.Size {
		return fmt.Errorf("it has %d octets, want %d", n, m.Size)
	}
	if h.Sum32() != m.Sum {
		return errBodyDamaged
	}
	return nil
}

// fileBody is a body file. Closing it twice does no harm.
type fileBody struct {
	*io.SectionReader
	file File
}

func (b fileBody) Close() error {
	if err := b.file.Close(); !errors.Is(err, fs.ErrClosed) {
		return err
	}
	return nil
}
