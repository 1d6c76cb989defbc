package webhook

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/postrider/postrider/internal/clip"
	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/smtp"
)

// Event is the body of a request. Later versions may add fields and types. A text that is longer than its bound is
// shortened, and then ends in "…": 8 KiB for a Source, a Ref and a Tenant, 512 octets for Recipient.Text, and 1 KiB for
// addresses and all other texts.
type Event struct {
	// Type is "message." and a delivery.EventType: message.delivered, message.deferred, message.unknown,
	// message.rejected, message.expired, message.delayed, message.cancelled, message.quarantined or message.reported.
	Type string `json:"type"`

	// Timestamp is when it happened, in UTC.
	Timestamp time.Time `json:"timestamp"`

	Data Data `json:"data"`
}

// Data is what happened to recipients of a message at one destination.
type Data struct {
	// Source is that of Hooks.
	Source string `json:"source,omitempty"`

	// ID is the message's ID in the queue. Ref and Tenant are the application's, at most 8 KiB of each.
	ID     queue.ID `json:"id"`
	Ref    string   `json:"ref,omitempty"`
	Tenant string   `json:"tenant,omitempty"`

	// Arrival is when the queue stored the message, in UTC.
	Arrival time.Time `json:"arrival"`

	// From is the reverse-path, empty for the null one. Destination is the name of the route, or the domain.
	From        string `json:"from"`
	Destination string `json:"destination"`

	// Attempt is the number of attempts at this destination, the present one included.
	Attempt int `json:"attempt"`

	// Number grows with each event of the message at this destination, as the clock does. There are gaps. Events of
	// one Type that happened at one time, as those about more than 100 recipients, have the same Number.
	Number int64 `json:"number"`

	// Next is when the recipients are tried again. If zero, they aren't.
	Next time.Time `json:"next,omitzero"`

	// Recipients are 1 to 100 recipients that it happened to. More of them, or very long ones, have several events.
	// Quarantined and reported messages have none.
	Recipients []Recipient `json:"recipients,omitempty"`

	// Report is about message.reported.
	Report *Report `json:"report,omitempty"`
}

// Recipient is a recipient with its last result. All but Address is empty without an attempt. See smtp.Result.
type Recipient struct {
	Address  string `json:"address"`
	Code     int    `json:"code,omitempty"`     // of the reply, 550 for example
	Enhanced string `json:"enhanced,omitempty"` // its enhanced code, "5.1.1" for example
	Text     string `json:"text,omitempty"`     // its text
	Reason   string `json:"reason,omitempty"`   // smtp.Reason, "user-unknown" for example; empty if delivered
	Stage    string `json:"stage,omitempty"`    // smtp.Stage, "rcpt" for example
	Local    bool   `json:"local,omitempty"`    // no host has sent the reply
	Host     string `json:"host,omitempty"`     // that sent it
	Addr     string `json:"addr,omitempty"`     // its address and port
	Source   string `json:"source,omitempty"`   // see smtp.Result.Source
	TLS      string `json:"tls,omitempty"`      // "TLS 1.3" for example
}

// Report is a report to the sender that is in the queue.
type Report struct {
	Kind string   `json:"kind"` // "failed", "delayed", "relayed", "expanded" or "delivered"
	To   []string `json:"to"`

	// LeftOut is how many recipients of the report aren't in To, which has 100 at most.
	LeftOut int `json:"left_out,omitempty"`
}

const (
	prefix        = "message."
	maxRecipients = 100      // in an event
	maxListed     = 80 << 10 // octets of the recipients in an event, and those of one more
	maxText       = 512      // octets of the text of a reply
	maxName       = 1 << 10  // octets of an address, a name of a host or a destination
	maxRef        = 8 << 10  // octets of a Source, a Ref and a Tenant
	maxEvent      = 1 << 20  // octets of a message with an event; an octet of a text can have 6 in JSON

	defaultMaxAge = 5 * 24 * time.Hour
)

// ranks order the events of one attempt: what is known without it comes first.
var ranks = map[delivery.EventType]int64{
	delivery.EventDelayed: 0, delivery.EventQuarantined: 1, delivery.EventDeferred: 2, delivery.EventUnknown: 3,
	delivery.EventDelivered: 4, delivery.EventRejected: 5, delivery.EventExpired: 6, delivery.EventReported: 7,
	delivery.EventCancelled: 8,
}

// Outbox makes the messages with the events, one for each endpoint that wants an event and isn't disabled. It is a
// value for delivery.Runner.Outbox.
func (h *Hooks) Outbox(ctx context.Context, events []delivery.Event) (messages []queue.Message, err error) {
	seen := make(map[string]int)
	for _, event := range h.events(events) {
		id := idOf(event)
		if seen[id]++; seen[id] > 1 { // two reports to the same recipients
			id += "_" + strconv.Itoa(seen[id])
		}
		body, err := json.Marshal(event)
		if err != nil {
			return nil, fmt.Errorf("webhook: %w", err)
		}
		for _, e := range h.endpoints() {
			if !h.stateOf(e.Name).gone && h.wants(ctx, e, event) {
				messages = append(messages, h.message(e, id, event.Type, body))
			}
		}
	}
	return messages, nil
}

// wants calls Wants. An event too many does less harm than one that is lost.
func (h *Hooks) wants(ctx context.Context, e *Endpoint, event *Event) (wanted bool) {
	if e.Wants == nil {
		return true
	}
	if p := guard.Call(func() { wanted = e.Wants(event) }); p != nil {
		p.Log(ctx, guard.Logger(h.Logger), "Wants", slog.String("endpoint", e.Name))
		return true
	}
	return wanted
}

