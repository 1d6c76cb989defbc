// Package queueweb is a web page that shows the queue of a delivery.Runner and operates it, for the people who run a
// mail server. It says how much mail waits, where to, for how long and why, and what has happened to one message. It
// holds, releases, flushes, cancels, purges and suspends.
//
//	web := &queueweb.Handler{Runner: runner, Authorize: authorize}
//	runner.Events = web.Events()
//	if err := web.Check(); err != nil {
//		return err
//	}
//	mux.Handle("/queue/", web)
//	defer web.Close()
//
// A Handler reads the last element of a request's path, so it can be mounted below any path that ends in "/".
//
// # Pages
//
//	(empty)   the queue's numbers; destinations by age, as Postfix's qshape prints them; reasons; the last hour
//	messages  messages by sender, recipient, domain, destination, Ref, Tenant, state and age, 50 on a page; of held
//	          ones, the reason
//	message   one message, with id=: what each of its tasks waits for, and each attempt that is remembered
//	sites     sites with their window, ceiling, rates and state, and what binds; suspensions; learned rates
//	act       GET asks for a confirmation; POST acts, and answers how much mail was affected
//	source    the message itself, with id=, if Handler.ShowSource is true
//
// # Actions
//
// A program posts to act, with Content-Type: application/x-www-form-urlencoded. The parameter do is the action:
//
//	release, purge        messages that match a filter, or all=true
//	hold                  the same; text is the reason, of at most 200 characters in one line. It replaces the reason
//	                      of mail that is held already. If empty, that mail keeps its reason
//	cancel                the same; text is what their senders are told
//	flush                 messages that match a filter; or name: a destination or a site; or all=true
//	suspend               name; until: a time, or a duration from now, as in until=4h
//	resume                name: its suspension ends
//
// If several Runners share the queue, as relays with one pgqueue do, suspend and resume apply to the Runner of this
// page alone. The sites and their states, learned rates, what is being sent, the last hour and the histories are
// its own, too, and why a task waits is what it knows: a site that is down for it may be up for another Runner. The
// messages are those of all, and so hold, release, flush, cancel and purge apply to all.
//
// flush takes waiting mail only, release held mail only: another state is answered 400.
//
// The parameters of a filter are sender, recipient, domain, destination, ref, tenant, state, older, newer and id; the
// page messages has them, too. A message matches if it matches all that are given. States are those of queue.State:
// "waiting", "leased" and "held". Times are as 2026-01-31T12:00:00Z, or durations; older=36h selects messages that
// arrived more than 36 hours ago.
//
// # JSON
//
// With format=json, each page is JSON. Its fields and the parameters keep their names and meanings; new ones may come.
// Texts in fields, of why, result and error for example, are for people and may change. A field that has no value can
// be missing. Texts are escaped as package encoding/json does.
//
//	(empty)   at; queue, runner: numbers of the queue.Stats and the delivery.Activity at that time
//	          count: at, seconds, tasks, truncated, destinations, others, total, reasons; count_error
//	          last_hour: delivered, deferred, failed; for each of the last 60 minutes
//	messages  filter, messages, list_error; after: parameter of the next page, missing on the last one. A message that
//	          is held can have held_for
//	message   its envelope and times, in_queue, running; tasks: destination, state, why, advice, held_for, since,
//	          until, tried, due, attempts, site, rates, recipients; history: time, what, recipient, reply, reason,
//	          host, and others; ends, if it has left the queue: recipient, what, reply, host, advice; told: kinds
//	          of reports
//	sites     sites: name, state, until, in_flight, window, ceiling, messages_per_connection, rate, rates, binds,
//	          destinations, last; suspended: name, until; rates: site, of, name, per_hour, at_once, until, text
//	act       action, filter, name, all; GET: selected: messages, more; POST: done: messages, tasks, sites, known;
//	          result: the same in words
//	source    id, size, source, cut
//
// An answer other than 200 has error, status, and messages: how many an action changed before it failed.
//
// # Who may see it
//
// Authorize decides about every request. Without it, each one is refused. The page doesn't tell strangers why: Check
// and the lines of Logger do. A form of another site is refused by http.CrossOriginProtection, which reads the
// Sec-Fetch-Site and Origin fields of a request. No token is needed for that. A request with neither field comes from
// no browser of the last years; Authorize alone decides about it.
//
// No page can be put into a frame, has a script, loads anything from elsewhere or is cached. Everything that comes from
// a mail or a host is shown with its control characters, bidirectional controls and invisible characters as "⟨U+202E⟩",
// and is cut if it is long.
//
// # What it costs
//
// The queue is counted in the background after a page was asked for, at most every 30 seconds, with pauses: the count
// takes about a fifth of one CPU until it has seen Count tasks. Numbers of the Runner are read at most once a second. A
// page lists 50 messages. A search for a domain or a time that matches few of very many messages reads all of them; it
// ends after 10 seconds. With package spool, a search for a recipient reads all messages that were in the spool when it
// was opened.
//
// An action on many messages takes as long as the method of the Runner, and ends early if the request ends. The log
// has how many messages it changed.
package queueweb
