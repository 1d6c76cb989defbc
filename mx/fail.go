package mx

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/postrider/postrider/smtp"
)

// fail returns an error of this package: a reply with the text for a report, and the cause, which may be nil. It may
// add to the text.
func fail(reply *smtp.Reply, cause error) error {
	if cause == nil {
		return fmt.Errorf("mx: %w", reply)
	}
	// The whole cause may name our resolvers, so only the description of the DNS error goes into the reply.
	var dns *net.DNSError
	if errors.As(cause, &dns) {
		reply.Text += ": " + strings.ToLower(dns.Err)
	}
	return fmt.Errorf("mx: %w: %w", reply, cause)
}
