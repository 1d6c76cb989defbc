package inbox

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// sender sends mail to an Inbox, each message in a session of its own. It is used in a synctest bubble.
type sender struct {
	t    *testing.T
	inet *smtptest.Network
}

func serve(t *testing.T, in *Inbox) *sender {
	t.Helper()
	inet := smtptest.NewNetwork(t)
	l, err := inet.Listen("inbox.test:25")
	if err != nil {
		t.Fatal(err)
	}
	srv := &server.Server{Handler: in}
	inet.Go(func(ctx context.Context) error { return srv.Serve(ctx, l) })
	return &sender{t, inet}
}

// send returns the reply for each recipient: its code and enhanced code.
func (s *sender) send(from, data string, to ...string) (replies []string) {
	s.t.Helper()
	sub := &client.Submission{
		Addr: "inbox.test:25", TLS: mx.TLSNone, Resolver: s.inet, DialContext: s.inet.DialContext, LeaveIncomplete: true,
	}
	defer sub.Close()
	results, err := sub.Send(s.t.Context(), smtp.NewEnvelope(from, to...), smtp.Text(data))
	if len(results) != len(to) {
		s.t.Fatalf("got %d results, want %d: %v", len(results), len(to), err)
	}
	for _, r := range results {
		replies = append(replies, strings.TrimSpace(fmt.Sprint(r.Reply.Code, " ", r.Reply.Enhanced)))
	}
	return replies
}

// put keeps a message without a server.
func put(t *testing.T, in *Inbox, env *smtp.Envelope, data string) *Message {
	t.Helper()
	p := &server.Peer{Hello: "client.test"}
	if _, err := in.Handle(t.Context(), p, env, strings.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	all := in.Messages(Filter{})
	return all[len(all)-1]
}

func ids(messages []*Message) string {
	var b strings.Builder
	for _, m := range messages {
		b.WriteString(m.ID + " ")
	}
	return strings.TrimSpace(b.String())
}

// TestNil: a nil Peer is one of which nothing is known, and a nil envelope or body is an error.
func TestNil(t *testing.T) {
	env, body := smtp.NewEnvelope("a@example.com", "b@example.net"), strings.NewReader("\r\nx\r\n")
	in := new(Inbox)
	check := func(name string, ok bool, call func() error) {
		if err := call(); (err == nil) != ok {
			t.Errorf("%s: got %v", name, err)
		}
	}
	all := func(of string, p *server.Peer, env *smtp.Envelope, ok bool) {
		check(of+": CheckConnect", true, func() error { return in.CheckConnect(t.Context(), p) })
		check(of+": CheckMail", ok, func() error { return in.CheckMail(t.Context(), p, env) })
		check(of+": CheckRcpt", ok, func() error {
			return in.CheckRcpt(t.Context(), p, env, smtp.Recipient{Address: "b@example.net"})
		})
		check(of+": Handle", ok, func() error { _, err := in.Handle(t.Context(), p, env, body); return err })
	}
	all("Peer", nil, env, true)
	all("envelope", new(server.Peer), nil, false)
	check("body", false, func() error { _, err := in.Handle(t.Context(), new(server.Peer), env, nil); return err })
	if got := ids(in.Messages(Filter{})); got != "1" {
		t.Errorf("got the messages %s, want 1", got)
	}
	reply := smtp.NewReply(450, "4.2.1", "no")
	rules := Switches{Greylist: time.Hour}
	for _, at := range []Moment{AtConnect, AtMail, AtData} {
		rules.Refuse = append(rules.Refuse, Refusal{At: at, Reply: reply})
	}
	if err := in.SetSwitches(rules); err != nil {
		t.Fatal(err)
	}
	in.CheckConnect(t.Context(), nil)
	in.CheckMail(t.Context(), nil, env)
	in.CheckRcpt(t.Context(), nil, env, env.Recipients[0])
	in.Handle(t.Context(), nil, env, strings.NewReader("\r\n"))
	if n := len(in.Refusals()); n != 4 {
		t.Errorf("got %d refusals of a nil Peer, want 4", n)
	}
}

// TestKeep: the oldest messages make room for new ones, by number and by octets, and IDs aren't used again.
func TestKeep(t *testing.T) {
	env := smtp.NewEnvelope("a@example.com", "b@example.net")
	for _, tt := range []struct {
		name string
		in   *Inbox
		want string
	}{
		{"few", &Inbox{}, "1 2 3 4 5"},
		{"messages", &Inbox{MaxMessages: 3}, "3 4 5"},
		{"octets", &Inbox{MaxOctets: 3 * (overhead + 2000)}, "4 5"},
		{"one", &Inbox{MaxMessages: 1}, "5"},
		{"as many as there can be", &Inbox{MaxMessages: math.MaxInt, MaxOctets: math.MaxInt64}, "1 2 3 4 5"},
		{"more octets than twice can be", &Inbox{MaxOctets: 1 << 62}, "1 2 3 4 5"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range 5 {
				put(t, tt.in, env, "Subject: x\r\n\r\n"+strings.Repeat("x", 2000)+"\r\n")
			}
			if got := ids(tt.in.Messages(Filter{})); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			sum := int64(0)
			for _, m := range tt.in.messages {
				sum += m.octets()
			}
			if tt.in.octets != sum || tt.in.octets > tt.in.maxOctets() || tt.in.receiving != 0 {
				t.Errorf("got %d octets of %d, and %d being received", tt.in.octets, sum, tt.in.receiving)
			}
			if err := tt.in.Delete("5"); err != nil {
				t.Error(err)
			}
			for _, id := range []string{"5", "0", "6", "-1", "+4", "04", "", "x"} {
				if err := tt.in.Delete(id); !errors.Is(err, ErrNotFound) {
					t.Errorf("Delete(%q): got %v", id, err)
				}
			}
			tt.in.Clear()
			if m := put(t, tt.in, env, "\r\n"); m.ID != "6" || len(tt.in.messages) != 1 || tt.in.octets != m.octets() {
				t.Errorf("got message %s after Clear, %d in all, %d octets", m.ID, len(tt.in.messages), tt.in.octets)
			}
		})
	}
}

