package compose

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/postrider/postrider/smtp"
)

// Unsubscribe ends subscriptions: by one click in a mail program (RFC 8058), which Gmail and Yahoo demand of
// newsletters, or on a web page. It makes links with a signed token, and is the http.Handler that answers them.
//
// A token has the address and the list in readable form, and a signature: HMAC-SHA256, truncated to 128 bits. A token
// doesn't expire, since people unsubscribe from old mails. The fields must not change after the first use. All methods
// may be called concurrently.
type Unsubscribe struct {
	// URL is the address at which the Unsubscribe is served, with "https" (RFC 8058 §3.1). The token is added to its
	// query as "u".
	URL string

	// Mailto is an address for mail programs without one-click: they send a mail with the subject "unsubscribe TOKEN".
	// The reader of that mail calls Read. If empty, there is no such address.
	Mailto string

	// Keys are secrets of at least 16 octets. The first one signs, and all of them verify. To replace a key, put the
	// new one first.
	Keys [][]byte

	// Handle ends a subscription, and returns when that is durable. It may be called more than once for one, and at the
	// same time. After an error, the answer is 503.
	Handle func(ctx context.Context, s Subscription) error

	// Page asks a person for confirmation, and then confirms the end of the subscription. Its data is a [Page]. It
	// needs a form with method="post" and the field List-Unsubscribe=One-Click. If nil, it is a page in English.
	Page *template.Template

	// Logger gets the errors of Handle and of Page. If nil, they are lost.
	Logger *slog.Logger
}

// Subscription is what a token names.
type Subscription struct {
	Address string // of the subscriber, with its domain as A-labels
	List    string // the ListID of the Message
}

// Page is the data of Unsubscribe.Page.
type Page struct {
	Subscription
	Done bool // the subscription has ended
}

const (
	minKey  = 16 // octets, RFC 2104 §3
	macLen  = 16
	maxLink = 900 // characters
	maxPost = 64 << 10
)

// Check returns an error for the first field that is wrong. URL and Keys must be set to compose, and Handle to serve.
func (u *Unsubscribe) Check() error {
	if err := u.check(); err != nil {
		return fmt.Errorf("compose: Unsubscribe.%w", err)
	}
	return nil
}

func (u *Unsubscribe) check() error {
	parsed, err := url.Parse(u.URL)
	switch {
	case err != nil:
		return fmt.Errorf("URL: %w", err)
	case parsed.Query().Has("u"):
		return fmt.Errorf("URL %.100q has a u in its query, which is the name of the token's: take another", u.URL)
	case parsed.Scheme != "https" || parsed.Host == "" || parsed.Fragment != "" || !isToken(u.URL) ||
		strings.ContainsAny(u.URL, "<>"):
		return fmt.Errorf("URL %.100q: want one in ASCII that begins with https:// and has no fragment", u.URL)
	}
	if u.Mailto != "" {
		if err := smtp.CheckAddress(u.Mailto); err != nil {
			return fmt.Errorf("Mailto: %w", err)
		}
		if !isToken(u.Mailto) || strings.ContainsAny(u.Mailto, `"<>?&%,`) {
			return fmt.Errorf("Mailto %.100q: want letters, digits and dots", u.Mailto)
		}
	}
	if len(u.Keys) == 0 {
		return fmt.Errorf("Keys is empty: set it to a secret of at least %d random octets", minKey)
	}
	for i, key := range u.Keys {
		if len(key) < minKey {
			return fmt.Errorf("Keys[%d] has %d octets: set it to at least %d random ones", i, len(key), minKey)
		}
	}
	return nil
}

// token returns the signed token of a subscription.
func (u *Unsubscribe) token(s Subscription) (string, error) {
	if err := u.Check(); err != nil {
		return "", err
	}
	address, _ := smtp.ASCIIAddress(s.Address)
	if err := smtp.CheckAddress(address); err != nil {
		return "", fmt.Errorf("compose: Subscription.Address: %w", err)
	}
	if err := checkText("List", s.List); err != nil {
		return "", fmt.Errorf("compose: Subscription.%w", err)
	}
	content := address + "\x00" + s.List
	return base64.RawURLEncoding.EncodeToString(append(sign(u.Keys[0], content), content...)), nil
}

func sign(key []byte, content string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("postrider unsubscribe\x00" + content)) // the key may sign other things, too
	return mac.Sum(nil)[:macLen]
}

// ErrToken is the error of a token that none of the Keys has signed.
var ErrToken = errors.New("compose: the token isn't signed by one of the keys")

