package pgqueue

import (
	"testing"

	"github.com/postrider/postrider/queue/internal/index"
)

// TestHeads: what is kept is bounded, the newest stay, and what is known of messages that have left goes.
func TestHeads(t *testing.T) {
	var h heads
	message := func(id uint64, recipients int) *index.Message {
		return &index.Message{ID: id, Dest: make([]uint32, recipients)}
	}
	const n = 2 * maxHeads
	for id := range uint64(n) {
		h.keep(message(id, 1))
		if h.weight > maxHeads {
			t.Fatalf("after %d messages: got the weight %d, want at most %d", id, h.weight, maxHeads)
		}
	}
	if h.byID[n-1] == nil || h.byID[0] != nil || len(h.byID) != maxHeads/4 {
		t.Errorf("got %d messages, want the newest %d", len(h.byID), maxHeads/4)
	}
	h.keep(message(n, 100_000))
	h.keep(message(n+1, 1))
	if h.byID[n] == nil || h.byID[n+1] == nil || h.byID[n-1] == nil {
		t.Error("a message to many isn't kept beside others")
	}
	h.keep(message(n+2, 2*maxHeads))
	if h.byID[n+2] == nil || len(h.byID) != 1 {
		t.Errorf("got %d messages, want the one to very many alone", len(h.byID))
	}
	for id := range uint64(n) {
		h.keep(message(n+3+id, 1))
		h.drop(n + 3 + id)
	}
	if len(h.order) > 1000 || len(h.byID) > 1 {
		t.Errorf("got %d numbers of %d messages after all have left", len(h.order), len(h.byID))
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
