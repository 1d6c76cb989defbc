package client

import (
	"context"
	"errors"
	"os"

	"github.com/postrider/postrider/smtp"
)

// bare returns the extensions that the recipients of t are to be offered the message without, in a further transaction:
// the host refused their parameters although it offers them, and the message can do without. It clears the refusals.
func (t *transaction) bare() (k keywords) {
	switch {
	case t.c.spoiled:
		return 0
	case t.refused != nil && t.stage == smtp.StageMail:
		if badParams(t.refused) {
			k = t.mailParams() & t.m.spare()
			if k == 0 && t.convert() {
				k = kw8BitMIME
			}
		}
		if k != 0 {
			t.refused = nil
		}
		return k
	}
	for _, i := range t.rcpts {
		to, r := &t.m.env.Recipients[i], &t.m.results[i]
		params := t.offer.DSN && (to.Notify != 0 || to.ORCPT != "")
		if params && r.Reply != nil && !r.Local && r.Stage == smtp.StageRcpt && badParams(r.Reply) {
			r.Reply, k = nil, kwDSN
		}
	}
	if t.refused != nil {
		return 0 // no further transaction now: the refusal of the message is theirs too
	}
	return k
}

// convert makes an 8-bit message 7-bit for a host that offers 8BITMIME and may refuse its parameter. It reports whether
// it did: a message that is binary, or signed, or that needs SMTPUTF8, stays as it is.
func (t *transaction) convert() bool {
	if t.offer.Body != smtp.Body8BitMIME || t.offer.UTF8 || !t.m.facts.EightBitBody {
		return false
	}
	kept := t.m.kept
	content, f := t.c.sevenBit(t.m)
	if t.m.kept = kept; f != nil || t.c.ext.maxSize > 0 && content.Size() > t.c.ext.maxSize {
		return false
	}
	t.content, t.converted = content, true
	return true
}

// badParams reports whether a refusal of MAIL or RCPT may be about its parameters. RFC 5321 §4.1.1.11: 555 if they
// aren't known; §4.2.2: 501 and 504 if they can't be read or aren't implemented.
func badParams(r *smtp.Reply) bool {
	switch r.Code {
	case 501, 504, 555:
		return r.Enhanced[1] == 0 || r.Enhanced[1] == 5 // RFC 3463 §3.6: X.5.x, the protocol; not an address
	}
	return false
}

// mailParams returns the extensions whose parameters the MAIL of t has.
func (t *transaction) mailParams() (k keywords) {
	env := t.m.env
	if t.offer.Size >= 0 {
		k |= kwSize
	}
	if t.offer.Body != smtp.BodyUnknown {
		k |= kw8BitMIME
	}
	if t.offer.DSN && (env.Ret != smtp.RetUnknown || env.EnvID != "") {
		k |= kwDSN
	}
	return k
}

// spare returns the extensions that the message, as it is, can do without at a host that offers them. Without DSN it is
// treated as at a host that doesn't have it: the reports come from this side (RFC 3461 §5.2.2). SMTPUTF8 is used only
// where a message needs it.
func (m *message) spare() keywords {
	if m.facts.EightBit || m.facts.Binary {
		return kwSize | kwDSN
	}
	return kwSize | kwDSN | kw8BitMIME
}

// strip returns an offer without the parameters of some extensions.
func strip(o smtp.Offer, k keywords) smtp.Offer {
	if k.has(kwSize) {
		o.Size = -1
	}
	if k.has(kw8BitMIME) {
		o.Body = smtp.BodyUnknown
	}
	o.DSN = o.DSN && !k.has(kwDSN)
	return o
}

// judgeGroup notes that the host fails at PIPELINING, if the first group of commands in the session ended so: the
// replies didn't match, the host closed the connection, or it answered some of the commands and no more.
func (t *transaction) judgeGroup(ctx context.Context, g group, f *failure) {
	c := t.c
	several := g.rset || g.mail && len(g.rcpts) > 0 || len(g.rcpts) > 1 || g.data && len(g.rcpts) > 0
	switch {
	case !several || c.grouped:
	case f == nil:
		c.grouped = true
	case !f.local || t.refused != nil && !f.outOfStep || ctx.Err() != nil:
	case errors.Is(f.cause, os.ErrDeadlineExceeded) && f.stage == smtp.StageMail: // a slow host
	default:
		c.breaks(kwPipelining)
	}
}
