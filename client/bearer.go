package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/emersion/go-sasl"

	"github.com/postrider/postrider/internal/scram"
	"github.com/postrider/postrider/smtp"
)

// bearerClient sends a token by OAUTHBEARER or XOAUTH2.
type bearerClient struct {
	mech string
	ir   []byte
	last []byte // the response to the only challenge, which contains an error
}

func (c *Credentials) bearer(ctx context.Context, mech string) (smtp.AuthExchange, error) {
	token, err := c.Token(ctx)
	if err != nil {
		return nil, fmt.Errorf("Credentials.Token: %w", err)
	}
	// RFC 6750 §2.1 allows even fewer characters. A control character would end the field of the token. Most often it
	// is the line end of the file with the token.
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("Credentials.Token returned an empty token, or one with spaces, line ends or " +
			"non-ASCII characters")
	}
	who := c.Username
	if c.AuthorizationID != "" {
		who = c.AuthorizationID
	}
	if strings.ContainsFunc(who, isControl) {
		return nil, errors.New(mech + ": Username or AuthorizationID has a control character: remove it")
	}
	if mech == xoauth2 {
		ir := "user=" + who + "\x01auth=Bearer " + token + "\x01\x01"
		return &bearerClient{mech: mech, ir: []byte(ir), last: []byte{}}, nil
	}
	// RFC 7628 §3.1: the name is a saslname in a GS2 header.
	begun := sasl.NewOAuthBearerClient(&sasl.OAuthBearerOptions{Username: scram.Name(who), Token: token})
	_, ir, err := begun.Start()
	return &bearerClient{mech: mech, ir: ir, last: []byte{1}}, err // RFC 7628 §3.2.3
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

func (b *bearerClient) Start() (mech string, ir []byte, err error) { return b.mech, b.ir, nil }

// Next reads the challenge, which contains an error. After the last response, the host sends its reply.
func (b *bearerClient) Next(challenge []byte) ([]byte, error) {
	last := b.last
	b.last = nil
	if last == nil {
		return nil, sasl.ErrUnexpectedServerChallenge
	}
	var told struct {
		Status any `json:"status"` // a string (RFC 7628 §3.2.2), or with XOAUTH2 a number
	}
	if err := json.Unmarshal(challenge, &told); err != nil {
		return last, fmt.Errorf("%s: the host's challenge isn't an error in JSON", b.mech)
	}
	return last, fmt.Errorf("%s: the host refuses the token: %s", b.mech, word(fmt.Sprint(told.Status)))
}

// word returns the name of a host's error if it looks like a name. It goes into logs, so any other text is replaced.
func word(s string) string {
	ok := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_.", r)
	}
	if s == "" || len(s) > 40 || strings.ContainsFunc(s, func(r rune) bool { return !ok(r) }) {
		return "an error without a name"
	}
	return s
}
