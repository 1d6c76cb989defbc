package bounce_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/bounce"
	"github.com/postrider/postrider/smtp"
)

func newVERP() *bounce.VERP {
	return &bounce.VERP{Domain: "bounces.example.com", Keys: [][]byte{[]byte("a key for tests, of 32 octets...")}}
}

// roundTrip returns what an address for s says.
func roundTrip(t *testing.T, v *bounce.VERP, s bounce.Sent) (string, *bounce.Sent) {
	t.Helper()
	address, err := v.Address(s)
	if err != nil {
		t.Fatalf("Address of %+v: %v", s, err)
	}
	if err := smtp.CheckAddress(address); err != nil {
		t.Errorf("Address of %+v: %v", s, err)
	}
	local, _ := smtp.SplitAddress(address)
	if len(local) > 64 {
		t.Errorf("Address of %+v: got %s with a local part of %d octets, want at most 64", s, address, len(local))
	}
	got, err := v.Read(address)
	if err != nil {
		t.Fatalf("Read of %s, made for %+v: %v", address, s, err)
	}
	return address, got
}

func TestVERP(t *testing.T) {
	for _, test := range []struct {
		name string
		sent bounce.Sent
		want string // what is in the address: ID, Recipient, Tenant, Ref; "-": left out, "#": a hash
	}{
		{"a short one", bounce.Sent{ID: "2", Recipient: "ann@example.net"}, "2 ann@example.net"},
		{"no ID", bounce.Sent{Recipient: "ann@example.net"}, " ann@example.net"},
		{"all", bounce.Sent{ID: "1k7", Recipient: "ann@example.net", Tenant: "acme", Ref: "news-7"}, "1k7 ann@example.net acme news-7"},
		{"a Ref alone", bounce.Sent{ID: "1k7", Recipient: "ann@example.net", Ref: "17"}, "1k7 ann@example.net  17"},
		{"the largest number", bounce.Sent{ID: "3w5e11264sgsf", Recipient: "ann@example.net"}, "3w5e11264sgsf ann@example.net"},
		{"above it", bounce.Sent{ID: "3w5e11264sgsg", Recipient: "a@example.net"}, "3w5e11264sgsg a@example.net"},
		{"an ID with a zero in front", bounce.Sent{ID: "007", Recipient: "ann@example.net"}, "007 ann@example.net"},
		{"an ID in capitals", bounce.Sent{ID: "YFY7LOG", Recipient: "ann@example.net"}, "YFY7LOG ann@example.net"},
		{"capitals", bounce.Sent{ID: "2", Recipient: "Ann.McBee@example.net"}, "2 Ann.McBee@example.net"},
		{"marks", bounce.Sent{ID: "2", Recipient: "a-b+2026_x@e-mail1.example"}, "2 a-b+2026_x@e-mail1.example"},
		{"many digits", bounce.Sent{ID: "2", Recipient: "31415926535897@example.net"}, "2 31415926535897@example.net"},
		{"a quoted string", bounce.Sent{ID: "2", Recipient: `"a b"@example.net`}, `2 "a b"@example.net`},
		{"UTF-8", bounce.Sent{ID: "2", Recipient: "ü@müller.example"}, "2 ü@xn--mller-kva.example"},
		{"the last octet", bounce.Sent{ID: "2", Recipient: "a@example.net", Ref: "\xff"}, "2 a@example.net  \xff"},
		{"a domain in capitals", bounce.Sent{ID: "2", Recipient: "ann@EXAMPLE.net"}, "2 ann@example.net"},
		{"postmaster", bounce.Sent{ID: "2", Recipient: "postmaster"}, "2 postmaster"},
		{"no room for a Ref", bounce.Sent{ID: "1k7", Recipient: "ann@example.net", Tenant: "acme", Ref: strings.Repeat("x", 20)},
			"1k7 ann@example.net acme -"},
		{"no room for a Tenant", bounce.Sent{ID: "1k7", Recipient: "ann@example.net", Tenant: strings.Repeat("x", 25), Ref: "r"},
			"1k7 ann@example.net - -"},
		{"no room for the recipient", bounce.Sent{ID: "1k7", Recipient: strings.Repeat("a", 40) + "@example.net", Tenant: "acme", Ref: "r"},
			"1k7 # acme -"},
		{"nor for its tenant", bounce.Sent{ID: "1k7", Recipient: strings.Repeat("a", 40) + "@example.net", Tenant: strings.Repeat("t", 40)},
			"1k7 # -"},
		{"no room for the ID", bounce.Sent{ID: strings.Repeat("z", 50), Recipient: "ann@example.net", Tenant: "acme", Ref: "r"},
			"- ann@example.net - -"},
		{"room for nothing", bounce.Sent{ID: strings.Repeat("z", 50), Recipient: strings.Repeat("a", 64) + "@example.net", Ref: "r"},
			"- #  -"},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := newVERP()
			address, got := roundTrip(t, v, test.sent)
			t.Log(address)
			field := func(s string, out bool) string {
				if out {
					return s + "-"
				}
				return s
			}
			recipient := got.Recipient
			if recipient == "" {
				recipient = "#"
			}
			line := strings.TrimRight(strings.Join([]string{field(got.ID, got.IDLeftOut), recipient,
				field(got.Tenant, got.TenantLeftOut), field(got.Ref, got.RefLeftOut)}, " "), " ")
			if line != test.want {
				t.Errorf("got %q, want %q", line, test.want)
			}
			if !got.To(test.sent.Recipient) {
				t.Errorf("got no match for %s", test.sent.Recipient)
			}
			if got.To("x"+test.sent.Recipient) || got.To("") {
				t.Error("got a match for another recipient")
			}
			if want := time.Now().UTC().Truncate(24 * time.Hour); !got.Day.Equal(want) {
				t.Errorf("got the day %v, want %v", got.Day, want)
			}
			for _, folded := range []string{strings.ToUpper(address), strings.ToLower(address)} {
				if again, err := v.Read(folded); err != nil || again.ID != got.ID || again.Recipient != got.Recipient {
					t.Errorf("%s: got %+v and %v, want the same", folded, again, err)
				}
			}
		})
	}
}

