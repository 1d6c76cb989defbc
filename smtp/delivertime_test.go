package smtp_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

// TestDeliverTime: BY, MT-PRIORITY, HOLDFOR and HOLDUNTIL, and what of them goes on. It is midnight, 2000-01-01.
func TestDeliverTime(t *testing.T) {
	at := func(d time.Duration) time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(d) }
	tests := []struct {
		params string
		want   smtp.Envelope
		on     string // what goes on half a second later; if empty, params
	}{
		{" BY=120;R", smtp.Envelope{By: smtp.DeliverBy{Time: at(2 * time.Minute), Return: true}}, ""}, // RFC 2852 §6
		{" BY=0;N", smtp.Envelope{By: smtp.DeliverBy{Time: at(0)}}, ""},
		{" BY=-10;NT", smtp.Envelope{By: smtp.DeliverBy{Time: at(-10 * time.Second), Trace: true}}, ""},
		{" BY=+22;nt", smtp.Envelope{By: smtp.DeliverBy{Time: at(22 * time.Second), Trace: true}}, " BY=22;NT"},
		{" BY=999999999;RT", smtp.Envelope{By: smtp.DeliverBy{Time: at(999999999 * time.Second), Return: true, Trace: true}}, ""},
		{" by=-999999999;n", smtp.Envelope{By: smtp.DeliverBy{Time: at(-999999999 * time.Second)}}, " BY=-999999999;N"},
		{" MT-PRIORITY=3", smtp.Envelope{Priority: 3}, ""},
		{" MT-PRIORITY=-9", smtp.Envelope{Priority: -9}, ""},
		{" mt-priority=0", smtp.Envelope{}, " "},
		{" HOLDFOR=86400", smtp.Envelope{HoldUntil: at(24 * time.Hour)}, ""},
		{" HOLDUNTIL=2000-01-02T00:00:00Z", smtp.Envelope{HoldUntil: at(24 * time.Hour)}, " HOLDFOR=86400"},
		{" HOLDUNTIL=2000-01-02t01:00:00.5+01:00", smtp.Envelope{HoldUntil: at(24*time.Hour + time.Second/2)}, " HOLDFOR=86400"},
		{" HOLDUNTIL=1999-12-31T23:59:59Z", smtp.Envelope{HoldUntil: at(-time.Second)}, " "},
		{" BY=5;N MT-PRIORITY=-1 HOLDFOR=7", smtp.Envelope{
			By: smtp.DeliverBy{Time: at(5 * time.Second)}, Priority: -1, HoldUntil: at(7 * time.Second)}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.params, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				env, err := smtp.ParseMail("FROM:<eljefe@bigbiz.com>" + tt.params)
				if err != nil {
					t.Fatal(err)
				}
				if env.By != tt.want.By || env.Priority != tt.want.Priority || env.HoldUntil != tt.want.HoldUntil {
					t.Errorf("got %+v, want %+v", env, tt.want)
				}
				time.Sleep(time.Second / 2)
				if tt.on == "" {
					tt.on = tt.params
				}
				if tt.on == " " {
					tt.on = ""
				}
				const command = "MAIL FROM:<eljefe@bigbiz.com>"
				offer := smtp.Offer{Size: -1, By: true, Priority: true, Hold: true}
				if got, want := string(env.AppendMail(nil, offer)), command+tt.on+"\r\n"; got != want {
					t.Errorf("got %q, want %q", got, want)
				}
				if got, want := string(env.AppendMail(nil, smtp.Offer{Size: -1})), command+"\r\n"; got != want {
					t.Errorf("got %q without the extensions, want %q", got, want)
				}
			})
		})
	}
}

func TestDeliverTimeErrors(t *testing.T) {
	for _, params := range []string{
		"BY", "BY=", "BY=120", "BY=;R", "BY=120;", "BY=120;X", "BY=120;RR", "BY=120;TR", "BY=120;T", "BY=120;R;T", "BY=120R",
		"BY=0;R", "BY=-5;R", "BY=1000000000;N", "BY=+-5;N", "BY=+;N", "BY=5;N BY=6;N", "BY=1e3;N",
		"MT-PRIORITY", "MT-PRIORITY=", "MT-PRIORITY=10", "MT-PRIORITY=-10", "MT-PRIORITY=+3", "MT-PRIORITY=-", "MT-PRIORITY=-0",
		"MT-PRIORITY=03", "MT-PRIORITY=x", "MT-PRIORITY=1 MT-PRIORITY=2",
		"HOLDFOR", "HOLDFOR=", "HOLDFOR=0", "HOLDFOR=-1", "HOLDFOR=+1", "HOLDFOR=1000000000", "HOLDFOR=1h",
		"HOLDUNTIL=", "HOLDUNTIL=2000-01-02", "HOLDUNTIL=2000-01-02T00:00:00", "HOLDUNTIL=946771200", "HOLDUNTIL=0001-01-01T00:00:00Z",
		"HOLDUNTIL=2000-01-02T00:00:00,5Z", "HOLDUNTIL=2000-01-02T00:00:00+24:00", "HOLDUNTIL=2000-01-02T1:00:00Z", "HOLDUNTIL=2000-01-02T00:00:00+01:60",
		"HOLDUNTIL=2000-02-30T00:00:00Z", "HOLDFOR=1 HOLDUNTIL=2000-01-02T00:00:00Z", "HOLDUNTIL=2000-01-02T00:00:00Z HOLDFOR=1",
		"HOLDFOR=1 HOLDFOR=2",
	} {
		_, err := smtp.ParseMail("FROM:<a@b> " + params)
		if reply, _ := errors.AsType[*smtp.Reply](err); reply == nil || reply.Code != 501 {
			t.Errorf("%s: got %v, want 501", params, err)
		}
	}
	for _, n := range []int8{-10, 10, -128} {
		env := smtp.NewEnvelope("a@b", "c@d")
		if env.Priority = n; env.Check() == nil {
			t.Errorf("got no error for priority %d, want one", n)
		}
	}
}
