package client

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// TestClearPassword: a password goes out in cleartext only to an address or a name that is this machine everywhere,
// whatever the DNS has for other names.
func TestClearPassword(t *testing.T) {
	tests := []struct {
		name string
		host string // in the route, with its port
		ip   string // of the host, in the DNS
		sent bool
	}{
		{"a literal", "127.0.0.1:25", "", true},
		{"another literal of 127/8", "127.8.7.6:25", "", true},
		{"an IPv6 literal", "[::1]:25", "", true},
		{"a mapped literal", "[::ffff:127.0.0.1]:25", "", true},
		{"a socket", "/run/smtp", "", true},
		{"localhost", "localhost:25", "127.0.0.1", true},
		{"localhost in capitals", "LocalHost:25", "127.0.0.1", true},
		{"below localhost", "mail.localhost:25", "::1", true},
		{"localhost elsewhere", "localhost:25", "192.0.2.1", false},
		{"a name at 127.0.0.1", "smtp.provider.test:25", "127.0.0.1", false},
		{"a name at ::1", "smtp.provider.test:25", "::1", false},
		{"a name at a mapped address", "smtp.provider.test:25", "::ffff:127.0.0.1", false},
		{"a label at 127.0.0.1", "smtp:25", "127.0.0.1", false},
		{"a name that ends alike", "notlocalhost:25", "127.0.0.1", false},
		{"localhost in front", "localhost.provider.test:25", "127.0.0.1", false},
		{"localhost.localdomain", "localhost.localdomain:25", "127.0.0.1", false},
		{"a literal elsewhere", "192.0.2.1:25", "", false},
	}
	for _, tt := range tests {
		for _, level := range []mx.TLSLevel{mx.TLSOpportunistic, mx.TLSNone} {
			t.Run(tt.name+"/"+level.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					inet := newInternet(t)
					if tt.ip != "" {
						name, _, _ := strings.Cut(strings.ToLower(tt.host), ":")
						for _, form := range []string{name, name + "."} {
							inet.ips[form] = []netip.Addr{netip.MustParseAddr(tt.ip)}
						}
					}
					route := mustRoute(mx.Smarthost(tt.host))
					route.TLS, route.Auth = level, plainAuth("secret")
					sent := false
					host := func(c *pipeConn) {
						steps := steps("S: 220 hi\nC: EHLO\nS: 250-host\nS: 250 AUTH PLAIN\nC: AUTH PLAIN\nS: 535 5.7.8 no\nC: QUIT\neof")
						sent = strings.Contains(strings.Join(play(c, steps, nil, nil), "\n"), "C: AUTH PLAIN AG")
					}
					for _, addr := range []string{"127.0.0.1:25", "127.8.7.6:25", "[::1]:25", "192.0.2.1:25", "/run/smtp"} {
						inet.serve(addr, host)
					}
					tr := &Transport{Hostname: "client.test", DialContext: inet.DialContext,
						Router: &mx.Router{Resolver: inet, Routes: map[string]mx.Route{"*": route}}}
					results, err := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n"))
					tr.Close()
					inet.wg.Wait()
					checkError(t, results, err)
					if sent != tt.sent {
						t.Errorf("got the password in cleartext: %t, want %t; %s", sent, tt.sent, show(results))
					}
					stage := smtp.StageAuth // the 535, or nothing sent
					if !tt.sent && level == mx.TLSOpportunistic {
						stage = smtp.StageTLS // AUTH makes it TLSRequired
					}
					if results[0].Stage != stage {
						t.Errorf("got stage %v, want %v: %s", results[0].Stage, stage, show(results))
					}
				})
			})
		}
	}
}
