package bounce

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/postrider/postrider/smtp"
)

var (
	arrival = time.Date(2026, 2, 2, 10, 0, 0, 0, time.UTC)
	later   = arrival.Add(4 * time.Hour)
	expiry  = arrival.Add(5 * 24 * time.Hour)
)

const original = "Received: from app.example.com by mx1.example.com with ESMTP;\r\n" +
	"\tMon, 02 Feb 2026 10:00:00 +0000\r\n" +
	"From: Billing <billing@example.com>\r\n" +
	"To: bob@example.net\r\n" +
	"Subject: Your bill\r\n" +
	"Message-ID: <bill.1@example.com>\r\n" +
	"\r\n" +
	"Please pay.\r\n"

func rejected(code int, enhanced smtp.EnhancedCode, text string) smtp.Result {
	return smtp.Result{
		Outcome: smtp.Rejected,
		Stage:   smtp.StageRcpt,
		Reply:   &smtp.Reply{Code: code, Enhanced: enhanced, Text: text},
		Host:    "mx.example.net",
		Addr:    "192.0.2.25:25",
	}
}

func deferred(code int, enhanced smtp.EnhancedCode, text string) smtp.Result {
	res := rejected(code, enhanced, text)
	res.Outcome = smtp.Deferred
	return res
}

func accepted() smtp.Result {
	res := rejected(250, smtp.EnhancedCode{2, 1, 5}, "ok")
	res.Outcome = smtp.Delivered
	return res
}

func local(res smtp.Result) smtp.Result {
	res.Local = true
	return res
}

func unknownUser(address string) Recipient {
	return Recipient{
		Recipient:   smtp.Recipient{Address: address},
		Action:      Failed,
		Result:      rejected(550, smtp.EnhancedCode{5, 1, 1}, "No such user here"),
		LastAttempt: arrival.Add(time.Second),
	}
}

// report returns a complete Report for a test to change.
func report(recipients ...Recipient) *Report {
	return &Report{
		ReportingMTA: "mx1.example.com",
		Envelope:     &smtp.Envelope{From: "billing@example.com"},
		Arrival:      arrival,
		Date:         later,
		Recipients:   recipients,
		Original:     smtp.Text(original),
	}
}

func readAll(t *testing.T, c smtp.Content) []byte {
	t.Helper()
	b, err := io.ReadAll(smtp.NewReader(c))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEnvelope(t *testing.T) {
	tests := []struct {
		name, from string
		utf8       bool
		wantTo     string
		wantUTF8   bool
	}{
		{"ASCII", "Ann@Example.com", false, "Ann@Example.com", false},
		{"ASCII with SMTPUTF8", "ann@example.com", true, "ann@example.com", false},
		{"domain in UTF-8", "ann@exämple.com", false, "ann@xn--exmple-cua.com", false},
		{"domain in UTF-8 with SMTPUTF8", "ann@exämple.com", true, "ann@xn--exmple-cua.com", false},
		{"local part in UTF-8", "änn@example.com", true, "änn@example.com", true},
		{"local part in UTF-8 without the flag", "änn@example.com", false, "änn@example.com", true},
		{"quoted", `"a b>,c"@example.com`, false, `"a b>,c"@example.com`, false},
		{"postmaster", "postmaster", false, "postmaster", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := report(unknownUser("bob@example.net"))
			r.Envelope = &smtp.Envelope{From: test.from, UTF8: test.utf8}
			env, content, err := r.Compose()
			if err != nil {
				t.Fatal(err)
			}
			p := parse(t, env, content)
			if got := env.Recipients[0].Address; got != test.wantTo || env.UTF8 != test.wantUTF8 {
				t.Errorf("got recipient %q, SMTPUTF8 %v, want %q, %v", got, env.UTF8, test.wantTo, test.wantUTF8)
			}
			if got, want := p.header.Get("To"), "<"+test.wantTo+">"; got != want {
				t.Errorf("got To %s, want %s", got, want)
			}
		})
	}
}

