package beside

import (
	"context"
	"io"
	"net/smtp"
)

// netSMTPMailer sends by the client of net/smtp, or by another one with the same methods.
type netSMTPMailer struct {
	netSMTPClient
	from string
	to   []string
	data []byte
}

type netSMTPClient interface {
	Mail(from string) error
	Rcpt(to string) error
	Data() (io.WriteCloser, error)
	Quit() error
}

func openNetSMTP(_ context.Context, addr string, m mail) (mailer, error) {
	c, err := smtp.Dial(addr)
	if err != nil {
		return nil, err
	}
	return netSMTPMailer{c, m.from, m.to, []byte(m.data)}, c.Hello("client.example")
}

func (n netSMTPMailer) send(context.Context) error {
	if err := n.Mail(n.from); err != nil {
		return err
	}
	for _, to := range n.to {
		if err := n.Rcpt(to); err != nil {
			return err
		}
	}
	w, err := n.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(n.data); err != nil {
		return err
	}
	return w.Close()
}

func (n netSMTPMailer) close() error { return n.Quit() }
