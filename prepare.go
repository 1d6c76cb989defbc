package postrider

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/postrider/postrider/internal/header"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// Prepare makes a queue.Message of an envelope and a body: it checks the envelope, applies Expand, finds each
// recipient's destination, puts the Received field on top and refuses a message that goes in circles. The envelope's
// HoldUntil becomes the NotBefore, its By the Deadline or the NoticeAt, and its Priority the Priority. A header field
// "TLS-Required: No" becomes its TLSOptional, and if TLSOptional is set, the field is added (RFC 8689). [Relay.Send] is
// Prepare and [Relay.Enqueue]. Call Prepare to change the queue.Message, or to enqueue it in a transaction of your own.
// To send it later, call its Postpone:
//
//	m, err := relay.Prepare(ctx, env, body)
//	…
//	m.Postpone(time.Now().AddDate(0, 0, 30)) // it may be retried until day 35
//	id, err := relay.Enqueue(ctx, m)
//
// A byte order mark, and lines that begin with "From " or ">From ", are dropped at the beginning of body if a field
// follows (RFC 4155, RFC 976 §2.3). If body doesn't begin with a field or an empty line, all of it is text, and an
// empty line goes before it.
//
// The header of body is read now, the rest when the message is stored. So body must stay valid until then, and the
// message can be stored once. Lines may end in "\n" or "\r\n". If env.Body is smtp.BodyBinaryMIME, every octet stays as
// it is: the lines of the header must end in "\r\n", and a next host without BINARYMIME makes the message fail.
func (r *Relay) Prepare(ctx context.Context, env *smtp.Envelope, body io.Reader) (queue.Message, error) {
	if err := ctx.Err(); err != nil {
		return queue.Message{}, err
	}
	if err := r.init(); err != nil {
		return queue.Message{}, err
	}
	if env == nil || body == nil {
		return queue.Message{}, errors.New("relay: the envelope or the body is nil")
	}
	if err := checkEnvelope(env); err != nil {
		return queue.Message{}, fmt.Errorf("relay: %w", err)
	}
	if env.Body != smtp.BodyBinaryMIME { // its octets are as they are meant to be (RFC 3030 §3)
		body = smtp.CRLFReader(body)
	}
	m, err := r.prepare(ctx, env, body, nil)
	if err != nil {
		return queue.Message{}, fmt.Errorf("relay: %w", err)
	}
	return m, nil
}

// Send puts a message into the queue, and returns when it is durable there. It is delivered while Run or Serve runs,
// now or later. For a message with a Key, a Ref, a Tenant or a time, call [Relay.Prepare] and [Relay.Enqueue] instead.
// Lines may end in "\n" or "\r\n". A Received field is added, and no other: with [client.AddMissing] in Wrap, a message
// without a Date or a Message-ID goes out with them. Lines of an mbox file before the first field are dropped, and
// binary content stays as it is: see [Relay.Prepare]. The size has no bound. env may be used again.
//
// The message is stored for all recipients or, after an error, for none. If the message is at fault, the error contains
// a *smtp.Reply. The error names each recipient that isn't valid, or else each one whose route refuses it, up to 10 of
// them. To send to the others, leave out those for which [smtp.Recipient.Check] returns an error, or for whose domain
// [Relay.Destination] does. With Suppress, a recipient that is suppressed is such an error, too, a *smtp.Reply with 550
// 5.7.1: leave out those for which its Find returns an entry.
//
// The body is read until ctx ends. A body that returns neither octets nor an error 100 times in a row is an error.
func (r *Relay) Send(ctx context.Context, env *smtp.Envelope, body io.Reader) (queue.ID, error) {
	m, err := r.Prepare(ctx, env, body)
	if err != nil {
		return "", err
	}
	return r.Enqueue(ctx, m)
}

// Enqueue stores a message that [Relay.Prepare] returned, with any changes made since: Deadline, Priority, Ref, Tenant,
// Key. A second call for the same message is an error, also after an error of the first. To send it later, call
// [queue.Message.Postpone] before: NotBefore must be before the Deadline.
//
// A message whose Key was used in the last 24 hours isn't stored: Enqueue returns the ID of the first one, and Accepted
// isn't called: see [queue.Keyer]. Call [Relay.EnqueueOnce] to learn of that. Errors about a Key are
// queue.ErrKeyReused, for another reverse-path or other recipients (those after Expand), queue.ErrKeysFull, and
// errors.ErrUnsupported if the Queue is no queue.Keyer. With Suppress, a message is refused for a recipient that was
// suppressed since the first one.
func (r *Relay) Enqueue(ctx context.Context, m queue.Message) (queue.ID, error) {
	id, _, err := r.EnqueueOnce(ctx, m)
	return id, err
}

