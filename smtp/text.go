package smtp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// Text returns a Content with CRLF line ends. The lines of s end in "\n" or "\r\n", also mixed. A last line without an
// end gets one. A CR without LF stays, and is refused when the content is sent.
//
// s must not change afterwards: it is copied only if a line end has to be converted.
func Text[T ~string | ~[]byte](s T) Content {
	bare := bareLFs(s)
	open := len(s) > 0 && s[len(s)-1] != '\n'
	if bare == 0 && !open {
		if reflect.TypeFor[T]().Kind() == reflect.String {
			return strings.NewReader(string(s))
		}
		return bytes.NewReader([]byte(s))
	}
	b := make([]byte, 0, len(s)+bare+len("\r\n"))
	start := 0
	for i := range len(s) {
		if s[i] == '\n' && (i == 0 || s[i-1] != '\r') {
			b = append(b, s[start:i]...)
			b = append(b, '\r')
			start = i
		}
	}
	b = append(b, s[start:]...)
	if open {
		b = append(b, "\r\n"...)
	}
	return bytes.NewReader(b)
}

// CRLFReader returns a reader of r that converts line ends to CRLF, as [Text] does. A CR without LF and a NUL are
// errors: a *Reply, 554 5.6.0, that names the offset in r. It is io.ErrNoProgress if r returns neither octets nor an
// error 100 times in a row. If r is nil, each Read is an error.
func CRLFReader(r io.Reader) io.Reader { return &crlfReader{r: r, last: '\n'} }

func bareLFs[T ~string | ~[]byte](s T) int {
	n := 0
	for i := range len(s) {
		if s[i] == '\n' && (i == 0 || s[i-1] != '\r') {
			n++
		}
	}
	return n
}

type crlfReader struct {
	r    io.Reader
	buf  []byte // made by the first Read
	src  []byte // octets in buf that weren't returned yet
	last byte   // the octet that was returned last, LF at the start
	cr   bool   // the octet that was read last is a CR
	off  int64  // octets read
	err  error  // of r, or of an octet from r
}

func (t *crlfReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(t.src) == 0 {
		if err := t.fill(); err != nil {
			return 0, err
		}
	}
	n := 0
	for n < len(p) && len(t.src) > 0 {
		if t.src[0] == '\n' && t.last != '\r' {
			p[n], t.last = '\r', '\r' // the LF stays in src
			n++
			continue
		}
		run := t.src
		if i := bytes.IndexByte(run[1:], '\n'); i >= 0 {
			run = run[:i+1] // up to the next LF, without it
		}
		k := copy(p[n:], run)
		t.last = run[k-1]
		t.src = t.src[k:]
		n += k
	}
	return n, nil
}

// fill reads the next octets of r into src. After the last octets of r, it adds the CRLF that the last line lacks.
func (t *crlfReader) fill() error {
	if t.buf == nil {
		t.buf = make([]byte, 4096)
	}
	if t.err == nil {
		t.src, t.err = readSome(t.r, t.buf)
		if err := t.check(t.src, t.err == io.EOF); err != nil {
			t.src, t.err = nil, err
			return err
		}
		if len(t.src) > 0 {
			return nil // the error is returned after these octets
		}
	}
	if t.err == io.EOF && t.last != '\n' {
		t.src = append(t.buf[:0], "\r\n"...)
		return nil
	}
	return t.err
}

// maxEmptyReads bounds the reads in a row that return nothing.
const maxEmptyReads = 100

// readSome reads into buf and returns at least one octet or an error, from any reader.
func readSome(r io.Reader, buf []byte) ([]byte, error) {
	if r == nil {
		return nil, errors.New("smtp: the reader is nil: set it to one of the message")
	}
	for range maxEmptyReads {
		n, err := r.Read(buf)
		if n < 0 || n > len(buf) {
			return nil, fmt.Errorf("smtp: the reader returned %d octets for a buffer of %d", n, len(buf))
		}
		if n > 0 || err != nil {
			return buf[:n], err
		}
	}
	return nil, io.ErrNoProgress
}

// check looks for a NUL and a CR without LF in b, the next octets of r. end is true for the last octets of r.
func (t *crlfReader) check(b []byte, end bool) error {
	off := t.off
	t.off += int64(len(b))
	if !t.cr && bytes.IndexByte(b, '\r') < 0 && bytes.IndexByte(b, 0) < 0 {
		return nil
	}
	for i, c := range b {
		switch {
		case t.cr && c != '\n':
			return badContent('\r', off+int64(i)-1)
		case c == 0:
			return badContent(0, off+int64(i))
		}
		t.cr = c == '\r'
	}
	if t.cr && end {
		return badContent('\r', t.off-1)
	}
	return nil
}
