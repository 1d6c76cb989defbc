package spool

import (
	"bytes"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/queue/internal/index"
	"github.com/postrider/postrider/smtp"
)

// fullStored is a message with something in every field.
func fullStored() *index.Message {
	return &index.Message{
		ID: 1<<60 + 5, Arrival: -1, Due: 2, Notice: index.Never, Deadline: 4, Size: 4, Priority: -9, Ref: "ref", Tenant: "tenant\x00",
		Envelope: smtp.Envelope{
			From: "a@example.com", Body: smtp.BodyBinaryMIME, UTF8: true, Size: 1 << 40, Ret: smtp.RetFull, EnvID: "env", Auth: "<>",
			Recipients: []smtp.Recipient{
				{Address: "b@one.example", Notify: smtp.NotifyNever, ORCPT: "rfc822;c@example.com"},
				{Address: "ü@two.example"},
				{Address: "d@one.example"},
			},
		},
		Dests: []string{"one.example", "two.example"},
		Dest:  []uint32{0, 1, 0},
	}
}

func fullState() *taskState {
	return &taskState{
		id: 1<<60 + 5, num: 0, attempts: 300, due: 7, overdue: index.Never,
		state: index.Progress{
			Noticed:    true,
			Recipients: []int{0, 2},
			Last: []smtp.Result{
				{
					Recipient: "b@one.example", Outcome: smtp.Unknown, Stage: smtp.StageFinal, Local: true, Relayed: true, DSN: true,
					Reply: &smtp.Reply{Code: 451, Enhanced: smtp.EnhancedCode{4, 7, 300}, Text: "one\ntwo"},
					Host:  "mx.example", Addr: "192.0.2.1:25", TLS: "TLS 1.3",
				},
				{Recipient: "someone else"},
			},
		},
	}
}

func messageEntry(s *index.Message, body string) []byte {
	b := append(appendMessage(nil, s), body...)
	endMessage(b, s, false)
	return b
}

// TestEntryRoundTrip has entries come out as they went in.
func TestEntryRoundTrip(t *testing.T) {
	msg := fullStored()
	entry := messageEntry(msg, "body")
	h, fields, err := entryFields(entry)
	if err != nil || h.kind != entryMessage || h.body != 4 || !bytes.HasSuffix(entry, []byte("body")) {
		t.Fatalf("got header %+v and %v", h, err)
	}
	got, err := decodeMessage(fields, false)
	if err != nil || !reflect.DeepEqual(got, msg) {
		t.Errorf("got message %+v and %v, want %+v", got, err, msg)
	}
	for _, want := range []*taskState{fullState(), {id: 3, num: 70_000, done: true}} {
		h, fields, err := entryFields(appendState(nil, want, msg))
		if err != nil || h.kind != entryState {
			t.Fatalf("got header %+v and %v", h, err)
		}
		if got, err := decodeState(h, fields, msg); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got state %+v and %v, want %+v", got, err, want)
		}
	}
}

// TestEntryCut refuses fields that are cut short.
func TestEntryCut(t *testing.T) {
	msg := fullStored()
	_, fields, _ := entryFields(messageEntry(msg, ""))
	for n := range fields {
		if got, err := decodeMessage(fields[:n], false); err == nil {
			t.Errorf("message of %d octets instead of %d: got %+v, want an error", n, len(fields), got)
		}
	}
	h, fields, _ := entryFields(appendState(nil, fullState(), msg))
	for n := range fields {
		if got, err := decodeState(h, fields[:n], msg); err == nil {
			t.Errorf("state of %d octets instead of %d: got %+v, want an error", n, len(fields), got)
		}
	}
}

// FuzzApply feeds a spool payloads that no checksum guards: it may refuse them, and its counts stay right.
func FuzzApply(f *testing.F) {
	msg := fullStored()
	whole := messageEntry(msg, "body")
	f.Add(whole)
	f.Add(appendState(bytes.Clone(whole), fullState(), msg))
	f.Add(appendState(bytes.Clone(whole), &taskState{id: msg.ID, num: 1, done: true}, msg))
	f.Add(append(bytes.Clone(whole), whole...))
	f.Add(appendMark(bytes.Clone(whole), entryHold, flagHeld, msg.ID))
	f.Add(appendMark(bytes.Clone(whole), entryRemoval, 0, msg.ID))
	f.Fuzz(func(t *testing.T, payload []byte) {
		// Checksums are made right, so that they don't keep all else out.
		for off := 0; off+entryHeaderLen <= len(payload); {
			h, _ := decodeEntryHeader(payload[off:])
			if h.length() > uint64(len(payload)-off) {
				break
			}
			endEntry(payload[off:off+int(h.length())], int(h.body))
			off += int(h.length())
		}
		s := &Spool{ix: index.New[place, place](), perSeg: map[uint32]usage{}, files: map[uint64]int64{}}
		s.apply(&segment{number: 1}, record{off: segmentHeaderLen, payload: payload})
		s.log = &spoolLog{}
		checkLive(t, s)
		for _, id := range indexed(s.ix) {
			for _, c := range s.ix.TasksOf(id) {
				entry := payload[c.Data.off-segmentHeaderLen-recordHeaderLen:][:c.Data.length]
				if _, fields, err := entryFields(entry); err == nil {
					if msg, err := decodeMessage(fields, false); err == nil {
						msg.Fill(&c.Task, msg.Initial(c.Num))
					}
				}
			}
		}
		for range index.Upcoming(new(sync.Mutex), s.ix, time.Hour, func() error { return nil }) {
		}
	})
}

// FuzzScan looks for records in any octets: it ends, and each octet belongs to a record or to none.
func FuzzScan(f *testing.F) {
	one := append(make([]byte, recordHeaderLen), "payload"...)
	f.Add(one, uint16(0), uint16(0))
	f.Add(append(one, one...), uint16(0), uint16(len(one)))
	f.Add(make([]byte, 200), uint16(100), uint16(110))
	f.Fuzz(func(t *testing.T, b []byte, first, second uint16) {
		s := salt{1, 2, 3}
		for _, at := range []uint16{second, first} {
			if n := int(at); n+recordHeaderLen <= len(b) {
				startHeader(b[n:])
				finishHeader(b[n:], s, int64(n), 0)
			}
		}
		var covered int64
		sc := scanner{r: bytes.NewReader(b), salt: s}
		bad, err := sc.scan(0, int64(len(b)), func(r record) error {
			covered += recordHeaderLen + int64(len(r.payload))
			return nil
		})
		for _, span := range bad {
			covered += span.to - span.from
		}
		if err != nil || covered != int64(len(b)) {
			t.Errorf("got %d octets in records and between them, and %v, want %d", covered, err, len(b))
		}
	})
}
