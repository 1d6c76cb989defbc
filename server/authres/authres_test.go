package authres

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/internal/checktest"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/dmarc"
	"github.com/postrider/postrider/smtp/spf"
)

func TestReverse(t *testing.T) {
	for _, c := range []struct {
		name, zone, ip string
		want           Verdict
		host           string
	}{
		{"right", "192.0.2.1 PTR A.example.\na.example A 192.0.2.1", "192.0.2.1", Pass, "a.example"},
		{"IPv6", "2001:db8::1 PTR a.example\na.example AAAA 2001:db8::1", "2001:db8::1", Pass, "a.example"},
		{"in IPv6 form", "192.0.2.1 PTR a.example\na.example A ::ffff:192.0.2.1", "192.0.2.1", Pass, "a.example"},
		{"the second", "192.0.2.1 PTR b.example\n192.0.2.1 PTR a.example\na.example A 192.0.2.1", "192.0.2.1", Pass, "a.example"},
		{"wrong", "192.0.2.1 PTR a.example\na.example A 192.0.2.2", "192.0.2.1", Fail, ""},
		{"no address", "192.0.2.1 PTR a.example", "192.0.2.1", Fail, ""},
		{"not a name", "192.0.2.1 PTR a..example", "192.0.2.1", Fail, ""},
		{"no name", "", "192.0.2.1", PermError, ""},
		{"a failure", "192.0.2.1 PTR !", "192.0.2.1", TempError, ""},
		{"a failure of the address", "192.0.2.1 PTR a.example\na.example A !", "192.0.2.1", TempError, ""},
		{"no client", "", "", None, ""},
		{"the eleventh name", strings.Repeat("192.0.2.1 PTR b.example\n", 10) + "192.0.2.1 PTR a.example\na.example A 192.0.2.1", "192.0.2.1", Fail, ""},
	} {
		ip, _ := netip.ParseAddr(c.ip)
		if got, host := reverse(t.Context(), newZone(c.zone), ip); got != c.want || host != c.host {
			t.Errorf("%s: got %v %q, want %v %q", c.name, got, host, c.want, c.host)
		}
	}
}

// TestField: the header field, as it is on the wire.
func TestField(t *testing.T) {
	failed := errors.New("lookup x on 10.0.0.53: failed")
	for _, c := range []struct {
		name string
		r    Results
		want string
	}{
		{"nothing", Results{null: true}, " mx.test;\n\tiprev=none;\n\tspf=none;\n\tdkim=none;\n\tdmarc=none"},
		{"all", Results{
			IP: netip.MustParseAddr("2001:db8::1"), IPRev: Pass,
			Hello: spf.Result{Code: spf.Neutral, Domain: "h.example"}, SPF: spf.Result{Code: spf.Pass, Domain: "example.net"},
			DKIM:  []Signature{{Pass, "example.net", "s1", "@example.net", "rsa-sha256", "ab+/c=12", false, nil}, {Fail, "example.org", "s2", "x@a.example.org", "rsa-sha256", "x", true, errors.New(`the "body"`)}},
			DMARC: dmarc.Result{Code: dmarc.Pass, Domain: "example.net", Policy: dmarc.Reject},
		}, " mx.test;\n\tiprev=pass policy.iprev=\"2001:db8::1\";\n\tspf=neutral smtp.helo=h.example;\n\tspf=pass smtp.mailfrom=example.net;" +
			"\n\tdkim=pass header.d=example.net header.s=s1 header.a=rsa-sha256\n\theader.b=\"ab+/c=12\";" +
			"\n\tdkim=fail reason=\"the \\\"body\\\"\" header.d=example.org header.s=s2\n\theader.i=x@a.example.org header.a=rsa-sha256 header.b=x;" +
			"\n\tdmarc=pass header.from=example.net policy.dmarc=reject"},
		{"transient errors tell nothing of this host", Results{
			IP: netip.MustParseAddr("192.0.2.1"), null: true, IPRev: TempError,
			Hello: spf.Result{Code: spf.TempError, Domain: "h.example", Err: failed},
			DKIM:  []Signature{{Verdict: TempError, Domain: "example.net", Identity: "@example.net", Err: failed}},
			DMARC: dmarc.Result{Code: dmarc.TempError, Domain: "example.net", Err: failed},
		}, " mx.test;\n\tiprev=temperror policy.iprev=192.0.2.1;\n\tspf=temperror smtp.helo=h.example;\n\tdkim=temperror header.d=example.net;\n\tdmarc=temperror header.from=example.net"},
		{"text from outside", Results{
			Hello: spf.Result{Code: spf.PermError, Err: errors.New("a\r\nX: b\x00\u017f\\")},
			SPF:   spf.Result{Code: spf.None, Domain: "a b;c"},
			DKIM:  []Signature{{Verdict: Neutral, Domain: "a;b@c", Selector: "\r\n", Identity: "a b@c", Algorithm: strings.Repeat("x", 5000), Err: errors.New("x")}},
		}, " mx.test;\n\tiprev=none;\n\tspf=permerror reason=\"a??X: b??\\\\\";\n\tspf=none smtp.mailfrom=\"a b;c\";\n\tdkim=neutral reason=x header.d=\"a;b@c\" header.s=\"??\" header.i=\"a b@c\"\n\theader.a=" + strings.Repeat("x", 320) + ";\n\tdmarc=none"},
	} {
		f := c.r.Field("mx.test")
		if want := message(c.want); f.Name != "Authentication-Results" || f.Value != want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, f.Value, want)
		}
	}
}

