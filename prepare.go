package postrider

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// Prepare makes a queue.Message of an envelope and a body: it checks the envelope, applies Expand, finds each
// recipient's destination, puts the Received field on top and refuses a message that goes in circles. [Relay.Send] is
// Prepare and [Relay.Enqueue], except that only Send reports to the sender that a group was expanded. Call Prepare to
// change the queue.Message, or to enqueue it in a transaction of your own.
//
// The header of body is read now, the rest when the message is stored. So body must stay valid until then, and the
// message can be stored once. Lines may end in "\n" or "\r\n".
func (r *Relay) Prepare(ctx context.Context, env *smtp.Envelope, body io.Reader) (queue.Message, error) {
	p, err := r.prepareFromCode(ctx, env, body)
	return p.Message, err
}

func (r *Relay) prepareFromCode(ctx context.Context, env *smtp.Envelope, body io.Reader) (prepared, error) {
	if err := ctx.Err(); err != nil {
		return prepared{}, err
	}
	if err := r.init(); err != nil {
		return prepared{}, err
	}
	if env == nil || body == nil {
		return prepared{}, errors.New("relay: the envelope or the body is nil")
	}
	if err := env.Check(); err != nil {
		return prepared{}, fmt.Errorf("relay: %w", smtp.NewReply(501, "5.5.4", err.Error()))
	}
	p, err := r.prepare(ctx, env, smtp.CRLFReader(body), nil)
	if err != nil {
		return prepared{}, fmt.Errorf("relay: %w", err)
	}
	return p, nil
}

// prepared is a message on its way into the queue.
type prepared struct {
	queue.Message

	// expanded are the recipients whose sender hears that they were expanded, and header begins the message.
	expanded []smtp.Recipient
	header   []byte
}

// prepare is Prepare for a body with CRLF throughout. p is nil for mail from code.
func (r *Relay) prepare(ctx context.Context, env *smtp.Envelope, body io.Reader, p *server.Peer) (prepared, error) {
	top, err := readHeader(body)
	if err != nil {
		return prepared{}, err
	}
	var h header
	if beginsHeader(top) { // else what looks like a field is text
		h = parseHeader(top)
	}
	if h.received > maxReceived {
		return prepared{}, smtp.NewReply(554, "5.4.6", "too many Received fields: the message goes in circles")
	}
	if err := r.checkAuthors(ctx, p, &h); err != nil {
		return prepared{}, err
	}
	m := prepared{header: top}
	to, expanded, err := r.expand(ctx, env)
	if err != nil {
		return prepared{}, err
	}
	if m.Message, err = r.message(to); err != nil {
		return prepared{}, err
	}
	m.expanded = expanded
	m.Origin = originOf(p)
	m.FromDomain = h.fromDomain()
	now := time.Now()
	ours := r.received(env, p, now)
	if p != nil && p.Username != "" {
		ours = r.complete(ours, &h, now)
	}
	if !beginsHeader(top) {
		ours = append(ours, "\r\n"...) // else the text would read as part of our field
	}
	m.Body = &onceBody{Reader: io.MultiReader(bytes.NewReader(ours), bytes.NewReader(top), body)}
	return m, nil
}

// onceBody is the Body of a prepared message. A second Enqueue would store the rest of it, or nothing.
type onceBody struct {
	io.Reader
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
	for i := range env.Recipients {
		_, domain := smtp.SplitAddress(env.Recipients[i].Address)
		destination, err := r.router.Destination(domain)
		reply, ok := errors.AsType[*smtp.Reply](err)
		if ok && reply.Temporary() && destination != "" && env.From == "" {
			err = nil // a route that refuses it for now; a report waits for it
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

// enqueue stores p and reports it. peer is nil for mail from code.
func (r *Relay) enqueue(ctx context.Context, p prepared, peer *server.Peer) (queue.ID, error) {
	if b, ok := p.Body.(*onceBody); ok && b.used.Swap(true) {
		return "", errUsed
	}
	id, err := r.Queue.Enqueue(ctx, p.Message)
	if err != nil {
		return "", err
	}
	if peer != nil {
		copied := *peer // the session goes on with its own
		peer = &copied
	}
	r.accepted(ctx, Accepted{
		ID: id, Envelope: p.Envelope, Peer: peer, Origin: p.Origin, Ref: p.Ref, Tenant: p.Tenant,
	})
	if len(p.expanded) > 0 && p.Origin != smtp.OriginStranger { // a stranger's reverse-path may be another's
		if err := r.reportExpanded(ctx, id, p); err != nil {
			r.logger().LogAttrs(ctx, slog.LevelWarn, "report not sent", expandedAttrs(id, p, slog.Any("err", err))...)
		}
	}
	return id, nil
}

// Accepted is a message that the relay is responsible for.
type Accepted struct {
	ID          queue.ID
	Envelope    *smtp.Envelope // after Expand; must not be changed, nor kept after the call
	Peer        *server.Peer   // a copy; nil for mail from code
	Origin      smtp.Origin
	Ref, Tenant string
}

// accepted reports a message that is durable now. The server logs those that came through it.
func (r *Relay) accepted(ctx context.Context, a Accepted) {
	r.tell(ctx, a)
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

// tell calls Accepted. A panic is logged: the message is durable, and a client that got an error would send it again.
func (r *Relay) tell(ctx context.Context, a Accepted) {
	if r.Accepted == nil {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			r.logger().ErrorContext(ctx, "Accepted panics", "id", a.ID, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	r.Accepted(a)
}

func (r *Relay) logger() *slog.Logger {
	if r.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return r.Logger
}
