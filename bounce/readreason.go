package bounce

import (
	"strings"

	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
)

// conclude sets the fields that follow from the others. context is what the mail says around the words of the host, such
// as the command that was refused.
func (r *RecipientStatus) conclude(context string) {
	if r.Status[1] == 0 && r.Status[2] == 0 && r.Reply != nil && r.Reply.Enhanced[0] != 0 {
		r.Status = r.Reply.Enhanced
	}
	if r.Action == 0 {
		r.Action = Failed
		if r.Status[0] == 2 {
			r.Action = Delivered
		}
	}
	r.Reason, r.Hard = smtp.NoReason, false
	if r.Action != Failed && r.Action != Delayed {
		return
	}
	stage := stageOf(r.Text + "\n" + context)
	r.Reason = r.reason(stage)
	if r.Reason == smtp.Other || r.Reason == smtp.NoReason {
		r.Reason = byWords(context)
	}
	r.Hard = r.Reason.Hard() && r.isPermanent() && !r.isDoubtful(stage)
}

// isPermanent reports whether the message failed for good at its first attempt: RFC 3464 §2.3.3 has failures with the
// class 4, for which time ran out.
func (r *RecipientStatus) isPermanent() bool {
	return r.Action == Failed && r.Status[0] != 4 && (r.Reply == nil || !r.Reply.Temporary())
}

// isDoubtful reports whether a few words alone state that the address is unknown, and the rest contradicts them. Hosts
// that filter for their users, those of Japanese mobile networks for example, take the recipient and refuse the message
// with no more than "unknown user", or give a code that is about something else (RFC 3463 §3): X.2.0 means that the
// mailbox exists, X.3 is about the host, X.6 about the message. X.7 isn't among them: programs let a rule of the
// administrator refuse unknown users, too.
func (r *RecipientStatus) isDoubtful(stage smtp.Stage) bool {
	switch {
	case r.Status[1] == 1:
		return false
	case r.Status[1] == 3, r.Status[1] == 6, r.Status[1] == 2 && r.Status[2] == 0:
		return true
	}
	return stage >= smtp.StageData && strings.Count(plainWords(r.Text), " ") < 4
}

// reason returns the cause by Status, Reply and Text.
func (r *RecipientStatus) reason(stage smtp.Stage) smtp.Reason {
	if r.Reply == nil {
		// Prose has words of courtesy that are no part of a reply.
		if reason := byWords(r.Text); reason != smtp.Other {
			return reason
		}
	}
	reply := &smtp.Reply{Code: 550, Enhanced: r.Status}
	if r.Status[0] == 4 || r.Action == Delayed {
		reply.Code = 450
	}
	if r.Reply != nil {
		reply.Code, reply.Text = r.Reply.Code, r.Reply.Text
		if r.Reply.Enhanced[0] != 0 {
			reply.Enhanced = r.Reply.Enhanced
		}
	}
	m := replies.Classify(reply, stage, r.RemoteMTA)
	if byCode(m) {
		if reason := byWords(r.Text); reason != smtp.Other {
			return reason
		}
	}
	return m.Reason
}

// byCode reports whether a reply was classified by nothing but the class of its code.
func byCode(m replies.Meaning) bool {
	switch m.Rule {
	case "rest", "code-fault", "code-policy", "code-syntax", "reply-temporary", "reply-storage", "reply-syntax", "":
		return true
	}
	return false
}

// byWords returns the first Reason in mailerWords whose words stand in text, or Other.
func byWords(text string) smtp.Reason {
	text = plainWords(text)
	for _, w := range mailerWords {
		if containsAny(text, w.words) {
			return w.reason
		}
	}
	return smtp.Other
}

// plainWords returns text in lower case and in one line, without addresses and the paths of URLs: their words mean
// nothing.
func plainWords(text string) string {
	words := strings.Fields(strings.ToLower(clip(text, 4*maxWords)))
	kept := words[:0]
	for _, w := range words {
		if _, url, ok := strings.Cut(w, "://"); ok {
			w, _, _ = strings.Cut(url, "/")
		}
		if !strings.Contains(w, "@") {
			kept = append(kept, w)
		}
	}
	return strings.Join(kept, " ")
}

