// Package tlsrpt reports to domains how TLS went in the sessions with their mail hosts, and reads the reports of others
// (RFC 8460). A domain learns from a report that a certificate has expired, or that somebody in the network removes
// STARTTLS.
//
// # Getting started
//
// A [Reporter] records the results of a client.Transport, and sends reports by any smtp.Sender. The example of Reporter
// has all of it with a Relay, where reports are queued like other mail:
//
//	reporter := &tlsrpt.Reporter{
//		From:     "tls-reports@example.com", // for reports alone; signed by DKIM
//		Sender:   sender,                    // a func that queues by a Relay, for example
//		Store:    &tlsrpt.Dir{Path: "/var/lib/app/tls-reports"},
//		Resolver: resolver,                  // that of the Relay; a Reporter doesn't take it from there
//	}
//	if err := reporter.Check(); err != nil { … }
//	transport.TLSResult = reporter.Record
//	err := reporter.Run(ctx)
//
// [Parse] reads a report as it comes by HTTPS, and [ParseMail] one that comes by mail.
//
// # What is counted
//
//   - Sessions count for the domain of the recipients, by the day in UTC and by the policy that applied: MTA-STS (also
//     in testing), DANE, or none. If several domains share a host, each counts for itself, by its own policy.
//   - A session succeeds if it has TLS as the policy wants it. Without a policy, any TLS is success. Otherwise it
//     fails, in one or several ways. A host that a policy excludes counts as a failed session for each attempt.
//   - A policy that couldn't be fetched or looked up has an entry of its own, without a policy-string. It counts the
//     sessions for which it was missing. The session itself counts for the policy that applied in its place.
//   - Sessions that end before STARTTLS don't count (RFC 8460 §4.3.4). Sessions of explicit routes don't, and neither
//     do sessions for the reports themselves.
//   - Reused sessions count if [Reporter].CountReused is set.
//
// # When and where reports are sent
//
//   - Only domains with one valid TXT record at "_smtp._tls." and the domain get reports.
//   - A report covers a day in UTC. It is sent at a random time of [Reporter].Spread after midnight.
//   - It is sent to each mailto and https in rua, up to 10. If none of them takes it, all are tried again after 5, 10,
//     20, … minutes, up to 4 hours, for 24 hours. A Sender that refuses it for good isn't tried again.
//   - After a restart, the same report has the same ID, so that a receiver can drop the second one.
//   - A mail with a report has TLS-Required: No (RFC 8689): it is to be delivered even if TLS fails, which may be what
//     it reports.
//
// # DKIM
//
// A mail with a report must be signed by the domain of its From, without the tag l= (RFC 8460 §3); receivers ignore
// others. The Sender has to do that. With package client/dkim, set Signer.Headers to [SignedHeaders], which §5.3 wants
// signed as well. The key's record may be restricted by s=tlsrpt.
//
// # Received reports
//
// Anyone can send a report. Believe one only if its mail has a valid DKIM signature of the domain in
// TLS-Report-Submitter, and then as much as you believe that domain. If the subject, the file name and the report
// disagree, the report counts (RFC 8460 §5.6). [MaxSize], [MaxPolicies], [MaxDetails] and [MaxLines] bound what is
// read.
//
// # Bounds
//
//   - [Reporter].MaxDomains bounds the domains of a day, and MaxDetails the details of a domain. A domain has 20
//     policies with 100 lines each at most. What was recorded on a day takes about 16 MiB at most. Beyond that,
//     sessions are counted with less detail: without the policy's lines, or by the type of the failure alone. None is
//     lost, except those of domains beyond MaxDomains, whose number is logged.
//   - What was recorded is kept for 7 days, if the process doesn't run. A crash loses the last minute.
//   - An upload takes 1 minute. 10 reports are sent at the same time.
//
// # Differences from RFC 8460
//
//   - Certificates of web servers are verified, although §3 allows to ignore their errors.
//   - A refused STARTTLS counts as starttls-not-supported, with the codes of the reply as failure-reason-code.
//   - A host whose certificate matches no TLSA record counts as validation-failure: §4.3 has no type for it.
//
// # Files
//
//   - reporter.go: [Reporter], its settings, Record. run.go: Run. send.go: how a report is sent.
//   - report.go: [Report], [Policy], [Detail]. compose.go: [Message], the mail and the file. post.go: the upload.
//   - tally.go: what is kept of a day. record.go: the TXT record. store.go: [Store] and [Dir].
//   - parse.go: [Parse]. parsemail.go: [ParseMail].
package tlsrpt
