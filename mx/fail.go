package mx

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/smtp"
)

// fail returns an error of this package: a reply with the text for a report, and the cause, which may be nil. It may
// add to the text.
func fail(reply *smtp.Reply, cause error) error {
	if cause == nil {
		return fmt.Errorf("mx: %w", reply)
	}
	if phrase := phrase(cause); phrase != "" {
		reply.Text += ": " + phrase
	}
	return fmt.Errorf("mx: %w: %w", reply, cause)
}

// phrase describes an error of a Resolver in words that are all our own: the text of the error may have addresses of
// this machine and of our name servers, and the reply reaches strangers.
func phrase(err error) string {
	var failed *net.DNSError
	code, answered := errors.AsType[dns.RCode](err)
	switch {
	case isNotFound(err):
		return "" // the reply says so already
	case answered:
		return code.Error()
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &failed) && failed.IsTimeout:
		return "the name servers did not answer in time"
	case failed != nil:
		return "the name servers failed"
	}
	return ""
}
