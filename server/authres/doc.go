// Package authres evaluates the authentication of mail as a [server.Check]: SPF (RFC 7208), iprev (RFC 8601 §3), DKIM
// (RFC 6376) and DMARC (RFC 9989). It adds an Authentication-Results field (RFC 8601) with the results, and can refuse
// or mark messages by them.
//
// # Getting started
//
//	verifier := &authres.Verifier{Resolver: &dns.Resolver{}, Policy: authres.Mark}
//	srv := &server.Server{Hostname: "mx1.example.com", Handler: handler, Checks: []server.Check{verifier.Check()}}
//
// A message gets a field such as this one on top:
//
//	Authentication-Results: mx1.example.com;
//		iprev=pass policy.iprev=192.0.2.25;
//		spf=pass smtp.helo=mail.example.net;
//		spf=pass smtp.mailfrom=example.net;
//		dkim=pass header.d=example.net header.s=2026 header.a=rsa-sha256
//		header.b=F45dVWDf;
//		dmarc=pass header.from=example.net policy.dmarc=reject
//
// # Policy
//
// Without a [Verifier].Policy, all messages are accepted. With [Mark], a message that fails DMARC is accepted with a
// field, "X-DMARC: reject" or "X-DMARC: quarantine", if the owner of the domain in From asks for either. With
// [Enforce], it is refused for "reject". Any other func can decide by the [Results]:
//
//	verifier.Policy = func(ctx context.Context, s *server.Session, r *authres.Results) error {
//		if r.SPF.Code == spf.Fail && r.DMARC.Code != dmarc.Pass {
//			return smtp.NewReply(550, "5.7.23", "SPF says that you may not send for "+r.SPF.Domain)
//		}
//		return authres.Enforce(ctx, s, r)
//	}
//
// A check after this one in [server.Server].Checks gets the results by [Of]: iprev and SPF from MAIL on, all of them at
// Content. For a client that authenticated, nothing is evaluated, and Of returns nil.
//
// # Bounds
//
//   - [Verifier].Timeout for the lookups at MAIL, and again for those after the message.
//   - Lookups: those of smtp/spf for two names, those of smtp/dmarc, 11 for iprev, one for each signature.
//   - 8 signatures. A further one is Policy, others are ignored. 200 names in h=. Keys have 1024 to 8192 bits.
//   - The body is read once, for all signatures. Work and memory for an octet have bounds.
//   - The header has at most 1 MiB, as in any check with a Content func.
//
// # Errors
//
// A failed lookup never refuses a message by itself: the result is temperror, and the Policy decides. Only a message
// that can't be read is an error. Errors in the results name the fault. The field has no error that could name a name
// server of this host.
//
// # Files
//
//   - verifier.go: Verifier, and the order of all. policy.go: Enforce, Mark. results.go: Results, Signature. field.go:
//     the header field.
//   - dkim.go: the signatures of a message. signature.go, key.go: their syntax. iprev.go: iprev.
//
// # RFCs
//
// Differences, and decisions where the RFCs leave room:
//   - A signature of only a part of the body (l=) is Policy: anything could be appended (RFC 6376 §8.2).
//   - rsa-sha1 is Policy (RFC 8301), and so are keys that are too short or too long.
//   - An expired signature is Fail. The time t= isn't compared with the clock.
//   - A key with t=y, of an owner who is testing, counts as others do: see [Signature].Testing. RFC 6376 §3.6.1 would
//     ignore a good signature as well, and keys are often left so.
//   - A From field that can't be parsed has the domain after each "@" in it, as a mail program may show any of them.
//     DMARC takes the strictest result.
//   - A From behind a line that is no field counts as well, up to the empty line: many programs show it.
package authres