// EnqueueOnce is Enqueue, and reports whether the message repeats an earlier one with the same Key, whose ID it then
// returns. A message without a Key never repeats one.
func (r *Relay) EnqueueOnce(ctx context.Context, m queue.Message) (id queue.ID, repeats bool, err error) {
	if err := r.init(); err != nil {
		return "", false, err
	}
	if !m.Deadline.IsZero() && !m.NotBefore.Before(m.Deadline) { // a Queue has another advice
		return "", false, fmt.Errorf("relay: enqueue: NotBefore is %v, and the Deadline is %v: "+
			"call Message.Postpone, which moves the Deadline along, or set a later Deadline", m.NotBefore, m.Deadline)
	}
	if err := r.checkSuppressed(ctx, &m); err != nil {
		return "", false, fmt.Errorf("relay: %w", err)
	}
	if id, repeats, err = r.enqueue(ctx, m, nil); err != nil {
		return "", false, fmt.Errorf("relay: enqueue: %w", err)
	}
	return id, repeats, nil
}

// checkEnvelope returns an error that holds a *smtp.Reply, and names each recipient that isn't valid.
func checkEnvelope(env *smtp.Envelope) error {
	whole := env.Check()
	if whole == nil {
		return nil
	}
	var found faults
	for i := range env.Recipients {
		err := env.Recipients[i].Check()
		if err == nil {
			continue
		}
		if address := env.Recipients[i].Address; smtp.CheckAddress(address) == nil { // err is about a parameter
			found.add(fmt.Errorf("recipient %s: %w", address, smtp.NewReply(501, "5.5.4", err.Error())))
			continue
		}
		found.add(smtp.NewReply(501, "5.1.3", err.Error())) // RFC 3463 §3.2: bad destination mailbox address syntax
	}
	if found.n == 0 {
		return smtp.NewReply(501, "5.5.4", whole.Error())
	}
	return found.err()
}

// faults are the errors of several recipients, as one error.
type faults struct {
	first error // the first maxFaults of them
	n     int
}

const maxFaults = 10

func (f *faults) add(err error) {
	if f.n++; f.n == 1 {
		f.first = err
	} else if f.n <= maxFaults {
		f.first = fmt.Errorf("%w; %w", f.first, err)
	}
}

// err returns nil if there are none.
func (f *faults) err() error {
	if f.n > maxFaults {
		return fmt.Errorf("%w; and %d more", f.first, f.n-maxFaults)
	}
	return f.first
}

// prepare is Prepare for a body with CRLF throughout. p is nil for mail from code.
func (r *Relay) prepare(ctx context.Context, env *smtp.Envelope, body io.Reader, p *server.Peer) (
	m queue.Message, err error,
) {
	// The body of a session ends by its own time-outs, and the header has the bound of the server.
	beginning, most := body, math.MaxInt
	if p == nil {
		beginning, most = &bodyReader{ctx: ctx, r: body}, header.Max
	}
	top, _, err := header.ReadMost(beginning, most)
	if err != nil {
		return queue.Message{}, err
	}
	var h facts
	if header.Begins(top) { // else what looks like a field is text
		// A server of our name with checks has done it, before they added theirs.
		if s := server.SessionOf(ctx); p != nil && (s == nil || !strings.EqualFold(s.Hostname(), r.hostname)) {
			top = header.WithoutResults(top, r.hostname)
		}
		h = parseHeader(top)
	}
	if h.received > maxReceived {
		return queue.Message{}, smtp.NewReply(554, "5.4.6", "too many Received fields: the message goes in circles")
	}
	authors, err := r.checkedAuthors(ctx, p, &h)
	if err != nil {
		return queue.Message{}, err
	}
	to, expanded, err := r.expand(ctx, env, originOf(p).IsStranger())
	if err != nil {
		return queue.Message{}, err
	}
	if m, err = r.message(to); err != nil {
		return queue.Message{}, err
	}
	keepExpanded(&m, expanded)
	m.Origin = originOf(p)
	m.FromDomain = h.fromDomain(authors)
	now := time.Now()
	schedule(&m, now)
	ours := []byte(r.received(env, p, now).String())
	if !to.RequireTLS && to.TLSOptional != h.tlsOptional() {
		if len(h.tls) == 0 {
			ours = append(ours, "TLS-Required: No\r\n"...) // RFC 8689 §4.3: for the hosts after this one
		}
		tagged := *m.Envelope // RFC 8689 §4.1
		tagged.TLSOptional = true
		m.Envelope = &tagged
	}
	if p != nil && p.Username != "" {
		ours = header.AppendMissing(ours, top, now, func() string { return rand.Text() + "@" + r.hostname })
	}
	if !header.Begins(top) {
		ours = append(ours, "\r\n"...) // else the text would read as part of our field
	}
	whole := io.MultiReader(bytes.NewReader(ours), bytes.NewReader(top), body)
	m.Body = &onceBody{bodyReader: bodyReader{r: whole}}
	return m, nil
}

// received returns the Received field. p is nil for mail from code.
func (r *Relay) received(env *smtp.Envelope, p *server.Peer, now time.Time) server.Field {
	if p != nil && p.Username != "" && r.HideUsers {
		hidden := *p
		hidden.RemoteAddr = nil
		p = &hidden
	}
	id := ""
	if p == nil {
		id = "local-" + rand.Text()
	}
	return server.ReceivedField(r.hostname, p, env, id, now)
}

// onceBody is the Body of a prepared message. A second Enqueue would store the rest of it, or nothing.
type onceBody struct {
	bodyReader
	used atomic.Bool
}

