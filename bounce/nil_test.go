package bounce

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

// TestNilAndZero calls every func and method with what nobody should pass: an error that names what is missing, or the
// documented default, and no panic.
func TestNilAndZero(t *testing.T) {
	ctx := t.Context()
	env := smtp.NewEnvelope("ann@source.test", "bob@next.test")
	taken := smtp.SenderFunc(func(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) { return nil, nil })
	good := &VERP{Domain: "bounces.test", Keys: [][]byte{make([]byte, 32)}}
	handler := &Handler{VERP: good, Handle: func(context.Context, Event) error { return nil }}
	last := func(_ any, err error) error { return err }
	say := func(a ...any) error { return fmt.Errorf("%v", a) }
	tests := []struct {
		name string
		do   func() error
		want string // in the error; "": none
	}{
		{"Parse, nil", func() error { return last(Parse(nil)) }, "nil"},
		{"Compose, zero", func() error { _, _, err := new(Report).Compose(); return err }, "Envelope is nil"},
		{"Compose, nil", func() error { _, _, err := (*Report)(nil).Compose(); return err }, "Envelope is nil"},
		{"Sent.To, zero", func() error { return say(new(Sent).To("")) }, "false"},
		{"Sent.To, nil", func() error { return say((*Sent)(nil).To("a@next.test")) }, "false"},
		{"Sent, printed", func() error { return say(Sent{}, (*Sent)(nil)) }, "nil"},
		{"Action, zero", func() error { return say(Action(0)) }, "unknown"},
		{"Kind, zero", func() error { return say(Kind(0), Kind(255)) }, "not-a-bounce"},
		{"VERP.Address, zero", func() error { return last(new(VERP).Address(Sent{})) }, "Domain"},
		{"VERP.Address, nil", func() error { return last((*VERP)(nil).Address(Sent{})) }, "nil"},
		{"VERP.Address, zero Sent", func() error { return last(good.Address(Sent{})) }, `address ""`},
		{"VERP.Check, zero", func() error { return new(VERP).Check() }, "Domain"},
		{"VERP.Check, nil", func() error { return (*VERP)(nil).Check() }, "nil"},
		{"VERP.Read, zero", func() error { return last(new(VERP).Read("")) }, "Domain"},
		{"VERP.Read, nil", func() error { return last((*VERP)(nil).Read("a@bounces.test")) }, "nil"},
		{"VERP.Signed, zero", func() error { return say(new(VERP).Signed("")) }, "false"},
		{"VERP.Signed, nil", func() error { return say((*VERP)(nil).Signed("a@bounces.test")) }, "false"},
		{"VERP.Wrap, nil", func() error { return last(good.Wrap(nil).Send(ctx, env, smtp.Text("hi"))) }, "nil"},
		{"VERP.Wrap, nil, Check", func() error { return checkOf(ctx, good.Wrap(nil)) }, "nil"},
		{"VERP.Wrap of the zero VERP", func() error { return last(new(VERP).Wrap(taken).Send(ctx, env, smtp.Text("hi"))) }, "Domain"},
		{"VERP.Wrap of the nil VERP", func() error { return last((*VERP)(nil).Wrap(taken).Send(ctx, env, smtp.Text("hi"))) }, "nil"},
		{"VERP.Wrap, nil envelope", func() error { return last(good.Wrap(taken).Send(ctx, nil, smtp.Text("hi"))) }, ""},
		{"VERP.Wrap, zero envelope", func() error { return last(good.Wrap(taken).Send(ctx, new(smtp.Envelope), nil)) }, ""},
		{"VERP.Wrap, nil content", func() error { return last(good.Wrap(taken).Send(ctx, env, nil)) }, ""},
		{"Handler.Check, zero", func() error { return new(Handler).Check() }, "VERP"},
		{"Handler.Check, nil", func() error { return (*Handler)(nil).Check() }, "nil"},
		{"Handler.CheckRcpt, zero", func() error { return new(Handler).CheckRcpt(ctx, "") }, "VERP"},
		{"Handler.CheckRcpt, nil", func() error { return (*Handler)(nil).CheckRcpt(ctx, "a@bounces.test") }, "nil"},
		{"Handler.Send, zero", func() error { return last(new(Handler).Send(ctx, env, smtp.Text("hi"))) }, "VERP"},
		{"Handler.Send, nil", func() error { return last((*Handler)(nil).Send(ctx, env, smtp.Text("hi"))) }, "nil"},
		{"Handler.Send, nil envelope", func() error { return last(handler.Send(ctx, nil, smtp.Text("hi"))) }, "nil"},
		{"Handler.Send, zero envelope", func() error { return last(handler.Send(ctx, new(smtp.Envelope), smtp.Text("hi"))) }, ""},
		{"Handler.Send, nil content", func() error { return last(handler.Send(ctx, env, nil)) }, "nil"},
		{"English", func() error { return say(English() != nil, Portuguese() != nil) }, "true true"},
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

func checkOf(ctx context.Context, s smtp.Sender) error {
	return s.(interface{ Check(context.Context) error }).Check(ctx)
}
