package postrider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/bounce"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// ExampleReporter has a Runner without a Relay report what fails. The messages come from elsewhere, for example from
// another process at the same database.
func ExampleReporter() {
	ctx, stop := context.WithCancel(context.Background())
	q := mem.New()
	reporter := &Reporter{
		Hostname: "mx1.example.com",
		Texts: func(_ context.Context, to string) *bounce.Texts {
			if strings.HasSuffix(to, ".pt") || strings.HasSuffix(to, ".br") {
				return bounce.Portuguese()
			}
			return nil // English
		},
	}
	runner := &delivery.Runner{
		Queue: q, Report: reporter.Report,
		Sender: smtp.SenderFunc(func(_ context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
			if env.From != "" {
				return nil, smtp.NewReply(550, "5.1.1", "no such user")
			}
			report, err := io.ReadAll(smtp.NewReader(c))
			portuguese := strings.Contains(string(report), "\r\nContent-Language: pt\r\n")
			fmt.Println("a report to", env.Recipients[0].Address, "in Portuguese:", portuguese)
			stop()
			return nil, err
		}),
	}
	relay := &Relay{Hostname: "mx1.example.com", Queue: q} // here, it only puts the message into the queue
	env := smtp.NewEnvelope("joana@exemplo.pt", "ann@example.net")
	if _, err := relay.Send(ctx, env, strings.NewReader("Subject: hi\n\nHi.\n")); err != nil {
		fmt.Println(err)
	}
	if err := runner.Run(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// a report to joana@exemplo.pt in Portuguese: true
}

// TestReporterCheck: a Hostname that would fail each report is found at the start.
func TestReporterCheck(t *testing.T) {
	for _, tt := range []struct {
		name     string
		reporter Reporter
		want     string
	}{
		{"name", Reporter{Hostname: "mx1.example.com"}, ""},
		{"Unicode", Reporter{Hostname: "mx1.bücher.example", MaxAge: time.Hour}, ""},
		{"literal", Reporter{Hostname: "[192.0.2.1]"}, ""},
		{"empty", Reporter{}, "relay: Reporter.Hostname is empty: set it to "},
		{"no name", Reporter{Hostname: "mx 1"}, `relay: Reporter.Hostname "mx 1": `},
		{"age", Reporter{Hostname: "mx1.example.com", MaxAge: -1}, "relay: Reporter.MaxAge is -1ns: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.reporter.Check(); tt.want == "" && err != nil ||
				tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestReportFields has a message fail, with and without the fields about reports.
func TestReportFields(t *testing.T) {
	tests := []struct {
		name   string
		from   string
		change func(r *Relay, told *[]string)
		want   []string // of the report that the sender gets; nil: none
		told   []string
	}{
		{"none", "ann@source.test", nil, []string{"Subject: Your message could not be delivered", "Content-Language: en"}, nil},
		{"NoReports", "ann@source.test", func(r *Relay, _ *[]string) { r.NoReports = true }, nil, nil},
		{"ReportTexts", "ann@source.test", func(r *Relay, told *[]string) {
			r.ReportTexts = func(ctx context.Context, to string) *bounce.Texts {
				job, _ := smtp.JobOf(ctx)
				*told = append(*told, to+" "+job.Ref+" "+job.Origin.String())
				return bounce.Portuguese()
			}
		}, []string{"Content-Language: pt"}, []string{"ann@source.test order-17 code"}},
		{"ReportTexts returns nil", "ann@source.test", func(r *Relay, _ *[]string) {
			r.ReportTexts = func(context.Context, string) *bounce.Texts { return nil }
		}, []string{"Content-Language: en"}, nil},
		{"ReportTexts panics", "ann@source.test", func(r *Relay, _ *[]string) {
			r.ReportTexts = func(context.Context, string) *bounce.Texts { panic("boom") }
		}, []string{"Content-Language: en"}, nil},
		{"DeadLetter", "nobody@source.test", deadLetters(0), nil, []string{"nobody@source.test: 550 5.1.1 no such user, about yes"}},
		{"DeadLetter fails once", "nobody@source.test", deadLetters(1), nil, []string{
			"nobody@source.test: 550 5.1.1 no such user, about yes", "nobody@source.test: 550 5.1.1 no such user, about yes",
		}},
		{"DeadLetter, no such domain", "ann@nowhere.test", deadLetters(0), nil, []string{
			"ann@nowhere.test: 550 5.1.2 the domain nowhere.test has neither MX nor address records, about yes",
		}},
		{"DeadLetter, no route", "ann@refused.test", deadLetters(0), nil, []string{
			"ann@refused.test: 550 5.1.2 no mail for refused.test, about yes",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				sender := inet.MX("source.test", "mx.source.test")
				noUser := smtp.NewReply(550, "5.1.1", "no such user")
				sender.Reject("nobody@source.test", noUser)
				inet.MX("next.test", "mx.next.test").Reject("bob@next.test", noUser)
				r := newRelay(inet)
				var told []string
				if tt.change != nil {
					tt.change(r, &told)
				}
				if strings.Contains(tt.from, "refused") {
					reporter := &Reporter{Hostname: "relay.test", DeadLetter: r.DeadLetter, Destination: func(string) (string, error) {
						return "", smtp.NewReply(550, "5.1.2", "no mail for refused.test")
					}}
					r.Runner = &delivery.Runner{Report: reporter.Report}
				}
				inet.Go(r.Run)
				m, err := r.Prepare(t.Context(), smtp.NewEnvelope(tt.from, "bob@next.test"), strings.NewReader(text))
				if err != nil {
					t.Fatal(err)
				}
				m.Ref = "order-17"
				if _, err := r.Enqueue(t.Context(), m); err != nil {
					t.Fatal(err)
				}
				time.Sleep(7 * 24 * time.Hour)
				synctest.Wait()
				reports := sender.Messages()
				if (len(reports) == 1) != (tt.want != nil) || len(reports) > 1 {
					t.Fatalf("got %d reports, want one: %v", len(reports), tt.want != nil)
				}
				for _, want := range tt.want {
					if !strings.Contains(string(reports[0].Data), "\r\n"+want+"\r\n") {
						t.Errorf("got no %q in\n%s", want, reports[0].Data)
					}
				}
				if !slices.Equal(told, tt.told) {
					t.Errorf("got %q, want %q", told, tt.told)
				}
				if n := queued(t, r); n != 0 {
					t.Errorf("got %d tasks in the queue, want none", n)
				}
			})
		})
	}
}

// deadLetters sets a DeadLetter that first fails some times.
func deadLetters(fails int) func(*Relay, *[]string) {
	return func(r *Relay, told *[]string) {
		r.DeadLetter = func(_ context.Context, o delivery.Occasion) error {
			about := "no"
			if content, err := io.ReadAll(smtp.NewReader(o.Content)); err == nil && o.Task.About != "" &&
				strings.Contains(string(content), "\r\nFinal-Recipient: rfc822; bob@next.test\r\n") {
				about = "yes"
			}
			*told = append(*told, fmt.Sprintf("%s: %v, about %s", o.Task.Envelope.Recipients[0].Address, o.Results[0].Reply, about))
			if len(*told) <= fails {
				return errors.New("no room")
			}
			return nil
		}
	}
}

func TestNoReportsBesideReport(t *testing.T) {
	r := newRelay(smtptest.NewNetwork(t))
	r.NoReports, r.Runner = true, &delivery.Runner{Report: new(Reporter).Report}
	if err := r.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "Runner.Report is set beside NoReports") {
		t.Errorf("got %v, want an error about NoReports", err)
	}
}
