package client

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// TestKeywords: mx.Route and Conn have the same list of extensions.
func TestKeywords(t *testing.T) {
	for _, name := range keywordNames {
		route := mustRoute(mx.Smarthost("127.0.0.1:25"))
		route.Without = []string{strings.ToLower(name)}
		if err := (&mx.Router{Routes: map[string]mx.Route{"*": route}}).Check(); err != nil {
			t.Error(err)
		}
		if k := keywordOf(strings.ToLower(name)); k == 0 || k&(k-1) != 0 {
			t.Errorf("%s: got set %b, want one", name, k)
		}
	}
	route := mustRoute(mx.Smarthost("127.0.0.1:25"))
	route.Without = []string{"X"}
	err := (&mx.Router{Routes: map[string]mx.Route{"*": route}}).Check()
	for _, name := range keywordNames {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, which doesn't list %s", err, name)
		}
	}
}

// TestWithout: what a host hears that offers everything.
func TestWithout(t *testing.T) {
	const offer = "S: 220 hi\nC: EHLO client.test\nS: 250-host\nS: 250-PIPELINING\nS: 250-8BITMIME\nS: 250-SMTPUTF8\nS: 250-DSN\n" +
		"S: 250-CHUNKING\nS: 250-BINARYMIME\nS: 250-LIMITS RCPTMAX=1\nS: 250 SIZE 5\n"
	full := "C: MAIL FROM:<ann@client.test> SIZE=8 BODY=8BITMIME RET=HDRS ENVID=q1\n"
	tests := []struct {
		without string
		script  string // after EHLO, up to the body
	}{
		{"size", strings.Replace(full, " SIZE=8", "", 1) + "C: RCPT TO:<bob@example.net> NOTIFY=NEVER\nC: DATA\n" + ready + "C: Hello.\nC: ."},
		{"SIZE CHUNKING", strings.Replace(full, " SIZE=8", "", 1) + "C: RCPT TO:<bob@example.net> NOTIFY=NEVER\nC: DATA\n" + ready + "C: Hello.\nC: ."},
		{"SIZE CHUNKING PIPELINING", strings.Replace(full, " SIZE=8", "", 1) + "S: 250 ok\nC: RCPT TO:<bob@example.net> NOTIFY=NEVER\nS: 250 ok\nC: DATA\nS: 354 go\nC: Hello.\nC: ."},
		{"SIZE CHUNKING DSN", "C: MAIL FROM:<ann@client.test> BODY=8BITMIME\nC: RCPT TO:<bob@example.net>\nC: DATA\n" + ready + "C: Hello.\nC: ."},
		{"SIZE CHUNKING DSN 8bitmime SmtpUTF8", toBob + ready + "C: Hello.\nC: ."},
	}
	for _, tt := range tests {
		t.Run(tt.without, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := newInternet(t)
				inet.scripts("127.0.0.1:25", offer+tt.script+"\nS: 250 taken\n"+quit)
				route := mustRoute(mx.Smarthost("127.0.0.1:25"))
				route.Without = strings.Fields(tt.without)
				tr := &Transport{Hostname: "client.test", ChunkSize: 64, DialContext: inet.DialContext,
					Router: &mx.Router{Routes: map[string]mx.Route{"*": route}}}
				if slices.Contains(route.Without, "CHUNKING") {
					tr.ChunkSize = 4 // with CHUNKING, it would be two
				}
				env := smtp.NewEnvelope("ann@client.test", "bob@example.net")
				env.Body, env.UTF8, env.Ret, env.EnvID, env.Recipients[0].Notify = smtp.Body8BitMIME, true, smtp.RetHeaders, "q1", smtp.NotifyNever
				results, err := tr.Send(t.Context(), env, strings.NewReader("Hello.\r\n"))
				tr.Close()
				checkError(t, results, err)
			})
		})
	}
}

// TestWithoutLimits: a session without LIMITS takes all recipients at once.
func TestWithoutLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pipe("192.0.2.1:25")
		heard := make(chan []string, 1)
		script := steps("S: 220 hi\nC: EHLO client.test\nS: 250-host\nS: 250-PIPELINING\nS: 250 LIMITS RCPTMAX=1 MAILMAX=1 RCPTDOMAINMAX=1\n" + toTwo + "S: 250 ok\n" + ready + body + taken + quit)
		go func() { heard <- play(server, script, nil, nil) }()
		c := &Conn{Hostname: "client.test", Without: []string{"limits"}}
		if err := c.Open(t.Context(), client); err != nil {
			t.Fatal(err)
		}
		c.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net", "eve@example.net"), smtp.Text("Hello.\n"))
		if !c.Ready() {
			t.Error("got a session that is spent, want one without bounds")
		}
		c.Quit(t.Context())
		if got, want := strings.Join(<-heard, "\n"), strings.Join(script, "\n"); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

