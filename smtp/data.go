package smtp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
)

// ErrDrain is the error of a Drain that reached its bound before the end of the body.
var ErrDrain = errors.New("smtp: no end of data within the bound")

// DataReader reads the body that follows DATA, up to its end: CRLF.CRLF and nothing else (RFC 5321 §4.1.1.4). The
// first CRLF may be that of the DATA command.
//
// It works in the buffer of its bufio.Reader, which may have any size from 16 octets. It reads no octet after the end.
// Read never waits for input while it has octets to return. A DataReader must not be used concurrently. [NewDataReader]
// makes one; every read of the zero value is an error.
type DataReader struct {
	// MaxSize bounds the content in octets. If zero or negative, there is no bound.
	MaxSize int64

	// MaxLine bounds a line of the content in octets, with its CRLF and without a stuffed dot. If zero or negative,
	// there is no bound.
	MaxLine int

	r *bufio.Reader

	mid   bool  // the octets read last aren't CRLF: a dot is no end here
	cr    bool  // the octet read last is a CR: in good content an LF is next
	line  int   // octets of the line so far
	size  int64 // octets of the content so far
	even  int64 // lines guesses while size isn't less
	err   error // result of Read from now on
	later error // nil, or a *Reply of 521 that Drain found behind another one, err
	end   error // io.EOF once the end was read, or the connection's error
}

// NewDataReader returns a reader of the body in r. The next octet of r is the first one after the CRLF of the DATA
// command.
func NewDataReader(r *bufio.Reader) *DataReader { return &DataReader{r: r} }

// Read reads the content with its dots unstuffed. An error stays the same at every later call:
//
//   - io.EOF: the true end was read, and the content is good.
//   - A *Reply, 521 5.6.0: a bare CR, a bare LF or a NUL. Call Drain to find the end of the body, send the reply, and
//     close the connection (RFC 7504 §2): the client may see the end elsewhere.
//   - A *Reply, 554 5.6.0: a line over MaxLine. 552 5.3.4: the content is over MaxSize. Call Drain to find the end of
//     the body.
//   - io.ErrUnexpectedEOF: the input ended within the body.
//   - Any other error is that of the connection, wrapped.
func (d *DataReader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) && d.err == nil {
		b, ok := d.peek(1, n == 0)
		if !ok {
			break
		}
		k := d.content(b, len(p)-n)
		if k == 0 {
			if !d.special(n == 0) {
				break
			}
			continue
		}
		n += copy(p[n:], b[:k])
		d.take(b[:k])
	}
	if n > 0 || len(p) == 0 {
		return n, nil
	}
	return 0, d.err
}

// Drain reads to the true end and drops at most max octets. If max is zero or negative, there is no bound. It returns
// nil if the whole content was good, the *Reply that Read returned or would have returned, [ErrDrain] if the end isn't
// within max octets, or the error of the connection. If a bare CR, a bare LF or a NUL comes after what is refused for
// its size or a line, by Read or by Drain, it returns the reply 521.
func (d *DataReader) Drain(max int64) error {
	left := max
	if max <= 0 {
		left = math.MaxInt64
	}
	err := d.drain(&left)
	refused := d.tooLong()
	if refused == nil {
		return err
	}
	d.err, d.MaxSize, d.MaxLine = d.later, 0, 0 // the rest is checked for bad octets alone
	if err = d.drain(&left); err == nil {
		err = refused
	}
	if bad, _ := d.err.(*Reply); bad != nil {
		d.later = bad
	}
	d.err = refused
	return err
}

// tooLong returns the reply if the content was refused for its size or a line, or nil.
func (d *DataReader) tooLong() *Reply {
	if r, _ := d.err.(*Reply); r != nil && r.Code != codeBad {
		return r
	}
	return nil
}

// drain drops at most left octets, which it counts down. It stops where the content is too long.
func (d *DataReader) drain(left *int64) error {
	for d.end == nil && d.tooLong() == nil {
		b, ok := d.peek(1, true)
		if !ok {
			break
		}
		if !d.mid && b[0] == '.' {
			d.dot(true)
			continue
		}
		if *left == 0 {
			return ErrDrain
		}
		limit := int(min(int64(len(b)), *left))
		k := limit
		if d.err == nil {
			k = d.content(b, limit)
		} else if i := bytes.IndexByte(b[:limit], '\n'); i >= 0 {
			k = i + 1 // the end may follow
		}
		if k == 0 {
			d.special(true)
			continue
		}
		d.take(b[:k])
		*left -= int64(k)
	}
	if d.end != io.EOF {
		return d.end
	}
	if d.err == io.EOF {
		return nil
	}
	return d.err
}

// peek returns all buffered octets, if there are at least n. With wait, it reads until there are.
func (d *DataReader) peek(n int, wait bool) ([]byte, bool) {
	if d.r == nil {
		d.lose(errors.New("the DataReader has no bufio.Reader: make it by NewDataReader"))
		return nil, false
	}
	if d.r.Buffered() < n {
		if !wait {
			return nil, false
		}
		if _, err := d.r.Peek(n); err != nil {
			d.lose(err)
			return nil, false
		}
	}
	b, _ := d.r.Peek(d.r.Buffered())
	return b, true
}

