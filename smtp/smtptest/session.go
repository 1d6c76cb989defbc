package smtptest

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/postrider/postrider/smtp"
)

const (
	// idle is the time-out of reads and writes (RFC 5321 §4.5.3.2.7: at least 5 minutes).
	idle = 5 * time.Minute

	// maxCommand bounds a line, in octets. MAIL with all its parameters fits, and so does AUTH PLAIN.
	maxCommand = 4096

	// maxRecipients is above the 100 that RFC 5321 §4.5.3.1.8 demands.
	maxRecipients = 1000
)

// errHangUp ends a session after its last reply.
var errHangUp = errors.New("hang up")

// session is the host's end of a connection. One goroutine uses it.
type session struct {
	host *Host
	id   int
	lmtp bool
	turn *smtp.Reply // if not nil, there are too many sessions, and this is the greeting
	raw  *conn
	conn net.Conn // raw, or the TLS on it
	r    *bufio.Reader
	out  []byte // pending replies

	tls      bool
	closing  bool            // the greeting refused service
	answered bool            // the reply to the next command was sent early
	taken    int             // messages that the host took
	hello    string          // "" before EHLO
	offers   map[string]bool // keywords in the answer to EHLO
	identity string          // "" before AUTH
	env      *smtp.Envelope  // nil before MAIL
	content  *content        // nil before BDAT

	// For Limits:
	mails   int             // MAIL commands
	rcpts   int             // RCPT commands of the transaction
	domains map[string]bool // of recipients
}

// forget ends the transaction.
func (s *session) forget() { s.env, s.content = nil, nil }

// serve runs the session.
func (s *session) serve() {
	s.r = bufio.NewReader(s)
	s.log("connection from %s to %s", s.raw.remote, s.raw.local)
	err := s.run()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = s.say(421, "4.4.2", "idle for too long")
	}
	if ferr := s.flush(); err == errHangUp && ferr != nil {
		err = ferr
	}
	if err != errHangUp {
		s.log("connection lost: %v", err)
	}
	s.conn.Close()
	s.raw.Close() // if TLS couldn't send its alert
}

func (s *session) run() error {
	if addr, ok := s.raw.local.(*net.TCPAddr); ok && addr.Port == portSubmissions {
		if f, ok := s.host.fault(smtp.StageTLS); ok {
			if f.kind != resets && f.kind != stalls {
				f.kind = closes // there is no reply here
			}
			if done, err := s.act(smtp.StageTLS, f); done || err != nil {
				return err
			}
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
		if verb == "BDAT" && s.host.chunks() {
			err = s.bdatCmd(line, args)
		} else if err = s.behind(verb); err == nil {
			err = s.command(line, verb, args)
		}
		if err != nil {
			return err
		}
	}
}

// behind handles octets that came after a command, or after its chunk, and before the reply.
func (s *session) behind(verb string) error {
	if n := s.r.Buffered(); n > 0 && s.host.dropsPipelined() {
		s.log("S: drops %d octets that came with a command", n)
		s.r.Discard(n)
	}
	if s.r.Buffered() > 0 && !s.mayPipeline(verb) {
		s.say(554, "5.5.0", "data came before the reply to "+verb)
		return errHangUp
	}
	return nil
}

// mayPipeline reports whether more may follow a command before its reply (RFC 2920 §3.1).
func (s *session) mayPipeline(verb string) bool {
	switch verb {
	case "EHLO", "HELO", "LHLO", "AUTH", "DATA", "STARTTLS":
		return false
	}
	return s.offers["PIPELINING"]
}

func (s *session) greet() error {
	if s.turn != nil {
		s.reply(s.turn)
		return errHangUp
	}
	if err := s.pause(smtp.StageGreeting); err != nil {
		return err
	}
	done, err := s.at(smtp.StageGreeting)
	if err == nil && !done {
		protocol := "ESMTP"
		if s.lmtp {
			protocol = "LMTP"
		}
		err = s.say(220, "", s.host.name+" "+protocol)
	}
	if err != nil {
		return err
	}
	return s.early(smtp.StageGreeting)
}

// say adds a reply to the pending replies.
func (s *session) say(code int, enhanced, text string) error {
	return s.reply(smtp.NewReply(code, enhanced, text))
}

func (s *session) reply(r *smtp.Reply) error {
	if s.answered {
		s.answered = false
		s.log("S: (%s, which was sent early)", r.Error())
		return nil
	}
	if s.host.without("ENHANCEDSTATUSCODES") {
		r = &smtp.Reply{Code: r.Code, Text: r.Text}
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

// Read reads for s.r. The replies to a group of pipelined commands are sent together (RFC 2920 §3.2), because s.r
// reads more only when its buffer is empty.
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
			s.say(500, "5.5.2", "line too long")
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
		s.say(500, "5.5.2", "bare CR or LF, or NUL")
		return "", errHangUp
	}
	return string(text), nil
}

// client returns the address of the client, invalid on a Unix socket.
func (s *session) client() netip.Addr {
	if addr, ok := s.raw.remote.(*net.TCPAddr); ok {
		return addr.AddrPort().Addr()
	}
	return netip.Addr{}
}

func (s *session) log(format string, args ...any) { s.host.log(s.id, format, args...) }
