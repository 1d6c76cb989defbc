package webhook

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// Hooks are endpoints that get events about mail. Put its methods into a Runner or a Relay: see the package's doc. The
// fields must not change after the first call of a method. All methods may be called concurrently.
type Hooks struct {
	// Endpoints get events. Each has a Name of its own.
	Endpoints []*Endpoint

	// Source names this sender in Event.Data, for a receiver with several. If empty, events have none.
	Source string

	// MaxAge is how long an event is posted before it is a dead letter. If zero, 5 days.
	MaxAge time.Duration

	// Timeout bounds one request, from the lookup of the host to the header of the response. If zero, 15 seconds.
	Timeout time.Duration

	// Gone is called when an endpoint has answered 410 and is disabled. The process forgets that when it ends, so Gone
	// should make the program leave out the endpoint in future. It must not block. If nil, only the log has it.
	Gone func(endpoint string)

	// AllowPrivate allows endpoints at addresses of this machine and of private and reserved networks, and http URLs.
	// If false, a URL that a customer has chosen can't reach a server behind a firewall.
	AllowPrivate bool

	// RootCAs verify the certificates of endpoints. If nil, those of the system do.
	RootCAs *x509.CertPool

	// Resolver answers for the DNS. If nil, the system's name servers do.
	Resolver mx.Resolver

	// DialContext connects to an address. If nil, a net.Dialer does.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// Logger gets a line for each endpoint that is disabled, and each event that is kept. The Runner logs the attempts.
	// If nil, nothing is logged.
	Logger *slog.Logger

	once   sync.Once
	client *http.Client

	mu    sync.Mutex
	state map[string]state // by Name
}

// Endpoint is a URL that gets events.
type Endpoint struct {
	// Name names the endpoint in the queue: letters a to z, digits and "-", at most 63. Events that are queued go to
	// the endpoint that has the Name when they are posted.
	Name string

	// URL gets the events. It is an https URL, unless Hooks.AllowPrivate is set. User and password in it are sent.
	URL string

	// Secrets are the keys that sign: "whsec_" and base64 of 24 to 64 octets for HMAC-SHA256, or "whsk_" and base64 of
	// an Ed25519 private key, of 64 octets or its seed of 32. There must be one at least. NewSecret makes one.
	Secrets []string

	// Wants reports whether the endpoint gets an event: of this Type, or of a Tenant, for example. It must not block. A
	// panic is logged, and counts as true. If nil, it gets all.
	Wants func(*Event) bool
}

// domain is the domain of all addresses of endpoints. RFC 2606 §2: nobody has a name in ".invalid".
const domain = ".webhook.invalid"

func (e *Endpoint) destination() string { return "webhook:" + e.Name }
func (e *Endpoint) address() string     { return "events@" + e.Name + domain }

// Check returns an error for the first field that is wrong.
func (h *Hooks) Check() error {
	seen := make(map[string]bool)
	for i, e := range h.Endpoints {
		if e == nil {
			return fmt.Errorf("webhook: Endpoints[%d] is nil", i)
		}
		if err := h.check(e); err != nil {
			return fmt.Errorf("webhook: Endpoints[%d]: %w", i, err)
		}
		if seen[e.Name] {
			return fmt.Errorf("webhook: Endpoints[%d]: Name %q is that of another one: choose another", i, e.Name)
		}
		seen[e.Name] = true
	}
	switch {
	case h.MaxAge < 0:
		return fmt.Errorf("webhook: MaxAge is %v: it must be positive, or zero for 5 days", h.MaxAge)
	case h.Timeout < 0:
		return fmt.Errorf("webhook: Timeout is %v: it must be positive, or zero for 15 seconds", h.Timeout)
	}
	return nil
}

