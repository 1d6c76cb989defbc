package smtp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Bounds of ReadReply. RFC 5321 §4.5.3.1.5 allows lines of 512 octets. Hosts send longer ones.
const (
	maxReplyLine  = 4096      // octets, CRLF included
	maxReplyLines = 128       // of one reply; RFC 5321 has no bound, and replies to EHLO have fewer than 40
	maxReply      = 64 * 1024 // octets of one reply, skipped lines included
	maxSkipped    = 16        // lines without a code, before or inside one reply
)

// ReadReply reads one reply of one or more lines (RFC 5321 §4.2.1). The enhanced code moves from the text of each line
// to Enhanced, if its class is that of the code (RFC 2034 §4). Control characters and octets that aren't UTF-8 become
// "?", so that the text can be logged.
//
// The Code is from 200 to 599. Codes that RFC 5321 doesn't have are read, too: they count by their first digit (§4.2).
// In three points, ReadReply reads what the RFC doesn't allow:
//   - A line without a code is skipped, before the reply or inside it: an empty line, or text that doesn't begin with
//     a number of exactly three digits. Its text is dropped.
//   - If the code changes between lines, the code of the last line counts. The Text has all lines. So "220-wait" and
//     "521 blocked" are a reply with the code 521. A 2xx or 3xx after a 4xx or 5xx in the same reply is an error.
//   - CRs before the CRLF of a line are dropped. A host whose text already ends in CRLF may send CR CR LF.
//
// io.EOF means that the input ended before the reply began. These are errors, too: a line over 4096 octets, a reply
// over 128 lines or 64 KiB, more than 16 lines without a code, such a line with a control character other than tab, the
// greeting of another protocol (HTTP, SSH, POP3, IMAP), a code under 200 or over 599, a code without a space, a tab, a
// hyphen or the line end after it, any other bare CR, a bare LF. After an error r can't be used any more.
func ReadReply(r *bufio.Reader) (*Reply, error) {
	reply, _, err := ReadReplyUnless(r, nil)
	return reply, err
}

// ReadReplyUnless is ReadReply, except that it returns nil for a reply for whose code hoped is true. That costs no
// allocation. If hoped is nil, no code is. irregular reports that a line was skipped, or that the code changed between
// lines. A skipped line may have stood in place of a reply, so the replies after it may belong to earlier commands.
func ReadReplyUnless(r *bufio.Reader, hoped func(code int) bool) (reply *Reply, irregular bool, err error) {
	var (
		read    Reply
		space   [512]byte   // enough for most replies
		text    = space[:0] // of all lines
		buf     []byte      // for a line longer than r's buffer
		size    int
		lines   int // with a code
		skipped int // lines without one
	)
	if r == nil {
		return nil, false, errors.New("smtp: the reader is nil: set it to one of the connection")
	}
	for {
		line, err := readLine(r, &buf)
		if err != nil {
			if err == io.EOF && lines > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, false, err
		}
		if !hasCode(line) {
			skipped++
		} else {
			lines++
		}
		size += len(line)
		switch {
		case lines > maxReplyLines:
			return nil, false, fmt.Errorf("smtp: reply over %d lines", maxReplyLines)
		case size > maxReply:
			return nil, false, fmt.Errorf("smtp: reply over %d octets", maxReply)
		case skipped > maxSkipped:
			return nil, false, fmt.Errorf("smtp: reply with over %d lines without a code", maxSkipped)
		}
		if !hasCode(line) {
			if !isText(line) || isOtherProtocol(line) {
				return nil, false, fmt.Errorf("smtp: malformed reply line %.64q", line)
			}
			continue
		}
		code, more, rest, ok := parseLine(line)
		if !ok || lines > 1 && !read.goesOn(code) {
			return nil, false, fmt.Errorf("smtp: malformed reply line %.64q", line)
		}
		irregular = irregular || skipped > 0 || lines > 1 && code != read.Code
		read.setCode(code)
		if lines > 1 {
			text = append(text, '\n')
		}
		text = append(text, read.cutEnhanced(rest)...)
		if !more {
			if hoped != nil && hoped(read.Code) {
				return nil, irregular, nil
			}
			kept := read
			kept.Text = string(text)
			return &kept, irregular, nil
		}
	}
}

// goesOn reports whether a line with a code may follow the lines so far. RFC 5321 §4.2.1: the codes are the same. A
// positive code after a refusal would hide the refusal.
func (r *Reply) goesOn(code int) bool { return r.Code < 400 || code >= 400 }

// setCode sets the code to that of the next line.
func (r *Reply) setCode(code int) {
	if code/100 != r.Code/100 {
		r.Enhanced = EnhancedCode{} // RFC 2034 §4: its class is that of the code
	}
	r.Code = code
}

// hasCode reports whether a line begins with a number of exactly three digits.
func hasCode(line []byte) bool {
	digits := 0
	for digits < len(line) && line[digits] >= '0' && line[digits] <= '9' {
		digits++
	}
	return digits == 3
}

// isText reports whether a line has no control character other than tab.
func isText(line []byte) bool {
	for _, c := range line {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// isOtherProtocol reports whether a line begins as the first line of a server for HTTP, SSH, POP3 or IMAP. No reply
// follows it, so it isn't skipped.
func isOtherProtocol(line []byte) bool {
	for _, prefix := range [...]string{"HTTP/", "SSH-", "+OK", "-ERR", "* OK ", "* BYE ", "* PREAUTH "} {
		if bytes.HasPrefix(line, []byte(prefix)) {
			return true
		}
	}
	return false
}

// readLine reads a line and returns it without its CRLF, and without CRs before that. The line is in r's buffer if it
// fits there, otherwise in *buf.
func readLine(r *bufio.Reader, buf *[]byte) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		*buf = (*buf)[:0]
		for err == bufio.ErrBufferFull && len(*buf) <= maxReplyLine && len(line) > 0 {
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
	text = bytes.TrimRight(text, "\r")
	if !ok || bytes.IndexByte(text, '\r') >= 0 {
		return nil, fmt.Errorf("smtp: bare CR or LF in reply line %.64q", line)
	}
	return text, nil
}

// parseLine splits a line that hasCode into its code and its text. more reports whether another line follows.
func parseLine(line []byte) (code int, more bool, text []byte, ok bool) {
	for _, c := range line[:3] {
		code = code*10 + int(c-'0')
	}
	if code < 200 || code > 599 {
		return 0, false, nil, false
	}
	if len(line) == 3 {
		return code, false, nil, true // RFC 5321 §4.2: the text is optional
	}
	if line[3] != ' ' && line[3] != '-' && line[3] != '\t' {
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
