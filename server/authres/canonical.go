package authres

import (
	"bytes"
	"crypto/sha256"
	"hash"
)

// bodyHash is the hash of a canonical body (RFC 6376 §3.7), or of its first octets.
type bodyHash struct {
	relaxed bool
	limit   int64 // l=; below zero: the whole body
	size    int64 // of the whole canonical body
	hash    hash.Hash
}

func newBodyHash(relaxed bool, limit int64) *bodyHash {
	return &bodyHash{relaxed: relaxed, limit: limit, hash: sha256.New()}
}

func (h *bodyHash) write(b []byte) {
	if left := h.limit - h.size; h.limit >= 0 && left < int64(len(b)) {
		h.hash.Write(b[:max(0, left)])
	} else {
		h.hash.Write(b)
	}
	h.size += int64(len(b))
}

// canonicalBody is an io.Writer that passes the canonical form of a body to hashes (RFC 6376 §3.4.3, §3.4.4). Its
// memory and its work for an octet have bounds, whatever the body is.
type canonicalBody struct {
	relaxed bool
	hashes  []*bodyHash
	out     []byte // that the hashes don't have yet
	cr      bool   // the last octet was a CR
	space   bool   // relaxed: white space that stands before nothing yet
	lines   int64  // line ends after which nothing stands yet
	any     bool   // there was a line that isn't empty
}

const maxOut = 16 << 10

var (
	crlf  = []byte("\r\n")
	space = []byte(" ")
)

// Write never fails.
func (c *canonicalBody) Write(p []byte) (int, error) {
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
func (c *canonicalBody) plain(b []byte) int {
	if !c.relaxed {
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
func (c *canonicalBody) put(b []byte) {
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

func (c *canonicalBody) append(b []byte) {
	c.out = append(c.out, b...)
	if len(c.out) >= maxOut {
		c.flush()
	}
}

func (c *canonicalBody) flush() {
	for _, h := range c.hashes {
		h.write(c.out)
	}
	c.out = c.out[:0]
}

// end ends the body: empty lines at its end are ignored. A relaxed body that is empty stays so.
func (c *canonicalBody) end() {
	if c.cr {
		c.put([]byte{'\r'})
	}
	if c.any || !c.relaxed {
		c.append(crlf)
	}
	c.flush()
}

// canonicalField returns the canonical form of a header field with its line end (RFC 6376 §3.4.1, §3.4.2).
func canonicalField(field []byte, relaxed bool) []byte {
	if !relaxed {
		return field
	}
	name, value, _ := bytes.Cut(field, []byte(":"))
	out := append(bytes.ToLower(bytes.TrimRight(name, " \t\r\n")), ':')
	unfolded := bytes.ReplaceAll(value, crlf, nil)
	words := bytes.FieldsFunc(unfolded, func(c rune) bool { return c == ' ' || c == '\t' })
	out = append(out, bytes.Join(words, space)...)
	return append(out, crlf...)
}
