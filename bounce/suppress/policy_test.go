package suppress_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/bounce"
	"github.com/postrider/postrider/bounce/suppress"
	"github.com/postrider/postrider/smtp"
)

const day = 24 * time.Hour

// addresses returns the addresses of all entries, sorted, with the tenant in front if there is one.
func addresses(entries []suppress.Entry) string {
	var all []string
	for _, e := range entries {
		name := e.Address
		if e.Tenant != "" {
			name = e.Tenant + ":" + name
		}
		all = append(all, name)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func result(outcome smtp.Outcome, reason smtp.Reason) smtp.Result {
	return smtp.Result{Recipient: "ann@example.net", Outcome: outcome, Reason: reason, Stage: smtp.StageRcpt,
		Reply: smtp.NewReply(550, "5.0.0", "the host says so")}
}

// TestRules has a message fail each time after some days.
func TestRules(t *testing.T) {
	full, disabled := result(smtp.Rejected, smtp.MailboxFull), result(smtp.Rejected, smtp.MailboxDisabled)
	deferredFull, delivered := result(smtp.Deferred, smtp.MailboxFull), result(smtp.Delivered, smtp.NoReason)
	for _, test := range []struct {
		name    string
		after   time.Duration // between two of them
		results []smtp.Result
		ids     string // of the messages, one letter each; "" for a new one each time
		want    int    // suppressed by the result with this number, from 1; 0: by none
	}{
		{"user unknown", day, []smtp.Result{result(smtp.Rejected, smtp.UserUnknown)}, "", 1},
		{"host unknown", day, []smtp.Result{result(smtp.Rejected, smtp.HostUnknown)}, "", 1},
		{"user unknown, deferred", day, slices.Repeat([]smtp.Result{result(smtp.Deferred, smtp.UserUnknown)}, 50), "", 0},
		{"user unknown, no answer", day, slices.Repeat([]smtp.Result{result(smtp.Unknown, smtp.UserUnknown)}, 50), "", 0},
		{"disabled", day, []smtp.Result{disabled, disabled, disabled, disabled}, "", 4},
		{"disabled, after a week", 7 * day, []smtp.Result{disabled, disabled}, "", 2},
		{"disabled, a delivery between", 7 * day, []smtp.Result{disabled, delivered, disabled, disabled}, "", 4},
		{"disabled, the same message", 7 * day, []smtp.Result{disabled, disabled, disabled}, "aaa", 0},
		{"disabled, deferred", 7 * day, slices.Repeat([]smtp.Result{result(smtp.Deferred, smtp.MailboxDisabled)}, 10), "", 0},
		{"disabled, long ago", 91 * day, slices.Repeat([]smtp.Result{disabled}, 5), "", 0},
		{"full, in a day", 6 * time.Hour, slices.Repeat([]smtp.Result{full}, 5), "", 0},
		{"full, each week", 7 * day, slices.Repeat([]smtp.Result{full}, 6), "", 5},
		{"full, deferred", 7 * day, slices.Repeat([]smtp.Result{deferredFull}, 6), "", 5},
		{"full, one message's attempts", 7 * day, slices.Repeat([]smtp.Result{deferredFull}, 8), "aaaaaaaa", 0},
		{"full, a delivery between", 10 * day, []smtp.Result{full, full, full, delivered, full, full, full, full}, "", 8},
		{"full, few messages", 40 * day, []smtp.Result{full, full, full}, "", 0},
		{"spam", day, slices.Repeat([]smtp.Result{result(smtp.Rejected, smtp.SpamContent)}, 100), "", 0},
		{"policy", day, slices.Repeat([]smtp.Result{result(smtp.Rejected, smtp.PolicyAuth)}, 100), "", 0},
		{"other", day, slices.Repeat([]smtp.Result{result(smtp.Rejected, smtp.Other)}, 100), "", 0},
		{"expired", day, slices.Repeat([]smtp.Result{result(smtp.Rejected, smtp.Expired)}, 100), "", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				list, added := new(suppress.Memory), 0
				p := &suppress.Policy{List: list, Added: func(suppress.Entry) { added++ }}
				got := 0
				for i, r := range test.results {
					job := smtp.Job{ID: string(rune('a' + i))}
					if test.ids != "" {
						job.ID = test.ids[i : i+1]
					}
					if err := p.Result(t.Context(), job, r); err != nil {
						t.Fatal(err)
					}
					if e, _ := p.Find(t.Context(), "", "ann@EXAMPLE.net"); e != nil && got == 0 {
						got = i + 1
						if e.Reason != r.Reason || e.Source != suppress.FromResult || !e.Time.Equal(time.Now()) || e.ID != job.ID ||
							!strings.Contains(e.Text, "the host says so") {
							t.Errorf("got the entry %+v of %+v", e, r)
						}
					}
					time.Sleep(test.after)
				}
				if got != test.want || added != min(1, got) {
					t.Errorf("got suppressed by the result %d, %d times told, want by %d", got, added, test.want)
				}
			})
		})
	}
}

