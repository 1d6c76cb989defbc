package bounce

import (
	"cmp"
	"strings"

	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
)

// conclude sets the fields that follow from the others. context is what the mail says around the words of the host,
// such as the command that was refused.
func (r *RecipientStatus) conclude(context string) {
	if r.Status[1] == 0 && r.Status[2] == 0 && r.Reply != nil && r.Reply.Enhanced[0] != 0 {
		r.Status = r.Reply.Enhanced
	}
	if r.Status[1] == 0 && r.Status[2] == 0 {
		if code := findCode(r.Text); code[0] != 0 && (r.Status[0] == 0 || r.Status[0] == code[0]) {
			r.Status = code
		}
	}
	if r.Action == 0 {
		r.Action = Failed
		if r.Status[0] == 2 {
			r.Action = Delivered
		}
	}
	r.Reason, r.Hard = smtp.NoReason, false
	if r.Action != Failed && r.Action != Delayed {
		return
	}
	stage := stageOf(r.Text + "\n" + context)
	var byCode bool
	r.Reason, byCode = r.reason(stage)
	if byCode && r.Reason == smtp.Other {
		r.Reason = byWords(context)
	}
	r.Hard = r.Reason.Hard() && r.isPermanent() && !r.isDoubtful(stage)
}

// isPermanent reports whether the message failed for good at its first attempt: RFC 3464 §2.3.3 has failures with the
// class 4, for which time ran out.
func (r *RecipientStatus) isPermanent() bool {
	return r.Action == Failed && r.Status[0] != 4 && (r.Reply == nil || !r.Reply.Temporary())
}

// isDoubtful reports whether a few words alone state that the address is unknown, and the rest contradicts them. Hosts
// that filter for their users, those of Japanese mobile networks for example, take the recipient and refuse the message
// with no more than "unknown user", or give a code that is about something else (RFC 3463 §3): X.2.0 means that the
// mailbox exists, X.3 is about the host, X.6 about the message. X.7 isn't among them: programs let a rule of the
// administrator refuse unknown users, too.
func (r *RecipientStatus) isDoubtful(stage smtp.Stage) bool {
	switch {
	case r.Status[1] == 1:
		return false
	case r.Status[1] == 3, r.Status[1] == 6, r.Status[1] == 2 && r.Status[2] == 0:
		return true
	}
	return stage >= smtp.StageData && strings.Count(plainWords(r.Text), " ") < 4
}

// maxRemark bounds the octets of a remark in prose that is read as a reply is.
const maxRemark = 240

// reason returns the cause by Status, Reply and Text. byCode is true if no words say it.
func (r *RecipientStatus) reason(stage smtp.Stage) (cause smtp.Reason, byCode bool) {
	reply := &smtp.Reply{Code: 550, Enhanced: r.Status}
	if r.Reply == nil {
		// Prose has words of courtesy that are no part of a reply. Its own words are looked for first, and a letter as
		// a whole isn't read as a reply.
		if reason := byWords(r.Text); reason != smtp.Other {
			return reason, false
		}
		if len(r.Text) <= maxRemark {
			reply.Text = r.Text
		}
	}
	if r.Status[0] == 4 || r.Action == Delayed {
		reply.Code = 450
	}
	if r.Reply != nil {
		reply.Code, reply.Text = r.Reply.Code, r.Reply.Text
		if r.Reply.Enhanced[0] != 0 {
			reply.Enhanced = r.Reply.Enhanced
		}
	}
	m := replies.Classify(reply, stage, r.RemoteMTA)
	if !m.ByCode && m.Reason != smtp.NoReason {
		return m.Reason, false
	}
	if reason := byWords(r.Text); reason != smtp.Other {
		return reason, false
	}
	return cmp.Or(m.Reason, smtp.Other), true // NoReason: it wasn't a refusal
}

// byWords returns the first Reason in mailerWords whose words stand in text, or Other. In a sentence about us, the
// sender or a server, the words for a mailbox don't count: "your IP address isn't found", "the server has no space".
func byWords(text string) smtp.Reason {
	text = plainWords(text)
	for _, w := range mailerWords {
		var others []string
		switch w.reason {
		case smtp.UserUnknown, smtp.MailboxDisabled:
			others = ourWords
		case smtp.MailboxFull:
			others = serverWords
		}
		if states(text, w.words, others) {
			return w.reason
		}
	}
	return smtp.Other
}

// states reports whether text has one of words in a sentence that has none of others.
func states(text string, words, others []string) bool {
	if len(others) == 0 || !containsAny(text, others) {
		return containsAny(text, words)
	}
	for sentence := range strings.FieldsFuncSeq(text, isSentenceEnd) {
		if containsAny(sentence, words) && !containsAny(sentence, others) {
			return true
		}
	}
	return false
}

func isSentenceEnd(r rune) bool { return strings.ContainsRune(".;!?。；！？", r) }

// plainWords returns text in lower case and in one line, without addresses and the paths of URLs: their words mean
// nothing.
func plainWords(text string) string {
	words := strings.Fields(strings.ToLower(clip(text, 4*maxWords)))
	kept := words[:0]
	for _, w := range words {
		if _, url, ok := strings.Cut(w, "://"); ok {
			w, _, _ = strings.Cut(url, "/")
		}
		if !strings.Contains(w, "@") {
			kept = append(kept, w)
		}
	}
	return strings.Join(kept, " ")
}

// stages are the ways in which mail systems name the command that a host refused, in lower case. The last one in a text
// counts.
var stages = []struct {
	words string
	stage smtp.Stage
}{
	{"initial connection", smtp.StageConnect},
	{"connected to", smtp.StageConnect},
	{"mail from", smtp.StageMail},
	{"rcpt to", smtp.StageRcpt},
	{"rcpt_to", smtp.StageRcpt},
	{"does not like recipient", smtp.StageRcpt},
	{">>> data", smtp.StageData},
	// With PIPELINING, sendmail has sent DATA when the replies to RCPT arrive. Its own line then says what they were
	// to.
	{"... user unknown", smtp.StageRcpt},
	{"no valid recipients", smtp.StageRcpt},
	{"to data command", smtp.StageData},
	{"end of data", smtp.StageFinal},
	{"final data", smtp.StageFinal},
	{"after i sent the message", smtp.StageFinal},
}

// stageOf returns the stage at which a host refused a message, as the words about it say. If they don't, it is RCPT.
func stageOf(text string) smtp.Stage {
	text = strings.Join(strings.Fields(lowerASCII(clip(text, 2*maxWords))), " ")
	at, stage := -1, smtp.StageRcpt
	for _, s := range stages {
		if i := strings.LastIndex(text, s.words); i > at {
			at, stage = i, s.stage
		}
	}
	return stage
}