// TestUnknownWithout: a keyword that isn't known is an error before a byte is sent.
func TestUnknownWithout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, keyword := range []string{"STARTTLS", "AUTH", "PIPELINE", "", "8BITMIME "} {
			client, server := pipe("192.0.2.1:25")
			heard := make(chan []string, 1)
			go func() { heard <- play(server, steps("S: 220 hi\neof"), nil, nil) }()
			err := (&Conn{Hostname: "client.test", Without: []string{"DSN", keyword}}).Open(t.Context(), client)
			if want := fmt.Sprintf("451 4.3.5 Without has %+q", keyword); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
			if got := strings.Join(<-heard, "\n"); got != "S: 220 hi\neof" {
				t.Errorf("%s: got\n%s", keyword, got)
			}
		}
	})
}

// TestBrokenPipelining: what shows that a host fails at PIPELINING, and what doesn't. The next session shows whether it
// is remembered.
func TestBrokenPipelining(t *testing.T) {
	const one = toBob + ready + body + taken
	tests := []struct {
		name   string
		script string // of the first session, in which bob gets nothing
		broken bool
	}{
		{"closed", hello + toBob + "close", true},
		{"closed after a reply", hello + toBob + "S: 250 ok\nclose", true},
		{"more commands unheard", hello + toBob + "S: 250 ok\nsleep 6m", true},
		{"a reply too many", hello + toBob + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\neof", true},
		{"no reply", hello + toBob + "S: 250 ok\nS: what?\neof", true},
		{"slow", hello + toBob + "sleep 6m", false},
		{"421", hello + toBob + "S: 421 4.3.2 busy\neof", false},
		{"refused and closed", hello + toBob + "S: 451 4.3.0 no\nclose", false},
		{"refused", hello + toBob + "S: 451 4.3.0 no\nS: 503 no\nS: 503 no\n" + one + quit, false},
		{"lost in the body", hello + toBob + ready + "close", false},
		{"died while idle", hello + one + toBob + "close", false},
		{"it has worked before", hello + one + toBob + "S: 250 ok\nclose", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := newInternet(t)
				next := whole
				if tt.broken {
					next = slowly
				}
				scripts := []string{tt.script, next}
				if strings.HasSuffix(tt.script, one+quit) {
					scripts = scripts[:1]
				}
				inet.scripts("127.0.0.1:25", scripts...)
				tr := &Transport{Hostname: "client.test", DialContext: inet.DialContext,
					Router: &mx.Router{Routes: map[string]mx.Route{"*": mustRoute(mx.Smarthost("127.0.0.1:25"))}}}
				sendBob(t, tr)
				if got := sendBob(t, tr); got != "delivered final" {
					t.Errorf("got %s, want delivered final", got)
				}
				tr.Close()
			})
		})
	}
}

