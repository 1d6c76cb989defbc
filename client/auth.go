package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"github.com/emersion/go-sasl"

	"github.com/postrider/postrider/smtp"
)

const (
	maxAuthSteps = 16    // challenges of one exchange
	maxAuthLine  = 12288 // octets of a response with its CRLF (RFC 4954 §4); smtp.ReadReply bounds challenges below that
)

// Chooser is a sasl.Client that goes by what the host offers, as [Credentials] do. Conn asks it for the client to
// authenticate with, and calls neither Start nor Next of the Chooser itself.
type Chooser interface {
	// Choose returns a client for one exchange with one host.
	//
	//   - offered are the host's mechanisms in upper case, without those that it answered with 504 to. They
	//     stay the caller's. The client's Start must give one of them.
	//   - state is that of TLS, or nil in the clear. In the clear a host is on this very machine.
	//   - ctx ends with that of the caller, and once Timeouts.Hello are over.
	//   - It may be called by several goroutines at a time.
	//   - If Next of the client gives a response together with an error, the response is sent, so that the host
	//     can say why it refuses, and the exchange has failed.
	//   - The client may be a Completer.
	Choose(ctx context.Context, offered []string, state *tls.ConnectionState) (sasl.Client, error)
}

// Completer is a sasl.Client whose exchange may end too early: that of a mechanism by which the host, too, has to prove
// itself. Complete is called at the host's 235, and that is no success unless it returns nil.
type Completer interface {
	Complete() error
}

// authenticate says AUTH (RFC 4954), if Auth is set. It never goes on without.
func (c *Conn) authenticate(ctx context.Context) *failure {
	if c.Auth == nil {
		return nil
	}
	if c.version == "" && !c.loopback() {
		return c.local(smtp.StageAuth, nil, smtp.NewReply(451, "4.7.11", "no password is sent in the clear"))
	}
	chooser, ok := c.Auth.(Chooser)
	if !ok {
		_, f := c.exchange(ctx, c.Auth, c.ext.auth)
		return f
	}
	offered := slices.Clone(c.ext.auth)
	var unknown *failure
	for {
		client, err := c.choose(ctx, chooser, offered)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return c.failed(ctx, smtp.StageAuth, err)
		case unknown != nil:
			return unknown
		default:
			return c.local(smtp.StageAuth, err, smtp.NewReply(451, "4.7.0", "the authentication could not begin"))
		}
		mech, f := c.exchange(ctx, client, offered)
		// RFC 4954 §4: a host without the mechanism says 504, though it has offered it. No other reply leads to a weaker
		// mechanism: 535 says that the password is wrong, and 534 that even this one is too weak.
		if f == nil || f.local || f.reply.Code != 504 {
			return f
		}
		unknown = f
		offered = slices.DeleteFunc(offered, func(name string) bool { return name == mech })
	}
}

func (c *Conn) choose(ctx context.Context, chooser Chooser, offered []string) (sasl.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeouts.hello())
	defer cancel()
	var state *tls.ConnectionState
	if tc, ok := c.conn.(*tls.Conn); ok {
		s := tc.ConnectionState()
		state = &s
	}
	return chooser.Choose(ctx, offered, state)
}

