package client

import (
	"fmt"
	"slices"

	"github.com/postrider/postrider/smtp"
)

// manner is how a message is sent to a host.
type manner struct {
	offer   smtp.Offer
	chunked bool         // by BDAT instead of DATA
	content smtp.Content // that of the message, or converted
}

// fit decides how the message is sent to the host, by the extensions that the message needs and the host has. It
// returns the recipients in m.rcpts that can be offered, and the failure of the others.
func (c *Conn) fit(m *message) (how manner, rcpts []int, f *failure) {
	refuse := func(r *smtp.Reply) (manner, []int, *failure) { return how, nil, c.local(smtp.StageMail, nil, r) }
	form, r := m.demand().form(&c.ext)
	if r != nil {
		return refuse(r)
	}
	how.content = m.content
	if form.convert {
		if how.content, f = c.sevenBit(m); f != nil {
			return how, nil, f
		}
	}
	size := how.content.Size()
	if c.ext.maxSize > 0 && size > c.ext.maxSize {
		// RFC 1870 §6.1: it would be refused.
		text := fmt.Sprintf("the message has %d octets, and the host takes %d", size, c.ext.maxSize)
		return refuse(smtp.NewReply(552, "5.3.4", text))
	}
	how.offer = smtp.Offer{Size: -1, Body: form.body, UTF8: form.utf8, DSN: c.ext.dsn}
	if c.ext.size {
		how.offer.Size = size
	}
	if r := c.askTimes(m.env, &how.offer); r != nil {
		return refuse(r)
	}
	if how.offer.RequireTLS, r = c.fitTLS(m.wish); r != nil {
		return refuse(r)
	}
	chunk := c.chunkSize()
	how.chunked = m.facts.Binary || c.ext.chunking && !c.broken.has(kwChunking) && chunk > 0 && size > chunk
	c.rcpts = append(c.rcpts[:0], m.rcpts...) // a copy: transact shortens it
	rcpts = c.rcpts
	if !form.utf8 && slices.ContainsFunc(rcpts, m.needsUTF8) {
		rcpts = slices.DeleteFunc(rcpts, m.needsUTF8)
		r := smtp.NewReply(553, "5.6.7", "the address is UTF-8, and the host takes ASCII only")
		f = c.local(smtp.StageRcpt, nil, r)
	}
	return how, rcpts, f
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
