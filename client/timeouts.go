package client

import (
	"cmp"
	"time"
)

// Timeouts bound every wait of a session, and each attempt as a whole. From Greeting to Final, the defaults are the
// minimums of RFC 5321 §4.5.3.2, below which a client should not go. None may be negative.
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

	// Data bounds the wait for the 354. If zero, 2 min.
	Data time.Duration

	// DataBlock bounds the write of each block of the message, of 64 KiB at most. If zero, 3 min.
	DataBlock time.Duration

	// Final bounds the wait for the reply to the final dot, and to each BDAT. If zero, 10 min. A host may need that
	// long; after a shorter time-out, its mail may arrive twice.
	Final time.Duration

	// Quit bounds the wait for the reply to QUIT, and for the reply of a host that stopped reading. If zero, 5 s.
	Quit time.Duration

	// Attempt bounds how long one Send goes on: after it, no further address is tried for a route, and no further
	// transaction begins in a session. A transaction under way ends by its own time-outs. If zero, 10 min.
	Attempt time.Duration
}

func (t Timeouts) connect() time.Duration   { return cmp.Or(t.Connect, 30*time.Second) }
func (t Timeouts) greeting() time.Duration  { return cmp.Or(t.Greeting, 5*time.Minute) } // RFC 5321 §4.5.3.2.1
func (t Timeouts) hello() time.Duration     { return cmp.Or(t.Hello, 5*time.Minute) }
func (t Timeouts) mail() time.Duration      { return cmp.Or(t.Mail, 5*time.Minute) }      // §4.5.3.2.2
func (t Timeouts) rcpt() time.Duration      { return cmp.Or(t.Rcpt, 5*time.Minute) }      // §4.5.3.2.3
func (t Timeouts) data() time.Duration      { return cmp.Or(t.Data, 2*time.Minute) }      // §4.5.3.2.4
func (t Timeouts) dataBlock() time.Duration { return cmp.Or(t.DataBlock, 3*time.Minute) } // §4.5.3.2.5
func (t Timeouts) final() time.Duration     { return cmp.Or(t.Final, 10*time.Minute) }    // §4.5.3.2.6
func (t Timeouts) quit() time.Duration      { return cmp.Or(t.Quit, 5*time.Second) }
func (t Timeouts) attempt() time.Duration   { return cmp.Or(t.Attempt, 10*time.Minute) }
