// Package replies classifies the replies of mail hosts. Hosts speak in prose, and with codes that they use loosely. A
// [Meaning] has the cause of a refusal as an [smtp.Reason], the party that the host bounds the rate of, the blocklist
// that the text names, and the provider.
//
//	m := replies.Classify(result.Reply, result.Stage, result.Host)
//	if m.Reason == smtp.Blocklisted {
//		log.Print("listed by ", m.By)
//	}
//
// Package client and package queue/delivery set the Reason of each [smtp.Result] by this package. A [Classifier] has
// rules of your own, which are tried before the default ones. It is a value for the Replies of a client.Transport (the
// Relay's is Relay.Transport), of a client.Submission, and of a delivery.Runner:
//
//	Replies: &replies.Classifier{Rules: []replies.Rule{{
//		Name: "partner", Hosts: []string{"partner.example"}, Says: []string{"come .. tomorrow"},
//		Reason: smtp.RateLimited, Scope: replies.Recipient,
//	}}}
//
// # Rules
//
// The default rules are data: rules.txt, words.txt, scopes.txt and names.txt in this directory. Each rule has the
// source that it was learnt from. The first rule that matches decides. Rules about words come before those about codes,
// since hosts are more exact in prose: "550 5.2.1 user unknown" is UserUnknown. Whether a reply is 4xx or 5xx rarely
// counts: the same cause is transient at one host and permanent at another. Where the class of the enhanced code isn't
// that of the code, the code counts: "421 5.7.32" is transient.
//
// # Patterns
//
// The words of a text are its runs of letters and digits, in lower case, without accents and apostrophes, and without
// their endings: "block" is blocks, blocked and blocking. Addresses are no words, and of a URL only the query and the
// fragment are. A pattern is matched anywhere in the text.
//
//	mailbox full           these words, next to each other
//	mailbox .. full        with up to 4 words in between; "..." stands for up to 12
//	mailbox|inbox full     one of the words
//	mailbox is? full       a word that may be missing
//	$user unknown          one of a class in words.txt
//	rate & exceeded        both, in any order
//	full & ! disk          the one, without the other
//	blocked using @host    @address, @host, @ip, @url, or @list: a name of a blocklist in names.txt
//
// # Bounds
//
//   - Of a text, 4096 octets and 256 words are read. The work is linear in them.
//   - Nothing is allocated, except for the rules at their first use, and for the line that Regexps are matched with.
//   - A Classifier has at most 1024 patterns with 2047 words.
//
// # RFCs
//
// RFC 3463, RFC 5248, RFC 7372 and RFC 7505 (enhanced codes), RFC 5321 §4.2 (codes), RFC 6647 (greylisting).
package replies
