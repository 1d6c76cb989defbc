package client

import "github.com/postrider/postrider/mx"

// tlsDemand is how much TLS a session demands. In testing, a session that falls short of the level is used. A strict
// session is one for REQUIRETLS: its level is DemandVerified.
type tlsDemand struct {
	level   mx.Demand
	testing bool
	strict  bool
}

// trouble is how a host keeps a session from its demand.
type trouble uint8

const (
	noTrouble       trouble = iota // with TLS
	noSTARTTLS                     // it doesn't offer STARTTLS
	refusesSTARTTLS                // it answers STARTTLS by 4xx or 5xx, and the session goes on
	failsLargeHello                // the handshake failed, with a ClientHello that may not fit into one segment
	failsTLS                       // it stalls or breaks the session after STARTTLS, or the handshake fails
	injects                        // it sent data between STARTTLS and TLS, or somebody in its place did
	badCertificate                 // its certificate isn't the one that is demanded
	excluded                       // a policy excludes it
	noREQUIRETLS                   // it doesn't offer REQUIRETLS
	unproven                       // neither DNSSEC nor a policy proves that it is one of the domain's
)

// decision is what follows on trouble.
type decision uint8

const (
	nextHost     decision = iota // the next address or host; after the last one, the message is Deferred
	reject                       // the next address or host; if all of them are like this one, the message is Rejected
	proceed                      // the session goes on as it is
	smallerHello                 // a new connection, with a smaller ClientHello
	inClear                      // a new connection, without TLS
)

// decide returns what follows on trouble in a session with a demand. Every path to cleartext, or to a certificate that
// isn't verified, leads through it:
//
//	                  nothing, or testing  encrypted     verified      strict
//	noSTARTTLS        proceed              nextHost      nextHost      reject
//	refusesSTARTTLS   proceed              nextHost      nextHost      nextHost
//	failsLargeHello   smallerHello         smallerHello  smallerHello  smallerHello
//	failsTLS          inClear              nextHost      nextHost      nextHost
//	injects           nextHost             nextHost      nextHost      nextHost
//	badCertificate    proceed              proceed       nextHost      reject
//	excluded          proceed              nextHost      nextHost      nextHost
//	noREQUIRETLS      proceed              proceed       proceed       reject
//	unproven          proceed              proceed       proceed       reject
//
// RFC 7435 §3: if nothing is demanded, mail in cleartext is better than none. RFC 8689 §4.2.1: a message with
// REQUIRETLS is returned to its sender if no host can have it. Where that may pass within hours, it is Deferred first:
// a handshake that breaks, or a policy that may be older than the MX records.
func decide(d tlsDemand, t trouble) decision {
	level := d.level
	if d.testing {
		level = mx.DemandNothing
	}
	switch {
	case t == failsLargeHello:
		return smallerHello
	case d.strict && (t == noSTARTTLS || t == badCertificate || t == noREQUIRETLS || t == unproven):
		return reject
	case d.strict:
		return nextHost
	case t == badCertificate && level < mx.DemandVerified, t == noREQUIRETLS, t == unproven:
		return proceed
	case t == noTrouble, t == injects, level != mx.DemandNothing:
		return nextHost
	case t == failsTLS:
		return inClear
	}
	return proceed
}
