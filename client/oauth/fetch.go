package oauth

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/oauth2/jwt"
)

// grant fetches a token with the HTTP client in ctx (oauth2.HTTPClient). Only whoever has the turn calls it.
type grant func(ctx context.Context) (*oauth2.Token, error)

// newGrant returns the grant of the fields.
func (s *Source) newGrant() (grant, error) {
	if s.Timeout < 0 {
		return nil, fmt.Errorf("oauth: Timeout is %s: set it above 0, or to 0 for the default", s.Timeout)
	}
	if len(s.ServiceAccount) > 0 {
		return s.serviceAccount()
	}
	if s.Subject != "" {
		return nil, errors.New("oauth: Subject is set without ServiceAccount: set both or neither")
	}
	if s.ClientID == "" {
		return nil, errors.New("oauth: ClientID is empty: set it to that of the application")
	}
	if err := checkURL(s.TokenURL); err != nil {
		return nil, err
	}
	if s.RefreshToken != "" {
		return s.refreshed(), nil
	}
	if s.Rotated != nil {
		return nil, errors.New("oauth: Rotated is set without RefreshToken: set both, or leave Rotated nil")
	}
	if s.ClientSecret == "" {
		return nil, errors.New("oauth: ClientSecret, RefreshToken and ServiceAccount are empty: set one of them")
	}
	if len(s.Scopes) == 0 {
		return nil, errors.New("oauth: Scopes is empty: set it, to MicrosoftScope for example")
	}
	c := &clientcredentials.Config{
		ClientID: s.ClientID, ClientSecret: s.ClientSecret, TokenURL: s.TokenURL, Scopes: s.Scopes,
		AuthStyle: oauth2.AuthStyleInParams, // without it, a wrong secret would cost two requests
	}
	return c.Token, nil
}

// refreshed is the grant of RFC 6749 §6.
func (s *Source) refreshed() grant {
	c := &oauth2.Config{
		ClientID: s.ClientID, ClientSecret: s.ClientSecret,
		Endpoint: oauth2.Endpoint{TokenURL: s.TokenURL, AuthStyle: oauth2.AuthStyleInParams},
	}
	last := s.RefreshToken
	return func(ctx context.Context) (*oauth2.Token, error) {
		token, err := c.TokenSource(ctx, &oauth2.Token{RefreshToken: last}).Token()
		if err != nil || token.RefreshToken == last {
			return token, err
		}
		last = token.RefreshToken // even if Rotated fails: the server may have ended the one before
		if s.Rotated != nil {
			if err := s.Rotated(ctx, last); err != nil {
				return nil, &Error{Kind: NotStored, Err: err}
			}
		}
		return token, nil
	}
}

// serviceAccount is the grant of RFC 7523 with the key in ServiceAccount.
func (s *Source) serviceAccount() (grant, error) {
	if s.RefreshToken != "" || s.Rotated != nil {
		return nil, errors.New("oauth: ServiceAccount and RefreshToken or Rotated are set: set one of them")
	}
	var key struct {
		Email string `json:"client_email"`
		ID    string `json:"private_key_id"`
		Key   string `json:"private_key"`
		URL   string `json:"token_uri"`
	}
	if err := json.Unmarshal(s.ServiceAccount, &key); err != nil || key.Email == "" {
		return nil, errors.New("oauth: ServiceAccount isn't the JSON of a key file: set it to the content of the file")
	}
	if !isRSA(key.Key) {
		return nil, errors.New("oauth: ServiceAccount has no private_key of RSA in PEM: make a new key for the account")
	}
	if s.TokenURL != "" {
		key.URL = s.TokenURL
	}
	if err := checkURL(key.URL); err != nil {
		return nil, err
	}
	if len(s.Scopes) == 0 {
		return nil, errors.New("oauth: Scopes is empty: set it, to GoogleScope for example")
	}
	if s.Subject == "" {
		return nil, errors.New("oauth: Subject is empty: set it to the address of the user whose mail is sent")
	}
	c := &jwt.Config{
		Email: key.Email, PrivateKey: []byte(key.Key), PrivateKeyID: key.ID, Subject: s.Subject, Scopes: s.Scopes,
		TokenURL: key.URL,
	}
	return func(ctx context.Context) (*oauth2.Token, error) { return c.TokenSource(ctx).Token() }, nil
}

// isRSA reports whether a key is one that package jwt takes.
func isRSA(key string) bool {
	block, _ := pem.Decode([]byte(key))
	if block == nil {
		return false
	}
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		private, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	_, ok := private.(*rsa.PrivateKey)
	return err == nil && ok
}

// fetched is a new token.
type fetched struct {
	token string
	end   time.Time
}

// fetch gets a token. An error is an *Error.
func (s *Source) fetch(ctx context.Context) (fetched, error) {
	timeout := s.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	client := http.Client{}
	if s.HTTPClient != nil {
		client = *s.HTTPClient
	}
	base := client.Transport
	if base == nil {
		base = http.DefaultTransport
	}
	// Package jwt makes requests without a context.
	answered := false
	client.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		response, err := base.RoundTrip(r.WithContext(ctx))
		answered = err == nil
		return response, err
	})
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	token, err := s.grant(context.WithValue(ctx, oauth2.HTTPClient, &client))
	if err != nil {
		return fetched{}, newError(ctx, err, answered)
	}
	end := endOf(token, time.Now())
	switch {
	case token.AccessToken == "" || len(token.AccessToken) > maxToken ||
		strings.ContainsFunc(token.AccessToken, isNoGraphic):
		return fetched{}, &Error{Kind: Malformed, Err: errors.New("the answer has no access token that can be sent")}
	case !end.IsZero() && !end.After(time.Now()):
		return fetched{}, &Error{Kind: Malformed, Err: errors.New("the answer has a token that has expired already")}
	case token.Type() != "Bearer": // RFC 6749 §7.1: it must not be used. If the answer has no type, it is Bearer.
		err := fmt.Errorf("the token's type is %.50q, not Bearer", token.Type())
		return fetched{}, &Error{Kind: Malformed, Err: err}
	}
	return fetched{token.AccessToken, end}, nil
}

// endOf returns the end of a token that came now, zero if none is known. It has a monotonic reading: a step of the wall
// clock neither ends a token nor keeps one. So expires_in counts, and not the time in an ID token beside it.
func endOf(token *oauth2.Token, now time.Time) time.Time {
	if seconds, ok := token.Extra("expires_in").(float64); ok && seconds >= 1 {
		return now.Add(time.Duration(min(seconds, maxLife.Seconds()) * float64(time.Second)))
	}
	if token.Expiry.IsZero() {
		return time.Time{}
	}
	return now.Add(min(token.Expiry.Sub(now), maxLife))
}

// maxLife bounds what is believed of the life of a token.
const maxLife = 365 * 24 * time.Hour

// maxToken bounds a token in octets: in base64, with the name of the user, it must fit into the 12,288 octets of a line
// of AUTH (RFC 4954 §4).
const maxToken = 8 << 10

// isNoGraphic reports whether r may not be in a token (RFC 6750 §2.1 allows even fewer).
func isNoGraphic(r rune) bool { return r <= ' ' || r > '~' }

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
