package inbox

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/internal/quota"
	"github.com/postrider/postrider/smtp"
)

// Switches are what a receiver may do to mail. The zero Switches accept all.
type Switches struct {
	// Refuse are refusals. The first one that matches applies. If empty, nothing is refused by them. At most 100.
	Refuse []Refusal

	// Greylist defers each recipient with 451 4.7.1 until this time has passed since the first attempt with the same
	// client address, sender and recipient. If zero, nothing is deferred. At most 7 days.
	Greylist time.Duration

	// Quotas bound the messages of a party, as large receivers do. If empty, there are none.
	Quotas []Quota

	// Stalls let clients wait. The first one for a moment applies. If empty, all are answered at once. At most 100.
	Stalls []Stall

	// SevenBit neither offers 8BITMIME nor SMTPUTF8, from the next EHLO of a session on, and refuses a message with
	// octets above 127 with 554 5.6.1.
	SevenBit bool
}

// Moment is a moment of a session at which an Inbox answers.
type Moment string

// The moments.
const (
	AtConnect Moment = "connect" // the greeting
	AtMail    Moment = "mail"    // MAIL
	AtRcpt    Moment = "rcpt"    // RCPT
	AtData    Moment = "data"    // the end of the message, which has then been sent as a whole
)

func (m Moment) check() error {
	switch m {
	case AtConnect, AtMail, AtRcpt, AtData:
		return nil
	}
	return fmt.Errorf("the moment is %q: use connect, mail, rcpt or data", string(m))
}

// Refusal answers with a reply instead of accepting. Its text form is the moment, the address and the reply:
//
//	rcpt example.net 550 5.7.1 we want no mail
//	rcpt bob@example.net 452 4.2.2 the mailbox is full
//	data * 451 4.7.1 try again later
type Refusal struct {
	At Moment

	// Who is an address or a domain, in upper or lower case: of the sender at AtMail, of the recipient at AtRcpt, and
	// of any of the recipients at AtData. "<>" is the null reverse-path. If empty, or "*", the Refusal is for all. At
	// AtConnect, it must be empty.
	Who string

	// Reply has a code of 400 to 599, and text in ASCII. With 421, the connection is closed after it.
	Reply *smtp.Reply
}

func (r *Refusal) matches(at Moment, address string) bool {
	return r.At == at && (r.Who == "" || r.Who == "*" || isAt(strings.ToLower(r.Who), address))
}

func (r *Refusal) check() error {
	switch err := r.At.check(); {
	case err != nil:
		return err
	case r.Reply == nil || r.Reply.Code < 400 || r.Reply.Code > 599:
		return fmt.Errorf("the reply is %v: use one with a code of 400 to 599", r.Reply)
	case len(r.Reply.Text) > 400 || strings.ContainsFunc(r.Reply.Text, func(c rune) bool { return c < ' ' || c > '~' }):
		return errors.New("the text of the reply must be at most 400 characters of ASCII")
	case r.At == AtConnect && r.Who != "" && r.Who != "*":
		return errors.New("nobody is known at connect: use *")
	case strings.ContainsAny(r.Who, " \t\r\n") || len(r.Who) > 400:
		return errors.New("it isn't clear who is refused: use an address, a domain or *")
	}
	return nil
}

