// Package oauth gets access tokens for client.Credentials from Microsoft 365, Google and other servers of OAuth 2.0
// (RFC 6749), keeps them, and refreshes them before they expire.
//
// # Getting started
//
// A program of its own, without a user, at Microsoft 365:
//
//	source := &oauth.Source{
//		TokenURL: oauth.MicrosoftURL("contoso.onmicrosoft.com"), // or the ID of the tenant
//		ClientID: id, ClientSecret: secret, // of the application in Entra
//		Scopes: []string{oauth.MicrosoftScope},
//	}
//	sub := &client.Submission{
//		Addr: "smtp.office365.com:587",
//		Auth: &client.Credentials{Username: "shop@contoso.com", Token: source.Token},
//	}
//	sender := source.Wrap(sub) // refreshes a token that the host refuses, once
//
// The same on behalf of a user who has consented, at Google:
//
//	source := &oauth.Source{TokenURL: oauth.GoogleURL, ClientID: id, ClientSecret: secret, RefreshToken: token}
//
// A service account of Google that acts for the users of a Workspace domain:
//
//	source := &oauth.Source{ServiceAccount: keyFile, Subject: "shop@example.com", Scopes: []string{oauth.GoogleScope}}
//
// One Source serves all sessions of an account. Call [Source.Token] once at the start of the program: its error names
// what to set up.
//
// # What has to be set up
//
// Microsoft 365, without a user: the application needs the application permission SMTP.SendAsApp of Office 365 Exchange
// Online, an administrator's consent to it, a service principal in Exchange (New-ServicePrincipal, with the object ID
// of the enterprise application), access to the mailbox (Add-MailboxPermission), and SMTP AUTH enabled for the mailbox.
// Without the latter three there is a token, and the host answers AUTH with 535. For a user: the delegated permission
// https://outlook.office.com/SMTP.Send, and offline_access for a refresh token.
//
// Google: the scope https://mail.google.com/. For a service account: domain-wide delegation of that scope to the client
// ID of the account, by an administrator.
//
// # Passwords at Microsoft 365
//
// By Microsoft's schedule of 27 January 2026, SMTP AUTH with a password is switched off by default for existing tenants
// at the end of December 2026. An administrator can switch it on again. It isn't available by default for tenants that
// are made after that. The date of its removal is to be announced in the second half of 2027. Once it is off, the host
// answers 550 5.7.30. A token isn't affected.
//
// # Bounds
//
//   - A token is fetched by one goroutine at a time, whatever the number of sessions. While the old one is valid, the
//     others use that.
//   - A fetch takes Source.Timeout at most, and reads 1 MiB. A token has 8 KiB at most.
//   - After a failure, no new fetch begins for 10 seconds, or for a minute if a person has to act: the error is
//     returned again.
//   - A token that a host refuses is replaced if it is older than a minute. A younger one was refused for another
//     reason.
//
// # Errors
//
// An error of Token is an [Error], whose [Kind] says who has to do something. No error, log line or %v of a Source has
// a token, a secret or a key.
//
// # Files
//
//   - source.go: [Source], Token. fetch.go: the grants. wrap.go: tokens that a host refuses. errors.go: [Error].
//
// # RFCs
//
// RFC 6749 §4.4 (client credentials), §6 (refresh tokens), §5.2 (errors); RFC 7523 (service accounts). The client's
// secret is sent in the body (§2.3.1), which both providers take.
package oauth
