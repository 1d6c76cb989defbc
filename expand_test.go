package postrider

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/bounce/suppress"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// aliases is a value for Relay.Expand.
type aliases map[string][]string

func (a aliases) expand(_ context.Context, rcpt smtp.Recipient) ([]string, error) {
	if rcpt.Address == "broken@here.test" {
		return nil, errors.New("the directory is away")
	}
	return a[rcpt.Address], nil
}

func TestExpand(t *testing.T) {
	r := &Relay{
		Hostname: "relay.test", Queue: mem.New(), Domains: []string{"here.test"}, Postmaster: "pm@here.test",
		Expand: aliases{
			"one@here.test":    {"ann@far.test"},
			"both@here.test":   {"ann@far.test", "bob@here.test"},
			"nested@here.test": {"both@here.test", "eve@far.test"},
			"self@here.test":   {"self@here.test", "ann@far.test"},
			"loop@here.test":   {"pool@here.test"},
			"pool@here.test":   {"loop@here.test"},
			"twist@here.test":  {"pool2@here.test", "ann@far.test"},
			"pool2@here.test":  {"twist@here.test"},
			"bad@here.test":    {"not an address"},
			"pm@here.test":     {"root@far.test"},
			"twice@here.test":  {"twice@here.test", "twice@here.test", "ann@far.test", "ann@FAR.test"},
			"abuse@here.test":  {"postmaster"},
			"ann@far.test":     {"never@asked.test"}, // not a domain of ours
		}.expand,
	}
	if err := r.init(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		to   []string
		want string // addresses, or what the error has
	}{
		{"no alias", []string{"bob@here.test", "ann@far.test"}, "bob@here.test ann@far.test"},
		{"of one address", []string{"one@here.test"}, "ann@far.test"},
		{"of two", []string{"both@here.test"}, "ann@far.test bob@here.test"},
		{"an alias in an alias", []string{"nested@here.test"}, "ann@far.test bob@here.test eve@far.test"},
		{"a copy for itself", []string{"self@here.test"}, "self@here.test ann@far.test"},
		{"an address of two aliases comes once", []string{"one@here.test", "both@here.test"}, "ann@far.test bob@here.test"},
		{"a member twice", []string{"twice@here.test"}, "twice@here.test ann@far.test"},
		{"the same RCPT twice", []string{"ann@far.test", "ann@far.test"}, "ann@far.test ann@far.test"},
		{"an alias twice", []string{"both@here.test", "both@here.test"}, "ann@far.test bob@here.test"},
		{"a member before its alias", []string{"ann@far.test", "both@here.test"}, "ann@far.test bob@here.test"},
		{"a member after its alias", []string{"both@here.test", "ann@far.test"}, "ann@far.test bob@here.test"},
		{"an alias of postmaster", []string{"abuse@here.test"}, "root@far.test"},
		{"a loop", []string{"loop@here.test"}, "554 5.4.6"},
		{"a loop with a way out", []string{"twist@here.test"}, "ann@far.test"},
		{"an impossible address", []string{"bad@here.test"}, "not an address"},
		{"a directory that fails", []string{"broken@here.test"}, "away"},
		{"postmaster", []string{"postmaster"}, "root@far.test"},
	} {
		t.Run(test.name, func(t *testing.T) {
			env := smtp.NewEnvelope("ann@source.test", test.to...)
			before := slices.Clone(env.Recipients)
			got, _, err := r.expand(t.Context(), env, false)
			if err != nil {
				if !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %q", err, test.want)
				}
				return
			}
			var all []string
			for _, rcpt := range got.Recipients {
				all = append(all, rcpt.Address)
			}
			if s := strings.Join(all, " "); s != test.want {
				t.Errorf("got %q, want %q", s, test.want)
			}
			if !slices.Equal(env.Recipients, before) {
				t.Errorf("the caller's envelope changed: %+v", env.Recipients)
			}
		})
	}
}

