package client

import (
	"cmp"
	"fmt"
	"time"

	"github.com/postrider/postrider/smtp"
)

// Timeouts bound every wait of a session, and each attempt as a whole. From Greeting to Final, the defaults are the
// minimums of RFC 5321 §4.5.3.2, below which a client should not go. No duration may be negative.
type Timeouts struct {
	// Connect bounds the dial to one address. If zero, 30 s.
	Connect time.Duration

	// Greeting bounds the wait for the 220. If zero, 5 min.
	Greeting time.Duration

	// Hello bounds each of EHLO, STARTTLS, the TLS handshake, a step of AUTH, and RSET. If zero, 5 min.
	Hello time.Duration

	// Mail bounds the wait for the reply to MAIL. If zero, 5 min.
	Mail time.Duration

	// Rcpt bounds the wait for the reply to each RCPT. If zero, 5 min.
	Rcpt time.Duration

	// Envelope bounds MAIL and all RCPTs of a transaction together. If zero, 15 min, and 2 s more for each recipient:
	// the minimums of RFC 5321 for one recipient are 12 min together, and a host that verifies each of many recipients
	// needs longer.
	//
	// After Envelope, no further RCPT is sent. The message goes to the recipients that the host has accepted by then.
	// The other recipients have another transaction, or are Deferred after Attempt. With PIPELINING, RCPTs that were
	// sent before may still lack a reply: the host has Rcpt more time for all of these replies. Then the session ends.
	// Recipients that the host has refused keep its reply, and all others are Deferred.
	Envelope time.Duration

	// Data bounds the wait for the 354. If zero, 2 min.
	Data time.Duration

	// DataBlock bounds the write of each block of the message, of 64 KiB at most. If zero, 3 min.
	DataBlock time.Duration

	// MinDataRate is the rate in octets a second at which a host has to take a message. If zero, 1024; if negative,
	// there is no such bound. A host may fall behind by DataBlock, or by Final when it owes a reply to BDAT. If the
	// host falls behind further, the session ends, and the recipients are Deferred: the message wasn't sent to its
	// end. The time in which the content is read doesn't count.
	//
	//	by default, a host has 3 minutes, and 1 more for each 60 KiB: at 512 octets a second, 6 minutes
	MinDataRate int64

	// Final bounds the wait for the reply to the final dot, and to each BDAT. If zero, 10 min. A host may need that
	// long; after a shorter time-out, its mail may arrive twice.
	Final time.Duration

	// Quit bounds the wait for the reply to QUIT, and for the reply of a host that stopped reading. If zero, 5 s.
	Quit time.Duration

	// Attempt bounds how long one Send goes on: after it, no further address is tried for a route, and no further
	// transaction begins in a session. A transaction under way ends by its own time-outs. If zero, 10 min.
	Attempt time.Duration
}

// Check returns an error if a duration is negative: "Timeouts.Mail is -1s: …". Every Send and Open fails with it, and
// defers the mail. A Relay calls Check when it starts.
func (t Timeouts) Check() error {
	for _, d := range [...]struct {
		name  string
		value time.Duration
	}{
		{"Connect", t.Connect}, {"Greeting", t.Greeting}, {"Hello", t.Hello}, {"Mail", t.Mail}, {"Rcpt", t.Rcpt},
		{"Envelope", t.Envelope}, {"Data", t.Data}, {"DataBlock", t.DataBlock}, {"Final", t.Final}, {"Quit", t.Quit},
		{"Attempt", t.Attempt},
	} {
		if d.value < 0 {
			return fmt.Errorf("Timeouts.%s is %v: set it to more than 0, or to 0 for the default", d.name, d.value)
		}
	}
	return nil
}

// check is Check, for a Send.
func (t Timeouts) check() *failure {
	err := t.Check()
	if err == nil {
		return nil
	}
	r := smtp.NewReply(451, "4.3.5", "the time-outs are misconfigured")
	return &failure{stage: smtp.StageConnect, reply: r, local: true, cause: err}
}

func (t Timeouts) connect() time.Duration   { return cmp.Or(t.Connect, 30*time.Second) }
func (t Timeouts) greeting() time.Duration  { return cmp.Or(t.Greeting, 5*time.Minute) } // RFC 5321 §4.5.3.2.1
func (t Timeouts) hello() time.Duration     { return cmp.Or(t.Hello, 5*time.Minute) }
func (t Timeouts) mail() time.Duration      { return cmp.Or(t.Mail, 5*time.Minute) }      // §4.5.3.2.2
func (t Timeouts) rcpt() time.Duration      { return cmp.Or(t.Rcpt, 5*time.Minute) }      // §4.5.3.2.3
func (t Timeouts) data() time.Duration      { return cmp.Or(t.Data, 2*time.Minute) }      // §4.5.3.2.4
func (t Timeouts) dataBlock() time.Duration { return cmp.Or(t.DataBlock, 3*time.Minute) } // §4.5.3.2.5
func (t Timeouts) minDataRate() int64       { return cmp.Or(t.MinDataRate, 1024) }
func (t Timeouts) final() time.Duration     { return cmp.Or(t.Final, 10*time.Minute) } // §4.5.3.2.6

// envelope is for a transaction with n recipients.
func (t Timeouts) envelope(n int) time.Duration {
	return cmp.Or(t.Envelope, 15*time.Minute+time.Duration(n)*2*time.Second)
}

func (t Timeouts) quit() time.Duration    { return cmp.Or(t.Quit, 5*time.Second) }
func (t Timeouts) attempt() time.Duration { return cmp.Or(t.Attempt, 10*time.Minute) }