// TestTooBig: neither a message that is larger than the Inbox is kept, nor more received at a time than fits.
func TestTooBig(t *testing.T) {
	in := &Inbox{MaxOctets: 10_000}
	put(t, in, smtp.NewEnvelope("a@example.com", "b@example.net"), "Subject: x\r\n\r\n")
	for name, tt := range map[string]struct {
		octets int
		busy   int64
		want   *smtp.Reply
	}{
		"a bit too big":  {9_000, 0, errTooBig},
		"much too big":   {10_000_000, 0, errTooBig},
		"while not idle": {100, 100_000, errBusy},
	} {
		in.receiving = tt.busy
		body := strings.NewReader(strings.Repeat("x", tt.octets))
		_, err := in.Handle(t.Context(), new(server.Peer), smtp.NewEnvelope("", "b@example.net"), body)
		if err != error(tt.want) || in.receiving != tt.busy || len(in.messages) != 1 {
			t.Errorf("%s: got %v, %d being received, %d messages", name, err, in.receiving, len(in.messages))
		}
	}
}

// TestFilter: each field selects by itself.
func TestFilter(t *testing.T) {
	in := new(Inbox)
	put(t, in, smtp.NewEnvelope("ann@Example.com", "bob@example.net"), "Subject: =?utf-8?q?Gr=C3=BCn?=\r\n\r\nA tea.\r\n")
	put(t, in, smtp.NewEnvelope("", "eve@example.org", "Bob@EXAMPLE.net"), "Subject: Red\r\nContent-Type: text/html\r\n\r\n<p>Two teas.\r\n")
	put(t, in, smtp.NewEnvelope("a@sub.example.com", "x@test"), "Content-Transfer-Encoding: base64\r\n\r\nR3JlZW4gdGVh\r\n")
	for _, tt := range []struct {
		name string
		f    Filter
		want string
	}{
		{"all", Filter{}, "1 2 3"},
		{"sender", Filter{From: "ANN@example.com"}, "1"},
		{"domain", Filter{From: "example.com"}, "1"},
		{"domain with @", Filter{From: "@example.com"}, "1"},
		{"null sender", Filter{From: "<>"}, "2"},
		{"recipient", Filter{To: "bob@example.net"}, "1 2"},
		{"domain of a recipient", Filter{To: "example.org"}, "2"},
		{"subject", Filter{Subject: "grün"}, "1"},
		{"text of text", Filter{Text: "a TEA"}, "1"},
		{"text of HTML", Filter{Text: "two teas"}, "2"},
		{"text in base64", Filter{Text: "green"}, "3"},
		{"text of an address", Filter{Text: "eve@"}, "2"},
		{"after", Filter{After: "1"}, "2 3"},
		{"after, malformed", Filter{After: "x"}, ""},
		{"two", Filter{To: "bob@example.net", From: "<>"}, "2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := ids(in.Messages(tt.f)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestWait: a message is found that is there or comes, in virtual time, and its oldest.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := &Inbox{MaxMessages: 2}
		s := serve(t, in)
		begin := time.Now()
		go func() {
			for i := range 5 {
				time.Sleep(time.Minute)
				s.send("a@example.com", fmt.Sprintf("Subject: number %d\n\n", i), "b@example.net")
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		for _, tt := range []struct {
			subject, want string
			after         time.Duration
		}{{"number 2", "3", 3 * time.Minute}, {"number 1", "2", 3 * time.Minute}, {"number", "2", 3 * time.Minute}, {"number 4", "5", 5 * time.Minute}} {
			m, err := in.Wait(ctx, Filter{Subject: tt.subject})
			if err != nil || m.ID != tt.want || time.Since(begin).Round(time.Second) != tt.after {
				t.Errorf("%s: got %v, %v after %v, want %s", tt.subject, m, err, time.Since(begin), tt.want)
			}
		}
		if m, err := in.Wait(ctx, Filter{Subject: "number 5"}); m != nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, %v, want the end of ctx", m, err)
		}
	})
}

// TestSwitches: what each switch does to mail, minute by minute.
func TestSwitches(t *testing.T) {
	reply := func(code int, enhanced string) *smtp.Reply { return smtp.NewReply(code, enhanced, "no") }
	const ok = "250 2.0.0"
	for _, tt := range []struct {
		name string
		s    Switches
		data string // "" for a plain one
		to   []string
		want []string // one for each minute and recipient
	}{
		{name: "none", want: []string{ok, ok}},
		{name: "rcpt, a domain", s: Switches{Refuse: []Refusal{{AtRcpt, "Example.NET", reply(550, "5.7.1")}}},
			to: []string{"b@example.net", "b@sub.example.net", "b@example.org"}, want: []string{"550 5.7.1", ok, ok}},
		{name: "rcpt, an address", s: Switches{Refuse: []Refusal{{AtRcpt, "c@example.net", reply(452, "4.2.2")}}},
			to: []string{"b@example.net", "C@example.net"}, want: []string{ok, "452 4.2.2"}},
		{name: "the first rule", s: Switches{Refuse: []Refusal{{AtRcpt, "b@example.net", reply(450, "4.2.1")}, {AtRcpt, "*", reply(550, "5.1.1")}}},
			to: []string{"b@example.net", "c@example.net"}, want: []string{"450 4.2.1", "550 5.1.1"}},
		{name: "data", s: Switches{Refuse: []Refusal{{AtData, "b@example.net", reply(554, "5.7.1")}}}, want: []string{"554 5.7.1"}},
		{name: "mail", s: Switches{Refuse: []Refusal{{AtMail, "example.com", reply(550, "5.7.1")}}}, want: []string{"550 5.7.1"}},
		{name: "mail, another", s: Switches{Refuse: []Refusal{{AtMail, "example.org", reply(550, "5.7.1")}}}, want: []string{ok}},
		{name: "connect", s: Switches{Refuse: []Refusal{{AtConnect, "", reply(421, "4.7.0")}}}, want: []string{"421 4.7.0"}},
		{name: "greylist", s: Switches{Greylist: 2 * time.Minute}, want: []string{"451 4.7.1", "451 4.7.1", ok, ok}},
		{name: "quota", s: Switches{Quotas: []Quota{{ByAddress, 2, 4 * time.Minute}}},
			want: []string{ok, ok, "421 4.7.28", "421 4.7.28", ok, ok, "421 4.7.28"}},
		{name: "quota by DKIM, unsigned", s: Switches{Quotas: []Quota{{ByDKIMDomain, 0, time.Minute}}}, want: []string{ok}},
		{name: "quota by DKIM", s: Switches{Quotas: []Quota{{ByDKIMDomain, 1, time.Hour}}},
			data: "DKIM-Signature: v=1; d=example.com\nSubject: x\n\nx\n", want: []string{ok, "421 4.7.28"}},
		{name: "7 bit", s: Switches{SevenBit: true}, data: "Subject: x\n\nx\n", want: []string{ok}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in := new(Inbox)
				s := serve(t, in)
				if err := in.SetSwitches(tt.s); err != nil {
					t.Fatal(err)
				}
				to, data := tt.to, tt.data
				if to == nil {
					to = []string{"b@example.net"}
				}
				if data == "" {
					data = "Subject: x\n\nx\n"
				}
				var got []string
				kept, refused := 0, 0
				for len(got) < len(tt.want) {
					replies := s.send("a@example.com", data, to...)
					if got = append(got, replies...); slices.Contains(replies, ok) {
						kept++
					}
					time.Sleep(time.Minute)
				}
				for _, reply := range got {
					if reply != ok {
						refused++
					}
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("got %q, want %q", got, tt.want)
				}
				if n, r := len(in.Messages(Filter{})), len(in.Refusals()); n != kept || r != refused {
					t.Errorf("got %d messages and %d refusals, want %d and %d", n, r, kept, refused)
				}
			})
		})
	}
}

