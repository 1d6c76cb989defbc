package server

import (
	"crypto/tls"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/smtp"
)

// ReceivedField returns the Received field (RFC 5321 §4.4) that a [Handler] must put on top of a message that it passes
// on. by is the name of this host. If p is nil, the mail came from no client, and id identifies the message. Otherwise
// id isn't used: the id in the field is [Peer.Transaction]. If p has no RemoteAddr, the field doesn't name the client:
// some submission servers hide where their users are.
//
//	field := server.ReceivedField("mx1.example.com", p, env, "", time.Now())
//	body = io.MultiReader(strings.NewReader(field.String()), body)
func ReceivedField(by string, p *Peer, env *smtp.Envelope, id string, at time.Time) Field {
	if env == nil {
		env = new(smtp.Envelope)
	}
	b := make([]byte, 0, 320)
	if p != nil && p.RemoteAddr != nil {
		b = appendAll(b, " from ", helloName(p.Hello), " (")
		if p.Name != "" {
			b = appendAll(b, p.Name, " ")
		}
		b = appendAll(b, addressLiteral(p.RemoteAddr), ")\r\n\t")
	} else {
		b = append(b, ' ')
	}
	b = appendAll(b, "by ", by, " with ", protocol(env, p))
	if p != nil && p.TLS != nil {
		b = appendAll(b, " (", tls.VersionName(p.TLS.Version), " ", suiteName(p.TLS.CipherSuite), ")")
	}
	if p != nil {
		id = p.Transaction()
	}
	b = appendAll(b, " id ", id)
	// RFC 5321 §7.2: with several recipients, "for" would show each of them to the others.
	if len(env.Recipients) == 1 {
		// UTF-8 would make a header need SMTPUTF8 that didn't before. The members of an alias may not have it.
		if address, ok := smtp.ASCIIAddress(env.Recipients[0].Address); ok && len(address) < 200 {
			b = appendAll(b, "\r\n\tfor <", address, ">")
		}
	}
	if env.Priority != 0 { // RFC 6710 §4.1, §7: a registered clause, and these come last
		b = append(b, "\r\n\tPRIORITY "...)
		b = strconv.AppendInt(b, int64(env.Priority), 10)
	}
	b = append(b, ";\r\n\t"...)
	return Field{"Received", string(at.AppendFormat(b, "Mon, 02 Jan 2006 15:04:05 -0700"))}
}

func appendAll(b []byte, parts ...string) []byte {
	for _, part := range parts {
		b = append(b, part...)
	}
	return b
}

// protocol is the "with" of a Received field (RFC 3848; with UTF-8, RFC 6531 §4.3).
func protocol(env *smtp.Envelope, p *Peer) string {
	switch {
	case p == nil:
		return "local"
	case !p.ESMTP:
		return "SMTP"
	}
	name := "ESMTP"
	switch {
	case p.LMTP && env.UTF8:
		name = "UTF8LMTP"
	case p.LMTP:
		name = "LMTP"
	case env.UTF8:
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

// suiteNames are names of tls.CipherSuiteName, which makes a list of all suites at each call.
var suiteNames = func() map[uint16]string {
	names := make(map[uint16]string)
	for _, suite := range tls.CipherSuites() {
		names[suite.ID] = suite.Name
	}
	return names
}()

func suiteName(id uint16) string {
	if name, ok := suiteNames[id]; ok {
		return name
	}
	return tls.CipherSuiteName(id)
}

// helloName is the name in EHLO as a Received field has it (RFC 5321 §4.4): a domain or an address literal, in which
// "?" stands for each character that neither may have. An IPv6 address without brackets gets them.
func helloName(name string) string {
	if addr, err := netip.ParseAddr(name); err == nil && addr.Is6() {
		name = "[IPv6:" + name + "]"
	}
	literal := len(name) > 2 && name[0] == '[' && name[len(name)-1] == ']'
	if literal {
		name = name[1 : len(name)-1]
	}
	name = strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.ContainsRune("-._", c):
		case literal && (c == ':' || c == '%'): // "%" before a zone
		default:
			return '?'
		}
		return c
	}, name)
	if literal {
		return "[" + name + "]"
	}
	return name
}
