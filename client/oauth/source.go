package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"
)

// Values for the fields of a Source.
const (
	GoogleURL      = "https://oauth2.googleapis.com/token"
	GoogleScope    = "https://mail.google.com/"
	MicrosoftScope = "https://outlook.office365.com/.default" // of an application without a user
)

// MicrosoftURL returns the TokenURL of a tenant, which is a domain such as "contoso.onmicrosoft.com", or an ID.
func MicrosoftURL(tenant string) string {
	return "https://login.microsoftonline.com/" + url.PathEscape(tenant) + "/oauth2/v2.0/token"
}

const (
	defaultTimeout = 10 * time.Second
	early          = 5 * time.Minute  // before the end of a token, at which it is refreshed
	noExpiry       = 5 * time.Minute  // the life of a token of which none is known
	pauseFailed    = 10 * time.Second // after a failure
	pausePerson    = time.Minute      // after one that a person has to mend
	minAge         = time.Minute      // from which a refused token is replaced
)

// Source returns access tokens. Token is the Token of client.Credentials. A Source may be used by several goroutines,
// and must not be copied. Fields must not change after the first use. Package fmt prints its ClientID only.
//
// With a RefreshToken it acts for the user who consented, with a ServiceAccount for Subject, and otherwise for the
// application itself (client credentials).
type Source struct {
	// TokenURL is the token endpoint: [GoogleURL], [MicrosoftURL] or that of another server. It begins with "https://",
	// except for a loopback address. If empty, that of ServiceAccount.
	TokenURL string

	// ClientID and ClientSecret are those of the application. With RefreshToken, ClientSecret may be empty.
	ClientID, ClientSecret string

	// Scopes are what the token is for. With a RefreshToken they are those of the consent, and aren't sent.
	Scopes []string

	// RefreshToken is the refresh token of a user.
	RefreshToken string

	// Rotated is called with a new refresh token, which replaces the one before, so that the program can store it.
	// Microsoft returns one each time, Google doesn't. If nil, it is lost when the process ends, and the older one may
	// have expired by then. An error is the error of Token, which fetches anew 10 seconds later. Rotated is
	// called by one goroutine at a time.
	Rotated func(ctx context.Context, refreshToken string) error

	// ServiceAccount is the content of the key file of a service account, in JSON.
	ServiceAccount []byte

	// Subject is the user for whom a ServiceAccount acts.
	Subject string

	// Timeout is the time for one request. If zero, 10 seconds.
	Timeout time.Duration

	// HTTPClient makes the requests. If nil, [http.DefaultClient].
	HTTPClient *http.Client

	once  sync.Once
	grant grant
	err   error         // of Check
	turn  chan struct{} // holds one value; taken by whoever fetches

	mu      sync.Mutex
	token   string // "": none
	end     time.Time
	refresh time.Time // from which it is refreshed
	got     time.Time
	version int // of token; 0: none yet
	failed  error
	again   time.Time // before which failed is returned
}

// Format prints the ClientID only, with every verb, so that no log has a secret.
func (s *Source) Format(f fmt.State, _ rune) {
	if s == nil {
		fmt.Fprint(f, "<nil>")
		return
	}
	fmt.Fprintf(f, "oauth source of client %q", s.ClientID)
}

// Check returns an error if the fields can't be used. It asks nobody: call Token to see whether there is a token.
func (s *Source) Check() error {
	if s == nil {
		return errors.New("oauth: the Source is nil: set its fields")
	}
	s.once.Do(s.prepare)
	return s.err
}

func (s *Source) prepare() {
	s.turn = make(chan struct{}, 1)
	s.turn <- struct{}{}
	s.grant, s.err = s.newGrant()
}

// checkURL returns an error unless a secret may be sent to the URL.
func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return fmt.Errorf("oauth: TokenURL is %.100q: set it to GoogleURL, MicrosoftURL or another https URL", text)
	}
	ip, err := netip.ParseAddr(u.Hostname())
	if u.Scheme != "https" && !(u.Scheme == "http" && err == nil && ip.IsLoopback()) {
		return fmt.Errorf("oauth: TokenURL is %.100q: set it to an https URL, so that nobody learns the secret", text)
	}
	return nil
}

// Token returns an access token that is valid for a while: the one that it keeps, or a new one. If the one that it
// keeps expires within 5 minutes, or has less than half of its life left, it is refreshed; if that fails, it is
// returned. Steps of the wall clock don't matter for that.
//
// An error is an *Error, or that of Check.
func (s *Source) Token(ctx context.Context) (string, error) {
	if err := s.Check(); err != nil {
		return "", err
	}
	token, valid, fresh, err := s.kept(time.Now())
	switch {
	case fresh:
		return token, nil
	case err != nil && !valid:
		return "", err
	case err != nil: // the refresh failed lately
		return token, nil
	case valid:
		select {
		case <-s.turn:
		default: // another goroutine refreshes it
			return token, nil
		}
	default:
		select {
		case <-s.turn:
		case <-ctx.Done():
			return "", &Error{Kind: Network, Err: context.Cause(ctx)}
		}
	}
	defer func() { s.turn <- struct{}{} }()
	return s.renew(ctx)
}

// renew fetches a token, unless another goroutine has just done so. The caller has the turn.
func (s *Source) renew(ctx context.Context) (string, error) {
	token, valid, fresh, err := s.kept(time.Now())
	switch {
	case fresh:
		return token, nil
	case err != nil && valid:
		return token, nil
	case err != nil:
		return "", err
	}
	fetched, err := s.fetch(ctx)
	if err == nil {
		return s.keep(fetched), nil
	}
	if ctx.Err() == nil { // else it says nothing about the server
		s.fail(err)
	}
	if valid {
		return token, nil
	}
	return "", err
}

// kept returns the token that is kept, whether it is valid, and whether it needs no refresh; and the last failure, if
// no fetch may begin yet.
func (s *Source) kept(now time.Time) (token string, valid, fresh bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil && now.Before(s.again) {
		err = s.failed
	}
	valid = s.token != "" && now.Before(s.end)
	return s.token, valid, valid && now.Before(s.refresh), err
}

func (s *Source) keep(f fetched) string {
	now := time.Now()
	if f.end.IsZero() {
		f.end = now.Add(noExpiry)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token, s.end, s.got, s.failed = f.token, f.end, now, nil
	s.refresh = f.end.Add(-min(early, f.end.Sub(now)/2))
	s.version++
	return s.token
}

func (s *Source) fail(err error) {
	pause := pauseFailed
	if e, ok := errors.AsType[*Error](err); ok && !e.Temporary() {
		pause = pausePerson
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed, s.again = err, time.Now().Add(pause)
}
