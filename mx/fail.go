package mx

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/postrider/postrider/smtp"
)

// fail returns the error of this package: a reply with the text for a report, which fail may add to, and the cause, if
// there is one.
func fail(reply *smtp.Reply, cause error) error {
	if cause == nil {
		return fmt.Errorf("mx: %w", reply)
	}
	// Only the DNS's own words go into the reply: the whole cause may name our resolvers.
	var dns *net.DNSError
	if errors.As(cause, &dns) {
		reply.Text += ": " + strings.ToLower(dns.Err)
	}
	return fmt.Errorf("mx: %w: %w", reply, cause)
}
