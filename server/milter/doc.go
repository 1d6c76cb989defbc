// Package milter passes mail to a filter that speaks the milter protocol: rspamd, clamav-milter, OpenDKIM and others. A
// [Filter] has the settings, and makes a [server.Check]:
//
//	srv := &server.Server{Checks: []server.Check{
//		(&milter.Filter{Name: "rspamd", Addr: "127.0.0.1:11332"}).Check(),
//		(&milter.Filter{Name: "opendkim", Addr: "/run/opendkim/opendkim.sock"}).Check(),
//	}}
//
// The filter gets the client, EHLO, MAIL, each recipient, DATA, the header and the body, except for those that it
// declines. At each of them it can refuse, defer, discard, or accept without the rest. At the end of the message it can
// also change the header, the body, the reverse-path and the recipients, and quarantine the message.
//
//   - Nothing is changed before the filter has answered at the end. If it fails before that, [Filter.Failure] decides,
//     and an accepted message is unchanged.
//   - A recipient that the filter adds must be one that the server's Handler accepts from the client. If it isn't, the
//     recipient is left out and reported. If the Handler can't decide now, the message is deferred.
//   - Quarantine is [server.Session.Hold]: a postrider.Relay stores the message held.
//   - The filter sees the message without the fields that other checks add.
//
// # Protocol
//
// There is no RFC. The protocol is that of libmilter, which Sendmail and Postfix speak; this package offers version 6,
// and understands filters from version 2 on. It has one connection to the filter for each session, which is made at
// connect, and made again at MAIL if it was lost. Between two transactions, the filter is reset.
//
// The macros are as Postfix has them, as far as the session knows them. A filter can't choose its macros.
//
//   - At connect: j, {daemon_name}, {daemon_addr}, {daemon_port}, v, _, {client_addr}, {client_port}, {client_name},
//     {client_ptr}.
//   - At EHLO, with TLS: {tls_version}, {cipher}, {cipher_bits}, {cert_subject}, {cert_issuer}.
//   - At MAIL: i, {mail_addr}; {auth_authen}, and {auth_type}, which is always "SASL".
//   - At RCPT: {rcpt_addr}. At DATA and at the end: i.
//
// The position of an inserted field counts the Received field that the server adds later: 0 and 1 are the top of the
// message. Parameters of MAIL that come with a new reverse-path are ignored.
//
// # Bounds
//
// Each answer, all answers of one moment together, and the octets that the filter sends are bounded by fields of
// Filter. A packet has at most 256 KiB, unless it is a part of a new body. One message has at most 1,000 changes of 1
// MiB in all. A new body is in memory up to 64 KiB, then in a file. The end of the context closes the connection.
//
// # Files
//
//   - filter.go: [Filter], [Failure] and the moments of the Check. link.go: what a filter knows of one session.
//   - content.go: a message, up to the filter's answer. change.go: the changes. body.go: a new body.
//   - wire.go: packets. macros.go: macros.
package milter
