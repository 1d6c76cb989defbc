package beside

import (
	"context"

	"github.com/emersion/go-smtp"
)

type goSMTPMailer struct {
	*smtp.Client
	from string
	to   []string
	data []byte
}

func openGoSMTP(_ context.Context, addr string, m mail) (mailer, error) {
	c, err := smtp.Dial(addr)
	if err != nil {
		return nil, err
	}
	return goSMTPMailer{c, m.from, m.to, []byte(m.data)}, c.Hello("client.example")
}

func (g goSMTPMailer) send(context.Context) error {
	if err := g.Mail(g.from, nil); err != nil {
		return err
	}
	for _, to := range g.to {
		if err := g.Rcpt(to, nil); err != nil {
			return err
		}
	}
	w, err := g.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(g.data); err != nil {
		return err
	}
	return w.Close()
}

func (g goSMTPMailer) close() error { return g.Quit() }
