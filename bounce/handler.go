package bounce

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/smtp"
)

// Handler reads the mail that comes to the addresses of a [VERP], and calls a func with what it says. Mount its Send as
// the route of the VERP's domain, and refuse other addresses at RCPT:
//
//	verp := &bounce.VERP{Domain: "bounces.example.com", Keys: keys}
//	handler := &bounce.Handler{VERP: verp, Handle: handle}
//	relay := &postrider.Relay{
//		…
//		Domains: []string{"bounces.example.com"},
//		Routes:  map[string]mx.Route{"bounces.example.com": mx.Func("bounces", handler.Send)},
//		CheckRcpt: func(ctx context.Context, _ *server.Peer, rcpt smtp.Recipient) error {
//			return handler.CheckRcpt(ctx, rcpt.Address)
//		},
//		Wrap: verp.Wrap,
//	}
//
// CheckRcpt refuses the addresses of all other domains with 550. If the Relay has more Domains, call it only for
// recipients in the VERP's domain:
//
//	if _, domain := smtp.SplitAddress(rcpt.Address); !strings.EqualFold(domain, verp.Domain) {
//		return directory.Lookup(ctx, peer, rcpt)
//	}
//	return handler.CheckRcpt(ctx, rcpt.Address)
//
// Set the Ref and the Tenant of a message between Relay.Prepare and Relay.Enqueue. Event.Sent has them.
//
// The mail is in the Relay's queue until Handle has returned nil: nothing is lost if the program or its database fails
// meanwhile. The fields must not change after the first call of a method. All methods may be called concurrently.
type Handler struct {
	// VERP reads the addresses. It must be set.
	VERP *VERP

	// Handle is called with each event. It must be set. After an error or a panic, the mail is tried again later, until
	// Relay.MaxAge; a *smtp.Reply with a code of 5xx ends that. It may be called more than once for the same mail: see
	// Event.Key.
	Handle func(ctx context.Context, e Event) error

	// Unsigned are addresses without a signature whose mail is read, too: of a feedback loop, or of the postmaster. For
	// a Complaint, a signed address is looked for in the fields of the report and in the header of the message. Without
	// one, the Event has no Sent, and anyone may have written it.
	Unsigned []string

	// Refused is called for each address that is refused: one that isn't signed ([ErrSignature]), or not any more
	// ([ErrExpired]). Anyone can cause that, any number of times. A panic changes nothing. If nil, nobody is told.
	Refused func(ctx context.Context, address string, err error)
}

// Event is what a mail says about one message to one recipient.
type Event struct {
	// Kind is that of the Notification. It is NotABounce for the mail of a person, or spam.
	Kind Kind

	// Sent is the message, as its signed address names it. If nil, the mail came to one of Handler.Unsigned, and has no
	// signed address in it: all that it says may be forged.
	Sent *Sent

	// Recipient is Sent.Recipient. If Sent has a hash, it is an address in the mail that matches. If empty, none does:
	// look it up by Sent.ID, and compare by Sent.To.
	Recipient string

	// Status is what the mail says about the recipient. Its Address may be another one, to which the recipient's mail
	// is forwarded. Of a mail that names several other addresses, it is the status of one that isn't Hard, if there is
	// one.
	Status RecipientStatus

	// Notification is all that the mail says. Except for Sent and Recipient, it may be forged by the recipient and by
	// the hosts of the recipient.
	Notification *Notification

	// Key is the same each time that Handle is called for this mail and this address, and is different for others.
	// Store it together with what the event changes, to see that it was handled before. A host that sends a mail twice
	// makes two events with two Keys.
	Key string

	// Content is the mail. It can be read until Handle returns.
	Content smtp.Content
}

// Check returns an error for the first field that is wrong.
func (h *Handler) Check() error {
	switch {
	case h == nil:
		return errors.New("bounce: the Handler is nil: set its VERP and Handle")
	case h.VERP == nil:
		return errors.New("bounce: Handler.VERP is nil: set it to that of the Sender")
	case h.Handle == nil:
		return errors.New("bounce: Handler.Handle is nil: set it to a func")
	}
	for i, address := range h.Unsigned {
		if err := smtp.CheckAddress(address); err != nil {
			return fmt.Errorf("bounce: Handler.Unsigned[%d]: %w", i, err)
		}
	}
	return h.VERP.Check()
}

var (
	replyNotSigned = smtp.NewReply(550, "5.1.1", "no such address: bounces go to the reverse-path of the message")
	replyExpired   = smtp.NewReply(550, "5.1.6", "this address was for one message, and has expired")
)

// CheckRcpt returns nil if mail to the address is read: it has a valid signature, or is one of Unsigned. Otherwise the
// error is a *smtp.Reply, or that of Check.
func (h *Handler) CheckRcpt(ctx context.Context, address string) error {
	_, err := h.read(ctx, address)
	return err
}