// TestVERPRandom has texts of any octets.
func TestVERPRandom(t *testing.T) {
	v, r := newVERP(), rand.New(rand.NewPCG(1, 2))
	random := func(n int) string {
		const some = "abcXYZ019.-_+\xff\x1f@|/"
		b := make([]byte, r.IntN(n))
		for i := range b {
			if b[i] = some[r.IntN(len(some))]; r.IntN(8) == 0 {
				b[i] = byte(r.Uint32())
			}
		}
		return string(b)
	}
	literal := 0
	for range 20_000 {
		s := bounce.Sent{ID: random(12), Recipient: fmt.Sprintf("a%d@example.net", r.IntN(1e6)), Tenant: random(8), Ref: random(8)}
		_, got := roundTrip(t, v, s)
		if got.Recipient != "" {
			literal++
		}
		if got.Recipient != "" && got.Recipient != s.Recipient || !got.To(s.Recipient) || !got.IDLeftOut && got.ID != s.ID ||
			!got.TenantLeftOut && got.Tenant != s.Tenant || !got.RefLeftOut && got.Ref != s.Ref {
			t.Fatalf("got %+v, want %+v", got, s)
		}
	}
	if literal < 5_000 {
		t.Errorf("got %d recipients in the address, want 5,000 or more", literal)
	}
}