// Read returns the subscription of a token. The error is [ErrToken], or that of Check.
func (u *Unsubscribe) Read(token string) (Subscription, error) {
	if err := u.Check(); err != nil {
		return Subscription{}, err
	}
	if len(token) > maxLink { // no link has it, so a stranger has us compute
		return Subscription{}, ErrToken
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) < macLen {
		return Subscription{}, ErrToken
	}
	mac, content := b[:macLen], string(b[macLen:])
	ok := false
	for _, key := range u.Keys {
		ok = hmac.Equal(mac, sign(key, content)) || ok
	}
	address, list, two := strings.Cut(content, "\x00")
	if !ok || !two {
		return Subscription{}, ErrToken
	}
	return Subscription{address, list}, nil
}

// Link returns the link of a subscription, for the text of the mail.
func (u *Unsubscribe) Link(s Subscription) (string, error) {
	token, err := u.token(s)
	if err != nil {
		return "", err
	}
	return u.link(token)
}

func (u *Unsubscribe) link(token string) (string, error) {
	parsed, err := url.Parse(u.URL)
	if err != nil {
		return "", err
	}
	if parsed.RawQuery != "" {
		parsed.RawQuery += "&"
	}
	parsed.RawQuery += "u=" + token
	link := parsed.String()
	if len(link) > maxLink {
		return "", fmt.Errorf("compose: Unsubscribe: the link has %d octets, at most %d: take a shorter URL or ListID",
			len(link), maxLink)
	}
	return link, nil
}

func (m *Message) checkUnsubscribe() error {
	if m.Unsubscribe == nil {
		return nil
	}
	if len(m.To) != 1 || len(m.Cc)+len(m.Bcc) > 0 {
		return errors.New("Unsubscribe is set, and its link is for one recipient: set To to one, and no Cc and Bcc")
	}
	if err := m.Unsubscribe.check(); err != nil {
		return fmt.Errorf("Unsubscribe.%w", err)
	}
	return nil
}

// unsubscribe writes List-Unsubscribe (RFC 2369 §3.2) and List-Unsubscribe-Post (RFC 8058 §3.1).
func (m *Message) unsubscribe(h *builder) error {
	token, err := m.Unsubscribe.token(Subscription{m.To[0].Address, m.ListID})
	if err != nil {
		return err
	}
	link, err := m.Unsubscribe.link(token)
	if err != nil {
		return err
	}
	words := []string{"<" + link + ">"}
	if m.Unsubscribe.Mailto != "" {
		mailto := "<mailto:" + m.Unsubscribe.Mailto + "?subject=unsubscribe%20" + token + ">"
		if len(mailto) > maxToken {
			return fmt.Errorf("ListID and Unsubscribe.Mailto make a link of %d octets, at most %d: "+
				"take a shorter ListID", len(mailto), maxToken)
		}
		words = []string{words[0] + ",", mailto}
	}
	h.field("List-Unsubscribe", words...)
	h.field("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")
	return nil
}

// ServeHTTP answers a click. A POST with List-Unsubscribe=One-Click (RFC 8058 §3.2) calls Handle. A GET only shows the
// page: virus scanners follow all links, and must not unsubscribe anybody. The body of a POST has at most 64 KiB.
func (u *Unsubscribe) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "no-referrer") // the address of the page is the secret of one person
	header.Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodPost {
		header.Set("Allow", "GET, HEAD, POST")
		http.Error(w, "the method isn't allowed", http.StatusMethodNotAllowed)
		return
	}
	s, err := u.Read(r.URL.Query().Get("u"))
	if errors.Is(err, ErrToken) {
		http.Error(w, "this link isn't valid: copy all of it", http.StatusNotFound)
		return
	}
	if err == nil && u.Handle == nil {
		err = errors.New("compose: Unsubscribe.Handle is nil: set it to what ends a subscription")
	}
	if err != nil {
		u.fail(w, r, err)
		return
	}
	if r.Method == http.MethodPost {
		r.Body = http.MaxBytesReader(w, r.Body, maxPost)
		if r.PostFormValue("List-Unsubscribe") != "One-Click" {
			http.Error(w, "List-Unsubscribe=One-Click is missing", http.StatusBadRequest)
			return
		}
		if err := u.Handle(r.Context(), s); err != nil {
			u.fail(w, r, err)
			return
		}
	}
	page := u.Page
	if page == nil {
		page = english
	}
	header.Set("Content-Type", "text/html; charset=utf-8")
	if err := page.Execute(w, Page{s, r.Method == http.MethodPost}); err != nil && u.Logger != nil {
		u.Logger.WarnContext(r.Context(), "the page to unsubscribe failed", "error", err)
	}
}

func (u *Unsubscribe) fail(w http.ResponseWriter, r *http.Request, err error) {
	if u.Logger != nil {
		u.Logger.ErrorContext(r.Context(), "an unsubscription failed", "error", err)
	}
	http.Error(w, "that failed: try again later", http.StatusServiceUnavailable)
}
