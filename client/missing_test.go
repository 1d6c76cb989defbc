package client

import (
	"context"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// kept is a Sender that keeps the content.
type kept struct{ content string }

func (k *kept) Send(_ context.Context, _ *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
	b, err := io.ReadAll(smtp.NewReader(c))
	k.content = string(b)
	return nil, err
}

// TestAddMissing: fields are added where they are missing, once for all attempts of a message from a queue.
func TestAddMissing(t *testing.T) {
	const (
		date     = `Date: \w{3}, \d{2} \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}\r\n`
		id       = `Message-ID: <[A-Z2-7]{26}@a\.test>\r\n`
		received = "Received: by x.test; Mon, 30 Nov 2026 17:00:00 +0100\r\n"
		then     = `Date: Mon, 30 Nov 2026 17:00:00 \+0100\r\n`
	)
	ours := &smtp.Job{ID: "1", Origin: smtp.OriginCode}
	for _, tt := range []struct {
		name, content string
		job           *smtp.Job
		add           string // a pattern of what is added on top
	}{
		{"both", "Subject: x\r\n\r\nx\r\n", nil, date + id},
		{"a Date is there", "DATE :x\r\n\r\nx\r\n", nil, id},
		{"a Message-ID is there", "MESSAGE-ID :\r\n <x@y>\r\n\r\nx\r\n", nil, date},
		{"both are there", "Date: x\r\nMessage-ID: <x@y>\r\n\r\nx\r\n", nil, ""},
		{"in the body", "\r\nDate: x\r\nMessage-ID: <x@y>\r\n", nil, date + id},
		{"no header", "Hello.\r\n", nil, date + id + `\r\n`},
		{"empty", "", nil, date + id},
		{"signed", "Dkim-Signature: x\r\n\r\nx\r\n", nil, ""},
		{"a long header", "X: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", nil, ""},
		{"Received, without a queue", received + "\r\nx\r\n", nil, date + id},
		{"Received", received + "\r\nx\r\n", ours, then + id},
		{"Received, not on top", "X: y\r\n" + received + "\r\nx\r\n", ours, date + id},
		{"Received without a date", "Received: x\r\n\r\nx\r\n", ours, date + id},
		{"a stranger's", received + "\r\nx\r\n", &smtp.Job{Origin: smtp.OriginStranger}, ""},
		{"of an unknown origin", received + "\r\nx\r\n", &smtp.Job{}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx := t.Context()
			if tt.job != nil {
				ctx = smtp.WithJob(ctx, *tt.job)
			}
			env := smtp.NewEnvelope("ann@A.test", "bob@b.test")
			to := new(kept)
			var first string
			for range 2 {
				if _, err := AddMissing(to).Send(ctx, env, strings.NewReader(tt.content)); err != nil {
					t.Fatal(err)
				}
				added, ok := strings.CutSuffix(to.content, tt.content)
				if !ok || !regexp.MustCompile("^"+tt.add+"$").MatchString(added) {
					t.Errorf("got %q, want %q on top of it", to.content, tt.add)
				}
				if tt.job != nil && strings.Contains(tt.add, then) && first != "" && first != added {
					t.Errorf("got %q and then %q, want the same", first, added)
				}
				if tt.job == nil && strings.Contains(tt.add, id) && first == added {
					t.Errorf("got %q twice, want another Message-ID", added)
				}
				first = added
			}
		})
	}
	ids := make(map[string]bool)
	for _, id := range []string{"1", "2", "1"} {
		to := new(kept)
		ctx := smtp.WithJob(t.Context(), smtp.Job{ID: id, Origin: smtp.OriginCode})
		if _, err := AddMissing(to).Send(ctx, &smtp.Envelope{}, strings.NewReader("Date: x\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		ids[to.content] = true
	}
	if len(ids) != 2 {
		t.Errorf("got %v for two messages, want a Message-ID each", ids)
	}
	to := new(kept)
	if _, err := AddMissing(to).Send(t.Context(), &smtp.Envelope{}, strings.NewReader("From x Mon\r\nFrom: a@b.test\r\n\r\n")); err != nil || !strings.HasSuffix(to.content, ">\r\nFrom: a@b.test\r\n\r\n") {
		t.Errorf("got %q, %v, want it without the line of a file of mail", to.content, err)
	}
	if _, err := AddMissing(smtp.SenderFunc(nil)).Send(t.Context(), nil, nil); err == nil {
		t.Error("got no error for nil")
	}
}

// around is a Sender around a Submission that puts a field on top, with a Check.
type around struct {
	next  smtp.Sender
	check error
}

func (a around) Check(context.Context) error { return a.check }

func (a around) Send(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
	b, err := io.ReadAll(smtp.NewReader(c))
	if err != nil {
		return nil, err
	}
	return a.next.Send(ctx, env, strings.NewReader("X-Signed: "+string(b[:5])+"\r\n"+string(b)))
}

// TestSubmissionWrap: a message is completed first, then goes through Wrap, then to the server. Check asks Wrap's
// Sender.
func TestSubmissionWrap(t *testing.T) {
	inet := smtptest.NewNetwork(t)
	host := inet.Host("smtp.test")
	submission := func(wrap func(smtp.Sender) smtp.Sender) *Submission {
		s := &Submission{Addr: "smtp.test:25", TLS: mx.TLSNone, Resolver: inet, DialContext: inet.DialContext, Wrap: wrap}
		t.Cleanup(func() { s.Close() })
		return s
	}
	env := smtp.NewEnvelope("ann@a.test", "bob@b.test", "eve@b.test")
	s := submission(func(next smtp.Sender) smtp.Sender { return around{next: next} })
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if results, err := s.Send(t.Context(), env, smtp.Text("Subject: x\n\nx\n")); err != nil || results[1].Outcome != smtp.Delivered {
		t.Fatalf("got %s, %v", show(results), err)
	}
	got := string(host.Wait(1)[0].Data)
	if !strings.HasPrefix(got, "X-Signed: Date:\r\nDate: ") || !strings.Contains(got, "\r\nMessage-ID: <") {
		t.Errorf("got %q, want it completed, then signed", got)
	}

	failed := errors.New("no key")
	for _, tt := range []struct {
		name string
		wrap func(smtp.Sender) smtp.Sender
		err  string // of Check and Send
		want smtp.Outcome
	}{
		{"nil", func(smtp.Sender) smtp.Sender { return nil }, "client: Submission.Wrap returns nil", smtp.Deferred},
		{"a panic", func(smtp.Sender) smtp.Sender { panic("oops") }, "client: Submission.Wrap: panic: oops", smtp.Deferred},
		{"Send panics", func(smtp.Sender) smtp.Sender {
			return smtp.SenderFunc(func(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) { panic("oops") })
		}, "client: Submission.Wrap: panic: oops", smtp.Unknown},
		{"an error", func(smtp.Sender) smtp.Sender {
			return smtp.SenderFunc(func(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) { return nil, failed })
		}, "no key", smtp.Deferred},
	} {
		t.Run(tt.name, func(t *testing.T) {
			results, err := submission(tt.wrap).Send(t.Context(), env, smtp.Text("x\n"))
			if err == nil || !strings.Contains(err.Error(), tt.err) || len(results) != 2 || results[0].Outcome != tt.want || results[1].Recipient != "eve@b.test" {
				t.Errorf("got %s, %v, want %s and %q", show(results), err, tt.want, tt.err)
			}
		})
	}
	s = submission(func(next smtp.Sender) smtp.Sender { return around{next, failed} })
	if err := s.Check(t.Context()); !errors.Is(err, failed) || err.Error() != "client: Submission.Wrap: no key" {
		t.Errorf("got %v, want the error of Wrap", err)
	}
	if err := AddMissing(around{check: failed}).(*completing).Check(t.Context()); !errors.Is(err, failed) {
		t.Errorf("got %v, want that of the next Sender", err)
	}
}

// FuzzAddMissing completes any message, and then again: nothing is missing any more.
func FuzzAddMissing(f *testing.F) {
	for _, seed := range []string{
		"Subject: x\r\n\r\nx\r\n", "From a Mon\r\nDate : x\r\n\r\n", "\ufeffMessage-ID:\r\n x\r\n\r\n", "Hello.\r\n", "", "\r\n", "Date\r\n : x\r\n\r\n",
		"Received: x; Mon, 30 Nov 2026 17:00:00 +0100\r\nno field\r\nDate: x\r\n\r\n", "DKIM-Signature: x", "Date: x\n\nx",
	} {
		f.Add(seed)
	}
	env := smtp.NewEnvelope("ann@a.test", "bob@b.test")
	f.Fuzz(func(t *testing.T, content string) {
		ctx := smtp.WithJob(t.Context(), smtp.Job{ID: "1", Origin: smtp.OriginCode})
		once, twice := new(kept), new(kept)
		if _, err := AddMissing(once).Send(ctx, env, strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		if _, err := AddMissing(twice).Send(ctx, env, strings.NewReader(once.content)); err != nil {
			t.Fatal(err)
		}
		if once.content != twice.content {
			t.Errorf("got %q, and then %q", once.content, twice.content)
		}
	})
}
