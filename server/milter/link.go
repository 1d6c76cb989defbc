package milter

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// link is what a filter knows of one session. Between two moments, these hold:
//
//   - w is nil, or a connection on which nothing is pending, to a filter that knows the client.
//   - passed: the filter doesn't want to hear of the session any more.
//   - open: the filter was told of MAIL, and not that its transaction has ended.
//   - done: it has said what it has to say of the transaction.
//   - failed: it has failed in this transaction, or before the first one. Then w is nil, and it isn't asked again
//     before the next MAIL.
//   - told are the recipients that it has accepted.
type link struct {
	*check
	w                 *wire
	version, protocol uint32
	greeting          string // the EHLO that it has accepted

	passed, open, done bool
	failed             error
	told               []smtp.Recipient
	body               *newBody // the new body of the message; nil: none
}

// refused is the filter's answer to mail, as opposed to its failure.
type refused struct{ error }

func (r refused) Unwrap() error { return r.error }

// isFailure reports whether the filter has failed with err.
func isFailure(err error) bool {
	_, ok := errors.AsType[refused](err)
	return err != nil && !ok
}

// run carries out a moment of a transaction. It returns the filter's refusal, or what Failure makes of a failure.
func (c *check) run(ctx context.Context, s *server.Session, moment func(*link) error) error {
	l := c.of(s)
	switch {
	case l == nil:
		return c.failed(ctx, s, errors.New("it doesn't know the session")) // connect wasn't called
	case l.passed || l.done:
		return nil
	case l.failed != nil:
		return c.verdict()
	}
	idle := l.w != nil && !l.open
	err := l.try(ctx, s, func() error { return moment(l) })
	if idle && isFailure(err) && !errors.Is(err, os.ErrDeadlineExceeded) {
		// The filter has closed the connection since the last message, or was started again.
		l.failed = nil
		err = l.try(ctx, s, func() error { return moment(l) })
	}
	if r, ok := errors.AsType[refused](err); ok {
		return r.error
	}
	if err != nil {
		return c.failed(ctx, s, err)
	}
	return nil
}

// early is run before MAIL, where a failure refuses nothing yet.
func (l *link) early(ctx context.Context, s *server.Session) error {
	if l == nil || l.passed || l.failed != nil {
		return nil
	}
	err := l.try(ctx, s, func() error { return nil })
	if r, ok := errors.AsType[refused](err); ok {
		return r.error
	}
	if err != nil && ctx.Err() == nil {
		l.log.ErrorContext(ctx, "filter failed", "addr", l.f.Addr, "session", s.Peer.ID, "err", err)
	}
	return nil
}

// try connects the filter if it isn't, tells it of the client and its EHLO if it doesn't know them, and carries out the
// moment. After a failure, the connection is closed.
func (l *link) try(ctx context.Context, s *server.Session, moment func() error) (err error) {
	known := l.w != nil
	if !known {
		if err := l.dial(ctx); err != nil {
			l.failed = err
			return err
		}
	}
	l.w.begin(ctx, l.f)
	ended := false
	defer func() { // after a panic, too
		if !ended {
			l.w.stop()
			l.drop()
		}
	}()
	if !known {
		err = l.tellConnect(ctx, s)
	}
	unwelcome := err != nil
	if err == nil && !l.passed && s.Peer.Hello != "" && l.greeting != greeting(s) {
		err = l.tellHelo(s)
	}
	if err == nil && !l.passed {
		err = moment()
	}
	if isFailure(err) {
		l.failed = err
		return err
	}
	ended = true
	if endErr := l.w.end(); endErr != nil {
		l.drop()
		l.failed = endErr
		return endErr
	}
	if l.passed || unwelcome { // a client that was refused is asked about anew
		l.quit(ctx)
	}
	return err
}

// greeting identifies the EHLO of a session, which may come again after STARTTLS.
func greeting(s *server.Session) string { return fmt.Sprint(s.Peer.TLS != nil, s.Peer.Hello) }

// dial connects to the filter.
func (l *link) dial(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.f.timeout())
	defer cancel()
	network, address := l.f.endpoint()
	dial := l.f.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	nc, err := dial(ctx, network, address)
	if err != nil {
		return err
	}
	l.w = newWire(nc)
	l.greeting, l.open = "", false
	return nil
}

// drop closes the connection.
func (l *link) drop() {
	l.w.nc.Close()
	l.w, l.open, l.body = nil, false, nil
}

// quit ends the filter's session, if it is connected.
func (l *link) quit(ctx context.Context) {
	if l.w == nil {
		return
	}
	l.w.begin(ctx, l.f)
	l.w.put(cmdQuit)
	_ = l.w.end() // it is over in any case
	l.drop()
}

