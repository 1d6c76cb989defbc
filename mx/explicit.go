package mx

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/postrider/postrider/smtp"
)

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

// Func returns a route to a func, which follows the rules of smtp.Sender. The Name is "func:" and name.
func Func(name string, send smtp.SenderFunc) Route {
	r := Route{Name: "func:" + name}
	if send != nil { // a nil func in an interface wouldn't be nil
		r.Sender = send
	}
	return r
}

// Discard makes a route that drops all mail. It counts as delivered.
func Discard() Route {
	return Route{Name: "discard", Sender: smtp.SenderFunc(discard)}
}

func discard(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) { return nil, nil }

// Refuse makes a route for mail that isn't taken: Router.Destination and Router.Route give an error with reply in it, so that a
// server can refuse the recipient at once. The reply is 4xx or 5xx; an enhanced code agrees with that. The route's Name is "error:"
// and the reply.
func Refuse(reply *smtp.Reply) (Route, error) {
	if reply == nil || reply.Code < 400 || reply.Code > 599 {
		return Route{}, errors.New("mx: refuse: the reply must be 4xx or 5xx")
	}
	e := reply.Enhanced
	if e != (smtp.EnhancedCode{}) && (e[0] != reply.Code/100 || min(e[1], e[2]) < 0 || max(e[1], e[2]) > 999) {
		return Route{}, fmt.Errorf("mx: refuse: the enhanced code %s doesn't go with %d (RFC 3463 section 2)", e, reply.Code)
	}
	if strings.ContainsFunc(reply.Text, func(c rune) bool { return c < ' ' && c != '\n' || c == 0x7f }) {
		return Route{}, fmt.Errorf("mx: refuse: control character in %q", reply.Text)
	}
	own := *reply
	return Route{Name: "error:" + own.Error(), refusal: &own}, nil
}

// ParseRoute reads a route as a flag or a configuration file has it:
//
//   - "smtp.example.com:587", or several hosts parted by commas: [Smarthost]
//   - "lmtp:/run/lmtp": [LMTP]
//   - "discard": [Discard]
//   - "error:550 5.1.1 no such user", also without enhanced code or text: [Refuse]
func ParseRoute(s string) (Route, error) {
	if s == "discard" {
		return Discard(), nil
	}
	if addr, ok := strings.CutPrefix(s, "lmtp:"); ok {
		return LMTP(addr)
	}
	if reply, ok := strings.CutPrefix(s, "error:"); ok {
		return parseRefusal(reply)
	}
	return Smarthost(strings.Split(s, ",")...)
}

func parseRefusal(s string) (Route, error) {
	if strings.ContainsAny(s, "\r\n") {
		return Route{}, fmt.Errorf("mx: error %q: more than one line", s)
	}
	reply, err := smtp.ReadReply(bufio.NewReader(strings.NewReader(s + "\r\n")))
	if err != nil {
		return Route{}, fmt.Errorf("mx: error %q: want a reply, such as \"550 5.1.1 no such user\"", s)
	}
	// What is left of a code that couldn't be read, or belongs to another class, must not go out as text.
	first, _, _ := strings.Cut(reply.Text, " ")
	if strings.Contains(first, ".") && strings.Trim(first, ".0123456789") == "" {
		return Route{}, fmt.Errorf("mx: error %q: %q is no enhanced code of %d (RFC 3463 section 2)", s, first, reply.Code)
	}
	return Refuse(reply)
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
