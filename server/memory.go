package server

import (
	"bytes"
	"cmp"
	"strings"
	"unsafe"

	"github.com/postrider/postrider/internal/header"
	"github.com/postrider/postrider/smtp"
)

// What MaxMemory counts, in octets.
const (
	sessionMemory = 8 << 10                         // of a session: its goroutine, and its connection
	tlsMemory     = 12 << 10                        // of its TLS connection
	bufferMemory  = inSize + 2<<10                  // of its buffers
	rcptMemory    = unsafe.Sizeof(smtp.Recipient{}) // of a recipient, without its strings
)

var errMemory = smtp.NewReply(452, "4.3.1", "too much mail at a time, try again later") // RFC 5321 §4.2.3

// hold counts n octets until the transaction ends. It reports whether they are within MaxMemory; else they aren't
// counted.
func (s *session) hold(n int) bool {
	if s.srv.memory.Add(int64(n)) > cmp.Or(s.srv.MaxMemory, defaultMaxMemory) {
		s.srv.memory.Add(-int64(n))
		return false
	}
	s.held += n
	return true
}

// takeTemp counts octets of files in TempDir, or ends their count. If there is no room for them in MaxTemp, it returns
// the reply.
func (s *Server) takeTemp(octets int64) error {
	if s.temp.Add(octets) > cmp.Or(s.MaxTemp, defaultMaxTemp) && octets > 0 {
		s.temp.Add(-octets)
		return errMemory
	}
	return nil
}

// letGo ends the count of all that the transaction holds.
func (s *session) letGo() {
	s.srv.memory.Add(-int64(s.held))
	s.held, s.envelope = 0, 0
}

// holdRcpt counts n octets of a recipient. If there is no room for them in MaxEnvelope or MaxMemory, it returns the
// reply.
func (s *session) holdRcpt(n int) *smtp.Reply {
	switch {
	case s.envelope+n > cmp.Or(s.srv.MaxEnvelope, defaultMaxEnvelope):
		return smtp.NewReply(452, "4.5.3", "too many recipients") // RFC 5321 §4.5.3.1.10
	case !s.hold(n):
		return errMemory
	}
	s.envelope += n
	return nil
}

// dropRcpt ends the count of a recipient that was refused.
func (s *session) dropRcpt(n int) {
	s.srv.memory.Add(-int64(n))
	s.held -= n
	s.envelope -= n
}

// compact returns the recipient without most of its command line, args, in memory, and the octets that it takes in the
// envelope.
func (s *session) compact(rcpt smtp.Recipient, args string) (smtp.Recipient, int) {
	line := args
	if len(line) > len(rcpt.Address)+2*allocStep {
		rcpt.Address, rcpt.ORCPT = strings.Clone(rcpt.Address), strings.Clone(rcpt.ORCPT)
		line = rcpt.Address
	}
	n := allocated(len(line)) + allocated(len(rcpt.ORCPT))
	if list := s.env.Recipients; len(list) == cap(list) {
		grows := max(1, len(list)) // as append has it
		if grows > 256 {
			grows = (grows + 3*256) / 4
		}
		n += grows * int(rcptMemory)
	}
	return rcpt, n
}

const allocStep = 16

// allocated returns the memory of n octets.
func allocated(n int) int { return (n + allocStep - 1) &^ (allocStep - 1) }

// headerGuard watches the beginning of a message: whether its header is within MaxHeader and MaxHeaderFields. It counts
// the header's octets for MaxMemory, because a Handler keeps the header in memory. Without a header, it watches the
// first line alone.
type headerGuard struct {
	s      *session
	copies int // of the header that are in memory at a time

	// The bools come last: this is a part of each bodyReader, which is made for each message.
	first  []byte // what has come of the first line, up to maxFirst octets
	octets int
	fields int
	line   int  // octets of the current line
	begun  bool // the first line has ended, and is a field
	cr     bool // the line begins with a CR
	over   bool // the header has ended
}

// maxFirst is the part of the first line that tells whether it is a field. RFC 5322 §2.1.1: a line has 998 characters.
const maxFirst = 1000

// see looks at the next octets of the message. It returns the refusal if a bound is exceeded.
func (g *headerGuard) see(b []byte) *smtp.Reply {
	seen := 0
	for !g.over && seen < len(b) {
		part := b[seen:]
		if i := bytes.IndexByte(part, '\n'); i >= 0 {
			part = part[:i+1]
		}
		g.count(part)
		seen += len(part)
	}
	g.octets += seen
	switch {
	case g.octets > cmp.Or(g.s.srv.MaxHeader, defaultMaxHeader):
		return smtp.NewReply(552, "5.3.4", "the header is too long")
	case g.fields > cmp.Or(g.s.srv.MaxHeaderFields, defaultMaxHeaderFields):
		return smtp.NewReply(552, "5.3.4", "the header has too many fields")
	case !g.s.hold(seen * g.copies):
		return errMemory
	}
	return nil
}

// count counts a part of a line, up to its LF if it has one.
func (g *headerGuard) count(part []byte) {
	if g.line == 0 {
		g.cr = part[0] == '\r'
		if part[0] != ' ' && part[0] != '\t' && !g.cr {
			g.fields++
		}
	}
	g.line += len(part)
	if part[len(part)-1] == '\n' {
		g.over = g.line == 2 && g.cr || !g.begun && g.isText(part)
		g.line = 0
	} else if !g.begun {
		g.first = append(g.first, part[:min(len(part), maxFirst-len(g.first))]...)
	}
}

// isText reports whether the first line, which ends with part, is no field, so that the message has no header. A line
// that programs put before the header tells nothing: the next one does.
func (g *headerGuard) isText(part []byte) bool {
	line := part
	if len(g.first) > 0 {
		line = append(g.first, part...)
	}
	cut := len(g.first) == maxFirst
	g.first = nil
	line = line[header.Preamble(line):]
	if !cut && len(line) == 0 {
		return false
	}
	g.begun = cut || header.BeginsField(line)
	return !g.begun
}
