package client

import (
	"context"
	"encoding/base64"
	"slices"

	"github.com/postrider/postrider/smtp"
)

// maxAuthSteps bounds the challenges of one exchange.
const maxAuthSteps = 16

// authenticate says AUTH (RFC 4954), if Auth is set. It never goes on without.
func (c *Conn) authenticate(ctx context.Context) *failure {
	if c.Auth == nil {
		return nil
	}
	if c.version == "" && !c.loopback() {
		return c.local(smtp.StageAuth, nil, status{451, 4, 7, 11}, "no password is sent in the clear")
	}
	mech, ir, err := c.Auth.Start()
	if err != nil {
		return c.local(smtp.StageAuth, err, status{451, 4, 7, 0}, "the authentication could not begin")
	}
	if !slices.Contains(c.ext.auth, upper(mech)) {
		return c.local(smtp.StageAuth, nil, status{451, 4, 7, 0}, "the host offers no AUTH %s", clip(mech))
	}
	line := "AUTH " + mech
	if ir != nil {
		response := encodeResponse(ir)
		// RFC 4954 §4: AUTH itself is under the limit for command lines, what follows it isn't.
		if len(line)+1+len(response)+2 <= 512 {
			line += " " + response
			ir = nil
		}
	}
	r, f := c.command(ctx, smtp.StageAuth, line)
	for range maxAuthSteps {
		if f != nil {
			return f
		}
		if r.Code != 334 {
			break
		}
		response := ir
		if ir == nil {
			challenge, err := base64.StdEncoding.DecodeString(r.Text)
			if err == nil {
				response, err = c.Auth.Next(challenge)
			}
			if err != nil {
				return c.cancelAuth(ctx, err)
			}
		}
		ir = nil
		r, f = c.command(ctx, smtp.StageAuth, base64.StdEncoding.EncodeToString(response))
	}
	if f != nil {
		return f
	}
	if r.Code != 235 {
		return c.refused(smtp.StageAuth, r)
	}
	return nil
}

// cancelAuth ends an exchange that our side can't go on with. The reason that the host gives for it goes
// first: some mechanisms tell a failure in a challenge.
func (c *Conn) cancelAuth(ctx context.Context, cause error) *failure {
	r, f := c.command(ctx, smtp.StageAuth, "*") // RFC 4954 §4
	if f != nil {
		return f
	}
	if r.Permanent() && r.Code != 501 {
		f = c.refused(smtp.StageAuth, r)
		f.cause = cause
		return f
	}
	return c.local(smtp.StageAuth, cause, status{451, 4, 7, 0}, "the authentication failed on our side")
}

// encodeResponse is an initial response on the line of AUTH: an empty one is "=" (RFC 4954 §4).
func encodeResponse(ir []byte) string {
	if len(ir) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(ir)
}
