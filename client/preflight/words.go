package preflight

import (
	"regexp"
	"strings"
)

// encodedWord is the form of an encoded-word (RFC 2047 §2), also of one that is too long or has blanks in its text.
var encodedWord = regexp.MustCompile(`=\?[^?\s]*\?[A-Za-z]\?[^?]*\?=`)

// maxWord bounds an encoded-word (RFC 2047 §2).
const maxWord = 75

// checkEncodedWords looks for encoded-words that readers show as they are.
func (m *message) checkEncodedWords() {
	disposition, _ := m.value("content-disposition")
	named := strings.Contains(disposition, "filename*") // the name in Content-Type is for old programs
	for _, f := range m.fields {
		words := encodedWord.FindAllStringIndex(f.value, -1)
		if words == nil || named && f.key == "content-type" {
			continue
		}
		var forbidden []bool
		kind := "text"
		switch f.key {
		case "from", "sender", "reply-to", "to", "cc", "bcc", "resent-from", "resent-to", "resent-cc":
			kind = "an address or a quoted string"
			forbidden = outsidePhrases(f.value)
		case "message-id", "in-reply-to", "references", "date", "mime-version", "content-type", "content-disposition",
			"content-transfer-encoding", "content-id", "list-unsubscribe", "list-unsubscribe-post", "return-path",
			"received", "dkim-signature", "auto-submitted":
			kind = "a field that has no text"
		case "list-id": // RFC 2919 §3: a phrase may stand before the identifier
			kind = "an address or a quoted string"
			forbidden = outsidePhrases(f.value)
		}
		for _, at := range words {
			word := f.value[at[0]:at[1]]
			if kind != "text" && (forbidden == nil || forbidden[at[0]] || strings.HasPrefix(f.value[at[1]:], "@")) {
				finding := Finding{MisplacedWord, Refusal, f.name, clip(word) + " stands in " + kind +
					", where readers don't decode it", remedyOf(f.key), "RFC 2047 §5"}
				if strings.HasPrefix(f.key, "content-") { // many programs write it, and many decode it
					finding.Severity = Warning
				}
				m.add(finding)
			} else if problem := badWord(f.value, at[0], at[1]); problem != "" {
				m.warn(BadWord, f.name, clip(word)+" "+problem, "encode it with mime.QEncoding or mime.BEncoding",
					"RFC 2047 §2, §5")
			}
		}
	}
}

// remedyOf returns what stands in a field in place of an encoded-word.
func remedyOf(key string) string {
	switch key {
	case "content-type", "content-disposition":
		return "encode a parameter by RFC 2231, as mime.FormatMediaType does"
	case "from", "sender", "reply-to", "to", "cc", "bcc", "resent-from", "resent-to", "resent-cc", "list-id":
		return "encode the display name alone, without quotes; an address is ASCII, or UTF-8 with SMTPUTF8"
	}
	return "write the value in ASCII"
}

// outsidePhrases returns for each octet of a value with addresses whether it is in a quoted string or within angle
// brackets. In comments and phrases, encoded-words are allowed.
func outsidePhrases(value string) []bool {
	forbidden := make([]bool, len(value))
	quoted, angle, depth := false, false, 0
	for i := 0; i < len(value); i++ {
		forbidden[i] = depth == 0 && (quoted || angle)
		switch c := value[i]; {
		case c == '\\' && (quoted || depth > 0) && i+1 < len(value):
			i++
			forbidden[i] = forbidden[i-1]
		case c == '"' && depth == 0:
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case depth > 0:
		case c == '<':
			angle = true
		case c == '>':
			angle = false
		}
	}
	return forbidden
}

// badWord returns why readers don't decode the encoded-word value[from:to], or "".
func badWord(value string, from, to int) string {
	word := value[from:to]
	if len(word) > maxWord {
		return "has over 75 octets"
	}
	if strings.ContainsAny(word, " \t") {
		return "has a blank inside"
	}
	before, after := value[:from], value[to:]
	// RFC 2047 §5: white space separates it from other text. In a phrase, a special may follow or precede.
	if before != "" && !strings.ContainsAny(before[len(before)-1:], " \t(,:;") {
		return "follows other text without a blank"
	}
	if after != "" && !strings.ContainsAny(after[:1], " \t),;<") {
		return "is followed by other text without a blank"
	}
	if charset, _, _ := strings.Cut(word[len("=?"):], "?"); strings.EqualFold(charset, "utf-7") {
		return "is in a charset that most readers don't decode"
	}
	if _, err := anyCharset.Decode(word); err != nil {
		return "can't be decoded"
	}
	return ""
}
