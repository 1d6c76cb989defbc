package oauth_test

import (
	"context"
	"log"
	"os"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/client/oauth"
	"github.com/postrider/postrider/smtp"
)

// How do I send through Microsoft 365 without a password? With a token of the program itself.
func Example() {
	source := &oauth.Source{
		TokenURL:     oauth.MicrosoftURL("contoso.onmicrosoft.com"),
		ClientID:     os.Getenv("CLIENT_ID"),
		ClientSecret: os.Getenv("CLIENT_SECRET"),
		Scopes:       []string{oauth.MicrosoftScope},
	}
	ctx := context.Background()
	if _, err := source.Token(ctx); err != nil {
		log.Fatal(err) // it names what to set up
	}
	sub := &client.Submission{
		Addr: "smtp.office365.com:587",
		Auth: &client.Credentials{Username: "shop@contoso.com", Token: source.Token},
	}
	defer sub.Close()
	env := smtp.NewEnvelope("shop@contoso.com", "ann@example.net")
	if _, err := source.Wrap(sub).Send(ctx, env, smtp.Text("Subject: hello\n\nHello.\n")); err != nil {
		log.Fatal(err)
	}
}
