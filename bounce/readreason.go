package bounce

import (
	"strings"

	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
)

// reasonOf returns the cause of what happened to a recipient.
func reasonOf(r *RecipientStatus) smtp.Reason {
	reply := &smtp.Reply{Code: 550, Enhanced: r.Status, Text: r.Text}
	if r.Status[0] == 4 || r.Action == Delayed {
		reply.Code = 450
	}
	if r.Reply != nil {
		reply.Code, reply.Enhanced, reply.Text = r.Reply.Code, r.Reply.Enhanced, r.Reply.Text
		if reply.Enhanced[0] == 0 {
			reply.Enhanced = r.Status
		}
	}
	reason := replies.Classify(reply, stageOf(r.Text), r.RemoteMTA).Reason
	if reason != smtp.Other && reason != smtp.NoReason {
		return reason
	}
	return byWords(r.Text)
}

// reconsider sets the Reason by all that the mail says, if the words about the recipient don't give one.
func (r *RecipientStatus) reconsider(texts ...string) {
	for _, text := range texts {
		if reason := byWords(text); reason != smtp.Other {
			r.Reason = reason
			r.Hard = r.Action == Failed && r.Status[0] != 4 && (r.Reply == nil || !r.Reply.Temporary()) && reason.Hard()
			return
		}
	}
}

// byWords returns the first Reason in mailerWords whose words stand in text, or Other.
func byWords(text string) smtp.Reason {
	text = strings.Join(strings.Fields(strings.ToLower(text)), " ")
	for _, w := range mailerWords {
		if containsAny(text, w.words) {
			return w.reason
		}
	}
	return smtp.Other
}

// stageOf returns the stage at which a host refused a message, as the words about it say.
func stageOf(text string) smtp.Stage {
	text = strings.ToLower(clip(text, maxLetterLine))
	switch {
	case strings.Contains(text, "initial connection"), strings.Contains(text, "connected to"):
		return smtp.StageConnect
	case strings.Contains(text, "mail from"):
		return smtp.StageMail
	case strings.Contains(text, "end of data"), strings.Contains(text, "final data"), strings.Contains(text, "after i sent the message"):
		return smtp.StageFinal
	}
	return smtp.StageRcpt
}