// TestRefusedParams: parameters that a host refuses, although it offers them, are left out at once where the message can
// do without, and later too if that helped.
func TestRefusedParams(t *testing.T) {
	const (
		ehlo  = "S: 220 hi\nC: EHLO client.test\nS: 250-host\nS: 250-8BITMIME\nS: 250-SMTPUTF8\nS: 250-DSN\nS: 250 SIZE\n"
		mail  = "C: MAIL FROM:<ann@client.test> SIZE=8 BODY=8BITMIME RET=HDRS ENVID=q1\n"
		plain = "C: MAIL FROM:<ann@client.test>\nS: 250 ok\n"
		rcpt  = "C: RCPT TO:<bob@example.net>\nS: 250 ok\n"
		rest  = "C: DATA\nS: 354 go\n" + body + taken
		rset  = "C: RSET\nS: 250 ok\n"
	)
	tests := []struct {
		name   string
		first  string // session
		second string // the same message again; empty if in the first session
		want   string // outcome, and whether the host took the DSN parameters
	}{
		{"555 to MAIL", ehlo + mail + "S: 555 5.5.4 what?\n" + plain + rcpt + rest + plain + rcpt + rest + quit, "", "delivered false"},
		{"501 to MAIL", ehlo + mail + "S: 501 syntax error\n" + plain + rcpt + rest + plain + rcpt + rest + quit, "", "delivered false"},
		{"504 to MAIL", ehlo + mail + "S: 504 5.5.4 no SIZE\n" + plain + rcpt + rest + plain + rcpt + rest + quit, "", "delivered false"},
		{"501 to MAIL about the address", ehlo + mail + "S: 501 5.1.7 bad address\n" + mail + "S: 501 5.1.7 bad address\n" + quit,
			ehlo + mail + "S: 501 5.1.7 bad address\n" + quit, "rejected false"},
		{"555 with and without", ehlo + mail + "S: 555 5.5.4 what?\nC: MAIL FROM:<ann@client.test>\nS: 555 5.5.4 what?\n" +
			mail + "S: 555 5.5.4 what?\nC: MAIL FROM:<ann@client.test>\nS: 555 5.5.4 what?\n" + quit,
			ehlo + mail + "S: 555 5.5.4 what?\nC: MAIL FROM:<ann@client.test>\nS: 555 5.5.4 what?\n" + quit, "rejected false"},
		{"501 to RCPT", ehlo + mail + "S: 250 ok\nC: RCPT TO:<bob@example.net> NOTIFY=NEVER\nS: 501 5.5.4 what?\n" + rset +
			strings.Replace(mail, " RET=HDRS ENVID=q1", "", 1) + "S: 250 ok\n" + rcpt + rest +
			strings.Replace(mail, " RET=HDRS ENVID=q1", "", 1) + "S: 250 ok\n" + rcpt + rest + quit, "", "delivered false"},
		{"504 to RCPT, with and without", ehlo + mail + "S: 250 ok\nC: RCPT TO:<bob@example.net> NOTIFY=NEVER\nS: 504 5.5.2 who are you?\n" + rset +
			strings.Replace(mail, " RET=HDRS ENVID=q1", "", 1) + "S: 250 ok\nC: RCPT TO:<bob@example.net>\nS: 504 5.5.2 who are you?\n" + rset +
			mail + "S: 250 ok\nC: RCPT TO:<bob@example.net> NOTIFY=NEVER\nS: 504 5.5.2 who are you?\n" + rset +
			strings.Replace(mail, " RET=HDRS ENVID=q1", "", 1) + "S: 250 ok\nC: RCPT TO:<bob@example.net>\nS: 504 5.5.2 who are you?\n" + quit, "", "rejected false"},
		{"555 and closed", ehlo + mail + "S: 555 5.5.4 what?\nclose", ehlo + mail + "S: 555 5.5.4 what?\nclose", "deferred false"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := newInternet(t)
				scripts := []string{tt.first}
				if tt.second != "" {
					scripts = append(scripts, tt.second)
				}
				inet.scripts("127.0.0.1:25", scripts...)
				tr := &Transport{Hostname: "client.test", DialContext: inet.DialContext,
					Router: &mx.Router{Routes: map[string]mx.Route{"*": mustRoute(mx.Smarthost("127.0.0.1:25"))}}}
				env := smtp.NewEnvelope("ann@client.test", "bob@example.net")
				env.Body, env.UTF8, env.Ret, env.EnvID, env.Recipients[0].Notify = smtp.Body8BitMIME, true, smtp.RetHeaders, "q1", smtp.NotifyNever
				for range 2 {
					results, err := tr.Send(t.Context(), env, strings.NewReader("Hello.\r\n"))
					checkError(t, results, err)
					if got := fmt.Sprint(results[0].Outcome, " ", results[0].DSN); got != tt.want {
						t.Errorf("got %s, want %s: %s", got, tt.want, show(results))
					}
					time.Sleep(time.Second)
				}
				tr.Close()
			})
		})
	}
}