// BeginReading begins the one reading: by Relay.Enqueue, or by a Queue that stores the message without it.
func (b *onceBody) BeginReading() error {
	if b.used.Swap(true) {
		return errUsed
	}
	return nil
}

var errUsed = errors.New("the Body of this message was read by an earlier Enqueue: call Prepare again")

func originOf(p *server.Peer) smtp.Origin {
	switch {
	case p == nil:
		return smtp.OriginCode
	case p.Username != "":
		return smtp.OriginAuthenticated
	case p.Allowed:
		return smtp.OriginAllowed
	}
	return smtp.OriginStranger
}

// message returns a queue.Message with destinations and times, and without a Body.
func (r *Relay) message(env *smtp.Envelope) (queue.Message, error) {
	m := queue.Message{Envelope: env, Destinations: make([]string, len(env.Recipients))}
	var found faults
	for i := range env.Recipients {
		_, domain := smtp.SplitAddress(env.Recipients[i].Address)
		destination, err := r.router.Destination(domain)
		if err != nil {
			found.add(fmt.Errorf("recipient %s: %w", env.Recipients[i].Address, err))
		}
		m.Destinations[i] = destination
	}
	if err := found.err(); err != nil {
		return queue.Message{}, err
	}
	now := time.Now()
	m.Deadline = now.Add(cmp.Or(r.MaxAge, defaultMaxAge))
	// No report goes to the null reverse-path, so none falls due (RFC 5321 §4.5.5).
	if notice := cmp.Or(r.DelayNotice, defaultDelayNotice); notice > 0 && env.From != "" {
		m.NoticeAt = now.Add(notice)
	}
	return m, nil
}

// enqueue stores m, unless it repeats another message by its Key, and reports it. peer is nil for mail from code.
func (r *Relay) enqueue(ctx context.Context, m queue.Message, peer *server.Peer) (
	id queue.ID, repeats bool, err error,
) {
	switch b := m.Body.(type) {
	case nil: // the Queue has an error for it
	case *onceBody:
		if err := b.BeginReading(); err != nil {
			return "", false, err
		}
		b.ctx = ctx
		m.Body = &b.bodyReader
	default:
		m.Body = &bodyReader{ctx: ctx, r: b}
	}
	if id, repeats, err = r.store(ctx, m); err != nil {
		return "", false, err
	}
	if repeats {
		r.logger().LogAttrs(ctx, slog.LevelInfo, "mail is in the queue already, or was",
			appendOwner(m.Ref, m.Tenant, slog.String("id", string(id)))...)
		return id, true, nil
	}
	held := ""
	if peer != nil {
		copied := *peer // the session goes on with its own
		peer, held = &copied, heldBy(ctx)
	}
	r.accepted(ctx, Accepted{
		ID: id, Envelope: withoutExpanded(&m), Peer: peer, Origin: m.Origin, Ref: m.Ref, Tenant: m.Tenant, Held: held,
	})
	return id, false, nil
}

// store puts the message into the Queue, unless it repeats another by its Key.
func (r *Relay) store(ctx context.Context, m queue.Message) (id queue.ID, repeats bool, err error) {
	if m.Key == "" {
		id, err = r.Queue.Enqueue(ctx, m)
		return id, false, err
	}
	keyer, ok := r.Queue.(queue.Keyer)
	if !ok {
		return "", false, fmt.Errorf("the message has a Key, and the Queue is no queue.Keyer (%T): %w",
			r.Queue, errors.ErrUnsupported)
	}
	return keyer.EnqueueOnce(ctx, m)
}

// Accepted is a message that the relay is responsible for.
type Accepted struct {
	ID          queue.ID
	Envelope    *smtp.Envelope // after Expand; must not be changed, nor kept after the call
	Peer        *server.Peer   // a copy; nil for mail from code
	Origin      smtp.Origin
	Ref, Tenant string

	// Held is the reason for which a check holds the message. If empty, no check holds it; code may, by the Held of
	// the queue.Message.
	Held string
}

// accepted reports a message that is durable now. The server logs those that came through it.
func (r *Relay) accepted(ctx context.Context, a Accepted) {
	if r.Accepted != nil { // an error would have the client send the message again
		_ = r.call(ctx, "Accepted", func() error { r.Accepted(a); return nil }, slog.String("id", string(a.ID)))
	}
	if log := r.logger(); a.Peer == nil && log.Enabled(ctx, slog.LevelInfo) {
		log.LogAttrs(ctx, slog.LevelInfo, "mail", appendOwner(a.Ref, a.Tenant, slog.String("from", a.Envelope.From),
			slog.Int("recipients", len(a.Envelope.Recipients)), slog.String("id", string(a.ID)))...)
	}
}

// appendOwner appends the Ref and the Tenant of a message to attrs, if they are set.
func appendOwner(ref, tenant string, attrs ...slog.Attr) []slog.Attr {
	if ref != "" {
		attrs = append(attrs, slog.String("ref", ref))
	}
	if tenant != "" {
		attrs = append(attrs, slog.String("tenant", tenant))
	}
	return attrs
}
