package mx

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/postrider/postrider/smtp"
)

// status is a reply code and the three parts of its enhanced code.
type status [4]int

// fail makes the error of this package: a reply that says in a report what went wrong, and the cause, if any.
func fail(s status, cause error, format string, args ...any) error {
	reply := &smtp.Reply{
		Code:     s[0],
		Enhanced: smtp.EnhancedCode{s[1], s[2], s[3]},
		Text:     fmt.Sprintf(format, args...),
	}
	if cause == nil {
		return fmt.Errorf("mx: %w", reply)
	}
	// Only the DNS's own words go into the reply: the whole cause may tell of our resolvers.
	var dns *net.DNSError
	if errors.As(cause, &dns) {
		reply.Text += ": " + strings.ToLower(dns.Err)
	}
	return fmt.Errorf("mx: %w: %w", reply, cause)
}
