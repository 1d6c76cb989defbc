// Package inbox keeps mail that a program sends in development and in its tests, and shows it on a web page: text,
// HTML, source, attachments and findings. Its switches let a receiver refuse, greylist, count quotas, stall, and take
// 7-bit mail only, so that a program can be seen to cope with that. Nothing is random.
//
// # Getting started
//
// An [Inbox] is the Handler of a [server.Server] and an [http.Handler]. The zero one works:
//
//	box := new(inbox.Inbox)
//	mux.Handle("/inbox/", box) // any path that ends in "/"
//	srv := &server.Server{Handler: box}
//	err := srv.Serve(ctx, listener)
//
// In a test, start it, let the program send, wait for the message, and read it. The first example is such a test. All
// of package inbox works in a synctest bubble, with the virtual time of it.
//
//	m, err := box.Wait(ctx, inbox.Filter{To: "ann@example.net", Subject: "Welcome"})
//	if err != nil { … }
//	mail := m.Read()
//	if !strings.Contains(mail.Text, "Hello Ann") { … }
//
// # Switches
//
// [Inbox.SetSwitches] and the page set [Switches]. At each [Moment] a Stall comes first, then a Refusal, then what is
// particular to the moment: greylisting at RCPT; 8-bit octets and the quotas at the end of a message.
//
//	box.SetSwitches(inbox.Switches{
//		Quotas: []inbox.Quota{{By: inbox.ByAddress, Messages: 20, Per: time.Hour}},
//		Refuse: []inbox.Refusal{{At: inbox.AtRcpt, Who: "full@example.net",
//			Reply: smtp.NewReply(452, "4.2.2", "the mailbox is full")}},
//	})
//
// # Pages
//
//	(empty)   messages, the newest first, 50 on a page; the last refusals
//	message   one message, with id=; view= is html, text, header, source or findings
//	raw       download of the message as it came, with id=
//	part      download of a part, with id= and part=
//	switches  the switches
//	act       GET asks for a confirmation; POST acts
//
// # JSON
//
// With format=json, each page is JSON, for tests in any language. Its fields and the parameters keep their names and
// meanings; new ones may come. Parameters of the list are:
//
//	find, from, to, subject   as Text, From, To and Subject of Filter
//	since                     an ID, as After of Filter: since=7 selects newer messages, 8 and up
//	after                     an ID, for the next page: after=7 goes on with older messages, 6 and down
//	wait                      a duration of up to 1m: the answer waits so long for a message that matches, on any
//	                          page, and is 404 if none comes
//
//	GET  ?format=json&to=ann@example.net&wait=10s
//	     messages: id, time, from, to, recipients, subject, header_from, size, attachments; after, if there are more;
//	     found, kept, dropped; refused: time, at, client, from, to, reply; filter: find, from, to, subject, since
//	     as they were given, each a list of one text
//	GET  message?format=json&id=1
//	     the same of one message, and client, hello, tls, username, parameters; header: name, value; text, html;
//	     parts: part, type, charset, name, content_id, attachment, size, encoding; links; problems; findings
//	GET  switches?format=json
//	     refuse, quotas, stalls: lists of rules in their text form; greylist; seven_bit
//	POST act?format=json
//	     do=delete and id=; do=clear; or do=switches with refuse, quotas, stalls (rules in lines), greylist (as 5m)
//	     and seven_bit=true: what isn't given is switched off
//
// A form is posted as application/x-www-form-urlencoded. An answer other than 200 has error and status.
//
// # Who may see it
//
// Authorize decides about every request. Without it, only this machine is answered, on a loopback address: see
// [Inbox.Authorize]. A form of another site is refused by http.CrossOriginProtection. A request without the fields
// that browsers send, Sec-Fetch-Site and Origin, comes from a program; Authorize alone decides about it.
//
// No page can be put into a frame by another site, has a script, loads anything from elsewhere or is cached. All that
// comes from a mail is shown with its control characters, bidirectional controls and invisible characters as
// "⟨U+202E⟩". The HTML of a mail is in a sandboxed frame without scripts, forms, links and network, also if a browser
// ignores one of the three means: elements and attributes that run or load something are left out, the
// Content-Security-Policy forbids them, and the frame has no origin. Images in the mail itself are shown. Links are
// listed below the frame. Files are only downloaded, never shown, and the type of a part isn't told to the browser.
//
// # Bounds
//
// See [Inbox.MaxMessages] and [Inbox.MaxOctets]. Of a message, 1000 parts are read, 20 multiparts within each other,
// 128 KiB of each header, 1 MiB of text and 4 MiB of HTML; [Mail.Problems] says what isn't shown. A boundary of more
// than 70 octets (RFC 2046 §5.1.1) counts as none. Malformed MIME is read as far as possible. The last 100 refusals are
// remembered, 10,000 attempts for greylisting, and 10,000 parties for the quotas. Nothing is kept when the process
// ends.
package inbox
