package smtp_test

import (
	"encoding"
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

// The numbers are in spools, and the names in files and logs: no change of this table is right, except a new line.
func TestNumbers(t *testing.T) {
	tests := []struct {
		got    encoding.TextMarshaler
		number int
		want   int
		text   string
	}{
		{smtp.NoReason, int(smtp.NoReason), 0, "none"},
		{smtp.Other, int(smtp.Other), 1, "other"},
		{smtp.Network, int(smtp.Network), 2, "network"},
		{smtp.RateLimited, int(smtp.RateLimited), 3, "rate-limited"},
		{smtp.Greylisted, int(smtp.Greylisted), 4, "greylisted"},
		{smtp.Blocklisted, int(smtp.Blocklisted), 5, "blocklisted"},
		{smtp.UserUnknown, int(smtp.UserUnknown), 6, "user-unknown"},
		{smtp.MailboxFull, int(smtp.MailboxFull), 7, "mailbox-full"},
		{smtp.MailboxDisabled, int(smtp.MailboxDisabled), 8, "mailbox-disabled"},
		{smtp.HostUnknown, int(smtp.HostUnknown), 9, "host-unknown"},
		{smtp.SpamContent, int(smtp.SpamContent), 10, "spam-content"},
		{smtp.PolicyAuth, int(smtp.PolicyAuth), 11, "policy-auth"},
		{smtp.TooBig, int(smtp.TooBig), 12, "too-big"},
		{smtp.TLS, int(smtp.TLS), 13, "tls"},
		{smtp.Virus, int(smtp.Virus), 14, "virus"},
		{smtp.RelayDenied, int(smtp.RelayDenied), 15, "relay-denied"},
		{smtp.Syntax, int(smtp.Syntax), 16, "syntax"},
		{smtp.Expired, int(smtp.Expired), 17, "expired"},
		{smtp.Temporary, int(smtp.Temporary), 18, "temporary"},
		{smtp.NoSource, int(smtp.NoSource), 19, "no-source"},
		{smtp.Reason(200), 200, 200, "reason-200"},
		{smtp.OriginUnknown, int(smtp.OriginUnknown), 0, "unknown"},
		{smtp.OriginStranger, int(smtp.OriginStranger), 1, "stranger"},
		{smtp.OriginAllowed, int(smtp.OriginAllowed), 2, "allowed"},
		{smtp.OriginAuthenticated, int(smtp.OriginAuthenticated), 3, "authenticated"},
		{smtp.OriginCode, int(smtp.OriginCode), 4, "code"},
		{smtp.Origin(200), 200, 200, "origin-200"},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			if tt.number != tt.want {
				t.Errorf("got %d, want %d", tt.number, tt.want)
			}
			text, err := tt.got.MarshalText()
			if string(text) != tt.text || err != nil {
				t.Fatalf("got %q and %v, want %q", text, err, tt.text)
			}
			var back encoding.TextMarshaler
			switch tt.got.(type) {
			case smtp.Reason:
				var r smtp.Reason
				err = r.UnmarshalText(text)
				back = r
			case smtp.Origin:
				var o smtp.Origin
				err = o.UnmarshalText(text)
				back = o
			}
			if tt.want == 200 {
				if err == nil || !strings.Contains(err.Error(), tt.text) {
					t.Errorf("a number without a name: got %v, want an error that names it", err)
				}
			} else if err != nil || back != tt.got {
				t.Errorf("got %v and %v back, want %v", back, err, tt.got)
			}
		})
	}
}

// TestStrangers: an Origin that isn't known for better is a stranger's.
func TestStrangers(t *testing.T) {
	for o := range 256 {
		origin := smtp.Origin(o)
		known := origin == smtp.OriginAllowed || origin == smtp.OriginAuthenticated || origin == smtp.OriginCode
		if got := origin.IsStranger(); got == known {
			t.Errorf("%v: got %v, want %v", origin, got, !known)
		}
	}
}

// TestStoredNumbers: those of Outcome and Stage are in spools, too.
func TestStoredNumbers(t *testing.T) {
	outcomes := []string{"deferred", "delivered", "rejected", "unknown"}
	for i, want := range outcomes {
		if got := smtp.Outcome(i).String(); got != want {
			t.Errorf("outcome %d: got %q, want %q", i, got, want)
		}
	}
	stages := []string{"route", "connect", "greeting", "hello", "tls", "auth", "mail", "rcpt", "data", "body", "final"}
	for i, want := range stages {
		if got := smtp.Stage(i).String(); got != want {
			t.Errorf("stage %d: got %q, want %q", i, got, want)
		}
	}
	if smtp.Unknown != 3 || smtp.StageMail != 6 || smtp.StageFinal != 10 {
		t.Errorf("got %d, %d and %d, want 3, 6 and 10", smtp.Unknown, smtp.StageMail, smtp.StageFinal)
	}
}

// TestAbout: each Reason except NoReason and Other has a subject, and each subject has a name.
func TestAbout(t *testing.T) {
	for r := smtp.Other + 1; r <= smtp.NoSource; r++ {
		if r.About() == smtp.NotKnown {
			t.Errorf("%v is about nothing", r)
		}
	}
	for a, want := range map[smtp.About]string{
		smtp.NotKnown: "not-known", smtp.AboutAddress: "address", smtp.AboutMessage: "message", smtp.AboutSender: "sender",
		smtp.AboutPath: "path", smtp.AboutHost: "host", 200: "about-200",
	} {
		if got := a.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