// content returns the number of octets at the start of b, at most limit, that are content as they are. It returns 0 if
// b begins with octets that special handles. b isn't empty.
func (d *DataReader) content(b []byte, limit int) int {
	if !d.mid && b[0] == '.' {
		return 0
	}
	n := min(len(b), limit)
	if d.MaxSize > 0 {
		n = int(min(int64(n), d.MaxSize-d.size))
	}
	n, crlfs := d.lines(b, n)
	if i := bytes.IndexByte(b[:n], 0); i >= 0 {
		n, crlfs = i, bytes.Count(b[:i], []byte("\r\n"))
	}
	if n > 0 && b[n-1] == '\r' {
		if n < len(b) && b[n] == '\n' {
			crlfs++
		} else {
			n-- // bare, or its LF isn't buffered yet
		}
	}
	if i := bareCR(b[:n], crlfs); i >= 0 {
		return i
	}
	return n
}

// lines checks each line of b[:n] for its CR, its length, and a dot after it. It returns the index of the first octet
// that isn't content, or n, and the number of CRLFs whose CR is before that index.
func (d *DataReader) lines(b []byte, n int) (end, crlfs int) {
	if d.size >= d.even {
		end, crlfs = d.walk(b, n, true)
		if bytes.Count(b[:end], []byte{'\n'}) == crlfs {
			return end, crlfs
		}
		// A guess was wrong. The next one comes 8 times as many octets later, so that no message costs much more than
		// without guesses.
		d.even = d.size + 8*int64(end)
	}
	return d.walk(b, n, false)
}

// walk is lines. Most lines are as long as the one before, in an attachment: with guess, that is tried before a search.
// If a guess goes past the end of a line, an LF before end isn't counted.
func (d *DataReader) walk(b []byte, n int, guess bool) (end, crlfs int) {
	line, length := d.line, 0
	for i := 0; i < n; line = 0 {
		j := i + length
		whole := guess && length >= 2 && j <= n && b[j-1] == '\n' && b[j-2] == '\r'
		if !whole {
			k := bytes.IndexByte(b[i:n], '\n')
			length, whole = k+1, k >= 0
			if !whole {
				length = n - i
			}
		}
		if d.MaxLine > 0 && line+length > d.MaxLine {
			return i + d.MaxLine - line, crlfs
		}
		if !whole {
			break
		}
		i += length
		if i > 1 {
			if b[i-2] != '\r' {
				return i - 1, crlfs
			}
			crlfs++
		} else if !d.cr {
			return 0, crlfs
		}
		if i < n && b[i] == '.' {
			return i, crlfs
		}
	}
	return n, crlfs
}

// take consumes b, the first octets of the buffer.
func (d *DataReader) take(b []byte) {
	last := len(b) - 1
	if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
		d.line = last - i
	} else {
		d.line += len(b)
	}
	if last > 0 {
		d.cr = b[last-1] == '\r'
	}
	d.mid = !d.cr || b[last] != '\n'
	d.cr = b[last] == '\r'
	d.size += int64(len(b))
	d.r.Discard(len(b))
}

// special handles the octets at the start of the buffer that aren't content as they are. It reports false if nothing
// more can be read, or nothing more without waiting.
func (d *DataReader) special(wait bool) bool {
	b, _ := d.peek(1, false)
	switch {
	case b[0] == '.' && !d.mid:
		return d.dot(wait)
	case d.MaxSize > 0 && d.size == d.MaxSize:
		// RFC 1870 §6.3
		d.err = NewReply(552, "5.3.4", fmt.Sprintf("message exceeds %d octets", d.MaxSize))
	case d.MaxLine > 0 && d.line == d.MaxLine:
		d.err = NewReply(554, "5.6.0", fmt.Sprintf("line exceeds %d octets", d.MaxLine))
	case b[0] == '\r':
		b, ok := d.peek(2, wait)
		if !ok {
			return false
		}
		if b[1] == '\n' {
			return true // content accepts it, now that both are buffered
		}
		d.err = badInput('\r', d.size)
	default:
		d.err = badInput(b[0], d.size)
	}
	return false
}

// dot handles a dot that begins a line. If CRLF follows, it is the end. Otherwise it was stuffed, and is dropped (RFC
// 5321 §4.5.2).
func (d *DataReader) dot(wait bool) bool {
	b, ok := d.peek(2, wait)
	if ok && b[1] == '\r' {
		b, ok = d.peek(3, wait)
	}
	if !ok {
		return false
	}
	if b[1] != '\r' || b[2] != '\n' {
		d.r.Discard(1)
		d.mid, d.cr = true, false
		return true
	}
	d.r.Discard(3)
	d.end = io.EOF
	if d.err == nil {
		d.err = io.EOF
	}
	return false
}

// lose records an error of the connection.
func (d *DataReader) lose(err error) {
	d.end = lost("reading data", err)
	if d.err == nil {
		d.err = d.end
	}
}
