package compose_test

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log"
	"net/http"
	netmail "net/mail"
	"os"
	"slices"
	"testing/fstest"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/client/compose"
	"github.com/postrider/postrider/smtp"
)

// A mail with HTML, a picture in it, and an attachment. It has plain text, too, made from HTML.
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

// A newsletter: each subscriber gets a mail with a link to unsubscribe, and a Result.
func ExampleTemplate_Send() {
	unsubscribe := &compose.Unsubscribe{
		URL:  "https://news.example.com/unsubscribe",
		Keys: [][]byte{[]byte("32 octets of crypto/rand, for all time")},
		Handle: func(_ context.Context, s compose.Subscription) error {
			return errors.New("not now") // take s.Address from the list, and return when that is durable
		},
	}
	http.Handle("/unsubscribe", unsubscribe)
	issue := &compose.Template{
		Message: compose.Message{
			From:        netmail.Address{Name: "News", Address: "news@example.com"},
			Subject:     "Issue 7",
			ListID:      "weekly.news.example.com",
			Unsubscribe: unsubscribe,
		},
		HTML: template.Must(template.New("issue").Parse(
			`<p>Hello {{.To.Name}}, here is the news. <a href="{{.Unsubscribe}}">Unsubscribe</a></p>`)),
	}
	submission := &client.Submission{Addr: "smtp.example.com:587"}
	defer submission.Close()
	subscribers := slices.Values([]compose.Recipient{{To: netmail.Address{Name: "Ann", Address: "ann@example.net"}}})
	err := issue.Send(context.Background(), submission, subscribers,
		func(r compose.Recipient, result smtp.Result, err error) {
			fmt.Fprintln(os.Stderr, r.To.Address, result.Outcome, err)
		})
	if err != nil {
		log.Print(err)
	}
}
