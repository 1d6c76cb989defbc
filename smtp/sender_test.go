package smtp_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
)

func TestComplete(t *testing.T) {
	const a, b, c = "a@example.net", "b@example.net", "c@example.net"
	ok := smtp.NewReply(250, "2.0.0", "ok")
	no := smtp.NewReply(550, "5.1.1", "no such user")
	later := smtp.NewReply(452, "4.2.2", "full")
	ours := smtp.NewReply(250, "2.0.0", "delivered")
	failed := smtp.NewReply(451, "4.3.0", "the delivery failed")

	took := func(rcpt string) smtp.Result {
		return smtp.Result{Recipient: rcpt, Outcome: smtp.Delivered, Stage: smtp.StageFinal, Reply: ok}
	}
	refused := func(rcpt string, why smtp.Reason) smtp.Result {
		return smtp.Result{Recipient: rcpt, Outcome: smtp.Rejected, Stage: smtp.StageRcpt, Reply: no, Reason: why}
	}
	local := func(rcpt string, o smtp.Outcome, r *smtp.Reply) smtp.Result {
		res := smtp.Result{Recipient: rcpt, Outcome: o, Stage: smtp.StageFinal, Reply: r, Local: true}
		if o != smtp.Delivered {
			res.Reason = smtp.Other
		}
		if r == no {
			res.Reason = smtp.UserUnknown
		}
		if r == later {
			res.Reason = smtp.MailboxFull
		}
		return res
	}
	missed := func(rcpt string) smtp.Result { return local(rcpt, smtp.Deferred, failed) }
	all := func(f func(string) smtp.Result) []smtp.Result { return []smtp.Result{f(a), f(b), f(c)} }

	tests := []struct {
		name    string
		results []smtp.Result
		err     error
		want    []smtp.Result
		missing int
	}{
		{"nothing", nil, nil,
			all(func(r string) smtp.Result { return local(r, smtp.Delivered, ours) }), 0},
		{"empty, not nil", []smtp.Result{}, nil, all(missed), 3},
		{"empty, and an error", []smtp.Result{}, no,
			all(func(r string) smtp.Result { return local(r, smtp.Rejected, no) }), 0},
		{"a 5xx alone", nil, fmt.Errorf("refusing: %w", no),
			all(func(r string) smtp.Result { return local(r, smtp.Rejected, no) }), 0},
		{"a 4xx alone", nil, fmt.Errorf("refusing: %w", later),
			all(func(r string) smtp.Result { return local(r, smtp.Deferred, later) }), 0},
		{"a 2xx as an error", nil, ok, all(missed), 0},
		{"a code that there isn't", nil, smtp.NewReply(600, "", "?"), all(missed), 0},
		{"an error alone", nil, errors.New("disk full at /srv"), all(missed), 0},
		{"the end of a context", nil, context.Canceled, all(missed), 0},

		{"all there", []smtp.Result{took(a), refused(b, smtp.UserUnknown), took(c)}, nil,
			[]smtp.Result{took(a), refused(b, smtp.UserUnknown), took(c)}, 0},
		{"all there, and an error", []smtp.Result{took(a), took(b), took(c)}, no,
			[]smtp.Result{took(a), took(b), took(c)}, 0},
		{"no reason", []smtp.Result{took(a), refused(b, smtp.NoReason), took(c)}, nil,
			[]smtp.Result{took(a), refused(b, smtp.UserUnknown), took(c)}, 0},
		{"no stage", []smtp.Result{took(a), {Outcome: smtp.Rejected, Reply: no}, {Outcome: smtp.Deferred, Reply: later}}, nil,
			[]smtp.Result{
				took(a),
				{Recipient: b, Outcome: smtp.Rejected, Stage: smtp.StageFinal, Reply: no, Reason: smtp.UserUnknown},
				{Recipient: c, Outcome: smtp.Deferred, Stage: smtp.StageFinal, Reply: later, Reason: smtp.MailboxFull},
			}, 0},
		{"no stage, and local", []smtp.Result{took(a), {Outcome: smtp.Deferred, Reply: later, Local: true}, took(c)}, nil,
			[]smtp.Result{
				took(a), {Recipient: b, Outcome: smtp.Deferred, Reply: later, Local: true, Reason: smtp.MailboxFull}, took(c),
			}, 0},
		{"a reason of its own", []smtp.Result{took(a), refused(b, smtp.Blocklisted), took(c)}, nil,
			[]smtp.Result{took(a), refused(b, smtp.Blocklisted), took(c)}, 0},
		{"no names", []smtp.Result{took(""), refused("", smtp.NoReason), took("")}, nil,
			[]smtp.Result{took(a), refused(b, smtp.UserUnknown), took(c)}, 0},
		{"another name", []smtp.Result{took(a), took("alias@example.net"), took(c)}, nil,
			[]smtp.Result{took(a), took("alias@example.net"), took(c)}, 0},
		{"in another order", []smtp.Result{took(c), refused(a, smtp.NoReason), took(b)}, nil,
			[]smtp.Result{refused(a, smtp.UserUnknown), took(b), took(c)}, 0},
		{"twice the same name", []smtp.Result{took(c), took(c), refused(a, smtp.Other)}, nil,
			[]smtp.Result{refused(a, smtp.Other), missed(b), missed(c)}, 2},
		{"in another order, one without a name", []smtp.Result{took(b), took(a), took("")}, nil,
			[]smtp.Result{took(a), missed(b), missed(c)}, 2},
		{"one in the place of another", []smtp.Result{took(c), refused("", smtp.Other), refused("", smtp.Other)}, nil,
			[]smtp.Result{missed(a), missed(b), took(c)}, 2},
		{"delivered without a reply", []smtp.Result{took(a), {Outcome: smtp.Delivered}, took(c)}, nil,
			[]smtp.Result{took(a), local(b, smtp.Delivered, ours), took(c)}, 0},
		{"rejected without a reply", []smtp.Result{took(a), {Outcome: smtp.Rejected}, took(c)}, nil,
			[]smtp.Result{took(a), missed(b), took(c)}, 1},
		{"a zero result", []smtp.Result{took(a), {}, took(c)}, nil,
			[]smtp.Result{took(a), missed(b), took(c)}, 1},

		{"too few", []smtp.Result{took(a)}, nil,
			[]smtp.Result{took(a), missed(b), missed(c)}, 2},
		{"too few, and an error", []smtp.Result{took(a)}, no,
			[]smtp.Result{took(a), missed(b), missed(c)}, 2},
		{"too few, without names", []smtp.Result{took(""), took("")}, nil,
			[]smtp.Result{took(a), took(b), missed(c)}, 1},
		{"the one in between is missing", []smtp.Result{took(a), took(c)}, nil,
			[]smtp.Result{took(a), missed(b), took(c)}, 1},
		{"too few, of which one is a stranger", []smtp.Result{took("x@example.org"), took(c)}, nil,
			[]smtp.Result{missed(a), missed(b), took(c)}, 2},
		{"too few, of which the last has no name", []smtp.Result{took(c), took("")}, nil,
			[]smtp.Result{missed(a), missed(b), took(c)}, 2},
		{"too few, in another order", []smtp.Result{took(b), took(a)}, nil,
			[]smtp.Result{took(a), missed(b), missed(c)}, 2},
		{"too many", []smtp.Result{took(a), took(b), took(c), refused("d@example.net", smtp.Other)}, nil,
			[]smtp.Result{took(a), took(b), took(c)}, 0},
		{"too many, of which one is a stranger", []smtp.Result{took("x@example.org"), took(a), took(b), took(c)}, nil,
			[]smtp.Result{took(a), took(b), took(c)}, 0},
		{"too many, without names", []smtp.Result{took(""), refused("", smtp.NoReason), took(""), took("")}, nil,
			[]smtp.Result{took(a), refused(b, smtp.UserUnknown), took(c)}, 0},
		{"too many, all of strangers", []smtp.Result{took("x@e"), took("y@e"), took("z@e"), took("q@e")}, nil,
			all(missed), 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := slices.Clone(tt.results)
			got, missing := smtp.Complete(smtp.NewEnvelope("s@example.com", a, b, c), tt.results, tt.err)
			got = (*replies.Classifier)(nil).Complete(got)
			if !reflect.DeepEqual(got, tt.want) || missing != tt.missing {
				t.Errorf("got %d missing and %+v\nwant %d and %+v", missing, got, tt.missing, tt.want)
			}
			if !slices.Equal(tt.results, before) {
				t.Errorf("the results were changed: got %+v, want %+v", tt.results, before)
			}
		})
	}
}

