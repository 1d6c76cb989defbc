package smtp

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"unicode/utf8"
)

// Bounds of ReadReply. RFC 5321 §4.5.3.1.5 allows lines of 512 octets. Hosts send longer ones.
const (
	maxReplyLine  = 4096      // octets, CRLF included
	maxReplyLines = 128       // of one reply
	maxReply      = 64 * 1024 // octets of one reply
)

// ReadReply reads one reply of one or more lines (RFC 5321 §4.2.1). The enhanced code moves from the text of each line
// to Enhanced, if its class is that of the code (RFC 2034 §4). Control characters and octets that aren't UTF-8 become
// "?", so that the text can be logged.
//
// io.EOF means that the input ended before the reply began. These are errors, too: a line over 4096 octets, a reply
// over 128 lines or 64 KiB, a line without a code from 200 to 599, a code that changes between lines, a bare CR or LF.
// After an error r can't be used any more.
func ReadReply(r *bufio.Reader) (*Reply, error) {
	return ReadReplyUnless(r, func(int) bool { return false })
}

// ReadReplyUnless is ReadReply, except that it returns nil for a reply for whose code hoped is true. That costs no
// allocation.
func ReadReplyUnless(r *bufio.Reader, hoped func(code int) bool) (*Reply, error) {
	var (
		reply Reply
		space [512]byte   // enough for most replies
		text  = space[:0] // of all lines
		buf   []byte      // for a line longer than r's buffer
		size  int
	)
	for n := 1; ; n++ {
		line, err := readLine(r, &buf)
		if err != nil {
			if err == io.EOF && n > 1 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		size += len(line)
		if n > maxReplyLines || size > maxReply {
			return nil, fmt.Errorf("smtp: reply over %d lines or %d octets", maxReplyLines, maxReply)
		}
		code, more, rest, ok := parseLine(line)
		if !ok || n > 1 && code != reply.Code {
			return nil, fmt.Errorf("smtp: malformed reply line %.64q", line)
		}
		reply.Code = code
		if n > 1 {
			text = append(text, '\n')
		}
		text = append(text, reply.cutEnhanced(rest)...)
		if !more {
			if hoped(reply.Code) {
				return nil, nil
			}
			kept := reply
			kept.Text = string(text)
			return &kept, nil
		}
	}
}

// readLine reads a line and returns it without its CRLF. The line is in r's buffer if it fits there, otherwise in *buf.
func readLine(r *bufio.Reader, buf *[]byte) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		*buf = (*buf)[:0]
		for err == bufio.ErrBufferFull && len(*buf) <= maxReplyLine {
			*buf = append(*buf, line...)
			line, err = r.ReadSlice('\n')
		}
		*buf = append(*buf, line...)
		line = *buf
	}
	if len(line) > maxReplyLine {
		return nil, fmt.Errorf("smtp: reply line over %d octets", maxReplyLine)
	}
	if err != nil {
		if err == io.EOF && len(line) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	text, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok || bytes.IndexByte(text, '\r') >= 0 {
		return nil, fmt.Errorf("smtp: bare CR or LF in reply line %.64q", line)
	}
	return text, nil
}

// parseLine splits a line into its code and its text. more reports whether another line follows.
func parseLine(line []byte) (code int, more bool, text []byte, ok bool) {
	if len(line) < 3 {
		return 0, false, nil, false
	}
	for _, c := range line[:3] {
		if c < '0' || c > '9' {
			return 0, false, nil, false
		}
		code = code*10 + int(c-'0')
	}
	if code < 200 || code > 599 {
		return 0, false, nil, false
	}
	if len(line) == 3 {
		return code, false, nil, true // RFC 5321 §4.2: the text is optional
	}
	if line[3] != ' ' && line[3] != '-' {
		return 0, false, nil, false
	}
	return code, line[3] == '-', clean(line[4:]), true
}

// clean replaces each control character, and each octet that isn't UTF-8, by "?". It changes text.
func clean(text []byte) []byte {
	for i := 0; i < len(text); {
		c, n := rune(text[i]), 1
		if c >= utf8.RuneSelf {
			c, n = utf8.DecodeRune(text[i:])
		}
		if c == utf8.RuneError && n == 1 || c < ' ' && c != '\t' || c == 0x7f {
			text[i] = '?'
		} else if c >= 0x80 && c < 0xa0 {
			text[i], text[i+1] = '?', '?'
		}
		i += n
	}
	return text
}

// cutEnhanced cuts the enhanced code from the start of a line's text, if it is that of the reply, or if the reply has
// none yet.
func (r *Reply) cutEnhanced(text []byte) []byte {
	code, rest, ok := parseEnhanced(text)
	if !ok || code[0] != r.Code/100 {
		return text
	}
	if r.Enhanced == (EnhancedCode{}) {
		r.Enhanced = code
	}
	if r.Enhanced != code {
		return text
	}
	return rest
}

// parseEnhanced parses "5.1.1", ended by a space or the end of the line (RFC 2034 §4). rest is the text after the
// space, nil if there is no space.
func parseEnhanced(text []byte) (code EnhancedCode, rest []byte, ok bool) {
	i := 0
	for part := range code {
		if part > 0 {
			if i == len(text) || text[i] != '.' {
				return code, nil, false
			}
			i++
		}
		start := i
		for i < len(text) && i < start+3 && text[i] >= '0' && text[i] <= '9' {
			code[part] = code[part]*10 + int(text[i]-'0')
			i++
		}
		if i == start {
			return code, nil, false
		}
	}
	if i == len(text) {
		return code, nil, true
	}
	if text[i] != ' ' {
		return code, nil, false
	}
	return code, text[i+1:], true
}
