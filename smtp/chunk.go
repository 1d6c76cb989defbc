package smtp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

const (
	// chunkSize bounds one read of a content, in octets.
	chunkSize = 32 << 10

	// chunkCap bounds a chunk after stuffing: one dot for each three octets, ".\r\n", and the end of DATA.
	chunkCap = chunkSize + chunkSize/3 + 1 + len("\r\n.\r\n")
)

type chunk [chunkCap]byte

// chunks keeps buffers for the next use. No octets pass from one use to the next.
var chunks = sync.Pool{New: func() any { return new(chunk) }}

// eachChunk reads c from start to end and calls f with each chunk b. A bare CR, a bare LF or a NUL is an error before f
// sees it; if binary isn't nil, it sets *binary instead. b isn't empty, doesn't end between a CR and its LF, has
// capacity for the end of DATA, and may be changed by f. An error of f is returned as it is. All other errors are
// *ContentError.
func eachChunk(c Content, binary *bool, f func(b []byte, last bool) error) error {
	buf := chunks.Get().(*chunk)
	defer chunks.Put(buf)
	size, err := sizeOf(c)
	if err != nil {
		return err
	}
	for off := int64(0); off < size; {
		b := buf[:min(chunkSize, size-off)]
		if err := readFullAt(c, b, off); err != nil {
			return &ContentError{err}
		}
		last := off+int64(len(b)) == size
		if b[len(b)-1] == '\r' && !last {
			b = b[:len(b)-1] // it is read again with its LF
		}
		if binary == nil || !*binary {
			i := badOctet(b)
			if i >= 0 && binary == nil {
				return &ContentError{badContent(b[i], off+int64(i))}
			}
			if i >= 0 {
				*binary = true
			}
		}
		if err := f(b, last); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return nil
}

func readFullAt(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil // an io.ReaderAt may return io.EOF with the last octets
	}
	if n < 0 || n > len(b) {
		return fmt.Errorf("ReadAt returned %d octets for a buffer of %d", n, len(b))
	}
	if err == nil || err == io.EOF {
		return io.ErrUnexpectedEOF // shorter than Size
	}
	return err
}

// badOctet returns the index of the first NUL, CR without LF or LF without CR in b. It returns -1 if there is none.
func badOctet(b []byte) int {
	pairs := countCRLF(b)
	if bytes.Count(b, []byte{'\n'}) == pairs && bytes.Count(b, []byte{'\r'}) == pairs && bytes.IndexByte(b, 0) < 0 {
		return -1
	}
	for i, c := range b {
		switch {
		case c == 0, c == '\r' && (i+1 == len(b) || b[i+1] != '\n'), c == '\n' && (i == 0 || b[i-1] != '\r'):
			return i
		}
	}
	return -1
}

// countCRLF counts CRLFs in b, up to a bare LF that it finds. It counts none twice, and may miss some, unless b has no
// CR and no LF elsewhere. Most lines are as long as the one before, in an attachment: that is tried before a search.
func countCRLF(b []byte) int {
	n, length := 0, 0
	for i := 0; i < len(b); n++ {
		j := i + length
		if length < 2 || j > len(b) || b[j-1] != '\n' || b[j-2] != '\r' {
			k := bytes.IndexByte(b[i:], '\n')
			if k < 1 || b[i+k-1] != '\r' {
				break
			}
			j = i + k + 1
			length = k + 1
		}
		i = j
	}
	return n
}

// bareCR returns the index of the first CR in b without LF after it. It returns -1 if there is none. lines is the
// number of CRLFs in b.
func bareCR(b []byte, lines int) int {
	if bytes.Count(b, []byte{'\r'}) == lines { // one pass for the good case
		return -1
	}
	for i, c := range b {
		if c == '\r' && (i+1 == len(b) || b[i+1] != '\n') {
			return i
		}
	}
	return -1
}

// badContent returns the reply to an octet that DATA can't carry.
func badContent(octet byte, off int64) *Reply {
	// RFC 5321 §2.3.8: CR and LF only as CRLF. RFC 5322 §2.2: no NUL.
	switch octet {
	case '\r':
		return NewReply(554, "5.6.0", fmt.Sprintf("bare CR at offset %d: lines end in CR LF", off))
	case '\n':
		return NewReply(554, "5.6.0", fmt.Sprintf("bare LF at offset %d: lines end in CR LF", off))
	}
	return NewReply(554, "5.6.0", fmt.Sprintf("NUL at offset %d", off))
}

// codeBad is the code of badInput. RFC 7504 §2: after 521, the server closes the connection. A sender that sees
// another end of the message would go on with content that the server reads as commands.
const codeBad = 521

// badInput is badContent for an octet that came from a client.
func badInput(octet byte, off int64) *Reply {
	r := badContent(octet, off)
	r.Code = codeBad
	return r
}

// isASCII reports whether no octet is above 127, eight octets at a time.
func isASCII(b []byte) bool {
	for len(b) >= 32 {
		w := binary.NativeEndian.Uint64(b) | binary.NativeEndian.Uint64(b[8:]) |
			binary.NativeEndian.Uint64(b[16:]) | binary.NativeEndian.Uint64(b[24:])
		if w&0x8080808080808080 != 0 {
			return false
		}
		b = b[32:]
	}
	var or byte
	for _, c := range b {
		or |= c
	}
	return or < 0x80
}
