// Package dkim signs mail by DKIM (RFC 6376), with RSA and Ed25519 (RFC 8463). A [Signer] wraps an smtp.Sender, so that
// a message is signed when it is sent: after the time in a queue, and reports as well.
//
// # Getting started
//
// Make a key, by one of the programs in the doc of [ParsePrivate], and sign with it:
//
//	private, err := dkim.ParsePrivate(file) // a PEM file
//	…
//	key := dkim.Key{Domain: "example.com", Selector: "2026a", Private: private}
//	signer := &dkim.Signer{Keys: []dkim.Key{key}}
//	relay := &postrider.Relay{…, Wrap: signer.Wrap} // or: &client.Submission{…, Wrap: signer.Wrap}
//	err = relay.Check(ctx)                          // if the record isn't in the DNS, the error has it
//
// [Key.Record] returns the text to publish as a TXT record at [Key.Name], and [Key.ZoneLine] a line of a zone file. A
// Sender that changes the message or its recipients goes around the Signer. With signed reverse-paths (bounce.VERP):
//
//	Wrap: func(next smtp.Sender) smtp.Sender { return client.AddMissing(verp.Wrap(signer.Wrap(next))) },
//
// # What is signed
//
// A message is signed by all keys of the domain in its From field. A message of a domain without a key is sent
// unsigned; [Signer].Domains has the domains where that is a mistake. Mail of strangers is never signed.
//
// These fields are signed once more than the message has them (oversigned), so that none can be added: From, Subject,
// Date, To, Cc, Reply-To, MIME-Version, Content-Type, Content-Transfer-Encoding, List-Unsubscribe and
// List-Unsubscribe-Post. So a Date or a Message-ID must be there before: client.Submission adds them, and
// client.AddMissing does for a Relay. These are signed where the message has them: Sender, Message-ID, In-Reply-To,
// References, the Resent- and List- fields of RFC 6376 §5.4.1, Feedback-ID, and [Signer].Headers. All of the body is
// signed.
//
// Bodies with octets above 127 or with lines over 998 octets are converted first: see [Signer].Keep8Bit.
//
// # Replacing a key
//
//  1. Publish the record of the new key, under another Selector.
//  2. Call [Signer.Switch] with the new key in place of the old one. It looks the record up first. If it isn't there,
//     Switch returns an error, and the old key goes on.
//  3. A week later, when the last message signed by the old key has arrived, remove the old record.
//
// # DKIM2
//
// With [Signer].DKIM2, a message is also signed by DKIM2, which is to replace DKIM: the signature has the reverse-path
// and the recipient, so that the message can't be sent to others. This is an experiment. It follows
// draft-ietf-dkim-dkim2-spec-06 of August 2026, for the first hop of a message alone: a message that has a
// Message-Instance or a DKIM2-Signature already doesn't get another. The first of [Signer].Keys signs whose Domain is
// that of From and of the reverse-path, or above both. Each recipient gets a message of its own, one after the other.
// The recipients of one message would else learn of each other. So a Signer with DKIM2 goes inside a bounce.VERP.
//
// # Bounds
//
//   - The header has at most 1 MiB, and 200 fields that are signed.
//   - The body is never held. It is read twice, once more if it has to be converted, and once more for DKIM2.
//   - [Signer].CacheSize bounds the signatures that are kept.
//   - RSA keys have 1024 to 4096 bits, and 2048 or more unless [Signer].MinBits says otherwise.
//
// # Files
//
//	signer.go      Signer and its Sender; the results of messages that can't be signed
//	sign.go        one message: its form, its sums, the field
//	key.go         Key, its record, ParsePrivate
//	keyset.go      the keys for a domain
//	check.go       Check, Switch, and the records in the DNS
//	cache.go       the signatures that are kept
//	dkim2.go       DKIM2
//
// # RFCs
//
// The package implements the signer of RFC 6376, RFC 8301 (no SHA-1, sizes of keys), RFC 8463 (Ed25519), and RFC 8058
// §4 (one-click unsubscription is signed). The canonical forms are relaxed/relaxed. Decisions where they leave room:
//
//   - There is no l=: anything could be appended (RFC 6376 §8.2). There is no i=: it says nothing that d= doesn't.
//   - A message that readers could take in two ways isn't signed, nor sent: see [Signer.Wrap].
//   - A record with t=y is right: receivers may ignore the signature (RFC 6376 §3.6.1).
package dkim
