package mx

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/emersion/go-sasl"

	"github.com/postrider/postrider/smtp"
)

// Route says where the mail of a domain goes, before any address is known.
type Route struct {
	// Name is its name as a destination of the queue: "smarthost:smtp.example.com:587" or
	// "lmtp:/run/lmtp" for an explicit route, and the domain as an A-label where the hosts came from
	// the DNS. Routes with one name must be one route.
	Name string

	// Hosts in the order to try.
	Hosts []Host

	// LMTP says that the hosts speak LMTP (RFC 2033): delivery is final there.
	LMTP bool

	// TLS says what a session needs. If zero, TLSOpportunistic.
	TLS TLSMode

	// Auth gives a fresh client for one authentication; it is called from several goroutines. If nil, no
	// one authenticates.
	Auth func() sasl.Client

	// MX says that the hosts came from the DNS, so that anyone may have chosen them: Router.Addrs
	// guards their addresses.
	MX bool

	// Deliver takes the mail in place of Hosts, as client.Transport.Send does: final delivery. Results nil means that the error is for all.
	Deliver func(ctx context.Context, env *smtp.Envelope, content smtp.Content) ([]smtp.Result, error)

	implicit bool // no MX record: the domain itself is the host
}

// Host is one place to try: a name or an IP address with a port, or a Unix socket.
type Host struct {
	// Name is a host name as an A-label, or an IP address without brackets.
	Name string

	// Port is the TCP port. On 465 TLS begins at once (RFC 8314 §3.3).
	Port int

	// Path is that of a Unix socket. If set, Name and Port mean nothing.
	Path string
}

// String gives "smtp.example.com:587", "[2001:db8::1]:25" or the path of the socket.
func (h Host) String() string {
	if h.Path != "" {
		return h.Path
	}
	return net.JoinHostPort(h.Name, strconv.Itoa(h.Port))
}

// Smarthost makes a route to relay hosts, tried in the order given. Each is "host:port", as in
// "smtp.example.com:587", "127.0.0.1:25" or "[::1]:25", or the path of a Unix socket, beginning with "/". The
// Route's TLS and Auth can be set before it is used.
func Smarthost(hostport ...string) (Route, error) { return explicit("smarthost", hostport) }

// LMTP makes a route to a host that speaks LMTP: "host:port", or the path of a Unix socket, beginning with "/".
func LMTP(addr string) (Route, error) {
	r, err := explicit("lmtp", []string{addr})
	r.LMTP = true
	return r, err
}

// ParseRoute reads a route as a flag or a configuration file has it: "lmtp:" and an address for [LMTP], or hosts
// for [Smarthost], parted by commas.
func ParseRoute(s string) (Route, error) {
	if addr, ok := strings.CutPrefix(s, "lmtp:"); ok {
		return LMTP(addr)
	}
	return Smarthost(strings.Split(s, ",")...)
}

func explicit(kind string, addrs []string) (Route, error) {
	if len(addrs) == 0 || len(addrs) > MaxHosts {
		return Route{}, fmt.Errorf("mx: %s: got %d hosts, want 1 to %d", kind, len(addrs), MaxHosts)
	}
	r := Route{Hosts: make([]Host, len(addrs))}
	names := make([]string, len(addrs))
	for i, addr := range addrs {
		h, err := parseHost(addr)
		if err != nil {
			return Route{}, fmt.Errorf("mx: %s %q: %w", kind, addr, err)
		}
		r.Hosts[i], names[i] = h, h.String()
	}
	r.Name = kind + ":" + strings.Join(names, ",")
	return r, nil
}

func parseHost(addr string) (Host, error) {
	if strings.HasPrefix(addr, "/") {
		return Host{Path: addr}, nil
	}
	name, port, err := net.SplitHostPort(addr)
	if err != nil {
		return Host{}, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return Host{}, fmt.Errorf("port %q is not one of 1 to 65535", port)
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		return Host{Name: ip.Unmap().String(), Port: int(n)}, nil
	}
	if strings.HasPrefix(name, "[") || name == "" {
		return Host{}, errors.New("no host name")
	}
	ascii, err := smtp.ASCIIDomain(name)
	if err != nil {
		return Host{}, err
	}
	return Host{Name: ascii, Port: int(n)}, nil
}
