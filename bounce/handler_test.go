package bounce_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/bounce"
	"github.com/postrider/postrider/smtp"
)

// dsn is a report about recipients, each "final" or "original>final", as failed with a status.
func dsn(status string, recipients ...string) string {
	var b strings.Builder
	b.WriteString("From: MAILER-DAEMON@mx.example.net\nTo: x\nSubject: Undelivered\nMessage-ID: <1@mx.example.net>\n" +
		"Auto-Submitted: auto-replied\nMIME-Version: 1.0\n" +
		"Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\nIt failed.\n" +
		"--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.net\n")
	for _, rcpt := range recipients {
		b.WriteString("\n")
		if original, final, ok := strings.Cut(rcpt, ">"); ok {
			fmt.Fprintf(&b, "Original-Recipient: rfc822; %s\n", original)
			rcpt = final
		}
		fmt.Fprintf(&b, "Final-Recipient: rfc822; %s\nAction: failed\nStatus: %s\nDiagnostic-Code: smtp; 550 %s no\n", rcpt, status, status)
	}
	b.WriteString("--b\nContent-Type: text/rfc822-headers\n\nMessage-ID: <news@example.com>\nSubject: news\n\n--b--\n")
	return b.String()
}

// arf is a complaint about a message with this reverse-path in a field.
func arf(kind, field string) string {
	mailFrom, header := "", ""
	if strings.HasPrefix(field, "Original-Mail-From") {
		mailFrom = field + "\n"
	} else {
		header = field + "\n"
	}
	return "From: fbl@example.net\nTo: x\nSubject: complaint\nMIME-Version: 1.0\n" +
		"Content-Type: multipart/report; report-type=feedback-report; boundary=b\n\n--b\n\nA complaint.\n" +
		"--b\nContent-Type: message/feedback-report\n\nFeedback-Type: " + kind + "\nUser-Agent: Test/1\nVersion: 1\n" + mailFrom +
		"\n--b\nContent-Type: message/rfc822\n\n" + header + "From: news@example.com\nTo: redacted\nSubject: news\n\nHello\n--b--\n"
}

const vacation = "From: ann@example.net\nTo: x\nSubject: Out of office: news\nAuto-Submitted: auto-replied\n" +
	"In-Reply-To: <news@example.com>\nMessage-ID: <2@example.net>\n\nI am away until Monday.\n"

// handled is a Handler with the events that it told.
type handled struct {
	*bounce.Handler
	events  []bounce.Event
	refused []error
	err     error
}

func newHandler() *handled {
	h := &handled{Handler: &bounce.Handler{VERP: newVERP()}}
	h.Handle = func(_ context.Context, e bounce.Event) error {
		h.events = append(h.events, e)
		return h.err
	}
	h.Refused = func(_ context.Context, _ string, err error) { h.refused = append(h.refused, err) }
	return h
}

