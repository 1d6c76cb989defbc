package milter

import (
	"cmp"
	"crypto/tls"
	"net"
	"strconv"
	"strings"

	"github.com/postrider/postrider/server"
)

// putMacros adds the macros for a command. pairs are names and values; those without a value are left out.
func (w *wire) putMacros(cmd byte, pairs ...string) {
	b := append(w.start(cmdMacros), cmd)
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			continue
		}
		b = append(append(b, pairs[i]...), 0)
		b = append(append(b, noNUL(pairs[i+1])...), 0)
	}
	w.finish(b)
}

// noNUL returns s without NULs, which end a field.
func noNUL(s string) string {
	if strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(s, "\x00", "")
}

// unknown stands for a name that isn't known, as Postfix has it. Filters know it.
const unknown = "unknown"

// putConnect adds CONNECT and its macros.
func (l *link) putConnect(s *server.Session, name string) {
	name = cmp.Or(name, unknown)
	ip := s.Peer.IP()
	var addr, port, daemon, daemonPort string
	family := []byte{'U'}
	if ip.IsValid() {
		addr = ip.String()
		_, port, _ = net.SplitHostPort(s.Peer.RemoteAddr.String())
		n, _ := strconv.ParseUint(port, 10, 16)
		family = append([]byte{'6', byte(n >> 8), byte(n)}, addr+"\x00"...)
		if ip.Is4() {
			family[0] = '4'
		}
	}
	if s.Peer.LocalAddr != nil {
		daemon, daemonPort, _ = net.SplitHostPort(s.Peer.LocalAddr.String())
	}
	client := name
	if addr != "" {
		client += " [" + addr + "]"
	}
	l.w.putMacros(cmdConnect, "j", s.Hostname(), "{daemon_name}", cmp.Or(l.f.Daemon, s.Hostname()),
		"{daemon_addr}", daemon, "{daemon_port}", daemonPort, "v", "postrider", "_", client,
		"{client_addr}", addr, "{client_port}", port, "{client_name}", name, "{client_ptr}", name)
	b := append(l.w.start(cmdConnect), noNUL(name)...)
	l.w.finish(append(append(b, 0), family...))
}

// putHelo adds HELO and its macros.
func (l *link) putHelo(s *server.Session) {
	if t := s.Peer.TLS; t != nil {
		cipher := tls.CipherSuiteName(t.CipherSuite)
		var subject, issuer string
		if len(t.PeerCertificates) > 0 {
			subject = t.PeerCertificates[0].Subject.String()
			issuer = t.PeerCertificates[0].Issuer.String()
		}
		l.w.putMacros(cmdHelo, "{tls_version}", strings.Replace(tls.VersionName(t.Version), "TLS ", "TLSv", 1),
			"{cipher}", cipher, "{cipher_bits}", cipherBits(cipher), "{cert_subject}", subject, "{cert_issuer}", issuer)
	}
	l.w.put(cmdHelo, s.Peer.Hello)
}

// cipherBits returns the length of the key, by the name of the cipher suite.
func cipherBits(cipher string) string {
	switch {
	case strings.Contains(cipher, "_256_"), strings.Contains(cipher, "CHACHA20"):
		return "256"
	case strings.Contains(cipher, "_128_"):
		return "128"
	}
	return ""
}

// putMail adds MAIL and its macros.
func (l *link) putMail(s *server.Session) {
	env := s.Envelope
	auth := ""
	if s.Peer.Username != "" {
		auth = "SASL" // OpenDKIM signs for a client only if there is a type
	}
	l.w.putMacros(cmdMail, "i", s.Peer.Transaction(), "{auth_authen}", s.Peer.Username, "{auth_type}", auth,
		"{mail_addr}", env.From)
	args := []string{"<" + env.From + ">"}
	l.w.put(cmdMail, append(args, mailParams(env)...)...)
}