// stages are the ways in which mail systems name the command that a host refused, in lower case. The last one in a text
// counts.
var stages = []struct {
	words string
	stage smtp.Stage
}{
	{"initial connection", smtp.StageConnect},
	{"connected to", smtp.StageConnect},
	{"mail from", smtp.StageMail},
	{"rcpt to", smtp.StageRcpt},
	{"rcpt_to", smtp.StageRcpt},
	{"does not like recipient", smtp.StageRcpt},
	{">>> data", smtp.StageData},
	// With PIPELINING, sendmail has sent DATA when the replies to RCPT arrive. Its own line then says what they were to.
	{"... user unknown", smtp.StageRcpt},
	{"no valid recipients", smtp.StageRcpt},
	{"to data command", smtp.StageData},
	{"end of data", smtp.StageFinal},
	{"final data", smtp.StageFinal},
	{"after i sent the message", smtp.StageFinal},
}

// stageOf returns the stage at which a host refused a message, as the words about it say. If they don't, it is RCPT.
func stageOf(text string) smtp.Stage {
	text = strings.Join(strings.Fields(lowerASCII(clip(text, 2*maxWords))), " ")
	at, stage := -1, smtp.StageRcpt
	for _, s := range stages {
		if i := strings.LastIndex(text, s.words); i > at {
			at, stage = i, s.stage
		}
	}
	return stage
}

