package client

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/postrider/postrider/smtp"
)

// helloName returns the name for EHLO, checked so that it can't contain a command.
func (c *Conn) helloName() (string, *failure) {
	if c.Hostname == "" {
		name, _ := os.Hostname()
		return ownName(name, c.nc.LocalAddr()), nil
	}
	if name, err := smtp.ASCIIDomain(c.Hostname); err == nil {
		if strings.HasPrefix(name, "[") {
			return c.Hostname, nil // RFC 5321 §4.1.3 has "IPv6:" in this case of letters
		}
		return name, nil
	}
	const text = "Hostname %+q is not a domain name: set it to the name of this machine in the DNS"
	return "", c.local(smtp.StageHello, nil, smtp.NewReply(451, "4.3.5", fmt.Sprintf(text, clip(c.Hostname))))
}

// ownName returns the name for EHLO of a machine that the system calls system, in a connection from local. RFC 5321
// §4.1.4: a client without a name in the DNS says the address literal of its end.
func ownName(system string, local net.Addr) string {
	if name, err := smtp.ASCIIDomain(system); err == nil && isFull(name) {
		return name
	}
	if ip := addrOf(local); ip.IsValid() && !ip.IsUnspecified() {
		return literal(ip)
	}
	return "localhost" // the host is on this machine, or it is reached in a way that shows no address
}

// addrOf returns the IP address of one end of a connection, or the zero Addr.
func addrOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	if a != nil {
		if at, err := netip.ParseAddrPort(a.String()); err == nil {
			return at.Addr().Unmap()
		}
	}
	return netip.Addr{}
}

// literal returns the address literal of an address (RFC 5321 §4.1.3). It has no zone, which means nothing elsewhere.
func literal(ip netip.Addr) string {
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return "[" + ip.String() + "]"
	}
	return "[IPv6:" + ip.String() + "]"
}

// isFull reports whether a domain in its ASCII form can be the name of a machine in the public DNS. Hosts refuse others
// in EHLO.
func isFull(name string) bool {
	// RFC 5321 §2.3.5: no single labels. §4.1.2: no underscores.
	if !strings.Contains(name, ".") || strings.ContainsAny(name, "[_") {
		return false
	}
	if name == "home.arpa" || strings.HasSuffix(name, ".home.arpa") { // RFC 8375
		return false
	}
	top := name[strings.LastIndexByte(name, '.')+1:]
	return strings.Trim(top, "0123456789") != "" && !slices.Contains(privateTops, top) // RFC 3696 §2: not all digits
}

// privateTops are top-level domains that the public DNS doesn't have, and that systems give to machines by themselves.
var privateTops = []string{
	"localhost", "invalid", // RFC 6761 §6.3, §6.4
	"local",                                                  // RFC 6762 §3
	"intranet", "internal", "private", "corp", "home", "lan", // RFC 6762 appendix G
	"localdomain", // in the hosts file of many systems
}
