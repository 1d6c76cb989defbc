package pgqueue

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
	"github.com/postrider/postrider/smtp"
)

// TestCommitArguments: each statement has as many arguments as placeholders, in their order.
func TestCommitArguments(t *testing.T) {
	m, err := newDraft(t.Context(), queue.Message{
		Envelope: smtp.NewEnvelope("a@example.com", "b@example.net"), Destinations: []string{"example.net"},
		Body: strings.NewReader("x"),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	q := new(Queue)
	for p := range statements {
		b := &batch{lazy: p&isLazy != 0}
		if p&hasMsgs != 0 {
			b.msgs = []*draft{m}
		}
		if p&hasOutcomes != 0 {
			b.outcomes = []outcomeRow{{ID: 1}}
		}
		if p&hasMarks != 0 {
			b.marks = []markRow{{ID: 1}}
		}
		if got := b.parts(); got != p {
			t.Errorf("got the parts %04b, want %04b", got, p)
		}
		args, err := q.args(b, nil)
		if err != nil {
			t.Fatal(err)
		}
		text := commitSQL(p, nodePart)
		for i := range args {
			if n := strings.Count(text, fmt.Sprintf("$%d:", i+1)); n != 1 {
				t.Errorf("parts %04b: got argument %d %d times, want once", p, i+1, n)
			}
		}
		if got := strings.Count(text, "$"); got != len(args) {
			t.Errorf("parts %04b: got %d placeholders for %d arguments", p, got, len(args))
		}
	}
}

func TestColumns(t *testing.T) {
	for _, test := range []struct{ name, got, want string }{
		{"empty", arrayOf([]int{}), `{}`},
		{"numbers", arrayOf([]uint64{1, 23}), `{1,23}`},
		{"negative", arrayOf([]int64{-1}), `{-1}`},
		{"text", string(appendElement(nil, []byte(`{"a":"b\n,{}"}`))), `"{\"a\":\"b\\n,{}\"}"`},
	} {
		if test.got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, test.got, test.want)
		}
	}
	got := markColumns([]markRow{{1, 2, 3, 4, 5, 6}, {11, index.ReportTask, 13, 14, 15, -16}})
	want := []any{`{1,11}`, fmt.Sprintf(`{2,%d}`, uint32(index.ReportTask)), `{3,13}`, `{4,14}`, `{5,15}`, `{6,-16}`}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("marks: got %v, want %v", got, want)
	}
	rows := []outcomeRow{{1, 2, settled, true, nil}, {11, 12, held, false, &eventRecord{At: 5, Overdue: index.Never}}}
	got, err := outcomeColumns(rows)
	if err != nil {
		t.Fatal(err)
	}
	want = []any{`{1,11}`, `{2,12}`, `{1,3}`, `{true,false}`, `{NULL,"{\"at\":5}"}`}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("outcomes: got %v, want %v", got, want)
	}
}