// TestExpandNotify: a sender who asks twice for reports on a recipient gets those of both, in any order.
func TestExpandNotify(t *testing.T) {
	const never, failure, success = smtp.NotifyNever, smtp.NotifyFailure, smtp.NotifySuccess
	group := []string{"ann@far.test", "bob@far.test"}
	r := &Relay{
		Hostname: "relay.test", Queue: mem.New(), Domains: []string{"here.test"},
		Expand: aliases{"one@here.test": group, "two@here.test": group}.expand,
	}
	if err := r.init(); err != nil {
		t.Fatal(err)
	}
	rcpt := func(address string, n smtp.Notify) smtp.Recipient { return smtp.Recipient{Address: address, Notify: n} }
	for _, test := range []struct {
		name string
		to   []smtp.Recipient
		want string
	}{
		{
			"two groups", []smtp.Recipient{rcpt("one@here.test", never), rcpt("two@here.test", failure)},
			"ann@far.test FAILURE rfc822;one@here.test, bob@far.test FAILURE rfc822;one@here.test",
		},
		{
			"two groups, and success", []smtp.Recipient{rcpt("one@here.test", never), rcpt("two@here.test", success)},
			"ann@far.test NEVER rfc822;one@here.test, bob@far.test NEVER rfc822;one@here.test, expanded two@here.test",
		},
		{
			"a member after its group", []smtp.Recipient{rcpt("one@here.test", never), rcpt("ann@far.test", success)},
			"ann@far.test SUCCESS , bob@far.test NEVER rfc822;one@here.test",
		},
		{
			"a member before its group", []smtp.Recipient{rcpt("ann@far.test", success), rcpt("one@here.test", 0)},
			"ann@far.test SUCCESS,FAILURE,DELAY , bob@far.test  rfc822;one@here.test",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			env := &smtp.Envelope{From: "eve@source.test", Recipients: test.to}
			got, expanded, err := r.expand(t.Context(), env, false)
			if err != nil {
				t.Fatal(err)
			}
			var all []string
			for _, rcpt := range got.Recipients {
				all = append(all, fmt.Sprintf("%s %s %s", rcpt.Address, rcpt.Notify, rcpt.ORCPT))
			}
			for _, rcpt := range expanded {
				all = append(all, "expanded "+rcpt.Address)
			}
			if s := strings.Join(all, ", "); s != test.want {
				t.Errorf("got %q, want %q", s, test.want)
			}
		})
	}
}

// TestExpandBounds: neither a long chain nor a wide group is followed without end.
func TestExpandBounds(t *testing.T) {
	r := newRelay(smtptest.NewNetwork(t))
	r.Domains = []string{"here.test"}
	r.Expand = func(_ context.Context, rcpt smtp.Recipient) ([]string, error) {
		local, _ := smtp.SplitAddress(rcpt.Address)
		if local == "wide" {
			return slices.Repeat([]string{"x@far.test"}, maxExpanded+1), nil
		}
		return []string{local + "x@here.test"}, nil
	}
	for _, to := range []string{"wide@here.test", "deep@here.test"} {
		_, err := r.Send(t.Context(), smtp.NewEnvelope("ann@source.test", to), strings.NewReader(text))
		if reply, ok := errors.AsType[*smtp.Reply](err); !ok || reply.Code != 452 {
			t.Errorf("%s: got %v, want 452", to, err)
		}
	}
}

