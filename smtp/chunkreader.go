package smtp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// Chunk is a part of a message, as the command BDAT announces it (RFC 3030 §2).
type Chunk struct {
	Size int64 // octets that follow the command
	Last bool  // the message ends with them
}

// ParseChunk parses the arguments of BDAT, "size" or "size LAST", without CRLF (RFC 3030 §2). Errors are *Reply, 501
// 5.5.4. After an error, the length of what follows isn't known: a server closes the connection.
func ParseChunk(args string) (Chunk, error) {
	digits, word, more := strings.Cut(args, " ")
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return Chunk{}, syntax("BDAT %.64q: the size isn't a number", args)
	}
	if more && !equalFold(word, "LAST") {
		return Chunk{}, syntax("BDAT %.64q: only LAST may follow the size", args)
	}
	size, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return Chunk{}, syntax("BDAT %.64q: the size is too large", args)
	}
	return Chunk{Size: size, Last: more}, nil
}

// ChunkReader reads the body of a message that comes by BDAT (RFC 3030 §2), over the ends of its chunks. Dots have no
// meaning in it. It allocates nothing by the size of a chunk.
//
// It works in the buffer of its bufio.Reader, and reads no octet after the end of a chunk. Read never waits for input
// while it has octets to return. A ChunkReader must not be used concurrently. [NewChunkReader] makes one; every read of
// the zero value is an error.
type ChunkReader struct {
	// MaxSize bounds the content in octets. If zero or negative, there is no bound.
	MaxSize int64

	// MaxLine bounds a line of the content in octets, with its CRLF. If zero or negative, there is no bound.
	MaxLine int

	// Binary accepts every octet, for a message with BODY=BINARYMIME (RFC 3030 §3). MaxLine has no meaning then. If
	// false, a bare CR, a bare LF and a NUL are refused, as [DataReader] does.
	Binary bool

	r    *bufio.Reader
	next func() (Chunk, error)

	left int64 // octets of the chunk that weren't read
	last bool  // it is the last one
	size int64 // octets of the chunks so far, this one included
	read int64 // octets of the content that were read
	line int   // octets of the line so far
	cr   bool  // the octet read last is a CR
	err  error // result of Read from now on
}

// NewChunkReader returns a reader of the body in r that begins with the chunk first: the next octet of r is its first
// one. When the body goes on, next answers the chunk before and reads the command of the next one. An error of next
// ends the body.
func NewChunkReader(r *bufio.Reader, first Chunk, next func() (Chunk, error)) *ChunkReader {
	c := &ChunkReader{r: r, next: next}
	c.begin(first)
	return c
}

// Read reads the content. An error stays the same at every later call:
//
//   - io.EOF: the last chunk was read to its end, and the content is good.
//   - A *Reply, 521 5.6.0: a bare CR, a bare LF or a NUL. 554 5.6.0: a line over MaxLine. 552 5.3.4: the content is
//     over MaxSize, by the size that the present chunk has announced. Call DrainChunk before sending it.
//   - io.ErrUnexpectedEOF: the input ended within the body.
//   - Any other error is that of the connection or of next, wrapped.
func (c *ChunkReader) Read(p []byte) (int, error) {
	for len(p) > 0 && c.some() {
		n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
		if n == 0 && err == nil {
			_, err = c.r.Peek(1) // a reader that returns nothing is asked a bounded number of times
		}
		c.left -= int64(n)
		if n = c.check(p[:n]); err != nil && c.err == nil && c.left > 0 {
			c.lose(err)
		}
		if n > 0 {
			return n, nil
		}
	}
	if len(p) == 0 {
		return 0, nil
	}
	return 0, c.err
}