// TestVERPForged changes each character of an address, and all that the signature covers besides.
func TestVERPForged(t *testing.T) {
	v := newVERP()
	address, _ := roundTrip(t, v, bounce.Sent{ID: "1k7", Recipient: "kass@example.net"})
	refused := func(v *bounce.VERP, address string) {
		t.Helper()
		if got, err := v.Read(address); !errors.Is(err, bounce.ErrSignature) || got != nil {
			t.Errorf("%s: got %+v and %v, want ErrSignature", address, got, err)
		}
	}
	local, _ := smtp.SplitAddress(address)
	for i := range len(local) {
		for _, c := range []byte("a2b") {
			if changed := local[:i] + string(c) + local[i+1:]; changed != local {
				refused(v, changed+"@bounces.example.com")
			}
		}
		refused(v, local[:i]+local[i+1:]+"@bounces.example.com")
		refused(v, local[:i]+"@bounces.example.com")
		refused(v, local[:i]+"a"+local[i:]+"@bounces.example.com")
	}
	refused(v, local+"@example.com")
	refused(v, local)
	refused(v, "")
	refused(v, "ann@bounces.example.com")
	refused(v, "b+@bounces.example.com")
	refused(v, strings.Replace(local, "s", "ſ", 1)+"@bounces.example.com")      // its upper case is S
	refused(v, strings.Replace(local, "k", "\u212a", 1)+"@bounces.example.com") // the sign of Kelvin: its lower case is k
	refused(&bounce.VERP{Domain: v.Domain, Keys: [][]byte{[]byte("another key of many octets......")}}, address)
	refused(&bounce.VERP{Domain: "b.example.com", Keys: v.Keys}, local+"@b.example.com")
	refused(&bounce.VERP{Domain: v.Domain, Prefix: "c+", Keys: v.Keys}, "c"+address[1:])
}

// TestVERPKeys replaces a key.
func TestVERPKeys(t *testing.T) {
	before := newVERP()
	after := newVERP()
	after.Keys = [][]byte{[]byte("the second key of this test....."), before.Keys[0]}
	long := strings.Repeat("a", 50) + "@example.net"
	for _, recipient := range []string{"ann@example.net", long} {
		address, _ := roundTrip(t, before, bounce.Sent{Recipient: recipient})
		if got, err := after.Read(address); err != nil || !got.To(recipient) {
			t.Errorf("got %+v and %v of the old key, want %s", got, err, recipient)
		}
		address, _ = roundTrip(t, after, bounce.Sent{Recipient: recipient})
		if _, err := before.Read(address); !errors.Is(err, bounce.ErrSignature) {
			t.Errorf("got %v of the new key without it, want ErrSignature", err)
		}
	}
}

// TestSentPrints prints a Sent in each way that a log may. The key must not be in it.
func TestSentPrints(t *testing.T) {
	v := newVERP()
	key := strings.Trim(fmt.Sprint(v.Keys[0][:8]), "[]")
	for _, recipient := range []string{"ann@example.net", strings.Repeat("a", 50) + "@example.net"} {
		_, sent := roundTrip(t, v, bounce.Sent{Recipient: recipient})
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
			text := fmt.Sprintf(verb, sent)
			literal := strings.Trim(fmt.Sprintf("%#v", v.Keys[0][:8]), "[]byte{}")
			hexadecimal := strings.Contains(text, fmt.Sprintf("%x", v.Keys[0][:8])) || strings.Contains(text, literal)
			if hexadecimal || strings.Contains(text, key) || strings.Contains(text, string(v.Keys[0][:8])) {
				t.Errorf("%s of %s has the key: %s", verb, recipient, text)
			}
		}
	}
}

func TestVERPAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVERP()
		address, sent := roundTrip(t, v, bounce.Sent{ID: "2", Recipient: "ann@example.net"})
		time.Sleep(30*24*time.Hour + 23*time.Hour)
		if _, err := v.Read(address); err != nil {
			t.Errorf("got %v on the last day", err)
		}
		time.Sleep(2 * time.Hour)
		if got, err := v.Read(address); !errors.Is(err, bounce.ErrExpired) || got == nil || !got.Day.Equal(sent.Day) {
			t.Errorf("got %+v and %v after 31 days, want ErrExpired", got, err)
		}
		address, _ = roundTrip(t, v, bounce.Sent{Recipient: "ann@example.net", Day: time.Now().Add(24 * time.Hour)})
		if address == "" {
			t.Error("a clock that is a day ahead")
		}
		address, err := v.Address(bounce.Sent{Recipient: "ann@example.net", Day: time.Now().Add(72 * time.Hour)})
		if _, fault := v.Read(address); err != nil || !errors.Is(fault, bounce.ErrSignature) {
			t.Errorf("got %v and %v of a day to come, want ErrSignature", err, fault)
		}
	})
}

