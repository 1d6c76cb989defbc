package server

import (
	"fmt"
	"slices"
	"strings"

	"github.com/postrider/postrider/server/internal/words"
	"github.com/postrider/postrider/smtp"
)

// Action is how a check treats mail that it finds bad, at RCPT.
type Action int

const (
	Refuse Action = iota // refuse the recipient with 554 5.7.1
	Defer                // refuse it with 451 4.7.1, so that the client tries again for some days
	Tag                  // accept it, and put a header field on the message
	Tell                 // accept it: findings are only reported, and kept for other checks
)

// Check returns an error for a number that is no Action.
func (a Action) Check() error {
	if a < Refuse || a > Tell {
		return fmt.Errorf("Action is %d: set it to Refuse, Defer, Tag or Tell", int(a))
	}
	return nil
}

// maxText bounds the text of Act in octets: a reply line has at most 512 (RFC 5321 §4.5.3.1.5).
const maxText = 400

// Act takes an Action, for a Rcpt func. It returns the error to return. text is for people, and may hold text from
// outside, such as a record of the DNS: it is cut at 400 octets, and each character other than printable ASCII becomes
// "?". With Tag, a header field of this name is added, unless a call for another recipient did. Its value is tag, and
// is folded; text isn't part of it. An unknown Action is Refuse.
func (s *Session) Act(a Action, text, name, tag string) error {
	switch a {
	case Tell:
		return nil
	case Defer:
		return smtp.NewReply(451, "4.7.1", words.Line(text, maxText))
	case Tag:
		if f := (Field{name, fold(name, words.Line(tag, maxText))}); !slices.Contains(s.marks.fields, f) {
			s.AddField(f)
		}
		return nil
	}
	return smtp.NewReply(554, "5.7.1", words.Line(text, maxText))
}

// fold returns text as the value of a header field: lines have up to 78 octets where spaces allow it (RFC 5322 §2.1.1).
func fold(name, text string) string {
	var b strings.Builder
	line := len(name) + 1
	for word := range strings.FieldsSeq(text) {
		if line+1+len(word) > 78 && line > len(name)+1 {
			b.WriteString("\r\n\t")
			line = 1
		} else {
			b.WriteByte(' ')
			line++
		}
		b.WriteString(word)
		line += len(word)
	}
	return b.String()
}