// Drain reads to the end of the last chunk and drops at most max octets. If max is zero or negative, there is no bound.
// It returns nil if the whole content was good. If the content is refused, it returns that *Reply at the end of the
// chunk in which that happened. It returns [ErrDrain] if the content or a chunk has more than max octets, or the error
// of the connection or of next.
func (c *ChunkReader) Drain(max int64) error {
	left := max
	if max <= 0 {
		left = math.MaxInt64
	}
	for c.some() {
		if c.left > left {
			return ErrDrain
		}
		if _, err := c.r.Peek(1); err != nil {
			c.lose(err)
			break
		}
		n := int(min(int64(c.r.Buffered()), c.left))
		b, _ := c.r.Peek(n)
		c.check(b)
		c.r.Discard(n)
		c.left -= int64(n)
		left -= int64(n)
	}
	if c.err == io.EOF {
		return nil
	}
	if _, refused := c.err.(*Reply); refused && c.left > left {
		return ErrDrain
	} else if refused {
		if err := c.DrainChunk(0); err != nil {
			return err
		}
	}
	return c.err
}

// DrainChunk drops the rest of the present chunk, at most max octets, without looking at it. If max is zero or
// negative, there is no bound. It returns nil, [ErrDrain] if the rest has more than max octets, or the error of the
// connection or of next.
func (c *ChunkReader) DrainChunk(max int64) error {
	if max > 0 && c.left > max {
		return ErrDrain
	}
	for c.left > 0 {
		n, err := c.r.Discard(int(min(c.left, math.MaxInt32)))
		c.left -= int64(n)
		if err != nil {
			if c.err == nil {
				c.lose(err)
			}
			return lost("reading a chunk", err)
		}
	}
	if _, refused := c.err.(*Reply); refused || c.err == io.EOF {
		return nil
	}
	return c.err
}

// some goes on to a chunk with octets that weren't read. It reports false if there is none, and sets err.
func (c *ChunkReader) some() bool {
	for c.err == nil {
		switch {
		case c.MaxSize > 0 && c.size > c.MaxSize:
			// RFC 1870 §6.3
			c.err = NewReply(552, "5.3.4", fmt.Sprintf("message exceeds %d octets", c.MaxSize))
		case c.left > 0:
			return true
		case c.last && c.cr && !c.Binary:
			c.err = badInput('\r', c.read-1)
		case c.last:
			c.err = io.EOF
		case c.next == nil:
			c.lose(errors.New("the ChunkReader has no source of chunks: make it by NewChunkReader"))
		default:
			chunk, err := c.next()
			if err != nil {
				c.lose(err)
				break
			}
			c.begin(chunk)
		}
	}
	return false
}

func (c *ChunkReader) begin(chunk Chunk) {
	c.left, c.last = chunk.Size, chunk.Last
	c.size += min(chunk.Size, math.MaxInt64-c.size)
}

// check returns the number of octets at the start of b that are good. If others follow, it sets err.
func (c *ChunkReader) check(b []byte) int {
	if c.Binary || len(b) == 0 {
		c.read += int64(len(b))
		return len(b)
	}
	lf := 0 // the LF of a CR that was read before
	if c.cr {
		if b[0] != '\n' {
			c.err = badInput('\r', c.read-1)
			return 0
		}
		lf = 1
	}
	n := len(b)
	c.cr = b[n-1] == '\r'
	text := b[lf:]
	if c.cr {
		text = text[:len(text)-1]
	}
	if i := badOctet(text); i >= 0 {
		n = lf + i
		c.err = badInput(b[n], c.read+int64(n))
	}
	if c.MaxLine > 0 {
		n = c.measure(b[:n])
	}
	c.read += int64(n)
	return n
}

// measure returns the number of octets at the start of b up to the end of MaxLine. If others follow, it sets err.
func (c *ChunkReader) measure(b []byte) int {
	for start := 0; ; {
		i := bytes.IndexByte(b[start:], '\n')
		length := i + 1
		if i < 0 {
			length = len(b) - start
		}
		if c.line+length > c.MaxLine {
			c.err = NewReply(554, "5.6.0", fmt.Sprintf("line exceeds %d octets", c.MaxLine))
			return start + c.MaxLine - c.line
		}
		if c.line += length; i < 0 {
			return len(b)
		}
		c.line, start = 0, start+length
	}
}

// lose records an error of the connection or of next.
func (c *ChunkReader) lose(err error) { c.err = lost("reading a chunk", err) }

// lost returns the error of a body whose connection returned err.
func lost(what string, err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return fmt.Errorf("smtp: %s: %w", what, err)
}
