package bounce

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The ways in which a line names a recipient, the surest last.
const (
	inList       = iota + 1 // behind a name, below "the following recipients …:", or behind "To:"
	inTranscript            // RCPT TO:<address>, or a reply that names it
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
			if from := strings.Index(line, address); !l.isContact(i, from, from+len(address)) {
				all = append(all, candidate{address, atStart, i, rest})
			}
			continue
		}
		lower, seen := l.lower[i], 0
		eachAddress(line, func(from, to int, address string) bool {
			way := 0
			before := trimOpening(lower[:from])
			_, after := sentence(lower, from, to)
			name := nameStart(line, from)
			nameless := trimOpening(lower[:name]) // before the name, or else the same
			switch {
			case strings.HasSuffix(before, "rcpt to:"), strings.HasSuffix(before, "rcpt to"):
				way = inTranscript
			case strings.HasSuffix(before, "mail from:"):
			case introduces(before) && !l.isHelp(i, from, to):
				way = inSentence
			case (startsWithCode(lower) || strings.HasPrefix(strings.TrimSpace(lower), "<<<")) &&
				!l.isHelp(i, from, to):
				way = inTranscript
			case containsAny(nameless, senderWords), isSender(lower[name:from]):
			case l.wasReplied(i, to), saysUndelivered(after),
				saysUndeliveredTo(nameless, after) && !l.isHelp(i, from, to):
				way = inSentence // behind a name
			}
			if way != 0 {
				all = append(all, candidate{address, way, i, strings.TrimLeft(line[to:], ">\"'):;,. \t")})
			}
			seen++
			return seen < maxInLine
		})
	}
	if !slices.ContainsFunc(all, func(c candidate) bool { return !l.isOwn(c.address) }) {
		all = append(all, l.listed()...)
	}
	return all
}

// maxInLine is how many addresses of a line are looked at, unless it begins with one. Each costs the length of the
// line.
const maxInLine = 16

// maxListed is how many lines below an introduction are looked at.
const maxListed = 6

// listed returns the addresses that stand anywhere in the lines below an introduction, or behind "To:". They are
// looked for in letters that name no recipient in a surer way.
func (l *letter) listed() []candidate {
	var all []candidate
	below := 0
	for i, line := range l.lines {
		if len(all) >= maxRecipients {
			break
		}
		*l.counter += len(line)
		lower := strings.TrimSpace(l.lower[i])
		below--
		if introducesList(lower) {
			below = maxListed
			continue
		}
		if below < 0 && !hasAnyPrefix(lower, toLabels) {
			continue
		}
		help := containsAny(lower, helpWords)
		eachAddress(line, func(from, to int, address string) bool {
			if l.isLabelled(i, from) || !help && !l.isContact(i, from, to) {
				all = append(all, candidate{address, inList, i, strings.TrimLeft(line[to:], ">\"'):;,. \t")})
			}
			return false
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

// nameStart returns where the display name begins that stands before an address in angle brackets at from: a quoted
// text, or words with capital letters. It returns from if there is none.
func nameStart(line string, from int) int {
	s, ok := strings.CutSuffix(line[:from], "<")
	if !ok {
		return from
	}
	s = strings.TrimRight(s, " \t")
	if quoted, ok := strings.CutSuffix(s, `"`); ok {
		if i := strings.LastIndexByte(quoted, '"'); i >= 0 {
			return i
		}
		return from
	}
	start := from
	for s != "" {
		i := strings.LastIndexAny(s, " \t") + 1
		if r, _ := utf8.DecodeRuneInString(s[i:]); !unicode.IsUpper(r) || strings.ContainsAny(s[len(s)-1:], ":;!?") {
			break
		}
		start, s = i, strings.TrimRight(s[:i], " \t")
	}
	return start
}

// isSender reports whether what looks like a name, in lower case, begins with a word for a sender.
func isSender(name string) bool {
	words := strings.Fields(name)
	return len(words) > 0 && slices.Contains(senderLabels, words[0])
}

// leading returns the address that a line begins with, after a bullet, and what follows.
func leading(line string) (address, rest string, ok bool) {
	s := strings.TrimLeft(line, " \t\u00a0*-•>")
	if len(s) < len(line) && strings.HasPrefix(strings.TrimLeft(line, " \t"), "<<<") {
		return "", "", false
	}
	if hasPrefixFold(s, "rfc822;") {
		s = strings.TrimLeft(s[len("rfc822;"):], " \t")
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
			r, size := utf8.DecodeLastRuneInString(s[done:from])
			if isWidePunct(r) || isIdeograph(r) && s[from] < utf8.RuneSelf && from < at {
				break
			}
			from -= size
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
	wide := false // the rune before i is an ideograph
	for i < len(s) && i < maxToken && isLocalByte(s[i]) {
		r, size := utf8.DecodeRuneInString(s[i:])
		if isWidePunct(r) || wide && s[i] < utf8.RuneSelf {
			return 0
		}
		wide = isIdeograph(r)
		i += size
	}
	if i == 0 || i == len(s) || s[i] != '@' {
		return 0
	}
	start := i + 1
	i = start
	for i < len(s) && i-start < 255 && (isWordByte(s[i]) || s[i] == '-' || s[i] == '.' || s[i] >= utf8.RuneSelf) {
		r, size := utf8.DecodeRuneInString(s[i:])
		if isWidePunct(r) || isIdeograph(r) && isWordByte(s[i-1]) {
			break
		}
		i += size
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

// isIdeograph reports whether r is of a script that is written without spaces. A text in it may touch an address in
// ASCII on both sides; an address may be in it, too (RFC 6531), but doesn't change to ASCII within its local part.
func isIdeograph(r rune) bool {
	return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul)
}

// isWidePunct reports whether r is a bracket, a comma or the like of such a text.
func isWidePunct(r rune) bool {
	return r >= 0x2000 && r <= 0x206f || r >= 0x3000 && r <= 0x3004 || r >= 0x3008 && r <= 0x3020 ||
		r >= 0xff00 && r <= 0xff20 || r >= 0xff3b && r <= 0xff40 || r >= 0xff5b && r <= 0xff65
}
