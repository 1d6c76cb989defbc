package postrider

import (
	"crypto/tls"
	"net"
	"strings"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// protocol is the "with" of a Received line (RFC 3848; with UTF-8, RFC 6531 §4.3).
func protocol(env *smtp.Envelope, p *server.Peer) string {
	switch {
	case p == nil:
		return "local"
	case !p.ESMTP:
		return "SMTP"
	}
	name := "ESMTP"
	if env.UTF8 {
		name = "UTF8SMTP"
	}
	if p.TLS != nil {
		name += "S"
	}
	if p.Username != "" {
		name += "A"
	}
	return name
}

// addressLiteral is the peer's address as RFC 5321 §4.1.3 writes it.
func addressLiteral(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return "local"
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	if ip.Is6() {
		return "[IPv6:" + ip.String() + "]"
	}
	return "[" + ip.String() + "]"
}

func tlsNames(state *tls.ConnectionState) string {
	return tls.VersionName(state.Version) + " " + tls.CipherSuiteName(state.CipherSuite)
}

// plain keeps of a name from outside what can't end its place in a header field.
func plain(name string) string {
	return strings.Map(func(c rune) rune {
		if c <= ' ' || c == 0x7f || strings.ContainsRune(`()<>;,"\`, c) {
			return '?'
		}
		return c
	}, name)
}