// TestOwnRules replaces a rule, and has an entry end.
func TestOwnRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &suppress.Policy{List: new(suppress.Memory), Rules: map[smtp.Reason]suppress.Rule{
			smtp.UserUnknown: {}, smtp.SpamContent: {Count: 2, For: 10 * day},
		}}
		spam := result(smtp.Rejected, smtp.SpamContent)
		for _, r := range []smtp.Result{result(smtp.Rejected, smtp.UserUnknown), spam, spam} {
			if e, _ := p.Find(t.Context(), "", r.Recipient); e != nil {
				t.Errorf("got suppressed before %+v", r)
			}
			if err := p.Result(t.Context(), smtp.Job{}, r); err != nil {
				t.Fatal(err)
			}
		}
		for _, want := range []bool{true, true, false} {
			if e, _ := p.Find(t.Context(), "", "ann@example.net"); (e != nil) != want {
				t.Errorf("got %+v, want suppressed %t", e, want)
			}
			time.Sleep(5 * day)
		}
		for range 2 { // and again after its end
			if err := p.Result(t.Context(), smtp.Job{}, spam); err != nil {
				t.Fatal(err)
			}
		}
		if e, _ := p.Find(t.Context(), "", "ann@example.net"); e == nil {
			t.Error("got no new entry after the end of the first")
		}
	})
}

// event is one about ann@example.net.
func event(kind bounce.Kind, status bounce.RecipientStatus, feedback string) bounce.Event {
	n := &bounce.Notification{Kind: kind}
	if feedback != "" {
		n.Feedback = &bounce.Feedback{Type: feedback}
	}
	return bounce.Event{Kind: kind, Sent: &bounce.Sent{ID: "7", Tenant: "acme", Recipient: "ann@example.net"},
		Recipient: "ann@example.net", Status: status, Notification: n}
}

// TestHandle: what a mail to a signed address does.
func TestHandle(t *testing.T) {
	status := func(action bounce.Action, reason smtp.Reason, hard bool) bounce.RecipientStatus {
		return bounce.RecipientStatus{Address: "a@other.example", Action: action, Reason: reason, Hard: hard}
	}
	dead, none := status(bounce.Failed, smtp.UserUnknown, true), bounce.RecipientStatus{}
	unsigned := event(bounce.Bounce, dead, "")
	unsigned.Sent = nil
	nobody := event(bounce.Bounce, dead, "")
	nobody.Recipient = ""
	for _, test := range []struct {
		name   string
		event  bounce.Event
		times  int
		source suppress.Source
		want   bool
	}{
		{"a dead address", event(bounce.Bounce, dead, ""), 1, suppress.FromBounce, true},
		{"tried for too long", event(bounce.Bounce, status(bounce.Failed, smtp.UserUnknown, false), ""), 9, 0, false},
		{"delayed", event(bounce.Bounce, status(bounce.Delayed, smtp.MailboxFull, false), ""), 9, 0, false},
		{"delivered", event(bounce.Bounce, status(bounce.Delivered, smtp.NoReason, false), ""), 9, 0, false},
		{"disabled", event(bounce.Bounce, status(bounce.Failed, smtp.MailboxDisabled, false), ""), 1, 0, false},
		{"disabled, of the same message", event(bounce.Bounce, status(bounce.Failed, smtp.MailboxDisabled, false), ""), 9, 0, false},
		{"spam", event(bounce.Bounce, status(bounce.Failed, smtp.SpamContent, false), ""), 9, 0, false},
		{"a complaint", event(bounce.Complaint, none, "abuse"), 1, suppress.FromComplaint, true},
		{"a complaint without fields", event(bounce.Complaint, none, ""), 1, suppress.FromComplaint, true},
		{"opt-out", event(bounce.Complaint, none, "opt-out"), 1, suppress.FromComplaint, true},
		{"not spam", event(bounce.Complaint, none, "not-spam"), 9, 0, false},
		{"a failure of DKIM", event(bounce.Complaint, none, "auth-failure"), 9, 0, false},
		{"a vacation", event(bounce.AutoReply, dead, ""), 9, 0, false},
		{"a challenge", event(bounce.Challenge, dead, ""), 9, 0, false},
		{"a person", event(bounce.NotABounce, none, ""), 9, 0, false},
		{"not signed", unsigned, 9, 0, false},
		{"about nobody", nobody, 9, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			list, added := new(suppress.Memory), 0
			p := &suppress.Policy{List: list, Added: func(suppress.Entry) { added++ }}
			for range test.times {
				if err := p.Handle(t.Context(), test.event); err != nil {
					t.Fatal(err)
				}
			}
			entries := list.Entries()
			if got := len(entries) == 1; got != test.want || added != len(entries) {
				t.Fatalf("got %+v, told %d times, want suppressed %t", entries, added, test.want)
			}
			if test.want && (entries[0].Address != "ann@example.net" || entries[0].Source != test.source || entries[0].ID != "7") {
				t.Errorf("got %+v, want ann@example.net by %v", entries[0], test.source)
			}
		})
	}
}

