package client

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// TestDeliver: a route that is a func.
func TestDeliver(t *testing.T) {
	full := smtp.NewReply(452, "4.2.2", "full")
	gone := smtp.NewReply(550, "5.1.1", "gone")
	broken := errors.New("disk on fire at /var/mail")
	tests := []struct {
		name    string
		results []smtp.Result
		err     error
		want    string
		cause   error
	}{
		{name: "all", want: "bob@example.net delivered final: 250 2.0.0 delivered local\neve@example.net delivered final: 250 2.0.0 delivered local\n"},
		{name: "an error of its own", err: broken, cause: broken,
			want: "bob@example.net deferred final: 451 4.3.0 the delivery failed local\neve@example.net deferred final: 451 4.3.0 the delivery failed local\n"},
		{name: "a reply", err: errors.Join(broken, gone), cause: gone,
			want: "bob@example.net rejected final: 550 5.1.1 gone local\neve@example.net rejected final: 550 5.1.1 gone local\n"},
		{name: "each his own", results: []smtp.Result{{Outcome: smtp.Delivered, Stage: smtp.StageFinal, Reply: smtp.NewReply(250, "", "")}, {Stage: smtp.StageRcpt, Reply: full}},
			err: full, cause: full, want: "bob@example.net delivered final: 250\neve@example.net deferred rcpt: 452 4.2.2 full\n"},
		{name: "one has no reply", results: []smtp.Result{{Outcome: smtp.Delivered}, {Stage: smtp.StageRcpt, Reply: full}},
			want: "bob@example.net delivered final: 250 2.0.0 delivered local\neve@example.net deferred rcpt: 452 4.2.2 full\n"},
		{name: "too few", results: []smtp.Result{{Outcome: smtp.Delivered, Reply: smtp.NewReply(250, "", "")}},
			want: "bob@example.net delivered route: 250\neve@example.net deferred final: 451 4.3.0 the delivery failed local\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got string
			var from string
			route := mx.Func("test", func(_ context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
				b, err := io.ReadAll(smtp.NewReader(c))
				if err != nil || int64(len(b)) != c.Size() || len(env.Recipients) != 2 {
					t.Errorf("got %d octets for %d recipients, and %v, want %d for 2", len(b), len(env.Recipients), err, c.Size())
				}
				got, from = string(b), env.From
				return tt.results, tt.err
			})
			tr := &Transport{Router: &mx.Router{Routes: map[string]mx.Route{"example.net": route}}}
			env := smtp.NewEnvelope("ann@client.test", "bob@example.net", "nobody@-", "eve@example.net")
			env.Recipients = append(env.Recipients[:1], env.Recipients[2]) // neighbours in one domain
			results, err := tr.Send(t.Context(), env, smtp.Text("Subject: hi\n\nHello.\n"))
			checkError(t, results, err)
			if tt.cause != nil && !errors.Is(err, tt.cause) {
				t.Errorf("got error %v, want one with %v", err, tt.cause)
			}
			if s := show(results); s != tt.want {
				t.Errorf("got\n%s\nwant\n%s", s, tt.want)
			}
			// RFC 5321 §4.4: final delivery puts Return-Path on top.
			if want := "Return-Path: <ann@client.test>\r\nSubject: hi\r\n\r\nHello.\r\n"; got != want || from != env.From {
				t.Errorf("got %q from %s, want %q", got, from, want)
			}
		})
	}
}

// TestReturnPath: only a final delivery adds Return-Path (RFC 5321 §4.4).
func TestReturnPath(t *testing.T) {
	const sent = "Subject: hi\r\n\r\nHello.\r\n"
	var got string
	read := func(_ context.Context, _ *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
		b, err := io.ReadAll(smtp.NewReader(c))
		got = string(b)
		return nil, err
	}
	for _, tt := range []struct {
		name  string
		route mx.Route
		want  string
	}{
		{"a func", mx.Func("app", read), "Return-Path: <ann@client.test>\r\n" + sent},
		{"a Sender that relays", mx.Route{Name: "provider", Sender: smtp.SenderFunc(read)}, sent},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := &Transport{Router: &mx.Router{Routes: map[string]mx.Route{"*": tt.route}}}
			env := smtp.NewEnvelope("ann@client.test", "bob@example.net")
			if _, err := tr.Send(t.Context(), env, smtp.Text(sent)); err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestDeliveredWithoutReply: a func that says Delivered has the message.
func TestDeliveredWithoutReply(t *testing.T) {
	route := mx.Func("func", func(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) {
		return []smtp.Result{{Outcome: smtp.Delivered}}, nil
	})
	tr := &Transport{Router: &mx.Router{Routes: map[string]mx.Route{"*": route}}}
	results, _ := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n"))
	if results[0].Outcome != smtp.Delivered {
		t.Errorf("got %s", show(results))
	}
}

// TestSharedResults: a func may return the same results to all.
func TestSharedResults(t *testing.T) {
	same := []smtp.Result{{Outcome: smtp.Delivered, Reply: smtp.NewReply(250, "", "")}}
	route := mx.Func("func", func(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) { return same, nil })
	tr := &Transport{Router: &mx.Router{Routes: map[string]mx.Route{"*": route}}}
	tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n"))
	if same[0].Recipient != "" {
		t.Errorf("got %q written into the results of the func", same[0].Recipient)
	}
}

// TestChangedEnvelope: a func that breaks the rules loses no result.
func TestChangedEnvelope(t *testing.T) {
	route := mx.Func("func", func(_ context.Context, env *smtp.Envelope, _ smtp.Content) ([]smtp.Result, error) {
		env.Recipients = nil
		return nil, nil
	})
	tr := &Transport{Router: &mx.Router{Routes: map[string]mx.Route{"*": route}}}
	results, err := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n"))
	checkError(t, results, err)
	if len(results) != 1 || results[0].Outcome != smtp.Delivered {
		t.Errorf("got %s", show(results))
	}
}
