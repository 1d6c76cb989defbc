package bounce

import (
	"strings"
	"unicode/utf8"

	"github.com/postrider/postrider/smtp"
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
	return next == "" || next[0] == ' ' || next[0] == '\t' || isField([]byte(clip(next, maxLetterLine)))
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
		if line == "" || line[0] != ' ' && line[0] != '\t' && !isField([]byte(clip(line, maxLetterLine))) {
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
		eachAddress(clip(d.header.get(name), maxLetterLine), func(_, _ int, address string) bool {
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

// recipients returns the recipients that the letter is about: those of failed if it isn't empty, otherwise those that it
// names in the surest way.
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
	return containsAny(lower, []string{"rcpt to:", "mail from:", ">>> data", ">>> quit", ">>> rset", "in: data", "in: quit", "in: rset"})
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

// setProse sets Reply, Status, RemoteMTA and Text from words that a host wrote for a person.
func (r *RecipientStatus) setProse(words string) {
	r.Text = clip(words, maxWords)
	r.Reply, r.Local = nil, true
	if at := findReply(r.Text); at >= 0 {
		r.Reply, _ = readReply(r.Text[at:])
		r.Local = false
	}
	if r.Reply != nil && r.Reply.Enhanced != (smtp.EnhancedCode{}) {
		r.Status = r.Reply.Enhanced
	} else {
		r.Status = findCode(r.Text)
	}
	r.RemoteMTA = findHost(r.Text)
}

// findReply returns the index of the first reply code in words, or -1. A number is one if its first digit is 4 or 5, and
// it begins a line or follows ":", "said", a quote or a bracket.
func findReply(words string) int {
	for i := 0; i+3 <= len(words); i++ {
		if words[i] != '4' && words[i] != '5' {
			continue
		}
		if _, _, ok := cutReplyCode(firstLine(words[i:])); !ok {
			continue
		}
		before := strings.TrimRight(lastLine(words[:i]), " \t")
		if before == "" || strings.ContainsAny(before[len(before)-1:], ":;><'\"[(=#") || hasSuffixFold(before, "said") ||
			hasSuffixFold(before, "code") || hasSuffixFold(before, "with") || hasSuffixFold(before, "error") ||
			hasSuffixFold(before, "responsecode") || hasSuffixFold(before, "...") {
			return i
		}
	}
	return -1
}

// findCode returns the first status code in words, or the zero code. A code stands alone: it isn't part of an address.
func findCode(words string) smtp.EnhancedCode {
	for i := 0; i+5 <= len(words); i++ {
		if words[i] != '4' && words[i] != '5' || words[i+1] != '.' ||
			i > 0 && (isWordByte(words[i-1]) || words[i-1] == '.' || words[i-1] == '-') {
			continue
		}
		if code, _ := cutCode(words[i:]); code[0] != 0 {
			return code
		}
	}
	return smtp.EnhancedCode{}
}

// findHost returns the name of the first host in words that has its address behind it: "mx.example.net [192.0.2.1]".
func findHost(words string) string {
	for i := 1; i+1 < len(words); i++ {
		if words[i] != '[' && words[i] != '(' || words[i+1] < '0' || words[i+1] > '9' {
			continue
		}
		before := strings.TrimRight(words[max(0, i-256):i], " \n")
		from := len(before)
		for from > 0 && (isWordByte(before[from-1]) || before[from-1] == '-' || before[from-1] == '.') {
			from--
		}
		name := strings.Trim(before[from:], ".")
		if from > 0 && before[from-1] == '@' || !strings.Contains(name, ".") ||
			!strings.ContainsAny(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
			continue
		}
		return name
	}
	return ""
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(clip(s, 16), "\n")
	return line
}

func lastLine(s string) string {
	s = s[max(0, len(s)-200):]
	return s[strings.LastIndexByte(s, '\n')+1:]
}

func startsWithCode(line string) bool {
	_, _, ok := cutReplyCode(strings.TrimLeft(line, " \t"))
	return ok
}

// lowerASCII returns s with A to Z in lower case. Unlike strings.ToLower, it changes no length.
func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func containsAny(s string, words []string) bool {
	for _, w := range words {
		if strings.Contains(s, w) {
			return true
		}
	}
	return false
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func hasSuffixFold(s, suffix string) bool {
	return len(s) >= len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix)
}
