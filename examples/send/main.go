// Send submits one message, and prints the result for each recipient. It composes the message, or takes a finished one
// from standard input.
//
//	send -server smtp.example.com:587 -from a@example.com -to b@example.net -user a -password-file FILE <message
//	send … -subject "Your order" -html order.html -attach order.pdf
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/mail"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/client/compose"
	"github.com/postrider/postrider/client/preflight"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "send:", err)
		os.Exit(1)
	}
}

func run() error {
	server := flag.String("server", "",
		"`host:port` to submit to; TLS is required: implicit at port 465, by STARTTLS elsewhere")
	implicit := flag.Bool("tls", false, "implicit TLS at any port")
	starttls := flag.Bool("starttls", false, "STARTTLS at any port")
	noTLS := flag.Bool("no-tls", false, "no TLS; a password is then sent to this machine only")
	from := flag.String("from", "", "`address` for reports on failures (the reverse-path)")
	to := flag.String("to", "", "`addresses` of the recipients, separated by commas")
	user := flag.String("user", "", "`name` for AUTH")
	passwordFile := flag.String("password-file", "", "`file` with the password")
	tokenFile := flag.String("token-file", "", "`file` with an access token for OAuth 2")
	subject := flag.String("subject", "", "compose a message with this `subject`; -from is the author")
	textFile := flag.String("text", "", "`file` with the text of that message")
	htmlFile := flag.String("html", "", "`file` with its HTML; without -text, the text is made from it")
	attach := flag.String("attach", "", "`files` for its recipients, separated by commas")
	mechanism := flag.String("auth", "", "the only `mechanism` of AUTH to use; if empty, the strongest of the server")
	check := flag.Bool("check", false, "look for what receivers would refuse, and send nothing if there is any")
	flag.Parse()
	if *server == "" || *to == "" {
		return errors.New("-server and -to are needed; -help lists the flags")
	}
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; -help lists the flags", flag.Arg(0))
	}
	if _, _, err := net.SplitHostPort(*server); err != nil {
		return fmt.Errorf("-server: %w; want host:port, as in smtp.example.com:587", err)
	}
	if *implicit && *starttls || *noTLS && (*implicit || *starttls) {
		return errors.New("-tls, -starttls and -no-tls exclude one another: give one of them")
	}
	sub := &client.Submission{Addr: *server}
	switch {
	case *implicit:
		sub.TLSStart = mx.TLSImplicit
	case *starttls:
		sub.TLSStart = mx.TLSStartTLS
	case *noTLS:
		sub.TLS = mx.TLSNone
	}
	if *user == "" && *mechanism+*passwordFile+*tokenFile != "" {
		return errors.New("-auth, -password-file and -token-file need -user")
	}
	if *user != "" && *passwordFile+*tokenFile == "" {
		return errors.New("-user needs -password-file or -token-file")
	}
	if *user != "" {
		auth, err := credentials(*user, *passwordFile, *tokenFile)
		if err != nil {
			return err
		}
		if *mechanism != "" {
			auth.Mechanisms = []string{*mechanism}
		}
		sub.Auth = auth
	}
	rcpts := strings.Split(*to, ",")
	for i := range rcpts {
		rcpts[i] = strings.TrimSpace(rcpts[i])
	}
	var env *smtp.Envelope
	var content smtp.Content
	var err error
	if *subject+*textFile+*htmlFile+*attach != "" {
		env, content, err = composed(*from, rcpts, *subject, *textFile, *htmlFile, *attach)
	} else {
		var message []byte
		message, err = io.ReadAll(os.Stdin)
		env, content = smtp.NewEnvelope(*from, rcpts...), smtp.Text(message)
	}
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	defer sub.Close()
	if *check {
		sub.Wrap = checked
	}
	results, err := sub.Send(ctx, env, content)
	for _, result := range results {
		fmt.Println(describe(result))
	}
	return err
}

// composed makes a message of the files whose names aren't empty.
func composed(
	from string, to []string, subject, textFile, htmlFile, attach string,
) (*smtp.Envelope, smtp.Content, error) {
	m := &compose.Message{From: mail.Address{Address: from}, Subject: subject}
	for _, address := range to {
		m.To = append(m.To, mail.Address{Address: address})
	}
	var err error
	if textFile != "" {
		m.Text, err = readFile(textFile)
	}
	if htmlFile != "" && err == nil {
		m.HTML, err = readFile(htmlFile)
	}
	if err != nil {
		return nil, nil, err
	}
	for name := range strings.SplitSeq(attach, ",") {
		if name != "" {
			dir, file := filepath.Split(name)
			m.Attachments = append(m.Attachments, compose.File{FS: os.DirFS(cmp.Or(dir, ".")), Path: file})
		}
	}
	return m.Compose()
}

// credentials reads the files whose names aren't empty.
func credentials(user, passwordFile, tokenFile string) (*client.Credentials, error) {
	auth := &client.Credentials{Username: user}
	if passwordFile != "" {
		password, err := readLine(passwordFile)
		if err != nil {
			return nil, fmt.Errorf("-password-file: %w", err)
		}
		auth.Password = password
	}
	if tokenFile != "" {
		// The file is read when the host asks for the token, because another program may renew it.
		auth.Token = func(context.Context) (string, error) { return readLine(tokenFile) }
	}
	return auth, nil
}

func readLine(name string) (string, error) {
	text, err := readFile(name)
	return strings.TrimRight(text, "\r\n"), err
}

func readFile(name string) (string, error) {
	data, err := os.ReadFile(name)
	return string(data), err
}

// describe returns a result as one line.
func describe(r smtp.Result) string {
	s := fmt.Sprintf("%s: %s at %s: %s", r.Recipient, r.Outcome, r.Stage, r.Reply.Error())
	switch {
	case r.Outcome == smtp.Deferred:
		s += "; it may work later"
	case r.Outcome == smtp.Unknown:
		s += "; it may have arrived"
	case r.Reason == smtp.UserUnknown:
		s += "; don't write to this address again"
	}
	if r.Host != "" {
		s += "; host " + r.Host
	}
	if r.Addr != "" {
		s += " at " + r.Addr
	}
	if r.TLS != "" {
		s += "; " + r.TLS
	}
	if r.DSN {
		s += "; it will send reports"
	}
	return s
}

// checked returns a Sender that prints what receivers would refuse, and then sends nothing.
func checked(next smtp.Sender) smtp.Sender {
	return smtp.SenderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
		var checker preflight.Checker
		findings := append(checker.Message(env, c), checker.Sender(ctx, env, c)...)
		fmt.Println(findings)
		if len(findings.Refusals()) > 0 {
			return nil, smtp.NewReply(550, "5.6.0", "-check found what receivers would refuse")
		}
		return next.Send(ctx, env, c)
	})
}
