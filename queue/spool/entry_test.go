package spool

import (
	"bytes"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/postrider/postrider/queue/internal/index"
	"github.com/postrider/postrider/smtp"
)

// fullStored is a message with something in every field.
func fullStored() *index.Message {
	return &index.Message{
		ID: 1<<60 + 5, Arrival: -1, NotBefore: 2, Notice: index.Never, Deadline: 4, Size: 4, Priority: -9, Ref: "ref", Tenant: "tenant\x00",
		Origin: smtp.OriginAuthenticated, FromDomain: "from.example", About: "5z",
		Envelope: smtp.Envelope{
			From: "a@example.com", Body: smtp.BodyBinaryMIME, UTF8: true, Size: 1 << 40, Ret: smtp.RetFull, EnvID: "env", Auth: "<>",
			By:       smtp.DeliverBy{Time: time.Unix(1, 5).UTC(), Return: true, Trace: true},
			Priority: -7, HoldUntil: time.Unix(0, 1).UTC(), RequireTLS: true, TLSOptional: true,
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
					Recipient: "b@one.example", Outcome: smtp.Unknown, Stage: smtp.StageFinal, Local: true, Relayed: true, DSN: true, DeliverBy: true,
					Reason: smtp.Greylisted,
					Reply:  smtp.NewReply(451, "4.7.300", "one\ntwo"),
					Host:   "mx.example", Addr: "192.0.2.1:25", TLS: "TLS 1.3",
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
	got, err := decodeMessage(h, fields, false)
	if err != nil || !reflect.DeepEqual(got, msg) {
		t.Errorf("got message %+v and %v, want %+v", got, err, msg)
	}
	part := fullState()
	part.num, part.state.Delayed = partBit|1, []bool{false, true}
	for _, want := range []*taskState{fullState(), {id: 3, num: 70_000, done: true}, part, {id: 3, num: partBit, done: true}} {
		h, fields, err := entryFields(appendState(nil, want, msg))
		if err != nil || h.kind != entryState {
			t.Fatalf("got header %+v and %v", h, err)
		}
		if got, err := decodeState(h, fields, msg); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got state %+v and %v, want %+v", got, err, want)
		}
	}
}

// TestEntryCut cuts fields short: that is an error but where a field ends, and there a field is missing.
func TestEntryCut(t *testing.T) {
	msg := fullStored()
	tests := []struct {
		name   string
		entry  []byte
		decode func(h entryHeader, b []byte) error
		need   int // fields without which there is nothing
	}{
		{"message", messageEntry(msg, ""), func(h entryHeader, b []byte) error { _, err := decodeMessage(h, b, false); return err }, 17},
		{"brief message", messageEntry(msg, ""), func(h entryHeader, b []byte) error { _, err := decodeMessage(h, b, true); return err }, 17},
		{"state", appendState(nil, fullState(), msg), func(h entryHeader, b []byte) error { _, err := decodeState(h, b, msg); return err }, 1},
		{"brief state", appendState(nil, fullState(), msg), func(h entryHeader, b []byte) error { _, err := decodeState(h, b, nil); return err }, 1},
		{"hold", appendHold(nil, 300, "a reason"), func(h entryHeader, b []byte) error { _, err := decodeMark(h, b); return err }, 1},
		{"removal", appendRemoval(nil, 300), func(h entryHeader, b []byte) error { _, err := decodeMark(h, b); return err }, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, b, err := entryFields(tt.entry)
			if err != nil {
				t.Fatal(err)
			}
			ends := []int{0}
			for f := (fields{rest: b}); f.next(); {
				ends = append(ends, len(b)-len(f.rest))
			}
			for n := range b {
				end := slices.Index(ends, n)
				if err := tt.decode(h, b[:n]); (err == nil) != (end >= tt.need) {
					t.Errorf("%d octets instead of %d, %d whole fields: got %v", n, len(b), end, err)
				}
			}
		})
	}
}