// events groups what happened by type and destination, since one attempt may be about many recipients.
func (h *Hooks) events(all []delivery.Event) (grouped []*Event) {
	type group struct {
		kind        delivery.EventType
		destination string
	}
	last := make(map[group]*Event)
	size := make(map[*Event]int) // of its recipients
	for i := range all {
		e := &all[i]
		key := group{e.Type, e.Task.Destination}
		event := last[key]
		if event == nil || e.Report != nil || len(event.Data.Recipients) == maxRecipients || size[event] > maxListed {
			event = h.event(e)
			grouped, last[key] = append(grouped, event), event
		}
		if e.Report == nil && e.Type != delivery.EventQuarantined {
			rcpt := recipientOf(&e.Result)
			event.Data.Recipients = append(event.Data.Recipients, rcpt)
			size[event] += rcpt.size()
		}
	}
	return grouped
}

// event returns the event without recipients.
func (h *Hooks) event(e *delivery.Event) *Event {
	t := &e.Task
	from := ""
	if t.Envelope != nil {
		from = clip.Text(t.Envelope.From, maxName)
	}
	event := &Event{Type: prefix + string(e.Type), Timestamp: e.Time.UTC(), Data: Data{
		Source: clip.Text(h.Source, maxRef), ID: t.ID, Ref: clip.Text(t.Ref, maxRef),
		Tenant: clip.Text(t.Tenant, maxRef), Arrival: t.Arrival.UTC(), From: from,
		Destination: clip.Text(t.Destination, maxName), Attempt: t.Attempts,
		Number: 10*e.Time.Sub(t.Arrival).Microseconds() + ranks[e.Type],
	}}
	if !e.Next.IsZero() {
		event.Data.Next = e.Next.UTC()
	}
	if e.Report != nil {
		to := e.Report.Recipients
		event.Data.Report = &Report{Kind: e.Kind, LeftOut: max(len(to)-maxRecipients, 0)}
		for _, rcpt := range to[:min(len(to), maxRecipients)] {
			event.Data.Report.To = append(event.Data.Report.To, clip.Text(rcpt.Address, maxName))
		}
	}
	return event
}

func recipientOf(res *smtp.Result) Recipient {
	r := Recipient{Address: clip.Text(res.Recipient, maxName), Host: clip.Text(res.Host, maxName),
		Addr: clip.Text(res.Addr, maxName), Source: clip.Text(res.Source, maxName), TLS: clip.Text(res.TLS, maxName)}
	if res.Reply == nil {
		return r
	}
	r.Code, r.Local, r.Stage = res.Reply.Code, res.Local, res.Stage.String()
	r.Text = clip.Text(res.Reply.Text, maxText)
	if res.Reply.Enhanced != (smtp.EnhancedCode{}) {
		r.Enhanced = res.Reply.Enhanced.String()
	}
	if res.Outcome != smtp.Delivered {
		r.Reason = res.Reason.String()
	}
	return r
}

// size is how many octets the texts of a recipient that come from elsewhere have.
func (r *Recipient) size() int {
	return len(r.Address) + len(r.Text) + len(r.Host) + len(r.Addr) + len(r.Source) + len(r.TLS)
}

// idOf returns the webhook-id of an event: the same one however often it is made of the same outcome. The time of the
// outcome tells attempts apart that aren't counted, and reports of one Attempt. It is stored with the event, and so is
// the same in each post. The Arrival tells messages of two queues apart, which may have the same ID.
func idOf(event *Event) string {
	d := &event.Data
	sum := sha256.New()
	fmt.Fprintf(sum, "%q %q %q %d %q %d %d", event.Type, d.Source, d.ID, d.Arrival.UnixMicro(), d.Destination,
		d.Attempt, d.Number)
	for _, rcpt := range d.Recipients {
		fmt.Fprintf(sum, " %q", rcpt.Address)
	}
	if d.Report != nil {
		fmt.Fprintf(sum, " %q %q", d.Report.Kind, d.Report.To)
	}
	// Without a full stop, which separates the parts that are signed.
	return string(d.ID[:min(len(d.ID), maxID/2)]) + "_" + hex.EncodeToString(sum.Sum(nil)[:10])
}

// idField is the field of a message with an event that has its webhook-id. Reports, and mail of clients, can't pass for
// an event: see eventIn.
const idField = "Webhook-Id"

// message returns an event as a message for the queue. Its sender is the null one: nothing is reported about it. It has
// no Ref, as it is no mail of the application.
func (h *Hooks) message(e *Endpoint, id, eventType string, body []byte) queue.Message {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s: %s\r\nSubject: %s\r\nContent-Type: application/json\r\n\r\n%s\r\n",
		idField, id, eventType, body)
	return h.queued(e.address(), e.destination(), bytes.NewReader(b.Bytes()))
}

// queued returns a message of events with the times of a new one.
func (h *Hooks) queued(address, destination string, body *bytes.Reader) queue.Message {
	return queue.Message{
		Envelope: smtp.NewEnvelope("", address), Destinations: []string{destination}, Body: body,
		Deadline: time.Now().Add(cmp.Or(h.MaxAge, defaultMaxAge)), Origin: smtp.OriginCode,
		Tenant: destination, // an owner apart from that of reports, which have the null sender, too
	}
}
