package bounce

import (
	"strings"
	"unicode/utf8"

	"github.com/postrider/postrider/internal/mimetext"
)

const (
	maxLetterLines = 2000     // lines of prose that are looked at
	maxLetterLine  = 4 << 10  // octets of one of them
	maxCandidates  = 4 * 1000 // places that may name a recipient
)

// letter is the prose of a bounce, as its author wrote it: without the message that it returns, and without lines that
// it quotes.
type letter struct {
	lines    []string
	lower    []string // the same with ASCII in lower case
	original string   // the header of the message that it returns; "" if there is none
	own      []string // the addresses that are no recipients, in lower case: whom the mail is from and to

	all     []candidate      // what candidates returned
	byName  map[string][]int // for each address in lower case, the indices in all
	counter *int             // see document.work
}

// readLetter splits text where the original begins: at one of originalMarks, or at a header.
func (d *document) readLetter(text string) *letter {
	l := &letter{own: d.ownAddresses(), byName: make(map[string][]int), counter: &d.work}
	rest := text
	for rest != "" && len(l.lines) < maxLetterLines {
		line, after, _ := strings.Cut(rest, "\n")
		lower := strings.ToLower(clip(strings.TrimSpace(line), maxLetterLine))
		if containsAny(lower, originalMarks) && len(l.lines) > 0 && len(lower) < 120 {
			l.original = headerIn(after)
			if l.original != "" || isRule(line) {
				break
			}
		}
		if startsHeader(rest) {
			l.original = headerIn(rest)
			break
		}
		rest = after
		if strings.HasPrefix(lower, "> ") || lower == ">" {
			continue // quoted
		}
		line = clip(strings.TrimRight(line, " \t\u00a0"), maxLetterLine)
		l.lines, l.lower = append(l.lines, line), append(l.lower, lowerASCII(line))
		d.work += len(line)
	}
	l.all = l.candidates()
	for i, c := range l.all {
		name := strings.ToLower(c.address)
		l.byName[name] = append(l.byName[name], i)
	}
	return l
}

// isRule reports whether a line is set off by dashes or the like on its left.
func isRule(line string) bool {
	line = strings.TrimLeft(line, " \t|")
	return strings.HasPrefix(line, "--") || strings.HasPrefix(line, "==") || strings.HasPrefix(line, "**") ||
		strings.HasPrefix(line, "__")
}

// startsHeader reports whether text begins with a header as hosts write it: with a trace field (RFC 5321 §4.4) or a
// signature, and another field behind it. The lines that describe a message, such as "To: …", are no header.
func startsHeader(text string) bool {
	line, after, _ := strings.Cut(text, "\n")
	if !hasPrefixFold(line, "Received: ") && !hasPrefixFold(line, "Return-Path: ") &&
		!hasPrefixFold(line, "DKIM-Signature: ") && !hasPrefixFold(line, "X-Received: ") &&
		!hasPrefixFold(line, "Delivered-To: ") && !hasPrefixFold(line, "Authentication-Results: ") {
		return false
	}
	next, _, _ := strings.Cut(after, "\n")
	return next == "" || next[0] == ' ' || next[0] == '\t' || mimetext.IsField([]byte(clip(next, maxLetterLine)))
}

// headerIn returns the header that text begins with, after empty lines and lines of dashes. It returns "" if there is
// none.
func headerIn(text string) string {
	for range 8 {
		line, after, _ := strings.Cut(text, "\n")
		if strings.TrimSpace(line) != "" && !isRule(line) && !strings.HasSuffix(strings.TrimSpace(line), ":") ||
			after == "" {
			break
		}
		text = after
	}
	end := 0
	fieldLines := 0
	for end < len(text) && end < maxOriginal {
		line, _, _ := strings.Cut(text[end:], "\n")
		if line == "" || line[0] != ' ' && line[0] != '\t' && !mimetext.IsField([]byte(clip(line, maxLetterLine))) {
			break
		}
		fieldLines++
		end = min(end+len(line)+1, len(text))
	}
	if fieldLines < 2 {
		return ""
	}
	return text[:end]
}

// ownAddresses returns the addresses that the mail is from and to, in lower case.
func (d *document) ownAddresses() []string {
	var own []string
	for _, name := range []string{"From", "To", "Reply-To", "Delivered-To", "Return-Path", "Sender", "Cc"} {
		eachAddress(clip(d.header.Get(name), maxLetterLine), func(_, _ int, address string) bool {
			own = append(own, strings.ToLower(address))
			return len(own) < 50
		})
	}
	return own
}