func TestVERPCheck(t *testing.T) {
	for _, test := range []struct {
		name string
		set  func(*bounce.VERP)
		want string
	}{
		{"none", func(*bounce.VERP) {}, ""},
		{"a domain in Unicode", func(v *bounce.VERP) { v.Domain = "Müller.example" }, ""},
		{"a mailbox's prefix", func(v *bounce.VERP) { v.Prefix = "Bounces+" }, ""},
		{"no domain", func(v *bounce.VERP) { v.Domain = "" }, "Domain"},
		{"a prefix of a quoted string", func(v *bounce.VERP) { v.Prefix = `"a` }, "Prefix"},
		{"a prefix in Unicode", func(v *bounce.VERP) { v.Prefix = "ü+" }, "Prefix"},
		{"a long prefix", func(v *bounce.VERP) { v.Prefix = strings.Repeat("a", 25) }, "Prefix"},
		{"no key", func(v *bounce.VERP) { v.Keys = nil }, "Keys"},
		{"a short key", func(v *bounce.VERP) { v.Keys = append(v.Keys, make([]byte, 15)) }, "Keys[1]"},
		{"an age below zero", func(v *bounce.VERP) { v.MaxAge = -1 }, "MaxAge"},
		{"an age of centuries", func(v *bounce.VERP) { v.MaxAge = 1 << 62 }, "MaxAge"},
		{"NEVER and more", func(v *bounce.VERP) { v.Notify = smtp.NotifyNever | smtp.NotifyDelay }, "Notify"},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := newVERP()
			test.set(v)
			err := v.Check()
			if test.want == "" {
				if err != nil {
					t.Fatalf("got %v", err)
				}
				roundTrip(t, v, bounce.Sent{ID: "2", Recipient: "ann@example.net"})
				return
			}
			if err == nil || !strings.Contains(err.Error(), "VERP."+test.want) {
				t.Errorf("got %v, want an error that names %s", err, test.want)
			}
			if _, err := v.Address(bounce.Sent{Recipient: "ann@example.net"}); err == nil {
				t.Error("Address: got no error")
			}
			if _, err := v.Read("a@b.example"); err == nil || errors.Is(err, bounce.ErrSignature) {
				t.Errorf("Read: got %v, want that of Check", err)
			}
		})
	}
	if _, err := newVERP().Address(bounce.Sent{Recipient: "no address"}); err == nil {
		t.Error("a recipient that is none: got no error")
	}
}

// transaction is what a Sender was called with.
type transaction struct {
	from, to string
	notify   smtp.Notify
}

// wire is a Sender that keeps its transactions.
type wire struct {
	sent  []transaction
	reply func(to string) smtp.Result
}

func (w *wire) Send(_ context.Context, env *smtp.Envelope, _ smtp.Content) ([]smtp.Result, error) {
	var results []smtp.Result
	for _, to := range env.Recipients {
		w.sent = append(w.sent, transaction{env.From, to.Address, to.Notify})
		r := smtp.Result{Outcome: smtp.Delivered, Stage: smtp.StageFinal, Reply: smtp.NewReply(250, "2.0.0", "ok"), DSN: true}
		if w.reply != nil {
			r = w.reply(to.Address)
		}
		results = append(results, r)
	}
	return results, nil
}