// TestExpandAgain: a group that a thousand RCPTs name isn't looked through a thousand times.
func TestExpandAgain(t *testing.T) {
	group := make([]string, 1000)
	for i := range group {
		group[i] = fmt.Sprintf("user%d@far.test", i)
	}
	asked := 0
	r := newRelay(smtptest.NewNetwork(t))
	r.Domains = []string{"here.test"}
	r.Expand = func(context.Context, smtp.Recipient) ([]string, error) { asked++; return group, nil }
	for n, want := range map[int]string{50: "", 1000: "452"} {
		asked = 0
		env := smtp.NewEnvelope("ann@source.test")
		for i := range n {
			env.Recipients = append(env.Recipients, smtp.Recipient{Address: fmt.Sprintf("group%d@here.test", i)})
		}
		_, err := r.Send(t.Context(), env, strings.NewReader(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) || asked > 100 {
			t.Errorf("%d RCPTs: got %v after %d calls of Expand, want %q after 100 at most", n, err, asked, want)
		}
	}
}

// TestExpandChain: the bound on a chain counts its aliases, not the address at its end.
func TestExpandChain(t *testing.T) {
	for _, test := range []struct {
		name    string
		aliases int
		code    int // of the refusal
	}{{"20 aliases", 20, 0}, {"21 aliases", 21, 452}} {
		t.Run(test.name, func(t *testing.T) {
			r := newRelay(smtptest.NewNetwork(t))
			r.Domains = []string{"here.test"}
			r.Expand = func(_ context.Context, rcpt smtp.Recipient) ([]string, error) {
				local, _ := smtp.SplitAddress(rcpt.Address)
				if len(local) > test.aliases {
					return nil, nil
				}
				return []string{local + "x@here.test"}, nil
			}
			_, err := r.Send(t.Context(), smtp.NewEnvelope("ann@source.test", "x@here.test"), strings.NewReader(text))
			reply, _ := errors.AsType[*smtp.Reply](err)
			if code := cmp.Or(reply, new(smtp.Reply)).Code; code != test.code {
				t.Errorf("got %v, want %d", err, test.code)
			}
		})
	}
}

// TestExpandUTF8: mail to an alias with characters beyond ASCII reaches its members.
func TestExpandUTF8(t *testing.T) {
	for _, test := range []struct{ name, alias, orcpt string }{
		{"in the local part", "jürgen@here.test", "utf-8;jürgen@here.test"},
		{"in the domain", "ann@hier.bücher.test", "rfc822;ann@hier.xn--bcher-kva.test"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				host := inet.MX("far.test", "mx.far.test")
				host.Without("SMTPUTF8")
				r := newRelay(inet)
				r.Domains = []string{"here.test", "hier.bücher.test"}
				r.Expand = aliases{test.alias: {"ann@far.test"}}.expand
				inet.Go(r.Run)
				env := smtp.NewEnvelope("ann@source.test", test.alias)
				env.UTF8 = true
				if _, err := r.Send(t.Context(), env, strings.NewReader(text)); err != nil {
					t.Fatal(err)
				}
				if got := host.Wait(1)[0].Envelope.Recipients[0]; got.ORCPT != test.orcpt {
					t.Errorf("got %+v, want ORCPT %q", got, test.orcpt)
				}
			})
		})
	}
}

// TestExpanded: the sender of a group's mail hears of success once, and of a member's failure by the group's address.
func TestExpanded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("far.test", "mx.far.test")
		host.Reject("eve@far.test", smtp.NewReply(550, "5.1.1", "no such user"))
		sender := inet.MX("source.test", "mx.source.test")
		r := newRelay(inet)
		r.Domains = []string{"here.test"}
		r.Expand = aliases{"group@here.test": {"ann@far.test", "eve@far.test"}}.expand
		var reported []string
		r.Events.Reported = func(e delivery.Event) {
			reported = append(reported, fmt.Sprintf("%s %s of %s for %s", e.Kind, e.Task.Destination, e.Task.Ref, e.Report.Recipients[0].Address))
		}
		env := smtp.NewEnvelope("ann@source.test", "group@here.test")
		env.Recipients[0].Notify = smtp.NotifySuccess | smtp.NotifyFailure
		m, err := r.Prepare(t.Context(), env, strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		m.Ref = "order 17"
		if _, err := r.Enqueue(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		inet.Go(r.Run)
		mail := host.Wait(1)[0]
		if rcpt := mail.Envelope.Recipients[0]; rcpt.Address != "ann@far.test" || rcpt.ORCPT != "rfc822;group@here.test" || rcpt.Notify != smtp.NotifyFailure {
			t.Errorf("got %+v, want ann, for the group, who reports failures alone", rcpt)
		}
		if bytes.Contains(mail.Data, []byte("for <ann@far.test>")) || !bytes.Contains(mail.Data, []byte("for <group@here.test>")) {
			t.Errorf("got %q, want a Received field for the group", mail.Data)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		var actions []string
		for _, report := range sender.Messages() {
			for _, action := range []string{"expanded", "failed", "relayed", "delivered"} {
				if bytes.Contains(report.Data, []byte("\r\nAction: "+action+"\r\n")) {
					actions = append(actions, action)
				}
			}
			if !bytes.Contains(report.Data, []byte("Original-Recipient: rfc822; group@here.test\r\n")) &&
				!bytes.Contains(report.Data, []byte("Final-Recipient: rfc822; group@here.test\r\n")) {
				t.Errorf("the report doesn't name the group:\n%s", report.Data)
			}
		}
		slices.Sort(actions)
		if got := strings.Join(actions, " "); got != "expanded failed" {
			t.Errorf("got reports %q, want one that it was expanded and one of eve's failure", got)
		}
		if want := "expanded (expanded) of order 17 for ann@source.test"; !slices.Contains(reported, want) || len(reported) != 2 {
			t.Errorf("got the events %q, want two with %q", reported, want)
		}
	})
}

