package client

import (
	"fmt"
	"slices"

	"github.com/postrider/postrider/smtp"
)

// manner is how a message is sent to a host.
type manner struct {
	offer   smtp.Offer
	chunked bool // by BDAT instead of DATA
}

// fit decides how the message is sent to the host, by the extensions that the message needs and the host has. It
// returns the recipients in m.rcpts that can be offered; the others have their result then. A failure is for all
// recipients.
func (c *Conn) fit(m *message) (how manner, rcpts []int, f *failure) {
	refuse := func(r *smtp.Reply) (manner, []int, *failure) { return how, nil, c.local(smtp.StageMail, nil, r) }
	size := m.content.Size()
	if c.ext.maxSize > 0 && size > c.ext.maxSize {
		// RFC 1870 §6.1: it would be refused.
		text := fmt.Sprintf("the message has %d octets, and the host takes %d", size, c.ext.maxSize)
		return refuse(smtp.NewReply(552, "5.3.4", text))
	}
	how.offer = smtp.Offer{Size: -1, DSN: c.ext.dsn}
	if c.ext.size {
		how.offer.Size = size
	}
	chunk := c.chunkSize()
	how.chunked = m.facts.Binary || c.ext.chunking && !c.noBDAT && chunk > 0 && size > chunk
	switch {
	case m.facts.Binary && !(c.ext.binary && c.ext.chunking):
		// RFC 3030 §3: a conversion would break signatures.
		return refuse(smtp.NewReply(554, "5.6.3", "the message is binary, and the host takes lines of text only"))
	case m.facts.Binary:
		how.offer.Body = smtp.BodyBinaryMIME
	case m.facts.EightBit && !c.ext.eightBit:
		// RFC 6152 §3: a conversion would break signatures.
		return refuse(smtp.NewReply(554, "5.6.3", "the message is 8-bit, and the host takes 7-bit only"))
	case c.ext.eightBit && (m.facts.EightBit || m.env.Body == smtp.Body8BitMIME || m.env.Body == smtp.BodyBinaryMIME):
		how.offer.Body = smtp.Body8BitMIME
	}
	c.rcpts = append(c.rcpts[:0], m.rcpts...) // a copy: transact shortens it
	rcpts = c.rcpts
	_, ascii := smtp.ASCIIAddress(m.env.From)
	needs := m.facts.HeaderUTF8 || !ascii
	if c.ext.utf8 {
		how.offer.UTF8 = needs || m.env.UTF8 || slices.ContainsFunc(m.rcpts, m.needsUTF8)
		return how, rcpts, nil
	}
	// RFC 6531 §3.1, §3.5: without SMTPUTF8, UTF-8 must not be sent. A domain can be sent as its A-label.
	if !ascii {
		return refuse(smtp.NewReply(553, "5.6.7", "the sender's address is UTF-8, and the host takes ASCII only"))
	}
	if needs {
		return refuse(smtp.NewReply(554, "5.6.9", "the header is UTF-8, and the host takes ASCII only"))
	}
	if slices.ContainsFunc(rcpts, m.needsUTF8) {
		dropped := slices.DeleteFunc(slices.Clone(rcpts), func(i int) bool { return !m.needsUTF8(i) })
		rcpts = slices.DeleteFunc(rcpts, m.needsUTF8)
		r := smtp.NewReply(553, "5.6.7", "the address is UTF-8, and the host takes ASCII only")
		m.fail(dropped, c.local(smtp.StageRcpt, nil, r))
	}
	return how, rcpts, nil
}

// needsUTF8 reports whether the address of recipient i can't be written in ASCII.
func (m *message) needsUTF8(i int) bool {
	_, ascii := smtp.ASCIIAddress(m.env.Recipients[i].Address)
	return !ascii
}

// batch returns the recipients for the next transaction (RFC 9422 §4). There are none if the session takes no further
// domain.
func (c *Conn) batch(m *message, rcpts []int) []int {
	if c.ext.maxDomains > 0 {
		refused := func(i int) bool { return !c.admits(m.env.Recipients[i].Address) }
		rcpts = slices.DeleteFunc(slices.Clone(rcpts), refused)
	}
	if c.ext.maxRcpts > 0 && len(rcpts) > c.ext.maxRcpts {
		return rcpts[:c.ext.maxRcpts]
	}
	return rcpts
}

// admits reports whether the session takes the domain of an address, and counts the domain.
func (c *Conn) admits(address string) bool {
	if !c.takes(address) {
		return false
	}
	if c.domains == nil {
		c.domains = make(map[string]bool)
	}
	c.domains[domainOf(address)] = true
	return true
}

// takes is admits, without counting.
func (c *Conn) takes(address string) bool {
	return c.ext.maxDomains == 0 || len(c.domains) < c.ext.maxDomains || c.domains[domainOf(address)]
}

// domainOf returns the domain of an address, as an A-label if there is one.
func domainOf(address string) string {
	_, domain := smtp.SplitAddress(address)
	if ascii, err := smtp.ASCIIDomain(domain); err == nil {
		return ascii
	}
	return domain
}
