package postrider_test

import (
	"context"
	"crypto/tls"
	"log"
	"net"
	"os"
	"os/signal"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// How do I serve users at another port, too? Pass a listener for each port to one Serve. The user is the Tenant of a
// message, and its ENVID is the Ref.
func ExampleRelay_Serve() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := servePorts(ctx); err != nil {
		log.Fatal(err)
	}
}

func servePorts(ctx context.Context) error {
	certificate, err := tls.LoadX509KeyPair("/etc/app/tls.crt", "/etc/app/tls.key")
	if err != nil {
		return err
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	q, err := spool.Open("/var/spool/app")
	if err != nil {
		return err
	}
	defer q.Close()
	relay := &postrider.Relay{
		Hostname: "mx1.example.com", Queue: q, TLSConfig: config, Domains: []string{"example.com"},
		Authenticate: login,
		TenantOf: func(_ context.Context, p *server.Peer, env *smtp.Envelope) (tenant, ref string) {
			return p.Username, env.EnvID // the Username is empty for a client that didn't log in
		},
	}
	var listeners []net.Listener
	for _, port := range []string{":25", ":587", ":465", ":2587"} {
		l, err := net.Listen("tcp", port)
		if err != nil {
			return err // the process ends, which closes the others
		}
		switch port {
		case ":587", ":2587": // STARTTLS, then AUTH
			l = postrider.SubmissionListener(l)
		case ":465": // TLS begins at once
			l = postrider.SubmissionListener(server.NewTLSListener(l, config))
		}
		listeners = append(listeners, l)
	}
	return relay.Serve(ctx, listeners...)
}
