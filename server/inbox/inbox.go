package inbox

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// Inbox keeps the mail that it receives, in memory, and shows it on a page. It is a [server.Handler] and an
// [http.Handler]. The zero Inbox works. Its fields must not change after the first message or request. Its methods may
// be called concurrently.
type Inbox struct {
	// MaxMessages bounds the messages that are kept. At one more, the oldest is dropped. If zero, 1000.
	MaxMessages int

	// MaxOctets bounds what the kept messages take, in octets of content and envelopes, with 2 KiB for each. Old
	// messages are dropped to make room for a new one. A message that is larger is refused with 552 5.3.4. Messages
	// that are being received take up to twice MaxOctets together; beyond that, one is refused with 452 4.3.1. If zero,
	// 256 MiB.
	MaxOctets int64

	// Preflight returns what is wrong with a message, one finding in each string. It is called each time a message is
	// looked at, and must neither change its arguments nor keep them. A panic is shown as a finding. With a
	// preflight.Checker of package client/preflight:
	//
	//	func(ctx context.Context, env *smtp.Envelope, c smtp.Content) (found []string) {
	//		for _, f := range slices.Concat(checker.Message(env, c), checker.Sender(ctx, env, c)) {
	//			found = append(found, f.String())
	//		}
	//		return found
	//	}
	//
	// If nil, no findings are shown.
	Preflight func(ctx context.Context, env *smtp.Envelope, content smtp.Content) []string

	// Authorize returns the name of the user who sent a request, for the log and the page. An error refuses the
	// request. It is called concurrently, once for each request, and also for the style sheet. If nil, only a request
	// from this machine to a loopback address is answered, under the name "localhost" or a loopback address, and
	// without header fields of a proxy. Other users of the machine can then read the mail.
	Authorize func(r *http.Request) (user string, err error)

	// Challenge is sent as WWW-Authenticate with a refusal, whose status is then 401. If empty, the status is 403.
	Challenge string

	// Logger gets a line for each change by the page, with the user, and for each refused request. If nil, nothing is
	// logged.
	Logger *slog.Logger

	protection http.CrossOriginProtection

	mu        sync.Mutex
	messages  []*Message // the oldest first; their IDs ascend
	octets    int64      // of messages
	receiving int64      // octets that are being received
	last      int        // the last ID
	dropped   int        // messages that made room for others
	changed   chan struct{}
	receiver  receiver
}

// Message is a message that was received. Nothing of it may be changed.
type Message struct {
	ID       string         // unique in an Inbox: "1", "2", …
	Time     time.Time      // of arrival
	Envelope *smtp.Envelope // with the accepted recipients
	Data     []byte         // as it came: header and body, without dot stuffing
	Client   string         // the address of the client, and its port
	Hello    string         // its name in EHLO
	TLS      bool           // whether it used TLS
	Username string         // the user that authenticated; "" if nobody did

	number  int
	summary summary
}

// overhead is what a message takes beside its content and addresses, in octets.
const overhead = 2 << 10

func (m *Message) octets() int64 {
	n := len(m.Data) + len(m.Envelope.From) + overhead
	for i := range m.Envelope.Recipients {
		n += len(m.Envelope.Recipients[i].Address) + len(m.Envelope.Recipients[i].ORCPT) + 64
	}
	return int64(n)
}

func (in *Inbox) maxMessages() int { return cmp.Or(max(in.MaxMessages, 0), 1000) }
func (in *Inbox) maxOctets() int64 { return cmp.Or(max(in.MaxOctets, 0), 256<<20) }

// Handle implements [server.Handler]. A nil Peer is a client of which nothing is known. A nil env or body is an error.
func (in *Inbox) Handle(
	ctx context.Context, p *server.Peer, env *smtp.Envelope, body io.Reader,
) (*smtp.Reply, error) {
	if env == nil || body == nil {
		return nil, errNil
	}
	p = known(p)
	data, err := in.read(body)
	defer in.release(cap(data))
	if err != nil {
		return nil, err
	}
	m := &Message{
		Time: time.Now(), Envelope: env, Data: bytes.Clone(data), Hello: p.Hello, TLS: p.TLS != nil,
		Username: p.Username,
	}
	if p.RemoteAddr != nil {
		m.Client = p.RemoteAddr.String()
	}
	m.summary = summarize(m)
	if err := in.checkData(ctx, p, m); err != nil {
		return nil, err
	}
	return nil, in.keep(m)
}

