// Package postrider is an embeddable mail relay. It takes mail over SMTP or from code, keeps it in a
// durable queue, finds the host that takes mail for each domain, delivers it, tries again for days,
// and returns to its sender what can't be delivered.
//
// [Relay] is the whole; a literal with a Hostname and a Queue is enough to send. One that takes the mail of
// example.com for a mailbox server:
//
//	q, err := spool.Open("/var/spool/app")
//	if err != nil {
//		return err
//	}
//	defer q.Close()
//	mailboxes, err := mx.LMTP("/run/dovecot/lmtp")
//	if err != nil {
//		return err
//	}
//	relay := &postrider.Relay{
//		Hostname: "mx1.example.com",
//		Queue:    q,
//		Domains:  []string{"example.com"},
//		Routes:   map[string]mx.Route{"example.com": mailboxes},
//	}
//	return relay.ListenAndServe(ctx, ":25")
//
// # One message's way
//
//  1. Package server reads MAIL and RCPT into one smtp.Envelope. Relay answers each RCPT: our
//     Domains are taken from anyone; other recipients from whom Allow lets pass or who
//     authenticated. Nobody else can relay.
//  2. Prepare puts the Received line on top, checks for a loop, and finds for each recipient its
//     destination: an explicit route, or its domain.
//  3. queue.Queue stores it. Only when envelope and body are durable does the server say 250
//     (RFC 5321 §6.1).
//  4. delivery.Runner claims a task, one message × one destination, and hands it to client.Transport.
//  5. client.Transport asks package mx for the hosts, takes a pooled session or dials one, and returns
//     one smtp.Result a recipient.
//  6. Runner settles the task in one commit: results, the next try, and the reports that package
//     bounce composed, which are new messages with the null reverse-path.
//
// # Duplicates
//
// A message is delivered at least once. A second copy can arise in two windows only: when the
// connection was lost between the final dot and its reply (smtp.Unknown), and when the machine or the
// process fell between a delivery and the next sync of the queue.
package postrider
