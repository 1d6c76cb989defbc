// Newsletter is an application that sends an issue to 1,000 subscribers, each with a link to unsubscribe by one click.
// It drops addresses that are dead, whether their host refuses the mail or returns it later, and those of people who
// complain or unsubscribe. It stops an issue when a tenth of the addresses are dead.
//
// With examples/inbox as the host that takes the mail, and knows one of two subscribers:
//
//	go run ./examples/inbox -user ann@example.net
//	printf 'ann@example.net\nnobody@example.net\n' >subscribers
//	go run ./examples/newsletter -to subscribers -issue 7
//
// The next issue leaves out nobody@example.net. Repeat a run that was cut short with the same -issue: nobody gets it
// twice. The page to unsubscribe is at -http: a server with a certificate for news.example passes on to it what comes
// to https://news.example/unsubscribe.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/bounce/suppress"
	"github.com/postrider/postrider/client/compose"
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
	web := flag.String("http", "127.0.0.1:8080", "serve the page to unsubscribe at this `address`")
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
	// An issue that is sent again within 7 days goes to nobody twice.
	q, err := (&spool.Options{KeyTime: 7 * 24 * time.Hour}).Open(*dir + "/spool")
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
	mux := http.NewServeMux()
	mux.Handle("/unsubscribe", news.Unsubscribe)
	page := &http.Server{Addr: *web, Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}
	paged := make(chan error, 1)
	go func() { paged <- page.ListenAndServe() }()
	err = news.Send(ctx, *issue, strings.Fields(string(subscribers)), compose.Template{
		Message: compose.Message{Subject: "Issue " + *issue},
		HTML:    text,
	})
	select {
	case <-time.After(*after):
	case <-ctx.Done():
	}
	end()
	page.Close()
	fmt.Printf("%+v\n", news.Stats())
	if failed := <-paged; !errors.Is(failed, http.ErrServerClosed) {
		err = errors.Join(err, failed)
	}
	return errors.Join(err, <-served)
}

var text = template.Must(template.New("issue").Parse(`<p>Hello {{.To.Address}}, here is the news.</p>
<p><a href="{{.Unsubscribe}}">Unsubscribe</a></p>
`))

// readKey returns the key that signs the reverse-paths and the links, and makes it the first time.
func readKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	if !errors.Is(err, os.ErrNotExist) {
		return key, err
	}
	key = []byte(rand.Text() + rand.Text())
	return key, os.WriteFile(path, key, 0o600)
}
