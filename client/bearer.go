package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/emersion/go-sasl"

	"github.com/postrider/postrider/smtp"
)

// bearerClient hands over a token, by OAUTHBEARER or XOAUTH2.
type bearerClient struct {
	mech string
	ir   []byte
	last []byte // the response to the one challenge that there may be, which tells an error
}

func (c *Credentials) bearer(ctx context.Context, mech string) (smtp.AuthExchange, error) {
	token, err := c.Token(ctx)
	if err != nil {
		return nil, fmt.Errorf("no token: %w", err)
	}
	// RFC 6750 §2.1 has fewer characters yet. What is refused here would end the token's field, or the line end of its file.
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("the token is empty, or has spaces, line ends or others that aren't ASCII graphics")
	}
	who := c.Username
	if c.AuthorizationID != "" {
		who = c.AuthorizationID
	}
	if strings.ContainsFunc(who, isControl) {
		return nil, errors.New("a control character in the name for " + mech)
	}
	if mech == xoauth2 {
		ir := "user=" + who + "\x01auth=Bearer " + token + "\x01\x01"
		return &bearerClient{mech: mech, ir: []byte(ir), last: []byte{}}, nil
	}
	// RFC 7628 §3.1: the name is in a GS2 header, as a saslname.
	begun := sasl.NewOAuthBearerClient(&sasl.OAuthBearerOptions{Username: saslname(who), Token: token})
	_, ir, err := begun.Start()
	return &bearerClient{mech: mech, ir: ir, last: []byte{1}}, err // RFC 7628 §3.2.3
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

func (b *bearerClient) Start() (mech string, ir []byte, err error) { return b.mech, b.ir, nil }

// Next takes the challenge that tells an error, and the last word lets the host go on to its reply.
func (b *bearerClient) Next(challenge []byte) ([]byte, error) {
	last := b.last
	b.last = nil
	if last == nil {
		return nil, sasl.ErrUnexpectedServerChallenge
	}
	var told struct {
		Status any `json:"status"` // RFC 7628 §3.2.2 has a string; XOAUTH2 has "400", too
	}
	if err := json.Unmarshal(challenge, &told); err != nil {
		return last, fmt.Errorf("%s: a challenge that isn't an error in JSON", b.mech)
	}
	return last, fmt.Errorf("%s: the host refuses the token: %s", b.mech, word(fmt.Sprint(told.Status)))
}

// word gives an error's name as a host has it, if it looks like one: it is the host's, and goes into logs.
func word(s string) string {
	ok := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_.", r)
	}
	if s == "" || len(s) > 40 || strings.ContainsFunc(s, func(r rune) bool { return !ok(r) }) {
		return "an error without a name"
	}
	return s
}
