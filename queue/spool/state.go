package spool

import (
	"encoding/binary"

	"github.com/postrider/postrider/queue/internal/index"
	"github.com/postrider/postrider/smtp"
)

// These are the tags of a state.
const (
	stateID        = fieldID
	stateTask      = 2 // the number of its destination
	stateDone      = 3 // a flag: the task is gone, and no other field matters
	stateNoticed   = 4 // a flag
	stateAttempts  = 5
	stateDue       = 6 // a time; zero: at once
	stateOverdue   = 7 // a time
	stateRecipient = 8 // a list of fields: the recipients that aren't settled, with their last results
	stateDeaths    = 9
	stateLeased    = 10 // a flag, of a claim alone

	// stateOwed is a flag of a part of a report task. An older program would lose what is to be reported.
	stateOwed = critical | 11
)

// partBit is set in the number of a part of a report task. It takes the place of the number of a task.
const partBit = 1 << 31

// maxPart is the last number of a part, without partBit. The next would be index.ReportTask.
const maxPart = partBit - 2

// isPart reports whether the number is that of a part of a report task.
func isPart(num uint32) bool { return num&partBit != 0 }

// These are the tags of a recipient of a state.
const (
	resultIndex     = 1 // the recipient's index in the envelope
	resultRecipient = 2 // if left out: the recipient's address
	resultOutcome   = 3
	resultStage     = 4
	resultLocal     = 5 // a flag
	resultRelayed   = 6 // a flag
	resultDSN       = 7 // a flag
	resultReason    = 8
	resultHost      = 9
	resultAddr      = 10
	resultTLS       = 11
	resultCode      = 12 // of the reply; if left out, there is none
	resultEnhanced  = 13 // of the reply: three varints
	resultText      = 14 // of the reply
	resultDelayed   = 15 // a flag, in a part of a report task: the recipient isn't settled
	resultDeliverBy = 16 // a flag
	resultPolicy    = 17
	resultSource    = 18
)

// These are the tags of a hold and of a removal.
const (
	markID   = fieldID
	markHeld = 2 // a flag of a hold: held, not released

	// markReason is a string of a hold, written even if it is empty: no reason was given. A hold without this field is
	// for the HeldFor of the message: it comes with the message, or is of an older program.
	markReason = 3
)

// taskState is the state of a task.
type taskState struct {
	id       uint64
	num      uint32
	done     bool
	attempts int
	deaths   int
	due      int64
	overdue  int64
	state    index.Progress
}

// appendState appends the entry of a state. m is its message; nil if the task is done.
func appendState(b []byte, t *taskState, m *index.Message) []byte {
	entry := len(b)
	b = appendEntry(b, entryState)
	b = appendUint(b, stateID, t.id)
	b = appendUint(b, stateTask, uint64(t.num))
	b = appendFlag(b, stateDone, t.done)
	if !t.done {
		b = appendFlag(b, stateOwed, isPart(t.num))
		b = appendFlag(b, stateNoticed, t.state.Noticed)
		b = appendUint(b, stateAttempts, uint64(t.attempts))
		b = appendUint(b, stateDeaths, uint64(t.deaths))
		b = appendTime(b, stateDue, t.due)
		b = appendTime(b, stateOverdue, t.overdue)
		for i, r := range t.state.Recipients {
			b = beginFields(b, stateRecipient)
			start := len(b)
			b = appendUint(b, resultIndex, uint64(r))
			b = appendResult(b, &t.state.Last[i], m.Envelope.Recipients[r].Address)
			b = appendFlag(b, resultDelayed, isPart(t.num) && t.state.Delayed[i])
			b = endFields(b, start)
		}
	}
	endEntry(b[entry:], 0)
	return b
}

// appendResult appends the fields of a recipient's last result.
func appendResult(b []byte, r *smtp.Result, address string) []byte {
	if r.Recipient != address {
		b = appendField(b, resultRecipient, r.Recipient)
	}
	b = appendUint(b, resultOutcome, uint64(r.Outcome))
	b = appendUint(b, resultStage, uint64(r.Stage))
	b = appendFlag(b, resultLocal, r.Local)
	b = appendFlag(b, resultRelayed, r.Relayed)
	b = appendFlag(b, resultDSN, r.DSN)
	b = appendFlag(b, resultDeliverBy, r.DeliverBy)
	b = appendUint(b, resultReason, uint64(r.Reason))
	b = appendString(b, resultHost, r.Host)
	b = appendString(b, resultAddr, r.Addr)
	b = appendString(b, resultTLS, r.TLS)
	b = appendString(b, resultPolicy, r.Policy)
	b = appendString(b, resultSource, r.Source)
	if r.Reply == nil {
		return b
	}
	b = appendNumber(b, resultCode, uint64(r.Reply.Code))
	if code := r.Reply.Enhanced; code != (smtp.EnhancedCode{}) {
		b = beginFields(b, resultEnhanced)
		start := len(b)
		for _, n := range code {
			b = binary.AppendVarint(b, int64(n))
		}
		b = endFields(b, start)
	}
	return appendString(b, resultText, r.Reply.Text)
}

// isState reports whether the entry is a state.
func isState(h entryHeader) bool { return h.kind == entryState || h.kind == entryState1 }