var (
	errNil    = errors.New("inbox: the envelope or the body is nil")
	errTooBig = smtp.NewReply(552, "5.3.4", "the message is larger than the inbox")
	errBusy   = smtp.NewReply(452, "4.3.1", "too much mail is being received at the same time")
)

// read reads a message. All that are being read have at most maxOctets. The caller releases what the result can hold,
// also after an error.
func (in *Inbox) read(body io.Reader) ([]byte, error) {
	var data []byte
	for {
		if len(data) == cap(data) {
			n := max(64<<10, cap(data)) // doubled
			if int64(len(data)) > in.maxOctets() {
				return data, errTooBig
			}
			in.mu.Lock()
			full := in.receiving+int64(n) > max(2*min(in.maxOctets(), math.MaxInt64/2), 128<<10)
			if !full {
				in.receiving += int64(n)
			}
			in.mu.Unlock()
			if full {
				return data, errBusy
			}
			grown := make([]byte, len(data), cap(data)+n)
			copy(grown, data)
			data = grown
		}
		n, err := body.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if err == io.EOF {
			return data, nil
		}
		if err != nil {
			return data, err // the connection was lost, or the message is invalid
		}
	}
}

func (in *Inbox) release(n int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.receiving -= int64(n)
}

// keep stores a message, and drops old ones to make room for it.
func (in *Inbox) keep(m *Message) error {
	size := m.octets()
	if size > in.maxOctets() {
		return errTooBig
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	n := 0
	for n < len(in.messages) && (len(in.messages)-n >= in.maxMessages() || in.octets+size > in.maxOctets()) {
		in.octets -= in.messages[n].octets()
		n++
	}
	in.dropped += n
	in.messages = slices.Delete(in.messages, 0, n)
	in.last++
	m.number, m.ID = in.last, strconv.Itoa(in.last)
	in.messages = append(in.messages, m)
	in.octets += size
	in.wake()
	return nil
}

// wake wakes all that wait for a change. in.mu is held.
func (in *Inbox) wake() {
	if in.changed != nil {
		close(in.changed)
		in.changed = nil
	}
}

// watch returns a channel that is closed at the next change. in.mu is held.
func (in *Inbox) watch() <-chan struct{} {
	if in.changed == nil {
		in.changed = make(chan struct{})
	}
	return in.changed
}

// Messages returns the messages that match, the oldest first.
func (in *Inbox) Messages(f Filter) []*Message {
	in.mu.Lock()
	all := slices.Clone(in.messages)
	in.mu.Unlock()
	match := f.matcher()
	return slices.DeleteFunc(all, func(m *Message) bool { return !match(m) })
}

// Wait returns the oldest message that matches, one that was received before the call, too. It waits for one until ctx
// ends, and then returns an error that wraps that of ctx.
func (in *Inbox) Wait(ctx context.Context, f Filter) (*Message, error) {
	match := f.matcher()
	seen := 0
	for {
		in.mu.Lock()
		i, _ := slices.BinarySearchFunc(in.messages, seen+1, func(m *Message, n int) int { return m.number - n })
		fresh := slices.Clone(in.messages[i:])
		changed := in.watch()
		in.mu.Unlock()
		for _, m := range fresh {
			if match(m) {
				return m, nil
			}
			seen = m.number
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("inbox: no message came that matches: %w", context.Cause(ctx))
		}
	}
}

// ErrNotFound is the error for a message that isn't there: it was deleted, made room for others, or never was.
var ErrNotFound = errors.New("inbox: there is no such message")

// Message returns the message with this ID, or ErrNotFound.
func (in *Inbox) Message(id string) (*Message, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	i, ok := in.find(id)
	if !ok {
		return nil, ErrNotFound
	}
	return in.messages[i], nil
}

// find returns the index of a message. in.mu is held.
func (in *Inbox) find(id string) (int, bool) {
	n, err := strconv.Atoi(id)
	if err != nil || strconv.Itoa(n) != id {
		return 0, false
	}
	return slices.BinarySearchFunc(in.messages, n, func(m *Message, n int) int { return m.number - n })
}

// Delete removes the message with this ID, or returns ErrNotFound.
func (in *Inbox) Delete(id string) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	i, ok := in.find(id)
	if !ok {
		return ErrNotFound
	}
	in.octets -= in.messages[i].octets()
	in.messages = slices.Delete(in.messages, i, i+1)
	return nil
}

// Clear removes all messages, and returns how many there were. IDs aren't used again. Switches stay.
func (in *Inbox) Clear() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	n := len(in.messages)
	in.messages, in.octets = nil, 0
	return n
}
