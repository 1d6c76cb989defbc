package client

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"
)

// ledger is what the hosts of a storm did, by recipient: each address is used in one message only.
type ledger struct {
	mu       sync.Mutex
	commits  map[string]int  // how often it was taken
	asked    map[string]int  // how often DATA was answered, for the accepted
	said     map[string]bool // its 250 was written
	refused  map[string]bool // a 5xx was, to it or to its MAIL
	faults   []string        // what no client may do
	sessions int
}

func newLedger() *ledger {
	return &ledger{commits: make(map[string]int), asked: make(map[string]int), said: make(map[string]bool), refused: make(map[string]bool)}
}

func (l *ledger) note(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

func (l *ledger) fault(format string, args ...any) {
	l.note(func() { l.faults = append(l.faults, fmt.Sprintf(format, args...)) })
}

// stormHost takes mail, and fails in every way that it can.
type stormHost struct {
	ledger *ledger
	seed   uint64
	lmtp   bool
	pause  time.Duration // at most, before some of its answers
	stall  time.Duration // longer than all time-outs
	idle   time.Duration // at most, before it closes an idle session
}

// stormSession is one of its sessions.
type stormSession struct {
	*stormHost
	nc    net.Conn
	in    *bufio.Reader
	rnd   *rand.Rand
	token string // of the transaction that is going on: what stands before the "@" of its MAIL
	rcpts []string
}

func (h *stormHost) serve(nc net.Conn) {
	defer nc.Close()
	var n int
	h.ledger.note(func() { h.ledger.sessions++; n = h.ledger.sessions })
	s := &stormSession{stormHost: h, nc: nc, in: bufio.NewReader(nc), rnd: rand.New(rand.NewPCG(h.seed, uint64(n)))}
	if !s.answer("220 storm", "450 later", "554 no") {
		return
	}
	for s.command() {
	}
}

func (s *stormSession) say(reply string) bool {
	_, err := io.WriteString(s.nc, reply+"\r\n")
	return err == nil
}

// choose gives one of three replies, some of them after a pause, or ends the session in a way of its own.
func (s *stormSession) choose(good, later, no string) (reply string, ok bool) {
	if s.rnd.IntN(5) == 0 {
		time.Sleep(time.Duration(s.rnd.Int64N(int64(s.pause))))
	}
	switch s.rnd.IntN(100) {
	case 0:
		return "", false
	case 1:
		s.say("421 4.3.2 closing")
		return "", false
	case 2:
		time.Sleep(s.stall)
		return "", false
	case 3:
		s.say("what?")
		return "", false
	case 4, 5:
		return later, true
	case 6, 7:
		return no, true
	}
	return good, true
}

// answer says what choose gives.
func (s *stormSession) answer(good, later, no string) bool {
	reply, ok := s.choose(good, later, no)
	return ok && s.say(reply)
}

func (s *stormSession) command() bool {
	line, err := s.in.ReadString('\n')
	if err != nil {
		if line != "" {
			s.ledger.fault("half a command %q", line)
		}
		return false
	}
	line = strings.TrimSuffix(line, "\r\n")
	switch verb, _, _ := strings.Cut(line, " "); verb {
	case "EHLO", "LHLO", "HELO":
		if s.rnd.IntN(2) == 0 {
			return s.answer("250-storm\r\n250 PIPELINING", "450 later", "502 what?")
		}
		return s.answer("250 storm", "450 later", "502 what?")
	case "MAIL":
		return s.mail(line)
	case "RCPT":
		return s.rcpt(line)
	case "DATA":
		return s.data()
	case "RSET":
		s.token, s.rcpts = "", nil
		return s.say("250 ok")
	case "QUIT":
		s.say("221 bye")
		return false
	}
	s.ledger.fault("command %q in transaction %q", line, s.token)
	return false
}

func (s *stormSession) mail(line string) bool {
	_, after, _ := strings.Cut(line, "<")
	token, _, _ := strings.Cut(after, "@")
	if s.token != "" {
		s.ledger.fault("MAIL of %s within %s", token, s.token)
		return false
	}
	reply, ok := s.choose("250 ok", "451 later", "550 no")
	if !ok {
		return false
	}
	switch reply[0] {
	case '2':
		s.token, s.rcpts = token, nil
	case '5':
		s.ledger.note(func() { s.ledger.refused[token] = true })
	}
	return s.say(reply)
}

func (s *stormSession) rcpt(line string) bool {
	if s.token == "" {
		return s.say("503 5.5.1 no MAIL")
	}
	_, after, _ := strings.Cut(line, "<")
	rcpt, _, _ := strings.Cut(after, ">")
	if !strings.Contains(rcpt, "."+s.token+"@") {
		s.ledger.fault("RCPT of %s within %s", rcpt, s.token)
		return false
	}
	later := []string{"450 4.4.5 later", "450 4.2.2 full", "452 4.5.3 too many"}[s.rnd.IntN(3)]
	reply, ok := s.choose("250 ok", later, "550 5.1.1 who?")
	if !ok {
		return false
	}
	switch reply[0] {
	case '2':
		s.rcpts = append(s.rcpts, rcpt)
	case '5':
		s.ledger.note(func() { s.ledger.refused[rcpt] = true })
	}
	return s.say(reply)
}

func (s *stormSession) data() bool {
	if len(s.rcpts) == 0 && s.rnd.IntN(2) == 0 {
		return s.say("503 5.5.1 nobody")
	}
	reply, ok := s.choose("354 go", "451 later", "554 no")
	if !ok {
		return false
	}
	s.ledger.note(func() {
		for _, rcpt := range s.rcpts {
			s.ledger.asked[rcpt]++
		}
	})
	if reply[0] != '3' {
		s.refuse(reply)
		return s.say(reply)
	}
	if !s.say(reply) {
		return false
	}
	breakAt := -1
	if s.rnd.IntN(50) == 0 {
		breakAt = s.rnd.IntN(100 << 10)
	}
	first, n := "", 0
	for {
		line, err := s.in.ReadString('\n')
		if verb, _, _ := strings.Cut(line, " "); verb == "QUIT\r\n" || verb == "RSET\r\n" || verb == "MAIL" {
			s.ledger.fault("%q within the message %s", line, s.token)
		}
		if n += len(line); err != nil || breakAt >= 0 && n > breakAt {
			return false
		}
		if line == ".\r\n" {
			break
		}
		if first == "" {
			first = line
		}
	}
	if s.in.Buffered() > 0 {
		s.ledger.fault("commands behind the final dot of %s", s.token)
	}
	if len(s.rcpts) == 0 {
		if first != "" {
			s.ledger.fault("a message for nobody in %s", s.token)
		}
		s.token = ""
		return s.say("554 nobody")
	}
	if first != "Token: "+s.token+"\r\n" {
		s.ledger.fault("message %q within %s", first, s.token)
		return false
	}
	return s.final() && s.rest()
}

// refuse records a refusal of all that were accepted.
func (s *stormSession) refuse(reply string) {
	if reply[0] == '5' {
		s.ledger.note(func() {
			for _, rcpt := range s.rcpts {
				s.ledger.refused[rcpt] = true
			}
		})
	}
}

// final takes the message, or doesn't: for all, or over LMTP for each.
func (s *stormSession) final() bool {
	all, rcpts := s.rcpts, s.rcpts
	s.token = ""
	for len(all) > 0 {
		if rcpts = all; s.lmtp {
			rcpts = all[:1]
		}
		all = all[len(rcpts):]
		s.rcpts = rcpts
		if s.rnd.IntN(20) == 0 {
			s.commit()
			s.vanish()
			return false
		}
		reply, ok := s.choose("250 taken", "451 later", "554 no")
		if s.unasked() {
			s.ledger.fault("%v: spoken to before the reply to the final dot", rcpts)
		}
		if !ok {
			return false
		}
		if reply[0] == '2' {
			s.commit()
		}
		s.refuse(reply)
		if !s.say(reply) {
			return false
		}
		if reply[0] == '2' {
			s.ledger.note(func() {
				for _, rcpt := range rcpts {
					s.ledger.said[rcpt] = true
				}
			})
		}
	}
	return true
}

func (s *stormSession) commit() {
	s.ledger.note(func() {
		for _, rcpt := range s.rcpts {
			s.ledger.commits[rcpt]++
		}
	})
}

// vanish ends the session without a reply to a message that was taken.
func (s *stormSession) vanish() {
	switch s.rnd.IntN(3) {
	case 0:
		time.Sleep(s.stall)
	case 1:
		s.say("what?")
	}
}

// unasked reports whether something waits to be read.
func (s *stormSession) unasked() bool {
	if p, ok := s.nc.(*pipeConn); ok {
		p.r.mu.Lock()
		defer p.r.mu.Unlock()
		return len(p.r.buf) > 0
	}
	return s.in.Buffered() > 0
}

// rest is between two transactions: some hosts close then, with a word or without.
func (s *stormSession) rest() bool {
	s.rcpts = nil
	if s.rnd.IntN(10) > 0 {
		return true
	}
	s.nc.SetReadDeadline(time.Now().Add(time.Duration(s.rnd.Int64N(int64(s.idle)))))
	if _, err := s.in.Peek(1); err == nil {
		s.nc.SetReadDeadline(time.Time{})
		return true
	}
	if s.rnd.IntN(2) == 0 {
		s.say("421 4.4.2 idle")
	}
	return false
}
