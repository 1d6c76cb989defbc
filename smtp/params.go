package smtp

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of parameter values, in octets of their wire form.
const (
	maxSizeDigits = 20  // RFC 1870 §3
	maxEnvID      = 100 // RFC 3461 §4.4
	maxORCPT      = 500 // RFC 3461 §4.2
	maxAuth       = 500 // RFC 4954 §3
)

// ParseMail parses the arguments of MAIL, "FROM:<path> parameters", without CRLF (RFC 5321 §4.1.1.2). The parameters
// are SIZE, BODY, SMTPUTF8, RET, ENVID, AUTH, BY, MT-PRIORITY, HOLDFOR, HOLDUNTIL and REQUIRETLS. Times count from now.
// A SIZE over the maximum of int64 becomes that maximum. An AUTH that isn't a mailbox in xtext becomes "<>": nobody
// knows who it is (RFC 4954 §5).
//
// Errors are *Reply: 501 5.1.7 for the address, 553 5.6.7 for octets above 127 without the parameter SMTPUTF8, 555
// 5.5.4 for a parameter that MAIL doesn't have, 501 5.5.4 for everything else.
func ParseMail(args string) (*Envelope, error) {
	path, params, err := cutPath(args, "FROM:")
	if err != nil {
		return nil, err
	}
	env := &Envelope{From: path}
	if rule := checkReverse(path); rule != "" {
		return nil, badArg("5.1.7", "reverse-path %q: %s", shorten(path), rule)
	}
	if err := eachParam(params, env.set); err != nil {
		return nil, err
	}
	if NeedsUTF8(args) && !env.UTF8 {
		// RFC 6531 §3.5
		return nil, NewReply(553, "5.6.7", "address needs the parameter SMTPUTF8")
	}
	return env, nil
}

// ParseRcpt parses the arguments of RCPT, "TO:<path> parameters", without CRLF (RFC 5321 §4.1.1.3). The parameters are
// NOTIFY and ORCPT. A source route is dropped.
//
// Errors are *Reply: 501 5.1.3 for the address, 555 5.5.4 for a parameter that RCPT doesn't have, 501 5.5.4 for
// everything else. ParseRcpt accepts octets above 127, because it doesn't know the envelope. If the envelope's UTF8
// isn't set, the caller refuses args for which [NeedsUTF8] is true, with 553 5.6.7.
func ParseRcpt(args string) (Recipient, error) {
	path, params, err := cutPath(args, "TO:")
	if err != nil {
		return Recipient{}, err
	}
	if rule := checkMailbox(path); rule != "" && !equalFold(path, "postmaster") {
		return Recipient{}, badArg("5.1.3", "forward-path %q: %s", shorten(path), rule)
	}
	rcpt := Recipient{Address: path}
	if err := eachParam(params, rcpt.set); err != nil {
		return Recipient{}, err
	}
	return rcpt, nil
}

// cutPath parses the verb's second word and the path. It returns the path between the brackets without its source
// route, and the parameters.
func cutPath(args, word string) (path, params string, err error) {
	if len(args) < len(word) || !equalFold(args[:len(word)], word) {
		return "", "", syntax("%q expected", word)
	}
	// RFC 5321 §3.3: spaces after the colon MUST NOT be sent. They are common and harmless.
	rest := strings.TrimLeft(args[len(word):], " ")
	if !strings.HasPrefix(rest, "<") {
		return "", "", syntax(`"<" expected after %q`, word)
	}
	end := pathEnd(rest)
	if end < 0 {
		return "", "", syntax(`no ">" ends the path`)
	}
	path, params = rest[1:end], rest[end+1:]
	if params != "" && params[0] != ' ' {
		return "", "", syntax(`space expected after ">"`)
	}
	path, ok := cutRoute(path)
	if !ok {
		return "", "", syntax("bad source route")
	}
	return path, params, nil
}

// pathEnd returns the index of the first unquoted ">", or -1.
func pathEnd(s string) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			quoted = !quoted
		case '\\':
			if quoted {
				i++
			}
		case '>':
			if !quoted {
				return i
			}
		}
	}
	return -1
}

