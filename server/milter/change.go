package milter

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/internal/words"
	"github.com/postrider/postrider/smtp"
)

// change is one change that a filter wants, of any kind but a new body.
type change struct {
	cmd         byte
	index       int
	name, value string // of a field; or an address and its parameters; or a reason
}

func isChange(cmd byte) bool {
	switch cmd {
	case chgAddHeader, chgInsertHeader, chgChangeHeader, chgAddRcpt, chgAddRcptPar, chgDeleteRcpt, chgFrom,
		chgQuarantine:
		return true
	}
	return false
}

// parseChange reads the data of a change.
func parseChange(cmd byte, data []byte) (change, error) {
	c := change{cmd: cmd}
	if cmd == chgInsertHeader || cmd == chgChangeHeader {
		if len(data) < 4 {
			return c, fmt.Errorf("a change %q without its index", cmd)
		}
		c.index, data = int(min(binary.BigEndian.Uint32(data), 1<<30)), data[4:]
	}
	parts := bytes.Split(bytes.TrimSuffix(data, []byte{0}), []byte{0})
	c.name = string(parts[0])
	if len(parts) > 1 {
		c.value = string(parts[1])
	}
	if len(parts) > 2 || c.name == "" && cmd != chgQuarantine {
		return c, fmt.Errorf("a change %q with data %.100q", cmd, data)
	}
	return c, nil
}

// plan is all that is to be changed in a message but its body. It is made before anything is changed.
type plan struct {
	header []slot
	plain  bool // values come without their leading space
	from   string
	rcpts  []rcptChange
	hold   string // the reason; "": no
	utf8   bool   // addresses may have UTF-8
}

// slot is a field of the header. One that was deleted still counts for the index of later changes, as in Sendmail.
type slot struct {
	server.Field
	gone bool
}

type rcptChange struct {
	smtp.Recipient
	deleted bool
}

// newPlan checks all changes. plain says that values come without their leading space.
func newPlan(env *smtp.Envelope, header []server.Field, changes []change, plain bool) (*plan, error) {
	p := &plan{header: make([]slot, len(header)), plain: plain, from: env.From, utf8: env.UTF8}
	for i, f := range header {
		p.header[i].Field = f
	}
	for _, c := range changes {
		if err := p.add(c); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *plan) add(c change) (err error) {
	switch c.cmd {
	case chgAddHeader:
		return p.insert(len(p.header), c)
	case chgInsertHeader:
		return p.insert(min(max(c.index-1, 0), len(p.header)), c)
	case chgChangeHeader:
		return p.change(c)
	case chgAddRcpt, chgAddRcptPar:
		var r smtp.Recipient
		r, err = smtp.ParseRcpt("TO:" + path(c.name) + " " + c.value)
		if err == nil && !p.utf8 && smtp.NeedsUTF8(r.Address) {
			err = errors.New("the message has no SMTPUTF8")
		}
		p.rcpts = append(p.rcpts, rcptChange{r, false})
	case chgDeleteRcpt:
		r := smtp.Recipient{Address: strings.TrimSuffix(strings.TrimPrefix(c.name, "<"), ">")}
		p.rcpts = append(p.rcpts, rcptChange{r, true})
	case chgFrom:
		args := "FROM:" + path(c.name)
		if p.utf8 {
			args += " SMTPUTF8"
		}
		var env *smtp.Envelope
		if env, err = smtp.ParseMail(args); err == nil {
			p.from = env.From
		}
	case chgQuarantine:
		p.hold = cmp.Or(p.hold, words.Line(c.name, 200), "no reason given")
	}
	if err != nil {
		return fmt.Errorf("a change %q to %.100q: %w", c.cmd, c.name, err)
	}
	return nil
}

// path returns an address in brackets.
func path(address string) string {
	if strings.HasPrefix(address, "<") {
		return address
	}
	return "<" + address + ">"
}

// field returns a field as a filter wants it.
func (p *plan) field(name, value string) (server.Field, error) {
	value = strings.TrimRight(strings.ReplaceAll(value, "\r\n", "\n"), "\n")
	if p.plain {
		value = " " + value
	}
	f := server.Field{Name: name, Value: strings.ReplaceAll(value, "\n", "\r\n")}
	return f, f.Check()
}

// insert inserts a field.
func (p *plan) insert(at int, c change) error {
	f, err := p.field(c.name, c.value)
	if err == nil {
		p.header = slices.Insert(p.header, at, slot{Field: f})
	}
	return err
}

// change changes a field that is there, deletes it if there is no value, or adds one that isn't there.
func (p *plan) change(c change) error {
	n := max(c.index, 1)
	at := slices.IndexFunc(p.header, func(s slot) bool {
		if s.Is(c.name) {
			n--
		}
		return n == 0
	})
	switch {
	case c.value == "" && at >= 0:
		p.header[at].gone = true
		return nil
	case c.value == "":
		return nil
	case at < 0:
		return p.insert(len(p.header), c)
	}
	f, err := p.field(c.name, c.value)
	p.header[at] = slot{Field: f}
	return err
}

// carryOut makes the changes. It fails only if a recipient can't be added now: then the message is deferred.
func (p *plan) carryOut(ctx context.Context, s *server.Session, m *server.Message, body *server.Body) error {
	for _, r := range p.rcpts {
		if r.deleted {
			s.Envelope.Recipients = slices.DeleteFunc(s.Envelope.Recipients, r.same)
			continue
		}
		if slices.ContainsFunc(s.Envelope.Recipients, r.same) {
			continue
		}
		err := s.AddRecipient(ctx, r.Recipient)
		reply, ok := errors.AsType[*smtp.Reply](err)
		switch {
		case ok && reply.Permanent():
			s.Found(ctx, fmt.Sprintf("the recipient %s, which the filter adds, is left out: %v", r.Address, reply))
		case err != nil:
			return refused{err}
		}
	}
	s.Envelope.From = p.from
	m.Header = m.Header[:0:0]
	for _, f := range p.header {
		if !f.gone {
			m.Header = append(m.Header, f.Field)
		}
	}
	if body != nil {
		m.Body = body
	}
	if p.hold != "" {
		s.Found(ctx, "quarantined: "+p.hold)
		s.Hold(p.hold)
	}
	return nil
}

// same reports whether an address is that of r. Only its own host interprets a local part (RFC 5321 §2.4).
func (r *rcptChange) same(other smtp.Recipient) bool {
	local, domain := smtp.SplitAddress(r.Address)
	otherLocal, otherDomain := smtp.SplitAddress(other.Address)
	return local == otherLocal && strings.EqualFold(domain, otherDomain)
}
