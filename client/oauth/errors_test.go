package oauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// TestFailures: each answer has its kind, and no error has a secret.
func TestFailures(t *testing.T) {
	var status atomic.Int32
	var body, kind atomic.Value
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", kind.Load().(string))
		w.Header().Set("Location", "http://192.0.2.1/")
		w.WriteHeader(int(status.Load()))
		io.WriteString(w, body.Load().(string))
	}))
	defer srv.Close()
	file := keyFile(t, srv.URL)
	for _, tt := range []struct {
		name   string
		status int
		body   string
		want   Kind
		text   string
	}{
		{"secret expired", 401, `{"error":"invalid_client","error_description":"AADSTS7000222: The provided client secret keys are expired."}`, InvalidClient, "invalid_client: AADSTS7000222"},
		{"no such application", 400, `{"error":"unauthorized_client","error_description":"AADSTS700016: Application not found."}`, InvalidClient, "tenant"},
		{"no such tenant", 400, `{"error":"invalid_request","error_description":"AADSTS90002: Tenant not found."}`, InvalidClient, "tenant"},
		{"no consent at Microsoft", 400, `{"error":"invalid_grant","error_description":"AADSTS65001: not consented","suberror":"consent_required"}`, NoConsent, "administrator"},
		{"no delegation at Google", 401, `{"error":"unauthorized_client","error_description":"Client is unauthorized to retrieve access tokens using this method"}`, NoConsent, "delegate"},
		{"revoked", 400, `{"error":"invalid_grant","error_description":"Token has been expired or revoked."}`, InvalidGrant, "sign in again"},
		{"scope", 400, `{"error":"invalid_scope"}`, InvalidScope, "Scopes"},
		{"another code", 400, `{"error":"unsupported_grant_type"}`, Refused, "unsupported_grant_type"},
		{"an error with 200", 200, `{"error":"invalid_grant"}`, InvalidGrant, ""},
		{"too many", 429, `{"error":"slow_down"}`, Unavailable, "later"},
		{"down", 503, `<html>`, Unavailable, "503"},
		{"a web page", 200, `<html>secret-token`, Malformed, "TokenURL"},
		{"not found", 404, `<html>secret-token`, Malformed, "404"},
		{"redirect", 302, ``, Malformed, "302"},
		{"no token", 200, `{"access_token":""}`, Malformed, ""},
		{"a token with a line end", 200, `{"access_token":"secret-token\n"}`, Malformed, ""},
		{"a long token", 200, `{"access_token":"` + strings.Repeat("x", maxToken+1) + `"}`, Malformed, ""},
		{"expired already", 200, `{"access_token":"secret-token","expires_in":-5}`, Malformed, "expired already"},
		{"another type", 200, `{"access_token":"secret-token","token_type":"DPoP"}`, Malformed, `"DPoP", not Bearer`},
		{"half a token", 200, `{"access_token":"secret-token`, Malformed, ""},
		{"hostile text", 400, `{"error":"a\nb","error_description":"` + strings.Repeat("x\\n\u0100", 1000) + `"}`, Refused, "a b: x"},
	} {
		for _, source := range []*Source{
			{TokenURL: srv.URL, ClientID: "id", ClientSecret: "secret-1", Scopes: []string{"a"}},
			{TokenURL: srv.URL, ClientID: "id", ClientSecret: "secret-1", RefreshToken: "secret-2"},
			{ServiceAccount: file, Subject: "a@example.com", Scopes: []string{"a"}},
		} {
			if source.ServiceAccount != nil && tt.status == 200 &&
				(strings.Contains(tt.body, `"error"`) || tt.name == "expired already") {
				continue // package jwt takes a 200 for a token, and this end for none
			}
			t.Run(tt.name, func(t *testing.T) {
				status.Store(int32(tt.status))
				body.Store(tt.body)
				kind.Store("application/json")
				token, err := source.Token(t.Context())
				e, ok := errors.AsType[*Error](err)
				if !ok || e.Kind != tt.want || token != "" || !strings.Contains(err.Error(), tt.text) {
					t.Errorf("got %q, %v, want %s and %q", token, err, tt.want, tt.text)
				}
				if s := fmt.Sprintf("%v %+v", err, source); strings.Contains(s, "secret-") || len(s) > 500 || strings.Contains(s, "\n") {
					t.Errorf("got %s, want no secret, on one line", s)
				}
				asked := status.Load()
				status.Store(200)
				if _, again := source.Token(t.Context()); again == nil || again.Error() != err.Error() {
					t.Errorf("got %v at once, want the same error as before, without a request (%d)", again, asked)
				}
			})
		}
	}
	srv.Close()
	s := &Source{TokenURL: srv.URL, ClientID: "id", ClientSecret: "secret", Scopes: []string{"a"}}
	if _, err := s.Token(t.Context()); err == nil || err.(*Error).Kind != Network {
		t.Errorf("got %v, want Network", err)
	}
}

