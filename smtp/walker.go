package smtp

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
)

const (
	maxDepth      = 50       // entities inside each other
	maxEdits      = 10_000   // of one message
	maxFieldValue = 16 << 10 // octets of a field that is understood
)

// walker reads a message line by line, finds its entities (RFC 2046 §5) and collects what has to be changed to make
// their bodies 7-bit. The last one of stack is the entity that the current line belongs to, and the others are around
// it.
type walker struct {
	in    *bufio.Reader
	size  int64
	off   int64 // of the current line, or of the current piece of a long one
	eol   int64 // octets of the line end before off, 0 within a line
	stack []*entity
	edits []edit

	sealed         bool // the message has a signature over its body
	broken         bool // an edit is under a signature
	eightBitHeader bool // the header of an entity inside the message has an octet above 127
}

// entity is a message or a body part, with its header.
type entity struct {
	header  header
	off     int64  // of the body, or of what lies between the parts of a multipart
	line    int    // octets of the current line of the body
	delim   string // "--" and the boundary of a multipart; "" if this is none
	opened  bool   // the first delimiter of the multipart was there
	closed  bool   // its last one was there
	message bool   // a message, not a part
	holds   bool   // the body is a message
	signed  bool   // inside a multipart/signed
	digest  bool   // inside a multipart/digest
	changed bool   // there is an edit inside

	eightBit, long bool // an octet above 127, a line over 998 octets in the body
	utf8           utf8Check
}

func newWalker(c Content) (*walker, error) {
	size, err := sizeOf(c)
	if err != nil {
		return nil, err
	}
	r := io.NewSectionReader(fullReaderAt{c}, 0, size)
	return &walker{in: bufio.NewReaderSize(r, 8<<10), size: size}, nil
}

// fullReaderAt fills each buffer or returns an error, so that no number that ReadAt returns can be beyond its buffer.
type fullReaderAt struct{ io.ReaderAt }

func (r fullReaderAt) ReadAt(p []byte, off int64) (int, error) {
	if err := readFullAt(r.ReaderAt, p, off); err != nil {
		return 0, err
	}
	return len(p), nil
}

// walk reads the message to its end. Every error is a *ContentError.
func (w *walker) walk() error {
	if err := w.push(&entity{message: true}); err != nil {
		return err
	}
	for {
		b, err := w.in.ReadSlice('\n')
		if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
			return &ContentError{err}
		}
		end := err == io.EOF
		if end && w.off+int64(len(b)) < w.size {
			return &ContentError{io.ErrUnexpectedEOF}
		}
		if len(b) > 0 {
			if err := w.next(b); err != nil {
				return err
			}
		}
		if end {
			return w.closeFrom(0, w.off)
		}
	}
}

// next takes the next line, or the next piece of a line that is longer than the buffer.
func (w *walker) next(b []byte) error {
	whole := w.off == 0 || w.eol > 0 // b begins a line
	if err := w.line(b, whole); err != nil {
		return err
	}
	w.off += int64(len(b))
	switch {
	case bytes.HasSuffix(b, []byte("\r\n")):
		w.eol = 2
	case bytes.HasSuffix(b, []byte("\n")):
		w.eol = 1
	default:
		w.eol = 0
	}
	return nil
}

func (w *walker) line(b []byte, whole bool) error {
	if whole && bytes.HasPrefix(b, []byte("--")) {
		if i, last := w.delimiter(b); i >= 0 {
			return w.part(i, last, int64(len(b)))
		}
	}
	for e := w.top(); !e.header.done; e = w.top() {
		taken, err := e.header.add(b, w.off, whole)
		if err != nil {
			return err
		}
		if len(w.stack) > 1 && taken && !isASCII(b) {
			w.eightBitHeader = true
		}
		if e.header.done {
			body := w.off
			if taken { // b is the empty line
				body += int64(len(b))
			}
			if err := w.begin(e, body); err != nil {
				return err
			}
		}
		if taken {
			return nil
		}
	}
	w.top().add(b)
	return nil
}

func (w *walker) top() *entity { return w.stack[len(w.stack)-1] }

func (w *walker) push(e *entity) error {
	if len(w.stack) == maxDepth {
		return inconvertible("more than 50 levels of parts")
	}
	w.stack = append(w.stack, e)
	return nil
}

// add looks at a line of the body, or a piece of one.
func (e *entity) add(b []byte) {
	if e.header.contentType == "" { // else its charset is known
		e.eightBit = !e.utf8.add(b) || e.eightBit
	} else {
		e.eightBit = e.eightBit || !isASCII(b)
	}
	text := bytes.TrimRight(b, "\r\n")
	if e.line += len(text); e.line > maxText {
		e.long = true
	}
	if len(text) < len(b) {
		e.line = 0
	}
}

// begin begins the body of e at off.
func (w *walker) begin(e *entity, off int64) error {
	e.off = off
	h := &e.header
	if len(w.stack) == 1 {
		w.sealed = h.sealed
	}
	kind, boundary := h.mediaType()
	if h.contentType == "" && e.digest {
		kind = "message/rfc822" // RFC 2046 §5.1.5
	}
	h.kind = kind
	switch {
	case strings.HasPrefix(kind, "multipart/") && boundary != "":
		e.delim = "--" + boundary
	case kind == "message/rfc822" && h.identity():
		e.holds = true
		return w.push(&entity{message: true, signed: e.signed})
	}
	return nil
}

