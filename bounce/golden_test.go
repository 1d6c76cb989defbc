package bounce

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/smtp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// goldens maps the name of a golden file to a func that makes its report: the func changes the report of "failed" and
// its one recipient.
var goldens = map[string]func(*Report, *Recipient){
	"failed": func(*Report, *Recipient) {},
	"local": func(_ *Report, to *Recipient) {
		to.Result.Host, to.Result.Addr, to.Result.Local, to.Result.Stage = "", "", true, smtp.StageRoute
		to.Result.Reply.Code, to.Result.Reply.Enhanced = 556, smtp.EnhancedCode{5, 1, 10}
		to.Result.Reply.Text = "example.net takes no mail (null MX)"
	},
	"delayed": func(_ *Report, to *Recipient) {
		to.Action, to.WillRetryUntil = Delayed, expiry
		to.Result = deferred(451, smtp.EnhancedCode{4, 7, 1}, "Come back later")
	},
	"delivered": func(_ *Report, to *Recipient) {
		to.Notify, to.Action, to.Result = smtp.NotifySuccess, Delivered, accepted()
	},
	"relayed": func(_ *Report, to *Recipient) {
		to.Notify, to.Action, to.Result = smtp.NotifySuccess, Relayed, accepted()
	},
	"expanded": func(_ *Report, to *Recipient) {
		to.Address, to.Notify, to.Action = "sales@example.com", smtp.NotifySuccess|smtp.NotifyFailure, Expanded
		to.Result, to.LastAttempt = smtp.Result{}, time.Time{}
	},
	"expired": func(_ *Report, to *Recipient) {
		to.Result, to.LastAttempt = local(deferred(451, smtp.EnhancedCode{4, 4, 1}, "connection refused")), expiry
	},
	"expired-untried": func(_ *Report, to *Recipient) {
		*to = Recipient{Recipient: to.Recipient, Action: Failed}
	},
	"unknown": func(_ *Report, to *Recipient) {
		to.Result, to.LastAttempt = local(deferred(451, smtp.EnhancedCode{4, 4, 2}, "connection lost")), expiry
		to.Result.Outcome, to.Result.Stage = smtp.Unknown, smtp.StageFinal
	},
	"multiline": func(_ *Report, to *Recipient) {
		to.Result = rejected(550, smtp.EnhancedCode{5, 7, 26},
			"This mail is unauthenticated, which poses a risk to the sender and to all of its users.\n"+
				"See https://mx.example.net/help?topic=authentication&host=192.0.2.1 for more.")
	},
	"envid-orcpt": func(r *Report, to *Recipient) {
		r.Envelope.EnvID = "QQ 314159+x"
		to.Address = "bob@mailbox.example.net"
		to.ORCPT = "rfc822;Bob.The.Builder+invoices@example.net"
	},
	"literal-hostname": func(r *Report, _ *Recipient) { r.ReportingMTA = "[192.0.2.1]" },

	"portuguese": func(r *Report, to *Recipient) {
		r.Texts = Portuguese()
		ann := *to
		ann.Address, ann.Action, ann.WillRetryUntil = "ann@example.net", Delayed, expiry
		ann.Result = deferred(452, smtp.EnhancedCode{4, 2, 2}, "Mailbox full")
		ann.Result.Reason = smtp.MailboxFull
		r.Recipients = append(r.Recipients, ann)
	},
	"requiretls": func(r *Report, to *Recipient) {
		r.RequireTLS = true
		to.Result = local(rejected(550, smtp.EnhancedCode{5, 7, 30}, "the host doesn't offer REQUIRETLS"))
		to.Result.Stage = smtp.StageTLS
	},
	"requiretls-portuguese": func(r *Report, to *Recipient) {
		r.RequireTLS, r.Texts = true, Portuguese()
		to.Result = local(rejected(550, smtp.EnhancedCode{5, 7, 10},
			"REQUIRETLS: neither DNSSEC nor MTA-STS shows that the host is one of the domain's"))
		to.Result.Stage, to.Result.Addr = smtp.StageTLS, ""
	},
	"stranger": func(r *Report, _ *Recipient) { r.Stranger, r.Envelope.Ret = true, smtp.RetFull },

	"ret-full":    func(r *Report, _ *Recipient) { r.Envelope.Ret = smtp.RetFull },
	"ret-headers": func(r *Report, _ *Recipient) { r.Envelope.Ret = smtp.RetHeaders },
	"ret-full-8bit": func(r *Report, _ *Recipient) {
		r.Envelope.Ret = smtp.RetFull
		r.Original = smtp.Text(original + "Merçi.\r\n")
	},
	"header-8bit": func(r *Report, _ *Recipient) {
		r.Envelope.Ret = smtp.RetFull
		r.Original = smtp.Text("X-Note: Merçi\r\n" + original)
	},

	"smtputf8": func(r *Report, to *Recipient) {
		r.Envelope.UTF8, r.Envelope.Ret = true, smtp.RetFull
		to.Address, to.ORCPT = "bøb@example.net", "utf-8;bøb@exämple.org"
		to.Result.Reply.Text = "Kein Postfach für bøb"
		r.Original = smtp.Text(strings.Replace(original, "bob", "bøb", 1))
	},
	"smtputf8-sender": func(r *Report, _ *Recipient) {
		r.Envelope.UTF8, r.Envelope.From = true, "rékening@exämple.com"
		r.Original = smtp.Text(strings.Replace(original, "billing@example.com", r.Envelope.From, 1))
	},
	"utf8-in-ascii": func(r *Report, to *Recipient) {
		r.Envelope.From = "billing@exämple.com"
		to.Address, to.ORCPT = "bøb+x@example.net", "utf-8;bøb+x@exämple.org"
		to.Result.Reply.Text = "Kein Postfach für bøb"
	},

	"several": func(r *Report, _ *Recipient) {
		r.Recipients = append(r.Recipients, unknownUser("ann@example.net"))
		r.Recipients[1].ORCPT = "rfc822;Ann@example.net" // equal except for case: the text omits it
	},
	"several-actions": func(r *Report, to *Recipient) {
		ann, cas, dee, eve, fay := *to, *to, *to, *to, *to
		ann.Address, ann.Action, ann.WillRetryUntil = "ann@example.net", Delayed, expiry
		ann.Result = deferred(452, smtp.EnhancedCode{4, 2, 2}, "Mailbox full")
		cas.Address, cas.Notify = "cas@example.net", smtp.NotifySuccess|smtp.NotifyFailure
		cas.Action, cas.Result = Delivered, accepted()
		dee.Address, dee.Notify, dee.Action, dee.Result = "dee@example.net", smtp.NotifySuccess, Relayed, accepted()
		eve.Address, eve.Notify = "eve@example.net", smtp.NotifyNever
		fay.Address, fay.Notify, fay.Action, fay.Result = "fay@example.net", smtp.NotifySuccess, Expanded, smtp.Result{}
		r.Recipients = append(r.Recipients, ann, cas, dee, eve, fay)
	},
}

func golden(name string) *Report {
	r := report(unknownUser("bob@example.net"))
	goldens[name](r, &r.Recipients[0])
	return r
}

func TestGolden(t *testing.T) {
	for name := range goldens {
		t.Run(name, func(t *testing.T) {
			env, content, err := golden(name).Compose()
			if err != nil {
				t.Fatal(err)
			}
			parse(t, env, content)
			got := readAll(t, content)
			path := filepath.Join("testdata", name+".eml")
			if *update {
				if err := os.WriteFile(path, got, 0o666); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatalf("%v (go test -update writes it)", err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if again := readReport(t, golden(name)); again != string(got) {
				t.Errorf("got\n%s\nthe second time, want\n%s", again, got)
			}
		})
	}
}