// TestExpandedKept: an alias stays a recipient if its expansion is reported, and not otherwise.
func TestExpandedKept(t *testing.T) {
	tests := []struct {
		name, from string
		members    []string
		notify     smtp.Notify
		noReports  bool
		want       string // the destinations
	}{
		{"success", "ann@source.test", []string{"ann@far.test", "eve@far.test"}, smtp.NotifySuccess, false, "far.test far.test (expanded)"},
		{"itself a member", "ann@source.test", []string{"group@here.test", "eve@far.test"}, smtp.NotifySuccess, false, "here.test far.test (expanded)"},
		{"one member", "ann@source.test", []string{"ann@far.test"}, smtp.NotifySuccess, false, "far.test"},
		{"failure alone", "ann@source.test", []string{"ann@far.test", "eve@far.test"}, smtp.NotifyFailure, false, "far.test far.test"},
		{"null reverse-path", "", []string{"ann@far.test", "eve@far.test"}, smtp.NotifySuccess, false, "far.test far.test"},
		{"no reports", "ann@source.test", []string{"ann@far.test", "eve@far.test"}, smtp.NotifySuccess, true, "far.test far.test"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRelay(smtptest.NewNetwork(t))
			r.Domains, r.NoReports = []string{"here.test"}, tt.noReports
			r.Expand = aliases{"group@here.test": tt.members}.expand
			// A list has the alias: nothing is sent to it.
			r.Suppress = &suppress.Policy{List: new(suppress.Memory)}
			k, err := suppress.KeyOf("", "group@here.test")
			if err == nil {
				err = r.Suppress.List.Add(t.Context(), suppress.Entry{Key: k, Time: time.Now()})
			}
			if err != nil {
				t.Fatal(err)
			}
			env := smtp.NewEnvelope(tt.from, "group@here.test")
			env.Recipients[0].Notify = tt.notify
			m, err := r.Prepare(t.Context(), env, strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(m.Destinations, " "); got != tt.want || len(m.Envelope.Recipients) != len(m.Destinations) {
				t.Errorf("got the destinations %s of %+v, want %s", got, m.Envelope.Recipients, tt.want)
			}
			if len(env.Recipients) != 1 {
				t.Errorf("got %+v, want the envelope as it was", env.Recipients)
			}
			r.Accepted = func(a Accepted) {
				var got []string
				for _, rcpt := range a.Envelope.Recipients {
					got = append(got, rcpt.Address)
				}
				if !slices.Equal(got, tt.members) {
					t.Errorf("got %s accepted, want %s", got, tt.members)
				}
			}
			if _, err = r.Enqueue(t.Context(), m); (err != nil) != (tt.members[0] == "group@here.test") {
				t.Errorf("got %v from Enqueue", err)
			}
		})
	}
}