// cutRoute drops the source route "@one,@two:". RFC 5321 §4.1.2: it must be accepted and should be ignored.
func cutRoute(path string) (string, bool) {
	if !strings.HasPrefix(path, "@") {
		return path, true
	}
	route, mailbox, ok := strings.Cut(path, ":")
	if !ok {
		return "", false
	}
	for hop := range strings.SplitSeq(route, ",") {
		domain, ok := strings.CutPrefix(hop, "@")
		if !ok || !utf8.ValidString(domain) || checkDomain(domain) != "" {
			return "", false
		}
	}
	return mailbox, mailbox != ""
}

// eachParam calls set for each parameter, with its keyword in upper case and its value. A parameter without a value has
// "". set reports false for a keyword that the verb doesn't have.
func eachParam(params string, set func(keyword, value string) (bool, error)) error {
	// RFC 5321 §4.1.1: white space before the CRLF should be tolerated.
	params = strings.TrimRight(params, " ")
	if params == "" {
		return nil
	}
	seen := make([]string, 0, 8)
	for param := range strings.SplitSeq(params[1:], " ") {
		keyword, value, valued := strings.Cut(param, "=")
		if !isKeyword(keyword) || valued && !isValue(value) && !(equalFold(keyword, "AUTH") && isPrintable(value)) {
			return syntax("bad parameter %.64q", param)
		}
		keyword = strings.ToUpper(keyword)
		if slices.Contains(seen, keyword) {
			return syntax("parameter %.64q given twice", keyword)
		}
		seen = append(seen, keyword)
		known, err := set(keyword, value)
		if err != nil {
			return err
		}
		if !known {
			// RFC 5321 §4.1.1.11
			return NewReply(555, "5.5.4", fmt.Sprintf("parameter %.64q not recognized here", keyword))
		}
	}
	return nil
}

// set stores one parameter of MAIL.
func (e *Envelope) set(keyword, value string) (known bool, err error) {
	switch keyword {
	case "SIZE":
		e.Size, err = parseSize(value)
	case "BODY":
		e.Body, err = parseBody(value)
	case "SMTPUTF8":
		e.UTF8 = true
		if value != "" { // RFC 6531 §3.1
			err = syntax("SMTPUTF8 takes no value")
		}
	case "RET":
		e.Ret, err = parseRet(value)
	case "ENVID":
		e.EnvID, err = parseXtext(keyword, value, maxEnvID, checkEnvID)
	case "AUTH":
		// RFC 4954 §5: from a client that isn't trusted, any value counts as "<>". An identity that can't be read
		// isn't known, whoever the client is.
		if e.Auth, err = parseXtext(keyword, value, maxAuth, checkAuth); err != nil {
			e.Auth, err = "<>", nil
		}
	case "BY":
		e.By, err = parseBy(value, time.Now())
	case "MT-PRIORITY":
		e.Priority, err = parsePriority(value)
	case "HOLDFOR", "HOLDUNTIL":
		if !e.HoldUntil.IsZero() { // RFC 4865 §4.2: only one of them
			return true, syntax("HOLDFOR beside HOLDUNTIL")
		}
		e.HoldUntil, err = parseHold(keyword, value, time.Now())
	case "REQUIRETLS":
		e.RequireTLS = true
		if value != "" { // RFC 8689 §2
			err = syntax("REQUIRETLS takes no value")
		}
	default:
		return false, nil
	}
	return true, err
}

// set stores one parameter of RCPT.
func (r *Recipient) set(keyword, value string) (known bool, err error) {
	switch keyword {
	case "NOTIFY":
		r.Notify, err = parseNotify(value)
	case "ORCPT":
		r.ORCPT, err = parseORCPT(value)
	default:
		return false, nil
	}
	return true, err
}

func parseSize(value string) (int64, error) {
	if value == "" || len(value) > maxSizeDigits || strings.Trim(value, "0123456789") != "" {
		return 0, syntax("SIZE %.64q: not a number of 1 to 20 digits", value)
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return math.MaxInt64, nil // RFC 1870 §3 allows 20 digits, int64 has 19
	}
	return n, nil
}