// net4 is a domain with SPF, DKIM and DMARC.
func net4(t testing.TB, policy string) *zone {
	z := keys(t)
	for name, data := range newZone(`
		example.net TXT v=spf1 ip4:192.0.2.1 -all
		h.example TXT v=spf1 a -all
		h.example A 192.0.2.1
		192.0.2.1 PTR h.example
		_dmarc.example.net TXT ` + policy).records {
		z.records[name] = data
	}
	return z
}

// TestVerify: all methods together.
func TestVerify(t *testing.T) {
	signed := signer{}.sign(plain)
	for _, c := range []struct{ name, ip, from, text, want string }{
		{"all pass", "192.0.2.1", "ann@example.net", signed, "iprev=pass helo=pass spf=pass dkim=pass (example.net) dmarc=pass (example.net)"},
		{"SPF alone", "192.0.2.1", "ann@example.net", plain, "iprev=pass helo=pass spf=pass dmarc=pass (example.net)"},
		{"DKIM alone", "192.0.2.9", "ann@example.org", signed, "iprev=permerror helo=fail spf=none dkim=pass (example.net) dmarc=pass (example.net)"},
		{"neither", "192.0.2.9", "ann@example.net", plain, "iprev=permerror helo=fail spf=fail dmarc=fail (example.net)"},
		{"changed", "192.0.2.9", "", strings.Replace(signed, "Hi", "Ho", 1), "iprev=permerror helo=fail spf=fail dkim=fail (example.net) dmarc=fail (example.net)"},
		{"a null reverse-path", "192.0.2.1", "", plain, "iprev=pass helo=pass spf=pass dmarc=fail (example.net)"},
		{"another From", "192.0.2.1", "ann@example.net", strings.Replace(plain, "example.net", "example.org", 1), "iprev=pass helo=pass spf=pass dmarc=none (example.org)"},
		{"two From fields", "192.0.2.1", "x@evil.example", "From: x@evil.example\r\n" + plain, "iprev=pass helo=pass spf=none dmarc=fail (example.net)"},
		{"From behind a line that is no field", "192.0.2.1", "x@evil.example", "From: x@evil.example\r\nno field\r\n" + plain, "iprev=pass helo=pass spf=none dmarc=fail (example.net)"},
		{"From with a folded name", "192.0.2.1", "x@evil.example", "To: x\r\nFrom\r\n : ann@example.net\r\n\r\n", "iprev=pass helo=pass spf=none dmarc=fail (example.net)"},
		{"From in the body", "192.0.2.1", "ann@example.net", plain + "From: x@evil.example\r\n", "iprev=pass helo=pass spf=pass dmarc=pass (example.net)"},
		{"no From", "192.0.2.1", "ann@example.net", "To: x\r\n\r\n", "iprev=pass helo=pass spf=pass dmarc=permerror ()"},
	} {
		v := &Verifier{Resolver: net4(t, "v=DMARC1; p=reject")}
		r, err := v.Verify(t.Context(), Mail{IP: netip.MustParseAddr(c.ip), Hello: "h.example", From: c.from, Content: strings.NewReader(c.text)})
		if err != nil || r.String() != c.want {
			t.Errorf("%s: got %v, %v; want %s", c.name, r, err, c.want)
		}
	}
}

