package client

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
)

// The numbers of SOCKS5 (RFC 1928, RFC 1929).
const (
	socksVersion  = 5
	loginVersion  = 1
	noLogin       = 0
	byPassword    = 2
	connectTo     = 1
	typeIPv4      = 1
	typeName      = 3
	typeIPv6      = 4
	socksDone     = 0
	noCommand     = 7
	noAddressType = 8
)

// socksReplies are those of RFC 1928 §6.
var socksReplies = [...]string{
	"succeeded", "general failure", "not allowed by the rules", "network unreachable", "host unreachable",
	"connection refused", "TTL expired", "command not supported", "address type not supported",
}

func socksReply(code byte) string {
	if int(code) < len(socksReplies) {
		return socksReplies[code]
	}
	return "reply " + strconv.Itoa(int(code))
}

// socks has a SOCKS5 proxy connect to an address. It reads no octet of the host's. A *sourceError is the proxy's
// failure, and any other error the host's. Package golang.org/x/net/proxy doesn't tell the two apart.
func (p *Proxy) socks(nc net.Conn, to netip.AddrPort) error {
	fails := func(fault SourceFault, single bool, err error) error {
		return &sourceError{fault: fault, single: single, proxy: p, err: err}
	}
	if fault, err := p.login(nc); err != nil {
		return fails(fault, true, err)
	}
	ip := to.Addr().Unmap().WithZone("")
	b := []byte{socksVersion, connectTo, 0, typeIPv6}
	if ip.Is4() {
		b[3] = typeIPv4
	}
	b = binary.BigEndian.AppendUint16(append(b, ip.AsSlice()...), to.Port())
	if _, err := nc.Write(b); err != nil {
		return fails(ProxyDown, true, err)
	}
	code, err := readSOCKSReply(nc)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		// The proxy did answer before: now it waits for the host.
		return p.unreachable(errors.New("the host did not answer the proxy in time"))
	case err != nil:
		return fails(ProxyFails, false, err)
	}
	switch err = errors.New(socksReply(code)); code {
	case socksDone:
		return nil
	case 3, 4, 5, 6: // from "network unreachable" to "TTL expired", which means a time-out in practice
		return p.unreachable(err)
	case noCommand, noAddressType: // an address type is as good as a source address: each has one family
		return fails(ProxyRefuses, true, err)
	}
	return fails(ProxyFails, false, err)
}

// unreachable returns an error of the host. Its text without addresses has no proxy.
func (p *Proxy) unreachable(err error) error {
	return &net.OpError{Op: p.Protocol.String(), Net: "tcp", Addr: net.TCPAddrFromAddrPort(p.Addr), Err: err}
}

// login goes through the negotiation before CONNECT.
func (p *Proxy) login(nc net.Conn) (SourceFault, error) {
	hello := []byte{socksVersion, 1, noLogin}
	if p.Username != "" {
		hello = []byte{socksVersion, 2, noLogin, byPassword}
	}
	var answer [2]byte
	if _, err := nc.Write(hello); err != nil {
		return ProxyDown, err
	}
	if _, err := io.ReadFull(nc, answer[:]); err != nil {
		return ProxyDown, err
	}
	switch {
	case answer[0] != socksVersion:
		return ProxyRefuses, fmt.Errorf("version %d in its answer: it doesn't speak SOCKS5", answer[0])
	case answer[1] == noLogin:
		return SourceFine, nil
	case answer[1] != byPassword || p.Username == "":
		return ProxyRefuses, errors.New("it wants another login: set Username and Password as it has them")
	}
	// RFC 1929 §2
	b := append([]byte{loginVersion, byte(len(p.Username))}, p.Username...)
	b = append(append(b, byte(len(p.Password))), p.Password...)
	if _, err := nc.Write(b); err != nil {
		return ProxyDown, err
	}
	if _, err := io.ReadFull(nc, answer[:]); err != nil {
		return ProxyDown, err
	}
	if answer[1] != 0 {
		return ProxyRefuses, errors.New("it refuses Username and Password")
	}
	return SourceFine, nil
}

// readSOCKSReply reads a reply to CONNECT, and nothing after it (RFC 1928 §6). It returns the field REP.
func readSOCKSReply(r io.Reader) (code byte, err error) {
	var b [4 + 1 + 255 + 2]byte // with the longest address, a name
	if _, err := io.ReadFull(r, b[:4]); err != nil {
		return 0, err
	}
	if b[0] != socksVersion {
		return 0, fmt.Errorf("version %d in its reply", b[0])
	}
	if b[1] != socksDone {
		return b[1], nil // some proxies close the connection without the rest
	}
	rest := 0
	switch b[3] {
	case typeIPv4:
		rest = 4 + 2
	case typeIPv6:
		rest = 16 + 2
	case typeName:
		if _, err := io.ReadFull(r, b[4:5]); err != nil {
			return 0, err
		}
		rest = int(b[4]) + 2
	default:
		return 0, fmt.Errorf("address type %d in its reply", b[3])
	}
	_, err = io.ReadFull(r, b[5:5+rest])
	return b[1], err
}