// exchange is AUTH with one mechanism, one of those offered, which it gives in upper case.
func (c *Conn) exchange(ctx context.Context, client sasl.Client, offered []string) (name string, f *failure) {
	mech, ir, err := client.Start()
	if err != nil {
		return "", c.local(smtp.StageAuth, err, smtp.NewReply(451, "4.7.0", "the authentication could not begin"))
	}
	if name = upper(mech); !slices.Contains(offered, name) {
		return name, c.local(smtp.StageAuth, nil, smtp.NewReply(451, "4.7.0", "the host offers no AUTH "+clip(mech)))
	}
	if name == sasl.Plain && ir != nil && bytes.Count(ir, []byte{0}) != 2 {
		// RFC 4616 §2: with a NUL in a name or in the password, the parts are others than those asked for.
		return name, c.local(smtp.StageAuth, nil, smtp.NewReply(451, "4.3.5", "a NUL in the name or the password"))
	}
	line, secret := "AUTH "+name, ""
	if ir != nil {
		response := encodeResponse(ir)
		// RFC 4954 §4: AUTH itself is under the limit for command lines, what follows it isn't.
		if len(line)+1+len(response)+2 <= 512 {
			line += " " + response
			secret, ir = response, nil
		}
	}
	r, f := c.say(ctx, line, secret)
	for range maxAuthSteps {
		if f != nil {
			return name, f
		}
		if r.Code != 334 {
			break
		}
		response := ir
		if ir == nil {
			response, err = answer(client, r)
		}
		ir = nil
		if base64.StdEncoding.EncodedLen(len(response))+2 > maxAuthLine {
			response, err = nil, errors.New("the response is too long for AUTH")
		}
		if err != nil {
			return name, c.endAuth(ctx, response, err)
		}
		r, f = c.respond(ctx, response)
	}
	if f != nil {
		return name, f
	}
	if r.Code != 235 {
		return name, c.refused(smtp.StageAuth, r)
	}
	if completer, ok := client.(Completer); ok {
		if err := completer.Complete(); err != nil {
			r := smtp.NewReply(451, "4.7.0", "the host ended the authentication too early")
			return name, c.local(smtp.StageAuth, err, r)
		}
	}
	return name, nil
}

// answer gives the response to the challenge in a 334, which has one line (RFC 4954 §4).
func answer(client sasl.Client, r *smtp.Reply) ([]byte, error) {
	if strings.Contains(r.Text, "\n") {
		return nil, errors.New("a challenge of several lines")
	}
	challenge, err := base64.StdEncoding.DecodeString(r.Text)
	if err != nil {
		return nil, err
	}
	return client.Next(challenge)
}

// endAuth ends an exchange that has failed on our side, with a last response if there is one. The reason that the
// host gives goes before ours: some mechanisms tell a failure in a challenge.
func (c *Conn) endAuth(ctx context.Context, last []byte, cause error) *failure {
	var r *smtp.Reply
	var f *failure
	if last != nil {
		r, f = c.respond(ctx, last)
	} else {
		r, f = c.say(ctx, "*", "") // RFC 4954 §4: answered by 501
	}
	if f != nil {
		return f
	}
	if r.Code >= 400 && r.Code != 501 {
		f = c.refused(smtp.StageAuth, r)
		f.cause = cause
		return f
	}
	// A 334 here would take QUIT for a response, and a 235 would be believed by no one.
	c.spoiled = c.spoiled || r.Positive()
	return c.local(smtp.StageAuth, cause, smtp.NewReply(451, "4.7.0", "the authentication failed on our side"))
}

func (c *Conn) respond(ctx context.Context, response []byte) (*smtp.Reply, *failure) {
	line := base64.StdEncoding.EncodeToString(response)
	return c.say(ctx, line, line)
}

// say is command in AUTH. The secret of the line, a whole response, is struck out of this and all further replies.
func (c *Conn) say(ctx context.Context, line, secret string) (*smtp.Reply, *failure) {
	if len(secret) >= 4 { // base64 makes no less of anything
		c.responses = append(c.responses, secret)
	}
	return c.command(ctx, smtp.StageAuth, line)
}

// strike takes a secret out of a text, and what the text has of its beginning where a host cuts what it repeats.
func strike(text, secret string) string {
	head := secret[:min(len(secret), 8)]
	for {
		i := strings.Index(text, head)
		if i < 0 {
			return text
		}
		n := len(head)
		for n < len(secret) && i+n < len(text) && text[i+n] == secret[n] {
			n++
		}
		text = text[:i] + hidden + text[i+n:]
	}
}

// encodeResponse is an initial response on the line of AUTH: an empty one is "=" (RFC 4954 §4).
func encodeResponse(ir []byte) string {
	if len(ir) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(ir)
}