// TestSevenBit: without 8BITMIME, the client converts its 8-bit mail, and mail that comes with 8 bits is refused.
func TestSevenBit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := new(Inbox)
		s := serve(t, in)
		if err := in.SetSwitches(Switches{SevenBit: true}); err != nil {
			t.Fatal(err)
		}
		const data = "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nGrün\n"
		if got := s.send("a@example.com", data, "b@example.net"); got[0] != "250 2.0.0" {
			t.Fatalf("got %q", got)
		}
		m := in.Messages(Filter{})[0]
		if strings.Contains(string(m.Data), "ü") || m.Read().Text != "Grün\n" {
			t.Errorf("got %q", m.Data)
		}
		_, err := in.Handle(t.Context(), new(server.Peer), smtp.NewEnvelope("", "b@example.net"), strings.NewReader("\r\nü\r\n"))
		if r, ok := errors.AsType[*smtp.Reply](err); !ok || r.Code != 554 {
			t.Errorf("got %v, want 554", err)
		}
	})
}

// TestStall: a client waits as long as a Stall says, or until the switches change.
func TestStall(t *testing.T) {
	for _, at := range []Moment{AtConnect, AtMail, AtRcpt, AtData} {
		t.Run(string(at), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in := new(Inbox)
				s := serve(t, in)
				stall := Switches{Stalls: []Stall{{at, time.Minute}}}
				for _, tt := range []struct{ change, want time.Duration }{{0, time.Minute}, {20 * time.Second, 20 * time.Second}} {
					if err := in.SetSwitches(stall); err != nil {
						t.Fatal(err)
					}
					if tt.change > 0 {
						time.AfterFunc(tt.change, func() { in.SetSwitches(Switches{}) })
					}
					begin := time.Now()
					if got := s.send("a@example.com", "\n", "b@example.net"); got[0] != "250 2.0.0" {
						t.Errorf("got %q", got)
					}
					if got := time.Since(begin).Round(time.Second); got != tt.want {
						t.Errorf("waited for %v, want %v", got, tt.want)
					}
				}
			})
		})
	}
}

