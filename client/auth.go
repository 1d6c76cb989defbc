package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-sasl"

	"github.com/postrider/postrider/smtp"
)

const (
	maxAuthSteps = 16    // challenges of one exchange; smtp.ReadReply bounds each of them
	maxAuthLine  = 12288 // octets of a response with its CRLF (RFC 4954 §4)
)

// authenticate sends AUTH (RFC 4954), if Auth is set. The session fails unless the host accepts it.
func (c *Conn) authenticate(ctx context.Context) *failure {
	if c.Auth == nil {
		return nil
	}
	if c.security.Version == "" && !c.loopback() {
		r := smtp.NewReply(451, "4.7.11", "no password is sent in cleartext to another machine: set TLS to TLSRequired")
		return c.local(smtp.StageAuth, nil, r)
	}
	if len(c.ext.auth) == 0 {
		return c.noLogin("the host offers no AUTH")
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
		// RFC 4954 §4: 504 means that the host doesn't have the mechanism that it has offered. No other reply leads to
		// a weaker mechanism: 535 means that the password is wrong, and 534 that even this mechanism is too weak.
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

// noLogin returns the failure of a host whose AUTH can't be used with what Auth has. Only the route can change that.
func (c *Conn) noLogin(text string) *failure {
	f := c.local(smtp.StageAuth, nil, smtp.NewReply(451, "4.7.0", text))
	f.reason = smtp.RelayDenied
	return f
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
	if none, ok := errors.AsType[*noMechanism](err); ok {
		return nil, c.noLogin(none.Error())
	}
	if err != nil {
		return nil, c.local(smtp.StageAuth, err, smtp.NewReply(451, "4.7.0", "AUTH could not begin"))
	}
	if x.mechanism = upper(mechanism); !slices.Contains(offered, x.mechanism) {
		return nil, c.noLogin("the host offers no AUTH " + clip(mechanism))
	}
	if x.mechanism == sasl.Plain && x.initial != nil && bytes.Count(x.initial, []byte{0}) != 2 {
		// RFC 4616 §2: NUL separates the three parts. With a NUL in one of them, the host would read other parts.
		r := smtp.NewReply(451, "4.3.5", "the name or the password for AUTH PLAIN has a NUL: remove it")
		return nil, c.local(smtp.StageAuth, nil, r)
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
		// RFC 4954 §4: the limit for command lines applies to AUTH, and not to the responses after it.
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
		if !goAhead(r.Code) {
			break
		}
		var err error
		response := ir
		if ir == nil {
			response, err = answer(x, r)
		}
		ir = nil
		if base64.StdEncoding.EncodedLen(len(response))+2 > maxAuthLine {
			err = fmt.Errorf("the response has %d octets, AUTH allows %d: use a shorter token or password",
				len(response), base64.StdEncoding.DecodedLen(maxAuthLine-2))
			response = nil
		}
		if err != nil {
			return c.endAuth(ctx, response, err)
		}
		r, f = c.respond(ctx, response)
	}
	if f != nil {
		return f
	}
	if goAhead(r.Code) { // its text is a challenge, which may repeat a response
		c.spoiled = true
		return c.local(smtp.StageAuth, nil, smtp.NewReply(451, "4.7.0", "the host has too many challenges"))
	}
	if !positive(r.Code) {
		return c.refused(smtp.StageAuth, r)
	}
	if completer, ok := x.AuthExchange.(smtp.AuthCompleter); ok {
		if err := completer.Complete(); err != nil {
			r := smtp.NewReply(451, "4.7.0", "the host ended AUTH too early")
			return c.local(smtp.StageAuth, err, r)
		}
	}
	return nil
}

// answer returns the response to the challenge in a 334, or in another 3xx.
func answer(x *exchange, r *smtp.Reply) ([]byte, error) {
	challenge, err := challengeIn(r.Text)
	if err != nil && x.mechanism == sasl.Login {
		challenge, err = prompt(r.Text), nil
	}
	if err != nil {
		return nil, err
	}
	return x.Next(challenge)
}

// challengeIn decodes the text of a 334, which has one line of base64 (RFC 4954 §4). Blanks around it are ignored.
func challengeIn(text string) ([]byte, error) {
	if strings.Contains(text, "\n") {
		return nil, errors.New("the host's challenge has several lines")
	}
	challenge, err := base64.StdEncoding.DecodeString(strings.Trim(text, " \t"))
	if err != nil {
		return nil, fmt.Errorf("the host's challenge: %w", err)
	}
	return challenge, nil
}

// prompt returns a prompt of LOGIN that isn't base64 as a whole. LOGIN has no RFC, and its prompts are for people.
// Hosts send them in cleartext, or with text after the base64.
func prompt(text string) []byte {
	first, _, _ := strings.Cut(strings.TrimLeft(text, " \t"), " ")
	if challenge, err := base64.StdEncoding.DecodeString(first); err == nil && first != "" {
		return challenge
	}
	return []byte(text)
}

// endAuth ends an exchange that has failed on our side, with a last response if there is one. The host's reply is the
// result if there is one: with some mechanisms, a challenge contains the host's error, and the reply follows it.
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
	// After a 334 the host would read QUIT as a response. After a 235 it would believe that we are authenticated.
	c.spoiled = c.spoiled || r.Positive()
	return c.local(smtp.StageAuth, cause, smtp.NewReply(451, "4.7.0", "AUTH failed on our side"))
}

func (c *Conn) respond(ctx context.Context, response []byte) (*smtp.Reply, *failure) {
	line := base64.StdEncoding.EncodeToString(response)
	return c.say(ctx, line, line)
}

// say is command in AUTH. The secret, which is the whole response in the line, is removed from this and all later
// replies.
func (c *Conn) say(ctx context.Context, line, secret string) (*smtp.Reply, *failure) {
	if len(secret) >= 4 { // the shortest base64 that isn't empty
		c.responses = append(c.responses, secret)
	}
	return c.command(ctx, smtp.StageAuth, line)
}

// strike removes a secret from a text, and also the beginning of a secret that the host has cut short.
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

// encodeResponse returns an initial response for the line of AUTH. An empty one is "=" (RFC 4954 §4).
func encodeResponse(ir []byte) string {
	if len(ir) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(ir)
}
