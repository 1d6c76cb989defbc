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
// HoldUntil becomes the NotBefore, its By the Deadline or the NoticeAt, and its Priority the Priority. [Relay.Send] is
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
	return server.ReceivedField(r.hostname, p, env, "local-"+rand.Text(), now)
}

// onceBody is the Body of a prepared message. A second Enqueue would store the rest of it, or nothing.
type onceBody struct {
	bodyReader
	used atomic.Bool
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

func (r *Relay) enqueueFromCode(ctx context.Context, m queue.Message) (queue.ID, error) {
	if err := r.checkSuppressed(ctx, &m); err != nil {
		return "", fmt.Errorf("relay: %w", err)
	}
	id, err := r.enqueue(ctx, m, nil)
	if err != nil {
		return "", fmt.Errorf("relay: enqueue: %w", err)
	}
	return id, nil
}

// enqueue stores m and reports it. peer is nil for mail from code.
func (r *Relay) enqueue(ctx context.Context, m queue.Message, peer *server.Peer) (queue.ID, error) {
	switch b := m.Body.(type) {
	case nil: // the Queue has an error for it
	case *onceBody:
		if b.used.Swap(true) {
			return "", errUsed
		}
		b.ctx = ctx
	default:
		m.Body = &bodyReader{ctx: ctx, r: b}
	}
	id, repeats, err := r.store(ctx, m)
	if err != nil {
		return "", err
	}
	if repeats {
		r.logger().LogAttrs(ctx, slog.LevelInfo, "mail is in the queue already, or was",
			appendOwner(m.Ref, m.Tenant, slog.String("id", string(id)))...)
		return id, nil
	}
	held := ""
	if peer != nil {
		copied := *peer // the session goes on with its own
		peer, held = &copied, heldBy(ctx)
	}
	r.accepted(ctx, Accepted{
		ID: id, Envelope: m.Envelope, Peer: peer, Origin: m.Origin, Ref: m.Ref, Tenant: m.Tenant, Held: held,
	})
	return id, nil
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
	Envelope    *smtp.Envelope // after Expand, with the aliases that it keeps; not to be changed, nor kept
	Peer        *server.Peer   // a copy; nil for mail from code
	Origin      smtp.Origin
	Ref, Tenant string
	Held        string // the reason for which a check holds it; "": it isn't held by one
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
