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
//	messages  messages by sender, recipient, domain, destination, Ref, Tenant, state and age, 50 on a page
//	message   one message, with id=: what each of its tasks waits for, and each attempt that is remembered
//	sites     sites with their window, ceiling, rate and state; suspensions
//	act       GET asks for a confirmation; POST acts, and answers how much mail was affected
//	source    the message itself, with id=, if Handler.ShowSource is true
//
// Each page has its content as JSON, too, with format=json. In JSON, texts are not escaped except as JSON demands. An
// answer other than 200 has an "error". A POST has the same fields in its body as the form on the page; actions on
// messages need a filter or all=true. A program that posts sends Content-Type: application/x-www-form-urlencoded.
//
// # Who may see it
//
// Authorize decides about every request. Without it, each one is refused. A form of another site is refused by
// http.CrossOriginProtection, which reads the Sec-Fetch-Site and Origin fields of a request. No token is needed for
// that. A request with neither field comes from no browser of the last years; Authorize alone decides about it.
//
// No page can be put into a frame, has a script, loads anything from elsewhere or is cached. Everything that comes from
// a mail or a host is shown with its control characters, bidirectional controls and invisible characters as "⟨U+202E⟩",
// and is cut if it is long.
//
// # What it costs
//
// The queue is counted in the background after a page was asked for, at most every 30 seconds, with pauses: the count
// takes about a fifth of one CPU until it has seen Count tasks. Numbers of the Runner are read at most once a second. A
// page lists 50 messages. Only a search that matches few of very many messages looks at all of them; it ends after 10
// seconds.
//
// An action on many messages takes as long as the method of the Runner, and ends early if the request ends. The log
// has how many messages it changed.
package queueweb
