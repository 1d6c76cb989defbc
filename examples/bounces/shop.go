package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// reports is the domain of all reverse-paths. No person has an address there: a route takes all mail of its domain.
const reports = "bounces.shop.example"

// Shop sends mail about orders, and stores the reports on it.
type Shop struct {
	Relay *postrider.Relay // from NewShop

	// Store stores a report on the mail of an order, and returns nil when the report is durable. After an error it is
	// called again later, for up to Relay.MaxAge. It may be called twice with the same report.
	Store func(ctx context.Context, order int, report io.Reader) error
}

// NewShop adds to a relay what a Shop needs: the route of its reports, and the check of their recipients.
func NewShop(relay *postrider.Relay, store func(ctx context.Context, order int, report io.Reader) error) *Shop {
	s := &Shop{Relay: relay, Store: store}
	relay.Domains = append(relay.Domains, reports) // other hosts may bring reports, too
	relay.CheckRcpt = func(_ context.Context, _ *server.Peer, rcpt smtp.Recipient) error {
		_, err := orderOf(rcpt.Address)
		return err
	}
	if relay.Routes == nil {
		relay.Routes = make(map[string]mx.Route)
	}
	relay.Routes[reports] = mx.Func("reports", s.receive)
	return s
}

// Confirm queues the mail that confirms an order.
func (s *Shop) Confirm(ctx context.Context, order int, to string) error {
	env := smtp.NewEnvelope(fmt.Sprintf("order+%d@%s", order, reports), to)
	env.Recipients[0].Notify = smtp.NotifyFailure // no report that the mail still waits
	message := fmt.Sprintf(`From: Shop <shop@shop.example>
To: <%[1]s>
Subject: Your order %[2]d
Date: %[3]s
Message-ID: <order.%[2]d@shop.example>

Thank you for your order.
`, to, order, time.Now().Format(time.RFC1123Z))
	_, err := s.Relay.Send(ctx, env, strings.NewReader(message))
	return err
}

// receive is the route of the reports. After an error the report stays in the queue, and receive is called again later.
func (s *Shop) receive(ctx context.Context, env *smtp.Envelope, report smtp.Content) ([]smtp.Result, error) {
	for _, rcpt := range env.Recipients {
		order, err := orderOf(rcpt.Address)
		if err != nil {
			return nil, err
		}
		if err := s.Store(ctx, order, smtp.NewReader(report)); err != nil {
			return nil, fmt.Errorf("order %d: %w", order, err)
		}
	}
	return nil, nil // delivered to all
}

// orderOf returns the number of the order in the recipient of a report. The error is a permanent *smtp.Reply.
func orderOf(address string) (int, error) {
	local, _ := smtp.SplitAddress(address)
	prefix, number, _ := strings.Cut(local, "+")
	order, err := strconv.Atoi(number)
	if !strings.EqualFold(prefix, "order") || err != nil || order < 1 {
		return 0, smtp.NewReply(550, "5.1.1", "no such user")
	}
	return order, nil
}
