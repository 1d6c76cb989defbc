package client

import (
	"context"
	"fmt"
	"os"
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
	size       bool     // RFC 1870
	maxSize    int64    // of SIZE; zero if the host states none
	auth       []string // mechanisms in upper case (RFC 4954)

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
	if r.Code == 250 {
		c.ext = parseExtensions(r.Text)
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
	if r.Code != 250 {
		return c.refused(smtp.StageHello, r)
	}
	return nil
}

// parseExtensions reads the lines after the first one, each a keyword with parameters (RFC 5321 §4.1.1.1).
func parseExtensions(text string) extensions {
	var e extensions
	_, text, _ = strings.Cut(text, "\n")
	for line := range strings.SplitSeq(text, "\n") {
		keyword, params := line, ""
		if i := strings.IndexAny(line, " ="); i >= 0 { // "AUTH=PLAIN" is from before RFC 4954
			keyword, params = line[:i], line[i+1:]
		}
		switch upper(keyword) {
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
		case "SIZE":
			e.size = true
			if n, err := strconv.ParseInt(strings.TrimSpace(params), 10, 64); err == nil && n > 0 {
				e.maxSize = n
			}
		case "LIMITS":
			e.limits(params)
		case "AUTH":
			for mech := range strings.FieldsSeq(params) {
				mech = upper(mech)
				if len(e.auth) < maxMechanisms && isMechanism(mech) && !slices.Contains(e.auth, mech) {
					e.auth = append(e.auth, mech)
				}
			}
		}
	}
	return e
}

// limits reads the parameters of LIMITS, as in "RCPTMAX=100 MAILMAX=20". Unknown ones are ignored (RFC 9422 §3, §4).
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

// helloName returns the name for EHLO, checked so that it can't contain a command.
func (c *Conn) helloName() (string, *failure) {
	if c.Hostname == "" {
		return defaultHostname(), nil
	}
	if name, err := smtp.ASCIIDomain(c.Hostname); err == nil {
		if strings.HasPrefix(name, "[") {
			return c.Hostname, nil // RFC 5321 §4.1.3 has "IPv6:" in this case of letters
		}
		return name, nil
	}
	const text = "Hostname %+q is not a domain name: set it to the name of this machine in the DNS"
	return "", c.local(smtp.StageHello, nil, smtp.NewReply(451, "4.3.5", fmt.Sprintf(text, clip(c.Hostname))))
}

func defaultHostname() string {
	name, err := os.Hostname()
	if err == nil {
		name, err = smtp.ASCIIDomain(name)
	}
	if err != nil || name == "" {
		return "localhost"
	}
	return name
}
