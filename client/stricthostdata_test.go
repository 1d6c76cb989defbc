package client

import (
	"bytes"
	"io"
	"strconv"
	"strings"
)

// data is RFC 5321 §4.1.1.4, its dots unstuffed (§4.5.2).
func (h *strictHost) data() bool {
	m := h.open
	if m == nil || len(m.rcpts) == 0 || m.chunked || m.params["BODY"] == "BINARYMIME" {
		return h.refuse("DATA out of place")
	}
	h.say("354 go")
	for {
		line, ok := h.line(1 << 30) // RFC 5321 §4.5.3.1: long lines SHOULD be avoided, no more
		if !ok {
			return false
		}
		if line == "." {
			break
		}
		if strings.HasPrefix(line, ".") && !strings.HasPrefix(line, "..") {
			return h.refuse("a dot that isn't doubled: %.40q", line)
		}
		m.content = append(append(m.content, strings.TrimPrefix(line, ".")...), "\r\n"...)
	}
	return h.last("the final dot") && h.commit()
}

// bdat is RFC 3030 §2.
func (h *strictHost) bdat(args string) bool {
	m := h.open
	if m == nil || len(m.rcpts) == 0 || !h.has(offerChunking) {
		return h.refuse("BDAT out of place")
	}
	size, word, spaced := strings.Cut(args, " ")
	n, err := strconv.ParseInt(size, 10, 32)
	if err != nil || strings.Trim(size, "0123456789") != "" || spaced && asciiUpper(word) != "LAST" {
		return h.refuse("BDAT %q", args)
	}
	m.chunked = true
	chunk, err := io.ReadAll(io.LimitReader(h.in, n))
	m.content = append(m.content, chunk...)
	if err != nil || len(chunk) < int(n) {
		return false
	}
	if !h.has(offerPipelining) && !h.last("BDAT") {
		return false
	}
	if spaced {
		return h.commit()
	}
	h.say("250 2.0.0 ok")
	return true
}

// commit looks whether the content is what MAIL said, and takes it.
func (h *strictHost) commit() bool {
	m := h.open
	body := m.params["BODY"]
	if !isASCIIText(bodyOf(string(m.content))) && body != "8BITMIME" && body != "BINARYMIME" {
		return h.refuse("8-bit content without BODY")
	}
	if b := bytes.ReplaceAll(m.content, []byte("\r\n"), nil); body != "BINARYMIME" && bytes.ContainsAny(b, "\r\n\x00") {
		return h.refuse("bare CR, bare LF or NUL in the content")
	}
	if size, ok := m.params["SIZE"]; ok && size != strconv.Itoa(len(m.content)) && size != strconv.Itoa(len(m.content)-2) {
		return h.refuse("SIZE=%s before %d octets", size, len(m.content))
	}
	m.committed, h.open = true, nil
	replies := 1
	if h.has(speaksLMTP) {
		replies = len(m.rcpts) // RFC 2033 §4.2
	}
	for range replies {
		h.say("250 2.0.0 taken")
	}
	return true
}

// bodyOf is what stands after the header.
func bodyOf(content string) string { return content[len(headerOf(content)):] }

// headerOf is what stands before the empty line (RFC 5322 §2.1).
func headerOf(content string) string {
	if strings.HasPrefix(content, "\r\n") {
		return ""
	}
	header, _, _ := strings.Cut(content, "\r\n\r\n")
	return header
}
