package server

import (
	"context"
	"errors"
	"io"

	"github.com/postrider/postrider/smtp"
)

// Handler receives mail. A Handler that also has a method of [ConnectChecker], [SevenBitter], [MailChecker],
// [Allower] or [RcptChecker] is called earlier, too.
//
// In each method, an error refuses. If it has a *smtp.Reply (found by [errors.As]) of 4xx or 5xx, the server sends that
// reply, and a missing enhanced code is derived from the code. Codes 421 and 521 also close the connection. Any other
// error is logged, and the server sends 451 4.3.0 without its text. After the end of ctx, its error isn't logged, and
// the server sends 421 4.3.2.
//
// ctx ends when the server closes connections: by [Server.Close], or when the time of a shutdown is over. It doesn't
// end when the client leaves. The Peer is valid until the method returns; a copy of it stays valid. A method must not
// change its arguments, and only Handle may keep env. Methods are called concurrently, for different connections.
type Handler interface {
	// Handle receives one message. If it returns nil and nil, the Handler is responsible for the message (RFC 5321
	// §6.1), and the server sends 250 2.0.0. Otherwise the server sends the returned reply: 2xx, 4xx or 5xx. Any other
	// code counts as an error without a reply. If there is an error, the reply is ignored.
	//
	// body behaves as [smtp.DataReader] and, if the message comes by BDAT, as [smtp.ChunkReader]. It is valid until
	// Handle returns. A Handler needn't know which: a body in chunks is one io.Reader, and while Read waits for the
	// next chunk, the server answers the one before. The message is complete and valid only if body was read up to
	// [io.EOF]. A Handler that accepts a message must have read it that far, and must discard the message after any
	// other error of body. The message is then refused, whatever Handle returns, and its error isn't logged as a
	// failure of the Handler. The server reads and discards the rest of a body that Handle didn't read. If that rest is
	// invalid, the message is refused, whatever Handle returned. A client that sends by BDAT may give the message up
	// between two chunks: body then returns an error that wraps [io.ErrUnexpectedEOF].
	//
	// The Handler may keep env. A panic is logged, answered 451, and ends the session.
	Handle(ctx context.Context, p *Peer, env *smtp.Envelope, body io.Reader) (*smtp.Reply, error)
}

// ConnectChecker is implemented by a Handler that checks a client before the greeting. A 4xx reply is sent as 421 and
// closes the connection. 521 closes it, too (RFC 7504). After any other 5xx, every command except QUIT is answered 503
// (RFC 5321 §3.1).
type ConnectChecker interface {
	CheckConnect(ctx context.Context, p *Peer) error
}

// MailChecker is implemented by a Handler that checks MAIL. env has no recipients yet.
type MailChecker interface {
	CheckMail(ctx context.Context, p *Peer, env *smtp.Envelope) error
}

// Allower is implemented by a Handler that lets some clients relay without AUTH: by their address or certificate, for
// example. The server calls Allow at each RCPT, before CheckRcpt, unless the client has authenticated. Allow reports
// whether the client may relay to rcpt. The result is in [Peer.Allowed] when CheckRcpt and Handle are called; false
// alone refuses nothing. An error refuses the recipient, as an error of CheckRcpt does. env has the recipients accepted
// so far.
type Allower interface {
	Allow(ctx context.Context, p *Peer, env *smtp.Envelope, rcpt smtp.Recipient) (bool, error)
}

// RcptChecker is implemented by a Handler that checks RCPT. env has the recipients accepted so far, without rcpt.
type RcptChecker interface {
	CheckRcpt(ctx context.Context, p *Peer, env *smtp.Envelope, rcpt smtp.Recipient) error
}

// SevenBitter is implemented by a Handler that doesn't take 8-bit mail from some clients. The server calls SevenBit at
// each EHLO and LHLO. If it returns true, 8BITMIME isn't offered, nor are SMTPUTF8 and BINARYMIME, which need it (RFC
// 6531 §3.1, RFC 3030 §3). MAIL with one of their parameters is refused with 555 5.5.4. Handle then has to refuse a
// message with octets above 127, with 554 5.6.1 for example: clients send some in any case.
type SevenBitter interface {
	SevenBit(ctx context.Context, p *Peer) bool
}

// ErrAuthFailed is the error of [Server.Authenticate] for a wrong username or password. The server sends 535 5.7.8.
var ErrAuthFailed = errors.New("server: wrong username or password")