// TestVERPWrap: each recipient has a reverse-path of its own, and the Results are in order.
func TestVERPWrap(t *testing.T) {
	v, w := newVERP(), &wire{reply: func(to string) smtp.Result {
		if strings.HasPrefix(to, "nobody") {
			return smtp.Result{Outcome: smtp.Rejected, Stage: smtp.StageRcpt, Reply: smtp.NewReply(550, "5.1.1", "no such user")}
		}
		return smtp.Result{Outcome: smtp.Delivered, Stage: smtp.StageFinal, Reply: smtp.NewReply(250, "2.0.0", "ok"), DSN: true}
	}}
	env := smtp.NewEnvelope("news@example.com", "ann@example.net", "nobody@example.net", "Bob@example.org")
	env.Recipients[0].Notify = smtp.NotifyNever
	before := fmt.Sprintf("%+v", env)
	ctx := smtp.WithJob(t.Context(), smtp.Job{ID: "2k", Ref: "7", Tenant: "acme", Origin: smtp.OriginCode})
	results, err := v.Wrap(w).Send(ctx, env, smtp.Text("hello"))
	if err != nil || len(results) != 3 || len(w.sent) != 3 {
		t.Fatalf("got %v and %v, want three results of three transactions", results, err)
	}
	for i, to := range []string{"ann@example.net", "nobody@example.net", "Bob@example.org"} {
		sent, err := v.Read(w.sent[i].from)
		if err != nil || sent.Recipient != to || sent.ID != "2k" || sent.Ref != "7" || sent.Tenant != "acme" {
			t.Errorf("got reverse-path %s for %s: %+v and %v", w.sent[i].from, to, sent, err)
		}
		if w.sent[i].to != to || results[i].Recipient != to || w.sent[i].notify != smtp.NotifyFailure || results[i].DSN {
			t.Errorf("got %+v with the result %+v for %s", w.sent[i], results[i], to)
		}
	}
	if results[1].Outcome != smtp.Rejected || results[1].Reply.Code != 550 || results[2].Outcome != smtp.Delivered {
		t.Errorf("got %+v, want the second alone rejected, with its Reply", results)
	}
	if after := fmt.Sprintf("%+v", env); after != before {
		t.Errorf("the envelope was changed: got %s, want %s", after, before)
	}
}

// TestVERPApplies: mail that isn't ours keeps its reverse-path.
func TestVERPApplies(t *testing.T) {
	job := func(o smtp.Origin) context.Context { return smtp.WithJob(t.Context(), smtp.Job{ID: "2", Origin: o}) }
	for _, test := range []struct {
		name    string
		from    string
		ctx     context.Context
		applies func(context.Context, *smtp.Envelope) bool
		want    bool
	}{
		{"code", "news@example.com", job(smtp.OriginCode), nil, true},
		{"no queue", "news@example.com", t.Context(), nil, true},
		{"a report", "", job(smtp.OriginCode), nil, false},
		{"a stranger", "news@example.com", job(smtp.OriginStranger), nil, false},
		{"a user", "news@example.com", job(smtp.OriginAuthenticated), nil, false},
		{"a user, by choice", "news@example.com", job(smtp.OriginAuthenticated), func(context.Context, *smtp.Envelope) bool { return true }, true},
		{"code, by choice", "news@example.com", job(smtp.OriginCode), func(context.Context, *smtp.Envelope) bool { return false }, false},
		{"a report, by choice", "", job(smtp.OriginCode), func(context.Context, *smtp.Envelope) bool { return true }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, w := newVERP(), new(wire)
			v.Applies = test.applies
			if _, err := v.Wrap(w).Send(test.ctx, smtp.NewEnvelope(test.from, "a@example.net", "b@example.net"), smtp.Text("hello")); err != nil {
				t.Fatal(err)
			}
			if signed := v.Signed(w.sent[0].from); signed != test.want || !signed && w.sent[0].from != test.from {
				t.Errorf("got reverse-path %q, want a signed one: %t", w.sent[0].from, test.want)
			}
		})
	}
}

