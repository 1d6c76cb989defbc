package replies

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

// own is a reply of our own making.
type own struct {
	reason string
	reply  *smtp.Reply
}

func readOwn(t testing.TB) (list []own) {
	b, err := os.ReadFile("testdata/own.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSuffix(line, "\n"); strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.SplitN(line, "|", 4)
		code, err := strconv.Atoi(f[1])
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		list = append(list, own{f[0], smtp.NewReply(code, f[2], f[3])})
	}
	return list
}

func TestOwnReplies(t *testing.T) {
	list := readOwn(t)
	seen := make(map[string]bool)
	for _, o := range list {
		seen[o.reason] = true
		if m := Classify(o.reply, smtp.StageRcpt, ""); m.Reason.String() != o.reason {
			t.Errorf("%v: got %v by %s, want %s", o.reply, m.Reason, m.Rule, o.reason)
		}
	}
	for r := smtp.Other; r <= smtp.Temporary; r++ {
		if !seen[r.String()] {
			t.Errorf("no row has the reason %v", r)
		}
	}
	if len(list) < 150 {
		t.Errorf("got %d rows, want 150", len(list))
	}
}

// TestSenderAtMail: an answer to MAIL is about the sender's domain; an answer to RCPT only if its words are.
func TestSenderAtMail(t *testing.T) {
	for _, tt := range []struct {
		text   string
		atMail smtp.Reason
		atRcpt smtp.Reason
	}{
		{"no such domain nope.test; original sender: a@b.test", smtp.PolicyAuth, smtp.HostUnknown},
		{"sender ok; host mx.nope.test said: domain disabled", smtp.PolicyAuth, smtp.HostUnknown},
		{"the sender domain does not exist", smtp.PolicyAuth, smtp.PolicyAuth},
	} {
		reply := smtp.NewReply(550, "", tt.text)
		if got := Classify(reply, smtp.StageMail, "").Reason; got != tt.atMail {
			t.Errorf("%s: got %v at MAIL, want %v", tt.text, got, tt.atMail)
		}
		if got := Classify(reply, smtp.StageRcpt, "").Reason; got != tt.atRcpt {
			t.Errorf("%s: got %v at RCPT, want %v", tt.text, got, tt.atRcpt)
		}
	}
}

