package bounce

import (
	"strings"
	"time"

	"github.com/postrider/postrider/smtp"
)

// Texts are the sentences of a report in one language. [English] and [Portuguese] return complete ones. Use them as
// they are, change some texts, or translate all of them:
//
//	english := bounce.English() // one sentence is replaced
//	why := english.Reasons[smtp.MailboxFull]
//	why.Advice = "Call the recipient."
//	english.Reasons[smtp.MailboxFull] = why
//
//	german := bounce.English()
//	german.Language, german.Date = "de", "02.01.2006 15:04 (UTC -0700)"
//	german.Subject[bounce.Failed] = "Ihre Nachricht konnte nicht zugestellt werden"
//	…
//
// A text may have these values, where its comment names them:
//
//	{host}     a host, with its address if that is known: mx.example.net (192.0.2.25)
//	{address}  an address: bob@example.net
//	{date}     a time, in the layout Date
//	{subject}  the Subject of the message, decoded
//	{n}        a number
//
// Texts are in UTF-8. The report encodes them as they need, folds their lines, and decides on their order. An empty
// text is left out, except that an empty From, Date or Subject is that of English. Texts must not change while a Report
// with them composes; several Reports may have the same.
type Texts struct {
	// Language is the tag of the language for the field Content-Language (RFC 3282, RFC 5646), "en" for example. If
	// empty, the field is omitted.
	Language string

	// From is the name in the From field. The address behind it is that of the postmaster.
	From string

	// Date is the layout of {date}, as for [time.Time.Format], which knows the names of months and weekdays in English
	// only.
	Date string

	// Subject has the Subject of a report for each Action. The most severe one of a report applies.
	Subject map[Action]string

	// Intro is the first sentence. Its {host} is the host that reports.
	Intro string

	// About and Accepted are lines about the message: its {subject}, and the {date} at which this host accepted it. A
	// report to a stranger, or on a message with REQUIRETLS, has no About.
	About, Accepted string

	// List has the sentence before the recipients with each Action.
	List map[Action]string

	// SentTo stands after a recipient whose {address} isn't the one that the sender has used.
	SentTo string

	// Reasons has the texts about each cause of a failure or delay. A Reason that isn't in it has the texts of
	// smtp.Other.
	Reasons map[smtp.Reason]ReasonTexts

	// RequireTLS has the texts about a host that can't have a message with REQUIRETLS (RFC 8689): one with 5.7.10 or
	// 5.7.30. If it is zero, the texts are those of Reasons.
	RequireTLS ReasonTexts

	// Tried is about a recipient that failed because the time for attempts ended, TriedUntil one whose last attempt was
	// at {date}, and Untried one without any attempt.
	Tried, TriedUntil, Untried string

	// Unknown replaces the advice if the message may have arrived in spite of the failure.
	Unknown string

	// Retry and RetryUntil, with a {date}, are about a delayed recipient. Told follows if its failure will be reported.
	Retry, RetryUntil, Told string

	// Answered stands before the reply of a {host}, AnsweredHere before that of a host whose name isn't known or isn't
	// disclosed. FailedAt stands before the error of a session with {host}, and Details before any other error.
	Answered, AnsweredHere, FailedAt, Details string

	// TakenBy has the {host} that a message was relayed to.
	TakenBy string

	// Members is about an alias: there are no reports on deliveries to its members. MembersTold follows if their
	// failures will be reported.
	Members, MembersTold string

	// Others has the number {n} of recipients that the report omits.
	Others string

	// HeaderAttached and MessageAttached state what the report returns. Help follows; its {host} is the host that
	// reports.
	HeaderAttached, MessageAttached, Help string
}

// ReasonTexts are the texts about a smtp.Reason, for a person who knows nothing of SMTP.
type ReasonTexts struct {
	// What is what happened. It must be true of a delay as well as of a failure.
	What string

	// Advice is what the sender can do about a failure. It follows What in the same paragraph and may refer to it:
	// "Check it" is about the address of What. A report on a delay omits it.
	Advice string
}

// orEnglish returns t, or English if t is nil, with a From, a Date and each Subject.
func (t *Texts) orEnglish() *Texts {
	english := English()
	if t == nil {
		return english
	}
	whole := *t
	whole.Subject = make(map[Action]string)
	for action, subject := range english.Subject {
		whole.Subject[action] = orText(t.Subject[action], subject)
	}
	whole.From, whole.Date = orText(t.From, english.From), orText(t.Date, english.Date)
	return &whole
}

func orText(s, otherwise string) string {
	if strings.TrimSpace(s) == "" {
		return otherwise
	}
	return s
}

// why returns the texts about a reason.
func (t *Texts) why(reason smtp.Reason) ReasonTexts {
	if texts, ok := t.Reasons[reason]; ok {
		return texts
	}
	return t.Reasons[smtp.Other]
}

// whyOf returns the texts about a recipient of a message, which may have REQUIRETLS.
func (t *Texts) whyOf(rcpt *Recipient, requireTLS bool) ReasonTexts {
	if r := rcpt.Result.Reply; requireTLS && r != nil && t.RequireTLS != (ReasonTexts{}) &&
		(r.Enhanced == smtp.EnhancedCode{5, 7, 10} || r.Enhanced == smtp.EnhancedCode{5, 7, 30}) {
		return t.RequireTLS // RFC 8689 §4.2.1
	}
	return t.why(rcpt.reason())
}

// date returns a time in the layout of the language.
func (t *Texts) date(at time.Time) string { return at.Format(t.Date) }

// fill returns a text with a value in place of name. The value is not searched for other names.
func fill(text, name, value string) string { return strings.ReplaceAll(text, "{"+name+"}", value) }
