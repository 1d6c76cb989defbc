package spool

import (
	"encoding/binary"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
	"github.com/postrider/postrider/smtp"
)

// These are the tags of a message.
const (
	messageID          = fieldID
	messageArrival     = 2 // Unix nanoseconds, as all times
	messageSize        = 3 // octets of the body
	messageSum         = 4 // the body's checksum
	messageNotBefore   = 5 // if left out: it is due at once
	messageNotice      = 6
	messageDeadline    = 7
	messagePriority    = 8 // an int8
	messageRef         = 9
	messageTenant      = 10
	messageOrigin      = 11
	messageFromDomain  = 12
	messageDestination = 13 // a list; a task's number is an index of it
	messageEnvelope    = 14 // fields

	// 15 has no use: a Key outlives its message, and has an entry of its own.

	// These are of the envelope (RFC 8689). A program that skips REQUIRETLS would send the message in cleartext, so the
	// field is critical, and stands here.
	messageTLSOptional = 16 // a flag
	messageRequireTLS  = critical | 17

	messageAbout   = 18 // the ID of the message that it reports on
	messageHeldFor = 19 // why it was stored held
)

// These are the tags of an envelope.
const (
	envelopeFrom      = 1
	envelopeBody      = 2
	envelopeUTF8      = 3
	envelopeSize      = 4
	envelopeRet       = 5
	envelopeEnvID     = 6
	envelopeAuth      = 7
	envelopeRecipient = 8  // a list of fields
	envelopeBy        = 9  // fields (RFC 2852)
	envelopePriority  = 10 // an int8 (RFC 6710)
	envelopeHold      = 11 // a time (RFC 4865)
)

// These are the tags of a BY.
const (
	byTime   = 1
	byReturn = 2
	byTrace  = 3
)

// These are the tags of a recipient.
const (
	recipientAddress     = 1
	recipientDestination = 2 // its number
	recipientNotify      = 3
	recipientORCPT       = 4
)

// The fields that are known only after the body come first, in their full length, so that endMessage can set them.
const (
	idAt          = entryHeaderLen + 2
	arrivalAt     = idAt + 8 + 2
	sizeAt        = arrivalAt + 8 + 2
	sumAt         = sizeAt + 8 + 2
	messagePrefix = "" +
		string(rune(messageID)) + "\x08\x00\x00\x00\x00\x00\x00\x00\x00" +
		string(rune(messageArrival)) + "\x08\x00\x00\x00\x00\x00\x00\x00\x00" +
		string(rune(messageSize)) + "\x08\x00\x00\x00\x00\x00\x00\x00\x00" +
		string(rune(messageSum)) + "\x04\x00\x00\x00\x00"
)

// appendMessage appends the entry of a message up to its body. endMessage completes it when the body is known.
func appendMessage(b []byte, m *index.Message) []byte {
	b = append(appendEntry(b, entryMessage), messagePrefix...)
	b = appendUint(b, messageNotBefore, uint64(m.NotBefore))
	b = appendTime(b, messageNotice, m.Notice)
	b = appendTime(b, messageDeadline, m.Deadline)
	b = appendUint(b, messagePriority, uint64(uint8(m.Priority)))
	b = appendString(b, messageRef, m.Ref)
	b = appendString(b, messageTenant, m.Tenant)
	b = appendUint(b, messageOrigin, uint64(m.Origin))
	b = appendString(b, messageFromDomain, m.FromDomain)
	b = appendFlag(b, messageTLSOptional, m.Envelope.TLSOptional)
	b = appendFlag(b, messageRequireTLS, m.Envelope.RequireTLS)
	b = appendString(b, messageAbout, string(m.About))
	b = appendString(b, messageHeldFor, m.HeldFor)
	for _, name := range m.Dests {
		b = appendField(b, messageDestination, name)
	}
	b = beginFields(b, messageEnvelope)
	start := len(b)
	return endFields(appendEnvelope(b, &m.Envelope, m.Dest), start)
}

