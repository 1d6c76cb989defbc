package suppress_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/bounce"
	"github.com/postrider/postrider/bounce/suppress"
	"github.com/postrider/postrider/smtp"
)

// TestNilAndZero calls every func and method with what nobody should pass: an error that names what is missing, or the
// documented default, and no panic.
func TestNilAndZero(t *testing.T) {
	ctx := t.Context()
	env := smtp.NewEnvelope("ann@source.test", "bob@next.test")
	taken := smtp.SenderFunc(func(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) { return nil, nil })
	good := &suppress.Policy{List: new(suppress.Memory)}
	event := bounce.Event{Kind: bounce.Bounce, Recipient: "bob@next.test", Sent: new(bounce.Sent)}
	last := func(_ any, err error) error { return err }
	has := func(l suppress.List) error { _, _, err := l.Has(ctx, suppress.Key{}); return err }
	say := func(a ...any) error { return fmt.Errorf("%v", a) }
	checkOf := func(s smtp.Sender) error { return s.(interface{ Check(context.Context) error }).Check(ctx) }
	type test struct {
		name string
		do   func() error
		want string // in the error; "": none
	}
	tests := []test{
		{"Open", func() error { return last(suppress.Open("")) }, `the path is ""`},
		{"Options.Open, nil", func() error { return last((*suppress.Options)(nil).Open("")) }, `the path is ""`},
		{"KeyOf", func() error { return last(suppress.KeyOf("", "")) }, `address ""`},
		{"DefaultRule", func() error {
			return say(suppress.DefaultRule(0) == suppress.Rule{}, suppress.DefaultRule(255) == suppress.Rule{})
		}, "true true"},
		{"Source", func() error { return say(suppress.Source(0), suppress.Source(255)) }, "manual source-255"},
		{"Source.UnmarshalText", func() error { return new(suppress.Source).UnmarshalText(nil) }, "no such name"},
		{"Entry.Over, zero", func() error { return say(new(suppress.Entry).Over(time.Now())) }, "false"},
		{"Entry.Reply, zero", func() error { return new(suppress.Entry).Reply() }, "550 5.7.1 the address is suppressed (manual)"},
		{"Entry.Result, zero", func() error { return new(suppress.Entry).Result("").Reply }, "550 5.7.1"},
		{"Policy.Check, zero", func() error { return new(suppress.Policy).Check() }, "List is nil"},
		{"Policy.Check, nil", func() error { return (*suppress.Policy)(nil).Check() }, "List is nil"},
		{"Policy.Find, zero", func() error { return last(new(suppress.Policy).Find(ctx, "", "")) }, "List is nil"},
		{"Policy.Find, nil", func() error { return last((*suppress.Policy)(nil).Find(ctx, "", "a@next.test")) }, "List is nil"},
		{"Policy.Find, no address", func() error { return last(good.Find(ctx, "", "")) }, `address ""`},
		{"Policy.Refuse, zero", func() error { return last(new(suppress.Policy).Refuse(ctx, "", "")) }, "List is nil"},
		{"Policy.Refuse, nil", func() error { return last((*suppress.Policy)(nil).Refuse(ctx, "", "")) }, "List is nil"},
		{"Policy.Handle, zero", func() error { return good.Handle(ctx, bounce.Event{}) }, ""},
		{"Policy.Handle of the zero Policy", func() error { return new(suppress.Policy).Handle(ctx, event) }, "List is nil"},
		{"Policy.Handle of the nil Policy", func() error { return (*suppress.Policy)(nil).Handle(ctx, event) }, "List is nil"},
		{"Policy.Handle, no Notification", func() error {
			return good.Handle(ctx, bounce.Event{Kind: bounce.Complaint, Recipient: "bob@else.test", Sent: new(bounce.Sent)})
		}, ""},
		{"Policy.Result, zero", func() error { return good.Result(ctx, smtp.Job{}, smtp.Result{}) }, ""},
		{"Policy.Result, no address", func() error { return good.Result(ctx, smtp.Job{}, smtp.Result{Outcome: smtp.Delivered}) }, `address ""`},
		{"Policy.Result of the zero Policy", func() error { return new(suppress.Policy).Result(ctx, smtp.Job{}, smtp.Result{}) }, "List is nil"},
		{"Policy.Result of the nil Policy", func() error { return (*suppress.Policy)(nil).Result(ctx, smtp.Job{}, smtp.Result{}) }, "List is nil"},
		{"Policy.Wrap, nil", func() error { return last(good.Wrap(nil).Send(ctx, env, smtp.Text("hi"))) }, "the Sender is nil"},
		{"Policy.Wrap, nil, Check", func() error { return checkOf(good.Wrap(nil)) }, "the Sender is nil"},
		{"Policy.Wrap of the zero Policy", func() error { return last(new(suppress.Policy).Wrap(taken).Send(ctx, env, smtp.Text("hi"))) }, "List is nil"},
		{"Policy.Wrap of the nil Policy", func() error { return last((*suppress.Policy)(nil).Wrap(taken).Send(ctx, env, smtp.Text("hi"))) }, "List is nil"},
		{"Policy.Wrap, nil envelope", func() error { return last(good.Wrap(taken).Send(ctx, nil, nil)) }, ""},
		{"Policy.Wrap, zero envelope", func() error { return last(good.Wrap(taken).Send(ctx, new(smtp.Envelope), nil)) }, ""},
	}
	closed := open(t, filepath.Join(t.TempDir(), "closed"))
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for name, l := range map[string]interface {
		suppress.List
		Entries() []suppress.Entry
	}{"Memory": new(suppress.Memory), "File": open(t, filepath.Join(t.TempDir(), "list"))} {
		tests = append(tests,
			test{name + ".Add", func() error { return l.Add(ctx, suppress.Entry{}) }, `address ""`},
			test{name + ".Has", func() error { return has(l) }, ""},
			test{name + ".Remove", func() error { return l.Remove(ctx, suppress.Key{}) }, ""},
			test{name + ".Strike", func() error { return last(l.Strike(ctx, suppress.Key{}, suppress.Strike{})) }, `address ""`},
			test{name + ".Forgive", func() error { return l.Forgive(ctx, suppress.Key{}) }, ""},
			test{name + ".Entries", func() error { return say(len(l.Entries())) }, "0"},
		)
	}
	k, err := suppress.KeyOf("", "bob@next.test")
	if err != nil {
		t.Fatal(err)
	}
	for name, l := range map[string]*suppress.File{"zero File": new(suppress.File), "nil File": nil, "closed File": closed} {
		want, ended := "isn't open", "isn't open"
		if l == closed {
			want, ended = "closed", ""
		}
		tests = append(tests,
			test{name + ".Add", func() error { return l.Add(ctx, suppress.Entry{Key: k}) }, want},
			test{name + ".Has", func() error { _, _, err := l.Has(ctx, k); return err }, ended},
			test{name + ".Remove", func() error { return l.Remove(ctx, k) }, want},
			test{name + ".Strike", func() error { return last(l.Strike(ctx, k, suppress.Strike{})) }, want},
			test{name + ".Forgive", func() error { return l.Forgive(ctx, k) }, ended},
			test{name + ".Entries", func() error { return say(len(l.Entries())) }, "0"},
			test{name + ".Close", func() error { return l.Close() }, ended},
		)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.do()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
