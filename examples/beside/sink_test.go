package beside

import (
	"bufio"
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// sink is a host that accepts every message at once, and allocates nothing for it.
type sink struct {
	delay time.Duration // each way
	keep  func(mail)    // called for each message; if nil, none is kept

	sessions, messages, recipients, octets atomic.Int64

	// trips counts the round trips of the clients: how often the sink had answered all commands, and waited for more.
	trips atomic.Int64
}

// mail is a received message.
type mail struct {
	from string
	to   []string
	data string // without the dots of the wire
}

// listen serves the sink on the loopback until the test ends, and returns its address.
func (s *sink) listen(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if s.delay > 0 {
				c = newFar(c, s.delay)
			}
			s.sessions.Add(1)
			wg.Go(func() { (&sinkSession{sink: s, conn: c}).serve() })
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

// sinkSession is the sink's end of a connection.
type sinkSession struct {
	*sink
	conn net.Conn
	in   *bufio.Reader
	out  []byte // replies that aren't sent yet
	mail mail   // if messages are kept
	data []byte
}

// Read is for s.in, which calls it when all earlier commands are answered. It sends the replies and reads the next
// input.
func (s *sinkSession) Read(p []byte) (int, error) {
	if len(s.out) > 0 {
		s.trips.Add(1)
		_, err := s.conn.Write(s.out)
		s.out = s.out[:0]
		if err != nil {
			return 0, err
		}
	}
	return s.conn.Read(p)
}

func (s *sinkSession) serve() {
	defer s.conn.Close()
	s.in = bufio.NewReaderSize(s, 64<<10)
	s.say("220 sink\r\n")
	for {
		line, err := s.in.ReadSlice('\n')
		if err != nil {
			return
		}
		switch string(line[:min(4, len(line))]) {
		case "EHLO":
			s.say("250-sink\r\n250-PIPELINING\r\n250-SIZE 100000000\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n")
		case "MAIL":
			if s.keep != nil {
				s.mail = mail{from: path(line)}
			}
			s.say("250 2.1.0 ok\r\n")
		case "RCPT":
			s.recipients.Add(1)
			if s.keep != nil {
				s.mail.to = append(s.mail.to, path(line))
			}
			s.say("250 2.1.5 ok\r\n")
		case "DATA":
			s.say("354 go on\r\n")
			if s.body() != nil {
				return
			}
			s.say("250 2.0.0 taken\r\n")
		case "QUIT":
			s.conn.Write([]byte("221 2.0.0 bye\r\n"))
			return
		case "NOOP", "RSET":
			s.say("250 2.0.0 ok\r\n")
		default:
			s.say("500 5.5.1 unknown command\r\n")
		}
	}
}

func (s *sinkSession) say(reply string) { s.out = append(s.out, reply...) }

var endOfData = []byte("\r\n.\r\n")

// body reads to CRLF.CRLF. An empty body doesn't end so, and no client sends one.
func (s *sinkSession) body() error {
	for {
		if _, err := s.in.Peek(len(endOfData)); err != nil {
			return err
		}
		b, _ := s.in.Peek(s.in.Buffered())
		i := bytes.Index(b, endOfData)
		if i < 0 {
			s.take(b[:len(b)-len(endOfData)+1]) // the rest may be the beginning of the end
			continue
		}
		s.take(b[:i+len("\r\n")])
		s.in.Discard(len(".\r\n"))
		s.messages.Add(1)
		if s.keep != nil {
			s.mail.data = string(bytes.ReplaceAll(s.data, []byte("\r\n."), []byte("\r\n"))) // RFC 5321 §4.5.2
			s.keep(s.mail)
			s.data = nil
		}
		return nil
	}
}

// take counts and discards octets of the body, which are the first of s.in.
func (s *sinkSession) take(b []byte) {
	s.octets.Add(int64(len(b)))
	if s.keep != nil {
		s.data = append(s.data, b...)
	}
	s.in.Discard(len(b))
}

// path returns the address in the angle brackets of MAIL or RCPT.
func path(line []byte) string {
	begin, end := bytes.IndexByte(line, '<'), bytes.LastIndexByte(line, '>')
	return string(line[begin+1 : max(begin+1, end)])
}
