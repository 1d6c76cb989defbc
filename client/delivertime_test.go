package client_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// TestDeliverTime: a time for the delivery, a priority and a hold go to a host that offers the extension. Without it,
// the message goes without them or not at all, by the rule of each RFC. Of two hosts, the one that can is used.
func TestDeliverTime(t *testing.T) {
	start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // in each bubble
	in := func(d time.Duration) smtp.DeliverBy { return smtp.DeliverBy{Time: start.Add(d)} }
	back := func(d time.Duration) smtp.DeliverBy { return smtp.DeliverBy{Time: start.Add(d), Return: true} }
	tests := []struct {
		name   string
		offers string // the lines of the first host
		lmtp   bool
		env    smtp.Envelope
		status string        // of the result
		want   smtp.Envelope // what the host got
	}{
		{name: "R", offers: "DELIVERBY", env: smtp.Envelope{By: back(time.Minute)}, status: "250 2.0.0",
			want: smtp.Envelope{By: back(time.Minute)}},
		{name: "R, enough time", offers: "DELIVERBY 60", env: smtp.Envelope{By: back(time.Minute)}, status: "250 2.0.0",
			want: smtp.Envelope{By: back(time.Minute)}},
		{name: "R, not enough time", offers: "DELIVERBY 61", env: smtp.Envelope{By: back(time.Minute)}, status: "554 5.4.7"},
		{name: "R, too late", offers: "DELIVERBY", env: smtp.Envelope{By: back(0)}, status: "554 5.4.7"},
		{name: "R, not offered", env: smtp.Envelope{By: back(time.Minute)}, status: "554 5.3.3"},
		{name: "R, not offered, LMTP", lmtp: true, env: smtp.Envelope{By: back(time.Minute)}, status: "250 2.0.0"},
		{name: "R, too late, LMTP", lmtp: true, env: smtp.Envelope{By: back(-time.Second)}, status: "554 5.4.7"},
		{name: "N", offers: "DELIVERBY 61", env: smtp.Envelope{By: in(time.Minute)}, status: "250 2.0.0",
			want: smtp.Envelope{By: in(time.Minute)}},
		{name: "N, late", offers: "DELIVERBY", env: smtp.Envelope{By: in(-time.Minute)}, status: "250 2.0.0",
			want: smtp.Envelope{By: in(-time.Minute)}},
		{name: "N, not offered", env: smtp.Envelope{By: in(time.Minute)}, status: "250 2.0.0"},
		{name: "priority", offers: "MT-PRIORITY MIXER", env: smtp.Envelope{Priority: -4}, status: "250 2.0.0",
			want: smtp.Envelope{Priority: -4}},
		{name: "priority, not offered", env: smtp.Envelope{Priority: -4}, status: "250 2.0.0"},
		{name: "hold", offers: "FUTURERELEASE 3600 2000-01-01T01:00:00Z", env: smtp.Envelope{HoldUntil: start.Add(time.Hour)},
			status: "250 2.0.0", want: smtp.Envelope{HoldUntil: start.Add(time.Hour)}},
		{name: "hold, too long", offers: "FUTURERELEASE 3599 2000-01-01T00:59:59Z",
			env: smtp.Envelope{HoldUntil: start.Add(time.Hour)}, status: "554 5.3.3"},
		{name: "hold, not offered", env: smtp.Envelope{HoldUntil: start.Add(time.Hour)}, status: "554 5.3.3"},
		{name: "hold, over", env: smtp.Envelope{HoldUntil: start}, status: "250 2.0.0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				host := inet.MX("next.test", "mx.next.test")
				if tt.offers != "" {
					host.Offer(tt.offers)
				}
				r, err := mx.Smarthost("mx.next.test:25")
				if tt.lmtp {
					host.LMTP()
					r, err = mx.LMTP("mx.next.test:24")
				}
				if err != nil {
					t.Fatal(err)
				}
				tr := &client.Transport{
					Hostname: "client.test", DialContext: inet.DialContext,
					Router: &mx.Router{Resolver: inet, Routes: map[string]mx.Route{"next.test": r}},
				}
				defer tr.Close()
				env := tt.env
				env.From, env.Recipients = "ann@client.test", smtp.NewEnvelope("", "bob@next.test").Recipients
				results, _ := tr.Send(t.Context(), &env, smtp.Text("Subject: hi\n"))
				if got := results[0].Reply.Error(); !strings.HasPrefix(got, tt.status+" ") {
					t.Errorf("got %s, want %s", got, tt.status)
				}
				mails := host.Messages()
				if (len(mails) == 1) != (tt.status[0] == '2') {
					t.Fatalf("got %d mails, with %s", len(mails), tt.status)
				}
				if len(mails) == 0 {
					return
				}
				got := mails[0].Envelope
				if got.By != tt.want.By || got.Priority != tt.want.Priority || got.HoldUntil != tt.want.HoldUntil {
					t.Errorf("got %+v, want %+v", got, tt.want)
				}
			})
		})
	}
}

// TestDeliverByOtherHost: a host without DELIVERBY is skipped if there is another one.
func TestDeliverByOtherHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		first, second := inet.MX("next.test", "mx1.next.test"), inet.MX("next.test", "mx2.next.test")
		second.Offer("DELIVERBY")
		tr := &client.Transport{
			Hostname: "client.test", DialContext: inet.DialContext, Router: &mx.Router{Resolver: inet},
		}
		defer tr.Close()
		env := smtp.NewEnvelope("ann@client.test", "bob@next.test")
		env.By = smtp.DeliverBy{Time: time.Now().Add(time.Minute), Return: true}
		if _, err := tr.Send(t.Context(), env, smtp.Text("Subject: hi\n")); err != nil {
			t.Error(err)
		}
		if len(first.Messages()) != 0 || len(second.Messages()) != 1 {
			t.Errorf("got %d and %d mails, want 0 and 1", len(first.Messages()), len(second.Messages()))
		}
	})
}