// TestTemporary: a key or an SPF record that can't be looked up is no failure of DMARC.
func TestTemporary(t *testing.T) {
	for _, name := range []string{"ed._domainkey.example.net TXT", "example.net TXT"} {
		z := net4(t, "v=DMARC1; p=reject")
		z.records[name] = []string{"!"}
		text := plain
		if strings.HasPrefix(name, "ed.") {
			text = signer{}.sign(plain)
		}
		r, err := (&Verifier{Resolver: z}).Verify(t.Context(), Mail{IP: netip.MustParseAddr("192.0.2.9"), Hello: "h.example", From: "ann@example.net", Content: strings.NewReader(text)})
		if err != nil || r.DMARC.Code != dmarc.TempError || strings.Contains(r.Field("mx.test").Value, "10.0.0.53") {
			t.Errorf("%s: got %v, %v", name, r, err)
		}
	}
}

// stuck is a resolver that answers only when ctx ends.
type stuck struct{ *zone }

func (stuck) LookupTXT(ctx context.Context, _ string) ([]string, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (stuck) LookupAddr(ctx context.Context, _ string) ([]string, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestTimeout: 20 seconds for MAIL, and for the message.
func TestTimeout(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{0: 40 * time.Second, time.Second: 2 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			v := &Verifier{Resolver: stuck{keys(t)}, Timeout: timeout}
			begin := time.Now()
			r, err := v.Verify(t.Context(), Mail{IP: netip.MustParseAddr("192.0.2.1"), Hello: "h.example", From: "ann@example.net", Content: strings.NewReader(signer{}.sign(plain))})
			if time.Since(begin) != want || err != nil || r.String() != "iprev=temperror helo=temperror spf=temperror dkim=temperror (example.net) dmarc=temperror (example.net)" {
				t.Errorf("got %v, %v after %v, want temperrors after %v", r, err, time.Since(begin), want)
			}
		})
	}
}

// TestNoTimeForTheBody: the signatures are temperrors when the time ends before the body is read.
func TestNoTimeForTheBody(t *testing.T) {
	fields, body, _ := readFields(strings.NewReader(signer{}.sign(plain)))
	ctx, cancel := context.WithCancel(t.Context())
	d := &dkim{resolver: canceling{keys(t), cancel}, fields: fields, body: body}
	if list, err := d.verify(ctx); err != nil || list[0].Verdict != TempError || list[0].Err == nil {
		t.Errorf("got %+v, %v", list, err)
	}
}

// canceling ends a context after a lookup.
type canceling struct {
	*zone
	cancel func()
}

func (c canceling) LookupTXT(ctx context.Context, name string) ([]string, error) {
	defer c.cancel()
	return c.zone.LookupTXT(ctx, name)
}