// TestPrecedence: a complaint replaces an entry, and nothing replaces one of an operator.
func TestPrecedence(t *testing.T) {
	list := new(suppress.Memory)
	p := &suppress.Policy{List: list}
	dead, complaint := result(smtp.Rejected, smtp.UserUnknown), event(bounce.Complaint, bounce.RecipientStatus{}, "abuse")
	source := func() suppress.Source { return list.Entries()[0].Source }
	p.Result(t.Context(), smtp.Job{}, dead)
	p.Handle(t.Context(), complaint)
	if got := source(); got != suppress.FromComplaint {
		t.Errorf("got %v after the complaint", got)
	}
	p.Result(t.Context(), smtp.Job{}, dead)
	if got := source(); got != suppress.FromComplaint {
		t.Errorf("got %v after a later result", got)
	}
	k, err := suppress.KeyOf("", "ann@example.net")
	if err != nil {
		t.Fatal(err)
	}
	list.Add(t.Context(), suppress.Entry{Key: k, Time: time.Now()})
	p.Handle(t.Context(), complaint)
	if got := source(); got != suppress.Manual {
		t.Errorf("got %v, want that of the operator", got)
	}
}

// TestByTenant: an entry is for one tenant, or for all.
func TestByTenant(t *testing.T) {
	list := new(suppress.Memory)
	p := &suppress.Policy{List: list, ByTenant: true}
	p.Handle(t.Context(), event(bounce.Complaint, bounce.RecipientStatus{}, "abuse"))
	other := result(smtp.Rejected, smtp.UserUnknown)
	other.Recipient = "bob@example.net"
	p.Result(t.Context(), smtp.Job{}, other)
	if got := addresses(list.Entries()); got != "acme:ann@example.net bob@example.net" {
		t.Errorf("got %s", got)
	}
	for _, test := range []struct {
		tenant, address string
		want            bool
	}{
		{"acme", "ann@example.net", true}, {"other", "ann@example.net", false}, {"", "ann@example.net", false},
		{"acme", "bob@example.net", true}, {"", "bob@example.net", true},
		{"acme", "ANN@example.net", false}, // the local part is exact
	} {
		if e, err := p.Find(t.Context(), test.tenant, test.address); err != nil || (e != nil) != test.want {
			t.Errorf("%q, %s: got %+v and %v, want suppressed %t", test.tenant, test.address, e, err, test.want)
		}
	}
}

// hosts is a Sender that answers by the local part of each recipient.
type hosts struct{ to []string }

func (h *hosts) Send(_ context.Context, env *smtp.Envelope, _ smtp.Content) ([]smtp.Result, error) {
	var results []smtp.Result
	for i, to := range env.Recipients {
		h.to = append(h.to, to.Address)
		r := smtp.Result{Outcome: smtp.Delivered, Stage: smtp.StageFinal, Reply: smtp.NewReply(250, "2.0.0", "ok")}
		if strings.HasPrefix(to.Address, "dead") {
			r = smtp.Result{Outcome: smtp.Rejected, Stage: smtp.StageRcpt, Reply: smtp.NewReply(550, "5.1.1", "no such user")}
		}
		results = append(results, r)
		env.Recipients[i].Address = "rewritten@example.org" // against the rules of a Sender
	}
	return results, nil
}

// failing is a List that fails.
type failing struct{ *suppress.Memory }

var errDown = errors.New("the database is down")

