package queue

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/postrider/postrider/smtp"
)

// Export writes a message with its envelope, to be kept or to be taken in elsewhere. The form is
// application/batch-SMTP (RFC 2442): the client's side of a session, all of it answered well, that hands the
// message to those of its recipients who aren't settled. SIZE, what the message needs of 8BITMIME and SMTPUTF8,
// and what it asks for of DSN are there as parameters, which whoever takes it in must know. Its times, Priority,
// Ref and Tenant aren't there. A content that doesn't end in CRLF gets one.
//
// The Queue must be a [Lister]: otherwise the error wraps errors.ErrUnsupported. ErrNotFound: there is no such
// message. On either, and where the message couldn't be sent, nothing is written. The message stays in the Queue
// as it is; hold or remove it if it goes elsewhere. Its body is streamed, in large writes.
func Export(ctx context.Context, q Queue, id ID, w io.Writer) error {
	l, ok := q.(Lister)
	if !ok {
		return fmt.Errorf("queue: export: the Queue is no Lister: %w", errors.ErrUnsupported)
	}
	env, err := remaining(ctx, l, id)
	if err != nil {
		return exportError(id, err)
	}
	body, err := q.Open(ctx, id)
	if err != nil {
		return exportError(id, err)
	}
	defer body.Close()
	return exportError(id, writeBatch(w, env, body))
}

func exportError(id ID, err error) error {
	if err == nil || err == ErrNotFound || err == ErrClosed {
		return err
	}
	return fmt.Errorf("queue: export %s: %w", id, err)
}

// remaining is the envelope of a message with all recipients who aren't settled.
func remaining(ctx context.Context, l Lister, id ID) (*smtp.Envelope, error) {
	var env *smtp.Envelope
	for t, err := range l.List(ctx, Filter{ID: id}) {
		if err != nil {
			return nil, err
		}
		if env == nil {
			env = t.Envelope
		} else {
			env.Recipients = append(env.Recipients, t.Envelope.Recipients...)
		}
	}
	if env == nil {
		return nil, ErrNotFound
	}
	return env, nil
}

func writeBatch(w io.Writer, env *smtp.Envelope, body smtp.Content) error {
	if err := env.Check(); err != nil {
		return err
	}
	facts, err := smtp.Scan(body)
	if err != nil {
		return err
	}
	o := smtp.Offer{
		Size: body.Size(),
		UTF8: facts.HeaderUTF8 || env.UTF8 || needsUTF8(env.From),
		DSN:  true,
	}
	if facts.EightBit || env.Body == smtp.Body8BitMIME || env.Body == smtp.BodyBinaryMIME {
		o.Body = smtp.Body8BitMIME // BINARYMIME takes BDAT
	}
	for _, r := range env.Recipients {
		o.UTF8 = o.UTF8 || needsUTF8(r.Address)
	}
	b := env.AppendMail([]byte("EHLO localhost\r\n"), o)
	for i := range env.Recipients {
		b = env.Recipients[i].AppendRcpt(b, o)
	}
	if _, err := w.Write(append(b, "DATA\r\n"...)); err != nil {
		return err
	}
	if err := smtp.WriteData(w, body); err != nil {
		return err
	}
	_, err = io.WriteString(w, "QUIT\r\n")
	return err
}

// needsUTF8 reports whether the address has no form in ASCII.
func needsUTF8(address string) bool {
	_, ok := smtp.ASCIIAddress(address)
	return !ok
}
