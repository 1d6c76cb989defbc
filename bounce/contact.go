package bounce

import (
	"slices"
	"strings"
)

// isContact reports whether the address between from and to of line i is one to ask for help, not a recipient's. Words
// before it say so: in its sentence, or in the line above, if that has no end and the address continues it. Role
// addresses (RFC 2142) are recipients less often, so less shows that one is a contact. An address with a label, or of
// which the sentence says that it failed, is a recipient's whatever else shows.
func (l *letter) isContact(i, from, to int) bool {
	line := l.lines[i]
	before, after := sentence(l.lower[i], from, to)
	before = trimOpening(before)
	switch {
	case l.isFailed(i, from, to, after):
		return false
	case containsAny(before, askWords), l.isAsked(i):
		return true
	case !isRole(line[from:to]):
		return false
	case hasAnySuffix(" "+before, askEnds), before != "" && hasPrefixFold(line[from:], "abuse@"):
		return true
	case strings.Trim(before, " \t*->") != "":
		return false
	case isBlank(after): // alone in its line
		return line[max(from-1, 0)] != '<' && !l.isListed(i) && (i+1 == len(l.lines) || isBlank(l.lines[i+1]))
	}
	return strings.HasPrefix(after, " ") && containsAny(after, helpWords)
}

// isHelp is isContact for an address within a line: its sentence must not be about help either.
func (l *letter) isHelp(i, from, to int) bool {
	before, after := sentence(l.lower[i], from, to)
	if l.isFailed(i, from, to, after) {
		return false
	}
	return containsAny(before, helpWords) || containsAny(after, helpWords) || l.isContact(i, from, to)
}

// isFailed reports whether the address between from and to of line i is a recipient's whatever else shows. after is
// what follows it in its sentence.
func (l *letter) isFailed(i, from, to int, after string) bool {
	return l.isLabelled(i, from) || saysFailed(after) || l.wasReplied(i, to)
}

// isLabelled reports whether nothing but a label of a recipient, "Recipient:" or "To:", is before from in line i. A
// "to:" may also end a sentence about help, which began in the line above.
func (l *letter) isLabelled(i, from int) bool {
	label := strings.TrimLeft(trimOpening(l.lower[i][:from]), " \t*->")
	if slices.Contains(toLabels, label) {
		return !l.isAsked(i)
	}
	label, colon := strings.CutSuffix(label, ":")
	label = strings.TrimSpace(label)
	return colon && introducingLabels[label] && label != "email" // the latter is a label of contacts, too
}

// saysFailed reports whether what follows an address in its sentence, in lower case, says that it failed.
func saysFailed(after string) bool {
	return hasAnyPrefix(trimClosing(after), failedWords)
}

// saysUndelivered reports whether what follows an address in its sentence, in lower case, says that mail to it can't be
// delivered. What was rejected or failed may be something else, and what couldn't be sent to another address is its
// sender's.
func saysUndelivered(after string) bool {
	return saysFailed(after) && containsAny(after, deliveryWords) && !strings.Contains(after, "@")
}

// saysUndeliveredTo reports whether the text before the name of an address, in lower case, says that a message to it
// couldn't be delivered, or what follows does.
func saysUndeliveredTo(before, after string) bool {
	return introduces(before) && (saysFailed(after) || containsAny(before, notWords))
}

// wasReplied reports whether a reply of a host follows the address that ends at to in line i: behind a colon, or in the
// next line if nothing else follows.
func (l *letter) wasReplied(i, to int) bool {
	after := trimClosing(l.lower[i][to:])
	if after == "" {
		return i+1 < len(l.lines) && startsWithCode(strings.TrimSpace(l.lower[i+1]))
	}
	_, reply, colon := strings.Cut(after, ":")
	for colon && !startsWithCode(strings.TrimSpace(reply)) {
		_, reply, colon = strings.Cut(reply, ":")
	}
	return colon
}

// sentence returns what is before from and after to in their sentence of a line.
func sentence(line string, from, to int) (before, after string) {
	before, after = line[:from], line[to:]
	for _, end := range [...]string{". ", "; "} {
		if at := strings.LastIndex(before, end); at >= 0 {
			before = before[at+len(end):]
		}
		after, _, _ = strings.Cut(after, end)
	}
	return before, after
}

// isAsked reports whether line i continues a sentence about help.
func (l *letter) isAsked(i int) bool {
	if i == 0 {
		return false
	}
	above := strings.TrimSpace(l.lower[i-1])
	if above == "" || strings.ContainsAny(above, "@") || strings.ContainsAny(above[len(above)-1:], ".!?") ||
		startsWithCode(above) || introducesList(above) {
		return false
	}
	return containsAny(above, helpWords) || containsAny(above, askWords)
}

// isListed reports whether line i is below an introduction of recipients.
func (l *letter) isListed(i int) bool {
	for _, above := range l.lower[max(0, i-maxListed):i] {
		above = strings.TrimSpace(above)
		if containsAny(above, listWords) || strings.HasSuffix(above, ":") && !containsAny(above, helpWords) {
			return true
		}
	}
	return false
}

// isRole reports whether the local part of an address is that of a role.
func isRole(address string) bool {
	local, _, _ := strings.Cut(address, "@")
	for _, role := range roles {
		if strings.EqualFold(local, role) {
			return true
		}
	}
	return false
}

// introducesList reports whether a line, in lower case and without blanks at its ends, has recipients below it.
func introducesList(line string) bool {
	return strings.HasSuffix(line, ":") && containsAny(line, listWords)
}

func isBlank(line string) bool { return strings.TrimSpace(line) == "" }

// trimOpening returns what stands before an address, without what opens it.
func trimOpening(before string) string { return strings.TrimRight(before, "<\"'([ \t*") }

// trimClosing returns what stands behind an address, without what closes it.
func trimClosing(after string) string { return strings.TrimLeft(after, ">\"')] \t") }

// roles are the local parts of people who answer for a host (RFC 2142 §3 to §5), or help its users.
var roles = []string{"postmaster", "hostmaster", "webmaster", "abuse", "support", "helpdesk", "servicedesk"}

// failedWords follow an address that failed, in lower case.
var failedWords = []string{
	"does not exist", "doesn't exist", "do not exist", "don't exist", "no longer exists", "is unknown", "was not found",
	"is not known", "could not be", "couldn't be", "cannot be", "can't be", "is no longer", "is not a valid",
	"is not valid", "is invalid", "is disabled", "is full", "was rejected", "has been rejected", "failed", "bounced",
	": user unknown", ": unknown user", ": no such user",
}

// deliveryWords are in a sentence about mail or its address, in lower case.
var deliveryWords = []string{"deliver", "reach", "exist", "known", "mailbox"}

// notWords are in a text before a recipient that says that a delivery has failed, in lower case.
var notWords = []string{"could not", "couldn't", "cannot", "can't", "was not", "wasn't", "unable to", "failed"}

// askWords are in a text before an address that is to be asked for help, in lower case. askEnds are ends of a text
// before a role address.
var (
	askWords = []string{
		"question", "further info", "more info", "if you believe", "if you think", "if you feel", "if this is",
		"please forward", "get in touch", "delist", "unlist", "mailto:", "service desk", "bei fragen",
		"wenden sie sich", "kontakt", "contatt", "écrivez", "hilfe", "ayuda", "aiuto", "soporte", "suporte", "dúvida",
		"お問い合わせ", "联系",
	}
	askEnds = []string{"mail", " see", " at", " via"}
)
