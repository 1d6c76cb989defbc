package spool

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/postrider/postrider/queue/internal/index"
	"github.com/postrider/postrider/smtp"
)

// The payload of a record is entries, which come true together: a message, or what became of a
// task or of messages, with the reports of that.
//
//	entry    kind uint8, flags uint8, [2]byte, fields uint32, body uint64, checksum uint32 of the
//	         sixteen octets before it and of the fields, fields, body
const (
	entryHeaderLen = 20

	entryMessage = 1
	entryState   = 2 // of a task
	entryHold    = 3 // a message is held or released
	entryRemoval = 4 // a message is removed

	flagBodyFile = 1 // of a message: the body is in a file of its own
	flagDone     = 1 // of a state: the task is gone
	flagHeld     = 1 // of a hold: held, not released

	// maxID and maxBody are beyond all that a spool ever gives out or takes. What a file has beyond them would
	// overflow the next ID, or the sum of all sizes.
	maxID   = 1 << 62
	maxBody = 1 << 50
)

// place says where an entry stands in the log.
type place struct {
	segment uint32
	off     uint32
	length  uint32 // with its body
}

type entryHeader struct {
	kind, flags uint8
	fields      uint32
	body        uint64
	checksum    uint32
}

// length is that of the whole entry. Only decodeEntryHeader makes a header from the octets of a file, and it bounds fields and
// body, so that the sum fits into 32 bits.
func (h *entryHeader) length() uint64 { return entryHeaderLen + uint64(h.fields) + h.body }

var errEntry = errors.New("the entry can't be read")

