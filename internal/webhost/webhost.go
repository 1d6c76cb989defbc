// Package webhost connects to web servers whose names anyone may have chosen.
package webhost

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/mx"
)

// timeout bounds the connection to one address, so that there is time left for the next one.
const timeout = 15 * time.Second

// Dialer connects to the addresses that a Router finds. It leaves out those that lead inside, unless
// Router.AllowPrivate is set.
type Dialer struct {
	Router *mx.Router

	// Dial connects to "ip:port". If nil, a net.Dialer. A panic is an error.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// DialContext connects to "host:port", for an http.Transport.
func (d *Dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, err
	}
	return d.DialHost(ctx, network, host, port)
}

// DialHost connects to a host, at the first address that answers.
func (d *Dialer) DialHost(ctx context.Context, network, host string, port int) (net.Conn, error) {
	if port < 1 || port > 65535 {
		return nil, fmt.Errorf("port %d: want 1 to 65535", port)
	}
	target := mx.Host{Name: host, Port: port}
	addrs, err := d.Router.Addrs(ctx, mx.Route{Name: host, Hosts: []mx.Host{target}, MX: true}, target)
	for _, a := range addrs {
		var conn net.Conn
		if conn, err = d.dialOne(ctx, network, a.String()); err == nil {
			return conn, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

func (d *Dialer) dialOne(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return d.DialAddr(ctx, network, addr)
}

// DialAddr calls Dial, which may panic: it runs in a goroutine of net/http.
func (d *Dialer) DialAddr(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	if d.Dial == nil {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	if p := guard.Call(func() { conn, err = d.Dial(ctx, network, addr) }); p != nil {
		err = fmt.Errorf("DialContext: %w", p)
	} else if conn == nil && err == nil {
		err = errors.New("DialContext returned no connection")
	}
	return conn, err
}