// finish ends the transaction. The filter is reset unless it knows the end.
func (l *link) finish(ctx context.Context) {
	if l.open {
		l.w.begin(ctx, l.f)
		l.w.put(cmdAbort)
		if l.w.end() != nil {
			l.drop()
		}
	}
	l.open, l.done, l.told = false, false, nil
	l.body = nil // the server discards it
}

func (l *link) tellConnect(ctx context.Context, s *server.Session) (err error) {
	if l.version, l.protocol, err = l.w.negotiate(); err != nil {
		return fmt.Errorf("negotiation: %w", err)
	}
	if l.protocol&noConnect != 0 {
		return nil
	}
	l.putConnect(s, s.Peer.Name)
	return l.hear(s, cmdConnect, silentConnect)
}

func (l *link) tellHelo(s *server.Session) error {
	if l.protocol&noHelo == 0 {
		l.putHelo(s)
		if err := l.hear(s, cmdHelo, silentHelo); err != nil {
			return err
		}
	}
	l.greeting = greeting(s)
	return nil
}

func (l *link) tellMail(s *server.Session) error {
	l.open = true
	if l.protocol&noMail != 0 {
		return nil
	}
	l.putMail(s)
	return l.hear(s, cmdMail, silentMail)
}

func (l *link) tellRcpt(s *server.Session, rcpt smtp.Recipient) error {
	if l.protocol&noRcpt == 0 {
		l.w.putMacros(cmdRcpt, "{rcpt_addr}", rcpt.Address)
		args := []string{"<" + rcpt.Address + ">"}
		l.w.put(cmdRcpt, append(args, rcptParams(s.Envelope, rcpt)...)...)
		if err := l.hear(s, cmdRcpt, silentRcpt); err != nil {
			return err
		}
	}
	l.told = append(l.told, rcpt)
	return nil
}

// hear waits for the answer to a command, unless the filter has said that it gives none.
func (l *link) hear(s *server.Session, cmd byte, silent uint32) error {
	if l.protocol&silent != 0 {
		return nil
	}
	ans, data, err := l.w.answer()
	if err == nil {
		err = l.take(s, cmd, ans, data)
	}
	if isFailure(err) {
		return fmt.Errorf("after command %q: %w", cmd, err)
	}
	return err
}

// take acts on an answer that ends a command. A refusal is a refused; any other error is a failure.
func (l *link) take(s *server.Session, cmd, ans byte, data []byte) error {
	early := cmd == cmdConnect || cmd == cmdHelo
	switch {
	case ans == ansContinue:
	case ans == ansAccept && early:
		l.passed = true
	case ans == ansAccept:
		l.done = true
	case ans == ansDiscard && !early:
		l.done = true
		s.Discard("the filter discards it")
	case ans == ansReject:
		return refused{smtp.NewReply(550, "5.7.1", "refused by the content filter")}
	case ans == ansTempFail:
		return refused{smtp.NewReply(451, "4.7.1", "deferred by the content filter")}
	case ans == ansReply:
		reply, err := parseReply(data)
		if err != nil {
			return err
		}
		return refused{reply}
	case ans == ansConnFail, ans == ansShutdown:
		return refused{smtp.NewReply(421, "4.7.0", "the content filter closes the session")}
	default:
		return errUnexpected(ans)
	}
	return nil
}

// parseReply reads the reply of a filter: lines as on the wire, and a NUL. A "%" is doubled.
func parseReply(data []byte) (*smtp.Reply, error) {
	text, _, _ := strings.Cut(string(data), "\x00")
	text = strings.ReplaceAll(text, "%%", "%")
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\r' || r == '\n' })
	r, err := smtp.ReadReply(bufio.NewReader(strings.NewReader(strings.Join(lines, "\r\n") + "\r\n")))
	if err != nil || r.Code < 400 {
		return nil, fmt.Errorf("a reply %.100q: want one of 4xx or 5xx", text)
	}
	return r, nil
}

// mailParams returns the parameters of MAIL.
func mailParams(env *smtp.Envelope) []string {
	o := smtp.Offer{Size: -1, Body: env.Body, UTF8: env.UTF8, DSN: true, RequireTLS: true}
	if env.Size > 0 {
		o.Size = env.Size
	}
	nobody := *env
	nobody.From = ""
	return params(nobody.AppendMail(nil, o), "MAIL FROM:<>")
}

// rcptParams returns the parameters of RCPT.
func rcptParams(env *smtp.Envelope, rcpt smtp.Recipient) []string {
	rcpt.Address = ""
	return params(rcpt.AppendRcpt(nil, smtp.Offer{UTF8: env.UTF8, DSN: true}), "RCPT TO:<>")
}

// params returns what follows the beginning of a command.
func params(line []byte, begin string) []string {
	return strings.Fields(strings.TrimPrefix(string(line), begin))
}

// knows reports whether the filter was told of a recipient.
func (l *link) knows(rcpt smtp.Recipient) bool {
	return slices.ContainsFunc(l.told, func(r smtp.Recipient) bool { return r.Address == rcpt.Address })
}