// mailerWords are the words by which mail systems state a cause in prose and in diagnostics of their own, in lower case.
// The replies of hosts are known to package replies. The first match counts.
var mailerWords = []struct {
	reason smtp.Reason
	words  []string
}{
	{smtp.MailboxFull, []string{
		"mailbox full", "mailbox is full", "over quota", "overquota", "quota exceeded", "exceeded quota", "mailfolder is full",
		"exceeds allowed size", "exceeded the local limit", "storage quota", "inbox is full", "disk quota", "quota has been exceeded",
		"insufficient disk space", "mailbox has exceeded", "out of storage", "mailbox size limit", "exceeded storage allocation", "exceed quota",
		"too much mail data", "boîte pleine", "postfach ist voll", "メールボックスの容量", "容量を超え", "buzón lleno", "caixa cheia", "casella piena",
	}},
	{smtp.MailboxDisabled, []string{
		"account is disabled", "account disabled", "account is locked", "account has been disabled", "account inactive",
		"inactive account", "mailbox disabled", "mailbox is disabled", "mailbox unavailable for this recipient", "account suspended", "account is suspended",
		"user suspended", "has been suspended", "mailbox inactive", "disabled recipient", "no longer active", "mailbox is inactive", "account expired",
		"not accepting messages", "user is inactive", "account not active", "deactivated", "recipient suspend", "temporarily disabled", "user disabled",
		"account closed", "discontinued", "user is not active", "inactive user", "account is not active",
	}},
	{smtp.Virus, []string{"virus", "malware", "infected", "trojan", "banned file", "executable attachment", "file extension"}},
	{smtp.TLS, []string{"starttls", "tls required", "certificate", "tls handshake", "encryption required", "must issue a starttls"}},
	{smtp.TooBig, []string{
		"message size exceeds", "message too large", "message too big", "too big", "message is too large", "message is larger than", "size exceeded",
		"exceeds maximum size", "exceeds the maximum", "length exceeds", "message size", "size limit",
	}},
	{smtp.RelayDenied, []string{"relay denied", "relaying denied", "relay access denied", "not permitted to relay", "mail relay", "no relaying",
		"relaying is not allowed", "relay not permitted", "unable to relay", "relaying prohibited", "relaying mail"}},
	{smtp.PolicyAuth, []string{"dmarc", " spf", "dkim", "reverse dns", "ptr record", "unauthenticated", "rdns", "authentication checks", "sender policy framework"}},
	{smtp.RateLimited, []string{"too many connections", "rate limit", "too many messages", "daily relay quota", "too many recipients", "throttl", "unusual rate", "message rate", "sending limit"}},
	{smtp.Greylisted, []string{"greylist", "graylist"}},
	{smtp.UserUnknown, []string{
		"user unknown", "unknown user", "no such user", "no such recipient", "recipient not found", "name is not recognized",
		"unknown recipient", "not listed in public name", "not listed in domino", "no mailbox here", "invalid final delivery", "invalid user",
		"invalid recipient", "invalid address", "unknown or illegal alias", "mailbox not found", "mailbox does not exist", "user doesn't exist", "unknown local part",
		"does not exist on", "doesn't have a", "recipient unknown", "address unknown", "unknown address", "no such mailbox", "not our customer",
		"user not found", "user does not exist", "address rejected", "couldn't be found", "recipnotfound", "unroutable address", "unrouteable address", "account does not exist",
		"address does not exist", "address doesn't exist", "no such address", "email address is possibly incorrect", "address not found", "bad destination mailbox",
		"addressee unknown", "not a valid mailbox", "is not a known user", "user not known", "has no mailbox", "no mailbox by that name", "unknown mailbox",
		"メールアドレスが見つか", "宛先不明", "ディレクトリのリストに", "存在しない", "存在しません", "unbekannter empfänger", "empfänger unbekannt", "utilisateur inconnu", "usuario desconocido", "utente sconosciuto", "неизвестный пользователь", "no account by that name",
	}},
	{smtp.HostUnknown, []string{
		"host unknown", "unknown host", "domain does not exist", "couldn't find any host", "no mx record found", "name or service not known",
		"unknown domain", "domain not found", "host not found", "couldn't find a mail exchanger", "no smtp service", "null mx", "unrouteable mail domain",
		"unrouteable domain", "domain may not exist", "invalid domain", "illegal host", "bad destination host", "name service error", "could not find a gateway", "no such domain",
		"host or domain name not found", "nonexistent domain", "domain name not found", "does not accept mail", "nullmx",
	}},
	{smtp.Blocklisted, []string{
		"blacklist", "blocklist", "blocked using", "blocked for abuse", "rbl", "dnsbl", "spamhaus", "reputation", "blocked by", "ip address is blocked",
		"has been blocked", "block list", "access denied", "invalid ip for sending", "poor sender",
	}},
	{smtp.SpamContent, []string{"spam", "content rejected", "junk", "unsolicited", "message content", "bulk mail"}},
	{smtp.Expired, []string{
		"retry timeout exceeded", "retry time not reached", "in the queue too long", "delivery time expired", "cannot send message for", "giving up", "message expired",
		"too long in queue", "multiple retries", "delivery attempts exceeded", "failing for a long time", "unable to deliver in", "delivery failed 20 attempts", "timeout exceeded", "was aborted after", "expired",
	}},
	{smtp.Network, []string{
		"connection timed out", "timed out", "connection refused", "connection reset", "network error", "network is unreachable", "no route to host",
		"host not reachable", "did not accept our requests to connect", "socket error", "lost connection", "unable to connect", "couldn't connect", "could not connect", "connection dropped",
		"establish an smtp connection", "connection failed", "unreachable", "host is down", "no answer from host", "not responding", "host did not respond",
	}},
	{smtp.Temporary, []string{
		"insufficient system", "system resources", "disk full", "no space left", "internal error", "temporary failure", "try again later", "local error",
		"configuration error", "system error", "server error", "temporarily unavailable", "system not accepting", "can't create output",
	}},
	{smtp.Syntax, []string{"syntax error", "malformed", "rfc 5322", "rfc 2822", "not rfc", "missing header", "bad header", "rfc822", "bare lf", "bare cr", "non-compliant", "not compliant"}},
}
