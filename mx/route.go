package mx

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/smtp"
)

// Route is where the mail of a domain goes: to Hosts, to Sender, or back with the reply of [Refuse]. Make one by
// [Smarthost], [LMTP], [Func], [Discard], [Refuse] or [ParseRoute], and set further fields before its first use.
type Route struct {
	// Name is the name of the destination in a queue: "smarthost:smtp.example.com:587" or "lmtp:/run/lmtp" for an
	// explicit route, and the domain as an A-label if the hosts are from the DNS. Two routes that differ in any field
	// must not have the same Name: for two users at one smarthost, set one of your own. Two funcs are the same only if
	// they are one value. It must not begin with "(": a queue has such names for tasks that aren't sent.
	Name string

	// Hosts are the hosts to try, in this order.
	Hosts []Host

	// Sender takes the mail, to relay it: a client.Submission or a client.Transport, for example. The envelope has only
	// the recipients of this route. If nil, the mail goes to Hosts; only one of the two may be set. For a Sender that
	// delivers to mailboxes or to the application, make the route by [Func].
	Sender smtp.Sender

	// LMTP makes sessions use LMTP (RFC 2033). Delivery is final there.
	LMTP bool

	// TLS is how strictly a session demands TLS. If zero, TLSOpportunistic.
	TLS TLSLevel

	// TLSStart is how TLS begins. If zero, TLSByPort: implicit TLS at port 465, STARTTLS elsewhere.
	TLSStart TLSStart

	// Auth authenticates to the hosts: *client.Credentials, for example. If nil, sessions don't authenticate.
	Auth smtp.Auth

	// Without are extensions that sessions don't use even if a host offers them, for a host that fails at one. They are
	// keywords of EHLO in upper or lower case: 8BITMIME, BINARYMIME, CHUNKING, DSN, LIMITS, PIPELINING, SIZE and
	// SMTPUTF8. A message that needs one of them has to do without it, or is Rejected, as with a host that lacks it.
	// STARTTLS and AUTH have fields of their own, TLS and Auth. If nil, all are used.
	Without []string

	// MX is set by Router.Route if the hosts are from the DNS. Anyone may have chosen them, so Router.Addrs checks
	// their addresses.
	MX bool

	refusal  *smtp.Reply // of Refuse
	final    bool        // of Func and Discard
	prefs    []uint16    // the preference of each of Hosts, if MX is set
	implicit bool        // no MX record: the domain is its own host
	proof    dns.Proof   // of the MX records, or that there are none
}

// Final reports whether the delivery is final: by LMTP, Func or Discard. A host that speaks SMTP relays the mail, and
// so does a Sender that is set in a Route.
func (r *Route) Final() bool { return r.LMTP || r.final }

// Site returns a name for the set of hosts, so that limits can apply to domains that share their hosts. It is the Name
// of an explicit route, and otherwise the sorted names of the hosts, separated by commas.
func (r *Route) Site() string {
	if !r.MX {
		return r.Name
	}
	names := make([]string, len(r.Hosts))
	for i, h := range r.Hosts {
		names[i] = h.Name
	}
	slices.Sort(names) // sites don't depend on preferences
	return strings.Join(slices.Compact(names), ",")
}

// refused returns an error with the reply of Refuse, or nil.
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
	case strings.HasPrefix(r.Name, "("):
		return fmt.Errorf("Name is %q: names that begin with a parenthesis are reserved, choose another", r.Name)
	case r.refusal != nil && (hosts || sender):
		return fmt.Errorf("route %q refuses all mail, and has Hosts or Sender too: set only one of them", r.Name)
	case isNil(r.Sender):
		return fmt.Errorf("route %q: Sender is a nil %T: set it, or set Hosts", r.Name, r.Sender)
	case isNil(r.Auth):
		return fmt.Errorf("route %q: Auth is a nil %T: set it, or leave it out", r.Name, r.Auth)
	case hosts && sender:
		return fmt.Errorf("route %q has both Hosts and Sender: set only one of them", r.Name)
	case !hosts && !sender && r.refusal == nil:
		return fmt.Errorf("route %q leads nowhere: set Hosts or Sender", r.Name)
	case int(r.TLS) >= len(tlsLevels):
		return fmt.Errorf("route %q: TLS is %d: set it to TLSOpportunistic, TLSRequired or TLSNone", r.Name, r.TLS)
	case int(r.TLSStart) >= len(tlsStarts):
		return fmt.Errorf("route %q: TLSStart is %d: set it to TLSByPort, TLSImplicit or TLSStartTLS",
			r.Name, r.TLSStart)
	case r.TLS == TLSNone && r.TLSStart != TLSByPort:
		return fmt.Errorf("route %q: TLS is none and TLSStart is %s: clear TLSStart, or set TLS to TLSRequired",
			r.Name, r.TLSStart)
	}
	for i, h := range r.Hosts {
		if err := h.check(); err != nil {
			return fmt.Errorf("route %q: Hosts[%d]: %w", r.Name, i, err)
		}
	}
	for i, keyword := range r.Without {
		if err := checkWithout(keyword); err != nil {
			return fmt.Errorf("route %q: Without[%d]: %w", r.Name, i, err)
		}
	}
	return nil
}

