package relayd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/postrider/postrider"
)

// helpToTry prints a command that sends a first mail. If mail goes by MX, it asks the DNS for a name that always
// exists, and warns if there is none: a first mail would fail, and so would the report to its sender.
func helpToTry(ctx context.Context, relay *postrider.Relay, addr net.Addr) {
	fmt.Printf("try: printf 'Subject: hello\\n\\nHello.\\n' | curl -sS --crlf smtp://%s"+
		" --mail-from bob@example.com --mail-rcpt ann@example.net -T -\n", addr)
	if _, ok := relay.Routes["*"]; ok {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	route, err := relay.Router.Route(ctx, "a.root-servers.net")
	if err == nil {
		_, err = relay.Router.Addrs(ctx, route, route.Hosts[0])
	}
	if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		relay.Logger.Warn("no public DNS: mail goes only where -route and -smarthost send it; "+
			"to try, run examples/inbox, and this relay with -smarthost 127.0.0.1:2526", "err", err)
	}
}
