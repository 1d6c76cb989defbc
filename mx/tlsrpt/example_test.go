package tlsrpt_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"sync"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/client/dkim"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/mx/dane"
	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/mx/mtasts"
	"github.com/postrider/postrider/mx/tlsrpt"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// A Relay whose TLS is reported. The reports are queued and signed like its other mail.
func ExampleReporter() {
	ctx := context.Background()
	var signer *dkim.Signer       // with the key of example.com, and tlsrpt.SignedHeaders() as its Headers
	resolver := new(dns.Resolver) // a Reporter has its own: give it the Relay's

	reporter := &tlsrpt.Reporter{
		From:     "tls-reports@example.com",
		Store:    &tlsrpt.Dir{Path: "/var/lib/app/tls-reports"},
		Resolver: resolver,
	}
	relay := &postrider.Relay{
		Hostname: "mx1.example.com",
		Queue:    mem.New(),
		Resolver: resolver,
		Wrap:     signer.Wrap,
		Transport: &client.Transport{
			Policies:  []mx.Policy{dane.Policy{}, &mtasts.Client{}},
			TLSResult: reporter.Record,
		},
	}
	reporter.Sender = smtp.SenderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
		m, err := relay.Prepare(ctx, env, smtp.NewReader(c))
		if err != nil {
			return nil, err
		}
		m.Deadline = time.Now().Add(24 * time.Hour) // RFC 8460 §5.5
		_, err = relay.Enqueue(ctx, m)
		return nil, err
	})
	if err := reporter.Check(); err != nil {
		log.Print(err)
		return
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { reporter.Run(ctx) })
	relay.Run(ctx)
}

// The reports of others come by mail or as files.
func ExampleParse() {
	file, err := os.Open("testdata/rfc8460-b.json")
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	report, err := tlsrpt.Parse(file)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Organization, "about", report.Begin.Format(time.DateOnly))
	for _, policy := range report.Policies {
		fmt.Printf("%s of %s: %d succeeded, %d failed\n", policy.Type, policy.Domain, policy.Successes, policy.Failures)
		for _, detail := range policy.Details {
			fmt.Println(detail.Sessions, detail.Type, detail.Host)
		}
	}
	// Output:
	// Company-X about 2016-04-01
	// sts of company-y.example: 5326 succeeded, 303 failed
	// 100 certificate-expired mx1.mail.company-y.example
	// 200 starttls-not-supported mx2.mail.company-y.example
	// 3 validation-failure mx-backup.mail.company-y.example
}
