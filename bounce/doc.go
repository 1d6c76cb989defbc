// Package bounce composes delivery status notifications: the mail that tells a sender what became
// of a message, in words for a person and in fields for a program.
//
// A [Report] says what happened to the recipients of one message, and [Report.Compose] makes a mail
// of it: a multipart/report (RFC 6522) of a text, a message/delivery-status (RFC 3464, with the
// terms of SMTP from RFC 3461 §6 and §9 and the codes of RFC 3463), and the original message or its
// header. Addresses and headers in UTF-8 go as RFC 6533 has them. The report is marked as an
// automatic response (RFC 3834), and comes from the null reverse-path, so that none is ever sent
// about it. NOTIFY, RET, ENVID and ORCPT (RFC 3461) decide who is reported on and what is returned.
//
// What other hosts wrote (addresses, replies, the original's header) is data here: it can't start
// a line, a field or a part of the report.
//
// Start with a Report of one [Recipient], as the example does. Compose gives an envelope and a
// content, to be queued as any other mail.
//
// It differs from the RFCs in two places, and chooses in a third:
//
//   - A message without RET is returned as its header alone, where RFC 6522 §3 would have the whole.
//     A reverse-path can be forged, and its owner shouldn't be sent what others wrote.
//   - Remote-MTA stands only where that host answered, where RFC 3461 §6.3 wants it for each attempt:
//     by RFC 3464 §2.3.6 it marks the Diagnostic-Code beside it as that host's words. Our own words
//     are of the diagnostic type "x-postrider".
//   - What was tried in vain until it expired is failed with the 4.x.x of its last attempt, as
//     RFC 3464 §2.3.3 has it, and with 4.4.7 where that had none. A program must look at Action, not
//     at the class of Status.
package bounce