func parseBody(value string) (BodyType, error) {
	for b := Body7Bit; b <= BodyBinaryMIME; b++ {
		if equalFold(value, b.String()) {
			return b, nil
		}
	}
	return 0, syntax("BODY %.64q: not 7BIT, 8BITMIME or BINARYMIME", value)
}

func parseRet(value string) (Ret, error) {
	for r := RetHeaders; r <= RetFull; r++ {
		if equalFold(value, r.String()) {
			return r, nil
		}
	}
	return 0, syntax("RET %.64q: not FULL or HDRS", value)
}

func parseNotify(value string) (Notify, error) {
	var all Notify
	for name := range strings.SplitSeq(value, ",") {
		var flag Notify
		for f := NotifyNever; f <= NotifyDelay; f <<= 1 {
			if equalFold(name, f.String()) {
				flag = f
			}
		}
		if flag == 0 {
			return 0, syntax("NOTIFY %.64q: not NEVER, SUCCESS, FAILURE or DELAY", name)
		}
		all |= flag
	}
	if rule := checkNotify(all); rule != "" {
		return 0, syntax("NOTIFY %.64q: %s", value, rule)
	}
	return all, nil
}

// parseXtext decodes a value of at most most octets. check returns the rule that the decoded value breaks, or "".
func parseXtext(keyword, value string, most int, check func(string) string) (string, error) {
	if value == "" || len(value) > most {
		return "", syntax("%s: not of 1 to %d octets", keyword, most)
	}
	s, err := DecodeXtext(value)
	if err != nil {
		return "", syntax("%s %.64q: not xtext", keyword, value)
	}
	if rule := check(s); rule != "" {
		return "", syntax("%s %.64q: %s", keyword, value, rule)
	}
	return s, nil
}

func parseORCPT(value string) (string, error) {
	if len(value) > maxORCPT {
		return "", syntax("ORCPT over %d octets", maxORCPT)
	}
	s, err := decodeORCPT(value)
	if err != nil {
		return "", syntax("ORCPT %.64q: neither xtext nor of RFC 6533", value)
	}
	// Postfix sends an address in UTF-8 as xtext of the type rfc822. Its type is utf-8 (RFC 6533 §3).
	if kind, address, _ := strings.Cut(s, ";"); equalFold(kind, "rfc822") && NeedsUTF8(address) {
		if s = "utf-8;" + address; len(EncodeORCPT(s, true)) > maxORCPT {
			return "", syntax("ORCPT over %d octets", maxORCPT)
		}
	}
	if rule := checkORCPT(s); rule != "" {
		return "", syntax("ORCPT %.64q: %s", value, rule)
	}
	return s, nil
}

// syntax returns the reply to malformed arguments.
func syntax(format string, args ...any) *Reply {
	return badArg("5.5.4", format, args...)
}

func badArg(enhanced, format string, args ...any) *Reply {
	return NewReply(501, enhanced, fmt.Sprintf(format, args...))
}

// isKeyword is esmtp-keyword (RFC 5321 §4.1.2).
func isKeyword(s string) bool {
	for i := range len(s) {
		if !isAlnum(s[i]) && (s[i] != '-' || i == 0) {
			return false
		}
	}
	return s != ""
}

// isValue is esmtp-value (RFC 5321 §4.1.2, RFC 6531 §3.3).
func isValue(s string) bool { return s != "" && isPrintable(s) && strings.IndexByte(s, '=') < 0 }

// isPrintable reports whether s is UTF-8 without spaces and without the control characters of ASCII.
func isPrintable(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == 0x7f {
			return false
		}
	}
	return utf8.ValidString(s)
}

// equalFold folds ASCII only: for strings.EqualFold, U+017F equals "s" and U+212A equals "k".
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		x, y := a[i], b[i]
		if x|0x20 != y|0x20 || x != y && (x|0x20 < 'a' || x|0x20 > 'z') {
			return false
		}
	}
	return true
}
