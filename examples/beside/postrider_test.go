package beside

import (
	"context"
	"net"
	"strings"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// transportMailer sends as a relay with a smarthost does.
type transportMailer struct {
	*client.Transport
	env     *smtp.Envelope
	content smtp.Content
}

func openTransport(_ context.Context, addr string, m mail) (mailer, error) {
	route, err := mx.Smarthost(addr)
	t := &client.Transport{Hostname: "client.example", Router: &mx.Router{Routes: map[string]mx.Route{"*": route}}}
	return transportMailer{t, smtp.NewEnvelope(m.from, m.to...), strings.NewReader(m.data)}, err
}

func (t transportMailer) send(ctx context.Context) error {
	_, err := t.Send(ctx, t.env, t.content)
	return err
}

func (t transportMailer) close() error { return t.Close() }

type connMailer struct {
	*client.Conn
	env     *smtp.Envelope
	content smtp.Content
}

func openConn(ctx context.Context, addr string, m mail) (mailer, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &client.Conn{Hostname: "client.example"}
	return connMailer{c, smtp.NewEnvelope(m.from, m.to...), strings.NewReader(m.data)}, c.Open(ctx, nc)
}

func (c connMailer) send(ctx context.Context) error {
	_, err := c.Send(ctx, c.env, c.content)
	return err
}

func (c connMailer) close() error { return c.Quit(context.Background()) }
