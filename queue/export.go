package queue

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/postrider/postrider/smtp"
)

// Export writes a message with its envelope to w, as application/batch-SMTP (RFC 2442): the commands and the data of an
// SMTP client that sends the message to its recipients that aren't settled. Use it to keep the message, or to move it
// to another system.
//
//	EHLO localhost
//	MAIL FROM:<ann@example.com> SIZE=32
//	RCPT TO:<bob@example.net>
//	DATA
//	…
//
// Aliases at ExpandedDestination are left out: the addresses that they stand for are recipients.
//
// The parameters SIZE, BODY, SMTPUTF8, REQUIRETLS and those of DSN are written as far as the message needs them, so the
// reader must know these. The times, Priority, Ref, Tenant, Origin and FromDomain are not written. A content that
// doesn't end in CRLF gets one.
//
// The Queue must be a [Lister]: otherwise the error wraps errors.ErrUnsupported. If there is no message with this ID,
// or all of its recipients are settled, the error is ErrNotFound. In both cases, and if the message can't be sent over
// SMTP, nothing is written. Any other error may come after a part was written. The body is streamed. The message stays
// in the Queue: hold or remove it if it now belongs to another system.
func Export(ctx context.Context, q Queue, id ID, w io.Writer) error {
	l, ok := q.(Lister)
	if !ok {
		return fmt.Errorf("queue: export: a %T is no Lister: %w", q, errors.ErrUnsupported)
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
	if err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrClosed) {
		return err
	}
	return fmt.Errorf("queue: export %s: %w", id, err)
}

// remaining returns the envelope of a message with the recipients that aren't settled.
func remaining(ctx context.Context, l Lister, id ID) (*smtp.Envelope, error) {
	var env *smtp.Envelope
	for t, err := range l.List(ctx, Filter{ID: id}) {
		if err != nil {
			return nil, err
		}
		if OnlyReports(t.Destination) {
			continue // its recipients are settled or in another task; or they are aliases
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
		UTF8: env.UTF8 || needsUTF8(env.From),
		DSN:  true,

		RequireTLS: true,
	}
	if facts.EightBit || env.Body == smtp.Body8BitMIME || env.Body == smtp.BodyBinaryMIME {
		o.Body = smtp.Body8BitMIME // RFC 3030 §3: BINARYMIME needs BDAT, which a batch doesn't have
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

// needsUTF8 reports whether the address has no ASCII form.
func needsUTF8(address string) bool {
	_, ok := smtp.ASCIIAddress(address)
	return !ok
}
