package client

import "github.com/postrider/postrider/smtp"

// demand is what the octets above 127 of a message ask of a host.
type demand struct {
	declared     bool // the sender declared SMTPUTF8
	sender       bool // the sender's address has no ASCII form
	recipient    bool // nor has that of some recipient
	header       bool // a header has UTF-8
	eightBit     bool // there is an octet above 127, or the sender declared that there may be
	eightBitBody bool // there is one after the header
	binary       bool
}

// form is how the octets above 127 of a message go to a host.
type form struct {
	utf8    bool          // MAIL has SMTPUTF8; without it, recipients whose address needs that are left out
	body    smtp.BodyType // MAIL has BODY
	convert bool          // the body is made 7-bit
}

// form decides how the message goes to a host with these extensions. A reply is the reason why it can't.
//
//   - SMTPUTF8 is used where an address needs it, or where the sender declared it and the header needs it (RFC 6531
//     §3.4: not otherwise). Only then does a host have to have it.
//   - All other octets above 127 in a header go on as they came, whatever the host has.
//   - A host without 8BITMIME gets an 8-bit body converted (RFC 6152 §3).
func (d demand) form(host *extensions) (f form, no *smtp.Reply) {
	switch {
	case d.binary && !(host.binary && host.chunking):
		// RFC 3030 §3: a conversion would break signatures.
		return form{}, smtp.NewReply(554, "5.6.3", "the message is binary, and the host takes lines of text only")
	case d.binary:
		f.body = smtp.BodyBinaryMIME
	case host.eightBit && d.eightBit:
		f.body = smtp.Body8BitMIME
	case !host.eightBit:
		f.convert = d.eightBitBody
	}
	header := d.declared && d.header
	switch {
	case host.utf8:
		f.utf8 = d.sender || d.recipient || header
	case d.sender: // RFC 6531 §3.5
		return form{}, smtp.NewReply(553, "5.6.7", "the sender's address is UTF-8, and the host takes ASCII only")
	case header:
		return form{}, smtp.NewReply(554, "5.6.9", "the header is UTF-8, and the host takes ASCII only")
	}
	return f, nil
}

// demand returns what the message asks of a host, for the recipients in m.rcpts.
func (m *message) demand() demand {
	d := demand{
		declared: m.env.UTF8, header: m.facts.HeaderUTF8 || m.partsUTF8, binary: m.facts.Binary,
		eightBit:     m.facts.EightBit || m.env.Body == smtp.Body8BitMIME || m.env.Body == smtp.BodyBinaryMIME,
		eightBitBody: m.facts.EightBitBody,
	}
	_, ascii := smtp.ASCIIAddress(m.env.From)
	d.sender = !ascii
	for _, i := range m.rcpts {
		d.recipient = d.recipient || m.needsUTF8(i)
	}
	return d
}

// conversion is the result of smtp.SevenBit.
type conversion struct {
	content smtp.Content
	signed  bool
	err     error
}

// sevenBit returns the content of m in 7 bits. It is converted once, for all hosts.
func (c *Conn) sevenBit(m *message) (smtp.Content, *failure) {
	if m.sevenBit == nil {
		m.sevenBit = new(conversion)
		m.sevenBit.content, m.sevenBit.signed, m.sevenBit.err = smtp.SevenBit(m.content)
	}
	if m.sevenBit.err != nil {
		return nil, c.local(smtp.StageMail, m.sevenBit.err, contentReply(m.sevenBit.err))
	}
	if m.sevenBit.signed && !m.breakSigned {
		m.kept = true
		r := smtp.NewReply(554, "5.6.3", "the message is 8-bit and signed, and the host takes 7-bit only")
		return nil, c.local(smtp.StageMail, nil, r)
	}
	return m.sevenBit.content, nil
}
