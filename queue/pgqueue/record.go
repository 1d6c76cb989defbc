package pgqueue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
	"github.com/postrider/postrider/smtp"
)

// The tables have the fields of a message and of an outcome as JSON: a field can be added without a new version of the
// schema, and a reader skips those that it doesn't know. A field is left out if it is zero or, for a moment, "never".
// A name is never used again with another meaning.

// text is a string of any octets. In JSON it is a string or, if PostgreSQL couldn't have it as a text, a list of one
// string in base64.
type text string

// IsZero reports whether the text is empty.
func (t text) IsZero() bool { return t == "" }

// MarshalJSON implements [json.Marshaler].
func (t text) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(t)) && !strings.Contains(string(t), "\x00") {
		return json.Marshal(string(t))
	}
	return json.Marshal([][]byte{[]byte(t)})
}

// UnmarshalJSON implements [json.Unmarshaler].
func (t *text) UnmarshalJSON(b []byte) error {
	switch {
	case len(b) > 1 && b[0] == '"' && !bytes.Contains(b, []byte{'\\'}):
		*t = text(b[1 : len(b)-1]) // b is valid, and the server has valid UTF-8 only
		return nil
	case len(b) > 0 && b[0] == '"':
		return json.Unmarshal(b, (*string)(t))
	}
	var octets [][]byte
	if err := json.Unmarshal(b, &octets); err != nil {
		return err
	}
	if len(octets) != 1 {
		return errors.New("a text has no octets")
	}
	*t = text(octets[0])
	return nil
}

// moment is a time in Unix nanoseconds, or index.Never, which is left out. Before it is read, it must be set to that.
type moment int64

// IsZero reports whether there is no time.
func (m moment) IsZero() bool { return m == index.Never }

// messageRecord is the column head of msg. T is string or, if the server couldn't have one of the strings as a text,
// text, which takes twice as long.
type messageRecord[T ~string] struct {
	NotBefore   int64           `json:"notBefore,omitempty"`
	Notice      moment          `json:"notice,omitzero"`
	Deadline    moment          `json:"deadline,omitzero"`
	Priority    int8            `json:"priority,omitempty"`
	Ref         T               `json:"ref,omitempty"`
	Tenant      T               `json:"tenant,omitempty"`
	Origin      uint8           `json:"origin,omitempty"`
	FromDomain  T               `json:"fromDomain,omitempty"`
	About       T               `json:"about,omitempty"`
	Held        bool            `json:"held,omitempty"`
	HeldFor     T               `json:"heldFor,omitempty"`
	Dests       []T             `json:"destinations"` // a task's number is an index of it
	From        T               `json:"from,omitempty"`
	Body        smtp.BodyType   `json:"body,omitempty"`
	UTF8        bool            `json:"utf8,omitempty"`
	Size        int64           `json:"size,omitempty"` // that the sender declared
	Ret         smtp.Ret        `json:"ret,omitempty"`
	EnvID       T               `json:"envid,omitempty"`
	Auth        T               `json:"auth,omitempty"`
	By          *byRecord       `json:"by,omitempty"`
	MTPriority  int8            `json:"mtPriority,omitempty"`
	HoldUntil   int64           `json:"holdUntil,omitempty"`
	RequireTLS  bool            `json:"requireTLS,omitempty"`
	TLSOptional bool            `json:"tlsOptional,omitempty"`
	Recipients  []rcptRecord[T] `json:"to"`
}

type byRecord struct {
	Time   int64 `json:"time"`
	Return bool  `json:"return,omitempty"`
	Trace  bool  `json:"trace,omitempty"`
}

type rcptRecord[T ~string] struct {
	Address T           `json:"a"`
	Dest    uint32      `json:"d,omitempty"`
	Notify  smtp.Notify `json:"notify,omitempty"`
	ORCPT   T           `json:"orcpt,omitempty"`
}

// skipped is a value that isn't read.
type skipped struct{}

// UnmarshalJSON implements [json.Unmarshaler].
func (*skipped) UnmarshalJSON([]byte) error { return nil }

// encodeMessage returns the head of a message: its fields without ID, Arrival and Size.
func encodeMessage(m *index.Message) ([]byte, error) {
	head, err := json.Marshal(newMessageRecord[string](m))
	// This is what Marshal makes of octets that aren't UTF-8, and of NUL.
	if bytes.Contains(head, []byte(`\ufffd`)) || bytes.Contains(head, []byte(`\u0000`)) {
		return json.Marshal(newMessageRecord[text](m))
	}
	return head, err
}

