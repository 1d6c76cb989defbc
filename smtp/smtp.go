// Package smtp holds the nouns of mail transfer and their wire forms: what a client, a server, a
// queue and a bounce must agree on. It opens no connection and sets no policy.
//
//   - [Envelope] and [Recipient]: who sends to whom, with the parameters of MAIL and RCPT
//     (RFC 5321, SIZE RFC 1870, 8BITMIME RFC 6152, SMTPUTF8 RFC 6531, DSN RFC 3461).
//   - [Reply] and [EnhancedCode]: what a host answered (RFC 5321 §4.2, RFC 2034, RFC 3463). A
//     *Reply is an error.
//   - [Result]: what became of one recipient.
//   - [Content] and [Text]: a message that can be read again for the next host.
//   - [DataReader] and [WriteData]: the body on the wire. Both are strict: only CRLF.CRLF ends a
//     message, and nothing is normalised on the way.
//
// Where they differ from the RFCs: spaces behind "FROM:" and "TO:" are let through, and so are underscores
// in domains. The control characters of Unicode in an address are not, nor address literals but those of
// IPv4 and IPv6. A reply that is read may have lines of 4096 octets instead of 512.
//
// Start with [NewEnvelope] and [Text], and hand both to client.Submission or postrider.Relay.
//
// All types are plain values; none of them may be changed while another goroutine uses it.
package smtp
