package pgqueue

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
	"github.com/postrider/postrider/smtp"
)

// TestHeads: what is kept is bounded, the newest stay, and what is known of messages that have left goes.
func TestHeads(t *testing.T) {
	var h heads
	one := headOf(&index.Message{}, make([]byte, 80))
	toMany := func(recipients int) head {
		to := slices.Repeat([]smtp.Recipient{{Address: "to.somebody.else@mail.far.test"}}, recipients)
		return decodedHead(&index.Message{Envelope: smtp.Envelope{Recipients: to}})
	}
	has := func(id uint64) bool { return h.byID[id].text != nil || h.byID[id].msg != nil }
	const most = maxHeads / 200
	const n = 2 * most
	for id := range uint64(n) {
		h.keep(id, one)
		if h.octets > maxHeads {
			t.Fatalf("after %d messages: got %d octets, want at most %d", id, h.octets, maxHeads)
		}
	}
	if !has(n-1) || has(0) || len(h.byID) != most {
		t.Errorf("got %d messages, want the newest %d", len(h.byID), most)
	}
	h.keep(n, toMany(100_000))
	h.keep(n+1, one)
	if !has(n) || !has(n+1) || !has(n-1) {
		t.Error("a message to many isn't kept beside others")
	}
	h.keep(n+2, toMany(maxHeads/100))
	if !has(n+2) || len(h.byID) != 1 {
		t.Errorf("got %d messages, want the one to very many alone", len(h.byID))
	}
	for id := range uint64(n) {
		h.keep(n+3+id, one)
		h.drop(n + 3 + id)
	}
	if len(h.order) > 1000 || len(h.byID) > 1 {
		t.Errorf("got %d numbers of %d messages after all have left", len(h.order), len(h.byID))
	}
	for range 10_000 {
		h.drop(1)
		h.keep(1, one)
	}
	if len(h.order) > 1000 || !has(1) {
		t.Errorf("got %d numbers of %d messages after one has come back often", len(h.order), len(h.byID))
	}
}

// TestHead: a message from memory is the one that was stored, and of one with several tasks the same each time.
func TestHead(t *testing.T) {
	for _, dests := range [][]string{{"d"}, {"d", "e"}} {
		m := queue.Message{
			Envelope: smtp.NewEnvelope("from@a.test"), Tenant: "shop\xff", Body: strings.NewReader("body"),
			Destinations: dests,
		}
		for _, d := range dests {
			m.Envelope.Recipients = append(m.Envelope.Recipients, smtp.Recipient{Address: "to@" + d})
		}
		d, err := newDraft(t.Context(), m, nil)
		if err != nil {
			t.Fatal(err)
		}
		d.ID, d.Arrival = 5, 7
		h := headOf(d.Message, d.head)
		got := h.message(5)
		if !reflect.DeepEqual(got, d.Message) {
			t.Errorf("%q: got\n%+v, want\n%+v", dests, got, d.Message)
		}
		if same := got == d.Message; same != (len(dests) > 1) {
			t.Errorf("%q: got the same message: %v", dests, same)
		}
	}
	var none head
	if got := none.message(5); got != nil {
		t.Errorf("what isn't in memory: got %+v", got)
	}
}

// TestAgrees: tables that were read before the last settlement are told from those that were read after it.
func TestAgrees(t *testing.T) {
	s := &stored{
		tasks: []*storedTask{{num: 0}, nil, {num: 2, version: 3}}, report: &storedTask{num: index.ReportTask},
		parts: []part{{Num: 4}, {Num: 5}},
	}
	parts := func(nums ...uint32) (parts []index.Part[version]) {
		for _, num := range nums {
			parts = append(parts, index.Part[version]{Num: num})
		}
		return parts
	}
	tests := []struct {
		name string
		claim
		want bool
	}{
		{"as it arrived", claim{Num: 0}, true},
		{"settled since", claim{Num: 0, State: 1}, false},
		{"settled for good", claim{Num: 1}, false},
		{"settled before", claim{Num: 2, State: 3}, true},
		{"settled, and not yet known", claim{Num: 2, State: 2}, false},
		{"a report", claim{Num: index.ReportTask, Parts: parts(4, 5)}, true},
		{"a report before a part was added", claim{Num: index.ReportTask, Parts: parts(5)}, true},
		{"a report with another part", claim{Num: index.ReportTask, Parts: parts(5, 6)}, false},
	}
	for _, tt := range tests {
		if got := s.agrees(&tt.claim); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}