func newMessageRecord[T ~string](m *index.Message) *messageRecord[T] {
	env := &m.Envelope
	r := &messageRecord[T]{
		NotBefore: m.NotBefore, Notice: moment(m.Notice), Deadline: moment(m.Deadline), Priority: m.Priority,
		Ref: T(m.Ref), Tenant: T(m.Tenant), Origin: uint8(m.Origin), FromDomain: T(m.FromDomain),
		About: T(m.About), Held: m.Held, HeldFor: T(m.HeldFor),
		From: T(env.From), Body: env.Body, UTF8: env.UTF8, Size: env.Size, Ret: env.Ret,
		RequireTLS: env.RequireTLS, TLSOptional: env.TLSOptional,
		EnvID: T(env.EnvID), Auth: T(env.Auth), MTPriority: env.Priority,
		Dests: make([]T, len(m.Dests)), Recipients: make([]rcptRecord[T], len(env.Recipients)),
	}
	if by := env.By; !by.Time.IsZero() {
		r.By = &byRecord{index.ToNano(by.Time), by.Return, by.Trace}
	}
	if !env.HoldUntil.IsZero() {
		r.HoldUntil = index.ToNano(env.HoldUntil)
	}
	for i, name := range m.Dests {
		r.Dests[i] = T(name)
	}
	for i, to := range env.Recipients {
		r.Recipients[i] = rcptRecord[T]{T(to.Address), m.Dest[i], to.Notify, T(to.ORCPT)}
	}
	return r
}

// decodeMessage is the reverse of encodeMessage.
func decodeMessage(head []byte) (*index.Message, error) {
	return decodeWith(decodeAs[string], decodeAs[text], head)
}

// decodeWith decodes a head of plain strings, or else one that has octets.
func decodeWith(plain, octets func([]byte) (*index.Message, error), head []byte) (*index.Message, error) {
	m, err := plain(head)
	if err != nil {
		return octets(head)
	}
	return m, nil
}

func decodeAs[T ~string](head []byte) (*index.Message, error) {
	r := messageRecord[T]{Notice: index.Never, Deadline: index.Never}
	if err := json.Unmarshal(head, &r); err != nil {
		return nil, err
	}
	m := r.message()
	for i, to := range r.Recipients {
		if int64(to.Dest) >= int64(len(m.Dests)) {
			return nil, fmt.Errorf("recipient %d has destination %d of %d", i, to.Dest, len(m.Dests))
		}
		m.Dest[i] = to.Dest
		m.Envelope.Recipients[i] = smtp.Recipient{
			Address: string(to.Address), Notify: to.Notify, ORCPT: string(to.ORCPT),
		}
	}
	if len(m.Dests) == 0 || len(m.Dest) == 0 {
		return nil, errors.New("the message has no recipient")
	}
	m.Group()
	return m, nil
}

// decodeEntry is decodeMessage for what ix needs: without the recipients.
func decodeEntry(head []byte) (*index.Message, error) {
	return decodeWith(decodeEntryAs[string], decodeEntryAs[text], head)
}

func decodeEntryAs[T ~string](head []byte) (*index.Message, error) {
	r := struct {
		messageRecord[T]
		Recipients skipped `json:"to"`
	}{messageRecord: messageRecord[T]{Notice: index.Never, Deadline: index.Never}}
	if err := json.Unmarshal(head, &r); err != nil {
		return nil, err
	}
	if len(r.Dests) == 0 {
		return nil, errors.New("the message has no recipient")
	}
	return r.message(), nil
}

// message returns the message, with zeros for the recipients.
func (r *messageRecord[T]) message() *index.Message {
	m := &index.Message{
		NotBefore: r.NotBefore, Notice: int64(r.Notice), Deadline: int64(r.Deadline), Priority: r.Priority,
		Ref: string(r.Ref), Tenant: string(r.Tenant), Origin: smtp.Origin(r.Origin), FromDomain: string(r.FromDomain),
		About: queue.ID(r.About), Held: r.Held, HeldFor: string(r.HeldFor),
		Envelope: smtp.Envelope{
			From: string(r.From), Body: r.Body, UTF8: r.UTF8, Size: r.Size, Ret: r.Ret, EnvID: string(r.EnvID),
			RequireTLS: r.RequireTLS, TLSOptional: r.TLSOptional,
			Auth: string(r.Auth), Priority: r.MTPriority, Recipients: make([]smtp.Recipient, len(r.Recipients)),
		},
		Dests: make([]string, len(r.Dests)), Dest: make([]uint32, len(r.Recipients)),
	}
	if r.By != nil {
		m.Envelope.By = smtp.DeliverBy{Time: time.Unix(0, r.By.Time).UTC(), Return: r.By.Return, Trace: r.By.Trace}
	}
	if r.HoldUntil != 0 {
		m.Envelope.HoldUntil = time.Unix(0, r.HoldUntil).UTC()
	}
	for i, name := range r.Dests {
		m.Dests[i] = string(name)
	}
	return m
}

