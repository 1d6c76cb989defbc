package plans

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// The defaults of a Relay, which the plans hold it to.
const (
	defaultMaxAge      = 5 * 24 * time.Hour
	defaultDelayNotice = 4 * time.Hour
)

func newRelay(inet *smtptest.Network) *postrider.Relay {
	return &postrider.Relay{
		Hostname: "relay.test", Queue: mem.New(), Resolver: inet, DialContext: inet.DialContext, Runner: new(delivery.Runner),
	}
}

func mustSend(t *testing.T, r *postrider.Relay, from string, to ...string) queue.ID {
	t.Helper()
	id, err := r.Send(t.Context(), smtp.NewEnvelope(from, to...), strings.NewReader("Subject: hello\r\n\r\nHow are you?\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func allowAll(context.Context, *server.Peer, smtp.Recipient) (bool, error) { return true, nil }