// appendEntry begins an entry, to be ended by endEntry.
func appendEntry(b []byte, kind, flags uint8) []byte {
	return append(b, kind, flags, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
}

// endEntry completes the header of the entry b, which has its fields and then a body of so many
// octets.
func endEntry(b []byte, body int) {
	fields := len(b) - entryHeaderLen - body
	binary.LittleEndian.PutUint32(b[4:], uint32(fields))
	binary.LittleEndian.PutUint64(b[8:], uint64(body))
	binary.LittleEndian.PutUint32(b[16:], entryChecksum(b, fields))
}

func entryChecksum(b []byte, fields int) uint32 {
	return crc32.Update(checksum(b[:16]), castagnoli, b[entryHeaderLen:entryHeaderLen+fields])
}

// decodeEntryHeader reads the header at the beginning of b. An entry that no record has room for is refused.
func decodeEntryHeader(b []byte) (entryHeader, error) {
	if len(b) < entryHeaderLen {
		return entryHeader{}, errEntry
	}
	h := entryHeader{
		kind: b[0], flags: b[1],
		fields:   binary.LittleEndian.Uint32(b[4:]),
		body:     binary.LittleEndian.Uint64(b[8:]),
		checksum: binary.LittleEndian.Uint32(b[16:]),
	}
	if h.fields > maxPayload || h.body > maxPayload || h.length() > maxPayload {
		return entryHeader{}, errEntry
	}
	return h, nil
}

// entryFields gives the fields of an entry of which b holds them at least.
func entryFields(b []byte) (entryHeader, []byte, error) {
	h, err := decodeEntryHeader(b)
	if err != nil || uint64(len(b)) < entryHeaderLen+uint64(h.fields) || entryChecksum(b, int(h.fields)) != h.checksum {
		return h, nil, errEntry
	}
	return h, b[entryHeaderLen:][:h.fields], nil
}

// eachEntry calls visit with each entry of a payload, as a whole, and where it stands there.
func eachEntry(payload []byte, visit func(off int, entry []byte) error) error {
	for off := 0; off < len(payload); {
		h, err := decodeEntryHeader(payload[off:])
		if err != nil || h.length() > uint64(len(payload)-off) {
			return errEntry
		}
		if err := visit(off, payload[off:off+int(h.length())]); err != nil {
			return err
		}
		off += int(h.length())
	}
	return nil
}

// appendMessage appends the entry of a message up to its body. What is known only when the body has been
// read is left for endMessage.
func appendMessage(b []byte, s *index.Message) []byte {
	b = appendEntry(b, entryMessage, 0)
	b = append(b, make([]byte, 28)...) // id, arrival, size, sum
	for _, t := range [...]int64{s.Due, s.Notice, s.Deadline} {
		b = appendInt64(b, t)
	}
	b = append(b, byte(s.Priority))
	b = binary.AppendUvarint(b, uint64(len(s.Dests)))
	for _, name := range s.Dests {
		b = appendString(b, name)
	}
	b = appendString(b, s.Ref)
	b = appendString(b, s.Tenant)
	return appendEnvelope(b, &s.Envelope, s.Dest)
}

// endMessage completes the entry b, whose last octets are the body unless that is in a file.
func endMessage(b []byte, s *index.Message, inFile bool) {
	f := b[entryHeaderLen:]
	binary.LittleEndian.PutUint64(f, s.ID)
	binary.LittleEndian.PutUint64(f[8:], uint64(s.Arrival))
	binary.LittleEndian.PutUint64(f[16:], uint64(s.Size))
	body := 0
	if inFile {
		b[1] |= flagBodyFile
	} else {
		body = int(s.Size)
		s.Sum = checksum(b[len(b)-body:])
	}
	binary.LittleEndian.PutUint32(f[24:], s.Sum)
	binary.LittleEndian.PutUint64(f[28:], uint64(s.Due))
	endEntry(b, body)
}

// decodeMessage reads the fields of a message. brief leaves the envelope out.
func decodeMessage(fields []byte, brief bool) (*index.Message, error) {
	d := decoder{b: fields}
	s := &index.Message{
		ID: uint64(d.int64()), Arrival: d.int64(), Size: d.int64(), Sum: d.uint32(),
		Due: d.int64(), Notice: d.int64(), Deadline: d.int64(),
		Priority: int8(d.byte()),
	}
	s.Dests = make([]string, d.count(1))
	for i := range s.Dests {
		s.Dests[i] = d.string()
	}
	s.Ref, s.Tenant = d.string(), d.string()
	if !brief {
		s.Envelope, s.Dest = d.envelope(len(s.Dests))
	}
	if d.failed || len(s.Dests) == 0 || s.Size < 0 || s.Size > maxBody || s.ID > maxID {
		return nil, errEntry
	}
	return s, nil
}

func appendEnvelope(b []byte, env *smtp.Envelope, dest []uint32) []byte {
	b = appendString(b, env.From)
	b = append(b, byte(env.Body), flag(env.UTF8, 1), byte(env.Ret))
	b = appendInt64(b, env.Size)
	b = appendString(b, env.EnvID)
	b = appendString(b, env.Auth)
	b = binary.AppendUvarint(b, uint64(len(env.Recipients)))
	for i, r := range env.Recipients {
		b = appendString(b, r.Address)
		b = append(b, byte(r.Notify))
		b = appendString(b, r.ORCPT)
		b = binary.AppendUvarint(b, uint64(dest[i]))
	}
	return b
}

func (d *decoder) envelope(dests int) (env smtp.Envelope, dest []uint32) {
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

// taskState is the state of a task as the log has it.
type taskState struct {
	id       uint64
	num      uint32
	done     bool
	attempts int
	due      int64
	overdue  int64
	state    index.Progress
}

// appendState appends the entry of a task's state. last[i] is told apart from its recipient in s only
// where they differ in the address.
func appendState(b []byte, t *taskState, s *index.Message) []byte {
	start := len(b)
	b = appendEntry(b, entryState, flag(t.done, flagDone))
	b = appendInt64(b, int64(t.id))
	b = binary.AppendUvarint(b, uint64(t.num))
	if !t.done {
		b = append(b, flag(t.state.Noticed, 1))
		b = binary.AppendUvarint(b, uint64(t.attempts))
		b = appendInt64(b, t.due)
		b = appendInt64(b, t.overdue)
		b = binary.AppendUvarint(b, uint64(len(t.state.Recipients)))
		for i, r := range t.state.Recipients {
			b = binary.AppendUvarint(b, uint64(r))
			b = appendResult(b, &t.state.Last[i], s.Envelope.Recipients[r].Address)
		}
	}
	endEntry(b[start:], 0)
	return b
}

// decodeState reads the fields of a state. s is its message; without it, the state's recipients are left out.
func decodeState(h entryHeader, fields []byte, s *index.Message) (*taskState, error) {
	d := decoder{b: fields}
	t := &taskState{id: uint64(d.int64()), num: uint32(d.below(1 << 32)), done: h.flags&flagDone != 0}
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
	if d.failed {
		return nil, errEntry
	}
	return t, nil
}

// appendMark appends an entry that says one thing of a message.
func appendMark(b []byte, kind, flags uint8, id uint64) []byte {
	start := len(b)
	b = appendInt64(appendEntry(b, kind, flags), int64(id))
	endEntry(b[start:], 0)
	return b
}

const (
	resultLocal = 1 << iota
	resultRelayed
	resultDSN
	resultReply     // there is one
	resultRecipient // it isn't the address
)

func appendResult(b []byte, r *smtp.Result, address string) []byte {
	b = append(b, byte(r.Outcome), byte(r.Stage),
		flag(r.Local, resultLocal)|flag(r.Relayed, resultRelayed)|flag(r.DSN, resultDSN)|
			flag(r.Reply != nil, resultReply)|flag(r.Recipient != address, resultRecipient))
	if r.Recipient != address {
		b = appendString(b, r.Recipient)
	}
	b = appendString(b, r.Host)
	b = appendString(b, r.Addr)
	b = appendString(b, r.TLS)
	if r.Reply != nil {
		for _, n := range [...]int{r.Reply.Code, r.Reply.Enhanced[0], r.Reply.Enhanced[1], r.Reply.Enhanced[2]} {
			b = binary.AppendVarint(b, int64(n))
		}
		b = appendString(b, r.Reply.Text)
	}
	return b
}

func (d *decoder) result(address string) smtp.Result {
	r := smtp.Result{Recipient: address, Outcome: smtp.Outcome(d.byte()), Stage: smtp.Stage(d.byte())}
	flags := d.byte()
	r.Local, r.Relayed, r.DSN = flags&resultLocal != 0, flags&resultRelayed != 0, flags&resultDSN != 0
	if flags&resultRecipient != 0 {
		r.Recipient = d.string()
	}
	r.Host, r.Addr, r.TLS = d.string(), d.string(), d.string()
	if flags&resultReply != 0 {
		r.Reply = &smtp.Reply{Code: d.varint()}
		r.Reply.Enhanced = smtp.EnhancedCode{d.varint(), d.varint(), d.varint()}
		r.Reply.Text = d.string()
	}
	return r
}

func flag(set bool, bit uint8) uint8 {
	if set {
		return bit
	}
	return 0
}

func appendInt64(b []byte, n int64) []byte { return binary.LittleEndian.AppendUint64(b, uint64(n)) }

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decoder reads fields. After the first failure all that it gives is zero.
type decoder struct {
	b      []byte
	failed bool
}

func (d *decoder) next(n int) []byte {
	if d.failed || n < 0 || n > len(d.b) {
		d.failed = true
		return make([]byte, min(max(n, 0), 8))
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) byte() byte     { return d.next(1)[0] }
func (d *decoder) uint32() uint32 { return binary.LittleEndian.Uint32(d.next(4)) }
func (d *decoder) int64() int64   { return int64(binary.LittleEndian.Uint64(d.next(8))) }

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if d.failed || n <= 0 {
		d.failed = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int {
	v, n := binary.Varint(d.b)
	if d.failed || n <= 0 || v != int64(int(v)) {
		d.failed = true
		return 0
	}
	d.b = d.b[n:]
	return int(v)
}

// count reads the number of things that take so many octets each at least, so that nothing is allocated for things that aren't
// there.
func (d *decoder) count(octets int) int { return int(d.below(uint64(len(d.b)/octets) + 1)) }

// below reads a number below n.
func (d *decoder) below(n uint64) uint64 {
	v := d.uvarint()
	if v >= n {
		d.failed = true
		return 0
	}
	return v
}

func (d *decoder) string() string {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.failed = true
		return ""
	}
	return string(d.next(int(n)))
}
