package delivery

import (
	"net"
	"strings"

	"github.com/postrider/postrider/smtp"
)

// Advice returns what the people who run the relay can do about a recipient that wasn't delivered, in a few sentences
// of English: by the Reason of its result, the Outcome and, if that isn't enough, the Stage. With smtp.Deferred, the
// message is tried again; for a message that expired, give Advice a copy with smtp.Rejected. If empty, there is nothing
// to add to the Reply, or res is nil. The text may change.
func Advice(res *smtp.Result) string {
	if res == nil {
		return ""
	}
	if text := advicesAtEnd[res.Reason]; text != "" && res.Outcome.Final() {
		return text
	}
	switch res.Reason {
	case smtp.Network:
		return networkAdvice(res)
	case smtp.TLS:
		return tlsAdvice(res)
	case smtp.UserUnknown:
		if res.Local && res.Stage == smtp.StageRoute && res.Reply != nil && res.Reply.Enhanced[1] == 7 {
			return "Our own rules refuse this address, such as the list of suppressed addresses. If that is wrong, " +
				"remove it there."
		}
		if !res.Outcome.Final() {
			return "The host says that there is no such mailbox, and not for good. The message is tried again. Check " +
				"the spelling of the address."
		}
	case smtp.PolicyAuth:
		if res.Local {
			return "This relay can't sign the message by DKIM, so no host was asked. Check the keys of the signer " +
				"and when they expire. The log has the error."
		}
	case smtp.NoSource:
		return "The recipient's host wasn't asked: this relay had no address to send from. See the sources of the " +
			"Transport: its warm-up plan is used up for the day, its proxy can't be reached, or it is blocked there."
	case smtp.RelayDenied:
		if res.Local && res.Stage == smtp.StageAuth {
			return "The route to the host has a login, and the host doesn't offer it. Check the host and the port of " +
				"the route, as many hosts offer AUTH at the ports 587 and 465 only, and the mechanisms of its login."
		}
		return "The host takes no mail for this address from us. Check the route, the MX records of the domain, or " +
			"the name and the password for the host."
	}
	if int(res.Reason) < len(advices) {
		return advices[res.Reason]
	}
	return ""
}

var advices = [...]string{
	smtp.Other: "The host gives no other cause than its reply.",
	smtp.RateLimited: "The host wants less mail at a time. It is sent more slowly, and nothing has to be done. " +
		"If that lasts, send less, or from more addresses.",
	smtp.Greylisted: "The host doesn't know this sender yet, and takes the message at a later try. " +
		"Nothing has to be done.",
	smtp.Blocklisted: "The host refuses our address or domain. Look it up in the list that the reply names, end the " +
		"cause, and ask to be removed; or send from another address.",
	smtp.UserUnknown: "There is no such mailbox, or it takes no mail from outside. Check the spelling of the " +
		"address, and don't write to it again.",
	smtp.MailboxFull:     "Only the recipient can make room. The message is tried again until its time is over.",
	smtp.MailboxDisabled: "The mailbox takes no mail now. Ask the recipient by another way.",
	smtp.HostUnknown: "No host takes mail for this domain. Check the spelling of the address. If the domain is " +
		"right, its owner has to set its DNS.",
	smtp.SpamContent: "The host takes the message for spam. Change its content before it is sent again.",
	smtp.PolicyAuth: "SPF, DKIM, DMARC or the reverse DNS failed. Check the DNS of the sender's domain and of our " +
		"address, and the signature.",
	smtp.TooBig:  "The message is too large for the host or the mailbox. Send a smaller one.",
	smtp.Virus:   "The host takes no such attachment, or has found malware in it. Don't send it again.",
	smtp.Syntax:  "The host can't take an address or the header in this form. Change what made the message.",
	smtp.Expired: "The time for attempts is over. Look for the cause in the earlier attempts.",
	smtp.Temporary: "The host has trouble of its own, and only those who run it can end that. The message is tried " +
		"again until its time is over.",
}

// advicesAtEnd are for messages that aren't tried again, where those of advices are for others.
var advicesAtEnd = map[smtp.Reason]string{
	smtp.RateLimited: "The host takes less mail than it was sent. Send the message again later, and less mail at a " +
		"time, or from more addresses.",
	smtp.Greylisted: "The host doesn't know this sender yet, and has refused each try. Send the message again later. " +
		"If that lasts, those who run the host can say why.",
	smtp.MailboxFull: "Only the recipient can make room. Send the message again when that is done.",
	smtp.Temporary: "The host has trouble of its own, and only those who run it can end that. Send the message again " +
		"later.",
}

func networkAdvice(res *smtp.Result) string {
	switch {
	case res.Stage == smtp.StageRoute && res.Reply != nil && res.Reply.Enhanced == smtp.EnhancedCode{4, 4, 4}:
		return "The DNS has no address for the host of the route, or for the hosts of the domain. Check the name in " +
			"the route. Without a route, the domain's owner has to set its DNS."
	case res.Stage == smtp.StageRoute:
		return "The DNS gave no answer. Check the name servers of this machine. If other domains work, the " +
			"domain's own name servers are at fault."
	case res.Stage == smtp.StageAuth:
		return "The login at the host failed. Check the name and the password, or the token, of the route to it."
	case res.Local && res.Stage <= smtp.StageConnect:
		const others = " If other hosts can be reached, only those who run the host can end that."
		switch _, port, err := net.SplitHostPort(res.Addr); {
		case strings.HasPrefix(res.Addr, "/"):
			return "The socket " + res.Addr + " can't be connected to. Check the path in the route, and whether the " +
				"server behind it runs and lets this program connect."
		case err == nil && port != "25":
			return "The host can't be reached at port " + port + ". Check the host and the port of the route to it, " +
				"the network of this machine, and its firewalls." + others
		}
		return "The host can't be reached. Check the network of this machine, and whether its provider lets it " +
			"connect to port 25." + others
	}
	return "The session with the host has failed. If other hosts work, only those who run the host can end that."
}

func tlsAdvice(res *smtp.Result) string {
	switch kind, _, _ := strings.Cut(res.Policy, ":"); kind {
	case "requiretls":
		return "The sender demands REQUIRETLS, and the hosts of the domain can't keep it. Send the message without " +
			"it, if it may be read on the way."
	case "":
		return "TLS with the host failed, and is needed. Check the TLS settings of this relay and of the host."
	}
	return "It is sent only with the TLS that is demanded, so that nobody can read it on the way. " +
		"Those who run the recipient's domain have to correct its host, or what its DNS demands."
}