// TestRefused8BitMIME: an 8-bit message goes in 7 bits to a host that offers 8BITMIME and refuses its parameter, if it
// can be converted. That isn't remembered: other 8-bit messages are offered as they are first.
func TestRefused8BitMIME(t *testing.T) {
	const (
		ehlo      = "S: 220 hi\nC: EHLO client.test\nS: 250-host\nS: 250-8BITMIME\nS: 250-SMTPUTF8\nS: 250 DSN\n"
		rcpt      = "C: RCPT TO:<bob@example.net>\nS: 250 ok\nC: DATA\nS: 354 go\n"
		eight     = "C: MAIL FROM:<ann@client.test> BODY=8BITMIME\nS: 555 5.5.4 no BODY here\n"
		plain     = "C: MAIL FROM:<ann@client.test>\n"
		converted = "S: 250 ok\n" + rcpt + "C: Subject: x\nC: MIME-Version: 1.0\nC: Content-Type: text/plain; charset=utf-8\n" +
			"C: Content-Transfer-Encoding: quoted-printable\nC: \nC: caf=C3=A9\nC: .\n" + taken
	)
	tests := []struct {
		name, content, script string
		change                func(*smtp.Envelope)
		want                  string
	}{
		{"converted", "Subject: x\r\n\r\ncafé\r\n", ehlo + eight + plain + converted + eight + plain + converted + quit, nil, "delivered final"},
		{"refused in 7 bits, too", "Subject: x\r\n\r\ncafé\r\n", ehlo + eight + plain + "S: 555 5.5.4 what?\n" + quit, nil, "rejected mail"},
		{"with other parameters", "Subject: x\r\n\r\ncafé\r\n", ehlo + strings.Repeat(strings.Replace(eight, "8BITMIME", "8BITMIME RET=HDRS", 1)+
			eight+strings.Replace(plain, ">", "> RET=HDRS", 1)+converted, 2) + quit,
			func(env *smtp.Envelope) { env.Ret = smtp.RetHeaders }, "delivered final"},
		{"signed", "DKIM-Signature: v=1\r\n\r\ncafé\r\n", ehlo + eight + quit, nil, "rejected mail"},
		{"a header", "Subject: café\r\n\r\nx\r\n", ehlo + eight + quit, nil, "rejected mail"},
		{"SMTPUTF8", "Subject: café\r\n\r\ncafé\r\n", ehlo + strings.Replace(eight, "8BITMIME", "8BITMIME SMTPUTF8", 1) + quit,
			func(env *smtp.Envelope) { env.UTF8 = true }, "rejected mail"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := newInternet(t)
				inet.scripts("127.0.0.1:25", tt.script)
				tr := &Transport{Hostname: "client.test", DialContext: inet.DialContext,
					Router: &mx.Router{Routes: map[string]mx.Route{"*": mustRoute(mx.Smarthost("127.0.0.1:25"))}}}
				env := smtp.NewEnvelope("ann@client.test", "bob@example.net")
				if tt.change != nil {
					tt.change(env)
				}
				for range 1 + strings.Count(tt.want, "delivered") {
					results, err := tr.Send(t.Context(), env, strings.NewReader(tt.content))
					checkError(t, results, err)
					if got := fmt.Sprint(results[0].Outcome, " ", results[0].Stage); got != tt.want {
						t.Errorf("got %s, want %s: %s", got, tt.want, show(results))
					}
				}
				tr.Close()
			})
		})
	}
}

// TestRefusedParamsAndMessage: a host that refuses the parameters of one recipient, and then the message for now,
// rejects nobody.
func TestRefusedParamsAndMessage(t *testing.T) {
	for _, rest := range []string{
		"C: DATA\nS: 451 4.3.0 later\n",
		"C: DATA\nS: 354 go\n" + body + "S: 451 4.3.0 later\n",
	} {
		synctest.Test(t, func(t *testing.T) {
			inet := newInternet(t)
			inet.scripts("127.0.0.1:25", "S: 220 hi\nC: EHLO client.test\nS: 250-host\nS: 250 DSN\n"+
				"C: MAIL FROM:<ann@client.test>\nS: 250 ok\nC: RCPT TO:<bob@example.net>\nS: 250 ok\n"+
				"C: RCPT TO:<eve@example.net> NOTIFY=NEVER\nS: 501 5.5.4 what?\n"+rest+quit)
			tr := &Transport{Hostname: "client.test", DialContext: inet.DialContext,
				Router: &mx.Router{Routes: map[string]mx.Route{"*": mustRoute(mx.Smarthost("127.0.0.1:25"))}}}
			env := smtp.NewEnvelope("ann@client.test", "bob@example.net", "eve@example.net")
			env.Recipients[1].Notify = smtp.NotifyNever
			results, err := tr.Send(t.Context(), env, strings.NewReader("Hello.\r\n"))
			tr.Close()
			checkError(t, results, err)
			for _, r := range results {
				if r.Outcome != smtp.Deferred || r.Reply.Code != 451 {
					t.Errorf("%q: got %v %v, want deferred by 451", rest, r.Outcome, r.Reply)
				}
			}
		})
	}
}

func TestSpare(t *testing.T) {
	const all = kwSize | kwDSN | kw8BitMIME
	for _, tt := range []struct {
		name     string
		from, to string
		content  string
		want     keywords
	}{
		{"plain", "ann@a.test", "bob@b.test", "Subject: x\r\n\r\nx\r\n", all},
		{"8-bit body", "ann@a.test", "bob@b.test", "Subject: x\r\n\r\n\xe9\r\n", all &^ kw8BitMIME},
		{"8-bit header", "ann@a.test", "bob@b.test", "Subject: caf\u00e9\r\n\r\nx\r\n", all &^ kw8BitMIME},
		{"UTF-8 sender", "änn@a.test", "bob@b.test", "x\r\n", all},
		{"UTF-8 recipient", "ann@a.test", "böb@b.test", "x\r\n", all},
		{"a domain with an A-label", "ann@a.test", "bob@bücher.test", "x\r\n", all},
	} {
		m := newMessage(smtp.NewEnvelope(tt.from, tt.to), strings.NewReader(tt.content))
		if f := m.check(); f != nil {
			t.Fatal(f)
		}
		if got := m.spare(); got != tt.want {
			t.Errorf("%s: got %08b, want %08b", tt.name, got, tt.want)
		}
	}
}
