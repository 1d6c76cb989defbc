package postrider

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// TestOneReport has a message fail at 200 domains: its sender gets one report about all of them, and one delay notice
// before. Each domain has its own fields in it.
func TestOneReport(t *testing.T) {
	const domains = 200
	tests := []struct {
		name  string
		set   func(h *smtptest.Host, address string)
		delay time.Duration
		want  []string // the actions, in the order of the reports
	}{
		{"refused", func(h *smtptest.Host, address string) {
			h.Reject(address, smtp.NewReply(550, "5.1.1", "no such user"))
		}, 0, []string{"failed"}},
		{"unreachable", func(h *smtptest.Host, _ string) { h.Down() }, 0, []string{"delayed", "failed"}},
		{"not merged", func(h *smtptest.Host, address string) {
			h.Reject(address, smtp.NewReply(550, "5.1.1", "no such user"))
		}, -1, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				sender := inet.MX("source.test", "mx.source.test")
				var to []string
				for i := range domains {
					domain := fmt.Sprintf("d%d.test", i)
					to = append(to, "bob@"+domain)
					tt.set(inet.MX(domain, "mx."+domain), to[i])
				}
				r := newRelay(inet)
				r.Runner = &delivery.Runner{ReportDelay: tt.delay}
				inet.Go(r.Run)
				mustSend(t, r, "ann@source.test", to...)
				time.Sleep(6 * 24 * time.Hour)
				reports := sender.Messages()
				octets := 0
				for _, m := range reports {
					octets += len(m.Data)
				}
				t.Logf("%d reports, %d octets", len(reports), octets)
				if n := queued(t, r); n != 0 {
					t.Errorf("got %d tasks in the queue, want 0", n)
				}
				if tt.want == nil {
					if len(reports) != domains {
						t.Errorf("got %d reports, want one for each domain", len(reports))
					}
					return
				}
				if len(reports) != len(tt.want) {
					t.Fatalf("got %d reports, want %d", len(reports), len(tt.want))
				}
				for i, action := range tt.want {
					data := reports[i].Data
					for _, want := range []string{"Final-Recipient: rfc822; bob@d", "Action: " + action + "\r\n"} {
						if n := bytes.Count(data, []byte(want)); n != domains {
							t.Errorf("report %d: got %q %d times, want %d", i, want, n, domains)
						}
					}
				}
				if tt.name == "refused" {
					for i := range domains {
						if want := fmt.Sprintf("Remote-MTA: dns; mx.d%d.test\r\n", i); !bytes.Contains(reports[0].Data, []byte(want)) {
							t.Errorf("the report has no %q", want)
						}
					}
				}
			})
		})
	}
}