func appendEnvelope(b []byte, env *smtp.Envelope, dest []uint32) []byte {
	b = appendString(b, envelopeFrom, env.From)
	b = appendUint(b, envelopeBody, uint64(env.Body))
	b = appendFlag(b, envelopeUTF8, env.UTF8)
	b = appendUint(b, envelopeSize, uint64(env.Size))
	b = appendUint(b, envelopeRet, uint64(env.Ret))
	b = appendString(b, envelopeEnvID, env.EnvID)
	b = appendString(b, envelopeAuth, env.Auth)
	if by := env.By; !by.Time.IsZero() {
		b = beginFields(b, envelopeBy)
		start := len(b)
		b = appendNumber(b, byTime, uint64(index.ToNano(by.Time)))
		b = appendFlag(b, byReturn, by.Return)
		b = endFields(appendFlag(b, byTrace, by.Trace), start)
	}
	b = appendUint(b, envelopePriority, uint64(uint8(env.Priority)))
	if !env.HoldUntil.IsZero() {
		b = appendNumber(b, envelopeHold, uint64(index.ToNano(env.HoldUntil)))
	}
	for i := range env.Recipients {
		r := &env.Recipients[i]
		b = beginFields(b, envelopeRecipient)
		start := len(b)
		b = appendString(b, recipientAddress, r.Address)
		b = appendUint(b, recipientDestination, uint64(dest[i]))
		b = appendUint(b, recipientNotify, uint64(r.Notify))
		b = appendString(b, recipientORCPT, r.ORCPT)
		b = endFields(b, start)
	}
	return b
}

// endMessage completes b, an entry that ends with the body unless the body is in a file.
func endMessage(b []byte, m *index.Message, inFile bool) {
	body := 0
	if !inFile {
		body = int(m.Size)
		m.Sum = checksum(b[len(b)-body:])
	}
	binary.LittleEndian.PutUint64(b[idAt:], m.ID)
	binary.LittleEndian.PutUint64(b[arrivalAt:], uint64(m.Arrival))
	binary.LittleEndian.PutUint64(b[sizeAt:], uint64(m.Size))
	binary.LittleEndian.PutUint32(b[sumAt:], m.Sum)
	endEntry(b, body)
}

// isMessage reports whether the entry is a message.
func isMessage(h entryHeader) bool { return h.kind == entryMessage || h.kind == entryMessage1 }

// bodyInFile reports whether the body of the message is in a file of its own.
func bodyInFile(h entryHeader, m *index.Message) bool {
	if h.kind == entryMessage1 {
		return h.flags&flagBodyFile1 != 0
	}
	return h.body == 0 && m.Size > 0
}

// decodeMessage reads the fields of a message. If brief is set, it leaves out the strings and the envelope, except for
// Dests, Ref, Tenant and the reverse-path. With an unknownError, it returns the message too.
func decodeMessage(h entryHeader, b []byte, brief bool) (*index.Message, error) {
	switch h.kind {
	case entryMessage1:
		return decodeMessage1(b, brief)
	case entryMessage:
	default:
		return nil, errEntry
	}
	m := &index.Message{Notice: index.Never, Deadline: index.Never}
	var envelope []byte
	f := fields{rest: b}
	for f.next() {
		switch f.tag {
		case messageID:
			m.ID = f.upTo(maxID)
		case messageArrival:
			m.Arrival = f.int64()
		case messageSize:
			m.Size = int64(f.upTo(maxBody))
		case messageSum:
			m.Sum = f.uint32()
		case messageNotBefore:
			m.NotBefore = f.int64()
		case messageNotice:
			m.Notice = f.int64()
		case messageDeadline:
			m.Deadline = f.int64()
		case messagePriority:
			m.Priority = int8(f.uint8())
		case messageRef:
			m.Ref = string(f.value)
		case messageTenant:
			m.Tenant = string(f.value)
		case messageOrigin:
			m.Origin = smtp.Origin(f.uint8())
		case messageFromDomain:
			m.FromDomain = f.text(brief)
		case messageTLSOptional:
			m.Envelope.TLSOptional = true
		case messageRequireTLS:
			m.Envelope.RequireTLS = true
		case messageAbout:
			m.About = queue.ID(f.text(brief))
		case messageHeldFor:
			m.HeldFor = f.text(brief)
		case messageDestination:
			m.Dests = append(m.Dests, destination(string(f.value)))
		case messageEnvelope:
			envelope = f.value
		default:
			f.skip()
		}
	}
	if brief {
		m.Envelope.From = envelopeSender(envelope)
	} else if !decodeEnvelope(fields{rest: envelope}, m) {
		f.failed = true
	}
	if m.ID == 0 || len(m.Dests) == 0 || len(envelope) == 0 || h.body != 0 && h.body != uint64(m.Size) {
		return nil, errEntry
	}
	return decoded(m, f.err())
}

