package servertest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/postrider/postrider/smtp"
)

const (
	// idle is how long a host waits for a client to say or take something (RFC 5321 §4.5.3.2.7: 5 minutes at
	// least).
	idle = 5 * time.Minute

	// maxCommand bounds a line: MAIL with all its parameters is below it, and so is AUTH PLAIN.
	maxCommand = 4096

	// maxRecipients is above the 100 that RFC 5321 §4.5.3.1.8 demands.
	maxRecipients = 1000
)

// errHangUp ends a session that has nothing more to say.
var errHangUp = errors.New("hang up")

// session is a host's end of a connection. One goroutine has it.
type session struct {
	host *Host
	id   int
	lmtp bool
	raw  *conn
	conn net.Conn // raw, or the TLS on it
	r    *bufio.Reader
	out  []byte // replies that aren't sent yet

	tls      bool
	closing  bool            // the greeting said no
	hello    string          // "" before EHLO
	offers   map[string]bool // what EHLO said
	identity string          // "" before AUTH
	env      *smtp.Envelope  // nil before MAIL
}

// serve has the host talk to the client at the other end of c.
func (h *Host) serve(c *conn) {
	h.net.mu.Lock()
	lmtp := h.lmtp
	h.net.mu.Unlock()
	h.mu.Lock()
	h.sessions++
	s := &session{host: h, id: h.sessions, lmtp: lmtp, raw: c, conn: c}
	h.mu.Unlock()

	s.r = bufio.NewReader(s)
	s.log("connection from %s to %s", c.remote, c.local)
	err := s.run()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = s.say(421, smtp.EnhancedCode{4, 4, 2}, "no more patience")
	}
	if ferr := s.flush(); err == errHangUp && ferr != nil {
		err = ferr
	}
	if err != errHangUp {
		s.log("connection lost: %v", err)
	}
	s.conn.Close()
	s.raw.Close() // if TLS could not say good-bye
}

func (s *session) run() error {
	if addr, ok := s.raw.local.(*net.TCPAddr); ok && addr.Port == portSubmissions {
		if f, ok := s.host.fault(smtp.StageTLS); ok { // no reply can be given here
			return s.hangUp(smtp.StageTLS, f.reset)
		}
		if err := s.startTLS(); err != nil {
			return err
		}
	}
	if err := s.greet(); err != nil {
		return err
	}
	for {
		line, err := s.readLine()
		if err != nil {
			return err
		}
		verb, args, _ := strings.Cut(line, " ")
		verb = strings.ToUpper(verb)
		if verb == "AUTH" {
			s.log("C: AUTH …")
		} else {
			s.log("C: %s", line)
		}
		if s.r.Buffered() > 0 && !s.mayPipeline(verb) {
			s.say(554, smtp.EnhancedCode{5, 5, 0}, "something came ahead of the reply to "+verb)
			return errHangUp
		}
		if err := s.command(verb, args); err != nil {
			return err
		}
	}
}

// mayPipeline reports whether more may come behind a command before its reply (RFC 2920 §3.1).
func (s *session) mayPipeline(verb string) bool {
	switch verb {
	case "EHLO", "HELO", "LHLO", "AUTH", "DATA", "STARTTLS":
		return false
	}
	return s.offers["PIPELINING"]
}

func (s *session) greet() error {
	f, ok := s.host.fault(smtp.StageGreeting)
	if ok && f.reply != nil && f.reply.Code != 421 {
		s.closing = !f.reply.Positive() // RFC 5321 §3.1: then only QUIT does anything
		return s.reply(*f.reply)
	}
	if done, err := s.at(smtp.StageGreeting); done {
		return err
	}
	protocol := "ESMTP"
	if s.lmtp {
		protocol = "LMTP"
	}
	return s.say(220, smtp.EnhancedCode{}, s.host.name+" "+protocol)
}

