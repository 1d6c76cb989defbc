package postrider

import (
	"context"
	"fmt"
	"net"

	"github.com/postrider/postrider/server"
)

// listen listens at an address, by the rules of ListenAndServe.
func (r *Relay) listen(ctx context.Context, addr string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	switch tcp, _ := l.Addr().(*net.TCPAddr); tcp.Port {
	case 587:
		if s := r.submission(); s.TLSConfig == nil && !s.AllowInsecureAuth {
			l.Close()
			return nil, fmt.Errorf("listen %s: TLSConfig is nil: port 587 needs a certificate, as AUTH needs TLS", addr)
		}
		return SubmissionListener(l), nil
	case 465: // RFC 8314 §3.3
		config := r.submission().TLSConfig
		if config == nil {
			l.Close()
			return nil, fmt.Errorf("listen %s: TLSConfig is nil: port 465 needs a certificate", addr)
		}
		return SubmissionListener(server.NewTLSListener(l, config)), nil
	}
	return l, nil
}

// SubmissionListener marks a listener as one for users: [Relay.Serve] serves it by Relay.Submission. For implicit TLS
// (port 465), l is one of [server.NewTLSListener]; the other order, with the mark inside, is the same.
func SubmissionListener(l net.Listener) net.Listener { return roleListener{l, forUsers} }

// LMTPListener marks a listener for mail by LMTP (RFC 2033): [Relay.Serve] serves it by Relay.LMTP. It may be one of a
// Unix socket.
func LMTPListener(l net.Listener) net.Listener { return roleListener{l, forLMTP} }

// role is the template by which a listener is served.
type role int

const (
	forHosts role = iota
	forUsers
	forLMTP
)

type roleListener struct {
	net.Listener
	role role
}

// Around returns the mark around wrap of the listener inside: a wrapper that isn't the outermost would hide the mark.
func (l roleListener) Around(wrap func(net.Listener) net.Listener) net.Listener {
	return roleListener{wrap(l.Listener), l.role}
}

// roleOf returns the listener without its mark, and its role.
func roleOf(l net.Listener) (net.Listener, role) {
	if marked, ok := l.(roleListener); ok {
		return marked.Listener, marked.role
	}
	return l, forHosts
}

// isPlain465 reports whether l listens at port 465 without TLS.
func isPlain465(l net.Listener) bool {
	tcp, ok := l.(*net.TCPListener)
	return ok && tcp.Addr().(*net.TCPAddr).Port == 465
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		if bare, _ := roleOf(l); bare != nil {
			bare.Close()
		}
	}
}
