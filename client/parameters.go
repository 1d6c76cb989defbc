package client

import (
	"slices"

	"github.com/postrider/postrider/smtp"
)

// fit finds out which extensions the message needs, and whether the host has them. Recipients that it
// can't be offered get their result here; a failure is for all of them.
func (t *transaction) fit() *failure {
	c, j := t.c, t.j
	if c.ext.maxSize > 0 && j.content.Size() > c.ext.maxSize {
		// RFC 1870 §6.1: it would be refused.
		return c.local(smtp.StageMail, nil, status{552, 5, 3, 4}, "the message has %d octets, and the host takes %d",
			j.content.Size(), c.ext.maxSize)
	}
	t.eightBit = c.ext.eightBit && (j.facts.EightBit || j.env.Body == smtp.Body8BitMIME || j.env.Body == smtp.BodyBinaryMIME)
	if j.facts.EightBit && !t.eightBit {
		// RFC 6152 §3: it would have to be converted, which would break its signatures.
		return c.local(smtp.StageMail, nil, status{554, 5, 6, 3}, "the message is 8-bit, and the host takes 7-bit only")
	}
	t.rcpts = j.rcpts
	_, ascii := smtp.ASCIIAddress(j.env.From)
	needs := j.facts.HeaderUTF8 || !ascii
	if c.ext.utf8 {
		t.utf8 = needs || j.env.UTF8 || slices.ContainsFunc(j.rcpts, t.needsUTF8)
		return nil
	}
	// RFC 6531 §3.1, §3.5: without SMTPUTF8 none of it may be sent. A domain can go as its A-label.
	if !ascii {
		return c.local(smtp.StageMail, nil, status{553, 5, 6, 7}, "the sender's address is UTF-8, and the host takes ASCII only")
	}
	if needs {
		return c.local(smtp.StageMail, nil, status{554, 5, 6, 9}, "the header is UTF-8, and the host takes ASCII only")
	}
	if slices.ContainsFunc(j.rcpts, t.needsUTF8) {
		t.dropUTF8()
	}
	return nil
}

// needsUTF8 is for recipient i of the job.
func (t *transaction) needsUTF8(i int) bool {
	_, ascii := smtp.ASCIIAddress(t.j.env.Recipients[i].Address)
	return !ascii
}

// dropUTF8 takes out of rcpts whose address needs SMTPUTF8. The others can have the message.
func (t *transaction) dropUTF8() {
	var dropped []int
	t.rcpts = nil
	for _, i := range t.j.rcpts {
		if t.needsUTF8(i) {
			dropped = append(dropped, i)
		} else {
			t.rcpts = append(t.rcpts, i)
		}
	}
	t.j.fail(dropped, t.c.local(smtp.StageRcpt, nil, status{553, 5, 6, 7}, "the address is UTF-8, and the host takes ASCII only"))
}

// offer is how the message goes to this host, once fit has found out.
func (t *transaction) offer() smtp.Offer {
	o := smtp.Offer{Size: -1, EightBit: t.eightBit, UTF8: t.utf8, DSN: t.c.ext.dsn}
	if t.c.ext.size {
		o.Size = t.j.content.Size()
	}
	return o
}