// progressRecord is an index.Progress.
type progressRecord struct {
	Noticed bool           `json:"noticed,omitempty"`
	Last    []resultRecord `json:"last,omitempty"`
}

// resultRecord is a recipient that isn't settled, with its last result.
type resultRecord struct {
	Index     int               `json:"i,omitempty"`  // of the recipient in the envelope
	Recipient *text             `json:"to,omitempty"` // if left out: the address of the recipient
	Delayed   bool              `json:"delayed,omitempty"`
	Outcome   uint8             `json:"outcome,omitempty"`
	Stage     uint8             `json:"stage,omitempty"`
	Reason    uint8             `json:"reason,omitempty"`
	Local     bool              `json:"local,omitempty"`
	Relayed   bool              `json:"relayed,omitempty"`
	DSN       bool              `json:"dsn,omitempty"`
	DeliverBy bool              `json:"by,omitempty"`
	Host      text              `json:"host,omitzero"`
	Addr      text              `json:"addr,omitzero"`
	TLS       text              `json:"tls,omitzero"`
	Policy    text              `json:"policy,omitzero"`
	Source    text              `json:"source,omitzero"`
	Code      *int              `json:"code,omitempty"` // of the reply; if left out, there is none
	Enhanced  smtp.EnhancedCode `json:"enhanced,omitzero"`
	Text      text              `json:"text,omitzero"`
}

// recordOf returns the record of a Progress of a message.
func recordOf(st *index.Progress, m *index.Message) *progressRecord {
	p := &progressRecord{Noticed: st.Noticed, Last: make([]resultRecord, len(st.Recipients))}
	for i, of := range st.Recipients {
		last := &st.Last[i]
		r := resultRecord{
			Index: of, Delayed: st.Delayed != nil && st.Delayed[i], Outcome: uint8(last.Outcome),
			Stage: uint8(last.Stage), Reason: uint8(last.Reason), Local: last.Local, Relayed: last.Relayed,
			DSN: last.DSN, DeliverBy: last.DeliverBy,
			Host: text(last.Host), Addr: text(last.Addr), TLS: text(last.TLS), Policy: text(last.Policy),
			Source: text(last.Source),
		}
		if last.Recipient != m.Envelope.Recipients[of].Address {
			r.Recipient = (*text)(&last.Recipient)
		}
		if reply := last.Reply; reply != nil {
			r.Code, r.Enhanced, r.Text = &reply.Code, reply.Enhanced, text(reply.Text)
		}
		p.Last[i] = r
	}
	return p
}

// progress is the reverse of recordOf. If part is set, it is that of a part of a report task.
func (p *progressRecord) progress(m *index.Message, part bool) (*index.Progress, error) {
	st := &index.Progress{Noticed: p.Noticed}
	for _, r := range p.Last {
		if r.Index < 0 || r.Index >= len(m.Envelope.Recipients) {
			return nil, fmt.Errorf("a result is for recipient %d of %d", r.Index, len(m.Envelope.Recipients))
		}
		last := smtp.Result{
			Recipient: m.Envelope.Recipients[r.Index].Address, Outcome: smtp.Outcome(r.Outcome),
			Stage: smtp.Stage(r.Stage), Reason: smtp.Reason(r.Reason),
			Local: r.Local, Relayed: r.Relayed, DSN: r.DSN, DeliverBy: r.DeliverBy, Host: string(r.Host),
			Addr: string(r.Addr), TLS: string(r.TLS), Policy: string(r.Policy),
			Source: string(r.Source),
		}
		if r.Recipient != nil {
			last.Recipient = string(*r.Recipient)
		}
		if r.Code != nil {
			last.Reply = &smtp.Reply{Code: *r.Code, Enhanced: r.Enhanced, Text: string(r.Text)}
		}
		st.Recipients, st.Last = append(st.Recipients, r.Index), append(st.Last, last)
		if part {
			st.Delayed = append(st.Delayed, r.Delayed)
		}
	}
	return st, nil
}
