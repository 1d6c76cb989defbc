// Send submits one message from standard input.
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

	"github.com/emersion/go-sasl"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/smtp"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "send:", err)
		os.Exit(1)
	}
}

func run() error {
	server := flag.String("server", "", "`host:port` to submit to; TLS is required, implicit at port 465")
	from := flag.String("from", "", "reverse-path")
	to := flag.String("to", "", "recipients, parted by commas")
	user := flag.String("user", "", "`name` for AUTH")
	passwordFile := flag.String("password-file", "", "`file` with the password")
	flag.Parse()
	if *server == "" || *to == "" {
		return errors.New("-server and -to are needed; -help tells more")
	}
	message, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	sub := &client.Submission{Addr: *server}
	if *user != "" {
		password, err := os.ReadFile(*passwordFile)
		if err != nil {
			return err
		}
		sub.Auth = sasl.NewPlainClient("", *user, strings.TrimRight(string(password), "\r\n"))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	results, err := sub.Send(ctx, smtp.NewEnvelope(*from, strings.Split(*to, ",")...), smtp.Text(message))
	for _, result := range results {
		fmt.Printf("%s: %s: %s\n", result.Recipient, result.Outcome, result.Reply.Error())
	}
	return err
}