func (failing) Has(context.Context, suppress.Key) (suppress.Entry, bool, error) {
	return suppress.Entry{}, false, errDown
}

// TestSender: a dead recipient is tried once, and the others go on.
func TestSender(t *testing.T) {
	next, list := new(hosts), new(suppress.Memory)
	var refused []string
	p := &suppress.Policy{List: list, Refused: func(to string, e suppress.Entry) { refused = append(refused, to+" "+e.Reason.String()) }}
	env := smtp.NewEnvelope("news@example.com", "ann@example.net", "dead@example.net", "bob@example.net", "DEAD@example.net")
	ctx := smtp.WithJob(t.Context(), smtp.Job{ID: "7", Origin: smtp.OriginCode})
	for i, want := range []int{4, 3} {
		next.to = nil
		results, err := p.Wrap(next).Send(ctx, env, smtp.Text("hello"))
		if err != nil || len(results) != 4 || len(next.to) != want {
			t.Fatalf("got %+v, %v and attempts for %q, want %d", results, err, next.to, want)
		}
		for n, r := range results {
			if r.Recipient != env.Recipients[n].Address || (r.Outcome == smtp.Delivered) != (n != 1) {
				t.Errorf("send %d: got %+v for %s", i, r, env.Recipients[n].Address)
			}
		}
		dead := results[1]
		if dead.Reason != smtp.UserUnknown || dead.Local != (i == 1) || i == 1 && dead.Reply.Enhanced != (smtp.EnhancedCode{5, 7, 1}) {
			t.Errorf("send %d: got %+v", i, dead)
		}
	}
	if got := addresses(list.Entries()); got != "dead@example.net" || len(refused) != 1 || refused[0] != "dead@example.net user-unknown" {
		t.Errorf("got %s, and told %q", got, refused)
	}
	if env.Recipients[0].Address != "ann@example.net" {
		t.Errorf("the envelope was changed: got %+v", env)
	}

	t.Run("all of them", func(t *testing.T) {
		next.to = nil
		results, err := p.Wrap(next).Send(ctx, smtp.NewEnvelope("news@example.com", "dead@example.net"), smtp.Text("hello"))
		if err != nil || len(results) != 1 || len(next.to) > 0 || results[0].Outcome != smtp.Rejected {
			t.Errorf("got %+v, %v and attempts for %q", results, err, next.to)
		}
	})
	for _, test := range []struct {
		name, from string
		origin     smtp.Origin
	}{{"a report", "", smtp.OriginCode}, {"a stranger", "x@example.org", smtp.OriginStranger}} {
		t.Run(test.name, func(t *testing.T) {
			next.to = nil
			ctx := smtp.WithJob(t.Context(), smtp.Job{Origin: test.origin})
			if _, err := p.Wrap(next).Send(ctx, smtp.NewEnvelope(test.from, "dead@example.net", "dead2@example.net"), smtp.Text("hello")); err != nil {
				t.Fatal(err)
			}
			if len(next.to) != 2 || len(list.Entries()) != 1 {
				t.Errorf("got attempts for %q and %d entries, want both tried, and nothing learnt", next.to, len(list.Entries()))
			}
		})
	}
	t.Run("the list fails", func(t *testing.T) {
		next.to = nil
		var log bytes.Buffer
		p := &suppress.Policy{List: failing{list}, Logger: slog.New(slog.NewTextHandler(&log, nil))}
		results, err := p.Wrap(next).Send(ctx, smtp.NewEnvelope("news@example.com", "ann@example.net"), smtp.Text("hello"))
		if len(next.to) > 0 || results[0].Outcome != smtp.Deferred || !errors.Is(err, errDown) || !strings.Contains(log.String(), "down") {
			t.Errorf("got %+v, %v and the log %q, want it deferred", results, err, &log)
		}
	})
	t.Run("a func panics", func(t *testing.T) {
		next.to = nil
		p := &suppress.Policy{List: new(suppress.Memory), Added: func(suppress.Entry) { panic("x") },
			Refused: func(string, suppress.Entry) { panic("x") }}
		for range 2 {
			results, err := p.Wrap(next).Send(ctx, smtp.NewEnvelope("news@example.com", "dead@example.net"), smtp.Text("hello"))
			if err != nil || len(results) != 1 || results[0].Outcome != smtp.Rejected {
				t.Errorf("got %+v and %v", results, err)
			}
		}
		if len(next.to) != 1 {
			t.Errorf("got %d attempts, want 1", len(next.to))
		}
	})
}