// read returns what a signed address says, and nil for one of Unsigned.
func (h *Handler) read(ctx context.Context, address string) (*Sent, error) {
	if err := h.Check(); err != nil {
		return nil, err
	}
	for _, open := range h.Unsigned {
		if strings.EqualFold(canonical(open), canonical(address)) {
			return nil, nil
		}
	}
	sent, err := h.VERP.Read(address)
	switch {
	case err == nil:
		return sent, nil
	case h.Refused != nil:
		guard.Call(func() { h.Refused(ctx, address, err) })
	}
	if errors.Is(err, ErrExpired) {
		return nil, replyExpired
	}
	return nil, replyNotSigned
}

// Send takes a mail, and calls Handle for each of its recipients: a value for mx.Func. It follows the rules of
// smtp.Sender. An address that isn't signed is Rejected, and Handle isn't called for it.
func (h *Handler) Send(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
	if env == nil || c == nil {
		return nil, errors.New("bounce: the envelope or the content is nil")
	}
	m := incoming{content: c}
	results := make([]smtp.Result, len(env.Recipients))
	var fault error
	for i, rcpt := range env.Recipients {
		err := h.handle(ctx, &m, rcpt.Address)
		one := smtp.Envelope{Recipients: []smtp.Recipient{rcpt}}
		complete, _ := smtp.Complete(&one, nil, err)
		results[i] = complete[0]
		if err != nil && fault == nil {
			fault = fmt.Errorf("bounce: mail to %s: %w", rcpt.Address, err)
		}
	}
	return results, fault
}

// incoming is a mail that is parsed when the first of its recipients is valid.
type incoming struct {
	content smtp.Content
	n       *Notification
	digest  string
}

// handle calls Handle for one recipient of a mail.
func (h *Handler) handle(ctx context.Context, m *incoming, address string) error {
	sent, err := h.read(ctx, address)
	if err != nil {
		return err
	}
	if m.n == nil {
		if m.n, err = Parse(smtp.NewReader(m.content)); err != nil {
			return err
		}
	}
	key, err := m.key(ctx, address)
	if err != nil {
		return err
	}
	if sent == nil && m.n.Kind == Complaint {
		sent = h.signedIn(m.n)
	}
	if p := guard.Call(func() { err = h.Handle(ctx, newEvent(sent, m.n, key, m.content)) }); p != nil {
		return p
	}
	return err
}

// newEvent finds out what a Notification says about the recipient of sent.
func newEvent(sent *Sent, n *Notification, key string, c smtp.Content) Event {
	e := Event{Kind: n.Kind, Sent: sent, Notification: n, Key: key, Content: c}
	if sent == nil {
		if len(n.Recipients) > 0 {
			e.Status = n.Recipients[0]
		}
		return e
	}
	e.Recipient = sent.Recipient
	for i, s := range n.Recipients {
		named := s.OriginalAddress
		if !sent.To(named) {
			named = s.Address
		}
		if sent.To(named) {
			if e.Recipient == "" {
				e.Recipient = canonical(named)
			}
			e.Status = s
			return e
		}
		if i == 0 || e.Status.Hard && !s.Hard { // others: the recipient's mail is forwarded to them
			e.Status = s
		}
	}
	return e
}

// signedIn returns what a signed address in a report says that came to another address. If there is none, it returns
// nil.
func (h *Handler) signedIn(n *Notification) *Sent {
	var found []string
	if n.Feedback != nil {
		found = append(found, n.Feedback.MailFrom)
	}
	const name = "return-path:"
	for line := range strings.SplitSeq(string(n.OriginalHeader), "\r\n") {
		if len(line) > len(name) && strings.EqualFold(line[:len(name)], name) {
			found = append(found, line[len(name):])
		}
		if len(found) == 10 {
			break
		}
	}
	for _, address := range found {
		if sent, err := h.VERP.Read(strings.Trim(address, " \t<>")); err == nil {
			return sent
		}
	}
	return nil
}

// key returns the Key of the event for an address: by the ID of the mail in its queue or, without one, by its content.
func (m *incoming) key(ctx context.Context, address string) (string, error) {
	if m.digest == "" {
		hash := sha256.New()
		if job, ok := smtp.JobOf(ctx); ok && job.ID != "" {
			fmt.Fprintf(hash, "id %s", job.ID)
		} else if _, err := io.Copy(hash, smtp.NewReader(m.content)); err != nil {
			return "", err
		}
		m.digest = hex.EncodeToString(hash.Sum(nil))
	}
	key := sha256.Sum256([]byte(m.digest + " " + strings.ToLower(canonical(address))))
	return hex.EncodeToString(key[:16]), nil
}
