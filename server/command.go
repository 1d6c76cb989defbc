package server

import (
	"bytes"
	"cmp"
	"context"
	"strings"
	"unicode/utf8"
)

// Longest command lines in octets, CRLF included: RFC 5321 §4.5.3.1.4, with the additions of the extensions. That of
// AUTH is maxLine.
const (
	lineMax = 512

	// SIZE (RFC 1870 §3), BODY (RFC 6152 §2), SMTPUTF8 (RFC 6531 §3.1), AUTH (RFC 4954 §3); for RFC 3461
	// " RET=FULL", and " ENVID=" with 100 octets (§4.4); " BY=-999999999;NT" (RFC 2852 §4); " MT-PRIORITY=-9" (RFC 6710
	// §3); " HOLDUNTIL=" with a date-time of 25 octets (RFC 4865 §3); and " REQUIRETLS" (RFC 8689 §2).
	mailMax = lineMax + 26 + 17 + 10 + 500 + 9 + 107 + 17 + 15 + 36 + 11

	// RFC 3461: " NOTIFY=SUCCESS,FAILURE,DELAY", and " ORCPT=" with 500 octets (§4.2).
	rcptMax = lineMax + 29 + 507

	vrfyMax = lineMax + 10 // RFC 6531 §3.1
)

// command runs one command line.
func (s *session) command(ctx context.Context, line []byte) {
	if s.srv.Lenient {
		line = bytes.TrimLeft(line, " ")
	}
	verb, args := s.verb(line)
	if verb == "BDAT" {
		s.bdat(ctx, line, args)
		return
	}
	if fault := lineFault(verb, line); fault != "" {
		s.refuse(ctx, verb, fault)
		return
	}
	if !s.expected(verb) {
		s.say("421 4.7.0 too many commands")
		s.done, s.abrupt = true, true
		return
	}
	if s.refused && verb != "QUIT" {
		s.refuse(ctx, verb, "503 5.5.1 this session was refused, only QUIT is allowed") // RFC 5321 §3.1
		return
	}
	if bare(verb) && args != "" {
		s.refuse(ctx, verb, "501 5.5.4 "+verb+" has no parameters")
		return
	}
	switch verb {
	case "EHLO", "HELO", "LHLO":
		s.hello(ctx, verb, args)
	case "MAIL":
		s.mail(ctx, args)
	case "RCPT":
		s.rcpt(ctx, args)
	case "DATA":
		s.data(ctx)
	case "RSET":
		s.reset(ctx)
		s.say("250 2.0.0 reset")
	case "NOOP":
		s.say("250 2.0.0 ok")
	case "QUIT":
		s.say("221 2.0.0 bye")
		s.done = true
	case "STARTTLS":
		s.startTLS(ctx)
	case "AUTH":
		s.auth(ctx, args)
	case "XCLIENT":
		s.xclient(ctx, args)
	case "VRFY":
		if args == "" {
			s.refuse(ctx, verb, "501 5.5.4 VRFY needs a user or a mailbox")
			return
		}
		s.say("252 2.0.0 not verified, but mail may be accepted") // RFC 5321 §7.3
	case "EXPN":
		s.refuse(ctx, verb, "502 5.5.1 EXPN not implemented")
	case "HELP":
		s.say("214 2.0.0 see RFC 5321")
	}
}

// verb returns the verb of a line and its arguments, as cutVerb does, with the liberties of Lenient. What begins as
// BDAT is BDAT.
func (s *session) verb(line []byte) (verb, args string) {
	if s.srv.Lenient {
		line = bytes.TrimLeft(line, " ")
	}
	verb, args = cutVerb(line)
	if s.srv.Lenient {
		args = strings.TrimLeft(args, " ")
	}
	if verb == "" && isBDAT(line) {
		verb = "BDAT"
	}
	return verb, args
}

// cutVerb splits a line into its verb, in upper case, and its arguments. An unknown verb is "".
func cutVerb(line []byte) (verb, args string) {
	word, rest, _ := bytes.Cut(line, []byte(" "))
	for _, v := range [...]string{
		"MAIL", "RCPT", "DATA", "BDAT", "EHLO", "HELO", "LHLO", "RSET", "NOOP", "QUIT", "STARTTLS", "AUTH", "VRFY",
		"EXPN", "HELP", "XCLIENT",
	} {
		if equalASCII(word, v) {
			// RFC 5321 §4.1.1: white space before CRLF is allowed.
			return v, string(rest[:textEnd(rest)])
		}
	}
	return "", ""
}

// textEnd returns the length of line without the white space at its end.
func textEnd(line []byte) int {
	n := len(line)
	for n > 0 && (line[n-1] == ' ' || line[n-1] == '\t') {
		n--
	}
	return n
}

// equalASCII compares word with upper, which is in upper case. RFC 5321 §2.4: keywords are ASCII, and case is ignored.
func equalASCII[T string | []byte](word T, upper string) bool {
	if len(word) != len(upper) {
		return false
	}
	for i := range len(upper) {
		c := word[i]
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != upper[i] {
			return false
		}
	}
	return true
}

// lineFault returns the reply to a line that is not allowed for its verb. For a good line it returns "".
func lineFault(verb string, line []byte) string {
	longest, wide, anyCharset := lineMax, false, false
	switch verb {
	case "":
		return "500 5.5.1 no such command"
	case "EHLO", "HELO", "LHLO":
		anyCharset = true // RFC 5321 §4.1.4: no mail is refused for this name. Some devices have an umlaut in theirs.
	case "MAIL":
		longest, wide = mailMax, true
	case "RCPT":
		longest, wide = rcptMax, true
	case "VRFY", "EXPN":
		// RFC 6531 §3.7.4.2
		longest, wide = vrfyMax, equalASCII(line[max(0, len(line)-9):], " SMTPUTF8")
	case "AUTH":
		longest = maxLine
	}
	if len(line)+len("\r\n") > longest {
		return "500 5.5.2 line too long"
	}
	ascii := true
	for _, c := range line[:textEnd(line)] {
		if c < ' ' || c == 0x7f {
			return "500 5.5.2 control character in command"
		}
		ascii = ascii && c < 0x80
	}
	if !ascii && !anyCharset && (!wide || !utf8.Valid(line)) {
		return "500 5.5.2 command is not ASCII" // MAIL and RCPT check for SMTPUTF8 themselves
	}
	return ""
}

// bare reports whether the verb has no parameters (RFC 5321 §4.1.1, RFC 3207 §4).
func bare(verb string) bool {
	return verb == "DATA" || verb == "RSET" || verb == "QUIT" || verb == "STARTTLS"
}

// expected counts a command, and reports whether it is within MaxCommands.
func (s *session) expected(verb string) bool {
	switch {
	case verb == "QUIT":
		return true
	case verb == "RCPT" && s.env != nil:
		// RFC 5321 §4.5.3.1.10: recipients beyond the bound are answered 452, and the transaction goes on. A client
		// that pipelines has sent many of them before it reads the first 452.
		if s.asked++; (s.asked+1)/2 <= s.maxRecipients() { // 2*s.maxRecipients() may overflow
			return true
		}
	}
	s.commands++
	return s.commands <= cmp.Or(s.srv.MaxCommands, defaultMaxCommands)
}

func (s *session) maxRecipients() int { return cmp.Or(s.srv.MaxRecipients, defaultMaxRecipients) }
