package milter

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// stream is a connection that has octets to read.
type stream struct {
	net.Conn
	io.Reader
}

func (s stream) Read(p []byte) (int, error) { return s.Reader.Read(p) }
func (stream) Write(p []byte) (int, error)  { return len(p), nil }
func (stream) SetDeadline(time.Time) error  { return nil }
func (stream) Close() error                 { return nil }

// over returns a link to a filter that sends octets.
func over(octets []byte) *link {
	nc := stream{Reader: bytes.NewReader(octets)}
	return &link{check: &check{f: &Filter{MaxOctets: 1 << 16}}, w: newWire(nc)}
}

// FuzzAnswers reads octets as what a filter sends at the end of a message. Whatever they are, the message afterwards is
// one message with fields and addresses that can be sent, and the octets that are kept are bounded.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(packet('h', "X\x00y\x00")+packet('i', indexed(1, "X", "1"))+packet('m', indexed(1, "Subject", ""))+packet('c', "")), true)
	f.Add([]byte(packet('+', "<eve@next.test>\x00")+packet('2', "<x@y.test>\x00NOTIFY=NEVER\x00")+packet('-', "<bob@next.test>\x00")+packet('a', "")), false)
	f.Add([]byte(packet('e', "<new@source.test>\x00SIZE=1\x00")+packet('q', "reason\x00")+packet('p', "")+packet('c', "")), false)
	f.Add([]byte(packet('b', "one\ntwo\r\n")+packet('b', "three")+packet('a', "")), false)
	f.Add([]byte(packet('b', "a\rb")+packet('a', "")), false)
	f.Add([]byte(packet('y', "550-5.7.1 a%%\r\n550 5.7.1 b\x00")), false)
	f.Add([]byte("\x00\x00\x00\x00"), false)
	f.Add([]byte("\xff\xff\xff\xffb"), false)
	f.Add([]byte(packet('r', "")+packet('d', "")), true)
	f.Fuzz(func(t *testing.T, octets []byte, spaced bool) {
		l := over(octets)
		l.w.begin(context.Background(), l.f)
		defer l.w.stop()
		l.body = &newBody{Body: new(server.Body)}
		defer l.body.Discard()
		s := &server.Session{Envelope: smtp.NewEnvelope("ann@source.test", "bob@next.test")}
		changes, err := l.hearEnd(s)
		if l.body.Size() > l.f.MaxOctets {
			t.Fatalf("got a body of %d octets, want at most %d", l.body.Size(), l.f.MaxOctets)
		}
		if err != nil || l.done {
			return
		}
		header := []server.Field{{Name: "Subject", Value: " hi"}, {Name: "X", Value: " a\r\n\tb"}}
		p, err := newPlan(s.Envelope, header, changes, spaced)
		if err != nil {
			return
		}
		for _, slot := range p.header {
			if err := slot.Check(); err != nil {
				t.Errorf("got the field %q: %v", slot.Field, err)
			}
		}
		env := &smtp.Envelope{From: p.from}
		for _, r := range p.rcpts {
			if !r.deleted {
				env.Recipients = append(env.Recipients, r.Recipient)
			}
		}
		if len(env.Recipients) == 0 {
			env.Recipients = s.Envelope.Recipients
		}
		if err := env.Check(); err != nil {
			t.Errorf("got the envelope %+v: %v", env, err)
		}
		if strings.ContainsAny(p.hold, "\r\n\x00") {
			t.Errorf("got the reason %q", p.hold)
		}
		lines := new(server.Body)
		defer lines.Discard()
		if normal(lines, l.body.Body) != nil {
			return
		}
		if _, err := smtp.Scan(lines); err != nil {
			t.Errorf("got a body that can't be sent: %v", err)
		}
	})
}

// FuzzReply reads octets as a filter's answer before the end: a command is answered by a refusal, by nothing, or fails.
func FuzzReply(f *testing.F) {
	for _, s := range []string{packet('y', "550 5.7.1 no\x00"), packet('y', "451-a\r\n451 b\x00"), packet('y', "%%%"), packet('c', ""),
		packet('O', strings.Repeat("\x00", 11)+"\x06"), packet('s', ""), "\x00\x00\x00\x01", "\x00\x00\x00\x00c"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, octets []byte) {
		l := over(octets)
		l.w.begin(context.Background(), l.f)
		defer l.w.stop()
		err := l.hear(&server.Session{}, cmdConnect, silentConnect)
		if r, ok := err.(refused); ok {
			reply := r.error.(*smtp.Reply)
			wire := reply.AppendTo(nil)
			in := bufio.NewReader(bytes.NewReader(wire))
			if again, err := smtp.ReadReply(in); err != nil || again.Code != reply.Code || reply.Code < 400 || in.Buffered() > 0 {
				t.Errorf("got the reply %q, which is read as %v with %v", wire, again, err)
			}
		}
		l = over(octets)
		l.w.begin(context.Background(), l.f)
		defer l.w.stop()
		if version, protocol, err := l.w.negotiate(); err == nil && (version > 6 || protocol&^offeredProtocol != 0) {
			t.Errorf("got version %d, protocol %#x", version, protocol)
		}
	})
}
