package compose_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log"
	netmail "net/mail"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"
	"testing/synctest"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/client/compose"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// How do I send a mail with HTML, a picture in it, and an attachment? It has plain text, too, made from HTML.
func Example() {
	assets := fstest.MapFS{"logo.png": {Data: []byte("…")}, "17.pdf": {Data: []byte("…")}} // an embed.FS, for example
	mail := &compose.Message{
		From:        netmail.Address{Name: "Müller’s Shop", Address: "shop@example.com"},
		To:          []netmail.Address{{Name: "Ann", Address: "ann@example.net"}},
		Subject:     "Your order 17",
		HTML:        `<p>Thank you! <img src="cid:logo.png" alt="The Shop"></p>`,
		Inline:      []compose.File{{FS: assets, Path: "logo.png"}},
		Attachments: []compose.File{{FS: assets, Path: "17.pdf", Name: "Invoice 17.pdf"}},
	}
	env, content, err := mail.Compose()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(env.From, env.Recipients[0].Address)
	m, err := netmail.ReadMessage(smtp.NewReader(content)) // or: results, err := submission.Send(ctx, env, content)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(m.Header.Get("From"))
	// Output:
	// shop@example.com ann@example.net
	// =?utf-8?b?TcO8bGxlcuKAmXMgU2hvcA==?= <shop@example.com>
}

// How do I send a newsletter? Each subscriber gets a mail, a link to unsubscribe with one click, and a Result.
func ExampleTemplate_Send() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		provider := inet.Host("smtp.example.com")
		provider.Reject("bob@example.net", nil) // no such user

		unsubscribe := &compose.Unsubscribe{
			URL:  "https://news.example.com/unsubscribe", // mux.Handle("/unsubscribe", unsubscribe)
			Keys: [][]byte{[]byte("32 octets of crypto/rand, for all time")},
			Handle: func(_ context.Context, s compose.Subscription) error {
				return errors.New("not now") // take s.Address from the list, and return when that is durable
			},
		}
		issue := &compose.Template{
			Message: compose.Message{
				From: netmail.Address{Name: "News", Address: "news@example.com"}, Subject: "Issue 7",
				ListID: "weekly.news.example.com", Unsubscribe: unsubscribe,
			},
			HTML: template.Must(template.New("issue").Parse(
				`<p>Hello {{.To.Name}}, here is the news. <a href="{{.Unsubscribe}}">Unsubscribe</a></p>`)),
			Concurrency: 1, // so that the example prints in order
		}
		submission := &client.Submission{
			Addr: "smtp.example.com:587", Resolver: inet, DialContext: inet.DialContext,
			TLSConfig: &tls.Config{RootCAs: inet.RootCAs()},
		}
		defer submission.Close()
		subscribers := slices.Values([]compose.Recipient{ // a sequence: rows of a database, for example
			{To: netmail.Address{Name: "Ann", Address: "ann@example.net"}},
			{To: netmail.Address{Name: "Bob", Address: "bob@example.net"}},
		})
		err := issue.Send(context.Background(), submission, subscribers,
			func(r compose.Recipient, result smtp.Result, err error) {
				fmt.Println(r.To.Name, result.Outcome, result.Reason)
			})
		fmt.Println(err)
	})
	// Output:
	// Ann delivered none
	// Bob rejected user-unknown
	// <nil>
}

// How do I attach a file that doesn't fit into memory? Files are read and encoded as the mail is sent.
func ExampleFile() {
	dir, err := os.MkdirTemp("", "orders")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "all.csv"), nil, 0o600); err != nil {
		log.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "all.csv"), 30<<20); err != nil { // 30 MiB
		log.Fatal(err)
	}
	mail := &compose.Message{
		From: netmail.Address{Address: "shop@example.com"}, To: []netmail.Address{{Address: "ann@example.net"}},
		Attachments: []compose.File{{FS: os.DirFS(dir), Path: "all.csv"}},
	}
	_, content, err := mail.Compose()
	if err != nil {
		log.Fatal(err)
	}
	n, err := content.WriteTo(io.Discard) // in a program, a Submission reads it
	fmt.Println(n>>20, "MiB", err)
	// Output:
	// 41 MiB <nil>
}
