package client

import (
	"cmp"
	"time"
)

// Timeouts bound every wait of a session. The zero value has those of RFC 5321 §4.5.3.2.
type Timeouts struct {
	// Connect bounds dialling one address. If zero, 30 s.
	Connect time.Duration

	// Greeting bounds the wait for the 220. If zero, 5 min.
	Greeting time.Duration

	// Hello bounds each of EHLO, STARTTLS, the handshake, a step of AUTH, and RSET. If zero, 5 min.
	Hello time.Duration

	// Mail bounds the wait for the reply to MAIL. If zero, 5 min.
	Mail time.Duration

	// Rcpt bounds the wait for the reply to each RCPT. If zero, 5 min.
	Rcpt time.Duration

	// Data bounds the wait for the 354. If zero, 2 min.
	Data time.Duration

	// Block bounds the writing of each block of the message, some 32 KiB. If zero, 3 min.
	Block time.Duration

	// Final bounds the wait for the reply to the final dot. If zero, 10 min: a shorter one makes
	// duplicates.
	Final time.Duration

	// Quit bounds the wait for the reply to QUIT. If zero, 5 s.
	Quit time.Duration
}

func (t Timeouts) connect() time.Duration  { return cmp.Or(t.Connect, 30*time.Second) }
func (t Timeouts) greeting() time.Duration { return cmp.Or(t.Greeting, 5*time.Minute) } // RFC 5321 §4.5.3.2.1
func (t Timeouts) hello() time.Duration    { return cmp.Or(t.Hello, 5*time.Minute) }
func (t Timeouts) mail() time.Duration     { return cmp.Or(t.Mail, 5*time.Minute) }   // §4.5.3.2.2
func (t Timeouts) rcpt() time.Duration     { return cmp.Or(t.Rcpt, 5*time.Minute) }   // §4.5.3.2.3
func (t Timeouts) data() time.Duration     { return cmp.Or(t.Data, 2*time.Minute) }   // §4.5.3.2.4
func (t Timeouts) block() time.Duration    { return cmp.Or(t.Block, 3*time.Minute) }  // §4.5.3.2.5
func (t Timeouts) final() time.Duration    { return cmp.Or(t.Final, 10*time.Minute) } // §4.5.3.2.6
func (t Timeouts) quit() time.Duration     { return cmp.Or(t.Quit, 5*time.Second) }
