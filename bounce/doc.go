// Package bounce writes and reads delivery status notifications (DSNs), the mail that reports to a sender that a
// message failed, is delayed or arrived.
//
// # Getting started
//
//   - Write a report: [Report.Compose]. A postrider.Relay does that itself, and a postrider.Reporter for a
//     delivery.Runner without a Relay.
//   - Read what came back: [Parse]. It takes any mail, and returns the recipients with address, Reason and Hard.
//   - Know which message and recipient a bounce is about: [VERP] signs a reverse-path for each recipient, and a
//     [Handler] calls a func with a typed [Event] for each mail that comes to one.
//   - Don't write to dead addresses again: package bounce/suppress. Its Policy has a Handle for the Handler.
//
// A program that reads a bounce:
//
//	n, err := bounce.Parse(os.Stdin)
//	if err != nil { … }
//	for _, r := range n.Recipients { // none if n.Kind is NotABounce
//		fmt.Println(r.Address, r.Reason, r.Hard)
//	}
//
// A relay whose newsletter has signed addresses: see [Handler], and bounce/suppress for the whole. To write a report,
// fill in a [Report] with one [Recipient] for each address to report on, as in the example. [Report.Compose] returns an
// envelope and a content. Queue them as any other mail.
//
// # The report
//
// A report is a multipart/report (RFC 6522) of three parts:
//
//   - a text for a person, in a language of one's choice: what happened, what the sender can do, and what the other
//     host said;
//   - fields for a program: message/delivery-status (RFC 3464), with the terms of SMTP from RFC 3461 §6 and §9 and
//     the status codes of RFC 3463;
//   - the original message, or its header.
//
// NOTIFY, RET, ENVID and ORCPT (RFC 3461) decide which recipients are reported on and how much of the message is
// returned. Addresses and headers in UTF-8 have the forms of RFC 6533. A report comes from the null reverse-path and is
// marked as an automatic response (RFC 3834), so that hosts and vacation programs don't answer it.
//
// The package differs from the RFCs in two points, and chooses in a third:
//
//   - A message without RET is returned as its header alone. RFC 6522 §3 would return all of it, but a reverse-path
//     can be forged, and its owner should not get the text of a stranger.
//   - Remote-MTA stands only where that host answered. RFC 3461 §6.3 wants it for each attempt, but by RFC 3464
//     §2.3.6 it marks the Diagnostic-Code beside it as the words of that host. This host's own words have the
//     diagnostic type "x-postrider".
//   - A message that expired after attempts is failed with the 4.x.x of its last attempt (RFC 3464 §2.3.3), or with
//     4.4.7 if that had none. A program must look at Action, not at the class of Status.
//
// # Texts
//
// The smtp.Reason of each recipient, not its codes, decides on the sentences about the cause and about what the
// sender can do. [English] and [Portuguese] have the sentences. Change or translate them as [Texts] shows; the
// ReportTexts of a postrider.Relay chooses by the sender. A text that isn't ASCII is encoded (quoted-printable, RFC
// 2047), so that it needs no extension on its way. The part for a program doesn't depend on the language.
//
// # Bounds
//
// A report is composed in memory. It holds at most 64 KiB of the header of the original, or the whole of an original
// of at most MaxReturn octets (64 KiB by default). A reply is cut at 16 lines of 512 octets, an address at 900 octets
// and ENVID at 100, a text in the header at 400. A value that was cut ends in "...". The number of recipients has no
// bound: the caller chooses it. For a stranger's message ([Report.Stranger]) the bounds are lower: 8 KiB of the header
// and 50 recipients.
//
// # Errors and malformed input
//
// Addresses, replies, ENVID, ORCPT and the header of the original were written by other hosts. They can't start a line,
// a field or a part of the report: control characters and invalid UTF-8 become "?". If RET=FULL asks for a message that
// can't be a part unchanged (a bare LF, a line over 998 octets, UTF-8 in the header without SMTPUTF8), or whose body
// can't be converted to 7 bits, its header is returned.
//
// A report may be 8-bit: if it returns an 8-bit message, or fields in UTF-8 (RFC 6533). [smtp.SevenBit] can make all of
// it 7-bit, and client.Transport does so for a host without 8BITMIME. Thus a report needs no extension, except SMTPUTF8
// for the address of a sender whose local part is in UTF-8.
//
// Compose returns an error for a Report with a wrong or missing field, or if Original can't be read, but never for the
// content of a reply, a recipient or the original. A Report with a Date composes to the same octets each time,
// Message-ID included. Compose changes nothing in the Report; concurrent calls are safe.
//
// # Reading
//
// [Parse] reads a mail that came to the reverse-path of a message, and returns a [Notification]. Its Kind is one of:
//
//   - Bounce: a report (RFC 3464, RFC 6533), or a letter of a mail system that isn't one: of qmail, Exim, sendmail,
//     Exchange, Domino, Google, Yahoo, and of many others in several languages. The letters are read alike: a line
//     names a recipient, and the lines after it are about that recipient. The tables in formats.go and words.go have
//     the words. A letter in any other language is read if the reply of a host stands beside the recipient.
//   - Complaint: a feedback report (RFC 5965), or the answer to List-Unsubscribe by a program of the recipient.
//   - AutoReply and Challenge: automatic answers (RFC 3834, RFC 8098). Neither says anything about an address.
//   - NotABounce: all else. A mail that quotes, forwards or discusses a bounce is none: a bounce in prose needs a
//     sign in its header, too, such as an author that is a mail system. The null reverse-path alone doesn't always
//     suffice, since automatic answers have it as well.
//
// The Reason of a recipient is that of package replies if the mail has the reply of a host. Otherwise it is by the
// words of the mail system, and then by the status code. Hard is set only for an address that is dead: see
// [RecipientStatus].
//
// The content of a mail is never proof. Anybody can write a bounce. Give each recipient its own signed reverse-path,
// and believe a bounce for no other recipient.
//
// Parse reads any octets in one pass, with CRLF, LF or CR as line end. It reads at most 64 MiB, and holds at most 256
// KiB of the text, 256 KiB of HTML, 1 MiB of the status fields and 64 KiB of the header of the original. It looks at
// 200 parts, 16 levels deep, and returns at most 1,000 recipients. What is beyond isn't read. A malformed mail isn't
// an error: Parse reads what it can. An original of any size isn't held, except for its header.
//
// # Interfaces to implement
//
// Nothing has to be implemented. Original may be any [smtp.Content].
//
// # Files
//
//	action.go    Action, and the NOTIFY flag that asks for a report on it
//	report.go    Report, Recipient and Compose: checks, header, assembly of the parts
//	text.go      the part for a person
//	texts.go, english.go, portuguese.go
//	             the sentences of it
//	status.go    the part for a program: fields and status codes
//	original.go  the part with the original message or its header
//	write.go     header fields: folding, cleaning and cutting of values
//
//	parse.go        Parse, Notification, RecipientStatus: what a mail says about a message
//	lines.go        lines of a mail with any line end
//	document.go     the walk over the parts of a mail, and what is held of them
//	markup.go       the text of HTML
//	readkind.go     the choice of the kind of a mail, and bounces in prose
//	readstatus.go   delivery-status parts, replies and codes
//	readfeedback.go feedback reports
//	readnotice.go   notifications of Amazon SES in JSON
//	readauto.go     automatic answers, challenges, notifications that a message was read
//	readaddress.go  addresses of fields
//	letter.go       prose: its lines, the recipients and the words about them
//	candidate.go    addresses in prose
//	quote.go        replies, codes and hosts in prose
//	readreason.go   the Reason of a recipient
//	formats.go      tables: the formats of prose, and the words around addresses
//	words.go        tables: the words for each Reason, and those of automatic answers
//
//	verp.go         VERP, Sent: signed reverse-paths, and the way back
//	verpcode.go     the content of a signed address as symbols
//	verpsend.go     the Sender of VERP.Wrap
//	handler.go      Handler, Event: mail to signed addresses as typed events
package bounce
