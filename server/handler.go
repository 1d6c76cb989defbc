package server

import (
	"context"
	"errors"
	"io"

	"github.com/postrider/postrider/smtp"
)

// Handler takes mail. Where it has one of the optional methods of [ConnectChecker], [MailChecker] and
// [RcptChecker], it is asked earlier too.
//
// In all of them an error refuses: its *smtp.Reply (found by [errors.As]) is what the client
// hears, and any other error is 451 4.3.0 with none of its text, which goes to the log. A reply with
// code 421 also closes the connection. An enhanced code that is missing is filled in from the code.
//
// ctx ends when the server is closed hard, not while it shuts down gracefully. The Peer is only valid until
// the method returns, and no method may change what it is given.
type Handler interface {
	// Handle takes one mail. nil and nil means that the Handler has taken responsibility for it (RFC
	// 5321 §6.1): 250 2.0.0. A reply that is returned is what is said, 2xx, 4xx or 5xx.
	//
	// body reads as [smtp.DataReader] does, and isn't valid after Handle has returned. The mail is whole
	// and good only if body was read up to [io.EOF]: a Handler that takes it must have got there, and
	// must undo what it did when body gives another error. What a Handler leaves unread is
	// drained, and if that turns out to be bad, the client hears so whatever Handle returned.
	// env is the Handler's to keep.
	//
	// A panic is 451 to the client, is logged, and ends the connection.
	Handle(ctx context.Context, p *Peer, env *smtp.Envelope, body io.Reader) (*smtp.Reply, error)
}

// ConnectChecker is implemented by a Handler that wants a say before the greeting. A reply of 4xx
// becomes 421 and closes, as does 521 (RFC 7504); after another 5xx every command but QUIT is
// answered 503 (RFC 5321 §3.1).
type ConnectChecker interface {
	CheckConnect(ctx context.Context, p *Peer) error
}

// MailChecker is implemented by a Handler that wants a say at MAIL. env has no recipients yet.
type MailChecker interface {
	CheckMail(ctx context.Context, p *Peer, env *smtp.Envelope) error
}

// RcptChecker is implemented by a Handler that wants a say at RCPT. env has the recipients that were
// taken before; rcpt is added if the error is nil.
type RcptChecker interface {
	CheckRcpt(ctx context.Context, p *Peer, env *smtp.Envelope, rcpt smtp.Recipient) error
}

// Allower is implemented by a Handler that lets some clients relay without AUTH: by their address or certificate, for
// example. The server calls Allow at each RCPT, before CheckRcpt, unless the client has authenticated. Allow returns
// whether the client may relay to rcpt; env has the recipients accepted before. The result is in [Peer.Allowed], where
// CheckRcpt and Handle find it: false refuses nothing by itself. An error refuses the recipient, as CheckRcpt's does.
type Allower interface {
	Allow(ctx context.Context, p *Peer, env *smtp.Envelope, rcpt smtp.Recipient) (bool, error)
}

// ErrAuthFailed is what [Server.Authenticate] returns for a wrong username or password: 535 5.7.8.
var ErrAuthFailed = errors.New("server: authentication failed")
