package compose

import (
	"io"
	"io/fs"
	"net/mail"
	"time"
)

// Message is a mail in parts. A literal works: only From and one recipient are needed. [Message.Compose] makes the
// mail, and doesn't change the Message.
//
// No value may have a control character, except Text, HTML and Calendar.Data: the error of Compose names the field.
// All text is UTF-8.
type Message struct {
	// From is the author. The reverse-path of the envelope is the address of Sender or, without one, of From.
	From mail.Address

	// Sender sends on behalf of From (RFC 5322 §3.6.2). If zero, the field is left out.
	Sender mail.Address

	// To and Cc are the recipients that everybody sees. Bcc are recipients of the envelope only: they aren't in the
	// header. An address that is listed twice gets one mail. If To and Cc are empty, the header has the To field
	// "undisclosed-recipients:;".
	To, Cc, Bcc []mail.Address

	// ReplyTo are the addresses for answers. If empty, answers go to From.
	ReplyTo []mail.Address

	// Subject is text of at most 16,384 octets. If empty, the field is left out.
	Subject string

	// Date is the time at which the mail was written. If zero, it is the time of Compose.
	Date time.Time

	// MessageID is the ID of the mail, with or without angle brackets. If empty, it is a random one at the domain of
	// From.
	MessageID string

	// InReplyTo is the Message-ID of the mail that this one answers, and References are those of the conversation, the
	// oldest first. If References is empty, it is InReplyTo.
	InReplyTo  string
	References []string

	// Text is the mail as plain text, with "\n" or "\r\n" line ends. A last line without an end gets one. If empty, and
	// HTML isn't, it is made by [TextOf].
	Text string

	// HTML is the mail as HTML. It shows an Inline file by its ContentID or Name: <img src="cid:logo.png">. A "cid:" in
	// quotes, in parentheses or after "=" that doesn't name an Inline file is an error.
	HTML string

	// Attachments are files for the recipient to keep, and Inline are the pictures that HTML shows.
	Attachments, Inline []File

	// Calendar is an invitation, or another message of a calendar. If nil, there is none.
	Calendar *Calendar

	// Unsubscribe adds List-Unsubscribe with one click. The mail must then have one recipient. If nil, there is none.
	Unsubscribe *Unsubscribe

	// ListID names the list that the mail is for, as in "weekly.news.example" (RFC 2919). If empty, the field is left
	// out.
	ListID string

	// FeedbackID is up to four names with colons between them, by which Gmail counts complaints: "issue7:weekly::news".
	// If empty, the field is left out.
	FeedbackID string

	// Header are further fields, in their order.
	Header []Field

	// MaxSize bounds the mail, in octets: 1 TiB at most. If zero, 100 MiB.
	MaxSize int64
}

// Field is a further field of a header.
type Field struct {
	// Name is a name in ASCII, without a colon, of at most 70 octets. A field that a Message writes itself is an error.
	Name string

	// Value is text of at most 16,384 octets. It must not be empty. It is folded at its spaces, so a word of over 900
	// octets is an error. A value beyond ASCII is encoded (RFC 2047), which is right for fields of free text only.
	Value string
}

// File is an attachment or a picture. It is read and encoded as the mail is read. It is never in memory as a whole.
type File struct {
	// Name is the name that the recipient sees: at most 255 octets, without "/" and "\". If empty, it is the last
	// element of Path.
	Name string

	// FS and Path are the file. Each read of the mail opens it and closes it again. The read fails if the size or the
	// time of change of the file isn't the same as at Compose. A file that isn't an io.ReaderAt is treated as a Reader.
	// Path is relative to FS: /srv/bills/17.pdf is FS os.DirFS("/srv/bills") and Path "17.pdf".
	FS   fs.FS
	Path string

	// Reader is the file if FS is nil. A Reader that is a smtp.Content, such as a *bytes.Reader, a *strings.Reader or
	// an *io.SectionReader, is read in place, from its start, and must not change. Compose reads any other Reader to
	// its end: up to 64 KiB are kept in memory, more in a temporary file until Content.Close. The Message can then be
	// composed once.
	Reader io.Reader

	// ContentType is the media type, with parameters. If empty, it is found by the extension of Name, or is
	// application/octet-stream. Files are encoded in base64, so multipart/* is an error and so is message/*
	// (RFC 2046 §5.2).
	ContentType string

	// ContentID is how HTML refers to an Inline file, in letters, digits and "._+-@". If empty, it is the Name. Without
	// an "@", Compose adds one and a unique name, also in HTML: some programs confuse the pictures of two mails that
	// have equal IDs. It must be empty for an attachment.
	ContentID string
}

// Calendar is a message of a calendar (RFC 5545), which mail programs show with buttons to answer it (RFC 6047). Set
// Message.HTML, too: some filters hold it against a mail that its alternatives have no HTML.
type Calendar struct {
	// Method is REQUEST, REPLY, CANCEL, PUBLISH, ADD, REFRESH, COUNTER or DECLINECOUNTER (RFC 5546 §1.4).
	Method string

	// Data is the iCalendar object, with the same METHOD in it.
	Data string
}