// sumOf returns the checksum of the body of a message.
func sumOf(h entryHeader, b []byte) (uint32, error) {
	switch h.kind {
	case entryMessage1:
		m, err := decodeMessage1(b, true)
		if err != nil {
			return 0, err
		}
		return m.Sum, nil
	case entryMessage:
		for f := (fields{rest: b}); f.next(); {
			if f.tag == messageSum {
				return f.uint32(), f.err()
			}
		}
	}
	return 0, errEntry
}

// destination returns the name of a destination as it is read. Before there were report tasks, a route could have their
// name. A message for it is for an ordinary destination, of a name that nothing else has (RFC 6761 §6.4).
func destination(name string) string {
	if name == queue.ReportDestination {
		return "report.invalid"
	}
	return name
}

// decoded returns v unless it is unreadable.
func decoded[T any](v *T, err error) (*T, error) {
	if err != nil && !isUnknown(err) {
		return nil, err
	}
	return v, err
}

// envelopeSender returns the reverse-path of an envelope. It stands first.
func envelopeSender(envelope []byte) string {
	f := fields{rest: envelope}
	if f.next() && f.tag == envelopeFrom {
		return string(f.value)
	}
	return ""
}

// decodeEnvelope reads the fields of an envelope. It reports false if it can't, or if there are no recipients.
func decodeEnvelope(f fields, m *index.Message) bool {
	env := &m.Envelope
	for f.next() {
		switch f.tag {
		case envelopeFrom:
			env.From = string(f.value)
		case envelopeBody:
			env.Body = smtp.BodyType(f.uint8())
		case envelopeUTF8:
			env.UTF8 = true
		case envelopeSize:
			env.Size = f.int64()
		case envelopeRet:
			env.Ret = smtp.Ret(f.uint8())
		case envelopeEnvID:
			env.EnvID = string(f.value)
		case envelopeAuth:
			env.Auth = string(f.value)
		case envelopeBy:
			by, ok := decodeBy(fields{rest: f.value})
			if !ok {
				return false
			}
			env.By = by
		case envelopePriority:
			env.Priority = int8(f.uint8())
		case envelopeHold:
			env.HoldUntil = time.Unix(0, f.int64()).UTC()
		case envelopeRecipient:
			if env.Recipients == nil { // the others are about as long in most cases
				n := min(1+len(f.rest)/(len(f.value)+2), 1000)
				env.Recipients, m.Dest = make([]smtp.Recipient, 0, n), make([]uint32, 0, n)
			}
			r, dest, ok := decodeRecipient(fields{rest: f.value})
			if !ok || int64(dest) >= int64(len(m.Dests)) {
				return false
			}
			env.Recipients, m.Dest = append(env.Recipients, r), append(m.Dest, dest)
		}
	}
	return !f.failed && len(env.Recipients) > 0
}

func decodeBy(f fields) (by smtp.DeliverBy, ok bool) {
	for f.next() {
		switch f.tag {
		case byTime:
			by.Time = time.Unix(0, f.int64()).UTC()
		case byReturn:
			by.Return = true
		case byTrace:
			by.Trace = true
		}
	}
	return by, !f.failed
}

func decodeRecipient(f fields) (r smtp.Recipient, dest uint32, ok bool) {
	for f.next() {
		switch f.tag {
		case recipientAddress:
			r.Address = string(f.value)
		case recipientDestination:
			dest = f.uint32()
		case recipientNotify:
			r.Notify = smtp.Notify(f.uint8())
		case recipientORCPT:
			r.ORCPT = string(f.value)
		}
	}
	return r, dest, !f.failed
}