// MarshalText implements [encoding.TextMarshaler].
func (r Refusal) MarshalText() ([]byte, error) {
	who := r.Who
	if who == "" {
		who = "*"
	}
	return fmt.Appendf(nil, "%s %s %s", r.At, who, r.Reply.Error()), r.check()
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (r *Refusal) UnmarshalText(b []byte) error {
	words := strings.Fields(string(b))
	if len(words) < 3 {
		return fmt.Errorf("%q: want a moment, an address and a reply, as in \"rcpt example.net 550 5.7.1 no\"", b)
	}
	*r = Refusal{At: Moment(strings.ToLower(words[0])), Who: words[1]}
	code, _ := strconv.Atoi(words[2])
	words = words[3:]
	if r.Reply = smtp.NewReply(code, "", strings.Join(words, " ")); len(words) > 0 {
		if e := smtp.NewReply(code, words[0], strings.Join(words[1:], " ")); e.Enhanced != (smtp.EnhancedCode{}) {
			r.Reply = e
		}
	}
	if err := r.check(); err != nil {
		return fmt.Errorf("%q: %w", b, err)
	}
	return nil
}

// Party is what a Quota counts messages by. The text forms are "address", "dkim" and "spf".
type Party uint8

// The parties.
const (
	ByAddress    = Party(quota.Address)    // the IP address of the client
	ByDKIMDomain = Party(quota.DKIMDomain) // the d= of the first DKIM-Signature, which isn't verified
	BySPFDomain  = Party(quota.SPFDomain)  // the domain of the reverse-path, or of EHLO if that is null
)

var partyNames = [quota.Parties]string{"address", "dkim", "spf"}

// Quota accepts a number of messages of each party in any period of a length. Beyond it, the end of a message is
// answered 421 4.7.28, and the connection is closed, as Gmail does. A refused message doesn't count, and neither does
// one without that party, an unsigned one for example. This is the same count as that of smtptest.Host.Quota. Its text
// form is "20 per 1h by address".
type Quota struct {
	By       Party
	Messages int           // if zero, all are refused; at most 100,000
	Per      time.Duration // more than 0; at most 30 days
}

func (q *Quota) check() error {
	if q.Messages < 0 || q.Messages > 100_000 || q.Per <= 0 || q.Per > 30*24*time.Hour || int(q.By) >= len(partyNames) {
		return errors.New("want 0 to 100,000 messages, up to 720h, and address, dkim or spf, as in " +
			"\"20 per 1h by address\"")
	}
	return nil
}

// MarshalText implements [encoding.TextMarshaler].
func (q Quota) MarshalText() ([]byte, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%d per %s by %s", q.Messages, span(q.Per), partyNames[q.By]), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (q *Quota) UnmarshalText(b []byte) error {
	words := strings.Fields(strings.ToLower(string(b)))
	*q = Quota{Messages: -1}
	if len(words) == 5 && words[1] == "per" && words[3] == "by" {
		if n, err := strconv.Atoi(words[0]); err == nil {
			q.Messages = n
		}
		q.Per, _ = time.ParseDuration(words[2])
		q.By = Party(len(partyNames))
		for i, name := range partyNames {
			if name == words[4] {
				q.By = Party(i)
			}
		}
	}
	if err := q.check(); err != nil {
		return fmt.Errorf("%q: %w", b, err)
	}
	return nil
}

// Stall lets a client wait at a moment, before anything else is decided there. New Switches end the wait, and so does
// the end of the server, after its Grace. Its text form is "30s at data".
type Stall struct {
	At  Moment
	For time.Duration // more than 0; at most 1 hour
}

func (s *Stall) check() error {
	if s.For <= 0 || s.For > time.Hour {
		return errors.New("want a time of up to 1h, as in \"30s at data\"")
	}
	return s.At.check()
}

// MarshalText implements [encoding.TextMarshaler].
func (s Stall) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%s at %s", span(s.For), s.At), s.check()
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Stall) UnmarshalText(b []byte) error {
	words := strings.Fields(strings.ToLower(string(b)))
	*s = Stall{}
	if len(words) == 3 && words[1] == "at" {
		s.For, _ = time.ParseDuration(words[0])
		s.At = Moment(words[2])
	}
	if err := s.check(); err != nil {
		return fmt.Errorf("%q: %w", b, err)
	}
	return nil
}

// span writes a duration without the zeros of time.Duration.String: "1h", not "1h0m0s".
func span(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}

const maxRules = 100

// Check returns an error for the first field that is wrong.
func (s *Switches) Check() error {
	if s.Greylist < 0 || s.Greylist > 7*24*time.Hour {
		return fmt.Errorf("inbox: Greylist is %v: set it to 0, or to a time of up to 168h", s.Greylist)
	}
	if len(s.Refuse) > maxRules || len(s.Stalls) > maxRules {
		return fmt.Errorf("inbox: there are %d refusals and %d stalls: use at most %d",
			len(s.Refuse), len(s.Stalls), maxRules)
	}
	for i := range s.Refuse {
		if err := s.Refuse[i].check(); err != nil {
			return fmt.Errorf("inbox: Refuse[%d]: %w", i, err)
		}
	}
	for i := range s.Stalls {
		if err := s.Stalls[i].check(); err != nil {
			return fmt.Errorf("inbox: Stalls[%d]: %w", i, err)
		}
	}
	seen := make(map[Party]bool)
	for i := range s.Quotas {
		if err := s.Quotas[i].check(); err != nil {
			return fmt.Errorf("inbox: Quotas[%d]: %w", i, err)
		}
		if seen[s.Quotas[i].By] {
			return fmt.Errorf("inbox: Quotas[%d]: there is a second quota by %s", i, partyNames[s.Quotas[i].By])
		}
		seen[s.Quotas[i].By] = true
	}
	return nil
}