// TestExpandedNull: nobody is told that the mail of a null reverse-path was expanded, and that is no failure.
func TestExpandedNull(t *testing.T) {
	var log bytes.Buffer
	r := newRelay(smtptest.NewNetwork(t))
	r.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	r.Domains = []string{"here.test"}
	r.Expand = aliases{"group@here.test": {"ann@far.test", "eve@far.test"}}.expand
	env := smtp.NewEnvelope("", "group@here.test")
	env.Recipients[0].Notify = smtp.NotifySuccess
	if _, err := r.Send(t.Context(), env, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	if n := queued(t, r); n != 1 || log.Len() > 0 {
		t.Errorf("got %d messages in the queue and the log %q, want one and no warning", n, log.String())
	}
}

// TestExpandedStranger: a stranger's sender may be forged, and hears of no success.
func TestExpandedStranger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("far.test", "mx.far.test")
		sender := inet.MX("source.test", "mx.source.test")
		r := newRelay(inet)
		r.TLSConfig = &tls.Config{Certificates: []tls.Certificate{inet.Certificate("relay.test")}}
		r.Domains = []string{"here.test"}
		r.Expand = aliases{"group@here.test": {"ann@far.test", "eve@far.test"}}.expand
		serve(t, inet, r)
		env := smtp.NewEnvelope("ann@source.test", "group@here.test")
		env.Recipients[0].Notify = smtp.NotifySuccess
		if _, err := submission(inet).Send(t.Context(), env, smtp.Text(text)); err != nil {
			t.Fatal(err)
		}
		host.Wait(1)
		time.Sleep(time.Hour)
		if reports := sender.Messages(); len(reports) > 0 {
			t.Errorf("got a report, want none:\n%s", reports[0].Data)
		}
	})
}

// TestCheckRcpt: an unknown recipient of ours is refused at RCPT, whoever asks; an alias needs no route of its own.
func TestCheckRcpt(t *testing.T) {
	gone, err := mx.Refuse(smtp.NewReply(550, "5.1.6", "moved"))
	if err != nil {
		t.Fatal(err)
	}
	var asked []string
	r := &Relay{
		Hostname: "relay.test", Queue: mem.New(), Domains: []string{"here.test"},
		Routes: map[string]mx.Route{"*": mx.Discard(), "gone.test": gone},
		CheckRcpt: func(_ context.Context, p *server.Peer, rcpt smtp.Recipient) error {
			asked = append(asked, rcpt.Address)
			if strings.HasPrefix(rcpt.Address, "nobody@") {
				return smtp.NewReply(550, "5.1.1", "no such user")
			}
			return nil
		},
		Expand: aliases{"old@here.test": {"ann@gone.test"}, "loop@here.test": {"pool@here.test"}, "pool@here.test": {"loop@here.test"}}.expand,
		Allow: func(_ context.Context, p *server.Peer, _ smtp.Recipient) (bool, error) {
			return p.Hello == "friend", nil
		},
	}
	for _, test := range []struct {
		name, address string
		peer          server.Peer
		want          string // in the error; "": accepted
		asked         bool
	}{
		{"known", "bob@here.test", server.Peer{}, "", true},
		{"unknown", "nobody@here.test", server.Peer{}, "5.1.1", true},
		{"unknown, from a user", "nobody@here.test", server.Peer{Username: "ann"}, "5.1.1", true},
		{"unknown, from one who may relay", "nobody@here.test", server.Peer{Hello: "friend"}, "5.1.1", true},
		{"elsewhere, from a user", "nobody@far.test", server.Peer{Username: "ann"}, "", false},
		{"elsewhere, from a stranger", "bob@far.test", server.Peer{}, "5.7.1", false},
		{"an alias whose member's route refuses", "old@here.test", server.Peer{}, "5.1.6", true},
		{"an alias that loops", "loop@here.test", server.Peer{}, "5.4.6", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			asked = nil
			err := checkRcpt(t, r, &test.peer, smtp.Recipient{Address: test.address})
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if (len(asked) > 0) != test.asked {
				t.Errorf("asked about %q, want that it was asked: %v", asked, test.asked)
			}
		})
	}
}
