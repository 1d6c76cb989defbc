package compose

import (
	"net/mail"
	"strconv"
	"strings"

	"github.com/postrider/postrider/smtp"
)

// Lines of a header end at 76 octets where a space allows it, as those with an encoded-word must (RFC 2047 §2), and
// have 998 at most (RFC 5322 §2.1.1).
const (
	softLine = 76
	maxToken = 900 // octets of a word that is kept on one line, with room for a field's name
)

// header is a header in the making. Its methods write what was checked.
type header struct {
	b   []byte
	col int // octets in the last line
}

func (h *header) raw(s string) {
	h.b = append(h.b, s...)
	h.col += len(s)
}

func (h *header) begin(name string) {
	h.col = 0
	h.raw(name)
	h.raw(":")
}

func (h *header) end() { h.b = append(h.b, "\r\n"...) }

func (h *header) fold() {
	h.b = append(h.b, "\r\n "...)
	h.col = 1
}

// word appends a word, with a space before it or in a new line. The first word stays with the name of its field: some
// hosts change a first line without a word, and break signatures by that.
func (h *header) word(s string) {
	if h.col+len(" ")+len(s) > softLine && h.b[len(h.b)-1] != ':' {
		h.fold()
	} else {
		h.raw(" ")
	}
	h.raw(s)
}

// field appends a field of words.
func (h *header) field(name string, words ...string) {
	h.begin(name)
	for _, w := range words {
		h.word(w)
	}
	h.end()
}

// text appends a field of free text (RFC 5322 §2.2.1).
func (h *header) text(name, value string) {
	h.begin(name)
	if needsWords(value) {
		h.encoded(value)
	} else {
		h.folded(value)
	}
	h.end()
}

// folded appends a value in ASCII, in lines that begin at its spaces.
func (h *header) folded(value string) {
	for first := true; value != ""; first = false {
		spaces := len(value) - len(strings.TrimLeft(value, " "))
		end := strings.IndexByte(value[spaces:], ' ')
		if end < 0 {
			end = len(value) - spaces
		}
		if first {
			h.raw(" ")
		} else if h.col+spaces+end > softLine {
			h.b, h.col = append(h.b, "\r\n"...), 0 // unfolding takes out the CRLF, and leaves the spaces
		}
		h.raw(value[:spaces+end])
		value = value[spaces+end:]
	}
}

// needsWords reports whether text has to be encoded to be read as it is.
func needsWords(s string) bool {
	return !isASCII(s) || looksEncoded(s) || strings.TrimSpace(s) != s || hasLongWord(s)
}

// hasLongWord reports whether a word, with the spaces before it, has no room on a line.
func hasLongWord(s string) bool {
	run, word := 0, false // octets of spaces and the word after them
	for i := range len(s) {
		if s[i] == ' ' && word {
			run, word = 0, false
		}
		word = s[i] != ' '
		if run++; run > maxToken {
			return true
		}
	}
	return false
}

// addresses appends a field of addresses (RFC 5322 §3.4). They are checked, with domains as A-labels.
func (h *header) addresses(name string, list []mail.Address) {
	h.begin(name)
	for i, a := range list {
		comma := ","
		if i == len(list)-1 {
			comma = ""
		}
		h.phrase(a.Name)
		h.word("<" + a.Address + ">" + comma)
	}
	h.end()
}

const maxQuoted = 255 // octets of a name in quotes, which isn't folded

// phrase appends a display name, if there is one.
func (h *header) phrase(name string) {
	switch {
	case name == "":
	case !isASCII(name), len(name) > maxQuoted, strings.Contains(name, "=?"), strings.TrimSpace(name) != name:
		h.encoded(name)
	case isAtoms(name):
		for word := range strings.SplitSeq(name, " ") {
			h.word(word)
		}
	default:
		h.word(`"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`)
	}
}

// isAtoms reports whether a name is atoms with single spaces between them (RFC 5322 §3.2.3).
func isAtoms(name string) bool {
	for i := range len(name) {
		c := name[i]
		if c == ' ' && name[i-1] == ' ' || c != ' ' && !isLetter(c) && strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) < 0 {
			return false
		}
	}
	return true
}

func isLetter(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// ascii returns addresses with their domains as A-labels, and whether one of them still needs SMTPUTF8.
func ascii(list []mail.Address) (out []mail.Address, utf8 bool) {
	out = make([]mail.Address, len(list))
	for i, a := range list {
		address, ok := smtp.ASCIIAddress(a.Address)
		out[i] = mail.Address{Name: a.Name, Address: address}
		utf8 = utf8 || !ok
	}
	return out, utf8
}

func itoa(i int) string { return strconv.Itoa(i) }
