package mx

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/postrider/postrider/smtp"
)

// Route says where the mail of a domain goes, before any address is known: to Hosts or to Sender, or nowhere, as
// [Refuse] makes it.
type Route struct {
	// Name is its name as a destination of the queue: "smarthost:smtp.example.com:587" or
	// "lmtp:/run/lmtp" for an explicit route, and the domain as an A-label where the hosts came from
	// the DNS. Routes with one name must be one route.
	Name string

	// Hosts in the order to try.
	Hosts []Host

	// Sender takes the mail in place of Hosts. The envelope has only the recipients of this route. A client.Submission and
	// a client.Transport are Senders, and [Func] makes a route to a func. If nil, the mail goes to Hosts.
	Sender smtp.Sender

	// LMTP says that the hosts speak LMTP (RFC 2033): delivery is final there.
	LMTP bool

	// TLS is how strictly a session demands TLS. If zero, TLSOpportunistic.
	TLS TLSLevel

	// TLSStart is how TLS begins. If zero, TLSByPort: implicit TLS at port 465, STARTTLS elsewhere.
	TLSStart TLSStart

	// Auth authenticates to the hosts: *client.Credentials, for example. If nil, sessions don't authenticate.
	Auth smtp.Auth

	// MX says that the hosts came from the DNS, so that anyone may have chosen them: Router.Addrs
	// guards their addresses.
	MX bool

	refusal  *smtp.Reply // what all mail gets
	prefs    []uint16    // of Hosts by MX, the preference of each
	implicit bool        // no MX record: the domain itself is the host
}

// Final reports whether delivery ends here: by LMTP, or in Sender. Hosts that speak SMTP relay.
func (r *Route) Final() bool { return r.LMTP || r.Sender != nil }

// Site names the hosts, so that routes with one name load the same ones, in whatever order: it is the Name of an explicit
// route, and else the names of the hosts, parted by commas.
func (r *Route) Site() string {
	if !r.MX {
		return r.Name
	}
	names := make([]string, len(r.Hosts))
	for i, h := range r.Hosts {
		names[i] = h.Name
	}
	slices.Sort(names) // the order of preference is another matter
	return strings.Join(slices.Compact(names), ",")
}

// refused gives the error that holds the refusal, if there is one.
func (r *Route) refused(domain string) error {
	if r.refusal == nil {
		return nil
	}
	return fmt.Errorf("mx: %w: route of %q", r.refusal, domain)
}

// check returns an error that names the field by which the route can't be used, or nil.
func (r *Route) check() error {
	hosts, sender := len(r.Hosts) > 0, r.Sender != nil
	switch {
	case r.Name == "":
		return errors.New("Name is empty: set it, or make the route by Smarthost, LMTP, Func, Discard or Refuse")
	case r.refusal != nil && (hosts || sender):
		return fmt.Errorf("route %q refuses all mail, and has Hosts or Sender too: set only one of them", r.Name)
	case hosts && sender:
		return fmt.Errorf("route %q has both Hosts and Sender: set only one of them", r.Name)
	case !hosts && !sender && r.refusal == nil:
		return fmt.Errorf("route %q leads nowhere: set Hosts or Sender", r.Name)
	case int(r.TLS) >= len(tlsLevels):
		return fmt.Errorf("route %q: TLS is %d: set it to TLSOpportunistic, TLSRequired or TLSNone", r.Name, r.TLS)
	case int(r.TLSStart) >= len(tlsStarts):
		return fmt.Errorf("route %q: TLSStart is %d: set it to TLSByPort, TLSImplicit or TLSStartTLS", r.Name, r.TLSStart)
	case r.TLS == TLSNone && r.TLSStart != TLSByPort:
		return fmt.Errorf("route %q: TLS is none and TLSStart is %s: clear TLSStart, or set TLS to TLSRequired", r.Name, r.TLSStart)
	}
	return nil
}

// Host is one place to try: a name or an IP address with a port, or a Unix socket.
type Host struct {
	// Name is a host name as an A-label, or an IP address without brackets.
	Name string

	// Port is the TCP port. At 465 TLS is implicit unless Route.TLSStart is set.
	Port int

	// Path is that of a Unix socket. If set, Name and Port mean nothing.
	Path string
}

// IP gives the address where Name is one.
func (h Host) IP() (netip.Addr, bool) { return parseIP(h.Name) }

func parseIP(name string) (ip netip.Addr, ok bool) {
	// What can't be one is told without an error, which costs more than all the rest.
	if name == "" || strings.IndexByte(name, ':') < 0 && (name[len(name)-1] < '0' || name[len(name)-1] > '9') {
		return ip, false
	}
	ip, err := netip.ParseAddr(name)
	return ip.Unmap(), err == nil
}

// String gives "smtp.example.com:587", "[2001:db8::1]:25" or the path of the socket.
func (h Host) String() string {
	if h.Path != "" {
		return h.Path
	}
	return net.JoinHostPort(h.Name, strconv.Itoa(h.Port))
}