// listPanics is a List that panics after an attempt.
type listPanics struct{ *suppress.Memory }

func (listPanics) Forgive(context.Context, suppress.Key) error { panic("x") }

// TestListPanics: what was sent stays Delivered, or it would be sent again.
func TestListPanics(t *testing.T) {
	var log bytes.Buffer
	p := &suppress.Policy{List: listPanics{new(suppress.Memory)}, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	results, err := p.Wrap(new(hosts)).Send(t.Context(), smtp.NewEnvelope("news@example.com", "ann@example.net"), smtp.Text("hello"))
	if err != nil || len(results) != 1 || results[0].Outcome != smtp.Delivered || !strings.Contains(log.String(), "panic") {
		t.Errorf("got %+v, %v and the log %q", results, err, &log)
	}
}

// TestNoList: a Policy that nobody checked returns errors.
func TestNoList(t *testing.T) {
	p := new(suppress.Policy)
	for _, r := range []smtp.Result{result(smtp.Delivered, smtp.NoReason), result(smtp.Rejected, smtp.UserUnknown)} {
		if p.Result(t.Context(), smtp.Job{}, r) == nil {
			t.Errorf("%v: got no error", r.Outcome)
		}
	}
	dead := bounce.RecipientStatus{Action: bounce.Failed, Reason: smtp.UserUnknown, Hard: true}
	if p.Handle(t.Context(), event(bounce.Bounce, dead, "")) == nil {
		t.Error("Handle: got no error")
	}
	if _, err := p.Find(t.Context(), "", "ann@example.net"); err == nil {
		t.Error("Find: got no error")
	}
}

// TestDoubt: a refusal of a message isn't one of an address, whatever its words.
func TestDoubt(t *testing.T) {
	for _, test := range []struct {
		name  string
		stage smtp.Stage
		reply *smtp.Reply
		to    string
		want  string // suppressed
	}{
		{"at RCPT", smtp.StageRcpt, smtp.NewReply(550, "", "unknown user"), "ann bob", "ann@example.net bob@example.net"},
		{"at RCPT, for now", smtp.StageRcpt, smtp.NewReply(450, "5.1.1", "unknown user"), "ann", ""},
		{"words at DATA", smtp.StageData, smtp.NewReply(550, "", "unknown user"), "ann", ""},
		{"words after the message", smtp.StageFinal, smtp.NewReply(550, "5.7.1", "unknown user"), "ann", ""},
		{"a code after the message", smtp.StageFinal, smtp.NewReply(550, "5.1.1", "unknown user"), "ann", "ann@example.net"},
		{"a code for two", smtp.StageFinal, smtp.NewReply(550, "5.1.1", "one of them is unknown"), "ann bob", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			list := new(suppress.Memory)
			env := smtp.NewEnvelope("news@example.com")
			for _, to := range strings.Fields(test.to) {
				env.Recipients = append(env.Recipients, smtp.Recipient{Address: to + "@example.net"})
			}
			next := smtp.SenderFunc(func(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) {
				var results []smtp.Result
				for _, to := range env.Recipients {
					results = append(results, smtp.Result{Recipient: to.Address, Outcome: smtp.Rejected, Stage: test.stage,
						Reply: test.reply, Reason: smtp.UserUnknown})
				}
				return results, nil
			})
			if _, err := (&suppress.Policy{List: list}).Wrap(next).Send(t.Context(), env, smtp.Text("hello")); err != nil {
				t.Fatal(err)
			}
			if got := addresses(list.Entries()); got != test.want {
				t.Errorf("got suppressed %q, want %q", got, test.want)
			}
		})
	}
}

func TestPolicyCheck(t *testing.T) {
	for _, p := range []*suppress.Policy{
		{},
		{List: new(suppress.Memory), Rules: map[smtp.Reason]suppress.Rule{smtp.Other: {Count: -1}}},
		{List: new(suppress.Memory), Rules: map[smtp.Reason]suppress.Rule{smtp.Other: {Count: 1, Deferred: true}}},
		{List: new(suppress.Memory), Rules: map[smtp.Reason]suppress.Rule{smtp.Other: {Count: 1, Over: 1}}},
		{List: new(suppress.Memory), Rules: map[smtp.Reason]suppress.Rule{200: {Count: 1}}},
	} {
		if p.Check() == nil {
			t.Errorf("%+v: got no error", p)
		}
	}
	if err := (&suppress.Policy{List: new(suppress.Memory)}).Check(); err != nil {
		t.Error(err)
	}
}
