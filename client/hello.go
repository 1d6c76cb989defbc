package client

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/postrider/postrider/smtp"
)

// extensions are those that a host offered in its reply to EHLO.
type extensions struct {
	pipelining bool     // RFC 2920
	eightBit   bool     // RFC 6152
	chunking   bool     // RFC 3030
	binary     bool     // RFC 3030
	utf8       bool     // RFC 6531
	dsn        bool     // RFC 3461
	startTLS   bool     // RFC 3207
	requireTLS bool     // RFC 8689
	size       bool     // RFC 1870
	maxSize    int64    // of SIZE; zero if the host states none
	deliverBy  bool     // RFC 2852
	leastBy    int64    // seconds that a BY with mode R must have; zero if the host states none
	priority   bool     // RFC 6710
	auth       []string // mechanisms in upper case (RFC 4954)

	// FUTURERELEASE (RFC 4865), and the seconds for which the host holds a message; zero if it states none.
	futureRelease bool
	mostHold      int64

	// LIMITS (RFC 9422); zero if the host states none.
	maxMails   int // transactions of a session
	maxRcpts   int // recipients of a transaction
	maxDomains int // different domains of recipients in a session
}

// hello sends EHLO, or HELO if the host has no EHLO, or LHLO.
func (c *Conn) hello(ctx context.Context, name string) *failure {
	verb := "EHLO "
	if c.LMTP {
		verb = "LHLO " // RFC 2033 §4.1
	}
	r, f := c.command(ctx, smtp.StageHello, verb+name)
	if f != nil {
		return f
	}
	if positive(r.Code) {
		c.greeting = greetingOf(r.Text)
		c.ext = parseExtensions(r.Text)
		c.ext.remove(c.unused | c.broken&^(kwChunking|kw8BitMIME)) // a message may need those two
		return nil
	}
	if c.LMTP || !r.Permanent() {
		return c.refused(smtp.StageHello, r)
	}
	// RFC 5321 §3.2: a host that doesn't know EHLO may know HELO.
	c.ext = extensions{}
	r, f = c.command(ctx, smtp.StageHello, "HELO "+name)
	if f != nil {
		return f
	}
	if !positive(r.Code) {
		return c.refused(smtp.StageHello, r)
	}
	c.greeting = greetingOf(r.Text)
	return nil
}

// greetingOf returns the host's name, the first word of its reply to EHLO (RFC 5321 §4.1.1.1). It is "" if that is too
// long for a name.
func greetingOf(text string) string {
	if i := strings.IndexAny(text, " \t\n"); i >= 0 {
		text = text[:i]
	}
	if len(text) > 255 {
		return ""
	}
	return strings.Clone(text) // a part of the reply would keep all of it in memory
}

// parseExtensions reads the lines after the first one, each a keyword with parameters (RFC 5321 §4.1.1.1). If a
// keyword comes twice, mechanisms of AUTH add up, and the last value of the other parameters counts.
func parseExtensions(text string) extensions {
	var e extensions
	_, text, _ = strings.Cut(text, "\n")
	for line := range strings.SplitSeq(text, "\n") {
		keyword, params := splitExtension(line)
		switch keyword {
		case "PIPELINING":
			e.pipelining = true
		case "8BITMIME":
			e.eightBit = true
		case "CHUNKING":
			e.chunking = true
		case "BINARYMIME":
			e.binary = true
		case "SMTPUTF8":
			e.utf8 = true
		case "DSN":
			e.dsn = true
		case "STARTTLS":
			e.startTLS = true
		case "REQUIRETLS":
			e.requireTLS = true
		case "SIZE":
			e.size = true
			if n, err := strconv.ParseInt(params, 10, 64); err == nil && n >= 0 {
				e.maxSize = n // RFC 1870 §4: 0 means that no maximum is in force
			}
		case "DELIVERBY":
			e.deliverBy, e.leastBy = true, firstNumber(params)
		case "MT-PRIORITY":
			e.priority = true
		case "FUTURERELEASE":
			e.futureRelease, e.mostHold = true, firstNumber(params)
		case "LIMITS":
			e.limits(params)
		case "AUTH":
			for mech := range strings.FieldsFuncSeq(params, isSeparator) {
				mech = upper(mech)
				if len(e.auth) < maxMechanisms && isMechanism(mech) && !slices.Contains(e.auth, mech) {
					e.auth = append(e.auth, mech)
				}
			}
		}
	}
	return e
}

// splitExtension splits a line into its keyword, in upper case, and its parameters. RFC 5321 §4.1.1.1 has one space
// between them and no other blanks. Hosts send more, and tabs, and blanks at both ends.
func splitExtension(line string) (keyword, params string) {
	line = strings.Trim(line, " \t")
	// "8 BITMIME" is a keyword with a blank in it. None of these has parameters.
	switch whole := upper(strings.ReplaceAll(strings.ReplaceAll(line, " ", ""), "\t", "")); whole {
	case "PIPELINING", "8BITMIME", "CHUNKING", "BINARYMIME", "SMTPUTF8", "DSN", "STARTTLS":
		return whole, ""
	}
	i := strings.IndexAny(line, " \t=") // "AUTH=PLAIN" is from before RFC 4954
	if i < 0 {
		return upper(line), ""
	}
	return upper(line[:i]), strings.Trim(line[i:], " \t=")
}

// isSeparator reports whether c stands between two mechanisms of AUTH. RFC 4954 §3 has spaces only.
func isSeparator(c rune) bool { return c == ' ' || c == '\t' || c == ',' || c == '=' }

// firstNumber returns the number that parameters begin with, of up to 9 digits, or 0.
func firstNumber(params string) int64 {
	digits, _, _ := strings.Cut(params, " ")
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || n > 999_999_999 {
		return 0
	}
	return int64(n)
}

// limits reads the parameters of LIMITS, as in "RCPTMAX=100 MAILMAX=20". Unknown ones are ignored (RFC 9422 §3.7).
func (e *extensions) limits(params string) {
	for param := range strings.FieldsSeq(params) {
		name, value, _ := strings.Cut(param, "=")
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			continue
		}
		switch upper(name) {
		case "MAILMAX":
			e.maxMails = n
		case "RCPTMAX":
			e.maxRcpts = n
		case "RCPTDOMAINMAX":
			e.maxDomains = n
		}
	}
}

// maxMechanisms bounds the mechanisms that a host may offer. About two dozen are registered.
const maxMechanisms = 64

// isMechanism reports whether a name in upper case is a sasl-mech (RFC 4422 §3.1).
func isMechanism(name string) bool {
	return len(name) <= 20 && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
}

// upper changes ASCII letters only, so that no other letter becomes part of a keyword.
func upper(s string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r - ('a' - 'A')
		}
		return r
	}, s)
}
