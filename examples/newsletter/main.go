// Newsletter is an application that sends an issue to 1,000 subscribers. It drops addresses that are dead, whether
// their host refuses the mail or returns it later, and those of people who complain. It stops an issue when a tenth of
// the addresses are dead.
//
// With examples/inbox as the host that takes the mail, and knows one of two subscribers:
//
//	go run ./examples/inbox -user ann@example.net
//	printf 'ann@example.net\nnobody@example.net\n' >subscribers
//	go run ./examples/newsletter -to subscribers -issue 7
//
// The second time, nobody@example.net is left out.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/bounce/suppress"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue/spool"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "newsletter:", err)
		os.Exit(1)
	}
}

func run() error {
	file := flag.String("to", "", "`file` with the address of a subscriber in each line")
	issue := flag.String("issue", "1", "`name` of the issue")
	smarthost := flag.String("smarthost", "127.0.0.1:2526", "`host:port` that takes our mail; if empty, the MX do")
	listen := flag.String("listen", "127.0.0.1:2528", "accept the bounces of other hosts on this `address`")
	dir := flag.String("dir", "./newsletter", "`directory` for the queue, the key and the suppressed addresses")
	after := flag.Duration("wait", 10*time.Second, "wait so `long` for bounces")
	flag.Parse()
	subscribers, err := os.ReadFile(*file)
	if err != nil {
		return fmt.Errorf("-to: %w", err)
	}
	if err := os.MkdirAll(*dir, 0o700); err != nil {
		return fmt.Errorf("-dir: %w", err)
	}
	key, err := readKey(*dir + "/key")
	if err != nil {
		return err
	}
	list, err := suppress.Open(*dir + "/suppressed")
	if err != nil {
		return err
	}
	defer list.Close()
	q, err := spool.Open(*dir + "/spool")
	if err != nil {
		return err
	}
	defer q.Close()
	relay := &postrider.Relay{
		Hostname: "mail.news.example",
		Queue:    q,
		Logger:   slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	if *smarthost != "" {
		route, err := mx.Smarthost(*smarthost)
		if err != nil {
			return fmt.Errorf("-smarthost: %w", err)
		}
		relay.Routes = map[string]mx.Route{"*": route}
	}
	news := New(relay, list, key)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	served := make(chan error, 1)
	serving, end := context.WithCancel(ctx)
	defer end()
	go func() { served <- relay.ListenAndServe(serving, *listen) }()
	err = news.Send(ctx, *issue, strings.Fields(string(subscribers)), func(to string) string {
		return "From: Editor <" + author + ">\nTo: <" + to + ">\nSubject: Issue " + *issue +
			"\nDate: " + time.Now().Format(time.RFC1123Z) + "\n\nThe news.\n"
	})
	select {
	case <-time.After(*after):
	case <-ctx.Done():
	}
	end()
	fmt.Printf("%+v\n", news.Stats())
	return errors.Join(err, <-served)
}

// readKey returns the key that signs the reverse-paths, and makes it the first time.
func readKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	if !errors.Is(err, os.ErrNotExist) {
		return key, err
	}
	key = []byte(rand.Text() + rand.Text())
	return key, os.WriteFile(path, key, 0o600)
}