func TestMeaning(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reply *smtp.Reply
		host  string
		want  Meaning // without Rule
	}{
		{"a taken one", smtp.NewReply(250, "2.0.0", "blocked, over quota"), "mx.google.com", Meaning{}},
		{"a provider", smtp.NewReply(550, "5.1.1", "no such user"), "gmail-smtp-in.l.GOOGLE.com.",
			Meaning{Reason: smtp.UserUnknown, Provider: "google"}},
		{"no provider", smtp.NewReply(550, "5.1.1", "no such user"), "notgoogle.com", Meaning{Reason: smtp.UserUnknown}},
		{"a list", smtp.NewReply(554, "5.7.1", "192.0.2.1 blocked, see https://www.spamhaus.org/query/ip/192.0.2.1"), "",
			Meaning{Reason: smtp.Blocklisted, By: "Spamhaus"}},
		{"a list nobody knows", smtp.NewReply(554, "5.7.1", "Client host [192.0.2.1] blocked using BL.example.org; go"), "",
			Meaning{Reason: smtp.Blocklisted, By: "BL.example.org"}},
		{"a list of senders", smtp.NewReply(554, "5.7.1", "Sender address [a@b.example] blocked using dbl.spamhaus.org"), "",
			Meaning{Reason: smtp.Blocklisted, Scope: SPFDomain, By: "Spamhaus"}},
		{"a sender's reputation", smtp.NewReply(550, "5.7.1", "the reputation of your domain is bad"), "",
			Meaning{Reason: smtp.Blocklisted, Scope: SPFDomain}},
		{"an address", smtp.NewReply(421, "4.7.28", "an unusual rate of mail from your IP address"), "",
			Meaning{Reason: smtp.RateLimited, Scope: Address}},
		{"a network", smtp.NewReply(421, "4.7.28", "an unusual rate of mail from your IP netblock"), "",
			Meaning{Reason: smtp.RateLimited, Scope: Network}},
		{"a signature", smtp.NewReply(421, "4.7.28", "an unusual rate of mail from your DKIM domain"), "",
			Meaning{Reason: smtp.RateLimited, Scope: DKIMDomain}},
		{"a reverse-path", smtp.NewReply(421, "4.7.28", "an unusual rate of mail from your SPF domain"), "",
			Meaning{Reason: smtp.RateLimited, Scope: SPFDomain}},
		{"connections", smtp.NewReply(421, "4.7.0", "too many connections"), "", Meaning{Reason: smtp.RateLimited, Scope: Connection}},
		{"a recipient", smtp.NewReply(450, "4.2.1", "this user is receiving mail at a rate that is too high"), "",
			Meaning{Reason: smtp.RateLimited, Scope: Recipient}},
		{"a message", smtp.NewReply(452, "4.5.3", "too many recipients"), "", Meaning{Reason: smtp.RateLimited, Scope: Message}},
		{"recipients of an address", smtp.NewReply(450, "4.7.1", "Error: too many recipients from 192.0.2.1"), "",
			Meaning{Reason: smtp.RateLimited, Scope: Address}},
		{"recipients of a time", smtp.NewReply(451, "4.7.1", "too many recipients in the last hour"), "",
			Meaning{Reason: smtp.RateLimited}},
		{"one message, and a time", smtp.NewReply(452, "4.5.3", "too many recipients in one message, try again in an hour"), "",
			Meaning{Reason: smtp.RateLimited, Scope: Message}},
		{"nobody's", smtp.NewReply(421, "", "slow down"), "", Meaning{Reason: smtp.RateLimited}},
		{"a code that isn't at the beginning", smtp.NewReply(550, "", "no (#5.1.1)"), "", Meaning{Reason: smtp.UserUnknown, ByCode: true}},
		{"no words that are known", smtp.NewReply(550, "", "no"), "", Meaning{Reason: smtp.Other, ByCode: true}},
		{"words that are Other", smtp.NewReply(554, "5.4.6", "too many hops"), "", Meaning{Reason: smtp.Other}},
		{"the code rules", &smtp.Reply{Code: 421, Enhanced: smtp.EnhancedCode{5, 7, 32}, Text: "this mail has been rate limited"}, "",
			Meaning{Reason: smtp.RateLimited}},
		{"names aren't words", smtp.NewReply(550, "5.1.1", "<spam-blacklist@virus.example>: unknown user"), "",
			Meaning{Reason: smtp.UserUnknown}},
	} {
		got := Classify(tt.reply, smtp.StageRcpt, tt.host)
		if got.Rule = ""; got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestRules(t *testing.T) {
	c := &Classifier{Rules: []Rule{
		{Name: "bad", Says: []string{".. nothing"}, Reason: smtp.Virus},
		{Name: "ours", Codes: []int{4}, Hosts: []string{"Partner.example"}, Stages: []smtp.Stage{smtp.StageRcpt},
			Says: []string{"come .. tomorrow"}, Reason: smtp.RateLimited, Scope: Recipient},
		{Name: "code", Enhanced: []Enhanced{{7, AnyDetail}}, Codes: []int{571}, Reason: smtp.Blocklisted, By: "them"},
	}}
	if err := c.Check(); err == nil || !strings.Contains(err.Error(), `"bad"`) {
		t.Errorf("Check: got %v, want an error that names the rule", err)
	}
	later := smtp.NewReply(450, "4.2.1", "Come back tomorrow")
	for _, tt := range []struct {
		reply *smtp.Reply
		stage smtp.Stage
		host  string
		want  string
	}{
		{later, smtp.StageRcpt, "mx1.partner.example", "ours"},
		{later, smtp.StageMail, "mx1.partner.example", ""},
		{later, smtp.StageRcpt, "mx1.notpartner.example", ""},
		{smtp.NewReply(550, "5.2.1", "Come back tomorrow"), smtp.StageRcpt, "partner.example", ""},
		{smtp.NewReply(571, "5.7.9", "no"), smtp.StageRcpt, "", "code"},
	} {
		m := c.Classify(tt.reply, tt.stage, tt.host)
		if isOurs := m.Rule == "ours" || m.Rule == "code"; isOurs != (tt.want != "") || isOurs && m.Rule != tt.want {
			t.Errorf("%v at %v of %s: got %+v, want rule %q", tt.reply, tt.stage, tt.host, m, tt.want)
		}
	}
	if err := (*Classifier)(nil).Check(); err != nil {
		t.Error(err)
	}
}

// TestCheckRule has rules that no reply can meet.
func TestCheckRule(t *testing.T) {
	for _, tt := range []struct {
		name string
		rule Rule
		want string
	}{
		{"no reason", Rule{}, "Reason is none"},
		{"no such reason", Rule{Reason: 77}, "Reason is reason-77"},
		{"code 250", Rule{Reason: smtp.Other, Codes: []int{4, 250}}, "Codes has 250"},
		{"code 6", Rule{Reason: smtp.Other, Codes: []int{6}}, "Codes has 6"},
		{"enhanced", Rule{Reason: smtp.Other, Enhanced: []Enhanced{{7, AnyDetail}, {7, -2}}}, "Enhanced has {7, -2}"},
		{"host with *", Rule{Reason: smtp.Other, Hosts: []string{"*.partner.example"}}, `Hosts has "*.partner.example"`},
		{"host in Unicode", Rule{Reason: smtp.Other, Hosts: []string{"bücher.example"}}, `Hosts has "bücher.example"`},
		{"no host", Rule{Reason: smtp.Other, Hosts: []string{""}}, `Hosts has ""`},
		{"provider", Rule{Reason: smtp.Other, Providers: []string{"google", "gogle"}}, `Providers has "gogle": there are amazon, apple, `},
		{"pattern", Rule{Reason: smtp.Other, Says: []string{"$nope"}}, `there is no class "nope"`},
		{"all right", Rule{Reason: smtp.Other, Codes: []int{5, 421}, Enhanced: []Enhanced{{7, 26}}, Hosts: []string{"Mx.Partner.example"},
			Providers: []string{"google"}, Says: []string{"come back"}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.rule.Name = "mine"
			err := (&Classifier{Rules: []Rule{tt.rule}}).Check()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), `replies: rule "mine": `) ||
				!strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestWork: 10 times the text is at most 12 times the work, and no allocation.
func TestWork(t *testing.T) {
	steps := func(text string) int {
		in := input{table: defaults(), reply: smtp.NewReply(550, "", text), stage: smtp.StageRcpt}
		in.scan(text)
		in.classify()
		return in.steps
	}
	for _, text := range []string{
		"user mailbox not found, the limit exceeded per hour. ", "a@b@c@d ", "x.y.z.", "http://a?b#c ", "((((", "\xff\xfe\xe9",
		"not not not not ", "message message ", "spamhaus.org ",
	} {
		text = strings.Repeat(text, 3)
		if a, b := steps(text), steps(strings.Repeat(text, 10)); b > 12*a {
			t.Errorf("%.20q: got %d steps for 10 times the text of %d", text, b, a)
		}
	}
	for _, o := range append(readOwn(t), own{"", smtp.NewReply(250, "2.0.0", "ok")}) {
		if n := testing.AllocsPerRun(1, func() { Classify(o.reply, smtp.StageRcpt, "mx.example.net") }); n > 0 {
			t.Errorf("%v: got %v allocations, want none", o.reply, n)
		}
	}
}

func FuzzClassify(f *testing.F) {
	for _, o := range readOwn(f) {
		f.Add(o.reply.Code, o.reply.Enhanced[1], o.reply.Enhanced[2], o.reply.Text, "mx.example.net", uint8(smtp.StageRcpt))
	}
	f.Fuzz(func(t *testing.T, code, subject, detail int, text, host string, stage uint8) {
		reply := &smtp.Reply{Code: code, Enhanced: smtp.EnhancedCode{code / 100, subject, detail}, Text: text}
		m := Classify(reply, smtp.Stage(stage), host)
		if refused := code >= 400 && code < 600; refused != (m.Reason != smtp.NoReason) || m.Reason > smtp.Temporary {
			t.Errorf("%v: got %v", reply, m.Reason)
		}
		if m.Reason != smtp.RateLimited && m.Reason != smtp.Blocklisted && m.Scope != Unknown {
			t.Errorf("%v: got the scope %v", reply, m.Scope)
		}
	})
}

// TestQuoted: words in a quoted local part are the sender's, not the host's. Quotes around other words aren't an address.
func TestQuoted(t *testing.T) {
	tests := []struct {
		text   string
		reason smtp.Reason
		scope  Scope
	}{
		{`too much mail from your IP address, slow down`, smtp.RateLimited, Address},
		{`"too much mail from your IP address, slow down"`, smtp.RateLimited, Address},
		{`<"too much mail from your IP address, slow down"@p.test>: rejected`, smtp.Temporary, Unknown},
		{`<"too much mail from your IP address, slow down"@[192.0.2.1]>: rejected`, smtp.Temporary, Unknown},
		{`"a \" too much mail from your IP address, slow down"@p.test is unknown for now`, smtp.Temporary, Unknown},
		{`user "x"@p.test sends too much mail from your IP address, slow down`, smtp.RateLimited, Address},
		{`"too much mail from your IP address, slow down`, smtp.RateLimited, Address},
		{`too much mail from your IP address, slow down "`, smtp.RateLimited, Address},
		{`too much mail from your IP address, slow down "\`, smtp.RateLimited, Address},
	}
	for _, tt := range tests {
		var c Classifier
		m := c.Classify(smtp.NewReply(450, "4.0.0", tt.text), smtp.StageRcpt, "mx.p.test")
		if m.Reason != tt.reason || m.Scope != tt.scope {
			t.Errorf("%s: got %v about %v, want %v about %v", tt.text, m.Reason, m.Scope, tt.reason, tt.scope)
		}
	}
}
