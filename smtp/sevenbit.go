package smtp

import (
	"cmp"
	"io"
	"slices"
	"sort"
)

// SevenBit returns c with its bodies in 7 bits, for a host without 8BITMIME (RFC 6152 §3) or before it is signed
// (RFC 6376 §5.3). Each part decodes to the same octets as before.
//
//   - A part with an octet above 127 is encoded: text/* and message/* as quoted-printable, all other types as base64
//     (RFC 2045 §6). The parts of a message/rfc822 are encoded inside it (RFC 2045 §6.4). A part with a line over 998
//     octets is encoded too, unless it is signed.
//   - MIME-Version, Content-Type and Content-Transfer-Encoding are set where an encoded part needs them. A part without
//     Content-Type becomes text/plain. Its charset is utf-8 or, if it isn't UTF-8, unknown-8bit (RFC 1428 §3).
//   - "?" replaces octets above 127 that readers skip: in the text before and after the parts of a multipart, and in
//     base64.
//   - All other octets stay as they are: headers with octets above 127, and parts that are encoded or in 7 bits.
//
// If nothing has to be changed, SevenBit returns c. signed reports whether a signature covers a change: there is a
// DKIM-Signature or ARC-Message-Signature, or the change is inside a multipart/signed.
//
// SevenBit reads c once, and once more the parts that it encodes. It holds no part in memory: the result encodes at
// each ReadAt, and needs up to 1 octet for 500 of c. c must not change afterwards.
//
// An error is a *ContentError. Its Err is a *Reply, 554 5.6.3, if c can't be converted: a part has an octet above 127,
// and is a multipart without a valid boundary, a message/partial or message/external-body (RFC 2046 §5.2), or in an
// encoding of another standard; or c has more than 50 levels or 10,000 changes. Otherwise c couldn't be read.
func SevenBit(c Content) (converted Content, signed bool, err error) {
	w, err := newWalker(c)
	if err != nil {
		return nil, false, err
	}
	if err := w.walk(); err != nil {
		return nil, false, err
	}
	if len(w.edits) == 0 {
		return c, false, nil
	}
	s := &sevenBit{src: c}
	if err := s.compile(w.edits); err != nil {
		return nil, false, &ContentError{err}
	}
	return s, w.broken, nil
}

// HasEightBitPartHeader reports whether the header of a part, or of a message inside c, has an octet above 127. The
// header of c itself doesn't count: see [Facts]. An error is a *ContentError, as that of [SevenBit]: also for a message
// that SevenBit can't convert.
func HasEightBitPartHeader(c Content) (bool, error) {
	w, err := newWalker(c)
	if err != nil {
		return false, err
	}
	err = w.walk()
	return w.eightBitHeader, err
}

// edit replaces n octets at off by text, if encode is nil, or else by what encode makes of them.
type edit struct {
	off, n int64
	text   string
	encode encoding
	depth  int // of the entity: of two insertions at one offset, that of the outer one comes first
}

// An encoding appends the encoded form of b, one block of a body, to dst. prev is the octet before b, or an LF at the
// start of the body. next is the octet after b, or -1 at the end of the body.
type encoding func(dst, b []byte, prev byte, next int) []byte

// block is the number of octets that are encoded at a time: 72 full lines of base64. The form of a block doesn't depend
// on the blocks before it, so that ReadAt can begin anywhere.
const block = 72 * base64Line

// segment is a run of octets of the converted content: of the original, encoded or not, or of text.
type segment struct {
	edit
	start, size int64   // in the converted content
	marks       []int64 // where each block begins, relative to start; nil if encode is nil
}

// sevenBit is a converted Content. Its segments are in order and leave no gap.
type sevenBit struct {
	src      Content
	segments []segment
	size     int64
}

func (s *sevenBit) Size() int64 { return s.size }

// compile makes segments of the edits.
func (s *sevenBit) compile(edits []edit) error {
	slices.SortStableFunc(edits, func(a, b edit) int {
		// What is inserted stands before the body at its offset.
		return cmp.Or(cmp.Compare(a.off, b.off), cmp.Compare(min(a.n, 1), min(b.n, 1)), cmp.Compare(a.depth, b.depth))
	})
	copied := int64(0)
	for _, e := range append(edits, edit{off: s.src.Size()}) {
		if e.off > copied {
			s.add(segment{edit: edit{off: copied, n: e.off - copied}, size: e.off - copied})
		}
		copied = e.off + e.n
		seg := segment{edit: e, size: int64(len(e.text))}
		if e.encode != nil {
			if err := s.measure(&seg); err != nil {
				return err
			}
		}
		s.add(seg)
	}
	return nil
}

func (s *sevenBit) add(seg segment) {
	if seg.size > 0 {
		seg.start = s.size
		s.segments = append(s.segments, seg)
		s.size += seg.size
	}
}

// measure sets the size and the marks of an encoded segment.
func (s *sevenBit) measure(seg *segment) error {
	var buf []byte
	for off := int64(0); off < seg.n; off += block {
		seg.marks = append(seg.marks, seg.size)
		var err error
		if buf, err = s.encode(buf[:0], seg, off); err != nil {
			return err
		}
		seg.size += int64(len(buf))
	}
	return nil
}

// encode appends the encoded form of the block at off of a segment.
func (s *sevenBit) encode(dst []byte, seg *segment, off int64) ([]byte, error) {
	var around [block + 2]byte // the block, and an octet on each side
	n := min(block, seg.n-off)
	first, end := max(off-1, 0), min(off+n+1, seg.n)
	b := around[1-(off-first):]
	b = b[:end-first]
	if err := readFullAt(s.src, b, seg.off+first); err != nil {
		return nil, err
	}
	prev, next := byte('\n'), -1
	if first < off {
		prev = around[0]
	}
	if end > off+n {
		next = int(around[1+n])
	}
	return seg.encode(dst, around[1:1+n], prev, next), nil
}

// ReadAt is safe for concurrent use: it changes nothing in s.
func (s *sevenBit) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errNegativeOffset
	}
	i := sort.Search(len(s.segments), func(i int) bool { return s.segments[i].start+s.segments[i].size > off })
	for ; i < len(s.segments) && n < len(p); i++ {
		seg := &s.segments[i]
		rel := off + int64(n) - seg.start
		want := p[n : n+int(min(int64(len(p)-n), seg.size-rel))]
		if err := s.read(want, seg, rel); err != nil {
			return n, err
		}
		n += len(want)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// read reads octets of one segment from rel on. All of them are there.
func (s *sevenBit) read(p []byte, seg *segment, rel int64) error {
	switch {
	case seg.text != "":
		copy(p, seg.text[rel:])
		return nil
	case seg.encode == nil:
		return readFullAt(s.src, p, seg.off+rel)
	}
	i := sort.Search(len(seg.marks), func(i int) bool { return seg.marks[i] > rel }) - 1
	var buf []byte
	for ; len(p) > 0; i++ {
		var err error
		if buf, err = s.encode(buf[:0], seg, int64(i)*block); err != nil {
			return err
		}
		n := copy(p, buf[rel-seg.marks[i]:])
		p, rel = p[n:], rel+int64(n)
	}
	return nil
}
