package tlsrpt

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/smtp"
)

// send sends a report to all destinations of its domain. It succeeds if one of them takes it (RFC 8460 §3).
func (r *Reporter) send(ctx context.Context, m *Message) (became outcome) {
	log := r.log().With(slog.String("domain", m.Domain), slog.String("report", m.Report.ID))
	p := guard.Call(func() { became = r.deliver(ctx, log, m) })
	if p != nil {
		p.Log(ctx, log, "Sender, Resolver or HTTP")
		became = later
	}
	if became == later && ctx.Err() != nil {
		became = stopped
	}
	return became
}

func (r *Reporter) deliver(ctx context.Context, log *slog.Logger, m *Message) outcome {
	to, err := r.lookup(ctx, m.Domain)
	if errors.Is(err, errNoRecord) {
		return done
	}
	if err != nil {
		log.LogAttrs(ctx, slog.LevelWarn, "TLS report waits", slog.Any("error", err))
		return later
	}
	var addresses []string
	sent, again := false, false
	tell := func(to string, err error, permanent bool) {
		if err == nil {
			sent = true
			log.LogAttrs(ctx, slog.LevelInfo, "TLS report handed over", slog.String("to", to))
			return
		}
		again = again || !permanent
		log.LogAttrs(ctx, slog.LevelWarn, "TLS report not sent", slog.String("to", to), slog.Any("error", err))
	}
	for _, d := range to {
		switch {
		case d.url != "":
			tell(d.url, r.post(ctx, d.url, m), false)
		case r.Sender != nil && !slices.Contains(addresses, d.address):
			addresses = append(addresses, d.address)
			permanent, err := r.mail(ctx, m, d.address)
			tell(d.address, err, permanent)
		}
	}
	if again && !sent {
		return later
	}
	return done
}

// mail sends a report to an address. permanent means that it is refused for good.
func (r *Reporter) mail(ctx context.Context, m *Message, to string) (permanent bool, err error) {
	env, content, err := m.Compose(time.Now(), to)
	if err != nil {
		return true, err
	}
	results, err := r.Sender.Send(ctx, env, content)
	complete, _ := smtp.Complete(env, results, err)
	result := complete[0]
	if result.Outcome == smtp.Delivered {
		return false, nil
	}
	if err == nil {
		err = result.Reply
	}
	return result.Outcome == smtp.Rejected, err
}