func (h *handled) address(t *testing.T, s bounce.Sent) string {
	t.Helper()
	address, err := h.VERP.Address(s)
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// TestHandler: an event is about the recipient that the address names, whatever the mail says.
func TestHandler(t *testing.T) {
	long := strings.Repeat("a", 50) + "@example.net"
	for _, test := range []struct {
		name, to, mail string
		kind           bounce.Kind
		recipient      string
		status         string // "" for none
		hard           bool
	}{
		{"a bounce", "ann@example.net", dsn("5.1.1", "ann@example.net"), bounce.Bounce, "ann@example.net", "5.1.1", true},
		{"of a forwarded mail", "ann@example.net", dsn("5.1.1", "ann@example.net>a@other.example"), bounce.Bounce, "ann@example.net", "5.1.1", true},
		{"that doesn't say so", "ann@example.net", dsn("5.1.1", "a@other.example"), bounce.Bounce, "ann@example.net", "5.1.1", true},
		{"of several others", "ann@example.net", dsn("5.2.2", "a@other.example", "b@other.example"), bounce.Bounce, "ann@example.net", "5.2.2", false},
		{"that also names another", "ann@example.net", dsn("5.1.1", "bob@example.org", "ann@EXAMPLE.net"), bounce.Bounce, "ann@example.net", "5.1.1", true},
		{"by its hash", long, dsn("5.1.1", "bob@example.org", long), bounce.Bounce, long, "5.1.1", true},
		{"by its hash alone", long, dsn("5.1.1", "bob@example.org"), bounce.Bounce, "", "5.1.1", true},
		{"a complaint", "ann@example.net", arf("abuse", "X-None: x"), bounce.Complaint, "ann@example.net", "", false},
		{"a vacation", "ann@example.net", vacation, bounce.AutoReply, "ann@example.net", "", false},
		{"a person", "ann@example.net", "From: ann@example.net\nTo: x\nSubject: Re: news\n\nThank you.\n", bounce.NotABounce, "ann@example.net", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHandler()
			to := h.address(t, bounce.Sent{ID: "1k7", Tenant: "acme", Recipient: test.to})
			if err := h.CheckRcpt(t.Context(), to); err != nil {
				t.Errorf("CheckRcpt: %v", err)
			}
			results, err := h.Send(t.Context(), smtp.NewEnvelope("", to), smtp.Text(test.mail))
			if err != nil || len(results) != 1 || results[0].Outcome != smtp.Delivered || len(h.events) != 1 {
				t.Fatalf("got %+v, %v and %d events, want one", results, err, len(h.events))
			}
			e := h.events[0]
			status := ""
			if e.Status.Status != (smtp.EnhancedCode{}) {
				status = e.Status.Status.String()
			}
			if e.Kind != test.kind || e.Recipient != test.recipient || status != test.status || e.Status.Hard != test.hard {
				t.Errorf("got %v about %q, %s, hard %t; want %v about %q, %s, hard %t",
					e.Kind, e.Recipient, status, e.Status.Hard, test.kind, test.recipient, test.status, test.hard)
			}
			if e.Sent.ID != "1k7" || e.Sent.Tenant != "acme" || !e.Sent.To(test.to) || e.Key == "" {
				t.Errorf("got %+v of %+v, want the ID and the tenant", e.Sent, e)
			}
		})
	}
}

// TestHandlerRefuses: what isn't signed makes no event.
func TestHandlerRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler()
		good := h.address(t, bounce.Sent{Recipient: "ann@example.net"})
		expired := h.address(t, bounce.Sent{Recipient: "ann@example.net", Day: time.Now().AddDate(0, 0, -40)})
		forged := "c" + good[1:]
		env := smtp.NewEnvelope("", forged, expired, good)
		results, err := h.Send(t.Context(), env, smtp.Text(dsn("5.1.1", "ann@example.net")))
		if err == nil || len(results) != 3 || results[0].Outcome != smtp.Rejected || results[1].Outcome != smtp.Rejected ||
			results[2].Outcome != smtp.Delivered {
			t.Fatalf("got %+v and %v, want the last one alone delivered", results, err)
		}
		if len(h.events) != 1 || len(h.refused) != 2 || !errors.Is(h.refused[0], bounce.ErrSignature) || !errors.Is(h.refused[1], bounce.ErrExpired) {
			t.Errorf("got %d events and %v, want one event and both errors", len(h.events), h.refused)
		}
		for i, address := range []string{forged, expired, good} {
			err := h.CheckRcpt(t.Context(), address)
			if reply, ok := errors.AsType[*smtp.Reply](err); (i < 2) != ok || ok && !reply.Permanent() {
				t.Errorf("CheckRcpt of %s: got %v", address, err)
			}
		}
	})
}

// TestHandlerRetries: after an error the mail is deferred, and comes again with the same Key.
func TestHandlerRetries(t *testing.T) {
	for _, ctx := range []context.Context{t.Context(), smtp.WithJob(t.Context(), smtp.Job{ID: "7"})} {
		h := newHandler()
		h.err = errors.New("the database is down")
		a, b := h.address(t, bounce.Sent{Recipient: "ann@example.net"}), h.address(t, bounce.Sent{Recipient: "bob@example.net"})
		mail := smtp.Text(dsn("5.1.1", "ann@example.net"))
		results, err := h.Send(ctx, smtp.NewEnvelope("", a), mail)
		if err == nil || results[0].Outcome != smtp.Deferred || strings.Contains(results[0].Reply.Text, "database") {
			t.Errorf("got %+v and %v, want it deferred, without the words of the program", results, err)
		}
		h.err = nil
		h.Send(ctx, smtp.NewEnvelope("", strings.ToUpper(a)), mail)
		h.Send(ctx, smtp.NewEnvelope("", b), mail)
		if len(h.events) != 3 || h.events[0].Key != h.events[1].Key || h.events[1].Key == h.events[2].Key {
			t.Errorf("got %d events, want three with the same key for the first two alone", len(h.events))
		}
		h.err = smtp.NewReply(550, "5.7.1", "unwanted")
		if results, _ := h.Send(ctx, smtp.NewEnvelope("", a), mail); results[0].Outcome != smtp.Rejected {
			t.Errorf("got %+v, want it rejected", results)
		}
	}
}