// decodeState reads the fields of a state. m is its message; if nil, the recipients are left out. With an unknownError,
// it returns the state too.
func decodeState(h entryHeader, b []byte, m *index.Message) (*taskState, error) {
	switch h.kind {
	case entryState1:
		return decodeState1(h, b, m)
	case entryState:
	default:
		return nil, errEntry
	}
	t := &taskState{due: index.Never, overdue: index.Never}
	owed := false
	f := fields{rest: b}
	for f.next() {
		switch f.tag {
		case stateID:
			t.id = f.upTo(maxID)
		case stateTask:
			t.num = f.uint32()
		case stateDone:
			t.done = true
		case stateNoticed:
			t.state.Noticed = true
		case stateAttempts:
			t.attempts = int(min(f.uint64(), index.MaxAttempts))
		case stateDeaths:
			t.deaths = int(min(f.uint64(), index.MaxAttempts))
		case stateDue:
			t.due = f.int64()
		case stateOverdue:
			t.overdue = f.int64()
		case stateOwed:
			owed = true
		case stateRecipient:
			if m == nil {
				continue
			}
			if t.state.Last == nil { // the others are about as long in most cases
				n := min(1+len(f.rest)/(len(f.value)+2), 1000)
				t.state.Recipients, t.state.Last = make([]int, 0, n), make([]smtp.Result, 0, n)
			}
			if !decodeResult(fields{rest: f.value}, t, m) {
				f.failed = true
			}
		default:
			f.skip()
		}
	}
	if t.id == 0 || !t.done && owed != isPart(t.num) || t.num > partBit|maxPart {
		return nil, errEntry
	}
	if t.done {
		*t = taskState{id: t.id, num: t.num, done: true}
	}
	if !owed {
		t.state.Delayed = nil
	}
	return decoded(t, f.err())
}

// decodeResult adds a recipient with its last result to t. It reports false if it can't read them.
func decodeResult(f fields, t *taskState, m *index.Message) bool {
	var place uint64
	var r smtp.Result
	var reply smtp.Reply
	var named, replied, delayed bool
	for f.next() {
		switch f.tag {
		case resultIndex:
			place = f.uint64()
		case resultRecipient:
			r.Recipient, named = string(f.value), true
		case resultOutcome:
			r.Outcome = smtp.Outcome(f.uint8())
		case resultStage:
			r.Stage = smtp.Stage(f.uint8())
		case resultLocal:
			r.Local = true
		case resultRelayed:
			r.Relayed = true
		case resultDSN:
			r.DSN = true
		case resultDeliverBy:
			r.DeliverBy = true
		case resultReason:
			r.Reason = smtp.Reason(f.uint8())
		case resultHost:
			r.Host = string(f.value)
		case resultAddr:
			r.Addr = string(f.value)
		case resultTLS:
			r.TLS = string(f.value)
		case resultPolicy:
			r.Policy = string(f.value)
		case resultSource:
			r.Source = string(f.value)
		case resultCode:
			reply.Code, replied = f.int(), true
		case resultEnhanced:
			reply.Enhanced = f.enhanced()
		case resultText:
			reply.Text = string(f.value)
		case resultDelayed:
			delayed = true
		}
	}
	if f.failed || place >= uint64(len(m.Envelope.Recipients)) {
		return false
	}
	if replied {
		r.Reply = &smtp.Reply{Code: reply.Code, Enhanced: reply.Enhanced, Text: reply.Text}
	}
	if !named {
		r.Recipient = m.Envelope.Recipients[place].Address
	}
	t.state.Recipients = append(t.state.Recipients, int(place))
	t.state.Last = append(t.state.Last, r)
	t.state.Delayed = append(t.state.Delayed, delayed)
	return true
}

// enhanced returns the value as an enhanced code.
func (f *fields) enhanced() (code smtp.EnhancedCode) {
	b := f.value
	for i := range code {
		v, n := binary.Varint(b)
		if n <= 0 || v != int64(int(v)) {
			f.failed = true
			return smtp.EnhancedCode{}
		}
		code[i], b = int(v), b[n:]
	}
	return code
}

// mark is a hold, the end of one, or a removal.
type mark struct {
	id       uint64
	held     bool
	reasoned bool // it has the reason, which may be empty: see markReason
	reason   string
}

// appendHold appends an entry that holds a message for a reason.
func appendHold(b []byte, id uint64, reason string) []byte {
	return appendMark(b, entryHold, mark{id: id, held: true, reasoned: true, reason: reason})
}

// appendHoldAsStored appends an entry that holds a message for its HeldFor.
func appendHoldAsStored(b []byte, id uint64) []byte {
	return appendMark(b, entryHold, mark{id: id, held: true})
}

// appendRelease appends an entry that releases a message.
func appendRelease(b []byte, id uint64) []byte { return appendMark(b, entryHold, mark{id: id}) }

// appendRemoval appends an entry that removes a message.
func appendRemoval(b []byte, id uint64) []byte {
	return appendMark(b, entryRemoval, mark{id: id})
}

func appendMark(b []byte, kind uint8, m mark) []byte {
	start := len(b)
	b = appendUint(appendEntry(b, kind), markID, m.id)
	b = appendFlag(b, markHeld, m.held)
	if m.reasoned {
		b = appendField(b, markReason, m.reason)
	}
	endEntry(b[start:], 0)
	return b
}

// decodeMark reads the fields of a hold or of a removal. With an unknownError, it returns the mark too.
func decodeMark(h entryHeader, b []byte) (m mark, err error) {
	if isFormat1(h) {
		d := decoder1{b: b}
		m.id = uint64(d.int64())
		if d.failed {
			return mark{}, errEntry
		}
		m.held = h.flags&flagHeld1 != 0
		return m, nil
	}
	f := fields{rest: b}
	for f.next() {
		switch f.tag {
		case markID:
			m.id = f.upTo(maxID)
		case markHeld:
			m.held = true
		case markReason:
			m.reason, m.reasoned = string(f.value), true
		default:
			f.skip()
		}
	}
	if m.id == 0 {
		return mark{}, errEntry
	}
	return m, f.err()
}
