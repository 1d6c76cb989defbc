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

// authenticate says AUTH (RFC 4954), if Auth is set. It never goes on without.
func (c *Conn) authenticate(ctx context.Context) *failure {
	if c.Auth == nil {
		return nil
	}
	if c.version == "" && !c.loopback() {
		return c.local(smtp.StageAuth, nil, smtp.NewReply(451, "4.7.11", "no password is sent in the clear"))
	}
	offered := slices.Clone(c.ext.auth)
	var unknown *failure // the last 504
	for {
		x, f := c.beginAuth(ctx, offered)
		if f != nil && unknown != nil && ctx.Err() == nil {
			return unknown
		}
		if f != nil {
			return f
		}
		// RFC 4954 §4: a host without the mechanism says 504, though it has offered it. No other reply leads to a weaker
		// mechanism: 535 means that the password is wrong, and 534 that even this mechanism is too weak.
		if f = c.runAuth(ctx, x); f == nil || f.local || f.reply.Code != 504 {
			return f
		}
		unknown = f
		offered = slices.DeleteFunc(offered, func(name string) bool { return name == x.mechanism })
	}
}

// exchange is an smtp.AuthExchange that has been started.
type exchange struct {
	smtp.AuthExchange
	mechanism string // in upper case
	initial   []byte // the initial response
}

// beginAuth starts an exchange by one of the mechanisms offered. It sends nothing.
func (c *Conn) beginAuth(ctx context.Context, offered []string) (*exchange, *failure) {
	next, err := c.newExchange(ctx, offered)
	if err != nil && ctx.Err() != nil {
		return nil, c.failed(ctx, smtp.StageAuth, err)
	}
	x := &exchange{AuthExchange: next}
	var mechanism string
	if err == nil {
		mechanism, x.initial, err = next.Start()
	}
	if err != nil {
		return nil, c.local(smtp.StageAuth, err, smtp.NewReply(451, "4.7.0", "the authentication could not begin"))
	}
	if x.mechanism = upper(mechanism); !slices.Contains(offered, x.mechanism) {
		return nil, c.local(smtp.StageAuth, nil, smtp.NewReply(451, "4.7.0", "the host offers no AUTH "+clip(mechanism)))
	}
	if x.mechanism == sasl.Plain && x.initial != nil && bytes.Count(x.initial, []byte{0}) != 2 {
		// RFC 4616 §2: with a NUL in a name or in the password, the parts are others than those asked for.
		return nil, c.local(smtp.StageAuth, nil, smtp.NewReply(451, "4.3.5", "a NUL in the name or the password"))
	}
	return x, nil
}

func (c *Conn) newExchange(ctx context.Context, offered []string) (smtp.AuthExchange, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeouts.hello())
	defer cancel()
	host := smtp.AuthHost{Name: c.Host, Mechanisms: slices.Clone(offered)}
	if tc, ok := c.conn.(*tls.Conn); ok {
		state := tc.ConnectionState()
		host.TLS = &state
	}
	x, err := c.Auth.Begin(ctx, host)
	if err == nil && x == nil {
		err = errors.New("Auth.Begin returned neither an exchange nor an error")
	}
	return x, err
}

// runAuth sends AUTH and goes on to the end of the exchange.
func (c *Conn) runAuth(ctx context.Context, x *exchange) *failure {
	ir := x.initial
	line, secret := "AUTH "+x.mechanism, ""
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
			return f
		}
		if r.Code != 334 {
			break
		}
		var err error
		response := ir
		if ir == nil {
			response, err = answer(x, r)
		}
		ir = nil
		if base64.StdEncoding.EncodedLen(len(response))+2 > maxAuthLine {
			response, err = nil, errors.New("the response is too long for AUTH")
		}
		if err != nil {
			return c.endAuth(ctx, response, err)
		}
		r, f = c.respond(ctx, response)
	}
	if f != nil {
		return f
	}
	if r.Code != 235 {
		return c.refused(smtp.StageAuth, r)
	}
	if completer, ok := x.AuthExchange.(smtp.AuthCompleter); ok {
		if err := completer.Complete(); err != nil {
			r := smtp.NewReply(451, "4.7.0", "the host ended the authentication too early")
			return c.local(smtp.StageAuth, err, r)
		}
	}
	return nil
}

// answer gives the response to the challenge in a 334, which has one line (RFC 4954 §4).
func answer(x smtp.AuthExchange, r *smtp.Reply) ([]byte, error) {
	if strings.Contains(r.Text, "\n") {
		return nil, errors.New("a challenge of several lines")
	}
	challenge, err := base64.StdEncoding.DecodeString(r.Text)
	if err != nil {
		return nil, err
	}
	return x.Next(challenge)
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
