package server

import "strings"

// tidy returns the arguments of MAIL or RCPT as RFC 5321 §4.1.2 has them, for [Server.Lenient]: word, the colon, the
// path in its brackets, and each parameter after one space. It changes spaces and brackets alone, and no space within
// quotes. Arguments that it doesn't understand are returned unchanged, for the parser to refuse.
func tidy(args, word string) string {
	rest := strings.TrimLeft(args, " ")
	if len(rest) < len(word) || !equalASCII(rest[:len(word)], word) {
		return args
	}
	rest, ok := strings.CutPrefix(strings.TrimLeft(rest[len(word):], " "), ":")
	rest = strings.TrimLeft(rest, " ")
	if !ok || rest == "" {
		return args
	}
	var path, params string
	if rest[0] == '<' {
		end := unquoted(rest, ">")
		if end == len(rest) {
			return args
		}
		path, params = strings.Trim(rest[1:end], " "), rest[end+1:]
	} else {
		end := unquoted(rest, " <>")
		path, params = rest[:end], rest[end:]
	}
	if params != "" && params[0] != ' ' {
		return args
	}
	tidied := word + ":<" + path + ">"
	for param := range strings.SplitSeq(params, " ") {
		if param != "" {
			tidied += " " + param
		}
	}
	return tidied
}

// unquoted returns the index of the first octet of s that is in set and outside of quotes, or len(s).
func unquoted(s, set string) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '\\' && quoted:
			i++
		case !quoted && strings.IndexByte(set, s[i]) >= 0:
			return i
		}
	}
	return len(s)
}
