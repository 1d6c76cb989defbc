package bounce

import (
	"strings"
	"unicode/utf8"
)

// The ways in which a line names a recipient, the surest last.
const (
	inTranscript = iota + 1 // RCPT TO:<address>, or a reply that names it
	inSentence              // "could not be delivered to: address"
	atStart                 // the line begins with the address
)

// candidate is an address that a letter may be about.
type candidate struct {
	address string
	way     int
	line    int
	rest    string // what follows it in its line
}

// candidates returns the addresses that the letter names, in its order.
func (l *letter) candidates() []candidate {
	var all []candidate
	for i, line := range l.lines {
		if len(all) >= maxCandidates {
			break
		}
		*l.counter += len(line)
		if address, rest, ok := leading(line); ok {
			all = append(all, candidate{address, atStart, i, rest})
			continue
		}
		lower := l.lower[i]
		eachAddress(line, func(from, to int, address string) bool {
			way := 0
			before := strings.TrimRight(lower[:min(from, len(lower))], "<\"'([ \t*")
			switch {
			case strings.HasSuffix(before, "rcpt to:"), strings.HasSuffix(before, "rcpt to"):
				way = inTranscript
			case strings.HasSuffix(before, "mail from:"), containsAny(lower, helpWords):
			case introduces(before):
				way = inSentence
			case startsWithCode(lower) || strings.HasPrefix(strings.TrimSpace(lower), "<<<"):
				way = inTranscript
			}
			if way != 0 {
				all = append(all, candidate{address, way, i, strings.TrimLeft(line[to:], ">\"'):;,. \t")})
			}
			return true
		})
	}
	return all
}

// introduces reports whether an address that follows before, a text in lower case, is that of a recipient.
func introduces(before string) bool {
	text, colon := strings.CutSuffix(before, ":")
	text = strings.TrimSpace(text)
	if i := strings.LastIndexAny(text, " \t("); colon && i < 0 && !introducingLabels[text] {
		return false // a field: "From:", "Sender:"
	}
	for _, end := range introducingEnds {
		if strings.HasSuffix(text, end) && (len(text) == len(end) || !isWordByte(text[len(text)-len(end)-1])) {
			return true
		}
	}
	return colon && !containsAny(text, senderWords)
}

// leading returns the address that a line begins with, after a bullet, and what follows.
func leading(line string) (address, rest string, ok bool) {
	s := strings.TrimLeft(line, " \t\u00a0*-•>")
	if len(s) < len(line) && strings.HasPrefix(strings.TrimLeft(line, " \t"), "<<<") {
		return "", "", false
	}
	quote := byte(0)
	if s != "" && (s[0] == '<' || s[0] == '"' || s[0] == '\'') {
		quote = s[0]
		s = s[1:]
	}
	n := addressLen(s)
	if n == 0 {
		return "", "", false
	}
	address, rest = s[:n], s[n:]
	if quote != 0 {
		rest = strings.TrimLeft(rest, ">\"'")
	}
	return address, strings.TrimLeft(rest, " \t:.,;"), true
}

// eachAddress calls f with each address in s and its place, until f returns false.
func eachAddress(s string, f func(from, to int, address string) bool) {
	for done := 0; ; {
		at := strings.IndexByte(s[done:], '@')
		if at < 0 {
			return
		}
		at += done
		from := at
		for from > done && isLocalByte(s[from-1]) {
			from--
		}
		n := addressLen(s[from:])
		if n == 0 {
			done = at + 1
			continue
		}
		if !f(from, from+n, s[from:from+n]) {
			return
		}
		done = from + n
	}
}

// addressLen returns the length of the address that s begins with: a local part of the characters that are used in
// practice, "@", and a domain of two labels or a literal. It returns 0 if there is none.
func addressLen(s string) int {
	i := 0
	for i < len(s) && i < maxToken && isLocalByte(s[i]) {
		i++
	}
	if i == 0 || i == len(s) || s[i] != '@' {
		return 0
	}
	start := i + 1
	i = start
	for i < len(s) && i-start < 255 && (isWordByte(s[i]) || s[i] == '-' || s[i] == '.' || s[i] >= utf8.RuneSelf) {
		i++
	}
	domain := strings.TrimRight(s[start:i], ".-")
	if !strings.Contains(domain, ".") || domain[0] == '.' {
		return 0
	}
	return start + len(domain)
}

// isLocalByte reports whether c may be in a local part that isn't quoted. "=" is: VERP has it.
func isLocalByte(c byte) bool {
	return isWordByte(c) || c >= utf8.RuneSelf || strings.IndexByte(".!#$%&'*+-/=?^`{|}~", c) >= 0
}
