package bounce_test

import (
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"time"

	"github.com/postrider/postrider/bounce"
	"github.com/postrider/postrider/smtp"
)

func Example() {
	report := &bounce.Report{
		ReportingMTA: "mx1.example.com",
		Envelope:     smtp.NewEnvelope("billing@example.com", "bob@example.net"),
		Arrival:      time.Date(2026, 2, 2, 10, 0, 0, 0, time.UTC),
		Recipients: []bounce.Recipient{{
			Recipient: smtp.Recipient{Address: "bob@example.net"},
			Action:    bounce.Failed,
			Result: smtp.Result{
				Outcome: smtp.Rejected,
				Reply:   smtp.NewReply(550, "5.1.1", "no such user"),
				Host:    "mx.example.net",
			},
		}},
		Original: smtp.Text("From: <billing@example.com>\nMessage-ID: <1@example.com>\n\nYour bill.\n"),
	}
	env, content, err := report.Compose()
	if errors.Is(err, bounce.ErrUnwanted) {
		return
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	// A program would queue env and content here. The example reads the mail.
	m, err := mail.ReadMessage(smtp.NewReader(content))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("from %q to %q\n", env.From, env.Recipients[0].Address)
	for _, name := range []string{"From", "To", "Subject", "In-Reply-To", "Auto-Submitted"} {
		fmt.Printf("%s: %s\n", name, m.Header.Get(name))
	}
	// Output:
	// from "" to "billing@example.com"
	// From: Mail Delivery System <postmaster@mx1.example.com>
	// To: <billing@example.com>
	// Subject: Your message could not be delivered
	// In-Reply-To: <1@example.com>
	// Auto-Submitted: auto-replied
}

// What does a bounce say? Most mail systems have a form of their own; this is that of qmail.
func ExampleParse() {
	const mail = `Return-Path: <>
From: MAILER-DAEMON@example.net
To: billing@example.com
Subject: failure notice

Hi. This is the qmail-send program at example.net.

<bob@example.net>:
192.0.2.25 does not like recipient.
Remote host said: 550 5.1.1 no mailbox here by that name

--- Below this line is a copy of the message.

Return-Path: <billing@example.com>
Message-ID: <bill.1@example.com>
`
	n, err := bounce.Parse(strings.NewReader(mail))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(n.Kind, "of", n.OriginalID)
	for _, r := range n.Recipients {
		fmt.Println(r.Address, r.Action, r.Status, r.Reason)
		if r.Hard {
			fmt.Println("don't write to this address again")
		}
	}
	// Output:
	// bounce of <bill.1@example.com>
	// bob@example.net failed 5.1.1 user-unknown
	// don't write to this address again
}