// mailerWords are the words by which mail systems state a cause in prose and in diagnostics of their own, in lower case.
// The replies of hosts are known to package replies. The first match counts.
var mailerWords = []struct {
	reason smtp.Reason
	words  []string
}{
	{smtp.Network, []string{
		"found, try again", "name server failure", "host name lookup failure", "name lookup failure, try",
		"temporary lookup failure", "dns lookup failure", "temporary dns",
	}},
	{smtp.SpamContent, []string{"spam classification", "classified as spam", "considered spam", "looks like spam", "message is spam", "identified as spam", "spam detected", "spam message"}},
	{smtp.MailboxFull, []string{
		"mailbox full", "mailbox is full", "not enough disk space", "mailbox for user is full", "full mailbox", "over quota", "overquota", "quota exceeded", "exceeded quota", "mailfolder is full",
		"exceeds allowed size", "exceeded the local limit", "storage quota", "inbox is full", "disk quota", "quota has been exceeded",
		"insufficient disk space", "mailbox has exceeded", "out of storage", "mailbox size limit", "exceeded storage allocation", "exceed quota",
		"too much mail data", "boîte pleine", "postfach ist voll", "メールボックスの容量", "容量を超え", "buzón lleno", "caixa cheia", "casella piena",
	}},
	{smtp.MailboxDisabled, []string{
		"account is disabled", "is disabled", "is frozen", "account disabled", "account is locked", "account has been disabled", "account inactive",
		"inactive account", "mailbox disabled", "mailbox is disabled", "account suspended", "account is suspended",
		"user suspended", "has been suspended", "mailbox inactive", "disabled recipient", "no longer active", "mailbox is inactive", "account expired",
		"not accepting messages", "user is inactive", "account not active", "deactivated", "recipient suspend", "temporarily disabled", "user disabled",
		"account closed", "discontinued", "user is not active", "inactive user", "account is not active",
	}},
	{smtp.Virus, []string{"virus", "malware", "infected", "trojan", "banned file", "executable attachment", "file extension"}},
	{smtp.TLS, []string{"starttls", "support tls", "tls required", "certificate", "tls handshake", "encryption required", "must issue a starttls"}},
	{smtp.TooBig, []string{
		"message size exceeds", "message too large", "message too big", "too big", "message is too large", "message is larger than", "size exceeded",
		"exceeds maximum size", "exceeds the maximum", "length exceeds", "message size", "size limit",
	}},
	{smtp.RelayDenied, []string{"relay denied", "relaying denied", "relay access denied", "not permitted to relay", "mail relay", "no relaying",
		"relaying is not allowed", "relay not permitted", "unable to relay", "relaying prohibited", "relaying mail"}},
	{smtp.PolicyAuth, []string{"dmarc", " spf", "dkim", "reverse dns", "ptr record", "unauthenticated", "rdns", "authentication checks", "sender policy framework", "unverifyable", "unverifiable", "name lookup failed", "mismatches client"}},
	{smtp.RateLimited, []string{"too many connections", "rate limit", "too many messages", "daily relay quota", "too many recipients", "throttl", "unusual rate", "message rate", "sending limit", "frequency limited", "sending quota"}},
	{smtp.Greylisted, []string{"greylist", "graylist"}},
	{smtp.UserUnknown, []string{
		"user unknown", "unknown user", "no such user", "no such recipient", "recipient not found", "name is not recognized",
		"unknown recipient", "not listed in public name", "not listed in domino", "no mailbox here", "invalid final delivery", "invalid user",
		"invalid recipient", "invalid address", "unknown or illegal alias", "mailbox not found", "mailbox does not exist", "user doesn't exist", "unknown local part",
		"does not exist on", "doesn't have a", "recipient unknown", "address unknown", "unknown address", "no such mailbox", "not our customer",
		"user not found", "user does not exist", "couldn't be found", "recipnotfound", "unroutable address", "unrouteable address", "account does not exist",
		"address does not exist", "address doesn't exist", "no such address", "email address is possibly incorrect", "address not found", "bad destination mailbox",
		"addressee unknown", "not a valid mailbox", "is not a known user", "user not known", "has no mailbox", "no mailbox by that name", "unknown mailbox",
		"メールアドレスが見つか", "宛先不明", "ディレクトリのリストに", "存在しません", "unbekannter empfänger", "empfänger unbekannt", "utilisateur inconnu", "usuario desconocido", "utente sconosciuto", "неизвестный пользователь", "no account by that name", "not our user", "user has moved", "has moved to", "mailbox unavailable",
	}},
	{smtp.HostUnknown, []string{
		"host unknown", "unknown host", "domain does not exist", "couldn't find any host", "no mx record found", "name or service not known",
		"unknown domain", "domain not found", "host not found", "couldn't find a mail exchanger", "no smtp service", "null mx", "unrouteable mail domain",
		"unrouteable domain", "domain may not exist", "invalid domain", "illegal host", "bad destination host", "name service error", "no such domain", "no relevant answers", "no mx found", "domain is not reachable",
		"host or domain name not found", "nonexistent domain", "domain name not found", "does not accept mail", "nullmx",
	}},
	{smtp.Blocklisted, []string{
		"blacklist", "blocklist", "blocked using", "blocked for abuse", "rbl", "dnsbl", "spamhaus", "reputation", "blocked by", "ip address is blocked",
		"has been blocked", "block list", "access denied", "invalid ip for sending", "poor sender", "use the smtp server of",
	}},
	{smtp.SpamContent, []string{"spam", "content rejected", "junk", "unsolicited", "message content", "bulk mail"}},
	{smtp.Expired, []string{
		"retry timeout exceeded", "retry time not reached", "in the queue too long", "delivery time expired", "cannot send message for", "giving up", "message expired",
		"too long in queue", "multiple retries", "delivery attempts exceeded", "failing for a long time", "unable to deliver in", "delivery failed 20 attempts", "timeout exceeded", "was aborted after", "could not be delivered for", "expired",
	}},
	{smtp.Network, []string{
		"connection timed out", "timed out", "connection refused", "connection reset", "network error", "network is unreachable", "no route to host",
		"host not reachable", "did not accept our requests to connect", "socket error", "lost connection", "unable to connect", "couldn't connect", "could not connect", "connection dropped",
		"establish an smtp connection", "connection failed", "unreachable", "host is down", "no answer from host", "not responding", "host did not respond",
	}},
	{smtp.Temporary, []string{
		"insufficient system", "system resources", "disk full", "no space left", "internal error", "temporary failure", "try again later", "local error",
		"configuration error", "system error", "server error", "temporarily unavailable", "system not accepting", "write error", "can't create output",
	}},
	{smtp.Syntax, []string{"syntax error", "malformed", "rfc 5322", "rfc 2822", "not rfc", "missing header", "bad header", "bare lf", "bare cr", "non-compliant", "not compliant"}},
}