// TestCheck: fields that can't be used are named.
func TestCheck(t *testing.T) {
	file := keyFile(t, GoogleURL)
	for want, s := range map[string]*Source{
		"Source":                  nil,
		"ClientID":                {},
		"TokenURL":                {ClientID: "id"},
		"TokenURL is \"http://l":  {ClientID: "id", TokenURL: "http://login.example/token"},
		"TokenURL is \"http://lo": {ClientID: "id", TokenURL: "http://localhost/token"},
		"ClientSecret":            {ClientID: "id", TokenURL: GoogleURL},
		"Scopes":                  {ClientID: "id", TokenURL: GoogleURL, ClientSecret: "s"},
		"Subject is set":          {Subject: "a"},
		"Subject is empty":        {ServiceAccount: file, Scopes: []string{"a"}},
		"Scopes is empty":         {ServiceAccount: file},
		"isn't the JSON":          {ServiceAccount: []byte("key.json")},
		"private_key":             {ServiceAccount: []byte(`{"client_email":"a","private_key":"x"}`)},
		"RefreshToken":            {ServiceAccount: file, RefreshToken: "r"},
		"Rotated":                 {ClientID: "id", TokenURL: GoogleURL, Rotated: func(context.Context, string) error { return nil }},
		"Timeout":                 {Timeout: -1},
	} {
		_, err := s.Token(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("got %v, want an error about %s", err, want)
		}
	}
	if err := (&Source{TokenURL: MicrosoftURL("a b/c"), ClientID: "i", ClientSecret: "s", Scopes: []string{MicrosoftScope}}).Check(); err != nil {
		t.Error(err)
	}
}

// FuzzAnswer: any answer is a token that can be sent, or an Error that is short and has none.
func FuzzAnswer(f *testing.F) {
	f.Add(200, `{"access_token":"a","expires_in":"3600"}`, "application/json", false)
	f.Add(400, `{"error":"invalid_grant","error_description":"AADSTS65001"}`, "", true)
	f.Add(200, `access_token=a&expires_in=-1`, "text/plain", false)
	f.Add(503, `<html>`, "text/html", true)
	f.Fuzz(func(t *testing.T, status int, body, kind string, refresh bool) {
		a := &answers{answer: func(int, *http.Request) (int, string, error) { return status, body, nil }}
		s := newSource(a)
		if refresh {
			s.RefreshToken = "r"
		}
		base := a.RoundTrip
		s.HTTPClient = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			response, err := base(r)
			response.Header.Set("Content-Type", kind)
			return response, err
		})}
		token, err := s.Token(t.Context())
		e, ok := errors.AsType[*Error](err)
		switch {
		case err == nil && (token == "" || strings.ContainsAny(token, " \r\n")):
			t.Errorf("got token %q", token)
		case err != nil && (!ok || token != "" || len(e.Error()) > 500 || strings.ContainsAny(e.Error(), "\r\n")):
			t.Errorf("got %q, %q, want a short *Error", token, err)
		}
	})
}
