// Package replies classifies the replies of mail hosts: what a refusal is about, as a [smtp.Reason], whose rate it
// bounds, which blocklist it names, and which provider says it.
package replies

import (
	"github.com/postrider/postrider/smtp"
)

// Meaning is what a reply means.
type Meaning struct {
	// Reason is the cause of the refusal. It is smtp.NoReason for a reply that isn't 4xx or 5xx.
	Reason smtp.Reason

	// By is the blocklist or the reputation service that the text names, "Spamhaus" for example. If empty, the text
	// names none. It is set for smtp.Blocklisted alone.
	By string

	// Scope is whose rate the host bounds. It is Unknown unless the Reason is smtp.RateLimited, and the text says it.
	Scope Scope

	// Provider is who runs the host, "google" for example. If empty, it isn't known.
	Provider string

	// Rule is the name of the rule that decided.
	Rule string
}

// Scope is whose rate a host bounds.
type Scope uint8

const (
	Unknown    Scope = iota
	Address          // our IP address
	Network          // the network of our IP address
	DKIMDomain       // the domain of the DKIM signature
	SPFDomain        // the domain of the reverse-path
	Connection       // this connection, or the number of connections
	Recipient        // the recipient, from all senders
	Message          // this message: it has too many recipients
)

var scopes = [...]string{
	Unknown: "unknown", Address: "address", Network: "network", DKIMDomain: "dkim-domain", SPFDomain: "spf-domain",
	Connection: "connection", Recipient: "recipient", Message: "message",
}

// String returns the name in lower case, "dkim-domain" for example.
func (s Scope) String() string {
	if int(s) < len(scopes) {
		return scopes[s]
	}
	return scopes[Unknown]
}

// Classifier classifies replies. The zero value and a nil Classifier have the default rules alone. It may be used by
// several goroutines at a time. Its fields must not change after its first use.
type Classifier struct {
	// Rules are tried in order, before the default ones.
	Rules []Rule
}

// Rule is a rule of the user. All fields that aren't zero have to match.
type Rule struct {
	Reason smtp.Reason
	Scope  Scope
	By     string
}

// Classify returns the meaning of a reply by the default rules.
func Classify(reply *smtp.Reply, stage smtp.Stage, host string) Meaning {
	return (*Classifier)(nil).Classify(reply, stage, host)
}

// Classify returns the meaning of a reply that a host gave at a stage. If host is empty, the host isn't known. A nil
// reply has no Meaning.
func (c *Classifier) Classify(reply *smtp.Reply, stage smtp.Stage, host string) Meaning {
	if reply == nil || reply.Code < 400 || reply.Code > 599 {
		return Meaning{}
	}
	res := smtp.Result{Outcome: smtp.Deferred, Stage: stage, Reply: reply}
	if reply.Permanent() {
		res.Outcome = smtp.Rejected
	}
	return Meaning{Reason: smtp.ReasonOf(&res)}
}
