package interop

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// greeter is a host that takes one mail after the other, and tells from which address each session came.
func greeter(t *testing.T) (at netip.AddrPort, from <-chan netip.Addr) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	sessions := make(chan netip.Addr, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			sessions <- c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
			go takeMails(c)
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort(), sessions
}

func takeMails(c net.Conn) {
	defer c.Close()
	in, inData := bufio.NewScanner(c), false
	fmt.Fprint(c, "220 host.test ESMTP\r\n")
	for in.Scan() {
		line := in.Text()
		switch {
		case inData && line != ".":
		case inData:
			inData = false
			fmt.Fprint(c, "250 2.0.0 taken\r\n")
		case line == "DATA":
			inData = true
			fmt.Fprint(c, "354 go\r\n")
		default:
			fmt.Fprint(c, "250 2.0.0 ok\r\n")
		}
	}
}

// TestProxies: mail goes out through real proxies, from the address that they are to use; a host that is down isn't
// their fault, and a wrong password isn't the host's.
func TestProxies(t *testing.T) {
	const from = "127.0.0.7"
	t.Run("microsocks", func(t *testing.T) {
		need(t, "microsocks")
		port := freePort(t)
		startServer(t, "", "microsocks", "-i", "127.0.0.1", "-p", port, "-b", from, "-u", "ann", "-P", "secret")
		throughProxy(t, client.SOCKS5, port, from)
	})
	t.Run("dante", func(t *testing.T) {
		need(t, "danted")
		port, config := freePort(t), filepath.Join(t.TempDir(), "danted.conf")
		rules := "from: 0.0.0.0/0 to: 0.0.0.0/0"
		writeFile(t, config, "logoutput: stderr\ninternal: 127.0.0.1 port = "+port+"\nexternal: "+from+
			"\nclientmethod: none\nsocksmethod: none\nuser.unprivileged: nobody\nclient pass { "+rules+" }\nsocks pass { "+rules+" }\n")
		startServer(t, "", "danted", "-f", config)
		throughProxy(t, client.SOCKS5, port, from)
	})
	for _, protocol := range []client.ProxyProtocol{client.PROXYv1, client.PROXYv2} {
		t.Run("haproxy "+protocol.String(), func(t *testing.T) {
			need(t, "haproxy")
			needRoot(t) // it binds to the address of the header
			port, config := freePort(t), filepath.Join(t.TempDir(), "haproxy.cfg")
			writeFile(t, config, "defaults\n\tmode tcp\n\tretries 0\n\ttimeout connect 2s\n\ttimeout client 60s\n\ttimeout server 60s\n"+
				"listen outbound\n\tbind 127.0.0.1:"+port+" accept-proxy\n\tsource 0.0.0.0 usesrc clientip\n\tserver host 0.0.0.0\n")
			startServer(t, "", "haproxy", "-db", "-f", config)
			throughProxy(t, protocol, port, from)
		})
	}
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func throughProxy(t *testing.T, protocol client.ProxyProtocol, port, from string) {
	waitPort(t, port)
	host, sessions := greeter(t)
	proxy := &client.Proxy{Protocol: protocol, Addr: netip.MustParseAddrPort("127.0.0.1:" + port)}
	if protocol == client.SOCKS5 {
		proxy.Username, proxy.Password = "ann", "secret"
	}
	transport := func(to string) *client.Transport {
		route, err := mx.Smarthost(to)
		if err != nil {
			t.Fatal(err)
		}
		return &client.Transport{Hostname: "client.test", Router: &mx.Router{Routes: map[string]mx.Route{"*": route}},
			Sources: []client.Source{{Addrs: []netip.Addr{netip.MustParseAddr(from)}, Proxy: proxy}}}
	}
	send := func(tr *client.Transport) smtp.Result {
		results, _ := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@host.test"), smtp.Text("Hello.\n"))
		return results[0]
	}
	up := transport(host.String())
	defer up.Close()
	for range 2 {
		if r := send(up); r.Outcome != smtp.Delivered {
			t.Fatalf("got %v, %+v", r, up.SourceStates())
		}
		up.CloseIdle()
		if got := (<-sessions).String(); got != from {
			t.Errorf("the host saw %s, want %s", got, from)
		}
	}

	down := transport("127.0.0.1:" + freePort(t))
	defer down.Close()
	if r := send(down); r.Outcome != smtp.Deferred || r.Reason != smtp.Network {
		t.Errorf("a host that is down: got %v", r)
	}
	if state := down.SourceStates()[0]; state.Fault != client.SourceFine {
		t.Errorf("a host that is down: got %+v", state)
	}

	dead := *proxy
	dead.Addr = netip.MustParseAddrPort("127.0.0.1:" + freePort(t))
	dead.Username, dead.Password = "", ""
	wrong := transport(host.String())
	defer wrong.Close()
	wrong.Sources[0].Proxy = &dead
	if r := send(wrong); r.Reason != smtp.NoSource || wrong.SourceStates()[0].Fault != client.ProxyDown {
		t.Errorf("a proxy that is down: got %v, %+v", r, wrong.SourceStates())
	}
	if !strings.HasSuffix(t.Name(), "microsocks") {
		return
	}
	guess := *proxy
	guess.Password = "guess"
	locked := transport(host.String())
	defer locked.Close()
	locked.Sources[0].Proxy = &guess
	if r := send(locked); r.Reason != smtp.NoSource || locked.SourceStates()[0].Fault != client.ProxyRefuses {
		t.Errorf("a wrong password: got %v, %+v", r, locked.SourceStates())
	}
}
