package bounce

import (
	"bytes"
	"io"
)

const (
	maxRead     = 64 << 20 // octets of a mail that are read
	maxReadLine = 64 << 10 // octets of a line that are kept
)

// lineReader reads lines that end with CRLF, LF or CR. It works in one buffer, which grows to the longest line, at most
// maxReadLine.
type lineReader struct {
	r     io.Reader
	buf   []byte
	start int   // the first octet in buf that wasn't returned
	end   int   // the end of the octets in buf
	left  int64 // octets that may still be read
	lf    bool  // the last line ended with CR: an LF at start belongs to it
	err   error // the error of r
	work  int   // octets that were looked at, for tests
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{r: r, buf: make([]byte, 4<<10), left: maxRead}
}

// next returns the next line without its end, cut at maxReadLine octets. The line is valid until the next call. ok is
// false at the end of the mail and after an error.
func (l *lineReader) next() (line []byte, ok bool) {
	line, ended := l.piece()
	if ended || line == nil {
		return line, line != nil
	}
	// A line that doesn't fit: keep its beginning, and drop the rest.
	kept := bytes.Clone(line)
	for !ended && line != nil {
		line, ended = l.piece()
	}
	return kept, true
}

// piece returns a line, or as much of it as fits in the buffer. It returns nil at the end.
func (l *lineReader) piece() (piece []byte, ended bool) {
	from := l.start // octets before it have no line end
	for {
		if l.lf && l.start < l.end {
			l.lf = false
			if l.buf[l.start] == '\n' {
				l.start++
				from++
			}
		}
		if i := indexLineEnd(l.buf[from:l.end]); i >= 0 {
			l.work += i
			piece = l.buf[l.start : from+i]
			l.lf = l.buf[from+i] == '\r'
			l.start = from + i + 1
			return piece, true
		}
		l.work += l.end - from
		from = l.end
		switch {
		case l.err != nil && l.start == l.end:
			return nil, true
		case l.err != nil:
			piece, l.start = l.buf[l.start:l.end], l.end
			return piece, true
		case l.start > 0:
			l.end = copy(l.buf, l.buf[l.start:l.end])
			from, l.start = l.end, 0
		case l.end == len(l.buf) && l.end < maxReadLine:
			l.buf = append(l.buf, make([]byte, len(l.buf))...)
		case l.end == len(l.buf):
			l.start = l.end
			return l.buf, false
		}
		l.fill()
	}
}

// fill reads more octets into buf, or sets err.
func (l *lineReader) fill() {
	into := l.buf[l.end:]
	if int64(len(into)) > l.left {
		into = into[:l.left]
	}
	if len(into) == 0 {
		l.err = io.EOF
		return
	}
	for range 100 { // as bufio does with readers that return nothing
		n, err := l.r.Read(into)
		l.end += n
		l.left -= int64(n)
		l.err = err
		if n > 0 || err != nil {
			return
		}
	}
	l.err = io.ErrNoProgress
}

// indexLineEnd returns the index of the first CR or LF, or -1.
func indexLineEnd(b []byte) int {
	for i, c := range b {
		if c == '\n' || c == '\r' {
			return i
		}
	}
	return -1
}