// TestHandlerPanics: after a panic in Handle the mail comes again, and one in Refused changes nothing.
func TestHandlerPanics(t *testing.T) {
	h := newHandler()
	a := h.address(t, bounce.Sent{Recipient: "ann@example.net"})
	h.Handle = func(context.Context, bounce.Event) error { panic("x") }
	h.Handler.Refused = func(context.Context, string, error) { panic("x") }
	env := smtp.NewEnvelope("", a, "b+forged"+a[2:])
	results, err := h.Send(t.Context(), env, smtp.Text(dsn("5.1.1", "ann@example.net")))
	if err == nil || len(results) != 2 || results[0].Outcome != smtp.Deferred || results[1].Outcome != smtp.Rejected {
		t.Errorf("got %+v and %v, want one deferred and one rejected", results, err)
	}
}

// TestHandlerUnsigned: a complaint to the address of a feedback loop is known by the signed address in it.
func TestHandlerUnsigned(t *testing.T) {
	h := newHandler()
	h.Unsigned = []string{"fbl@bounces.example.com"}
	signed := h.address(t, bounce.Sent{ID: "2", Recipient: "ann@example.net"})
	for _, test := range []struct {
		name, mail string
		want       string // the recipient; "-" without a Sent
	}{
		{"in the report", arf("abuse", "Original-Mail-From: <"+signed+">"), "ann@example.net"},
		{"in the header", arf("abuse", "Return-Path: <"+strings.ToUpper(signed)+">"), "ann@example.net"},
		{"changed", arf("abuse", "Return-Path: <c"+signed[1:]+">"), "-"},
		{"in the header of a bounce", strings.Replace(dsn("5.1.1", "ann@example.net"), "Subject: news", "Return-Path: <"+signed+">", 1), "-"},
		{"nowhere", arf("abuse", "X-None: x"), "-"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h.events = nil
			results, err := h.Send(t.Context(), smtp.NewEnvelope("", "FBL@bounces.example.com"), smtp.Text(test.mail))
			if err != nil || results[0].Outcome != smtp.Delivered || len(h.events) != 1 {
				t.Fatalf("got %+v, %v and %d events", results, err, len(h.events))
			}
			e := h.events[0]
			if got := e.Recipient; e.Sent == nil && test.want != "-" || e.Sent != nil && got != test.want {
				t.Errorf("got %q of %+v, want %q", got, e.Sent, test.want)
			}
		})
	}
}

func TestHandlerCheck(t *testing.T) {
	for _, h := range []*bounce.Handler{
		{}, {VERP: newVERP()}, {VERP: new(bounce.VERP), Handle: newHandler().Handle},
		{VERP: newVERP(), Handle: newHandler().Handle, Unsigned: []string{"x y"}},
	} {
		if h.Check() == nil {
			t.Errorf("%+v: got no error", h)
		}
		results, err := h.Send(t.Context(), smtp.NewEnvelope("", "a@b.example"), smtp.Text("hello"))
		if err == nil || results[0].Outcome != smtp.Deferred {
			t.Errorf("got %+v and %v, want it deferred", results, err)
		}
	}
}

func BenchmarkHandler(b *testing.B) {
	v := newVERP()
	h := &bounce.Handler{VERP: v, Handle: func(context.Context, bounce.Event) error { return nil }}
	to, err := v.Address(bounce.Sent{ID: "1k7", Recipient: "ann@example.net"})
	if err != nil {
		b.Fatal(err)
	}
	env, mail := smtp.NewEnvelope("", to), smtp.Text(dsn("5.1.1", "ann@example.net"))
	ctx := smtp.WithJob(context.Background(), smtp.Job{ID: "7"})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Send(ctx, env, mail); err != nil {
			b.Fatal(err)
		}
	}
}