func (l *letter) isOwn(address string) bool {
	for _, own := range l.own {
		if strings.EqualFold(own, address) {
			return true
		}
	}
	return false
}

// recipients returns the recipients that the letter is about: those of failed if it isn't empty, otherwise those that
// it names in the surest way.
func (l *letter) recipients(failed []string) []RecipientStatus {
	best := 0
	for _, c := range l.all {
		if !l.isOwn(c.address) {
			best = max(best, c.way)
		}
	}
	if len(failed) == 0 && best == 0 { // a mail to oneself, or one from the address that failed
		for _, c := range l.all {
			if c.way >= inSentence {
				failed = append(failed, c.address)
			}
		}
	}
	if len(failed) == 0 {
		for _, c := range l.all {
			if c.way == best && !l.isOwn(c.address) {
				failed = append(failed, c.address)
			}
		}
	}
	var list []RecipientStatus
	seen := make(map[string]bool)
	for _, address := range failed {
		name := strings.ToLower(address)
		if seen[name] || len(list) == maxRecipients {
			continue
		}
		seen[name] = true
		list = append(list, RecipientStatus{Address: address})
		list[len(list)-1].setProse(l.allWords(address))
	}
	return list
}

// allWords returns the words about all candidates with the address, without repetitions.
func (l *letter) allWords(address string) string {
	words, size := []string(nil), 0
	for _, i := range l.byName[strings.ToLower(address)] {
		if size >= maxWords {
			break
		}
		for _, line := range l.words(i) {
			*l.counter += len(line) + 1
			if size < maxWords && !contains(words, line) {
				words = append(words, line)
				size += len(line) + 1
			}
		}
	}
	return strings.Join(words, "\n")
}

func contains(lines []string, line string) bool {
	for _, l := range lines {
		if l == line {
			return true
		}
	}
	return false
}

// words returns the lines about the candidate with index i. In a transcript, they are the replies around the line.
// Otherwise they are the rest of the line and what follows up to the next candidate of the same way or, once there are
// words, up to an empty line or a rule.
func (l *letter) words(i int) []string {
	c := l.all[i]
	if c.way == inTranscript {
		return l.session(c.line)
	}
	end := len(l.lines)
	for _, next := range l.all[i+1:] {
		*l.counter++
		if next.way == c.way && next.line > c.line {
			end = next.line
			break
		}
	}
	var words []string
	size := 0
	if c.rest != "" && strings.ContainsFunc(c.rest, isLetterOrDigit) {
		words = append(words, c.rest)
	}
	loose := len(words) == 0 // the words begin after an empty line
	for k := c.line + 1; k < end && size < maxWords; k++ {
		*l.counter++
		line := strings.TrimSpace(l.lines[k])
		if line == "" || isRule(line) {
			if !loose && len(words) > 0 {
				break
			}
			continue
		}
		if line == "(reason: )" {
			continue
		}
		if k > c.line+1 && len(words) == 0 && l.lines[k-1] == "" {
			loose = true
		} else if len(words) == 0 {
			loose = false
		}
		words = append(words, line)
		size += len(line) + 1
	}
	return words
}

// session returns the line of a transcript with that index, and the replies around it. A reply follows its command; the
// mail system's own line about an address follows the reply that it is about.
func (l *letter) session(at int) []string {
	from, to := at, at+1
	if isCommand(l.lower[at]) {
		for to < len(l.lines) && to < at+16 && l.lines[to] != "" && !isCommand(l.lower[to]) && !isRule(l.lines[to]) {
			to++
		}
		return trimmed(l.lines[from:to])
	}
	for from > 0 && from > at-8 && strings.HasPrefix(strings.TrimSpace(l.lines[from-1]), "<<<") {
		from--
	}
	return trimmed(l.lines[from:to])
}

// isCommand reports whether a line in lower case has an SMTP command of a transcript.
func isCommand(lower string) bool {
	return containsAny(lower, commandWords)
}

var commandWords = []string{
	"rcpt to:", "mail from:", ">>> data", ">>> quit", ">>> rset", "in: data", "in: quit", "in: rset",
}

// trimmed returns lines without spaces at their ends.
func trimmed(lines []string) []string {
	out := make([]string, len(lines))
	for i, line := range lines {
		out[i] = strings.TrimSpace(line)
	}
	return out
}

func isLetterOrDigit(r rune) bool { return r >= utf8.RuneSelf || isWordByte(byte(r)) }
