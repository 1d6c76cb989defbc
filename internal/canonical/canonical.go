// Package canonical has what signers and verifiers of DKIM share: the canonical forms of a message (RFC 6376 §3.4), the
// sums of its header and body (§3.7), and tag lists (§3.2).
package canonical

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"strings"
	"sync"
)

// Hash is the SHA-256 of a canonical body (RFC 6376 §3.7), or of its first octets.
type Hash struct {
	hash.Hash
	Relaxed bool
	Limit   int64 // l=; below zero: the whole body
	Octets  int64 // of the whole canonical body so far
}

// NewHash returns the Hash of an empty body.
func NewHash(relaxed bool, limit int64) *Hash {
	return &Hash{Relaxed: relaxed, Limit: limit, Hash: sha256.New()}
}

func (h *Hash) write(b []byte) {
	if left := h.Limit - h.Octets; h.Limit >= 0 && left < int64(len(b)) {
		h.Hash.Write(b[:max(0, left)])
	} else {
		h.Hash.Write(b)
	}
	h.Octets += int64(len(b))
}

// Body is an io.Writer that passes the canonical form of a body to hashes (RFC 6376 §3.4.3, §3.4.4). Its memory and its
// work for an octet have bounds, whatever the body is.
type Body struct {
	Relaxed bool
	Hashes  []*Hash
	out     []byte // that the hashes don't have yet; in buffer
	buffer  *[2 * maxOut]byte
	cr      bool  // the last octet was a CR
	space   bool  // relaxed: white space that stands before nothing yet
	lines   int64 // line ends after which nothing stands yet
	any     bool  // there was a line that isn't empty
}

const maxOut = 16 << 10

// buffers are for out: it gets at most maxOut-1 octets, and as many again plus one.
var buffers = sync.Pool{New: func() any { return new([2 * maxOut]byte) }}

var (
	crlf  = []byte("\r\n")
	space = []byte(" ")
)

// Write never fails.
func (c *Body) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		b := rest[0]
		if c.cr {
			c.cr = false
			if b == '\n' {
				c.lines, c.space, rest = c.lines+1, false, rest[1:]
				continue
			}
			c.put([]byte{'\r'})
		}
		n := c.plain(rest)
		switch {
		case n > 0:
			c.put(rest[:n])
		case b == '\r':
			c.cr, n = true, 1
		default:
			c.space, n = true, 1
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// plain returns the length of what b begins with and stays as it is.
func (c *Body) plain(b []byte) int {
	if !c.Relaxed {
		if n := bytes.IndexByte(b, '\r'); n >= 0 {
			return n
		}
		return len(b)
	}
	for i, o := range b {
		if o == '\r' || o == ' ' || o == '\t' {
			return i
		}
	}
	return len(b)
}

// put writes octets after what stands before them.
func (c *Body) put(b []byte) {
	for ; c.lines > 0; c.lines-- {
		c.append(crlf)
	}
	if c.space {
		c.append(space)
		c.space = false
	}
	for len(b) > 0 {
		n := min(len(b), maxOut)
		c.append(b[:n])
		b = b[n:]
	}
	c.any = true
}

func (c *Body) append(b []byte) {
	if c.buffer == nil {
		c.buffer = buffers.Get().(*[2 * maxOut]byte)
		c.out = c.buffer[:0]
	}
	c.out = append(c.out, b...)
	if len(c.out) >= maxOut {
		c.flush()
	}
}

func (c *Body) flush() {
	for _, h := range c.Hashes {
		h.write(c.out)
	}
	c.out = c.out[:0]
}

// End ends the body: empty lines at its end are ignored. A relaxed body that is empty stays so.
func (c *Body) End() {
	if c.cr {
		c.put([]byte{'\r'})
	}
	if c.any || !c.Relaxed {
		c.append(crlf)
	}
	c.flush()
	if c.buffer != nil {
		buffers.Put(c.buffer)
		c.buffer, c.out = nil, nil
	}
}

// AppendField appends the canonical form of a header field with its line end (RFC 6376 §3.4.1, §3.4.2).
func AppendField(b []byte, field string, relaxed bool) []byte {
	if !relaxed {
		return append(b, field...)
	}
	name, value, _ := strings.Cut(field, ":")
	for _, c := range []byte(strings.TrimRight(name, " \t\r\n")) {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		b = append(b, c)
	}
	b = append(b, ':')
	begin, blank := len(b), false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '\r' && strings.HasPrefix(value[i:], "\r\n"):
			i++ // unfolded
		case c == ' ' || c == '\t':
			blank = true
		default:
			if blank && len(b) > begin {
				b = append(b, ' ')
			}
			b, blank = append(b, c), false
		}
	}
	return append(b, "\r\n"...)
}

// HeaderSum returns the sum that is signed (RFC 6376 §3.7): of the fields with these names, in lower case, and
// of own, the DKIM-Signature field without the value of b= and without its line end. Of several fields with a name, the
// last one is taken first. A name without a field left is nothing (§5.4.2). The field with the index skip, own as it
// stands in the message, counts as not there.
func HeaderSum(fields, names []string, relaxed bool, skip int, own string) (sum [sha256.Size]byte) {
	last := make(map[string][]int)
	for i, field := range fields {
		if i != skip {
			name := Name(field)
			last[name] = append(last[name], i)
		}
	}
	h := sha256.New()
	var b []byte
	for _, name := range names {
		if indexes := last[name]; len(indexes) > 0 {
			b = AppendField(b[:0], fields[indexes[len(indexes)-1]], relaxed)
			h.Write(b)
			last[name] = indexes[:len(indexes)-1]
		}
	}
	h.Write(bytes.TrimSuffix(AppendField(b[:0], own+"\r\n", relaxed), crlf))
	h.Sum(sum[:0])
	return sum
}

// Name returns the name of a field in lower case.
func Name(field string) string {
	name, _, _ := strings.Cut(field, ":")
	return strings.ToLower(strings.TrimRight(name, " \t\r\n"))
}