// TestCompleteOrderTwice: of a recipient that is in the envelope twice, each result counts once.
func TestCompleteOrderTwice(t *testing.T) {
	const a, b = "a@example.net", "b@example.net"
	ok, no := smtp.NewReply(250, "2.0.0", "ok"), smtp.NewReply(550, "5.1.1", "no such user")
	took := smtp.Result{Recipient: a, Outcome: smtp.Delivered, Reply: ok}
	second := smtp.Result{Recipient: a, Outcome: smtp.Delivered, Reply: ok, Host: "second"}
	refused := smtp.Result{Recipient: b, Outcome: smtp.Rejected, Reply: no, Reason: smtp.UserUnknown}
	got, missing := smtp.Complete(smtp.NewEnvelope("", a, b, a), []smtp.Result{took, second, refused}, nil)
	if want := []smtp.Result{took, refused, second}; !slices.Equal(got, want) || missing != 0 {
		t.Errorf("got %d missing and %+v\nwant 0 and %+v", missing, got, want)
	}
}

func TestCompleteKeeps(t *testing.T) {
	env := smtp.NewEnvelope("s@example.com", "a@example.net")
	ok := smtp.NewReply(250, "", "ok")
	results := []smtp.Result{{Recipient: "a@example.net", Outcome: smtp.Delivered, Reply: ok}}
	var got []smtp.Result
	if n := testing.AllocsPerRun(10, func() { got, _ = smtp.Complete(env, results, nil) }); n != 0 {
		t.Errorf("got %v allocations, want none", n)
	}
	if &got[0] != &results[0] {
		t.Error("got a copy, want the same slice")
	}
}

func TestJob(t *testing.T) {
	if j, ok := smtp.JobOf(t.Context()); ok || j != (smtp.Job{}) {
		t.Errorf("got %+v and %v, want none", j, ok)
	}
	want := smtp.Job{
		ID: "1", Ref: "order 7", Tenant: "ann", Origin: smtp.OriginCode, From: "ann@example.com", FromDomain: "example.com", Attempt: 2,
	}
	ctx := smtp.WithJob(smtp.WithJob(t.Context(), smtp.Job{ID: "0"}), want)
	var sender smtp.Sender = smtp.SenderFunc(func(ctx context.Context, env *smtp.Envelope, _ smtp.Content) ([]smtp.Result, error) {
		if j, ok := smtp.JobOf(ctx); !ok || j != want {
			t.Errorf("got %+v and %v, want %+v", j, ok, want)
		}
		return nil, errors.New(env.From)
	})
	_, err := sender.Send(ctx, smtp.NewEnvelope("s@example.com"), smtp.Text(""))
	if err == nil || err.Error() != "s@example.com" {
		t.Errorf("got %v, want the error of the func", err)
	}
}
