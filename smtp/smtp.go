// Package smtp holds the types of mail transfer and their wire forms: envelope, reply, result, content. The other
// packages of this module exchange these types. This package opens no connection, starts no goroutine and sets no
// policy.
//
// # Getting started
//
// Make an envelope and a content, and pass both to a [Sender], client.Submission for example:
//
//	env := smtp.NewEnvelope("billing@example.com", "ann@example.net") // reverse-path, recipients
//	results, err := submission.Send(ctx, env, smtp.Text(message))     // "\n" or "\r\n" line ends
//	for _, r := range results {
//		if r.Outcome == smtp.Rejected && r.Reason.Hard() {
//			suppress(r.Recipient)
//		}
//	}
//
// # Files
//
// Messages:
//   - envelope.go, recipient.go: [Envelope] and [Recipient], the parameters of MAIL and RCPT. check.go:
//     [Envelope.Check].
//   - address.go, domain.go: addresses, domains and their ASCII forms.
//   - content.go: [Content], [Scan], [CheckedReader], [ContentError]. text.go: [Text] and [CRLFReader], which convert
//     line ends to CRLF.
//   - sevenbit.go: [SevenBit], which makes 8-bit messages 7-bit. walker.go, mimeheader.go: the parts of a message, and
//     their headers. encoding.go: quoted-printable and base64. utf8.go: whether text is UTF-8.
//   - sender.go: [Sender] and [Complete]. job.go: [Job] and [Origin], the queued message that a Sender is called for.
//     slot.go: [Slot], [Lend] and [Keep], by which a Sender can be interrupted before MAIL.
//   - auth.go: [Auth] and [AuthMechanism], by which a client authenticates.
//
// Results:
//   - result.go: [Result], [Outcome], [Stage]. reason.go: [Reason].
//   - reply.go: [Reply], [NewReply], [EnhancedCode]. readreply.go: [ReadReply].
//
// The wire:
//   - params.go: [ParseMail] and [ParseRcpt]. delivertime.go: [DeliverBy], and MT-PRIORITY, HOLDFOR, HOLDUNTIL.
//     offer.go: [Envelope.AppendMail] and [Recipient.AppendRcpt].
//   - data.go: [DataReader]. chunkreader.go: [ChunkReader], [ParseChunk]. datawriter.go: [WriteData]. chunk.go: their
//     common checks.
//   - xtext.go: [EncodeXtext], [DecodeXtext], [EncodeORCPT].
//
// # Interfaces to implement
//
// A [Sender], to sign, split, trace or refuse messages, usually as a wrapper around another Sender. A [Content], for a
// message in a store of its own: *bytes.Reader, *strings.Reader and *io.SectionReader are Contents already. An
// [Auth], for a SASL mechanism that client.Credentials lacks.
//
// # Bounds
//
//   - An address has at most 500 octets, a reverse-path 498: as many as its command of 512 octets has room for. A
//     domain has 253, a label 63. The local part has no bound of its own.
//   - Parameters: ENVID 100 octets, ORCPT and AUTH 500, all as xtext. SIZE has 20 digits.
//   - A reply that is read has at most 128 lines, 4096 octets a line, 64 KiB in all.
//   - A line of a reply that is written is cut at 512 octets.
//   - The size and the lines of a message are bounded by [DataReader], if its fields are set.
//   - [SevenBit] follows 50 levels of parts, makes 10,000 changes, and reads 16 KiB of a field.
//   - Memory: [Text] holds the whole text. All other contents are read in chunks of 32 KiB.
//
// Nothing here has a time-out. The caller sets deadlines on its connection.
//
// # Errors
//
//   - A parser of commands returns a *[Reply], ready to be sent. Other checks name the value and the rule.
//   - A message that can't be read, or can't be sent as it is, is a *[ContentError]. [WriteData] returns it before the
//     final dot: the caller closes the connection, and the host commits nothing.
//   - A message ends at CRLF.CRLF and nowhere else. A bare CR, a bare LF and a NUL are errors. Only [Text] and
//     [CRLFReader] convert a bare LF, and only [ScanBinary] accepts all three.
//   - No input from a host causes a panic.
//   - All types are plain values. None may be changed while another goroutine uses it.
//
// # RFCs
//
// The package implements the grammar of RFC 5321, with SIZE (RFC 1870), DELIVERBY (RFC 2852), CHUNKING and BINARYMIME
// (RFC 3030), DSN (RFC 3461), FUTURERELEASE (RFC 4865), the AUTH parameter (RFC 4954 §5), 8BITMIME (RFC 6152),
// SMTPUTF8 (RFC 6531, RFC 6533), MT-PRIORITY (RFC 6710), REQUIRETLS (RFC 8689), and enhanced codes (RFC 2034, RFC
// 3463). It reads and encodes the parts of a message by RFC 2045 and RFC 2046.
//
// It differs from them as follows:
//   - Spaces after "FROM:" and "TO:" are accepted, and so are underscores in domains.
//   - An AUTH parameter that isn't a mailbox in xtext is accepted and becomes "<>".
//   - An ORCPT of the type "rfc822" with UTF-8 in its xtext is accepted and becomes one of the type "utf-8".
//   - A local part may have more than 64 octets, and a path more than 256 (RFC 5321 §4.5.3.1.1 and §4.5.3.1.3 name
//     what must be accepted at least).
//   - Control characters of Unicode are refused in addresses. Address literals other than IPv4 and IPv6 are refused.
//   - A reply that is read may have lines of 4096 octets instead of 512.
package smtp
