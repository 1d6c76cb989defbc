package bounce

import (
	"strings"

	"github.com/postrider/postrider/smtp"
)

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

// findReply returns the index of the first reply code in words, or -1. A number is one if its first digit is 4 or 5,
// and it begins a line or follows ":", "said", a quote or a bracket.
func findReply(words string) int {
	for i := 0; i+3 <= len(words); i++ {
		if words[i] != '4' && words[i] != '5' {
			continue
		}
		if _, _, ok := cutReplyCode(firstLine(words[i:])); !ok {
			continue
		}
		before := lowerASCII(strings.TrimRight(lastLine(words[:i]), " \t"))
		if before == "" || hasAnySuffix(before, beforeReply) {
			return i
		}
	}
	return -1
}

// beforeReply are the ends of a text that a reply follows, in lower case.
var beforeReply = []string{
	":", ";", ">", "<", "'", `"`, "[", "(", "=", "#", "...", "said", "code", "with", "error",
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

func hasAnySuffix(s string, suffixes []string) bool {
	for _, suffix := range suffixes {
		if strings.HasSuffix(s, suffix) {
			return true
		}
	}
	return false
}

func hasSuffixFold(s, suffix string) bool {
	return len(s) >= len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix)
}