// TestPanic: a resolver that panics does so in the caller, where the server recovers.
func TestPanic(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("got no panic")
		}
	}()
	(&Verifier{Resolver: panicking{}}).envelope(t.Context(), Mail{IP: netip.MustParseAddr("192.0.2.1"), Hello: "h.example"})
}

type panicking struct{ stuck }

func (panicking) LookupTXT(context.Context, string) ([]string, error)  { panic("resolver") }
func (panicking) LookupAddr(context.Context, string) ([]string, error) { return nil, nil }

// send sends a message from an address to a server with the check.
func send(t *testing.T, v *Verifier, ip, from, text string, behind ...server.Check) (reply string, mails []string) {
	s := checktest.Start(t, append([]server.Check{v.Check()}, behind...)...)
	c := s.Dial(ip).Hello("h.example")
	for _, line := range []string{"MAIL FROM:<" + from + ">", "RCPT TO:<bob@mx.test>", "DATA"} {
		c.Ask(line)
	}
	reply = c.Ask(strings.TrimSuffix(text, "\r\n") + "\r\n.")
	return reply, s.Mails()
}

// TestServer: what a client is told, and what is on top of the message.
func TestServer(t *testing.T) {
	const forged = "Authentication-Results: mx.test; spf=pass\r\nAuthentication-Results: other.test; spf=pass\r\n"
	text := signer{}.sign(plain)
	for _, c := range []struct {
		name, policy, ip string
		decide           func(context.Context, *server.Session, *Results) error
		text             string
		reply, top       string
	}{
		{"pass", "v=DMARC1; p=reject", "192.0.2.1", Enforce, text, "250", "\tdmarc=pass header.from=example.net policy.dmarc=reject\r\nDKIM-"},
		{"fail, only told", "v=DMARC1; p=reject", "192.0.2.9", nil, plain, "250", "\tdmarc=fail header.from=example.net policy.dmarc=reject\r\nFrom:"},
		{"fail, marked", "v=DMARC1; p=reject", "192.0.2.9", Mark, plain, "250", "policy.dmarc=reject\r\nX-DMARC: reject\r\nFrom:"},
		{"fail, refused", "v=DMARC1; p=reject", "192.0.2.9", Enforce, plain, "550 5.7.1 rejected by the DMARC policy of example.net", ""},
		{"quarantine, marked", "v=DMARC1; p=quarantine", "192.0.2.9", Mark, plain, "250", "X-DMARC: quarantine\r\nFrom:"},
		{"quarantine, enforced", "v=DMARC1; p=quarantine", "192.0.2.9", Enforce, plain, "250", "X-DMARC: quarantine\r\nFrom:"},
		{"testing, enforced", "v=DMARC1; p=reject; t=y", "192.0.2.9", Enforce, plain, "250", "X-DMARC: quarantine\r\nFrom:"},
		{"none, enforced", "v=DMARC1; p=none", "192.0.2.9", Enforce, plain, "250", "policy.dmarc=none\r\nFrom:"},
		{"a failed lookup, enforced", "!", "192.0.2.9", Enforce, plain, "250", "\tdmarc=temperror header.from=example.net\r\nFrom:"},
		{"a forged result", "v=DMARC1; p=none", "192.0.2.1", nil, forged + text, "250", "\r\nAuthentication-Results: other.test; spf=pass\r\nDKIM-"},
		{"a policy of one's own", "v=DMARC1; p=none", "192.0.2.9", func(_ context.Context, _ *server.Session, r *Results) error {
			return smtp.NewReply(450, "4.7.1", r.SPF.Code.String())
		}, plain, "450 4.7.1 fail", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := &Verifier{Resolver: net4(t, c.policy), Policy: c.decide}
				reply, mails := send(t, v, c.ip, "ann@example.net", c.text)
				if !strings.HasPrefix(reply, c.reply) || len(mails) != map[bool]int{true: 1}[c.top != ""] {
					t.Fatalf("got %q, %d mails", reply, len(mails))
				}
				if c.top == "" {
					return
				}
				if !strings.HasPrefix(mails[0], "Authentication-Results: mx.test;\r\n\tiprev=") || !strings.Contains(mails[0], c.top) ||
					strings.Count(mails[0], "mx.test;") != 1 {
					t.Errorf("got\n%s\nwant %q", mails[0], c.top)
				}
			})
		})
	}
}

