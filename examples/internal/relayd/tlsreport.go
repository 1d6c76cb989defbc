package relayd

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/mx/tlsrpt"
	"github.com/postrider/postrider/smtp"
)

// tlsReporter returns the Reporter of -tls-report, or nil without the flag. Its mail goes into the queue of relay.
func (f *Flags) tlsReporter(relay *postrider.Relay, log *slog.Logger) (*tlsrpt.Reporter, error) {
	if f.tlsReport == "" {
		return nil, nil
	}
	reporter := &tlsrpt.Reporter{
		From:         f.tlsReport,
		Store:        &tlsrpt.Dir{Path: f.state + ".tls-reports"},
		AllowPrivate: f.allowPrivate,
		Logger:       log,
	}
	if resolver, ok := f.resolver.(tlsrpt.Resolver); ok {
		reporter.Resolver = resolver
	}
	reporter.Sender = smtp.SenderFunc(
		func(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
			m, err := relay.Prepare(ctx, env, smtp.NewReader(c))
			if err != nil {
				return nil, err
			}
			m.Deadline = time.Now().Add(24 * time.Hour) // RFC 8460 §5.5
			_, err = relay.Enqueue(ctx, m)
			return nil, err
		})
	if err := reporter.Check(); err != nil {
		return nil, fmt.Errorf("-tls-report: %w", err)
	}
	if !f.signs(f.tlsReport) {
		log.Warn("-tls-report: receivers ignore reports without a DKIM signature of their domain", "from", f.tlsReport)
	}
	return reporter, nil
}
