package inbox_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/smtp"
	"time"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/inbox"
)

// A test of a program that sends mail: start, send, wait, read.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	box := new(inbox.Inbox)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go (&server.Server{Handler: box}).Serve(ctx, l)

	// The program under test.
	err = smtp.SendMail(l.Addr().String(), nil, "shop@example.com", []string{"ann@example.net"},
		[]byte("Subject: =?utf-8?q?Gr=C3=BCner_Tee?=\r\n\r\nYour tea is on its way.\r\n"))
	if err != nil {
		log.Fatal(err)
	}

	m, err := box.Wait(ctx, inbox.Filter{To: "ann@example.net"})
	if err != nil {
		log.Fatal(err)
	}
	mail := m.Read()
	fmt.Println(mail.Get("Subject"))
	fmt.Print(mail.Text)
	// Output:
	// Grüner Tee
	// Your tea is on its way.
}

// A receiver that accepts two messages an hour, and nothing for one address.
func ExampleInbox_SetSwitches() {
	var s inbox.Switches
	rules := []interface{ UnmarshalText([]byte) error }{new(inbox.Quota), new(inbox.Refusal)}
	for i, text := range []string{"2 per 1h by address", "rcpt full@example.net 452 4.2.2 the mailbox is full"} {
		if err := rules[i].UnmarshalText([]byte(text)); err != nil {
			log.Fatal(err)
		}
	}
	s.Quotas = []inbox.Quota{*rules[0].(*inbox.Quota)}
	s.Refuse = []inbox.Refusal{*rules[1].(*inbox.Refusal)}
	box := new(inbox.Inbox)
	if err := box.SetSwitches(s); err != nil {
		log.Fatal(err)
	}
	fmt.Println(box.Switches().Quotas[0].Messages, box.Switches().Refuse[0].Reply)
	// Output:
	// 2 452 4.2.2 the mailbox is full
}