// TestOf: the checks after this one see what is known so far, and strangers alone are evaluated.
func TestOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rcpt, content *Results
		reply, _ := send(t, &Verifier{Resolver: net4(t, "v=DMARC1; p=reject")}, "192.0.2.1", "ann@example.net", plain, server.Check{
			Name: "behind",
			Rcpt: func(_ context.Context, s *server.Session, _ smtp.Recipient) error { rcpt = Of(s); return nil },
			Content: func(_ context.Context, s *server.Session, _ *server.Message) error {
				content = Of(s)
				return nil
			},
		})
		if !strings.HasPrefix(reply, "250") || rcpt == nil || rcpt.SPF.Code != spf.Pass || rcpt.Name != "h.example" || rcpt.DMARC.Code != dmarc.None {
			t.Errorf("got %q; at RCPT %v", reply, rcpt)
		}
		if content == nil || content == rcpt || content.DMARC.Code != dmarc.Pass || !slices.Equal(content.From, []string{"example.net"}) {
			t.Errorf("at Content: got %v", content)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		z := net4(t, "v=DMARC1; p=reject")
		s := checktest.Start(t, (&Verifier{Resolver: z, Policy: Enforce}).Check(), server.Check{Name: "behind", Trusted: true,
			Content: func(_ context.Context, s *server.Session, _ *server.Message) error {
				if Of(s) != nil {
					t.Error("results for a client that authenticated")
				}
				return nil
			}})
		c := s.Dial("192.0.2.9").Hello("h.example").Auth()
		c.Mail("ann@example.net", "bob@mx.test")
		if mails := s.Mails(); len(mails) != 1 || strings.Contains(mails[0], "Authentication-Results") || len(z.asked) > 0 {
			t.Errorf("got %q, lookups %q", mails, z.asked)
		}
	})
}

// TestExplanation: that of SPF knows the name of the server.
func TestExplanation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := net4(t, "v=DMARC1; p=none")
		z.records["example.net TXT"] = []string{"v=spf1 exp=why.example.net -all"}
		z.records["why.example.net TXT"] = []string{"%{r} refuses %{i}"}
		var got string
		send(t, &Verifier{Resolver: z}, "192.0.2.9", "ann@example.net", plain, server.Check{Name: "behind",
			Rcpt: func(_ context.Context, s *server.Session, _ smtp.Recipient) error {
				got = Of(s).SPF.Explanation
				return nil
			}})
		if want := "mx.test refuses 192.0.2.9"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestFound: one finding for each message.
func TestFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := checktest.Start(t, (&Verifier{Resolver: net4(t, "v=DMARC1; p=none")}).Check())
		s.Dial("192.0.2.1").Hello("h.example").Mail("ann@example.net", "bob@mx.test")
		if got := s.Found(); len(got) != 1 || got[0] != "content: iprev=pass helo=pass spf=pass dmarc=permerror ()" {
			t.Errorf("got %q", got)
		}
	})
}

func TestFault(t *testing.T) {
	if err := (&Verifier{Timeout: -1}).Check().Fault; err == nil || !strings.Contains(err.Error(), "Timeout is -1ns") {
		t.Errorf("got %v", err)
	}
	if err := (&Verifier{}).Check().Fault; err != nil {
		t.Errorf("got %v", err)
	}
	if (&Verifier{}).resolver() == nil {
		t.Error("no default resolver")
	}
	if Verdict(99).String() != "unknown" || Policy.String() != "policy" {
		t.Error("wrong names")
	}
}
