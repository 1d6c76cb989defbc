package client

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// sink is a host that takes every message, and answers each group of commands at once.
type sink struct {
	messages atomic.Int64
	octets   atomic.Int64
	delay    time.Duration // before each greeting and final reply
}

func (s *sink) serve(c *pipeConn) { s.session(c) }

func (s *sink) session(c net.Conn) {
	defer c.Close()
	in := bufio.NewReaderSize(c, 64<<10)
	out := bufio.NewWriterSize(c, 16<<10)
	time.Sleep(s.delay)
	out.WriteString("220 sink\r\n")
	for {
		if in.Buffered() == 0 && out.Flush() != nil {
			return
		}
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		switch string(line[:4]) {
		case "EHLO", "LHLO":
			out.WriteString("250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-AUTH PLAIN\r\n250 SIZE 100000000\r\n")
		case "AUTH":
			out.WriteString("235 ok\r\n")
		case "DATA":
			out.WriteString("354 go\r\n")
			out.Flush()
			n, err := s.body(in)
			if err != nil {
				return
			}
			time.Sleep(s.delay)
			s.messages.Add(1)
			s.octets.Add(n)
			out.WriteString("250 2.0.0 taken\r\n")
		case "QUIT":
			out.WriteString("221 bye\r\n")
			out.Flush()
			return
		default:
			out.WriteString("250 2.1.0 ok\r\n")
		}
	}
}

// body reads to the end of the data, as fast as it can.
func (s *sink) body(in *bufio.Reader) (n int64, err error) {
	dot := []byte("\r\n.\r\n")
	for {
		if _, err := in.Peek(1); err != nil {
			return n, err
		}
		b, _ := in.Peek(in.Buffered())
		if i := bytes.Index(b, dot); i >= 0 {
			in.Discard(i + len(dot))
			return n + int64(i+2), nil
		}
		if len(b) <= len(dot) {
			if _, err := in.Peek(len(b) + 1); err != nil {
				return n, io.ErrUnexpectedEOF
			}
			continue
		}
		in.Discard(len(b) - len(dot))
		n += int64(len(b) - len(dot))
	}
}
