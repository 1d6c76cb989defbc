// Package preflight looks at a message, and at the DNS of its sender, before it is sent: for what Gmail, Yahoo,
// Microsoft and Apple refuse or put into the junk folder, and for what the RFCs of mail forbid.
//
// # Getting started
//
//	checker := &preflight.Checker{
//		Keys:     []preflight.Key{{Domain: "example.com", Selector: "s1"}}, // that sign the mail
//		Sources:  []netip.Addr{netip.MustParseAddr("192.0.2.25")},          // that it is sent from
//		Hostname: "mx1.example.com",
//	}
//	findings := checker.Message(env, content)                          // no network
//	findings = append(findings, checker.Sender(ctx, env, content)...) // the DNS of the sender
//	fmt.Println(findings)
//
// In a test, [Test] makes the build fail for each [Refusal]:
//
//	preflight.Test(t, checker.Message(env, content))
//
// # What it looks at
//
// [Checker.Message] looks at the envelope, the form and the size of the message, From, the other addresses, Message-ID,
// Date, duplicate fields, control characters, encoded-words, octets above 127, MIME fields, the boundaries and the
// encodings of all parts, and one-click unsubscription (RFC 8058). Messages inside the message aren't looked at.
// [Checker.Sender] looks up SPF for each source, DKIM keys, DMARC with the alignment of From, the names of the sources
// and back, and the hosts that take answers and reports. Each [Kind] is one such fault. A [Finding] has the value, what
// to do, and the rule.
//
// Look at the message as it goes out, with the fields and the signature that are added to it: by a Sender of
// client.Submission.Wrap or postrider.Relay.Wrap, within the one that signs.
//
// It asks about no recipient, connects to no mail host, and reads no text of the mail. It doesn't verify signatures: to
// do so, read the results of server/authres on a host of your own. It knows nothing about reputation and blocklists.
//
// The demands of the receivers are those of their pages in 2026: Gmail and Yahoo since February 2024, Microsoft since
// May 2025. With [Checker.Bulk], more is demanded.
//
// # Bounds
//
//   - Of a message, the header is kept, of 1 MiB at most. The rest is only read. Multiparts inside each other are
//     looked at to a depth of 20.
//   - There are at most 20 findings of one kind, and a Problem has at most 500 octets.
//   - Sender makes 3 lookups for each of two domains, one for each key, 11 for the names of each source, and those of
//     packages spf (for each source and one address more) and dmarc. They end with Checker.Timeout. There are 1,000
//     sources and 100 keys at most.
//
// # Files
//
//   - checker.go: [Checker]. finding.go: [Finding], [Kind], [Test].
//   - message.go: Message, fields and sizes. identity.go: addresses, Message-ID, Date. words.go: encoded-words.
//     mime.go: MIME and octets above 127. parts.go: parts and their encodings. bulk.go: unsubscription.
//   - sender.go: Sender, SPF, DMARC, names. keys.go: DKIM.
//
// # RFCs
//
// RFC 5321, 5322, 6532 (form), 2045 to 2047, 2231 (MIME), 2369, 2919, 8058 (lists), 6376, 8301, 8463 (DKIM), 7208
// (SPF), 9989 (DMARC), 7505 (null MX). It differs from them in these points:
//
//   - Obsolete forms that a MUST allows readers to meet, such as a Message-ID with blanks (RFC 5322 §4.5.4), are
//     findings, because receivers refuse them.
//   - An encoded-word in the name of a file is a warning, because many programs write and read it, and none in
//     Content-Type if Content-Disposition has the name by RFC 2231. In the header of a part, none is looked for.
//   - Where no DMARC record applies, a domain counts as aligned if it is that of From, above or below it.
package preflight
