package suppresssql

import (
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/postrider/postrider/bounce/suppress"
	"github.com/postrider/postrider/smtp"
)

func newList(t *testing.T) *List {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "list.db")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if _, err := db.Exec(Schema); err != nil {
		t.Fatal(err)
	}
	return &List{db}
}

// TestPolicy has a Policy learn and ask.
func TestPolicy(t *testing.T) {
	list := newList(t)
	p := &suppress.Policy{List: list, ByTenant: true, Rules: map[smtp.Reason]suppress.Rule{smtp.MailboxFull: {Count: 3}}}
	result := func(outcome smtp.Outcome, reason smtp.Reason, to, id string) {
		t.Helper()
		r := smtp.Result{Recipient: to, Outcome: outcome, Reason: reason, Reply: smtp.NewReply(550, "5.0.0", "no")}
		if err := p.Result(t.Context(), smtp.Job{ID: id, Tenant: "acme"}, r); err != nil {
			t.Fatal(err)
		}
	}
	suppressed := func(tenant, to string) bool {
		t.Helper()
		e, err := p.Find(t.Context(), tenant, to)
		if err != nil {
			t.Fatal(err)
		}
		return e != nil
	}
	result(smtp.Rejected, smtp.UserUnknown, "dead@example.net", "1")
	if !suppressed("acme", "dead@EXAMPLE.net") || suppressed("other", "dead@example.net") {
		t.Error("dead@example.net: want it suppressed for its tenant alone")
	}
	e, _ := p.Find(t.Context(), "acme", "dead@example.net")
	if e.Source != suppress.FromResult || e.Reason != smtp.UserUnknown || e.ID != "1" || time.Since(e.Time) > time.Hour || !e.Until.IsZero() {
		t.Errorf("got %+v", e)
	}
	for _, id := range []string{"1", "1", "2"} {
		result(smtp.Rejected, smtp.MailboxFull, "full@example.net", id)
	}
	result(smtp.Delivered, smtp.NoReason, "full@example.net", "3")
	for _, id := range []string{"4", "5", "5"} {
		result(smtp.Rejected, smtp.MailboxFull, "full@example.net", id)
	}
	if suppressed("acme", "full@example.net") {
		t.Error("full@example.net is suppressed by two messages after a delivery")
	}
	result(smtp.Rejected, smtp.MailboxFull, "full@example.net", "6")
	if !suppressed("acme", "full@example.net") {
		t.Error("full@example.net isn't suppressed by three messages")
	}
	if err := list.Remove(t.Context(), e.Key); err != nil {
		t.Fatal(err)
	}
	if suppressed("acme", "dead@example.net") {
		t.Error("dead@example.net is suppressed after Remove")
	}
}

// TestStrikes: a tally begins anew after Within.
func TestStrikes(t *testing.T) {
	list, now := newList(t), time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	k, err := suppress.KeyOf("", "ann@example.net")
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		id    string
		after time.Duration
		count int
		first time.Duration
	}{
		{"a", 0, 1, 0}, {"a", time.Hour, 1, 0}, {"", time.Hour, 2, 0}, {"", time.Hour, 3, 0}, {"b", 20 * time.Hour, 4, 0},
		{"b", 45 * time.Hour, 1, 45 * time.Hour}, {"c", 46 * time.Hour, 2, 45 * time.Hour},
	} {
		s := suppress.Strike{Source: suppress.FromResult, Reason: smtp.MailboxFull, ID: step.id, Time: now.Add(step.after), Within: 24 * time.Hour}
		if got, err := list.Strike(t.Context(), k, s); err != nil || got.Count != step.count || !got.First.Equal(now.Add(step.first)) {
			t.Errorf("%+v: got %+v and %v", step, got, err)
		}
	}
}
