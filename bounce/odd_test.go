package bounce

import (
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/smtp"
)

// hollow is a Content that has a size and no octets.
type hollow int64

func (h hollow) Size() int64                     { return int64(h) }
func (hollow) ReadAt([]byte, int64) (int, error) { return 0, errors.New("hollow") }

// TestOddValues composes reports of values that nobody should pass: an error that names the field, or a report.
func TestOddValues(t *testing.T) {
	far := time.Unix(1<<50, 0)
	tests := []struct {
		name   string
		change func(*Report)
		want   string // in the error; "": none
	}{
		{"zero", func(r *Report) { *r = Report{} }, "Envelope is nil"},
		{"no recipients", func(r *Report) { r.Recipients = nil }, ErrUnwanted.Error()},
		{"a zero recipient", func(r *Report) { r.Recipients = make([]Recipient, 1) }, "Action is 0"},
		{"no such action", func(r *Report) { r.Recipients[0].Action = 255 }, "Action is 255"},
		{"no such NOTIFY", func(r *Report) { r.Recipients[0].Notify = 128 }, ErrUnwanted.Error()},
		{"no original", func(r *Report) { r.Original = nil }, "Original is nil"},
		{"an original that can't be read", func(r *Report) { r.Original = hollow(100) }, "hollow"},
		{"an original of size -1", func(r *Report) { r.Original = hollow(-1) }, "hollow"},
		{"an original of the highest size", func(r *Report) { r.Original = hollow(math.MaxInt64) }, "hollow"},
		{"an original of size -1, whole", func(r *Report) {
			r.Original, r.Envelope.Ret, r.MaxReturn = sized{smtp.Text("Subject: hi\n\nHi.\n"), -1}, smtp.RetFull, math.MaxInt64
		}, "size is -1"},
		{"no host", func(r *Report) { r.ReportingMTA = "" }, "ReportingMTA"},
		{"a bad reverse-path", func(r *Report) { r.Envelope.From = "oops\r\nBcc: all" }, "Envelope.From"},
		{"a recipient without an address", func(r *Report) { r.Recipients[0].Address = "" }, ""},
		{"a recipient with lines for an address", func(r *Report) { r.Recipients[0].Address = "a\r\nBcc: all" }, ""},
		{"a huge recipient", func(r *Report) { r.Recipients[0].Address = strings.Repeat("x", 1<<20) }, ""},
		{"ORCPT", func(r *Report) { r.Recipients[0].ORCPT = "\r\n" }, ""},
		{"no reply", func(r *Report) { r.Recipients[0].Result.Reply = nil }, ""},
		{"a zero reply", func(r *Report) { r.Recipients[0].Result.Reply = new(smtp.Reply) }, ""},
		{"a reply with a code that is none", func(r *Report) {
			r.Recipients[0].Result.Reply = &smtp.Reply{Code: math.MinInt, Enhanced: smtp.EnhancedCode{-1, math.MaxInt, 0}, Text: "\r\n\x00"}
		}, ""},
		{"an outcome that is none", func(r *Report) { r.Recipients[0].Result.Outcome, r.Recipients[0].Result.Stage = 255, 255 }, ""},
		{"times that are far", func(r *Report) {
			r.Arrival, r.Date, r.Recipients[0].LastAttempt, r.Recipients[0].WillRetryUntil = far, far, far, far
			r.Recipients[0].Action = Delayed
		}, ""},
		{"MaxReturn, the highest", func(r *Report) { r.MaxReturn, r.Envelope.Ret = math.MaxInt64, smtp.RetFull }, ""},
		{"MaxReturn, the lowest", func(r *Report) { r.MaxReturn, r.Envelope.Ret = math.MinInt64, 255 }, ""},
		{"ENVID", func(r *Report) { r.Envelope.EnvID = strings.Repeat("\r\n", 1000) }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &Report{
				ReportingMTA: "relay.test", Envelope: smtp.NewEnvelope("ann@source.test"), Original: smtp.Text("Subject: hi\n\nHi.\n"),
				Recipients: []Recipient{{
					Recipient: smtp.Recipient{Address: "bob@next.test"}, Action: Failed,
					Result: smtp.Result{Outcome: smtp.Rejected, Reply: smtp.NewReply(550, "5.1.1", "no such user")},
				}},
			}
			tt.change(r)
			env, content, err := r.Compose()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if err != nil {
				return
			}
			if facts, err := smtp.Scan(content); err != nil || facts.LongLine || env.Check() != nil {
				t.Errorf("got a report with %+v, %v, and an envelope with %v", facts, err, env.Check())
			}
			b, err := io.ReadAll(smtp.NewReader(content))
			if err != nil || strings.Contains(string(b), "\r\nBcc: all") {
				t.Errorf("got %v and a field of another's:\n%s", err, b)
			}
		})
	}
	if got := Action(255).String(); got != "unknown" {
		t.Errorf("got %q, want unknown", got)
	}
}

// sized is a Content with another size.
type sized struct {
	smtp.Content
	size int64
}

func (s sized) Size() int64 { return s.size }
