// Package webhook tells an application what happens to its mail, by HTTP requests as Standard Webhooks describes them
// (https://www.standardwebhooks.com, version 1.0.0). No event is lost: it is a message in the queue, stored in the same
// commit as the outcome that it reports. The Runner that delivers the mail also posts the events, and retries them.
//
// With a Relay:
//
//	hooks := &webhook.Hooks{Endpoints: []*webhook.Endpoint{{
//		Name: "shop", URL: "https://shop.example.com/mail-events", Secrets: []string{secret},
//	}}}
//	if err := hooks.Check(); err != nil {
//		return err
//	}
//	relay := &postrider.Relay{
//		Hostname: "mx1.example.com", Queue: q, Routes: hooks.Routes(),
//		Runner:     &delivery.Runner{Outbox: hooks.Outbox},
//		DeadLetter: hooks.DeadLetter(q, nil),
//	}
//
// Without a Relay, [Hooks.Wrap] takes the place of Routes:
//
//	runner := &delivery.Runner{Queue: q, Sender: hooks.Wrap(sender), Outbox: hooks.Outbox,
//		DeadLetter: hooks.DeadLetter(q, nil)}
//
// A receiver calls [Verify] and decodes the body as an [Event].
//
// # Requests
//
// Each request is a POST of one Event as JSON, with the header fields webhook-id, webhook-timestamp and
// webhook-signature. The time of a request is that of the attempt. The webhook-id is that of the event: it is the same
// in each attempt. There is one signature for each of Endpoint.Secrets, "v1" by HMAC-SHA256 or "v1a" by Ed25519. To
// change a secret, add the new one, change the receiver, and then remove the old one.
//
//	2xx               the event has arrived; the body of the response isn't read
//	410               the endpoint is disabled: nothing more is posted to it, see Hooks.Enable
//	429, 503          retried, and not before the time in Retry-After, up to 24 hours
//	all other replies retried; redirects aren't followed
//
// Events are retried by Runner.Retry: after 5, 15, 30, 60 minutes, and then every 2 hours. An endpoint that can't be
// reached, or answers 502, 503 or 504, is a site that is down: one event at a time is tried, and the others are posted
// as soon as one has arrived. So after an outage, the first event may arrive 2 hours late. Runner.Flush(ctx,
// "webhook:NAME") tries now.
//
// # What a receiver has to do
//
//   - Verify the signature before anything else.
//   - Drop an event whose webhook-id it has seen. An event arrives at least once: if a receiver has taken it, and its
//     response is lost, it arrives again.
//   - Expect no order. Event.Data.Number orders the events of a message at a destination. The events of one outcome
//     share a Number, so drop events by webhook-id, never by Number.
//   - Answer within 15 seconds: store the event, answer 204, and work on it later.
//
// # Promises
//
// Each outcome that the queue has recorded has its event, and no other outcome has one. After a crash that undoes an
// outcome, the mail is sent again, and the second outcome has an event. An outcome of very many recipients has several
// events, and very long texts are shortened: see [Event]. There are no events about reports and events.
//
// No event says that a message was accepted: a [queue.Queue] stores one message in a commit, so that event could be
// lost in a crash, or be about mail that was never stored. The caller of Send, or the client, has been told.
//
// An event that isn't taken within MaxAge, or whose endpoint is disabled, is a dead letter. [Hooks.DeadLetter] keeps it
// in the queue, held: the log has it, Runner.Release posts it again, and Runner.Purge drops it.
//
// Events are tasks of the queue like mail. Each endpoint is a destination, "webhook:" and its Name, and a site: so
// SiteLimits, Suspend, Explain, Flush and the page of package queueweb apply to it. That name is also the Tenant of its
// events: they are mail of one owner (see queue.Owner), so neither reports nor the events of another endpoint take its
// slots when they stall. The Tenant is not the one in Event.Data, and Runner.Tenant doesn't bound events. Nobody can
// post an event by mail: messages to the address of an endpoint that aren't from Outbox are rejected.
//
// # Security
//
// Certificates are verified. An endpoint must have an https URL, and is connected to at public addresses only, unless
// Hooks.AllowPrivate is set. The receiver learns the addresses and replies of the mail, and not its content.
//
// # Cost
//
// With events, each outcome is durable when it is settled, and each message has two more commits at least: the storing
// and the settling of its event. See BenchmarkSettle.
//
// # Files
//
//	hooks.go    Hooks, Endpoint, and how both are put into a Runner or a Relay
//	event.go    Event, and how it is made of what happened
//	sign.go     signatures, and Verify
//	post.go     the request, and what follows from its response
//	dead.go     events that nobody took
package webhook