// delimiter returns the index in the stack of the multipart whose delimiter b is, the inner ones first, and -1 if it is
// none. RFC 2046 §5.1.2: the delimiter of an outer multipart ends the inner ones. last reports whether no part
// follows.
func (w *walker) delimiter(b []byte) (i int, last bool) {
	for i, e := range slices.Backward(w.stack) {
		if e.delim == "" || e.closed || !bytes.HasPrefix(b, []byte(e.delim)) {
			continue
		}
		rest := bytes.TrimRight(b[len(e.delim):], " \t\r\n") // RFC 2046 §5.1.1: transport padding
		if last := string(rest) == "--"; last || len(rest) == 0 {
			return i, last
		}
	}
	return -1, false
}

// part ends what is before a delimiter of n octets of the multipart at index i, and begins what is after it.
func (w *walker) part(i int, last bool, n int64) error {
	// RFC 2046 §5.1.1: the line end before the delimiter belongs to it.
	if err := w.closeFrom(i+1, w.off-w.eol); err != nil {
		return err
	}
	e := w.stack[i]
	e.opened, e.closed = true, last
	if err := w.between(e, w.off); err != nil {
		return err
	}
	e.off = w.off + n
	if last {
		return nil
	}
	return w.push(&entity{
		signed: e.signed || e.header.kind == "multipart/signed", digest: e.header.kind == "multipart/digest",
	})
}

// closeFrom ends the entities from index i on, the inner ones first.
func (w *walker) closeFrom(i int, end int64) error {
	for len(w.stack) > i {
		e := w.top()
		if e.header.done {
			if err := w.finish(e, max(e.off, end)); err != nil {
				return err
			}
		}
		w.stack = w.stack[:len(w.stack)-1]
		if e.changed && len(w.stack) > 0 {
			w.top().changed = true
		}
	}
	return nil
}

// finish ends an entity that has a body, or the end of one.
func (w *walker) finish(e *entity, end int64) error {
	if !e.holds && !e.opened {
		return w.leaf(e, end)
	}
	if err := w.between(e, end); err != nil {
		return err
	}
	if !e.changed {
		return nil
	}
	return w.relabel(e, "7bit", "")
}

// between ends the text before, between or after the parts of a multipart. RFC 2046 §5.1.1: readers ignore it.
func (w *walker) between(e *entity, end int64) error {
	if !e.eightBit {
		return nil
	}
	e.eightBit = false
	return w.edit(e, edit{off: e.off, n: end - e.off, encode: mask})
}

// leaf ends an entity without parts.
func (w *walker) leaf(e *entity, end int64) error {
	h := &e.header
	// A line that is only long breaks no rule of 8BITMIME, and isn't worth a signature.
	long := e.long && h.identity() && !e.signed && !w.sealed
	switch {
	case !e.eightBit && !long, end == e.off:
		return nil
	case h.encoding == "quoted-printable":
		return w.edit(e, edit{off: e.off, n: end - e.off, encode: repairQP})
	case h.encoding == "base64": // RFC 2045 §6.8: readers ignore all characters that aren't in its alphabet
		return w.edit(e, edit{off: e.off, n: end - e.off, encode: mask})
	case !e.eightBit && !h.encodable():
		return nil
	case !h.identity():
		return inconvertible(fmt.Sprintf("a part is 8-bit, and has the Content-Transfer-Encoding %+.64q", h.encoding))
	case !h.encodable():
		return inconvertible(fmt.Sprintf("a part is 8-bit, and has the Content-Type %+.64q", h.kind))
	}
	name, encode := "base64", encoding(appendBase64)
	// RFC 6532 §3.7, RFC 6533 §4: message/global and its like may be encoded. RFC 3464 §2.1 wants
	// message/delivery-status in 7 bits from the start. Most of it stays readable for programs that don't decode it.
	if h.kind == "" || strings.HasPrefix(h.kind, "text/") || strings.HasPrefix(h.kind, "message/") {
		name, encode = "quoted-printable", appendQP
	}
	kind := ""
	if h.contentType == "" && e.eightBit {
		if kind = "text/plain; charset=unknown-8bit"; e.utf8.valid() {
			kind = "text/plain; charset=utf-8"
		}
	}
	if err := w.relabel(e, name, kind); err != nil {
		return err
	}
	if end == w.size && name == "base64" {
		if err := w.edit(e, edit{off: end, text: "\r\n"}); err != nil {
			return err
		}
	}
	return w.edit(e, edit{off: e.off, n: end - e.off, encode: encode})
}

// relabel sets the encoding of an entity, and its Content-Type if kind isn't empty. A part that has no encoding is 7bit
// (RFC 2045 §6.1).
func (w *walker) relabel(e *entity, encoding, kind string) error {
	h := &e.header
	var add string
	if e.message && !h.version { // RFC 2045 §4
		add = "MIME-Version: 1.0\r\n"
	}
	if kind != "" {
		add += "Content-Type: " + kind + "\r\n"
	}
	field := "Content-Transfer-Encoding: " + encoding + "\r\n"
	if len(h.encodings) == 0 && encoding != "7bit" {
		add += field
	}
	for i, at := range h.encodings {
		if i == 0 && h.encoding == encoding {
			continue
		}
		ed := edit{off: at.off, n: at.n}
		if i == 0 {
			ed.text = field
		}
		if err := w.edit(e, ed); err != nil {
			return err
		}
	}
	if add == "" {
		return nil
	}
	if h.open {
		add += "\r\n"
	}
	return w.edit(e, edit{off: h.end, text: add})
}

func (w *walker) edit(e *entity, ed edit) error {
	if len(w.edits) == maxEdits {
		return inconvertible("more than 10,000 changes")
	}
	ed.depth = slices.Index(w.stack, e)
	w.edits = append(w.edits, ed)
	e.changed = true
	w.broken = w.broken || w.sealed || e.signed
	return nil
}

// inconvertible returns the error for a message that can't be made 7-bit.
func inconvertible(why string) error {
	return &ContentError{NewReply(554, "5.6.3", "the message can't be converted to 7 bits: "+why)}
}
