// Package compose makes mails: from text, HTML, files and templates, for one recipient or for thousands.
//
//   - [Message] is a mail in parts. Its Compose returns the envelope and the content for a smtp.Sender.
//   - [Template] makes a mail for each of many recipients, and sends them all in one call.
//   - [Unsubscribe] makes the links by which people leave a list, and answers them.
//
// # Getting started
//
//	mail := &compose.Message{
//		From:    mail.Address{Name: "Shop", Address: "shop@example.com"},
//		To:      []mail.Address{{Address: "ann@example.net"}},
//		Subject: "Your order", HTML: `<p>Thank you! <img src="cid:logo.png"></p>`,
//		Inline:      []compose.File{{FS: assets, Path: "logo.png"}},
//		Attachments: []compose.File{{FS: orders, Path: "17.pdf"}},
//	}
//	env, content, err := mail.Compose()
//	…
//	results, err := submission.Send(ctx, env, content)
//	// or, into a queue: id, err := relay.Send(ctx, env, smtp.NewReader(content))
//
// # What is composed
//
//   - The mail is ASCII in lines of at most 998 octets, which no host on the way has a reason to change: signatures
//     last. Only an address that needs SMTPUTF8 is in UTF-8, if it is in the header.
//   - Text that hosts or mailboxes would change (long lines, spaces at the end of a line, "From " at its start) is
//     quoted-printable. Files are base64.
//   - Texts and names beyond ASCII become encoded-words. Each stands alone, and no character is split: some providers
//     refuse mails with others. Words are encoded only where that is needed, since filters hold it against a mail.
//   - Names of files have the form of RFC 2231, and beside it that of RFC 2047, which old versions of Outlook read.
//   - Message-ID and Date are added, To if there are only Bcc, and plain text if there is only HTML.
//   - Domains are A-labels.
//
// # Bounds and errors
//
//   - A Message of over MaxSize octets, 100 MiB by default, is an error. Text and HTML are in memory, once as they are
//     and once encoded. Files never are: a Content opens them for each read, and encodes what is asked for.
//   - A text in the header has at most 16,384 octets, the name of a file 255, an ID or a media type 900. The result of
//     a template has at most Template.MaxText.
//   - A control character, a line separator, or octets that aren't UTF-8 in a value for the header are an error, and
//     so is all else that would have to be changed or left out. Errors name the field: "compose: Message.Subject …".
//
// # RFCs
//
// The package writes RFC 5322 with MIME: RFC 2045, 2046, 2047, 2183, 2231, 2387 and 2392. List-Id is by RFC 2919,
// List-Unsubscribe by RFC 2369 and 8058, calendars by RFC 5545, 5546 and 6047.
//
// It differs from them in these points:
//
//   - The name of a file in Content-Type may be an encoded-word in quotes, which RFC 2047 §5 forbids.
//   - From has one author. No group has a member.
//   - A word that is longer than a line isn't folded (a SHOULD of RFC 5322 §2.1.1).
//   - RFC 8058 §4 wants a DKIM signature that covers both fields of List-Unsubscribe. Signing is for another Sender.
//
// # Files
//
//	message.go      Message, Field, File, Calendar
//	check.go        Message.Check
//	compose.go      Message.Compose: the envelope and the header
//	parts.go        the parts of the body
//	header.go       fields: folding, addresses
//	words.go        encoded-words, names of files
//	body.go         text in quoted-printable and base64
//	html.go         TextOf; the pictures in HTML
//	calendar.go     the part with a calendar
//	content.go      Content: the mail as it is read
//	file.go         files, and Readers that can be read once
//	template.go     Template
//	unsubscribe.go  Unsubscribe; page.go: its page
package compose
