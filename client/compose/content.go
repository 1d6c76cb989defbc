package compose

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"sort"
)

// Content is a composed mail. It is a smtp.Content: the same octets at each read, at any offset, by several goroutines
// at a time. Files are read and encoded as it is read.
type Content struct {
	segments []segment
	size     int64
	spools   []*spool
}

// segment is a piece of a Content: text, or a file that is encoded in base64.
type segment struct {
	start, size int64 // in the Content
	text        []byte
	file        *source // nil: it is text
}

// Size returns the octets of the mail.
func (c *Content) Size() int64 { return c.size }

// Close removes the temporary files that Compose made for Readers: see [File]. A mail with such a file can't be read
// after Close. Other Contents need no Close. It closes nothing that the caller opened.
func (c *Content) Close() error {
	var errs []error
	for _, s := range c.spools {
		errs = append(errs, s.discard())
	}
	return errors.Join(errs...)
}

func (c *Content) append(s segment) {
	if s.size == 0 {
		return
	}
	s.start = c.size
	c.segments = append(c.segments, s)
	c.size += s.size
}

// ReadAt implements [io.ReaderAt]. An error other than io.EOF names the file that couldn't be read, or that has changed
// since Compose.
func (c *Content) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("compose: ReadAt: the offset is %d", off)
	}
	if off >= c.size {
		return 0, io.EOF
	}
	i := sort.Search(len(c.segments), func(i int) bool { return c.segments[i].start > off }) - 1
	for ; i < len(c.segments) && n < len(p); i++ {
		s := &c.segments[i]
		within := off + int64(n) - s.start
		if s.file == nil {
			n += copy(p[n:], s.text[within:])
			continue
		}
		file, done, err := s.file.open()
		if err == nil {
			var k int
			k, err = s.encode(p[n:], file, within)
			n += k
			done()
		}
		if err != nil {
			return n, fmt.Errorf("compose: %s: %w", s.file.name, err)
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteTo writes the mail to w. It implements [io.WriterTo]. An error of a file is that of ReadAt.
func (c *Content) WriteTo(w io.Writer) (n int64, err error) {
	for i := range c.segments {
		s := &c.segments[i]
		k, err := s.writeTo(w)
		if n += k; err != nil {
			return n, err
		}
	}
	return n, nil
}

func (s *segment) writeTo(w io.Writer) (n int64, err error) {
	if s.file == nil {
		k, err := w.Write(s.text)
		return int64(k), err
	}
	file, done, err := s.file.open()
	if err != nil {
		return 0, fmt.Errorf("compose: %s: %w", s.file.name, err)
	}
	defer done()
	buf := make([]byte, min(s.size, 400*lineLen))
	for n < s.size {
		k, err := s.encode(buf, file, n)
		if err != nil {
			return n, fmt.Errorf("compose: %s: %w", s.file.name, err)
		}
		k, err = w.Write(buf[:k])
		if n += int64(k); err != nil {
			return n, err
		}
	}
	return n, nil
}

// encode reads the file into p, as base64 from an offset of it on.
func (s *segment) encode(p []byte, file io.ReaderAt, off int64) (n int, err error) {
	p = p[:min(int64(len(p)), s.size-off)]
	for n < len(p) {
		line, skip := (off+int64(n))/lineLen, int((off+int64(n))%lineLen)
		left := s.file.size - line*base64Line // octets of the file from this line on
		if whole := min(int64(len(p)-n)/lineLen, left/base64Line); skip == 0 && whole > 0 {
			if err := encodeLines(p[n:n+int(whole)*lineLen], file, line*base64Line); err != nil {
				return n, err
			}
			n += int(whole) * lineLen
			continue
		}
		raw := make([]byte, min(left, base64Line)) // the first or last line of p, or the last one of the file
		if err := readFull(file, raw, line*base64Line); err != nil {
			return n, err
		}
		n += copy(p[n:], appendBase64(make([]byte, 0, lineLen), raw)[skip:])
	}
	return n, nil
}

// encodeLines fills p with whole lines. The octets of the file are first put at the end of p, where no line overwrites
// them before it needs them: line i ends at 78(i+1), and the octets of the next begin at 21·lines + 57(i+1).
func encodeLines(p []byte, file io.ReaderAt, off int64) error {
	lines := len(p) / lineLen
	raw := p[len(p)-lines*base64Line:]
	if err := readFull(file, raw, off); err != nil {
		return err
	}
	var line [base64Line]byte
	for i := range lines {
		copy(line[:], raw[i*base64Line:])
		out := p[i*lineLen : (i+1)*lineLen]
		base64.StdEncoding.Encode(out, line[:])
		out[lineLen-2], out[lineLen-1] = '\r', '\n'
	}
	return nil
}

// readFull fills p. The end of the file before that is an error, as its size was known.
func readFull(file io.ReaderAt, p []byte, off int64) error {
	n, err := file.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == io.EOF || err == nil {
		err = io.ErrUnexpectedEOF
	}
	return err
}