func (h *Hooks) check(e *Endpoint) error {
	odd := func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' }
	_, err := smtp.ASCIIDomain(e.Name + domain)
	if e.Name == "" || len(e.Name) > 63 || strings.ContainsFunc(e.Name, odd) || err != nil {
		return fmt.Errorf("Name is %q: use 1 to 63 of a to z, digits and hyphens, no hyphen first or last", e.Name)
	}
	u, err := url.Parse(e.URL)
	switch {
	case err != nil: // its text has the URL, which may have a password
		return errors.New("URL can't be read: set it to one like https://example.com/events")
	case u.Hostname() == "":
		return errors.New("URL has no host: set it to one like https://example.com/events")
	case u.Scheme != "https" && !(u.Scheme == "http" && h.AllowPrivate):
		return fmt.Errorf("URL has the scheme %q: use https", u.Scheme)
	case !portOK(u.Port()):
		return fmt.Errorf("URL has the port %s: use 1 to 65535", u.Port())
	case len(e.Secrets) == 0:
		return errors.New("Secrets is empty: set one, which NewSecret returns")
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err != nil {
		if name, err := smtp.ASCIIDomain(u.Hostname()); err != nil || !strings.EqualFold(name, u.Hostname()) {
			return fmt.Errorf("URL has the host %q: set it to a name of the DNS, as an A-label", u.Hostname())
		}
	} else if ip.Zone() != "" {
		return fmt.Errorf("URL has the host %q: leave out the zone", u.Hostname())
	}
	for i, secret := range e.Secrets {
		if _, err := parseSecret(secret); err != nil {
			return fmt.Errorf("Secrets[%d]: %w", i, err)
		}
	}
	return nil
}

// portOK reports whether a port of a URL can be connected to. If empty, it is that of the scheme.
func portOK(text string) bool {
	port, err := strconv.ParseUint(text, 10, 16)
	return text == "" || err == nil && port > 0
}

// Routes returns the routes of a Relay to the endpoints, by domain: each endpoint has one below "webhook.invalid". Copy
// them into a Relay.Routes that has others.
func (h *Hooks) Routes() map[string]mx.Route {
	routes := make(map[string]mx.Route, len(h.Endpoints))
	for _, e := range h.endpoints() {
		route := mx.Func(e.Name, h.post)
		route.Name = e.destination()
		routes[e.Name+domain] = route
	}
	return routes
}

// Wrap returns a Sender that posts the events, and passes all other mail to next: for a Runner without a Relay.
func (h *Hooks) Wrap(next smtp.Sender) smtp.Sender {
	return smtp.SenderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
		ours := func(rcpt smtp.Recipient) bool { return isAddress(rcpt.Address) }
		others := func(rcpt smtp.Recipient) bool { return !ours(rcpt) }
		if env != nil && slices.ContainsFunc(env.Recipients, ours) {
			if slices.ContainsFunc(env.Recipients, others) {
				return h.sendBoth(ctx, next, env, c), nil
			}
			return h.post(ctx, env, c)
		}
		if next == nil {
			return nil, errNoNext
		}
		return next.Send(ctx, env, c)
	})
}

var errNoNext = errors.New("webhook: Wrap got a nil Sender: pass the one that sends the mail")

// sendBoth passes the recipients that aren't endpoints to next, and merges the results in the order of env.
func (h *Hooks) sendBoth(ctx context.Context, next smtp.Sender, env *smtp.Envelope, c smtp.Content) []smtp.Result {
	mine, rest := *env, *env
	mine.Recipients, rest.Recipients = nil, nil
	for _, rcpt := range env.Recipients {
		if isAddress(rcpt.Address) {
			mine.Recipients = append(mine.Recipients, rcpt)
		} else {
			rest.Recipients = append(rest.Recipients, rcpt)
		}
	}
	posted, _ := h.post(ctx, &mine, c)
	var sent []smtp.Result
	err := errNoNext
	if next != nil {
		sent, err = next.Send(ctx, &rest, c)
	}
	sent, _ = smtp.Complete(&rest, sent, err)
	results := make([]smtp.Result, 0, len(env.Recipients))
	for _, rcpt := range env.Recipients {
		from := &sent
		if isAddress(rcpt.Address) {
			from = &posted
		}
		results, *from = append(results, (*from)[0]), (*from)[1:]
	}
	return results
}

// isAddress reports whether an address may be that of an endpoint, perhaps of one that is no more.
func isAddress(address string) bool {
	_, name := smtp.SplitAddress(address)
	return strings.HasSuffix(strings.ToLower(name), domain)
}

// endpoints returns those that aren't nil, which Check refuses.
func (h *Hooks) endpoints() []*Endpoint {
	if !slices.Contains(h.Endpoints, nil) {
		return h.Endpoints
	}
	return slices.DeleteFunc(slices.Clone(h.Endpoints), func(e *Endpoint) bool { return e == nil })
}

// endpoint returns the endpoint that has the address, nil if none has.
func (h *Hooks) endpoint(address string) *Endpoint {
	for _, e := range h.endpoints() {
		if strings.EqualFold(e.address(), address) {
			return e
		}
	}
	return nil
}

// state is what is remembered of an endpoint until the process ends.
type state struct {
	gone  bool      // it answered 410
	until time.Time // it gets nothing before
}

func (h *Hooks) stateOf(name string) state {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state[name]
}

// change changes what is remembered of an endpoint, and returns what that was.
func (h *Hooks) change(name string, f func(*state)) (before state) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state == nil {
		h.state = make(map[string]state)
	}
	before = h.state[name]
	after := before
	f(&after)
	h.state[name] = after
	return before
}

// Disabled reports whether the endpoint with this Name has answered 410.
func (h *Hooks) Disabled(endpoint string) bool { return h.stateOf(endpoint).gone }

// Enable undoes the disabling of an endpoint, and ends the wait of a Retry-After. Events that were kept meanwhile are
// posted when they are released: see Runner.Release. What happened meanwhile has no event.
func (h *Hooks) Enable(endpoint string) { h.change(endpoint, func(s *state) { *s = state{} }) }

// CloseIdle closes the connections that wait for the next event. Call it after the end of Run.
func (h *Hooks) CloseIdle() { h.httpClient().CloseIdleConnections() }
