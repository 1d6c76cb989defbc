package spool

import (
	"encoding/binary"

	"github.com/postrider/postrider/queue/internal/index"
	"github.com/postrider/postrider/smtp"
)

// Version 1 of the format had no tags: the fields of an entry are in a fixed order, each in its own form. Entries of
// version 1 are read for good, and no longer written. Compaction moves them as they are, so they occur in segments of
// version 2 too.
const (
	entryMessage1 = 1
	entryState1   = 2
	entryHold1    = 3
	entryRemoval1 = 4

	flagBodyFile1 = 1 // of a message: the body is in a file of its own
	flagDone1     = 1 // of a state: the task is gone
	flagHeld1     = 1 // of a hold: held, not released
)

func isFormat1(h entryHeader) bool { return h.kind >= entryMessage1 && h.kind <= entryRemoval1 }

// decodeMessage1 reads the fields of a message. If brief is set, it leaves the envelope out, except for the
// reverse-path.
func decodeMessage1(fields []byte, brief bool) (*index.Message, error) {
	d := decoder1{b: fields}
	s := &index.Message{
		ID: uint64(d.int64()), Arrival: d.int64(), Size: d.int64(), Sum: d.uint32(),
		NotBefore: d.int64(), Notice: d.int64(), Deadline: d.int64(),
		Priority: int8(d.byte()),
	}
	if s.NotBefore == s.Arrival { // version 1 stored it for a message without one
		s.NotBefore = index.AtOnce
	}
	s.Dests = make([]string, d.count(1))
	for i := range s.Dests {
		s.Dests[i] = destination(d.string())
	}
	s.Ref, s.Tenant = d.string(), d.string()
	if brief {
		s.Envelope.From = d.string() // it stands first
	} else {
		s.Envelope, s.Dest = d.envelope(len(s.Dests))
	}
	if d.failed || len(s.Dests) == 0 || s.Size < 0 || s.Size > maxBody || s.ID > maxID {
		return nil, errEntry
	}
	return s, nil
}

func (d *decoder1) envelope(dests int) (env smtp.Envelope, dest []uint32) {
	env.From = d.string()
	env.Body, env.UTF8, env.Ret = smtp.BodyType(d.byte()), d.byte() != 0, smtp.Ret(d.byte())
	env.Size = d.int64()
	env.EnvID, env.Auth = d.string(), d.string()
	n := d.count(4)
	env.Recipients, dest = make([]smtp.Recipient, n), make([]uint32, n)
	for i := range env.Recipients {
		env.Recipients[i] = smtp.Recipient{Address: d.string(), Notify: smtp.Notify(d.byte()), ORCPT: d.string()}
		dest[i] = uint32(d.below(uint64(dests)))
	}
	return env, dest
}

// decodeState1 reads the fields of a state. s is its message; if nil, the recipients are left out.
func decodeState1(h entryHeader, fields []byte, s *index.Message) (*taskState, error) {
	d := decoder1{b: fields}
	t := &taskState{id: uint64(d.int64()), num: uint32(d.below(1 << 32)), done: h.flags&flagDone1 != 0}
	if !t.done {
		t.state.Noticed = d.byte() != 0
		t.attempts = int(min(d.uvarint(), index.MaxAttempts))
		t.due, t.overdue = d.int64(), d.int64()
		if s != nil {
			n := d.count(7)
			t.state.Recipients, t.state.Last = make([]int, n), make([]smtp.Result, n)
			for i := range n {
				r := int(d.below(uint64(len(s.Envelope.Recipients))))
				t.state.Recipients[i] = r
				if !d.failed {
					t.state.Last[i] = d.result(s.Envelope.Recipients[r].Address)
				}
			}
		}
	}
	if d.failed || isPart(t.num) {
		return nil, errEntry
	}
	return t, nil
}

const (
	resultLocal1 = 1 << iota
	resultRelayed1
	resultDSN1
	resultReply1     // there is one
	resultRecipient1 // it isn't the address
)

func (d *decoder1) result(address string) smtp.Result {
	r := smtp.Result{Recipient: address, Outcome: smtp.Outcome(d.byte()), Stage: smtp.Stage(d.byte())}
	flags := d.byte()
	r.Local, r.Relayed, r.DSN = flags&resultLocal1 != 0, flags&resultRelayed1 != 0, flags&resultDSN1 != 0
	if flags&resultRecipient1 != 0 {
		r.Recipient = d.string()
	}
	r.Host, r.Addr, r.TLS = d.string(), d.string(), d.string()
	if flags&resultReply1 != 0 {
		r.Reply = &smtp.Reply{Code: d.varint()}
		r.Reply.Enhanced = smtp.EnhancedCode{d.varint(), d.varint(), d.varint()}
		r.Reply.Text = d.string()
	}
	return r
}

// decoder1 reads the fields of version 1. After a failure, it returns zero values.
type decoder1 struct {
	b      []byte
	failed bool
}

func (d *decoder1) next(n int) []byte {
	if d.failed || n < 0 || n > len(d.b) {
		d.failed = true
		return make([]byte, min(max(n, 0), 8))
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder1) byte() byte     { return d.next(1)[0] }
func (d *decoder1) uint32() uint32 { return binary.LittleEndian.Uint32(d.next(4)) }
func (d *decoder1) int64() int64   { return int64(binary.LittleEndian.Uint64(d.next(8))) }

func (d *decoder1) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if d.failed || n <= 0 {
		d.failed = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder1) varint() int {
	v, n := binary.Varint(d.b)
	if d.failed || n <= 0 || v != int64(int(v)) {
		d.failed = true
		return 0
	}
	d.b = d.b[n:]
	return int(v)
}

// count reads a number of things that have at least this many octets each. It refuses a number for which the octets
// aren't there, so that nothing is allocated for it.
func (d *decoder1) count(octets int) int { return int(d.below(uint64(len(d.b)/octets) + 1)) }

// below reads a number below n.
func (d *decoder1) below(n uint64) uint64 {
	v := d.uvarint()
	if v >= n {
		d.failed = true
		return 0
	}
	return v
}

func (d *decoder1) string() string {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.failed = true
		return ""
	}
	return string(d.next(int(n)))
}
