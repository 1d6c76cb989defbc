// Send submits one message from standard input, and prints what became of it for each recipient.
//
//	send -server smtp.example.com:587 -from a@example.com -to b@example.net -user a -password-file FILE <message
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"

	"github.com/postrider/postrider/client"
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
	server := flag.String("server", "", "`host:port` to submit to; TLS is required, implicit at port 465 and by STARTTLS elsewhere")
	implicit := flag.Bool("tls", false, "implicit TLS at any port")
	starttls := flag.Bool("starttls", false, "STARTTLS at any port")
	noTLS := flag.Bool("no-tls", false, "no TLS at all; a password then goes to this machine only")
	from := flag.String("from", "", "`address` that failures are reported to (the reverse-path)")
	to := flag.String("to", "", "`addresses` of the recipients, parted by commas")
	user := flag.String("user", "", "`name` for AUTH")
	passwordFile := flag.String("password-file", "", "`file` with the password")
	tokenFile := flag.String("token-file", "", "`file` with an access token for OAuth 2")
	mechanism := flag.String("auth", "", "`mechanism` of AUTH to insist on; if empty, the strongest")
	flag.Parse()
	if *server == "" || *to == "" {
		return errors.New("-server and -to are needed; -help tells more")
	}
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if _, _, err := net.SplitHostPort(*server); err != nil {
		return fmt.Errorf("-server: %w; want host:port, as in smtp.example.com:587", err)
	}
	if *implicit && *starttls || *noTLS && (*implicit || *starttls) {
		return errors.New("-tls, -starttls and -no-tls exclude each other")
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
	message, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	defer sub.Close()
	rcpts := strings.Split(*to, ",")
	for i := range rcpts {
		rcpts[i] = strings.TrimSpace(rcpts[i])
	}
	results, err := sub.Send(ctx, smtp.NewEnvelope(*from, rcpts...), smtp.Text(message))
	for _, result := range results {
		fmt.Println(describe(result))
	}
	return err
}

// credentials reads the files that have a name.
func credentials(user, passwordFile, tokenFile string) (*client.Credentials, error) {
	auth := &client.Credentials{Username: user}
	if passwordFile != "" {
		password, err := readLine(passwordFile)
		if err != nil {
			return nil, err
		}
		auth.Password = password
	}
	if tokenFile != "" {
		// It is read when the host asks for it, as another program may renew it.
		auth.Token = func(context.Context) (string, error) { return readLine(tokenFile) }
	}
	return auth, nil
}

func readLine(name string) (string, error) {
	data, err := os.ReadFile(name)
	return strings.TrimRight(string(data), "\r\n"), err
}

// describe gives a result on one line.
func describe(r smtp.Result) string {
	s := fmt.Sprintf("%s: %s at %s: %s", r.Recipient, r.Outcome, r.Stage, r.Reply.Error())
	switch r.Outcome {
	case smtp.Deferred:
		s += "; it may work later"
	case smtp.Unknown:
		s += "; it may have arrived"
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
