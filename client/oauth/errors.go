package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/oauth2"
)

// Kind is what a failure is about.
type Kind uint8

const (
	// Network: the server couldn't be reached, or didn't answer in time. Try again.
	Network Kind = iota

	// Unavailable: the server can't answer now, or wants fewer requests. Try again.
	Unavailable

	// InvalidGrant: the refresh token has expired or was revoked, or the server doesn't accept the service account. A
	// user has to sign in again, or the clock of this machine is wrong.
	InvalidGrant

	// InvalidClient: ClientID or ClientSecret is wrong or has expired, or the tenant doesn't have the application.
	InvalidClient

	// NoConsent: a user or an administrator has to consent to what the application asks for.
	NoConsent

	// InvalidScope: Scopes has something that the server doesn't have or doesn't give to the application.
	InvalidScope

	// Refused: the server refused the request for another reason: see the Code.
	Refused

	// Malformed: what answered at TokenURL isn't a token endpoint.
	Malformed

	// NotStored: Rotated returned an error.
	NotStored
)

var kinds = [...]struct{ name, remedy string }{
	Network:       {"network", "check the network, TokenURL and the proxy"},
	Unavailable:   {"unavailable", "try again later"},
	InvalidGrant:  {"invalid grant", "let the user sign in again for a new RefreshToken; check the clock, and Subject"},
	InvalidClient: {"invalid client", "check ClientID, the end of ClientSecret, and the tenant in TokenURL"},
	NoConsent:     {"no consent", "let the user, or an administrator, consent to the permission or delegate the scope"},
	InvalidScope:  {"invalid scope", "check Scopes"},
	Refused:       {"refused", "look at the code and the text"},
	Malformed:     {"malformed answer", "check that TokenURL is a token endpoint"},
	NotStored:     {"not stored", "see that Rotated can store the token"},
}

// String returns the name in lower case, "invalid grant" for example.
func (k Kind) String() string {
	if int(k) < len(kinds) {
		return kinds[k].name
	}
	return "unknown"
}

// Error is the reason why there is no token.
type Error struct {
	Kind Kind

	// Code is the error code of the server (RFC 6749 §5.2), and Text the first 200 octets of what it says about that.
	// A stranger wrote them. If empty, there is none.
	Code, Text string

	// Err is the cause, if it isn't an answer of the server. It has no token.
	Err error
}

// Error returns the kind, what the server says, and what to do:
//
//	oauth: invalid client: check ClientID, …: invalid_client: AADSTS7000215: Invalid client secret provided.
func (e *Error) Error() string {
	s := "oauth: " + e.Kind.String()
	if int(e.Kind) < len(kinds) {
		s += ": " + kinds[e.Kind].remedy
	}
	for _, part := range []string{e.Code, e.Text} {
		if part != "" {
			s += ": " + part
		}
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Temporary reports whether a later try may succeed without a person's help.
func (e *Error) Temporary() bool {
	return e.Kind == Network || e.Kind == Unavailable || e.Kind == NotStored
}

// newError returns the *Error for an error of package oauth2. That one isn't wrapped if the server answered: its text
// may have all of the answer.
func newError(ctx context.Context, err error, answered bool) *Error {
	if e, ok := errors.AsType[*Error](err); ok { // of Rotated
		return e
	}
	if ctx.Err() != nil {
		return &Error{Kind: Network, Err: context.Cause(ctx)}
	}
	answer, ok := errors.AsType[*oauth2.RetrieveError](err)
	switch {
	case !ok && answered:
		return &Error{Kind: Malformed, Err: errors.New("the answer is no token")}
	case !ok:
		return &Error{Kind: Network, Err: err}
	}
	told := struct {
		Code string `json:"error"`
		Text string `json:"error_description"`
	}{answer.ErrorCode, answer.ErrorDescription}
	if told.Code == "" { // package jwt doesn't parse it
		json.Unmarshal(answer.Body, &told)
	}
	e := &Error{Code: printable(told.Code, 40), Text: printable(told.Text, 200)}
	status := 0
	if answer.Response != nil {
		status = answer.Response.StatusCode
	}
	e.Kind = kindOf(status, told.Code, told.Text)
	if e.Code == "" {
		e.Err = fmt.Errorf("HTTP status %d", status)
	}
	return e
}

// kindOf returns what an answer is about. Microsoft's numbers are finer than the codes.
func kindOf(status int, code, text string) Kind {
	has := func(numbers ...string) bool {
		for _, n := range numbers {
			if strings.Contains(text, "AADSTS"+n) {
				return true
			}
		}
		return false
	}
	switch {
	case status >= 500, status == http.StatusTooManyRequests, code == "temporarily_unavailable", code == "server_error":
		return Unavailable
	case has("65001", "65004", "90094"): // nobody has consented, or not an administrator
		return NoConsent
	case has("700016", "90002"): // no such application or tenant
		return InvalidClient
	}
	switch code {
	case "invalid_grant":
		return InvalidGrant
	case "invalid_client":
		return InvalidClient
	case "unauthorized_client", "consent_required", "interaction_required", "access_denied", "admin_policy_enforced":
		return NoConsent
	case "invalid_scope", "invalid_resource", "invalid_target":
		return InvalidScope
	case "":
		return Malformed
	}
	return Refused
}

// printable returns a stranger's text in one line of at most n octets of ASCII.
func printable(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, s[:min(len(s), n)])
	return strings.TrimSpace(s)
}