func TestWanted(t *testing.T) {
	const all = smtp.NotifySuccess | smtp.NotifyFailure | smtp.NotifyDelay
	tests := []struct {
		name   string
		notify smtp.Notify
		want   []Action
	}{
		{"no NOTIFY", 0, []Action{Failed, Delayed}},
		{"NEVER", smtp.NotifyNever, nil},
		{"SUCCESS", smtp.NotifySuccess, []Action{Delivered, Relayed, Expanded}},
		{"FAILURE", smtp.NotifyFailure, []Action{Failed}},
		{"DELAY", smtp.NotifyDelay, []Action{Delayed}},
		{"all", all, []Action{Failed, Delayed, Delivered, Relayed, Expanded}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := report()
			for action := Failed; action <= Expanded; action++ {
				rcpt := Recipient{Recipient: smtp.Recipient{Notify: test.notify}, Action: action}
				rcpt.Address = "bob@example.net"
				r.Recipients = append(r.Recipients, rcpt)
			}
			env, content, err := r.Compose()
			if len(test.want) == 0 {
				if !errors.Is(err, ErrUnwanted) || env != nil || content != nil {
					t.Errorf("got %v, %v, %v, want ErrUnwanted", env, content, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, group := range parse(t, env, content).groups {
				got = append(got, group.Get("Action"))
			}
			var want []string
			for _, action := range test.want {
				want = append(want, action.String())
			}
			if strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestNoReport(t *testing.T) {
	unwanted := ErrUnwanted.Error()
	tests := []struct {
		name string
		set  func(*Report)
		want string
	}{
		{"null reverse-path", func(r *Report) { r.Envelope.From = "" }, unwanted},
		{"null reverse-path and all else wrong", func(r *Report) { *r = Report{Envelope: &smtp.Envelope{}} }, unwanted},
		{"null reverse-path, no action", func(r *Report) { r.Envelope.From, r.Recipients[0].Action = "", 0 }, unwanted},
		{"no action", func(r *Report) { r.Recipients[0].Action = 0 },
			`Report.Recipients[0] "bob@example.net": Action is 0: set it to Failed,`},
		{"no action where no report is wanted", func(r *Report) {
			r.Recipients = append(r.Recipients, Recipient{Recipient: smtp.Recipient{Notify: smtp.NotifyNever}})
		}, "Report.Recipients[1]"},
		{"an action that is none", func(r *Report) { r.Recipients[0].Action = Expanded + 1 }, "Action is 6"},
		{"no recipients", func(r *Report) { r.Recipients = nil }, unwanted},
		{"no host name", func(r *Report) { r.ReportingMTA = "" }, `bounce: Report.ReportingMTA "": smtp: domain "": `},
		{"no host name, remedy", func(r *Report) { r.ReportingMTA = "" }, ": set it to this host's name in the DNS"},
		{"host name with a line end", func(r *Report) { r.ReportingMTA = "a\r\nBcc: b" }, "Report.ReportingMTA"},
		{"sender with a line end", func(r *Report) { r.Envelope.From = "a@example.com>\r\nBcc: <b@example.com" },
			"Report.Envelope.From: "},
		{"no envelope", func(r *Report) { r.Envelope = nil }, "Report.Envelope is nil: "},
		{"no original", func(r *Report) { r.Original = nil }, "Report.Original is nil: "},
		{"original that fails", func(r *Report) { r.Original = failing{} }, iotest.ErrTimeout.Error()},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := report(unknownUser("bob@example.net"))
			test.set(r)
			env, content, err := r.Compose()
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
			if env != nil || content != nil {
				t.Errorf("got %v, %v beside an error", env, content)
			}
		})
	}
}

func TestDateNow(t *testing.T) {
	r := report(unknownUser("bob@example.net"))
	r.Date = time.Time{}
	got, err := compose(t, r).header.Date()
	if since := time.Since(got); err != nil || since < 0 || since > time.Minute {
		t.Errorf("got Date %v, %v, want now", got, err)
	}
}

func TestBoundary(t *testing.T) {
	var digest [32]byte
	first := boundary(digest, nil)
	parts := []part{{body: []byte("--" + first + "--\r\n")}}
	if got := boundary(digest, parts); got == first || len(got) != len(first) {
		t.Errorf("got %q, want one that isn't in the part", got)
	}
}

// TestSocketPath: a report doesn't disclose the path of a local socket.
func TestSocketPath(t *testing.T) {
	r := Report{
		ReportingMTA: "relay.test",
		Envelope:     smtp.NewEnvelope("ann@source.test", "bob@next.test"),
		Original:     smtp.Text("Subject: x\n\nx\n"),
		Recipients: []Recipient{{
			Recipient: smtp.Recipient{Address: "bob@next.test"},
			Action:    Failed,
			Result: smtp.Result{Outcome: smtp.Rejected, Host: "localhost", Addr: "/run/secret/lmtp",
				Reply: smtp.NewReply(550, "5.1.1", "no such user")},
		}},
	}
	_, content, err := r.Compose()
	if err != nil {
		t.Fatal(err)
	}
	report, err := io.ReadAll(smtp.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	for _, leak := range []string{"/run/secret", "localhost"} {
		if strings.Contains(string(report), leak) {
			t.Errorf("got %q in the report:\n%s", leak, report)
		}
	}
}
