package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"

	"github.com/postrider/postrider/internal/scram"
	"github.com/postrider/postrider/smtp"
)

// withCredential sets one field of the Credentials in auth, or of new ones.
func withCredential(auth smtp.Auth, name, value string) *Credentials {
	c, ok := auth.(*Credentials)
	if !ok {
		c = &Credentials{Username: "ann", nonce: vectorNonce}
	}
	switch name {
	case "password":
		c.Password = value
	case "token":
		c.Token = func(context.Context) (string, error) { return value, nil }
	case "user":
		c.Username = value
	case "identity":
		c.AuthorizationID = value
	case "mechanisms":
		c.Mechanisms = strings.Fields(value)
	}
	return c
}

func TestChoose(t *testing.T) {
	const all = "LOGIN PLAIN XOAUTH2 OAUTHBEARER SCRAM-SHA-256 SCRAM-SHA-256-PLUS CRAM-MD5 GSSAPI"
	bound := sessionState(t, tls.VersionTLS13)
	tests := []struct {
		name       string
		offered    string
		password   bool
		token      bool
		identity   string
		mechanisms []string
		tls        bool
		want       string // mechanism and initial response, "|" for a NUL and "^" for \x01
		err        string
	}{
		{name: "password, TLS", offered: all, password: true, tls: true, want: "SCRAM-SHA-256-PLUS p=tls-exporter,,n=ann,r=N"},
		{name: "password, TLS, no -PLUS", offered: "PLAIN SCRAM-SHA-256", password: true, tls: true, want: "SCRAM-SHA-256 y,,n=ann,r=N"},
		{name: "password, TLS, -PLUS alone", offered: "SCRAM-SHA-256-PLUS", password: true, tls: true, want: "SCRAM-SHA-256-PLUS p=tls-exporter,,n=ann,r=N"},
		{name: "password, TLS, -PLUS not wanted", offered: all, password: true, tls: true, mechanisms: []string{"PLAIN", "SCRAM-SHA-256"}, want: "SCRAM-SHA-256 n,,n=ann,r=N"},
		{name: "password, in clear", offered: all, password: true, want: "SCRAM-SHA-256 n,,n=ann,r=N"},
		{name: "password, no SCRAM", offered: "XOAUTH2 LOGIN PLAIN", password: true, tls: true, want: "PLAIN |ann|secret"},
		{name: "password, LOGIN alone", offered: "LOGIN", password: true, want: "LOGIN -"},
		{name: "password for another", offered: "LOGIN PLAIN", password: true, identity: "bob", want: "PLAIN bob|ann|secret"},
		{name: "password for another, SCRAM", offered: all, password: true, identity: "bob", want: "SCRAM-SHA-256 n,a=bob,n=ann,r=N"},
		{name: "password for another, LOGIN alone", offered: "LOGIN", password: true, identity: "bob", err: `no mechanism of AUTH in common: we have SCRAM-SHA-256 PLAIN, the host LOGIN`},
		{name: "one insisted on", offered: all, password: true, tls: true, mechanisms: []string{"login"}, want: "LOGIN -"},
		{name: "one insisted on, not offered", offered: "PLAIN", password: true, mechanisms: []string{"SCRAM-SHA-256"}, err: `we have SCRAM-SHA-256, the host PLAIN`},
		{name: "-PLUS insisted on, stripped", offered: "PLAIN SCRAM-SHA-256", password: true, tls: true, mechanisms: []string{"SCRAM-SHA-256-PLUS"}, err: `we have SCRAM-SHA-256-PLUS, the host PLAIN SCRAM-SHA-256`},
		{name: "-PLUS insisted on, in clear", offered: all, password: true, mechanisms: []string{"SCRAM-SHA-256-PLUS"}, err: `Credentials.Mechanisms is ["SCRAM-SHA-256-PLUS"], and none is usable`},
		{name: "none wanted", offered: all, password: true, mechanisms: []string{}, err: "Credentials.Mechanisms is [], and none is usable"},
		{name: "token", offered: all, token: true, tls: true, want: "OAUTHBEARER n,a=ann,^auth=Bearer tok^^"},
		{name: "token, XOAUTH2 alone", offered: "PLAIN XOAUTH2", token: true, want: "XOAUTH2 user=ann^auth=Bearer tok^^"},
		{name: "token for another", offered: all, token: true, identity: "bob", want: "OAUTHBEARER n,a=bob,^auth=Bearer tok^^"},
		{name: "token for another, XOAUTH2 alone", offered: "XOAUTH2", token: true, identity: "bob", err: "no mechanism of AUTH in common"},
		{name: "token, password wanted", offered: "PLAIN LOGIN", token: true, err: `we have OAUTHBEARER XOAUTH2, the host PLAIN LOGIN`},
		{name: "both", offered: all, password: true, token: true, want: "SCRAM-SHA-256 n,,n=ann,r=N"},
		{name: "both, no SCRAM", offered: "PLAIN LOGIN XOAUTH2", password: true, token: true, want: "XOAUTH2 user=ann^auth=Bearer tok^^"},
		{name: "nothing", offered: all, err: "neither Password nor Token"},
		{name: "nothing offered", offered: "", password: true, err: `no mechanism of AUTH in common: we have SCRAM-SHA-256 PLAIN LOGIN, the host none`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := &Credentials{Username: "ann", AuthorizationID: test.identity, Mechanisms: test.mechanisms, nonce: "N"}
			if test.password {
				c.Password = "secret"
			}
			if test.token {
				c.Token = func(context.Context) (string, error) { return "tok", nil }
			}
			var state *tls.ConnectionState
			if test.tls {
				state = &bound
			}
			client, err := c.Begin(t.Context(), smtp.AuthHost{Mechanisms: strings.Fields(test.offered), TLS: state})
			if err != nil {
				if test.err == "" || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v, want %q", err, test.err)
				}
				return
			}
			mech, ir, err := client.Start()
			got := mech + " " + strings.NewReplacer("\x00", "|", "\x01", "^").Replace(string(ir))
			if ir == nil {
				got += "-"
			}
			if got != test.want || err != nil {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
}

// TestCredentialsNil: a nil pointer in an Auth is an error of the delivery, and ends no program.
func TestCredentialsNil(t *testing.T) {
	var none *Credentials
	var auth smtp.Auth = none
	if _, err := auth.Begin(t.Context(), smtp.AuthHost{Mechanisms: []string{"PLAIN"}}); err == nil {
		t.Error("got no error")
	}
}

// TestCredentialsRefused: fields that would be ambiguous on the wire are refused before anything is sent. The error
// doesn't contain them.
func TestCredentialsRefused(t *testing.T) {
	tests := []struct {
		name            string
		mech            string
		user, id        string
		password, token string
		want            string
	}{
		{name: "PLAIN, NUL in the name", mech: "PLAIN", user: "a\x00b", password: "hidden", want: "NUL"},
		{name: "PLAIN, NUL in the password", mech: "PLAIN", user: "a", password: "hid\x00den", want: "NUL"},
		{name: "PLAIN, NUL in the identity", mech: "PLAIN", user: "a", id: "b\x00", password: "hidden", want: "NUL"},
		{name: "PLAIN, no name", mech: "PLAIN", password: "hidden", want: "Username is empty"},
		{name: "LOGIN, no name", mech: "LOGIN", password: "hidden", want: "Username is empty"},
		{name: "SCRAM, no name", mech: scram.SHA256, password: "hidden", want: "Username is empty"},
		{name: "SCRAM, line end", mech: scram.SHA256, user: "ann", password: "hidden\n", want: "Password: has control characters"},
		{name: "XOAUTH2, no name", mech: xoauth2, token: "hidden", want: "Username is empty"},
		{name: "XOAUTH2, field in the name", mech: xoauth2, user: "ann\x01auth=Bearer x", token: "hidden", want: "control character"},
		{name: "XOAUTH2, field in the token", mech: xoauth2, user: "ann", token: "hidden\x01x=y", want: "returned an empty token"},
		{name: "OAUTHBEARER, field in the name", mech: sasl.OAuthBearer, user: "ann\x01host=x", token: "hidden", want: "control character"},
		{name: "OAUTHBEARER, field in the identity", mech: sasl.OAuthBearer, user: "ann", id: "b\x01", token: "hidden", want: "control character"},
		{name: "OAUTHBEARER, field in the token", mech: sasl.OAuthBearer, user: "ann", token: "hid\x01den", want: "returned an empty token"},
		{name: "token of a file", mech: sasl.OAuthBearer, user: "ann", token: "hidden\n", want: "returned an empty token"},
		{name: "token of two words", mech: sasl.OAuthBearer, user: "ann", token: "Bearer hidden", want: "returned an empty token"},
		{name: "no token", mech: sasl.OAuthBearer, user: "ann", token: "-", want: "Credentials.Token: out of them"},
		{name: "empty token", mech: sasl.OAuthBearer, user: "ann", token: "", want: "returned an empty token"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := &Credentials{Username: test.user, Password: test.password, AuthorizationID: test.id}
			if test.password == "" {
				c.Token = func(context.Context) (string, error) {
					if test.token == "-" {
						return "", errors.New("out of them")
					}
					return test.token, nil
				}
			}
			_, err := c.Begin(t.Context(), smtp.AuthHost{Mechanisms: []string{test.mech}})
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hid") {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// TestOAuthBearerName: the name is a saslname (RFC 7628 §3.1).
func TestOAuthBearerName(t *testing.T) {
	c := withCredential(nil, "token", "tok")
	c.Username = "a=b,c"
	client, err := c.Begin(t.Context(), smtp.AuthHost{Mechanisms: []string{sasl.OAuthBearer}})
	if err != nil {
		t.Fatal(err)
	}
	mech, ir, err := client.Start()
	if want := "n,a=a=3Db=2Cc,\x01auth=Bearer tok\x01\x01"; mech != "OAUTHBEARER" || string(ir) != want || err != nil {
		t.Errorf("got %s %q, %v, want %q", mech, ir, err, want)
	}
}

func TestCredentialsPrinted(t *testing.T) {
	c := withCredential(withCredential(nil, "password", "hidden"), "identity", "bob")
	var b strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
		fmt.Fprintf(&b, verb+verb+"\n", c, *c)
	}
	slog.New(slog.NewTextHandler(&b, nil)).Info("", "by value", *c, "by pointer", c)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("", "by value", *c, "by pointer", c)
	fmt.Fprintf(&b, "%+v", Submission{Auth: c})
	if got := b.String(); strings.Contains(got, "hidden") || !strings.Contains(got, `credentials of "ann"`) {
		t.Errorf("got\n%s", got)
	}
}

func TestBearerChallenge(t *testing.T) {
	tests := []struct {
		name, challenge, want string
	}{
		{"name", `{"status":"invalid_token","scope":"x"}`, "the host refuses the token: invalid_token"},
		{"code", `{"status":"401","schemes":"bearer"}`, "the host refuses the token: 401"},
		{"number", `{"status":400}`, "the host refuses the token: 400"},
		{"the token", `{"status":"` + strings.Repeat("t", 50) + `"}`, "the host refuses the token: an error without a name"},
		{"control characters", `{"status":"a\u001b[1m"}`, "the host refuses the token: an error without a name"},
		{"none", `{}`, "the host refuses the token: an error without a name"},
		{"null", `null`, "the host refuses the token: an error without a name"},
		{"list", `[]`, "the host's challenge isn't an error in JSON"},
		{"empty", ``, "the host's challenge isn't an error in JSON"},
	}
	for _, mech := range []string{xoauth2, sasl.OAuthBearer} {
		for _, test := range tests {
			t.Run(mech+", "+test.name, func(t *testing.T) {
				client, err := withCredential(nil, "token", "tok").Begin(t.Context(), smtp.AuthHost{Mechanisms: []string{mech}})
				if err != nil {
					t.Fatal(err)
				}
				last := map[string]string{xoauth2: "", sasl.OAuthBearer: "\x01"}[mech]
				response, err := client.Next([]byte(test.challenge))
				if err == nil || !strings.HasSuffix(err.Error(), test.want) || response == nil || string(response) != last {
					t.Errorf("got %q, %v, want %q and %q", response, err, last, test.want)
				}
				if response, err := client.Next(nil); response != nil || err == nil {
					t.Errorf("a second challenge: got %q, %v", response, err)
				}
			})
		}
	}
}

// FuzzBearer has a host that answers a token with any challenge. The response is the last one, and the error is short
// and printable ASCII.
func FuzzBearer(f *testing.F) {
	for _, s := range []string{`{"status":"invalid_token"}`, `{"status":400}`, `{"status":{"a":[1]}}`, `{"STATUS":"x"}`, `{`, ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, challenge []byte) {
		client, err := withCredential(nil, "token", "tok").Begin(t.Context(), smtp.AuthHost{Mechanisms: []string{xoauth2}})
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Next(challenge)
		if response == nil || len(response) > 0 || err == nil {
			t.Fatalf("got %q, %v", response, err)
		}
		if s := err.Error(); len(s) > 100 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("got %q", s)
		}
	})
}
