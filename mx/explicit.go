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

// Smarthost returns a route to relay hosts, which are tried in this order. Each is "host:port", such as
// "smtp.example.com:587", "127.0.0.1:25" or "[::1]:25", or the path of a Unix socket, which begins with "/". Set TLS
// and Auth of the Route before its first use.
func Smarthost(hostport ...string) (Route, error) { return explicit("smarthost", hostport) }

// LMTP returns a route to a host that speaks LMTP: "host:port", or the path of a Unix socket, which begins with "/".
func LMTP(addr string) (Route, error) {
	r, err := explicit("lmtp", []string{addr})
	r.LMTP = true
	return r, err
}

// Func returns a route to a func, which follows the rules of smtp.Sender. The delivery is final there, so the content
// begins with a Return-Path field (RFC 5321 §4.4). The Name is "func:" and name.
func Func(name string, send smtp.SenderFunc) Route {
	r := Route{Name: "func:" + name, final: true}
	if send != nil { // a nil func in an interface wouldn't be nil
		r.Sender = send
	}
	return r
}

// Discard returns a route that drops all mail. The mail counts as delivered.
func Discard() Route {
	return Route{Name: "discard", Sender: smtp.SenderFunc(discard), final: true}
}

func discard(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) { return nil, nil }

// Refuse returns a route that refuses all mail: Router.Destination and Router.Route return an error that holds reply,
// so that a server can refuse the recipient at RCPT. The code of reply must be 4xx or 5xx, and its enhanced code of the
// same class. The Name of the route is "error:" and the reply.
func Refuse(reply *smtp.Reply) (Route, error) {
	if reply == nil || reply.Code < 400 || reply.Code > 599 {
		return Route{}, fmt.Errorf("mx: refuse: got reply %v, want one of 4xx or 5xx", reply)
	}
	e := reply.Enhanced
	if e != (smtp.EnhancedCode{}) && (e[0] != reply.Code/100 || min(e[1], e[2]) < 0 || max(e[1], e[2]) > 999) {
		return Route{}, fmt.Errorf("mx: refuse: enhanced code %s with reply code %d: want %d.x.y, x and y up to 999",
			e, reply.Code, reply.Code/100)
	}
	if strings.ContainsFunc(reply.Text, func(c rune) bool { return c < ' ' && c != '\n' || c == 0x7f }) {
		return Route{}, fmt.Errorf("mx: refuse: control character in the text %q: remove it", reply.Text)
	}
	own := *reply
	return Route{Name: "error:" + own.Error(), refusal: &own}, nil
}

// ParseRoute reads a route from a flag or a configuration file:
//
//   - "smtp.example.com:587", or several hosts separated by commas: [Smarthost]
//   - "lmtp:/run/lmtp": [LMTP]
//   - "discard": [Discard]
//   - "error:550 5.1.1 no such user", with or without enhanced code and text: [Refuse]
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
		return Route{}, fmt.Errorf("mx: route \"error:\" with %q: the reply must be one line", s)
	}
	reply, err := smtp.ReadReply(bufio.NewReader(strings.NewReader(s + "\r\n")))
	if err != nil {
		return Route{}, fmt.Errorf("mx: route \"error:\" with %q: want a reply, such as \"550 5.1.1 no such user\"", s)
	}
	// An enhanced code that isn't valid, or is of another class, is still in the text. It must not be sent there.
	first, _, _ := strings.Cut(reply.Text, " ")
	if strings.Contains(first, ".") && strings.Trim(first, ".0123456789") == "" {
		return Route{}, fmt.Errorf("mx: route \"error:\" with %q: enhanced code %q with reply code %d: want %d.x.y",
			s, first, reply.Code, reply.Code/100)
	}
	return Refuse(reply)
}

func explicit(kind string, addrs []string) (Route, error) {
	if len(addrs) == 0 || len(addrs) > MaxHosts {
		return Route{}, fmt.Errorf("mx: route %q: got %d hosts, want 1 to %d", kind, len(addrs), MaxHosts)
	}
	r := Route{Hosts: make([]Host, len(addrs))}
	names := make([]string, len(addrs))
	for i, addr := range addrs {
		h, err := parseHost(addr)
		if err != nil {
			return Route{}, fmt.Errorf("mx: route %q: host %q: %w", kind, addr, err)
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
		return Host{}, fmt.Errorf("%w: want host:port, or the path of a Unix socket", err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return Host{}, fmt.Errorf("port %q: want 1 to 65535", port)
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		return Host{Name: ip.Unmap().String(), Port: int(n)}, nil
	}
	if strings.HasPrefix(name, "[") || name == "" {
		return Host{}, errors.New("the host name is empty: want host:port")
	}
	ascii, err := smtp.ASCIIDomain(name)
	if err != nil {
		return Host{}, err
	}
	return Host{Name: ascii, Port: int(n)}, nil
}
