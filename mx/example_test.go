package mx_test

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// The mail of one domain goes to a func. The mail of another is refused.
func ExampleFunc() {
	refused, err := mx.ParseRoute("error:550 5.1.2 closed since 2024")
	if err != nil {
		fmt.Println(err)
		return
	}
	router := &mx.Router{Routes: map[string]mx.Route{
		"old.example.com": refused,
		"app.example.com": mx.Func("app", func(_ context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
			message, err := io.ReadAll(smtp.NewReader(c))
			fmt.Printf("%d octets from %s\n", len(message), env.From)
			return nil, err // nil: delivered to all
		}),
	}}
	_, err = router.Destination("old.example.com")
	reply, _ := errors.AsType[*smtp.Reply](err)
	fmt.Println(reply)

	route, _ := router.Route(context.Background(), "app.example.com")
	fmt.Println(route.Name, route.Final())
	route.Sender.Send(context.Background(), smtp.NewEnvelope("ann@example.com", "box@app.example.com"), smtp.Text("Hello.\n"))
	// Output:
	// 550 5.1.2 closed since 2024
	// func:app true
	// 8 octets from ann@example.com
}
