package postrider

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

const (
	maxReceived = 100     // RFC 5321 §6.3: at least 100
	maxHeader   = 1 << 20 // octets of a header section
)

// Prepare makes of an envelope and a message what a Queue stores: it checks the envelope, finds each
// recipient's destination, puts the Received line on top and refuses a message that goes in circles.
// [Relay.Send] is Prepare and Queue.Enqueue; call it yourself to enqueue in another way, within a
// transaction of your own say. The header of body is read now, and the rest when the message is stored. Lines may
// end in "\n" or "\r\n".
func (r *Relay) Prepare(ctx context.Context, env *smtp.Envelope, body io.Reader) (queue.Message, error) {
	if err := ctx.Err(); err != nil {
		return queue.Message{}, err
	}
	if err := r.init(); err != nil {
		return queue.Message{}, err
	}
	if env == nil || body == nil {
		return queue.Message{}, errors.New("relay: no envelope or no body")
	}
	if err := env.Check(); err != nil {
		return queue.Message{}, fmt.Errorf("relay: %w", smtp.NewReply(501, "5.5.4", err.Error()))
	}
	m, err := r.prepare(env, smtp.CRLFReader(body), nil)
	if err != nil {
		return queue.Message{}, fmt.Errorf("relay: %w", err)
	}
	return m, nil
}

// prepare is Prepare for a body with CRLF throughout. p is nil for mail from code.
func (r *Relay) prepare(env *smtp.Envelope, body io.Reader, p *server.Peer) (queue.Message, error) {
	header, err := readHeader(body)
	if err != nil {
		return queue.Message{}, err
	}
	if hops(header) > maxReceived {
		return queue.Message{}, smtp.NewReply(554, "5.4.6", "too many Received lines: the message goes in circles")
	}
	m, err := r.message(env)
	if err != nil {
		return queue.Message{}, err
	}
	top := r.received(env, p, time.Now())
	if !beginsHeader(header) {
		top = append(top, "\r\n"...) // else the text would read as part of our line
	}
	m.Body = io.MultiReader(bytes.NewReader(top), bytes.NewReader(header), body)
	return m, nil
}

// message gives each recipient its destination and the message its times. The body is still missing.
func (r *Relay) message(env *smtp.Envelope) (queue.Message, error) {
	m := queue.Message{Envelope: env, Destinations: make([]string, len(env.Recipients))}
	for i := range env.Recipients {
		address := env.Recipients[i].Address
		if r.isPostmaster(address) {
			if r.postmaster == "" {
				return queue.Message{}, errNoPostmaster
			}
			if m.Envelope == env { // the caller's stays as it is
				changed := *env
				changed.Recipients = slices.Clone(env.Recipients)
				m.Envelope = &changed
			}
			address = r.postmaster
			m.Envelope.Recipients[i].Address = address
		}
		_, domain := smtp.SplitAddress(address)
		destination, err := r.router.Destination(domain)
		if reply, ok := errors.AsType[*smtp.Reply](err); ok && reply.Temporary() && destination != "" && env.From == "" {
			err = nil // a route that refuses it for now; a report can't be told so
		}
		if err != nil {
			return queue.Message{}, err
		}
		m.Destinations[i] = destination
	}
	now := time.Now()
	m.Deadline = now.Add(cmp.Or(r.MaxAge, defaultMaxAge))
	// No report goes to the null reverse-path, so none falls due (RFC 5321 §4.5.5).
	if notice := cmp.Or(r.DelayNotice, defaultDelayNotice); notice > 0 && env.From != "" {
		m.NoticeAt = now.Add(notice)
	}
	return m, nil
}

// readHeader reads what body begins with: its header section and the empty line behind it at least, or the first
// line if there is no header.
func readHeader(body io.Reader) ([]byte, error) {
	buf := make([]byte, 0, 2048)
	for searched := 0; ; {
		n, err := body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if searched == 0 && bytes.IndexByte(buf, '\n') >= 0 && !beginsHeader(buf) {
			return buf, nil
		}
		if bytes.Contains(buf[searched:], []byte("\r\n\r\n")) || bytes.HasPrefix(buf, []byte("\r\n")) {
			return buf, nil
		}
		searched = max(0, len(buf)-3)
		switch {
		case errors.Is(err, io.EOF):
			return buf, nil
		case err != nil:
			return nil, err
		case len(buf) >= maxHeader:
			return nil, smtp.NewReply(552, "5.3.4", "the header is too long")
		case len(buf) == cap(buf):
			buf = slices.Grow(buf, len(buf))
		}
	}
}

// beginsHeader reports whether b begins with a header section, which may be empty: with the name of a field
// and a colon (RFC 5322 §2.2; §4.5 allows white space between them), or with the empty line.
func beginsHeader(b []byte) bool {
	if len(b) == 0 || bytes.HasPrefix(b, []byte("\r\n")) {
		return true
	}
	name := bytes.IndexFunc(b, func(c rune) bool { return c <= ' ' || c == ':' || c >= 0x7f })
	return name > 0 && bytes.HasPrefix(bytes.TrimLeft(b[name:], " \t"), []byte(":"))
}

// hops counts the Received fields of the header section that b begins with (RFC 5321 §6.3).
func hops(b []byte) int {
	const name = "received:"
	n := 0
	for len(b) > 0 && !bytes.HasPrefix(b, []byte("\r\n")) {
		if len(b) >= len(name) && bytes.EqualFold(b[:len(name)], []byte(name)) {
			n++
		}
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			break
		}
		b = b[end+1:]
	}
	return n
}

// received gives the Received line (RFC 5321 §4.4).
func (r *Relay) received(env *smtp.Envelope, p *server.Peer, now time.Time) []byte {
	b := make([]byte, 0, 320)
	b = append(b, "Received: "...)
	if p != nil {
		b = fmt.Appendf(b, "from %s (%s)\r\n\t", plain(p.Hello), addressLiteral(p.RemoteAddr))
	}
	b = fmt.Appendf(b, "by %s with %s", r.hostname, protocol(env, p))
	if p != nil && p.TLS != nil {
		b = fmt.Appendf(b, " (%s)", tlsNames(p.TLS))
	}
	id := "local-" + rand.Text()
	if p != nil {
		id = p.Transaction()
	}
	b = append(b, " id "...)
	b = append(b, id...)
	// RFC 5321 §7.2: with more recipients, "for" would tell each of the others.
	if len(env.Recipients) == 1 {
		// A U-label would make a header that needs SMTPUTF8 of one that doesn't.
		if address, ok := smtp.ASCIIAddress(env.Recipients[0].Address); (ok || env.UTF8) && len(address) < 200 {
			b = fmt.Appendf(b, "\r\n\tfor <%s>", address)
		}
	}
	b = append(b, ";\r\n\t"...)
	b = now.AppendFormat(b, "Mon, 02 Jan 2006 15:04:05 -0700")
	return append(b, "\r\n"...)
}