// TestVERPStops: a host that is down, or wants no more now, is asked once, and the hosts of other domains still are.
func TestVERPStops(t *testing.T) {
	for _, test := range []struct {
		name   string
		result smtp.Result
		want   int // transactions
	}{
		{"down", smtp.Result{Stage: smtp.StageConnect, Reply: smtp.NewReply(451, "4.4.1", "no answer"), Local: true}, 3},
		{"no more", smtp.Result{Stage: smtp.StageMail, Reply: smtp.NewReply(421, "4.7.0", "too many"), Reason: smtp.RateLimited}, 3},
		{"no more for this recipient", smtp.Result{Stage: smtp.StageRcpt, Reason: smtp.RateLimited,
			Reply: smtp.NewReply(450, "4.2.1", "this user is receiving mail too quickly")}, 12},
		{"greylisted", smtp.Result{Stage: smtp.StageRcpt, Reply: smtp.NewReply(450, "4.7.1", "greylisted")}, 12},
		{"unknown", smtp.Result{Outcome: smtp.Unknown, Stage: smtp.StageFinal, Reply: smtp.NewReply(451, "4.4.2", "lost"), Local: true}, 12},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := &wire{reply: func(to string) smtp.Result {
				if strings.HasSuffix(to, "@good.test") {
					return smtp.Result{Outcome: smtp.Delivered}
				}
				return test.result
			}}
			env := smtp.NewEnvelope("news@example.com", "a@good.test")
			for i := range 10 {
				env.Recipients = append(env.Recipients, smtp.Recipient{Address: fmt.Sprintf("u%d@bad.test", i)})
			}
			env.Recipients = append(env.Recipients, smtp.Recipient{Address: "b@good.test"})
			results, _ := newVERP().Wrap(w).Send(t.Context(), env, smtp.Text("hello"))
			if len(w.sent) != test.want {
				t.Errorf("got %d transactions, want %d", len(w.sent), test.want)
			}
			for i, r := range results {
				good := strings.HasSuffix(env.Recipients[i].Address, "@good.test")
				if r.Recipient != env.Recipients[i].Address || (r.Outcome == smtp.Delivered) != good || r.Reply == nil {
					t.Errorf("got %+v for %s", r, env.Recipients[i].Address)
				}
			}
		})
	}
}

// TestVERPCancelled: after the end of ctx nothing is sent.
func TestVERPCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	w := new(wire)
	w.reply = func(string) smtp.Result {
		cancel()
		return smtp.Result{Outcome: smtp.Delivered}
	}
	results, err := newVERP().Wrap(w).Send(ctx, smtp.NewEnvelope("a@example.com", "a@a.test", "b@b.test"), smtp.Text("hello"))
	if len(w.sent) != 1 || len(results) != 2 || results[1].Outcome != smtp.Deferred || !errors.Is(err, context.Canceled) {
		t.Errorf("got %d transactions, %+v and %v, want the second recipient deferred", len(w.sent), results, err)
	}
}

// TestVERPMistake: with a mistake in its fields, nothing is sent, and nothing is lost.
func TestVERPMistake(t *testing.T) {
	w := new(wire)
	results, err := new(bounce.VERP).Wrap(w).Send(t.Context(), smtp.NewEnvelope("a@example.com", "a@a.test"), smtp.Text("hello"))
	if len(w.sent) != 0 || len(results) != 1 || results[0].Outcome != smtp.Deferred || err == nil {
		t.Errorf("got %d transactions, %+v and %v, want it deferred", len(w.sent), results, err)
	}
	sender := newVERP().Wrap(new(bounce.VERP).Wrap(w)).(interface{ Check(context.Context) error })
	if err := sender.Check(t.Context()); err == nil {
		t.Error("Check: got no error of the Sender inside")
	}
}

// FuzzVERPRead has any address read: nothing that wasn't made by Address is.
func FuzzVERPRead(f *testing.F) {
	v := newVERP()
	for _, s := range []bounce.Sent{
		{ID: "2", Recipient: "ann@example.net"},
		{ID: "1k7", Recipient: "Ann.McBee+17@e-mail.example", Tenant: "acme", Ref: "news-7"},
		{ID: "X", Recipient: strings.Repeat("a", 60) + "@example.net"},
	} {
		address, err := v.Address(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(address)
	}
	f.Add("b+@bounces.example.com")
	f.Add("B+aaaaaaaaaaaaaaaaaaaaaaaaaaaa@BOUNCES.example.com")
	f.Fuzz(func(t *testing.T, address string) {
		s, err := v.Read(address)
		if err != nil {
			return
		}
		if s.Recipient == "" {
			return // it can't be made again
		}
		again, err := v.Address(*s)
		if err != nil || !strings.EqualFold(again, address) && !s.IDLeftOut && !s.TenantLeftOut && !s.RefLeftOut {
			t.Errorf("%q is read as %+v, and made as %q, %v", address, s, again, err)
		}
	})
}

func BenchmarkVERP(b *testing.B) {
	v := newVERP()
	s := bounce.Sent{ID: "1k7", Recipient: "ann.smith@example.net", Tenant: "acme"}
	address, err := v.Address(s)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("Address", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			v.Address(s)
		}
	})
	b.Run("Read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			v.Read(address)
		}
	})
}