// TestSetSwitches: a quota that stays keeps its count, one that changes doesn't, and what isn't valid changes nothing.
func TestSetSwitches(t *testing.T) {
	in := new(Inbox)
	try := func() error {
		_, err := in.Handle(t.Context(), new(server.Peer), smtp.NewEnvelope("a@example.com", "b@example.net"), strings.NewReader("\r\n"))
		return err
	}
	one := Switches{Quotas: []Quota{{BySPFDomain, 1, time.Hour}}}
	for i, step := range []struct {
		set  Switches
		pass bool
	}{
		{one, true}, {one, false}, {Switches{Quotas: one.Quotas, SevenBit: true}, false},
		{Switches{Quotas: []Quota{{BySPFDomain, 1, time.Minute}}}, true}, {Switches{}, true}, {one, true},
	} {
		if err := in.SetSwitches(step.set); err != nil {
			t.Fatal(err)
		}
		if err := try(); (err == nil) != step.pass {
			t.Errorf("step %d: got %v", i, err)
		}
	}
	r := smtp.NewReply(550, "", "no")
	for name, bad := range map[string]Switches{
		"moment": {Refuse: []Refusal{{"quit", "", r}}}, "reply": {Refuse: []Refusal{{AtRcpt, "", nil}}},
		"code": {Refuse: []Refusal{{AtRcpt, "", smtp.NewReply(250, "", "")}}}, "who": {Refuse: []Refusal{{AtConnect, "a.test", r}}},
		"text":     {Refuse: []Refusal{{AtRcpt, "", smtp.NewReply(550, "", "a\r\n250 ok")}}},
		"greylist": {Greylist: -1}, "stall": {Stalls: []Stall{{AtRcpt, 2 * time.Hour}}}, "stall's moment": {Stalls: []Stall{{"", 1}}},
		"quota": {Quotas: []Quota{{ByAddress, 1, 0}}}, "party": {Quotas: []Quota{{9, 1, 1}}},
		"two quotas": {Quotas: []Quota{{ByAddress, 1, 1}, {ByAddress, 2, 1}}}, "many": {Refuse: make([]Refusal, maxRules+1)},
	} {
		if err := in.SetSwitches(bad); err == nil || !strings.HasPrefix(err.Error(), "inbox: ") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if got := in.Switches(); len(got.Quotas) != 1 {
		t.Errorf("got %+v", got)
	}
}

// TestRules: a rule is the same after its text form; what isn't one is an error that says what is wanted.
func TestRules(t *testing.T) {
	for _, text := range []string{"rcpt example.net 550 5.7.1 we want no mail", "data * 451 4.7.1 later", "mail <> 550", "connect * 421 busy"} {
		var r Refusal
		if err := r.UnmarshalText([]byte(text)); err != nil {
			t.Error(err)
		}
		if got, err := r.MarshalText(); string(got) != text || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, text)
		}
	}
	for _, text := range []string{"20 per 1h by address", "0 per 30s by dkim", "5 per 1h30m by spf", "5 per 24h by spf"} {
		var q Quota
		if err := q.UnmarshalText([]byte(text)); err != nil {
			t.Error(err)
		}
		if got, err := q.MarshalText(); string(got) != text || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, text)
		}
	}
	var s Stall
	if err := s.UnmarshalText([]byte("10m at Data")); err != nil || s != (Stall{AtData, 10 * time.Minute}) {
		t.Errorf("got %v, %v", s, err)
	}
	for _, text := range []string{"", "rcpt", "rcpt *", "rcpt * 250", "rcpt * x", "quit * 550", "connect a.test 421", "rcpt * 550 ü", "1 per 1h", "1 per x by spf",
		"-1 per 1h by spf", "1 per 1h by all", "1h at", "x at data", "2h at data", "1s at quit"} {
		for _, rule := range []interface{ UnmarshalText([]byte) error }{new(Refusal), new(Quota), new(Stall)} {
			if err := rule.UnmarshalText([]byte(text)); err == nil {
				t.Errorf("%q is a %T", text, rule)
			}
		}
	}
}