// optional are the extensions that a session can do without.
var optional = []string{"8BITMIME", "BINARYMIME", "CHUNKING", "DSN", "LIMITS", "PIPELINING", "SIZE", "SMTPUTF8"}

// checkWithout returns an error if keyword isn't one of optional.
func checkWithout(keyword string) error {
	is := func(other string) bool { return strings.EqualFold(keyword, other) }
	switch {
	case slices.ContainsFunc(optional, is):
		return nil
	case is("STARTTLS"): // not here, so that a password or a route with TLSRequired can't lose its TLS by it
		return fmt.Errorf("%q: set TLS to TLSNone instead, if the mail may go in cleartext", keyword)
	case is("AUTH"):
		return fmt.Errorf("%q: leave Auth nil instead", keyword)
	}
	return fmt.Errorf("%q is no extension that a session can do without: use %s", keyword, strings.Join(optional, ", "))
}

// same reports whether the mail of one route may share a queue's destination and the sessions of the other: all their
// fields are the same. Auths behind pointers are the same if they are equal.
func (r *Route) same(o Route) bool {
	return slices.Equal(r.Hosts, o.Hosts) && r.LMTP == o.LMTP && r.TLS == o.TLS && r.TLSStart == o.TLSStart &&
		slices.Equal(r.Without, o.Without) && r.final == o.final && reflect.DeepEqual(r.refusal, o.refusal) &&
		sameValue(r.Sender, o.Sender) && (sameValue(r.Auth, o.Auth) || reflect.DeepEqual(r.Auth, o.Auth))
}

func sameValue(a, b any) bool {
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	switch {
	case a == nil || b == nil || x.Type() != y.Type():
		return a == nil && b == nil
	case x.Kind() == reflect.Func:
		return closure(x) == closure(y)
	case x.Comparable() && y.Comparable():
		return a == b
	}
	return reflect.DeepEqual(a, b)
}

// closure returns the pointer that a value of a func is. Two closures with the same code, which Value.Pointer returns,
// may be for two users.
func closure(f reflect.Value) uint64 {
	p := reflect.New(f.Type())
	p.Elem().Set(f)
	return reflect.NewAt(reflect.TypeFor[uintptr](), p.UnsafePointer()).Elem().Uint()
}

// isNil reports whether a value that isn't nil holds a nil pointer or func.
func isNil(a any) bool {
	v := reflect.ValueOf(a)
	return (v.Kind() == reflect.Func || v.Kind() == reflect.Pointer) && v.IsNil()
}

// Host is a mail host: a name or an IP address with a port, or a Unix socket.
type Host struct {
	// Name is a host name as an A-label, or an IP address without brackets.
	Name string

	// Port is the TCP port, 1 to 65535. At 465 TLS is implicit unless Route.TLSStart is set.
	Port int

	// Path is the path of a Unix socket. If set, Name and Port are ignored.
	Path string
}

// check returns an error that names the field by which the host can't be reached, or nil.
func (h Host) check() error {
	if h.Path != "" {
		return nil
	}
	if h.Port < 1 || h.Port > 65535 {
		return fmt.Errorf("Port is %d: set it to 1 to 65535", h.Port)
	}
	if _, ok := h.IP(); ok {
		return nil
	}
	name, err := smtp.ASCIIDomain(h.Name)
	if err != nil {
		return fmt.Errorf("Name: %w", err)
	}
	if name != h.Name {
		return fmt.Errorf("Name is %q: set it to %q", h.Name, name)
	}
	return nil
}

// IP returns the address if Name is an IP address. ok is false if it isn't.
func (h Host) IP() (ip netip.Addr, ok bool) { return parseIP(h.Name) }

func parseIP(name string) (ip netip.Addr, ok bool) {
	// A fast answer for host names: the error of ParseAddr would cost more than everything else.
	if name == "" || strings.IndexByte(name, ':') < 0 && (name[len(name)-1] < '0' || name[len(name)-1] > '9') {
		return ip, false
	}
	ip, err := netip.ParseAddr(name)
	return ip.Unmap(), err == nil
}

// String returns "smtp.example.com:587", "[2001:db8::1]:25" or the path of the socket.
func (h Host) String() string {
	if h.Path != "" {
		return h.Path
	}
	return net.JoinHostPort(h.Name, strconv.Itoa(h.Port))
}