// at does what the host was told to do at a stage. done says that the client has its answer.
func (s *session) at(stage smtp.Stage) (done bool, err error) {
	f, ok := s.host.fault(stage)
	if !ok {
		return false, nil
	}
	if f.reply != nil {
		return true, s.reply(*f.reply)
	}
	return true, s.hangUp(stage, f.reset)
}

// hangUp ends the connection, with a reset or in good order, in place of a reply.
func (s *session) hangUp(stage smtp.Stage, reset bool) error {
	if !reset {
		s.log("S: closes at stage %s", stage)
		return errHangUp
	}
	s.log("S: resets the connection at stage %s", stage)
	s.out = nil
	s.raw.SetLinger(0)
	s.raw.Close()
	return errHangUp
}

// say puts a reply among those that go out next.
func (s *session) say(code int, enhanced smtp.EnhancedCode, text string) error {
	return s.reply(smtp.Reply{Code: code, Enhanced: enhanced, Text: text})
}

func (s *session) reply(r smtp.Reply) error {
	if s.host.without("ENHANCEDSTATUSCODES") {
		r.Enhanced = smtp.EnhancedCode{}
	}
	start := len(s.out)
	s.out = r.AppendTo(s.out)
	s.log("S: %s", strings.ReplaceAll(strings.TrimSpace(string(s.out[start:])), "\r\n", " | "))
	if r.Code == 421 { // RFC 5321 §3.8
		return errHangUp
	}
	return nil
}

// flush sends the replies.
func (s *session) flush() error {
	if len(s.out) == 0 {
		return nil
	}
	s.conn.SetWriteDeadline(time.Now().Add(idle))
	_, err := s.conn.Write(s.out)
	s.conn.SetWriteDeadline(time.Time{})
	s.out = s.out[:0]
	return err
}

// Read gives s.r what comes next. As that asks for more only when it has nothing left, the replies to a group of
// pipelined commands go out together (RFC 2920 §3.2).
func (s *session) Read(p []byte) (int, error) {
	if err := s.flush(); err != nil {
		return 0, err
	}
	s.conn.SetReadDeadline(time.Now().Add(idle))
	return s.conn.Read(p)
}

// readLine reads a command, without its CRLF.
func (s *session) readLine() (string, error) {
	var line []byte
	for {
		part, err := s.r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxCommand {
			s.say(500, smtp.EnhancedCode{5, 5, 2}, "line too long")
			return "", errHangUp
		}
		if err == nil {
			break
		}
		if err != bufio.ErrBufferFull {
			return "", err
		}
	}
	text, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok || bytes.ContainsAny(text, "\r\x00") { // RFC 5321 §2.3.8
		s.log("C: %q", line)
		s.say(500, smtp.EnhancedCode{5, 5, 2}, "bare CR or LF, or NUL")
		return "", errHangUp
	}
	return string(text), nil
}

// startTLS puts TLS on the connection and forgets what was said before (RFC 3207 §4.2).
func (s *session) startTLS() error {
	if err := s.flush(); err != nil {
		return err
	}
	tc := tls.Server(s.raw, &tls.Config{
		MinVersion:             tls.VersionTLS12,
		SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.host.net.ca.certificate(s.host.name)
		},
	})
	s.raw.SetDeadline(time.Now().Add(idle))
	if err := tc.HandshakeContext(context.Background()); err != nil {
		s.raw.Close()
		return fmt.Errorf("TLS handshake: %w", err)
	}
	s.raw.SetDeadline(time.Time{})
	s.log("%s", tls.VersionName(tc.ConnectionState().Version))
	s.conn, s.tls = tc, true
	s.r.Reset(s)
	s.hello, s.offers, s.identity, s.env = "", nil, "", nil
	return nil
}

// client gives the address of the other end; invalid on a Unix socket.
func (s *session) client() netip.Addr {
	if addr, ok := s.raw.remote.(*net.TCPAddr); ok {
		return addr.AddrPort().Addr()
	}
	return netip.Addr{}
}

func (s *session) log(format string, args ...any) { s.host.log(s.id, format, args...) }
