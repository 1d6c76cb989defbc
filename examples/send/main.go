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
	from := flag.String("from", "", "reverse-path")
	to := flag.String("to", "", "recipients, parted by commas")
	user := flag.String("user", "", "`name` for AUTH")
	passwordFile := flag.String("password-file", "", "`file` with the password")
	tokenFile := flag.String("token-file", "", "`file` with an access token for OAuth 2")
	mechanism := flag.String("auth", "", "`mechanism` of AUTH to insist on; if empty, the strongest")
	flag.Parse()
	if *server == "" || *to == "" {
		return errors.New("-server and -to are needed; -help tells more")
	}
	if *implicit && *starttls {
		return errors.New("-tls and -starttls exclude each other")
	}
	sub := &client.Submission{Addr: *server}
	switch {
	case *implicit:
		sub.TLS = mx.TLSImplicit
	case *starttls:
		sub.TLS = mx.TLSStartTLS
	}
	if *user == "" && *mechanism+*passwordFile+*tokenFile != "" {
		return errors.New("-auth, -password-file and -token-file need -user")
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
	results, err := sub.Send(ctx, smtp.NewEnvelope(*from, strings.Split(*to, ",")...), smtp.Text(message))
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
	who := "the host says"
	if r.Local {
		who = "we say"
	}
	s := fmt.Sprintf("%s: %s at %s; %s %s; host %q at %q", r.Recipient, r.Outcome, r.Stage, who, r.Reply.Error(), r.Host, r.Addr)
	if r.TLS != "" {
		s += "; " + r.TLS
	}
	if r.DSN {
		s += "; DSN"
	}
	return s
}
