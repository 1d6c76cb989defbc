package smtp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Content is a message: header and body with CRLF line ends. It can be read more than once, for the next host and for a
// report. *bytes.Reader, *strings.Reader and *io.SectionReader are Contents.
//
// ReadAt is safe for concurrent use, as [io.ReaderAt] demands. Size returns the number of octets, the same at every
// call.
type Content interface {
	io.ReaderAt
	Size() int64
}

// NewReader returns a reader of c from start to end. It checks no octet. If c is nil or its Size is below zero, each
// Read is a *ContentError. A ReadAt that returns less than was asked for is an error, so that nobody reads without end.
func NewReader(c Content) *io.SectionReader {
	size, err := sizeOf(c)
	if err != nil {
		return io.NewSectionReader(unreadable{err}, 0, 1)
	}
	return io.NewSectionReader(fullReaderAt{c}, 0, size)
}

// sizeOf returns the Size of a content, or a *ContentError if it can't be one.
func sizeOf(c Content) (int64, error) {
	if c == nil {
		return 0, &ContentError{errors.New("the content is nil: set it to one of the message, by Text for example")}
	}
	size := c.Size()
	if size < 0 {
		return 0, &ContentError{fmt.Errorf("its size is %d", size)}
	}
	return size, nil
}

// unreadable stands for a content that has no size.
type unreadable struct{ err error }

func (u unreadable) ReadAt([]byte, int64) (int, error) { return 0, u.err }

// CheckedReader returns a reader of c from start to end. Read returns a *ContentError at a bare CR, a bare LF or a NUL,
// as [Scan] does. Octets before it may have been read by then.
func CheckedReader(c Content) io.Reader { return &checkedReader{r: NewReader(c)} }

type checkedReader struct {
	r   io.Reader
	cr  bool  // the last octet was CR
	off int64 // offset of the next octet
}

func (r *checkedReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	b, off := p[:n], r.off
	r.off += int64(n)
	if n > 0 && r.cr {
		if b[0] != '\n' {
			return 0, &ContentError{badContent('\r', off-1)}
		}
		b, off = b[1:], off+1
	}
	if n > 0 {
		r.cr = p[n-1] == '\r'
	}
	if r.cr && len(b) > 0 {
		b = b[:len(b)-1]
	}
	if i := badOctet(b); i >= 0 {
		return 0, &ContentError{badContent(b[i], off+int64(i))}
	}
	if err == io.EOF && r.cr {
		err = &ContentError{badContent('\r', r.off-1)}
	}
	return n, err
}

// ContentError is the error of a content that couldn't be read, or that can't be sent as it is. In the second case Err
// is a *Reply.
type ContentError struct {
	Err error
}

// Error returns "smtp: content: " and the text of Err.
func (e *ContentError) Error() string {
	if e.Err == nil {
		return "smtp: content: it can't be read"
	}
	return "smtp: content: " + e.Err.Error()
}

// Unwrap returns Err.
func (e *ContentError) Unwrap() error { return e.Err }

// Facts are the properties of a Content that not every host accepts. The header ends at the first empty line: a
// content without one is a header.
type Facts struct {
	EightBit     bool // an octet above 127 anywhere
	EightBitBody bool // an octet above 127 after the header, which needs 8BITMIME or [SevenBit]
	HeaderUTF8   bool // characters beyond ASCII in the header, all of them UTF-8 (RFC 6532 §3.2)
	LongLine     bool // a line over 998 octets without its CRLF (RFC 5321 §4.5.3.1.6)
	Binary       bool // a bare CR, a bare LF or a NUL, which need BDAT with BODY=BINARYMIME (RFC 3030 §3)
}

// Scan reads c once and returns its properties. Every error is a *ContentError:
//
//   - A bare CR, a bare LF or a NUL can't be sent by DATA (RFC 5321 §2.3.8). Err is a *Reply, 554 5.6.0, that names
//     the octet and its offset.
//   - If c couldn't be read, Err is the error of c.
func Scan(c Content) (Facts, error) { return scan(c, nil) }

// ScanBinary is Scan for content that may be binary. No octet is an error: a bare CR, a bare LF or a NUL sets Binary.
func ScanBinary(c Content) (Facts, error) {
	var binary bool
	facts, err := scan(c, &binary)
	facts.Binary = binary
	return facts, err
}

func scan(c Content, binary *bool) (Facts, error) {
	s := scanner{header: true, lineStart: true}
	err := eachChunk(c, binary, func(b []byte, _ bool) error {
		s.add(b)
		return nil
	})
	s.facts.EightBit = s.eightBitHeader || s.facts.EightBitBody
	s.facts.HeaderUTF8 = s.eightBitHeader && s.utf8.valid()
	return s.facts, err
}

// maxText bounds a line in octets, without its CRLF (RFC 5321 §4.5.3.1.6).
const maxText = 998

type scanner struct {
	facts     Facts
	header    bool // the empty line hasn't come yet
	lineStart bool // the last octets were CRLF, or there were none
	line      int  // octets of the current line

	eightBitHeader bool
	utf8           utf8Check // of the header
}

// add scans the next octets. They never end between a CR and its LF.
func (s *scanner) add(b []byte) {
	body := b
	if s.header {
		header := b
		if s.lineStart && bytes.HasPrefix(b, []byte("\r\n")) {
			header, s.header = nil, false
		} else if i := bytes.Index(b, []byte("\r\n\r\n")); i >= 0 {
			header, s.header = b[:i], false
		}
		s.eightBitHeader = !s.utf8.add(header) || s.eightBitHeader
		body = b[len(header):]
	}
	s.facts.EightBitBody = s.facts.EightBitBody || !isASCII(body)
	s.lineStart = b[len(b)-1] == '\n'
	s.measure(b)
}

// measure looks for a long line. In the 1000 octets from the start of a line there is an LF, and after the last of them
// is the next start. Most octets are never looked at.
func (s *scanner) measure(b []byte) {
	for len(b) > 0 && !s.facts.LongLine {
		room := maxText + len("\r\n") - s.line
		if i := bytes.LastIndexByte(b[:min(room, len(b))], '\n'); i >= 0 {
			b, s.line = b[i+1:], 0
			continue
		}
		s.line += len(b)
		s.facts.LongLine = s.line > maxText
		return
	}
}
