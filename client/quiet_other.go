//go:build !unix

package client

import "net"

// quiet can't look at a socket here. A session that died is found out when it is used.
func quiet(net.Conn) bool { return true }
